#include "image/image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "image/layout.h"
#include "image/test_image.h"
#include "numerics/attention.h"
#include "numerics/norm.h"
#include "support/data.h"

namespace etch::image {
namespace {

namespace fs = std::filesystem;
using etch::test::TemporaryFolder;
using model::Role;

void ExpectSameTokens(const model::Vocabulary& actual, const model::Vocabulary& expected) {
  ASSERT_EQ(actual.tokens.size(), expected.tokens.size());
  for (size_t id = 0; id < actual.tokens.size(); ++id) {
    EXPECT_EQ(actual.tokens[id].text, expected.tokens[id].text);
    EXPECT_EQ(actual.tokens[id].score, expected.tokens[id].score);
  }
  EXPECT_EQ(actual.chat_template, expected.chat_template);
}

void ExpectNorm(const Image& image, Role role, int64_t layer) {
  const std::vector<float> expected = test::RandomGains(image.config(), role, layer);
  EXPECT_TRUE(std::ranges::equal(image.FloatGains(role, layer), expected));
  const auto gains = image.Gains(role, layer);
  ASSERT_EQ(gains.size(), image.is_source() ? 0 : expected.size());
  for (size_t channel = 0; channel < gains.size(); ++channel) {
    EXPECT_EQ(gains[channel],
              numerics::NormGain(static_cast<double>(expected[channel]), image.config().dim));
  }
}

void ExpectMatrix(const Image& image, Role role, int64_t layer) {
  const numerics::WeightView view = image.Weights(role, layer);
  const auto expected = test::RandomMatrix(image.config(), role, layer, image.is_source());
  EXPECT_EQ(view.format, test::FormatFor(role, layer, image.is_source()));
  EXPECT_EQ((model::Shape{view.rows, view.cols}), model::TensorShape(image.config(), role));
  EXPECT_EQ(view.levels, &image.levels());
  EXPECT_TRUE(std::ranges::equal(Bytes(view.data, expected.size()), expected))
      << model::TensorName(role, layer);
}

class RoundTrip : public testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(RoundTrip, KeepsEverything) {
  const auto [tied, is_source] = GetParam();
  const model::Config config = test::OddConfig(tied);
  const ImageHeader header = test::RandomHeader(config, is_source);
  const fs::path path = TemporaryFolder() / "a.etch";
  test::WriteRandomImage(path, header);
  Result<Image> opened = Image::Open(path);
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  const Image image = std::move(*opened);

  EXPECT_EQ(image.config(), config);
  EXPECT_EQ(image.name(), "Random-1");
  EXPECT_EQ(image.provenance_json(), R"({"source":"random"})");
  EXPECT_EQ(image.report_json(), R"({"tensors":[]})");
  EXPECT_EQ(image.is_source(), is_source);
  EXPECT_EQ(image.levels(), header.levels);
  EXPECT_EQ(image.tables(), numerics::BuildFunctionTables());
  const numerics::RopeTables rope = numerics::BuildRopeTables(config);
  EXPECT_TRUE(std::ranges::equal(image.rope_high(), rope.high));
  EXPECT_TRUE(std::ranges::equal(image.rope_low(), rope.low));
  EXPECT_EQ(image.rope_high().size(), 8U);
  EXPECT_EQ(image.norm_epsilon(), numerics::NormEpsilon(1e-5, 40));
  EXPECT_EQ(image.score_scale(), numerics::ScoreScale(8));
  EXPECT_EQ(image.path(), path);
  EXPECT_EQ(image.size_bytes(), fs::file_size(path));
  ExpectSameTokens(image.vocabulary(), header.vocabulary);
  EXPECT_EQ(image.tensors().size(), tied ? 22U : 23U);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (int site = 0; site < model::kLayerSites; ++site) {
      EXPECT_EQ(image.InputFormat(static_cast<model::InputSite>(site), layer),
                header.input_formats[static_cast<size_t>(layer * model::kLayerSites + site)]);
    }
    ExpectNorm(image, Role::kAttentionNorm, layer);
    ExpectNorm(image, Role::kFfnNorm, layer);
    for (const Role role : model::kBlockLinears) {
      ExpectMatrix(image, role, layer);
    }
  }
  EXPECT_EQ(image.InputFormat(model::InputSite::kHead, 0), header.input_formats.back());
  ExpectNorm(image, Role::kFinalNorm, 0);
  ExpectMatrix(image, Role::kTokenEmbedding, 0);
  if (tied) {
    EXPECT_EQ(image.Weights(Role::kHead, 0).data, image.Weights(Role::kTokenEmbedding, 0).data);
  } else {
    ExpectMatrix(image, Role::kHead, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(AllKinds, RoundTrip, testing::Combine(testing::Bool(), testing::Bool()));

TEST(Image, ListsItsSectionsInOrder) {
  const auto bytes = test::RandomImage(test::SmallConfig());
  const Result<Image> image = Image::FromBytes(bytes);
  ASSERT_TRUE(image.has_value()) << image.error().message;
  std::vector<std::string> names;
  for (const SectionInfo& section : image->sections()) {
    names.push_back(section.name);
    EXPECT_EQ(section.offset % (section.name.starts_with("weights/") ? 4096 : 64), 0U);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"config", "vocabulary", "template", "tables", "rope",
                                             "weights/embedding", "weights/blk.0", "norms",
                                             "directory", "provenance", "report"}));
  EXPECT_TRUE(image->path().empty());
}

// True when `address` lies in a shared, read-only mapping of `path`.
bool IsMappedFrom(const fs::path& path, const std::byte* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("r--s") != std::string::npos && line.ends_with(path.string())) {
      std::istringstream range(line);
      uintptr_t begin = 0;
      uintptr_t end = 0;
      char dash = 0;
      range >> std::hex >> begin >> dash >> end;
      const auto value = reinterpret_cast<uintptr_t>(address);
      if (value >= begin && value < end) {
        return true;
      }
    }
  }
  return false;
}

