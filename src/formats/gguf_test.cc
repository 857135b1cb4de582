#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "formats/dequantize.h"
#include "formats/planner_vectors_test.h"
#include "support/data.h"

namespace etch::formats {
namespace {

using ::testing::HasSubstr;

// Writes a header by hand, field by field, so that each can lie.
class RawGguf {
 public:
  RawGguf(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    writer_.Write(uint32_t{0x46554747});  // "GGUF"
    writer_.Write(version);
    writer_.Write(tensors);
    writer_.Write(keys);
  }
  RawGguf& String(std::string_view text) {
    writer_.Write(static_cast<uint64_t>(text.size()));
    writer_.WriteBytes(AsBytes(text));
    return *this;
  }
  template <class T>
  RawGguf& Put(T value) {
    writer_.Write(value);
    return *this;
  }
  RawGguf& Tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type,
                  uint64_t offset) {
    String(name).Put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t extent : dims) {
      Put(extent);
    }
    return Put(type).Put(offset);
  }
  RawGguf& Data(size_t bytes) {
    writer_.PadTo(32);
    writer_.WriteBytes(std::vector<std::byte>(bytes));
    return *this;
  }
  std::string Error() const {
    const auto header = ParseGguf(writer_.bytes(), "f");
    return header ? "no error" : header.error().message;
  }
  const std::vector<std::byte>& bytes() const { return writer_.bytes(); }

 private:
  ByteWriter writer_;
};

RawGguf Scalar(uint32_t type) { return RawGguf(0, 1).String("k").Put(type); }

TEST(Gguf, ReadsScalarsOfEveryType) {
  RawGguf file(0, 12);
  file.String("u8").Put(0U).Put(uint8_t{200});
  file.String("i8").Put(1U).Put(int8_t{-100});
  file.String("u16").Put(2U).Put(uint16_t{60000});
  file.String("i16").Put(3U).Put(int16_t{-30000});
  file.String("u32").Put(4U).Put(uint32_t{4000000000});
  file.String("i32").Put(5U).Put(int32_t{-2000000000});
  file.String("f32").Put(6U).Put(1e-5F);
  file.String("bool").Put(7U).Put(uint8_t{1});
  file.String("str").Put(8U).String("text");
  file.String("u64").Put(10U).Put(uint64_t{1} << 62);
  file.String("i64").Put(11U).Put(int64_t{-5});
  file.String("f64").Put(12U).Put(0.1);
  const auto header = ParseGguf(file.bytes(), "f");
  ASSERT_TRUE(header) << header.error().message;
  const GgufMetadata& metadata = header->metadata;
  EXPECT_EQ(metadata.Integer("u8").value(), 200);
  EXPECT_EQ(metadata.Integer("i8").value(), -100);
  EXPECT_EQ(metadata.Integer("u16").value(), 60000);
  EXPECT_EQ(metadata.Integer("i16").value(), -30000);
  EXPECT_EQ(metadata.Integer("u32").value(), 4000000000);
  EXPECT_EQ(metadata.Integer("i32").value(), -2000000000);
  EXPECT_EQ(metadata.Integer("u64").value(), int64_t{1} << 62);
  EXPECT_EQ(metadata.Integer("i64").value(), -5);
  EXPECT_EQ(metadata.Number("f32").value(), 1e-5);  // the decimal, not the float's exact value
  EXPECT_EQ(metadata.Number("f64").value(), 0.1);
  EXPECT_EQ(metadata.Number("u8").value(), 200.0);
  EXPECT_EQ(metadata.Bool("bool").value(), true);
  EXPECT_EQ(metadata.String("str").value(), "text");
  EXPECT_EQ(metadata.entries().front().first, "u8");
}

TEST(Gguf, TypedReadingRefusesOtherTypes) {
  GgufMetadata metadata;
  metadata.Add("text", GgufString("x"));
  metadata.Add("number", GgufUint32(1));
  metadata.Add("list", GgufInt32s({1, 2}));
  EXPECT_FALSE(metadata.Add("list", GgufUint32(1)));
  EXPECT_EQ(metadata.Integer("text").error().message, "metadata key \"text\" is not an integer");
  EXPECT_EQ(metadata.Integer("list").error().message, "metadata key \"list\" is not an integer");
  EXPECT_EQ(metadata.Number("text").error().message, "metadata key \"text\" is not a number");
  EXPECT_EQ(metadata.Bool("number").error().message, "metadata key \"number\" is not a boolean");
  EXPECT_EQ(metadata.String("number").error().message, "metadata key \"number\" is not a string");
  EXPECT_EQ(metadata.Strings("list").error().message,
            "metadata key \"list\" is not an array of strings");
  EXPECT_EQ(metadata.Integers("number").error().message,
            "metadata key \"number\" is not an array of integers");
  EXPECT_EQ(metadata.Numbers("list").error().message,
            "metadata key \"list\" is not an array of floating-point numbers");
  EXPECT_EQ(metadata.Integer("absent").value(), std::nullopt);
  EXPECT_EQ(metadata.Strings("absent").value(), nullptr);
}

