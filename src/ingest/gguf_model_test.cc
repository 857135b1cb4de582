#include "ingest/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ingest/tiny_model_test.h"
#include "support/data.h"

namespace etch::ingest {
namespace {

using formats::GgufFloat32;
using formats::GgufString;
using formats::GgufUint32;
using formats::GgufValue;
using model::RopeScaling;
using ::testing::HasSubstr;
using testing::OpenError;

class GgufModel : public ::testing::Test {
 protected:
  GgufModel() : source_(testing::TinyModel()), content_(testing::TinyGguf(*source_)) {}

  std::string Error() {
    content_.Write(path_);
    return OpenError(path_);
  }
  std::string ErrorWith(const std::string& key, const GgufValue& value) {
    testing::GgufContent changed = content_;
    changed.SetKey(key, &value);
    changed.Write(path_);
    return OpenError(path_);
  }
  std::string ErrorWithout(const std::string& key) {
    testing::GgufContent changed = content_;
    changed.SetKey(key, nullptr);
    changed.Write(path_);
    return OpenError(path_);
  }
  // The configuration after a key was set.
  model::Config ConfigWith(const std::string& key, const GgufValue& value) {
    EXPECT_EQ(ErrorWith(key, value), "") << key;
    return OpenModel(path_)->get()->config();
  }