// Several processes that run one image share the pages of its file: nothing is copied.
TEST(Image, LeavesTheWeightsInTheMapping) {
  const fs::path path = TemporaryFolder() / "a.etch";
  test::WriteRandomImage(path, test::RandomHeader(test::OddConfig(false), false));
  const Result<Image> first = Image::Open(path);
  const Result<Image> second = Image::Open(path);
  ASSERT_TRUE(first.has_value() && second.has_value());
  for (const Image* image : {&*first, &*second}) {
    for (const TensorInfo& tensor : image->tensors()) {
      const std::byte* data = image->Weights(tensor.role, tensor.layer).data;
      EXPECT_TRUE(IsMappedFrom(path, data));
      EXPECT_TRUE(IsMappedFrom(path, data + tensor.size_bytes - 1));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0U);
    }
  }
  EXPECT_EQ(first->fingerprint(), second->fingerprint());
}

TEST(Image, MovesWithoutLosingItsViews) {
  const auto bytes = test::RandomImage(test::SmallConfig());
  Result<Image> first = Image::FromBytes(bytes);
  ASSERT_TRUE(first.has_value());
  const numerics::WeightView before = first->Weights(Role::kWq, 0);
  Image moved = std::move(*first);
  EXPECT_EQ(moved.Weights(Role::kWq, 0).levels, before.levels);
  Result<Image> second = Image::FromBytes(bytes);
  *second = std::move(moved);
  EXPECT_EQ(second->Weights(Role::kWq, 0).data, before.data);
}

TEST(Image, FingerprintFollowsTheContent) {
  const fs::path folder = TemporaryFolder();
  ImageHeader header = test::RandomHeader(test::SmallConfig(), false);
  test::WriteRandomImage(folder / "a.etch", header);
  header.name = "Random-2";
  test::WriteRandomImage(folder / "b.etch", header);
  EXPECT_NE(Image::Open(folder / "a.etch")->fingerprint(),
            Image::Open(folder / "b.etch")->fingerprint());
}

TEST(Image, NamesTheFileThatIsNoImage) {
  const fs::path folder = TemporaryFolder();
  for (const std::string_view text : {"", "ETCH", "a text that is long enough to hold a trailer"}) {
    ASSERT_TRUE(WriteFileAtomically(folder / "a", AsBytes(text)).has_value());
    const Result<Image> image = Image::Open(folder / "a");
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, ErrorCode::kMalformed);
    EXPECT_EQ(image.error().message, (folder / "a").string() + ": is not an Etch image");
  }
  EXPECT_EQ(Image::Open(folder / "missing").error().code, ErrorCode::kNotFound);
}

// Images of earlier versions stay readable. A change of the format that this test notices needs a
// higher version number, and an image of its own here. ETCH_UPDATE_GOLDEN=1 writes it anew.
struct Golden {
  const char* file;  // under tests/golden
  bool small;        // the smallest image, also a seed of the fuzz target
  bool is_source;
};

class GoldenImage : public testing::TestWithParam<Golden> {};

TEST_P(GoldenImage, OfVersion1IsReadAndWrittenTheSame) {
  const auto [file, small, is_source] = GetParam();
  const fs::path golden = etch::test::SourceFolder() / "tests" / "golden" / file;
  const fs::path path = TemporaryFolder() / "a.etch";
  model::Config config = small ? test::SmallConfig() : test::OddConfig(false);
  config.n_layers = 1;
  test::WriteRandomImage(path, test::RandomHeader(config, is_source));
  if (std::getenv("ETCH_UPDATE_GOLDEN") != nullptr) {
    fs::create_directories(golden.parent_path());
    fs::copy_file(path, golden, fs::copy_options::overwrite_existing);
  }
  const Result<Image> image = Image::Open(golden);
  ASSERT_TRUE(image.has_value()) << image.error().message;
  EXPECT_EQ(image->config(), config);
  EXPECT_EQ(image->is_source(), is_source);
  for (const TensorInfo& tensor : image->tensors()) {
    ExpectMatrix(*image, tensor.role, tensor.layer);
  }
  ExpectNorm(*image, Role::kFinalNorm, 0);
  EXPECT_EQ(test::ReadFile(path), test::ReadFile(golden));
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenImage,
                         testing::Values(Golden{"images/v1.img", false, false},
                                         Golden{"corpus/image/small.img", true, false},
                                         Golden{"corpus/image/small_source.img", true, true}));

