// The same model out of every format, and the choice between formats.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ingest/tiny_model_test.h"
#include "support/data.h"

namespace etch::ingest {
namespace {

using formats::DataType;
using model::Role;
using ::testing::HasSubstr;
using testing::OpenError;

std::unique_ptr<SourceModel> Open(const std::filesystem::path& path) {
  auto opened = OpenModel(path);
  EXPECT_TRUE(opened) << opened.error().message;
  return opened ? std::move(*opened) : nullptr;
}

TEST(OpenModel, Stories260KIsTheSameInEveryFormat) {
  ETCH_DATA_OR_SKIP(folder, "models");
  const auto gguf = Open(folder / "stories260K.gguf");
  const auto legacy = Open(folder / "stories260K.bin");
  const auto version1 = Open(folder / "stories260K_v1.bin");
  ASSERT_TRUE(gguf && legacy && version1);
  EXPECT_EQ(legacy->config(), model::PresetConfig("stories260k").value());
  EXPECT_EQ(version1->config(), legacy->config());
  // The GGUF file claims a context of 2048; the model was trained with 512.
  model::Config config = gguf->config();
  EXPECT_EQ(config.context, 2048);
  config.context = 512;
  EXPECT_EQ(config, legacy->config());
  const testing::Weights weights = testing::ReadWeights(*legacy);
  EXPECT_EQ(testing::ReadWeights(*gguf), weights);
  EXPECT_EQ(testing::ReadWeights(*version1), weights);
  ASSERT_EQ(gguf->vocabulary().tokens.size(), legacy->vocabulary().tokens.size());
  EXPECT_EQ(legacy->files()[1].name, "tok512.bin");
}

TEST(OpenModel, Stories260KInEightBitsIsClose) {
  ETCH_DATA_OR_SKIP(folder, "models");
  const auto exact = Open(folder / "stories260K.bin");
  const auto quantized = Open(folder / "stories260K_q80.bin");
  ASSERT_TRUE(exact && quantized);
  EXPECT_EQ(quantized->config(), exact->config());
  const testing::Weights expected = testing::ReadWeights(*exact);
  for (const auto& [key, values] : testing::ReadWeights(*quantized)) {
    const std::vector<float>& wanted = expected.at(key);
    for (size_t start = 0; start < values.size(); start += 8) {
      float largest = 0.0F;
      for (size_t index = start; index < start + 8; ++index) {
        largest = std::max(largest, std::abs(wanted[index]));
      }
      for (size_t index = start; index < start + 8; ++index) {
        EXPECT_LE(std::abs(values[index] - wanted[index]), largest / 127.0F * 0.5001F);
      }
    }
  }
}

TEST(OpenModel, Stories260KAsHuggingFaceDirectoryIsTheSame) {
  ETCH_DATA_OR_SKIP(folder, "models");
  const auto source = Open(folder / "stories260K.bin");
  ASSERT_TRUE(source);
  const testing::Weights expected = testing::ReadWeights(*source);
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    for (const size_t shards : {1U, 4U}) {
      const std::filesystem::path out =
          etch::test::TemporaryFolder() / fmt::format("{}-{}", formats::Traits(type).name, shards);
      std::filesystem::create_directories(out);
      testing::WriteHuggingFace(out, *source, type, source->vocabulary().tokens, shards);
      const auto opened = Open(out);
      ASSERT_TRUE(opened);
      EXPECT_EQ(opened->config(), source->config());
      // Half a unit in the last place of 11 and of 8 bits; F16 subnormals step by 2^-24.
      const float relative = type == DataType::kF32   ? 0.0F
                             : type == DataType::kF16 ? 0x1p-11F
                                                      : 0x1p-8F;
      const float absolute = type == DataType::kF16 ? 0x1p-25F : 0.0F;
      for (const auto& [key, values] : testing::ReadWeights(*opened)) {
        const std::vector<float>& wanted = expected.at(key);
        for (size_t index = 0; index < values.size(); ++index) {
          const float bound = std::max(std::abs(wanted[index]) * relative, absolute);
          ASSERT_LE(std::abs(values[index] - wanted[index]), bound)
              << model::TensorName(key.first, key.second) << " " << index;
        }
      }
    }
  }
}

TEST(OpenModel, ContentDecidesNotTheName) {
  ETCH_DATA_OR_SKIP(folder, "models");
  const std::filesystem::path out = etch::test::TemporaryFolder();
  std::filesystem::copy_file(folder / "stories260K.gguf", out / "model.bin");
  EXPECT_EQ(Open(out / "model.bin")->format(), "GGUF v3");
  std::filesystem::copy_file(folder / "stories260K.bin", out / "model.gguf");
  std::filesystem::copy_file(folder / "tok512.bin", out / "tok512.bin");
  EXPECT_EQ(Open(out / "model.gguf")->format(), "llama2.c legacy");
}

TEST(OpenModel, RefusesWhatIsNoModel) {
  const std::filesystem::path out = etch::test::TemporaryFolder();
  const auto error = [&](const std::string& text) {
    testing::WriteText(out / "file", text);
    return OpenError(out / "file");
  };
  EXPECT_THAT(OpenError(out / "absent"), HasSubstr("cannot open"));
  EXPECT_THAT(error(""), HasSubstr("is no model that Etch knows; known are"));
  EXPECT_THAT(error("ordinary raw bytes"), HasSubstr("is no model that Etch knows"));
  EXPECT_THAT(error(std::string(1000, 'x')), HasSubstr("is no model that Etch knows"));
  EXPECT_THAT(error("PK\x03\x04 archive"), HasSubstr("is a pickle, which can run code"));
  EXPECT_THAT(error("\x80\x02}q."), HasSubstr("is a pickle, which can run code"));
}

TEST(OpenModel, SafetensorsThatAreNoModelNeedAConfig) {
  ETCH_DATA_OR_SKIP(folder, "robustness/modelaudit");
  EXPECT_THAT(OpenError(folder / "safe_model.safetensors"),
              HasSubstr("there is no config.json beside it"));
}

// relu2M has the format and the sizes of a Llama; that its activation differs cannot be seen.
TEST(OpenModel, AnotherQuantizedModelIsRead) {
  ETCH_DATA_OR_SKIP(folder, "models/extra");
  auto opened = OpenModel(folder / "relu2M_q80.bin", folder / "tok4096.model");
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ((*opened)->format(), "llama2.c v2");
  testing::ReadWeights(**opened);
}

}  // namespace
}  // namespace etch::ingest