TEST(Gguf, RefusesBadMetadata) {
  EXPECT_THAT(RawGguf(0, 2).String("k").Put(4U).Put(1U).String("k").Put(4U).Put(1U).Error(),
              HasSubstr("f: key \"k\" comes twice"));
  EXPECT_THAT(Scalar(13).Put(0U).Error(), HasSubstr("key \"k\" has the unknown type 13"));
  EXPECT_THAT(Scalar(7).Put(uint8_t{2}).Error(), HasSubstr("boolean 2 at byte 37"));
  EXPECT_THAT(Scalar(10).Put(~uint64_t{0}).Error(), HasSubstr("integer above 2^63 at byte 37"));
  EXPECT_THAT(Scalar(9).Put(9U).Put(uint64_t{1}).Error(), HasSubstr("is an array of arrays"));
  EXPECT_THAT(Scalar(9).Put(4U).Put(~uint64_t{0}).Put(1U).Error(),
              HasSubstr("key \"k\" claims 18446744073709551615 elements, the file has 4 bytes"));
  EXPECT_THAT(Scalar(9).Put(8U).Put(uint64_t{3}).String("a").String("b").Error(),
              HasSubstr("claims 3 elements"));
  EXPECT_THAT(Scalar(8).Put(~uint64_t{0}).Error(), HasSubstr("f ends at byte"));
  EXPECT_THAT(RawGguf(0, ~uint64_t{0}).Error(), HasSubstr("f ends at byte 24"));
  EXPECT_THAT(RawGguf(~uint64_t{0}, 0).Error(), HasSubstr("f ends at byte 24"));
  for (const uint32_t alignment : {0U, 24U, 1U << 21}) {
    EXPECT_THAT(RawGguf(0, 1).String("general.alignment").Put(4U).Put(alignment).Error(),
                HasSubstr("general.alignment is"));
  }
  EXPECT_THAT(RawGguf(0, 1).String("general.alignment").Put(8U).String("x").Error(),
              HasSubstr("\"general.alignment\" is not an integer"));
}

TEST(Gguf, RefusesOtherVersions) {
  EXPECT_THAT(RawGguf(0, 0, 1).Error(), HasSubstr("GGUF version 1; convert it"));
  EXPECT_THAT(RawGguf(0, 0, 4).Error(), HasSubstr("GGUF version 4; convert it"));
  EXPECT_THAT(RawGguf(0, 0, 0x03000000).Error(), HasSubstr("big-endian GGUF"));
  EXPECT_EQ(ParseGguf(AsBytes("GGML    "), "f").error().message, "f: does not begin with \"GGUF\"");
}

TEST(Gguf, RefusesLyingTensorInfos) {
  const auto one = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset, size_t data) {
    return RawGguf(1, 0).Tensor("t", std::move(dims), type, offset).Data(data).Error();
  };
  EXPECT_EQ(one({8}, 0, 0, 32), "no error");
  EXPECT_EQ(one({7}, 0, 0, 28), "no error");  // the last padding may be missing
  EXPECT_EQ(one({7}, 0, 0, 32), "no error");
  EXPECT_THAT(one({8}, 0, 0, 31),
              HasSubstr("tensor \"t\" needs 32 bytes at byte 64, but the file"));
  EXPECT_THAT(one({8}, 0, 0, 33), HasSubstr("1 bytes after the last tensor belong to none"));
  EXPECT_THAT(one({8}, 0, 4, 36), HasSubstr("at byte 4 of the data is not aligned to 32"));
  EXPECT_THAT(one({8}, 0, 32, 64), HasSubstr("starts at byte 96, with a gap after the one before"));
  EXPECT_THAT(one({8}, 0, uint64_t{1} << 63, 32), HasSubstr("beyond the file"));
  EXPECT_THAT(one({8}, 77, 0, 32), HasSubstr("tensor \"t\": unknown type 77"));
  EXPECT_THAT(one({}, 0, 0, 32), HasSubstr("has 0 dimensions"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0, 32), HasSubstr("has 5 dimensions"));
  EXPECT_THAT(one({8, 0}, 0, 0, 0), HasSubstr("dimension 1 is 0"));
  EXPECT_THAT(one({~uint64_t{0}}, 0, 0, 0), HasSubstr("dimension 0 is 18446744073709551615"));
  EXPECT_THAT(one({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0, 0), HasSubstr("is too large"));
  EXPECT_THAT(one({33}, 2, 0, 18), HasSubstr("its row: 33 values are no whole number of Q4_0"));
  EXPECT_THAT(one({16, 2}, 2, 0, 18), HasSubstr("its row: 16 values"));
  const auto two = [](uint64_t second, size_t data) {
    return RawGguf(2, 0).Tensor("a", {9}, 0, 0).Tensor("b", {8}, 0, second).Data(data).Error();
  };
  EXPECT_EQ(two(64, 96), "no error");
  EXPECT_THAT(two(32, 96), HasSubstr("tensor \"b\" starts at byte"));
  EXPECT_THAT(two(32, 96), HasSubstr("inside the one before"));
  EXPECT_THAT(two(0, 96), HasSubstr("inside the one before"));
  EXPECT_THAT(RawGguf(2, 0).Tensor("a", {8}, 0, 0).Tensor("a", {8}, 0, 32).Data(64).Error(),
              HasSubstr("tensor \"a\" comes twice"));
}