TEST(Standalone, CarriesItsImage) {
  const fs::path folder = TemporaryFolder();
  test::WriteRandomImage(folder / "a.etch", test::RandomHeader(test::OddConfig(false), false));
  const std::string program(10'000, 'p');
  ASSERT_TRUE(WriteFileAtomically(folder / "program", AsBytes(program)).has_value());
  const Status written =
      WriteStandalone(folder / "program", folder / "a.etch", folder / "standalone");
  ASSERT_TRUE(written.has_value()) << written.error().message;

  const Result<Image> image = Image::Open(folder / "standalone");
  ASSERT_TRUE(image.has_value()) << image.error().message;
  const Result<Image> plain = Image::Open(folder / "a.etch");
  EXPECT_EQ(image->fingerprint(), plain->fingerprint());
  EXPECT_EQ(image->size_bytes(), plain->size_bytes());
  ExpectMatrix(*image, Role::kDown, 2);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(image->Weights(Role::kHead, 0).data) % 64, 0U);
  EXPECT_EQ(fs::status(folder / "standalone").permissions(), fs::perms(0755));
  EXPECT_TRUE(AsText(test::ReadFile(folder / "standalone")).starts_with(program));

  EXPECT_TRUE(HasAppendedImage(folder / "standalone"));
  EXPECT_FALSE(HasAppendedImage(folder / "a.etch"));
  EXPECT_FALSE(HasAppendedImage(folder / "program"));
  EXPECT_FALSE(HasAppendedImage(folder / "missing"));
}

// A standalone executable as the program and as the image: neither nests.
TEST(Standalone, DoesNotNest) {
  const fs::path folder = TemporaryFolder();
  ImageHeader header = test::RandomHeader(test::SmallConfig(), false);
  test::WriteRandomImage(folder / "a.etch", header);
  header.name = "Random-2";
  test::WriteRandomImage(folder / "b.etch", header);
  ASSERT_TRUE(WriteFileAtomically(folder / "program", AsBytes("code")).has_value());
  ASSERT_TRUE(WriteStandalone(folder / "program", folder / "a.etch", folder / "a").has_value());
  ASSERT_TRUE(WriteStandalone(folder / "program", folder / "b.etch", folder / "b").has_value());
  ASSERT_TRUE(WriteStandalone(folder / "a", folder / "b", folder / "again").has_value());
  EXPECT_EQ(test::ReadFile(folder / "again"), test::ReadFile(folder / "b"));
}

TEST(Standalone, RefusesWhatIsNoImage) {
  const fs::path folder = TemporaryFolder();
  ASSERT_TRUE(WriteFileAtomically(folder / "program", AsBytes("code")).has_value());
  const Status status = WriteStandalone(folder / "program", folder / "program", folder / "out");
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().message, (folder / "program").string() + ": is not an Etch image");
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(Standalone, FindsDamageInProgramTrailerAndImage) {
  const fs::path folder = TemporaryFolder();
  test::WriteRandomImage(folder / "a.etch", test::RandomHeader(test::SmallConfig(), false));
  ASSERT_TRUE(WriteFileAtomically(folder / "program", AsBytes("code")).has_value());
  ASSERT_TRUE(WriteStandalone(folder / "program", folder / "a.etch", folder / "a").has_value());
  std::vector<std::byte> bytes = test::ReadFile(folder / "a");
  const auto message = [&] {
    EXPECT_TRUE(WriteFileAtomically(folder / "b", bytes).has_value());
    const Result<Image> image = Image::Open(folder / "b");
    return image ? "" : image.error().message;
  };
  for (size_t offset = bytes.size() - sizeof(TrailerRecord); offset < bytes.size(); ++offset) {
    bytes[offset] ^= std::byte{4};
    EXPECT_EQ(message(), (folder / "b").string() + ": is not an Etch image") << offset;
    bytes[offset] ^= std::byte{4};
  }
  bytes[bytes.size() - sizeof(TrailerRecord) - 1] ^= std::byte{4};
  EXPECT_NE(message().find("section \"report\" is damaged"), std::string::npos);
  bytes.pop_back();
  EXPECT_NE(message().find("is not an Etch image"), std::string::npos);
}

}  // namespace
}  // namespace etch::image
