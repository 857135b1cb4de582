#include "ingest/huggingface_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ingest/tiny_model_test.h"

namespace etch::ingest {
namespace {

using model::RopeScaling;
using nlohmann::json;
using ::testing::HasSubstr;

json Tiny() { return testing::HuggingFaceConfig(testing::TinyConfig()); }

std::string ErrorWith(const char* key, const json& value) {
  json root = Tiny();
  root[key] = value;
  const auto config = ReadHuggingFaceConfig(root.dump());
  return config ? "no error" : config.error().message;
}

TEST(HuggingFaceConfig, ReadsEveryField) {
  const auto config = ReadHuggingFaceConfig(Tiny().dump());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(*config, testing::TinyConfig());
}

TEST(HuggingFaceConfig, DefaultsAreThoseOfTransformers) {
  json root = Tiny();
  for (const char* key : {"architectures", "num_key_value_heads", "head_dim", "rope_theta",
                          "rms_norm_eps", "tie_word_embeddings"}) {
    root.erase(key);
  }
  root["rope_scaling"] = nullptr;
  root["sliding_window"] = nullptr;
  const auto config = ReadHuggingFaceConfig(root.dump());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->n_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 4);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_EQ(config->norm_eps, 1e-6);
  EXPECT_FALSE(config->tied_embeddings);
}

TEST(HuggingFaceConfig, RopeScalingInAllSpellings) {
  const RopeScaling llama3 = {RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192.0};
  const json numbers = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  for (const char* type_key : {"type", "rope_type"}) {
    for (const char* object_key : {"rope_scaling", "rope_parameters"}) {
      json root = Tiny();
      root[object_key] = numbers;
      root[object_key][type_key] = "llama3";
      const auto config = ReadHuggingFaceConfig(root.dump());
      ASSERT_TRUE(config) << config.error().message;
      EXPECT_EQ(config->rope_scaling, llama3);
      root[object_key] = {{type_key, "linear"}, {"factor", 2.0}};
      EXPECT_EQ(ReadHuggingFaceConfig(root.dump())->rope_scaling.kind, RopeScaling::Kind::kLinear);
      root[object_key] = {{type_key, "default"}};
      EXPECT_EQ(ReadHuggingFaceConfig(root.dump())->rope_scaling, RopeScaling{});
    }
  }
  json root = Tiny();
  root.erase("rope_theta");
  root["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "default"}};
  EXPECT_EQ(ReadHuggingFaceConfig(root.dump())->rope_theta, 500000.0);
}

TEST(HuggingFaceConfig, RefusesRopeScalingOfOtherKinds) {
  EXPECT_THAT(ErrorWith("rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}),
              HasSubstr("RoPE scaling \"yarn\" is not supported"));
  EXPECT_THAT(ErrorWith("rope_scaling", {{"type", "linear"}}),
              HasSubstr("RoPE scaling \"linear\" lacks its factor"));
  EXPECT_THAT(ErrorWith("rope_scaling", {{"type", "llama3"}, {"factor", 8.0}}),
              HasSubstr("RoPE scaling \"llama3\" lacks low_freq_factor"));
  EXPECT_THAT(ErrorWith("rope_scaling", 3), HasSubstr("rope_scaling is not an object"));
  EXPECT_THAT(ErrorWith("rope_parameters", {{"partial_rotary_factor", 0.5}}),
              HasSubstr("partial_rotary_factor 0.5 is not supported"));
}

TEST(HuggingFaceConfig, MistralIsReadUnlessItsWindowIsSmaller) {
  json root = Tiny();
  root["architectures"] = {"MistralForCausalLM"};
  root["num_attention_heads"] = 8;
  root["hidden_size"] = 32;
  root.erase("num_key_value_heads");
  root["sliding_window"] = 32;
  const auto config = ReadHuggingFaceConfig(root.dump());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->architecture, "mistral");
  EXPECT_EQ(config->n_kv_heads, 8);
  EXPECT_THAT(ErrorWith("sliding_window", 16),
              HasSubstr("sliding_window 16 is smaller than max_position_embeddings 32"));
}

TEST(HuggingFaceConfig, RefusesWhatALlamaCannotHave) {
  EXPECT_THAT(ErrorWith("architectures", {"GemmaForCausalLM"}),
              HasSubstr("architecture \"GemmaForCausalLM\" is not supported; supported are"));
  EXPECT_THAT(ErrorWith("architectures", json::array()),
              HasSubstr("architectures is not a list of one name"));
  json root = Tiny();
  root.erase("architectures");
  root["model_type"] = "qwen2";
  EXPECT_THAT(ReadHuggingFaceConfig(root.dump()).error().message,
              HasSubstr("architecture \"qwen2\" is not supported"));
  EXPECT_THAT(ErrorWith("attention_bias", true), HasSubstr("attention_bias is true"));
  EXPECT_THAT(ErrorWith("mlp_bias", true), HasSubstr("mlp_bias is true"));
  EXPECT_THAT(ErrorWith("hidden_act", "gelu"), HasSubstr("hidden_act \"gelu\" is not supported"));
  EXPECT_THAT(ErrorWith("quantization_config", json::object()),
              HasSubstr("quantised safetensors are not supported"));
}

TEST(HuggingFaceConfig, RefusesWrongTypesAndSizes) {
  EXPECT_THAT(ErrorWith("hidden_size", "8"), HasSubstr("hidden_size is not an integer"));
  EXPECT_THAT(ErrorWith("hidden_size", 8.5), HasSubstr("hidden_size is not an integer"));
  EXPECT_THAT(ErrorWith("hidden_size", ~uint64_t{0}), HasSubstr("hidden_size is not an integer"));
  EXPECT_THAT(ErrorWith("hidden_size", nullptr), HasSubstr("hidden_size is missing"));
  EXPECT_THAT(ErrorWith("rope_theta", "x"), HasSubstr("rope_theta is not a number"));
  EXPECT_THAT(ErrorWith("tie_word_embeddings", 1), HasSubstr("is neither true nor false"));
  EXPECT_THAT(ErrorWith("model_type", 1), HasSubstr("model_type is not a string"));
  EXPECT_THAT(ErrorWith("num_hidden_layers", 100000), HasSubstr("n_layers is 100000"));
  json root = Tiny();
  root.erase("head_dim");
  root["num_attention_heads"] = 3;
  EXPECT_THAT(ReadHuggingFaceConfig(root.dump()).error().message,
              HasSubstr("hidden_size 8 is not a multiple of 3 heads"));
  EXPECT_EQ(ReadHuggingFaceConfig("{").error().message, "is no JSON");
  EXPECT_EQ(ReadHuggingFaceConfig("[]").error().message, "is not a JSON object");
}

}  // namespace
}  // namespace etch::ingest
