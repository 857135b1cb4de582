#include "image/verify.h"

#include <gtest/gtest.h>

#include "image/reseal.h"
#include "image/test_image.h"
#include "support/data.h"

namespace etch::image {
namespace {

using test::FailureOf;
using test::Parts;

// What the error of a change at `offset` must say.
std::string PlaceOf(Bytes image, const std::vector<SectionInfo>& sections, size_t offset) {
  const size_t table_end = sizeof(HeaderRecord) + sections.size() * sizeof(SectionRecord);
  if (offset < kMagic.size()) {
    return "is not an Etch image";
  }
  if (offset < sizeof(HeaderRecord)) {
    return "the header is damaged";
  }
  if (offset < table_end) {
    return "the section table is damaged";
  }
  for (const SectionInfo& section : sections) {
    if (offset < section.offset) {
      return "the padding before section \"" + section.name + "\" is damaged";
    }
    if (offset < section.offset + section.size_bytes) {
      return "section \"" + section.name + "\" is damaged";
    }
  }
  ADD_FAILURE() << offset << " is outside of " << image.size();
  return "";
}

TEST(Damage, OfAnyByteIsFoundAndItsPlaceNamed) {
  std::vector<std::byte> bytes = test::RandomImage(test::SmallConfig());
  const Result<Image> image = Image::FromBytes(bytes);
  ASSERT_TRUE(image.has_value()) << image.error().message;
  const std::vector<SectionInfo> sections = image->sections();
  for (size_t offset = 0; offset < bytes.size(); ++offset) {
    const std::byte flip = std::byte{1} << (offset % 8);
    bytes[offset] ^= flip;
    const std::string message = FailureOf(bytes);
    EXPECT_NE(message.find(PlaceOf(bytes, sections, offset)), std::string::npos)
        << offset << ": " << message;
    bytes[offset] ^= flip;
  }
}

TEST(Damage, InTwoPlacesNamesTheFirstWithAnyNumberOfThreads) {
  model::Config config = test::OddConfig(false);
  config.dim = 768;
  config.ffn_dim = 1536;
  std::vector<std::byte> bytes = test::RandomImage(config);
  ASSERT_GT(bytes.size(), 4U << 20) << "large enough for threads";
  for (const int threads : {0, 1, 2, 5}) {
    EXPECT_TRUE(Image::FromBytes(bytes, threads).has_value());
  }
  const Result<Image> image = Image::FromBytes(bytes);
  for (const SectionInfo& section : image->sections()) {
    if (section.name == "weights/blk.1" || section.name == "report") {
      bytes[section.offset] ^= std::byte{1};
    }
  }
  for (const int threads : {0, 1, 2, 5}) {
    EXPECT_TRUE(Image::FromBytes(bytes, threads)
                    .error()
                    .message.starts_with("section \"weights/blk.1\" is damaged"));
  }
}

TEST(Damage, AnyTruncationIsFound) {
  const std::vector<std::byte> bytes = test::RandomImage(test::SmallConfig());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string message = FailureOf(Bytes(bytes).first(size));
    const std::string expected = size < kMagic.size()          ? "is not an Etch image"
                                 : size < sizeof(HeaderRecord) ? "truncated in its header"
                                                               : "the image is truncated";
    EXPECT_NE(message.find(expected), std::string::npos) << size << ": " << message;
  }
}

TEST(Damage, TrailingBytesAreFound) {
  std::vector<std::byte> bytes = test::RandomImage(test::SmallConfig());
  const std::string size = std::to_string(bytes.size());
  bytes.push_back(std::byte{0});
  EXPECT_EQ(FailureOf(bytes), "the image is followed by other bytes: " +
                                  std::to_string(bytes.size()) + " bytes, its header says " + size);
}

// An image whose checksums are right but whose content is hostile.
class Hostile : public testing::Test {
 protected:
  // The failure after `change` of the header.
  template <class Change>
  std::string WithHeader(const Change& change) {
    std::vector<std::byte> bytes = bytes_;
    auto header = LoadRecord<HeaderRecord>(bytes, 0);
    change(header);
    std::ranges::copy(BytesOf(header), bytes.begin());
    Reseal(bytes);
    return FailureOf(bytes);
  }
  // The failure after `change` of the record of section `index`.
  template <class Change>
  std::string WithRecord(size_t index, const Change& change) {
    std::vector<std::byte> bytes = bytes_;
    const size_t offset = sizeof(HeaderRecord) + index * sizeof(SectionRecord);
    auto record = LoadRecord<SectionRecord>(bytes, offset);
    change(record);
    std::ranges::copy(BytesOf(record), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    Reseal(bytes);
    return FailureOf(bytes);
  }
  // The failure after `change` of matrix `index` in the directory.
  template <class Change>
  std::string WithTensor(size_t index, const Change& change) {
    Parts parts = Parts::Of(bytes_);
    std::vector<std::byte>& directory = parts["directory"];
    const size_t offset = index * sizeof(TensorRecord);
    auto record = LoadRecord<TensorRecord>(directory, offset);
    change(record);
    std::ranges::copy(BytesOf(record), directory.begin() + static_cast<std::ptrdiff_t>(offset));
    return FailureOf(parts.Join());
  }
  // The failure after `change` of the content of a section.
  template <class Change>
  std::string WithSection(std::string_view name, const Change& change) {
    Parts parts = Parts::Of(bytes_);
    change(parts[name]);
    return FailureOf(parts.Join());
  }

  std::vector<std::byte> bytes_ = test::RandomImage(test::SmallConfig());
};

TEST_F(Hostile, PartsJoinToTheSameImage) {
  EXPECT_EQ(Parts::Of(bytes_).Join(), bytes_);
  EXPECT_EQ(FailureOf(bytes_), "");
}

TEST_F(Hostile, OtherVersionsAreUnsupported) {
  EXPECT_EQ(
      WithHeader([](HeaderRecord& header) { header.format_version = 2; }),
      "image format 2 with numeric contract 1, supported are format 1 and contract 1; compile "
      "the model again with this version of etch");
  EXPECT_NE(WithHeader([](HeaderRecord& header) {
              header.contract_version = 0;
            }).find("numeric contract 0, supported"),
            std::string::npos);
  std::vector<std::byte> bytes = bytes_;
  bytes[offsetof(HeaderRecord, format_version)] = std::byte{9};
  Reseal(bytes);
  EXPECT_EQ(Image::FromBytes(bytes).error().code, ErrorCode::kUnsupported);
}

TEST_F(Hostile, HeaderMustBeThatOfTheFile) {
  EXPECT_NE(WithHeader([](HeaderRecord& header) {
              header.size_bytes = UINT64_MAX;
            }).find("the image is truncated"),
            std::string::npos);
  EXPECT_NE(WithHeader([](HeaderRecord& header) { header.zero = 1; }).find("does not know"),
            std::string::npos);
  EXPECT_NE(WithHeader([](HeaderRecord& header) {
              header.more_zero[3] = std::byte{1};
            }).find("does not know"),
            std::string::npos);
}

TEST_F(Hostile, SectionTableMustFit) {
  // Reseal leaves a table alone that does not fit; the header's checksum is made right by hand.
  std::vector<std::byte> bytes = bytes_;
  auto header = LoadRecord<HeaderRecord>(bytes, 0);
  header.section_count = UINT32_MAX;
  header.checksum = Hash(BytesOf(header).first(offsetof(HeaderRecord, checksum)));
  std::ranges::copy(BytesOf(header), bytes.begin());
  EXPECT_NE(FailureOf(bytes).find("the section table needs"), std::string::npos);

  EXPECT_NE(WithRecord(2, [](SectionRecord& record) { record.name = {}; }).find("is not one"),
            std::string::npos);
  EXPECT_NE(WithRecord(2, [](SectionRecord& record) { record.name[31] = 'x'; }).find("is not one"),
            std::string::npos);
  EXPECT_NE(WithRecord(2, [](SectionRecord& record) { record.name[0] = '\n'; }).find("is not one"),
            std::string::npos);
  EXPECT_NE(WithRecord(2, [](SectionRecord& record) { record.zero = 1; }).find("is not one"),
            std::string::npos);
}

TEST_F(Hostile, SectionsMustFollowEachOther) {
  const auto refuses = [&](const auto& change) {
    const std::string message = WithRecord(3, change);
    EXPECT_TRUE(message.starts_with("section \"tables\" is said to be")) << message;
  };
  refuses([](SectionRecord& record) { record.offset = record.offset + 64; });
  refuses([](SectionRecord& record) { record.offset = record.offset - 64; });
  refuses([](SectionRecord& record) { record.offset = UINT64_MAX - 63; });
  refuses([](SectionRecord& record) { record.size_bytes = UINT64_MAX; });
  refuses([&](SectionRecord& record) { record.size_bytes = bytes_.size() - record.offset + 1; });
  const size_t last = Parts::Of(bytes_).sections.size() - 1;
  EXPECT_EQ(
      WithRecord(last, [](SectionRecord& record) { record.size_bytes = record.size_bytes - 1; }),
      "1 bytes follow the last section");
}

TEST_F(Hostile, SectionsMustBeThoseOfTheModel) {
  Parts parts = Parts::Of(bytes_);
  parts.sections.pop_back();
  EXPECT_EQ(FailureOf(parts.Join()), "the image has 10 sections, its model needs 11");
  parts = Parts::Of(bytes_);
  std::swap(parts.sections[1], parts.sections[2]);
  EXPECT_EQ(FailureOf(parts.Join()), "section 1 is \"template\", its model needs \"vocabulary\"");
  parts = Parts::Of(bytes_);
  std::swap(parts.sections[0], parts.sections[1]);
  EXPECT_EQ(FailureOf(parts.Join()), "the first section is not \"config\"");
  parts.sections.clear();
  EXPECT_EQ(FailureOf(parts.Join()), "the first section is not \"config\"");
}

TEST_F(Hostile, DirectoryHoldsEveryMatrixOnceInItsShape) {
  const auto expect = [&](size_t index, std::string_view words, const auto& change) {
    const std::string message = WithTensor(index, change);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  const auto role = [](model::Role value) {
    return [value](TensorRecord& record) { record.role = static_cast<uint8_t>(value); };
  };
  expect(0, "is not the model's", role(model::Role::kFfnNorm));
  expect(0, "is not the model's", role(model::Role::kHead));
  expect(0, "is not the model's", role(static_cast<model::Role>(12)));
  expect(1, "is not the model's", [](TensorRecord& record) { record.layer = 1; });
  expect(1, "is not the model's", [](TensorRecord& record) { record.zero = 1; });
  expect(2, "blk.0.attn_v at byte", [](TensorRecord& record) {
    record.role = static_cast<uint8_t>(model::Role::kWv);
    record.offset = record.offset + 64;
  });
  expect(0, "instead of", [](TensorRecord& record) { record.size_bytes = 64; });
  expect(0, "is 10 by 8, the model's is 9 by 8", [](TensorRecord& record) { record.rows = 10; });
  expect(0, "by 9, the model's", [](TensorRecord& record) { record.cols = 9; });
  expect(0, "has format 3, not one of W3, W6, W4F",
         [](TensorRecord& record) { record.format = 3; });
  expect(0, "has format 5", [](TensorRecord& record) { record.format = 5; });
  expect(0, "has format 16", [](TensorRecord& record) { record.format = 16; });
  expect(0, "has format 0", [](TensorRecord& record) { record.format = 0; });
  expect(0, "token_embd at byte", [](TensorRecord& record) { record.offset = UINT64_MAX; });
}

// wk and wv have one shape, so a second wk in place of wv agrees in everything but its role.
TEST_F(Hostile, DirectoryHoldsNoMatrixTwice) {
  Parts parts = Parts::Of(bytes_);
  std::vector<std::byte>& directory = parts["directory"];
  const auto wk = LoadRecord<TensorRecord>(directory, 2 * sizeof(TensorRecord));
  auto wv = LoadRecord<TensorRecord>(directory, 3 * sizeof(TensorRecord));
  ASSERT_EQ(wk.role, static_cast<uint8_t>(model::Role::kWk));
  wv.role = wk.role;
  std::ranges::copy(BytesOf(wv), directory.begin() + 3 * sizeof(TensorRecord));
  const std::string message = FailureOf(parts.Join());
  EXPECT_NE(message.find("blk.0.attn_k at byte"), std::string::npos) << message;
}

TEST_F(Hostile, DirectoryAndWeightsMustHaveTheirSizes) {
  const auto grow = [](std::vector<std::byte>& bytes) { bytes.resize(bytes.size() + 64); };
  const auto shrink = [](std::vector<std::byte>& bytes) { bytes.resize(bytes.size() - 64); };
  EXPECT_NE(WithSection("directory", grow).find("\"directory\" has 320 bytes instead of 256"),
            std::string::npos);
  EXPECT_EQ(WithSection("weights/blk.0", grow),
            "section \"weights/blk.0\" has 64 bytes after its last matrix");
  EXPECT_NE(WithSection("weights/blk.0", shrink).find("does not belong there"), std::string::npos);
  const auto huge = [](std::vector<std::byte>& bytes) { bytes.resize(kMaxJson + 1); };
  EXPECT_NE(WithSection("provenance", huge).find("\"provenance\" has 16777217 bytes, at most"),
            std::string::npos);
  EXPECT_NE(WithSection("report", huge).find("\"report\" has 16777217 bytes, at most"),
            std::string::npos);
}

TEST_F(Hostile, VocabularyAndNormsAreChecked) {
  EXPECT_NE(WithSection("vocabulary", [](auto& bytes) { bytes[0] = std::byte{9}; })
                .find("tokenizer kind 9"),
            std::string::npos);
  EXPECT_NE(WithSection("norms", [](auto& bytes) { bytes.pop_back(); }).find("\"norms\" has"),
            std::string::npos);
}

TEST(Source, HoldsItsOwnFormatsOnly) {
  for (const numerics::WeightFormat format :
       {numerics::WeightFormat::kW3, numerics::WeightFormat::kW4F}) {
    Parts parts = Parts::Of(test::RandomImage(test::SmallConfig(), true));
    parts["directory"][1] = static_cast<std::byte>(format);
    const std::string message = FailureOf(parts.Join());
    const std::string expected =
        fmt::format("has format {}, not one of F32, F16, BF16", static_cast<int>(format));
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
}

// W4F stands in images like W3 and W6, and is taken for neither: its size differs.
TEST_F(Hostile, FormatAndSizeAgree) {
  Parts parts = Parts::Of(bytes_);
  parts["directory"][1] = static_cast<std::byte>(numerics::WeightFormat::kW4F);
  const std::string message = FailureOf(parts.Join());
  EXPECT_NE(message.find("token_embd has 512 bytes instead of 384"), std::string::npos) << message;
}

}  // namespace
}  // namespace etch::image
