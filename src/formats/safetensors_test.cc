#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/dequantize.h"
#include "formats/planner_vectors_test.h"
#include "support/data.h"

namespace etch::formats {
namespace {

using ::testing::HasSubstr;

// A file with the given header text and bytes behind it.
std::vector<std::byte> MakeFile(std::string_view header, size_t data_bytes) {
  ByteWriter writer;
  writer.Write(static_cast<uint64_t>(header.size()));
  writer.WriteBytes(AsBytes(header));
  writer.WriteBytes(std::vector<std::byte>(data_bytes));
  return writer.Take();
}

std::string ErrorOf(std::string_view header, size_t data_bytes) {
  const auto parsed = ParseSafetensors(MakeFile(header, data_bytes), "f");
  return parsed ? "no error" : parsed.error().message;
}

TEST(Safetensors, ReadsShapesOffsetsAndMetadata) {
  const auto file = MakeFile(
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("e":{"data_offsets":[8,8],"dtype":"F32","shape":[0,4]}}   )",
      20);
  const auto header = ParseSafetensors(file, "f");
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->metadata.at("k"), "v");
  ASSERT_EQ(header->tensors.size(), 3U);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[1].name, "e");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_EQ(header->tensors[2].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(header->tensors[2].offset, file.size() - 12);
  EXPECT_EQ(header->tensors[2].size_bytes, 12U);
}

TEST(Safetensors, RefusesLyingHeaders) {
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
              HasSubstr("tensor \"a\": its shape and dtype need 8 bytes, its offsets give 4"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7),
              HasSubstr("ends at byte 8 of the data, but the file has 7; it is truncated"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9),
              HasSubstr("1 bytes after the last tensor belong to none"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
              HasSubstr("tensor \"a\" starts at byte 1 of the data, with a gap after"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                      3),
              HasSubstr("tensor \"b\" starts at byte 1 of the data, inside the one before"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                      R"("b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}})",
                      7),
              HasSubstr("tensor \"b\": starts at byte 3 of the data, not a multiple of 4"));
  EXPECT_THAT(
      ErrorOf(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0),
      HasSubstr("is too large"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
              HasSubstr("data_offsets are not a start and an end"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8),
              HasSubstr("data_offsets are not a start and an end"));
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  EXPECT_THAT(ErrorOf(R"([])", 0), HasSubstr("does not begin with a brace"));
  EXPECT_THAT(ErrorOf(R"({"a":)", 0), HasSubstr("the header is no JSON at byte"));
  EXPECT_THAT(ErrorOf(R"({} x)", 0), HasSubstr("the header is no JSON at byte"));
  EXPECT_THAT(ErrorOf("{\"\xff\":1}", 0), HasSubstr("the header is no JSON at byte"));
  EXPECT_THAT(ErrorOf(R"({"a":1})", 0), HasSubstr("1 where none belongs (in \"a\")"));
  EXPECT_THAT(ErrorOf(R"({"a":null})", 0), HasSubstr("null where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":true})", 0), HasSubstr("a boolean where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":[]})", 0), HasSubstr("an array where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":"t"})", 0), HasSubstr("\"t\" where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"b":{}}})", 0), HasSubstr("key \"b\" comes twice or is not known"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":{}}})", 0), HasSubstr("an object where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[1.5]}})", 0), HasSubstr("1.5 where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[-1]}})", 0), HasSubstr("-1 where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[18446744073709551615]}})", 0),
              HasSubstr("18446744073709551615 where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[[1]]}})", 0), HasSubstr("an array where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}})", 0),
              HasSubstr("\"shape\" has more than 16 numbers"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2]}})", 8),
              HasSubstr("tensor \"a\" lacks its dtype, shape or data_offsets"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","dtype":"F32"}})", 0),
              HasSubstr("key \"dtype\" comes twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"k":"1","k":"2"}})", 0),
              HasSubstr("metadata key \"k\" comes twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"k":1}})", 0), HasSubstr("1 where none belongs"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                      R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                      0),
              HasSubstr("\"a\" comes twice"));
  EXPECT_THAT(ErrorOf("{" + std::string(100000, '['), 0), HasSubstr("f: "));
}

TEST(Safetensors, RefusesHeaderLengthsBeyondTheFile) {
  ByteWriter writer;
  writer.Write(uint64_t{50});
  writer.WriteBytes(AsBytes("{}"));
  EXPECT_THAT(ParseSafetensors(writer.bytes(), "f").error().message,
              HasSubstr("header needs 50 bytes at byte 8, but the file has 10"));
  ByteWriter huge;
  huge.Write(~uint64_t{0});
  EXPECT_THAT(ParseSafetensors(huge.bytes(), "f").error().message,
              HasSubstr("at most 100000000 are allowed"));
  EXPECT_THAT(ParseSafetensors({}, "f").error().message, HasSubstr("0 bytes are too few"));
}

struct Sample {
  std::vector<float> first = {1.0F, -2.5F, 3.0F, 0.1F, 1e-3F, 7.0F};
  std::vector<float> second = {0.5F, 0.25F, 3.14159F};
  std::vector<SafetensorsSource> Sources(DataType type) const {
    return {{"w", type, {2, 3}, first}, {"norm", DataType::kF32, {3}, second}};
  }
};

