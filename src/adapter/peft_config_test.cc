#include "adapter/peft_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace etch::adapter::internal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The message for a LORA config with `fields` added; "" when it is taken.
std::string ErrorWith(const std::string& fields) {
  const auto config = ParsePeftConfig(R"({"peft_type": "LORA", "r": 4, )" + fields + "}");
  return config ? "" : config.error().message;
}

ErrorCode CodeOf(const std::string& text) {
  const auto config = ParsePeftConfig(text);
  EXPECT_FALSE(config) << text;
  return config ? ErrorCode::kCancelled : config.error().code;
}

TEST(PeftConfig, HasDefaultsOfPeft) {
  const auto config = ParsePeftConfig(R"({"peft_type": "LORA", "target_modules": "all-linear"})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->rank, 8);
  EXPECT_EQ(config->alpha, 8.0);
  EXPECT_FALSE(config->rank_stabilised);
  EXPECT_EQ(config->base_model, "");
}

TEST(PeftConfig, ReadsArithmetic) {
  const auto config = ParsePeftConfig(
      R"({"peft_type": "LORA", "r": 16, "lora_alpha": 24.5, "use_rslora": true,
          "base_model_name_or_path": "/home/someone/base",
          "rank_pattern": {"z_proj": 3, "[za]_proj": 5}, "alpha_pattern": {"q_proj": 7}})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rank, 16);
  EXPECT_EQ(config->alpha, 24.5);
  EXPECT_TRUE(config->rank_stabilised);
  EXPECT_EQ(config->base_model, "/home/someone/base");
  EXPECT_EQ(config->rank_pattern.Find("x.a_proj").value(), 5.0);
  EXPECT_EQ(config->alpha_pattern.Find("x.q_proj").value(), 7.0);
}

TEST(PeftConfig, PatternsKeepTheOrderOfTheFile) {
  const auto config = ParsePeftConfig(
      R"({"peft_type": "LORA", "rank_pattern": {"a_proj": 9},
          "rank_pattern": {"z_proj": 3, "[az]_proj": 5}})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->rank_pattern.Find("x.z_proj").value(), 3.0);
  EXPECT_EQ(config->rank_pattern.Find("x.a_proj").value(), 5.0);
}

TEST(PeftConfig, UnusedFieldsAreTaken) {
  EXPECT_EQ(ErrorWith(R"("use_dora": false, "modules_to_save": null, "lora_bias": false,
      "layer_replication": null, "trainable_token_indices": null, "loftq_config": {},
      "fan_in_fan_out": false, "bias": "none", "init_lora_weights": true, "target_parameters": [],
      "rank_pattern": null, "a_field_of_next_year": 3)"),
            "");
  EXPECT_EQ(ErrorWith(R"("init_lora_weights": "gaussian")"), "");
  EXPECT_EQ(ErrorWith(R"("init_lora_weights": "eva")"), "");
  EXPECT_EQ(ErrorWith(R"("init_lora_weights": false)"), "");
}