  std::filesystem::path path_ = etch::test::TemporaryFolder() / "tiny.gguf";
  std::unique_ptr<SourceModel> source_;
  testing::GgufContent content_;
};

TEST_F(GgufModel, GivesBackWhatWasWritten) {
  ASSERT_EQ(Error(), "");
  const auto opened = OpenModel(path_);
  EXPECT_EQ((*opened)->config(), source_->config());
  EXPECT_EQ(testing::ReadWeights(**opened), testing::ReadWeights(*source_));
  EXPECT_EQ((*opened)->format(), "GGUF v3");
  EXPECT_EQ((*opened)->name(), "tiny");
  EXPECT_EQ((*opened)->Tensors()[0].name, "token_embd.weight");
  EXPECT_EQ((*opened)->vocabulary().tokens.size(), 264U);
  EXPECT_EQ((*opened)->vocabulary().eos, 2);
  ASSERT_TRUE((*opened)->HashFiles());
  EXPECT_NE((*opened)->files().front().xxh3, 0U);
  content_.metadata.Add("general.name", GgufString("Tiny One"));
  ASSERT_EQ(Error(), "");
  EXPECT_EQ(OpenModel(path_)->get()->name(), "Tiny One");
}

TEST_F(GgufModel, HeadMayBeAbsentOrDoubled) {
  content_.data["output.weight"] = content_.data["token_embd.weight"];
  content_.tensors["output.weight"].data = content_.data["output.weight"];
  ASSERT_EQ(Error(), "");
  EXPECT_TRUE(OpenModel(path_)->get()->config().tied_embeddings);
  content_.tensors.erase("output.weight");
  ASSERT_EQ(Error(), "");
  EXPECT_TRUE(OpenModel(path_)->get()->config().tied_embeddings);
}

TEST_F(GgufModel, RefusesOtherArchitectures) {
  EXPECT_EQ(ErrorWith("general.architecture", GgufString("qwen2")),
            "tiny.gguf: architecture \"qwen2\" is not supported; supported is \"llama\" (Llama, "
            "Mistral, SmolLM)");
  EXPECT_EQ(ErrorWithout("general.architecture"),
            "tiny.gguf: metadata key \"general.architecture\" is missing");
  EXPECT_EQ(ErrorWith("llama.expert_count", GgufUint32(8)),
            "tiny.gguf: a mixture of 8 experts is not supported");
  EXPECT_EQ(ErrorWith("llama.expert_count", GgufUint32(0)), "");
}

TEST_F(GgufModel, RefusesMissingAndContradictoryKeys) {
  for (const char* key : {"llama.embedding_length", "llama.feed_forward_length",
                          "llama.block_count", "llama.context_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.tokens"}) {
    EXPECT_EQ(ErrorWithout(key), fmt::format("tiny.gguf: metadata key \"{}\" is missing", key));
  }
  EXPECT_THAT(ErrorWith("llama.block_count", GgufString("two")), HasSubstr("is not an integer"));
  EXPECT_THAT(ErrorWith("llama.block_count", GgufUint32(3)),
              HasSubstr("tensor \"blk.2.attn_norm.weight\" is missing"));
  EXPECT_THAT(ErrorWith("llama.attention.value_length", GgufUint32(8)),
              HasSubstr("value_length 8 differs from key_length 4"));
  EXPECT_THAT(ErrorWith("llama.rope.dimension_count", GgufUint32(2)),
              HasSubstr("partial rotation is not supported"));
  EXPECT_THAT(ErrorWith("llama.attention.sliding_window", GgufUint32(8)),
              HasSubstr("attention.sliding_window 8 is smaller than the context 32"));
  EXPECT_THAT(ErrorWith("llama.attention.head_count_kv", formats::GgufInt32s({1, 1})),
              HasSubstr("is not an integer"));
  EXPECT_THAT(ErrorWith("llama.context_length", GgufUint32(1U << 30)),
              HasSubstr("config: context is 1073741824"));
  content_.SetKey("llama.attention.key_length", nullptr);
  EXPECT_THAT(ErrorWith("llama.attention.head_count", GgufUint32(3)),
              HasSubstr("embedding_length 8 is not a multiple of 3 heads"));
}

TEST_F(GgufModel, RopeScalingFromMetadata) {
  content_.metadata.Add("llama.rope.scaling.factor", GgufFloat32(2.5F));
  const RopeScaling linear = {.kind = RopeScaling::Kind::kLinear, .factor = 2.5};
  EXPECT_EQ(ConfigWith("llama.rope.scaling.type", GgufString("linear")).rope_scaling, linear);
  EXPECT_EQ(ConfigWith("llama.rope.scaling.type", GgufString("none")).rope_scaling, RopeScaling{});
  EXPECT_EQ(ConfigWith("llama.rope.scale_linear", GgufFloat32(2.5F)).rope_scaling, linear);
  EXPECT_THAT(ErrorWith("llama.rope.scaling.type", GgufString("yarn")),
              HasSubstr("RoPE scaling \"yarn\" is not supported"));
}

// What llama.cpp's converter writes for a Llama 3.1, in single precision from its own formula.
std::vector<float> Llama3Factors(int64_t head_dim, double theta, double factor) {
  std::vector<float> factors;
  for (int64_t pair = 0; pair < head_dim / 2; ++pair) {
    const double frequency =
        1.0 / std::pow(theta, 2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
    const double wavelength = 2.0 * 3.14159265358979 / frequency;
    const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
    const double divisor = wavelength < 8192.0 / 4.0   ? 1.0
                           : wavelength > 8192.0 / 1.0 ? factor
                                                       : 1.0 / ((1.0 - smooth) / factor + smooth);
    factors.push_back(static_cast<float>(divisor));
  }
  return factors;
}

TEST_F(GgufModel, RopeFactorsBecomeLlama3Scaling) {
  // A head of 64 with theta 500000 has pairs below, inside and above the interpolated band.
  model::Config config = testing::TinyConfig();
  config.head_dim = 64;
  config.rope_theta = 500000.0;
  content_ = testing::TinyGguf(*MakeSyntheticModel(config, 1, "wide"));
  for (const double factor : {8.0, 32.0}) {
    std::vector<float> factors = Llama3Factors(64, 500000.0, factor);
    ASSERT_LT(std::ranges::count(factors, 1.0F) + std::ranges::count(factors, factors.back()), 32);
    content_.SetTensor("rope_freqs.weight", {32}, factors);
    ASSERT_EQ(Error(), "");
    config.rope_scaling = {RopeScaling::Kind::kLlama3, factor, 1.0, 4.0, 8192.0};
    EXPECT_EQ(OpenModel(path_)->get()->config(), config);
    factors[16] *= 1.01F;
    content_.SetTensor("rope_freqs.weight", {32}, factors);
    EXPECT_THAT(Error(), HasSubstr("of rotation pair 16 is not that of Llama 3's RoPE scaling"));
    factors[16] = std::numeric_limits<float>::quiet_NaN();
    content_.SetTensor("rope_freqs.weight", {32}, factors);
    EXPECT_THAT(Error(), HasSubstr("tensor \"rope_freqs.weight\": factor"));
  }
  content_.SetTensor("rope_freqs.weight", {32}, std::vector<float>(32, 1.0F));
  ASSERT_EQ(Error(), "");
  EXPECT_EQ(OpenModel(path_)->get()->config().rope_scaling, RopeScaling{});
  content_.SetTensor("rope_freqs.weight", {31}, std::vector<float>(31, 1.0F));
  EXPECT_THAT(Error(), HasSubstr("tensor \"rope_freqs.weight\" is not 32 values of F32"));
  content_.SetTensor("rope_freqs.weight", {32}, Llama3Factors(64, 500000.0, 8.0));
  content_.metadata.Add("llama.rope.scale_linear", GgufFloat32(2.0F));
  EXPECT_THAT(Error(), HasSubstr("tensor \"rope_freqs.weight\" beside linear RoPE scaling"));
}

TEST_F(GgufModel, RefusesMissingStrayAndMisshapenTensors) {
  const testing::GgufContent whole = content_;
  content_.tensors.erase("blk.1.ffn_up.weight");
  EXPECT_EQ(Error(), "tiny.gguf: tensor \"blk.1.ffn_up.weight\" is missing");
  content_.tensors = whole.tensors;
  content_.tensors.erase("token_embd.weight");
  EXPECT_EQ(Error(), "tiny.gguf: tensor \"token_embd.weight\" is missing or no matrix");
  content_.tensors = whole.tensors;
  content_.SetTensor("blk.0.attn_q.bias", {8}, std::vector<float>(8));
  EXPECT_THAT(Error(), HasSubstr("tensor \"blk.0.attn_q.bias\" at byte"));
  EXPECT_THAT(Error(), HasSubstr("has no place in a Llama model"));
  content_.tensors = whole.tensors;
  content_.SetTensor("blk.0.attn_k.weight", {4, 8}, std::vector<float>(32));
  EXPECT_THAT(Error(), HasSubstr("tiny.gguf: tensor \"blk.0.attn_k.weight\" at byte"));
  EXPECT_THAT(Error(), HasSubstr("has the shape [8, 4], the configuration needs [4, 8]"));
}

TEST_F(GgufModel, RefusesNanByPlaceAndUnreadableTypes) {
  std::vector<float> values(32, 0.5F);
  values[9] = std::numeric_limits<float>::quiet_NaN();
  content_.SetTensor("blk.1.attn_v.weight", {8, 4}, values);
  ASSERT_EQ(Error(), "");
  const auto opened = OpenModel(path_);
  std::vector<float> out(32);
  EXPECT_TRUE((*opened)->Read(model::Role::kWv, 0, out));
  const Status status = (*opened)->Read(model::Role::kWv, 1, out);
  EXPECT_THAT(status.error().message, HasSubstr("tensor \"blk.1.attn_v.weight\" at byte"));
  EXPECT_THAT(status.error().message, HasSubstr("row 1, column 1 is not a number"));
  content_.tensors["blk.1.attn_v.weight"].type = formats::DataType::kI32;
  EXPECT_THAT(Error(), HasSubstr("type I32 is not supported; convert it to F16"));
}

TEST_F(GgufModel, EveryTruncationIsAnError) {
  ASSERT_EQ(Error(), "");
  const std::string text = ReadSmallFile(path_).value();
  for (size_t size = 0; size < text.size() - 32; size += 1 + text.size() / 300) {
    testing::WriteText(path_, text.substr(0, size));
    EXPECT_NE(OpenError(path_), "") << size;
  }
}

TEST_F(GgufModel, ChangedHeadersNeverCrash) {
  ASSERT_EQ(Error(), "");
  const std::string original = ReadSmallFile(path_).value();
  uint32_t random = 12345;
  for (int round = 0; round < 300; ++round) {
    std::string text = original;
    for (int change = 0; change < 3; ++change) {
      random = random * 1664525 + 1013904223;
      text[(random >> 8) % 12000] = static_cast<char>(random >> 24);
    }
    testing::WriteText(path_, text);
    if (const auto opened = OpenModel(path_)) {
      for (const TensorKey& key : RequiredTensors((*opened)->config())) {
        const model::Shape shape = model::TensorShape((*opened)->config(), key.first);
        std::vector<float> values(static_cast<size_t>(shape.size()));
        (void)(*opened)->Read(key.first, key.second, values);
      }
    }
  }
}

TEST(GgufModelData, RandomLlama2IsRead) {
  ETCH_DATA_OR_SKIP(path, "models/llama-2-tiny-random.gguf");
  const auto opened = OpenModel(path);
  ASSERT_TRUE(opened) << opened.error().message;
  const model::Config& config = (*opened)->config();
  EXPECT_EQ(config.dim, 8);
  EXPECT_EQ(config.vocab_size, 32000);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ((*opened)->name(), "LLaMA v2");
  EXPECT_EQ((*opened)->Tensors()[0].format, "F16");
  testing::ReadWeights(**opened);
}

TEST(GgufModelData, RobustnessFilesAreRefused) {
  ETCH_DATA_OR_SKIP(folder, "robustness");
  EXPECT_EQ(OpenError(folder / "weight-inspect/empty.gguf"),
            "empty.gguf: metadata key \"llama.embedding_length\" is missing");
  EXPECT_THAT(OpenError(folder / "weight-inspect/tiny.gguf"), HasSubstr("test.weight.0"));
  EXPECT_THAT(OpenError(folder / "ollama_test.gguf"), HasSubstr("ends at byte 6"));
  EXPECT_THAT(OpenError(folder / "../tokenizers/vectors/ggml-vocab-llama-spm.gguf"),
              HasSubstr("tensor \"token_embd.weight\" is missing or no matrix"));
}

// The manifest lists names of tensors of the 8B shape, one hash each, beside its metadata.
TEST(GgufModelData, NamesAndSizesAgreeWithTheLlama3Manifest) {
  ETCH_DATA_OR_SKIP(path, "models/manifests/Meta-Llama-3-8B-Instruct.json");
  const auto manifest = nlohmann::json::parse(ReadSmallFile(path).value());
  model::Config config = model::PresetConfig("llama-3.1-8b").value();
  const auto number = [&manifest](const char* key) {
    return std::stoll(manifest[key].get<std::string>());
  };
  EXPECT_EQ(number("llama.embedding_length"), config.dim);
  EXPECT_EQ(number("llama.feed_forward_length"), config.ffn_dim);
  EXPECT_EQ(number("llama.block_count"), config.n_layers);
  EXPECT_EQ(number("llama.attention.head_count"), config.n_heads);
  EXPECT_EQ(number("llama.attention.head_count_kv"), config.n_kv_heads);
  EXPECT_EQ(number("llama.rope.dimension_count"), config.head_dim);
  EXPECT_EQ(number("llama.vocab_size"), config.vocab_size);
  size_t weights = 0;
  for (const auto& [key, hash] : manifest.items()) {
    weights += key.ends_with(".weight") ? 1 : 0;
  }
  const std::vector<TensorKey> keys = RequiredTensors(config);
  EXPECT_EQ(weights, keys.size());
  for (const auto& [role, layer] : keys) {
    EXPECT_TRUE(manifest.contains(model::TensorName(role, layer) + ".weight"));
  }
  EXPECT_EQ(model::ParameterCount(config), 8030261248);
}

}  // namespace
}  // namespace etch::ingest