TEST(Safetensors, WriterAndReaderAgree) {
  const std::filesystem::path folder = test::TemporaryFolder();
  const Sample sample;
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    const auto path = folder / "a.safetensors";
    ASSERT_TRUE(WriteSafetensors(path, sample.Sources(type), {{"format", "pt"}}));
    const auto file = SafetensorsFile::Open(path);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->metadata().at("format"), "pt");
    const SafetensorsEntry* entry = file->Find("w");
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->type, type);
    EXPECT_EQ(entry->shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(entry->offset % 4, 0U);
    std::vector<float> values(6);
    ASSERT_TRUE(Dequantize(type, file->Data(*entry), values));
    for (size_t index = 0; index < values.size(); ++index) {
      EXPECT_NEAR(values[index], sample.first[index], std::abs(sample.first[index]) / 256.0F);
    }
    EXPECT_EQ(file->Find("absent"), nullptr);
  }
}

TEST(Safetensors, WriterIsDeterministicInAnyOrder) {
  const std::filesystem::path folder = test::TemporaryFolder();
  const Sample sample;
  std::vector<SafetensorsSource> sources = sample.Sources(DataType::kBf16);
  ASSERT_TRUE(WriteSafetensors(folder / "a", sources));
  std::swap(sources[0], sources[1]);
  ASSERT_TRUE(WriteSafetensors(folder / "b", sources));
  EXPECT_EQ(ReadSmallFile(folder / "a").value(), ReadSmallFile(folder / "b").value());
}

TEST(Safetensors, WriterRefusesWhatItCannotWrite) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  const std::vector<float> values = {1.0F, 2.0F};
  const auto error = [&](std::vector<SafetensorsSource> sources) {
    return WriteSafetensors(path, sources).error().message;
  };
  EXPECT_EQ(error({{"x", DataType::kI8, {2}, values}}),
            "a: tensor \"x\": I8 cannot be written, use F32, F16 or BF16");
  EXPECT_EQ(error({{"x", DataType::kF32, {3}, values}}),
            "a: tensor \"x\": 2 values do not fill its shape");
  EXPECT_EQ(error({{"x", DataType::kF32, {2}, values}, {"x", DataType::kF32, {2}, values}}),
            "a: tensor \"x\" comes twice");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Safetensors, EveryTruncationAndExtensionIsAnError) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  ASSERT_TRUE(WriteSafetensors(path, Sample().Sources(DataType::kF16), {{"k", "v"}}));
  const std::string text = ReadSmallFile(path).value();
  ASSERT_TRUE(ParseSafetensors(AsBytes(text), "f"));
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(AsBytes(std::string_view(text).substr(0, size)), "f")) << size;
  }
  EXPECT_FALSE(ParseSafetensors(AsBytes(text + '\0'), "f"));
}

// Any single changed byte of the header either fails or still describes the whole file.
TEST(Safetensors, EveryChangedByteIsSafe) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  ASSERT_TRUE(WriteSafetensors(path, Sample().Sources(DataType::kF16), {{"k", "v"}}));
  const std::string original = ReadSmallFile(path).value();
  const size_t header_end = 8 + LoadLittleEndian<uint64_t>(AsBytes(original), 0);
  for (size_t at = 0; at < header_end; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string text = original;
      text[at] = static_cast<char>(value);
      if (const auto header = ParseSafetensors(AsBytes(text), "f")) {
        for (const SafetensorsEntry& entry : header->tensors) {
          EXPECT_LE(entry.offset + entry.size_bytes, text.size());
        }
      }
    }
  }
}

TEST(Safetensors, RealFilesAreRead) {
  ETCH_DATA_OR_SKIP(folder, "robustness");
  for (const char* name :
       {"modelaudit/safe_model.safetensors", "modelaudit/malicious_import.safetensors"}) {
    const auto file = SafetensorsFile::Open(folder / name);
    EXPECT_TRUE(file) << file.error().message;
  }
  const auto safe = SafetensorsFile::Open(folder / "modelaudit/safe_model.safetensors");
  EXPECT_EQ(safe->Find("weights")->shape, (std::vector<int64_t>{768, 256}));
  EXPECT_EQ(safe->metadata().at("license"), "MIT");
  // Its writer padded the header without counting the padding.
  EXPECT_EQ(SafetensorsFile::Open(folder / "weight-inspect/tiny.safetensors").error().message,
            "tiny.safetensors: 5 bytes after the last tensor belong to none");
}

TEST(Safetensors, PlannerVectorsHaveTheirVerdicts) {
  ETCH_DATA_OR_SKIP(folder, "robustness/planner-vectors");
  test::ForEachPlannerVector(folder, "safetensors", [](const test::PlannerVector& vector) {
    const auto header = ParseSafetensors(vector.bytes, vector.name);
    EXPECT_EQ(header.has_value(), vector.well_formed)
        << vector.name << ": " << (header ? "read" : header.error().message);
    if (header) {
      EXPECT_EQ(test::TensorRegions(header->tensors), vector.tensors) << vector.name;
    }
  });
}

}  // namespace
}  // namespace etch::formats