TEST(Gguf, TensorDataMayComeInAnyOrder) {
  const RawGguf file = RawGguf(2, 0).Tensor("b", {8}, 0, 32).Tensor("a", {8}, 0, 0).Data(64);
  const auto header = ParseGguf(file.bytes(), "f");
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[0].offset, header->tensors[1].offset + 32);
}

struct Sample {
  GgufMetadata metadata;
  std::vector<std::byte> first = std::vector<std::byte>(12, std::byte{1});
  std::vector<std::byte> second = std::vector<std::byte>(36, std::byte{2});

  Sample() {
    metadata.Add("s", GgufString("text"));
    metadata.Add("u", GgufUint32(7));
    metadata.Add("i", GgufInt32(-7));
    metadata.Add("w", GgufUint64(1ULL << 40));
    metadata.Add("f", GgufFloat32(0.25F));
    metadata.Add("b", GgufBool(true));
    metadata.Add("ss", GgufStrings({"a", "", "c"}));
    metadata.Add("is", GgufInt32s({-1, 2}));
    metadata.Add("fs", GgufFloat32s({0.5, -2.0}));
  }
  std::vector<GgufSource> Sources() const {
    return {{"x", DataType::kF32, {3}, first}, {"y", DataType::kQ4_0, {32, 2}, second}};
  }
};

TEST(Gguf, WriterAndReaderAgree) {
  const std::filesystem::path folder = test::TemporaryFolder();
  Sample sample;
  for (const uint32_t alignment : {0U, 64U}) {
    if (alignment != 0) {
      sample.metadata.Add("general.alignment", GgufUint32(alignment));
    }
    ASSERT_TRUE(WriteGguf(folder / "a.gguf", sample.metadata, sample.Sources()));
    const auto file = GgufFile::Open(folder / "a.gguf");
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->header().version, 3U);
    EXPECT_EQ(file->metadata().entries(), sample.metadata.entries());
    ASSERT_NE(file->Find("y"), nullptr);
    EXPECT_EQ(file->Find("y")->dims, (std::vector<int64_t>{32, 2}));
    EXPECT_EQ(file->Find("y")->offset % file->header().alignment, 0U);
    EXPECT_EQ(AsText(file->Data(*file->Find("y"))), AsText(sample.second));
    EXPECT_EQ(AsText(file->Data(*file->Find("x"))), AsText(sample.first));
    EXPECT_EQ(file->Find("z"), nullptr);
  }
}