TEST(PeftConfig, RefusesVariantsByName) {
  const std::map<std::string, std::string> refused = {
      {R"("use_dora": true)", "use_dora: DoRA is not supported"},
      {R"("modules_to_save": ["lm_head"])",
       "modules_to_save: full weights beside the adapter is not supported"},
      {R"("lora_bias": true)", "lora_bias: a bias on B is not supported"},
      {R"("layer_replication": [[0, 4], [2, 5]])", "layer_replication: replicated layers"},
      {R"("trainable_token_indices": [1, 2])", "trainable_token_indices: trained token embeddings"},
      {R"("target_parameters": ["experts.gate"])",
       "target_parameters: adapters of bare parameters"},
      {R"("fan_in_fan_out": true)", "fan_in_fan_out: transposed layers"},
      {R"("use_qalora": true)", "use_qalora: QA-LoRA"},
      {R"("use_bdlora": {"nblocks": 2})", "use_bdlora: block-diagonal LoRA"},
      {R"("alora_invocation_tokens": [5])", "alora_invocation_tokens: activated LoRA"},
      {R"("arrow_config": {"top_k": 3})", "arrow_config: Arrow routing"},
      {R"("kasa_config": {"beta": 1})", "kasa_config: KaSA"},
      {R"("bias": "all")", "bias: trained biases are not supported"},
      {R"("bias": "lora_only")", "bias: trained biases are not supported"},
      {R"("init_lora_weights": "pissa")", "init_lora_weights: \"pissa\" changes the base model"},
      {R"("init_lora_weights": "pissa_niter_16")", "init_lora_weights: \"pissa_niter_16\" changes"},
      {R"("init_lora_weights": "olora")", "init_lora_weights: \"olora\" changes the base model"},
      {R"("init_lora_weights": "loftq")", "init_lora_weights: \"loftq\" changes the base model"},
      {R"("init_lora_weights": "corda")", "init_lora_weights: \"corda\" changes the base model"},
      {R"("init_lora_weights": 3)", "init_lora_weights: its value changes the base model"}};
  for (const auto& [field, message] : refused) {
    EXPECT_THAT(ErrorWith(field), StartsWith("adapter_config.json: " + message)) << field;
    EXPECT_EQ(CodeOf(R"({"peft_type": "LORA", )" + field + "}"), ErrorCode::kUnsupported) << field;
  }
}

TEST(PeftConfig, RefusesOtherFormats) {
  EXPECT_EQ(CodeOf(R"({"peft_type": "IA3"})"), ErrorCode::kUnsupported);
  EXPECT_THAT(ParsePeftConfig(R"({"peft_type": "IA3"})").error().message,
              HasSubstr("peft_type IA3 is not supported, only LORA"));
  EXPECT_EQ(CodeOf(R"({"fine_tune_type": "lora"})"), ErrorCode::kUnsupported);
  EXPECT_THAT(ParsePeftConfig(R"({"lora_parameters": {"rank": 8}})").error().message,
              HasSubstr("MLX adapter"));
  EXPECT_EQ(CodeOf(R"({"r": 8})"), ErrorCode::kMalformed);
  EXPECT_THAT(ParsePeftConfig(R"({"peft_type": 3})").error().message,
              HasSubstr("peft_type is missing or not a string"));
}

TEST(PeftConfig, RefusesWrongTypes) {
  const std::map<std::string, std::string> wrong = {
      {R"("r": 0)", "r is not a positive integer"},
      {R"("r": -3)", "r is not a positive integer"},
      {R"("r": 1.5)", "r is not a positive integer"},
      {R"("r": 18446744073709551615)", "r is not a positive integer"},
      {R"("lora_alpha": "16")", "lora_alpha is not a number"},
      {R"("lora_alpha": 1e40)", "lora_alpha is not a number"},
      {R"("use_rslora": 1)", "use_rslora is neither true nor false"},
      {R"("rank_pattern": [])", "rank_pattern is not an object"},
      {R"("rank_pattern": {"q": 0.5})", "rank_pattern: \"q\" is not a positive integer"},
      {R"("alpha_pattern": {"q": null})", "alpha_pattern: \"q\" is not a number"}};
  for (const auto& [field, message] : wrong) {
    const std::string text = R"({"peft_type": "LORA", )" + field + "}";
    EXPECT_EQ(CodeOf(text), ErrorCode::kMalformed) << field;
    EXPECT_EQ(ParsePeftConfig(text).error().message, "adapter_config.json: " + message);
  }
}

TEST(PeftConfig, RefusesWhatIsNoJson) {
  for (const char* text : {"", "{", "nonsense", "{\"peft_type\": NaN}", "{\"\xff\": 1}"}) {
    EXPECT_EQ(CodeOf(text), ErrorCode::kMalformed) << text;
    EXPECT_THAT(ParsePeftConfig(text).error().message, StartsWith("adapter_config.json: "));
  }
  EXPECT_EQ(ParsePeftConfig("[1]").error().message, "adapter_config.json is not a JSON object");
  EXPECT_EQ(CodeOf(std::string(100000, '[')), ErrorCode::kMalformed);
}

}  // namespace
}  // namespace etch::adapter::internal