TEST(Gguf, WriterRefusesWhatItCannotWrite) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  const Sample sample;
  const auto error = [&](std::vector<GgufSource> sources) {
    return WriteGguf(path, sample.metadata, sources).error().message;
  };
  EXPECT_EQ(error({{"x", DataType::kF32, {4}, sample.first}}),
            "a: tensor \"x\": 12 bytes of F32 do not fill its shape");
  EXPECT_EQ(error({{"x", DataType::kQ4_0, {16, 4}, sample.second}}),
            "a: tensor \"x\": its shape holds no whole rows of Q4_0");
  EXPECT_EQ(error({{"x", DataType::kF32, {}, sample.first}}),
            "a: tensor \"x\" has 0 dimensions, 1 to 4 are allowed");
  EXPECT_EQ(error({{"x", DataType::kBool, {12}, sample.first}}),
            "a: tensor \"x\": GGUF has no type BOOL");
  EXPECT_EQ(error({sample.Sources()[0], sample.Sources()[0]}), "a: tensor \"x\" comes twice");
  GgufMetadata odd;
  odd.Add("general.alignment", GgufUint32(3));
  EXPECT_EQ(WriteGguf(path, odd, {}).error().message,
            "a: general.alignment 3 is not a power of two");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Gguf, PiecesMakeTheSameFile) {
  const std::filesystem::path folder = test::TemporaryFolder();
  const Sample sample;
  std::vector<GgufTensorPlan> plans;
  for (const GgufSource& source : sample.Sources()) {
    plans.push_back({source.name, source.type, source.dims});
  }
  {
    auto unfinished = GgufWriter::Create(folder / "b", sample.metadata, plans);
    ASSERT_TRUE(unfinished) << unfinished.error().message;
    ASSERT_TRUE(unfinished->Append(sample.Sources()[0].data));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "b"));
  auto writer = GgufWriter::Create(folder / "b", sample.metadata, plans);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const GgufSource& source : sample.Sources()) {
    ASSERT_TRUE(writer->Append(source.data.first(4)));
    ASSERT_TRUE(writer->Append(source.data.subspan(4)));
  }
  ASSERT_TRUE(writer->Finish());
  ASSERT_TRUE(WriteGguf(folder / "a", sample.metadata, sample.Sources()));
  EXPECT_EQ(ReadSmallFile(folder / "a").value(), ReadSmallFile(folder / "b").value());
}

TEST(Gguf, EveryTruncationAndExtensionIsAnError) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  const Sample sample;
  ASSERT_TRUE(WriteGguf(path, sample.metadata, sample.Sources()));
  const std::string text = ReadSmallFile(path).value();
  const auto whole = ParseGguf(AsBytes(text), "f");
  ASSERT_TRUE(whole);
  const uint64_t end = whole->tensors[1].offset + whole->tensors[1].size_bytes;
  for (size_t size = 0; size < end; ++size) {
    EXPECT_FALSE(ParseGguf(AsBytes(std::string_view(text).substr(0, size)), "f")) << size;
  }
  EXPECT_FALSE(ParseGguf(AsBytes(text + '\0'), "f"));
}

TEST(Gguf, EveryChangedByteIsSafe) {
  const std::filesystem::path path = test::TemporaryFolder() / "a";
  const Sample sample;
  ASSERT_TRUE(WriteGguf(path, sample.metadata, sample.Sources()));
  const std::string original = ReadSmallFile(path).value();
  for (size_t at = 0; at < original.size(); ++at) {
    for (const int value : {0, 1, 3, 9, 12, 31, 127, 128, 254, 255}) {
      std::string text = original;
      text[at] = static_cast<char>(value);
      if (const auto header = ParseGguf(AsBytes(text), "f")) {
        for (const GgufTensor& tensor : header->tensors) {
          EXPECT_LE(tensor.offset + tensor.size_bytes, text.size());
        }
      }
    }
  }
}

TEST(Gguf, RobustnessFilesHaveTheirVerdicts) {
  ETCH_DATA_OR_SKIP(folder, "robustness");
  EXPECT_TRUE(GgufFile::Open(folder / "weight-inspect/empty.gguf"));
  const auto tiny = GgufFile::Open(folder / "weight-inspect/tiny.gguf");  // lacks its data
  EXPECT_THAT(tiny.error().message, HasSubstr("tensor \"test.weight.0\" needs 32768 bytes at"));
  EXPECT_THAT(GgufFile::Open(folder / "ollama_test.gguf").error().message,
              HasSubstr("ollama_test.gguf ends at byte 6"));
  EXPECT_EQ(GgufFile::Open(folder / "absent.gguf").error().code, ErrorCode::kNotFound);
}

TEST(Gguf, PlannerVectorsHaveTheirVerdicts) {
  ETCH_DATA_OR_SKIP(folder, "robustness/planner-vectors");
  test::ForEachPlannerVector(folder, "gguf", [](const test::PlannerVector& vector) {
    const auto header = ParseGguf(vector.bytes, vector.name);
    EXPECT_EQ(header.has_value(), vector.well_formed)
        << vector.name << ": " << (header ? "read" : header.error().message);
    if (header) {
      EXPECT_EQ(test::TensorRegions(header->tensors), vector.tensors) << vector.name;
    }
  });
}

TEST(Gguf, VocabularyFilesWithoutTensorsAreRead) {
  ETCH_DATA_OR_SKIP(folder, "tokenizers/vectors");
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".gguf") {
      const auto file = GgufFile::Open(entry.path());
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_TRUE(file->tensors().empty());
      EXPECT_NE(file->metadata().Strings("tokenizer.ggml.tokens").value(), nullptr);
      ++read;
    }
  }
  EXPECT_GE(read, 3);
}

}  // namespace
}  // namespace etch::formats
