#include "model/config.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace etch::model {
namespace {

Config Llama31() { return *PresetConfig("llama-3.1-8b"); }

TEST(Validate, AcceptsEveryPreset) {
  for (const char* name : {"llama-3.1-8b", "llama-3.1-8b-layer", "llama-3.2-3b", "llama-3.2-1b",
                           "smollm-135m", "stories260k"}) {
    const auto config = PresetConfig(name);
    ASSERT_TRUE(config.has_value()) << config.error().message;
    const Status status = Validate(*config);
    EXPECT_TRUE(status.has_value()) << name << ": " << status.error().message;
  }
}

TEST(Validate, NamesEachFieldThatIsWrong) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Case {
    std::function<void(Config&)> spoil;
    ErrorCode code;
    std::string message;
  };
  const auto unsupported = ErrorCode::kUnsupported;
  const auto malformed = ErrorCode::kMalformed;
  const std::vector<Case> cases = {
      {[](Config& c) { c.dim = 0; }, unsupported, "config: dim is 0, supported are 2 to 16384"},
      {[](Config& c) { c.dim = kMaxDim + 1; }, unsupported, "config: dim is 16385"},
      {[](Config& c) { c.dim = std::numeric_limits<int64_t>::min(); }, unsupported, "config: dim"},
      {[](Config& c) { c.ffn_dim = 0; }, unsupported, "config: ffn_dim is 0"},
      {[](Config& c) { c.ffn_dim = kMaxFfnDim + 1; }, unsupported, "config: ffn_dim is 28673"},
      {[](Config& c) { c.n_layers = 0; }, unsupported, "config: n_layers is 0"},
      {[](Config& c) { c.n_layers = kMaxLayers + 1; }, unsupported, "config: n_layers is 257"},
      {[](Config& c) { c.n_heads = 0; }, unsupported, "config: n_heads is 0"},
      {[](Config& c) { c.n_heads = kMaxHeads + 1; }, unsupported, "config: n_heads is 257"},
      {[](Config& c) { c.n_kv_heads = 0; }, unsupported, "config: n_kv_heads is 0"},
      {[](Config& c) { c.n_kv_heads = 33; }, unsupported,
       "config: n_kv_heads is 33, supported are 1 to 32"},
      {[](Config& c) { c.n_kv_heads = 5; }, malformed,
       "config: n_heads 32 is not a multiple of n_kv_heads 5"},
      {[](Config& c) { c.head_dim = 0; }, unsupported, "config: head_dim is 0"},
      {[](Config& c) { c.head_dim = kMaxHeadDim + 2; }, unsupported, "config: head_dim is 258"},
      {[](Config& c) { c.head_dim = 127; }, unsupported,
       "config: head_dim 127 is odd, rotary embedding needs pairs"},
      {[](Config& c) { c.n_heads = c.n_kv_heads = c.head_dim = 256; }, unsupported,
       "config: n_heads * head_dim is 65536"},
      {[](Config& c) { c.vocab_size = 1; }, unsupported, "config: vocab_size is 1"},
      {[](Config& c) { c.vocab_size = kMaxVocabulary + 1; }, unsupported, "config: vocab_size"},
      {[](Config& c) { c.context = 0; }, unsupported, "config: context is 0"},
      {[](Config& c) { c.context = kMaxContext + 1; }, unsupported, "config: context is 131073"},
      {[](Config& c) { c.norm_eps = -1e-9; }, malformed, "config: norm_eps"},
      {[](Config& c) { c.norm_eps = 1.5; }, malformed, "config: norm_eps 1.5 is not in 0 to 1"},
      {[](Config& c) { c.norm_eps = kNan; }, malformed, "config: norm_eps nan"},
      {[](Config& c) { c.rope_theta = 0.5; }, malformed, "config: rope_theta 0.5"},
      {[](Config& c) { c.rope_theta = kInfinity; }, malformed, "config: rope_theta inf"},
      {[](Config& c) { c.rope_theta = kNan; }, malformed, "config: rope_theta nan"},
      {[](Config& c) { c.rope_scaling.factor = 0.0; }, malformed,
       "config: RoPE scaling factor 0 is not in 0 to 1000000000"},
      {[](Config& c) { c.rope_scaling.factor = kNan; }, malformed, "config: RoPE scaling factor"},
      {[](Config& c) { c.rope_scaling.low_freq_factor = 0.0; }, malformed,
       "config: RoPE scaling needs 0 < low_freq_factor 0 < high_freq_factor 4"},
      {[](Config& c) { c.rope_scaling.low_freq_factor = 4.0; }, malformed, "low_freq_factor 4 <"},
      {[](Config& c) { c.rope_scaling.high_freq_factor = kInfinity; }, malformed,
       "high_freq_factor inf"},
      {[](Config& c) { c.rope_scaling.original_context = 0.0; }, malformed,
       "config: RoPE scaling original_context 0"},
      {[](Config& c) { c.rope_scaling.original_context = kInfinity; }, malformed,
       "config: RoPE scaling original_context inf"},
  };
  for (const Case& wrong : cases) {
    Config config = Llama31();
    wrong.spoil(config);
    const Status status = Validate(config);
    ASSERT_FALSE(status.has_value()) << wrong.message;
    EXPECT_EQ(status.error().code, wrong.code) << status.error().message;
    EXPECT_NE(status.error().message.find(wrong.message), std::string::npos)
        << status.error().message << " does not contain " << wrong.message;
  }
}

TEST(Validate, AcceptsTheLimitsThemselves) {
  Config config = Llama31();
  config.dim = kMaxDim;
  config.ffn_dim = kMaxFfnDim;
  config.n_layers = kMaxLayers;
  config.n_heads = 112;
  config.n_kv_heads = 112;
  config.head_dim = kMaxHeadDim;
  config.vocab_size = kMaxVocabulary;
  config.context = kMaxContext;
  config.norm_eps = 0.0;
  config.rope_theta = 1.0;
  EXPECT_EQ(config.q_dim(), kMaxFfnDim);
  EXPECT_TRUE(Validate(config).has_value());
}

TEST(RopeFrequency, IsAPowerOfThetaWithoutScaling) {
  Config config = *PresetConfig("stories260k");  // theta 10000, head_dim 8: powers of ten
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 0), 1.0);
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 1), 0.1);
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 2), 0.01);
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 3), 0.001);
  config.rope_scaling.kind = RopeScaling::Kind::kLinear;
  config.rope_scaling.factor = 4.0;
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 0), 0.25);
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 3), 0.00025);
}

// Values by hand from the published formula: theta^(-2i/128); a wavelength above 8192 / 1 divides
// by 8, one below 8192 / 4 keeps, between them (8192 / wavelength - 1) / (4 - 1) blends.
TEST(RopeFrequency, FollowsLlama31) {
  const Config config = Llama31();
  EXPECT_DOUBLE_EQ(RopeFrequency(config, 0), 1.0);
  EXPECT_NEAR(RopeFrequency(config, 1), 0.81461723385654472, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 28), 0.0032114459947525909, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 29), 0.0021665707635033587, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 32), 0.00052484616099295468, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 34), 0.00017850781276799641, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 35), 9.5562123539646833e-05, 1e-15);
  EXPECT_NEAR(RopeFrequency(config, 63), 3.0689259889145111e-07, 1e-18);
}

TEST(RopeFrequency, StretchesByThePresetsFactor) {
  const Config llama31 = Llama31();
  const Config llama32 = *PresetConfig("llama-3.2-1b");
  Config plain = llama32;
  plain.rope_scaling.kind = RopeScaling::Kind::kNone;
  EXPECT_DOUBLE_EQ(RopeFrequency(llama32, 31), RopeFrequency(plain, 31) / 32.0);
  plain = llama31;
  plain.rope_scaling.kind = RopeScaling::Kind::kNone;
  EXPECT_DOUBLE_EQ(RopeFrequency(llama31, 63), RopeFrequency(plain, 63) / 8.0);
}

RC_GTEST_PROP(RopeFrequency, FallsFromPairToPair, ()) {
  Config config = Llama31();
  config.rope_scaling.factor = *rc::gen::inRange(1, 64);
  config.rope_scaling.original_context = *rc::gen::inRange(128, 131072);
  for (int64_t pair = 1; pair < config.head_dim / 2; ++pair) {
    RC_ASSERT(RopeFrequency(config, pair) < RopeFrequency(config, pair - 1));
    RC_ASSERT(RopeFrequency(config, pair) > 0.0);
  }
}

TEST(PresetConfig, ListsTheKnownNamesForAnUnknownOne) {
  const auto unknown = PresetConfig("llama-4");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(unknown.error().message,
            "no preset \"llama-4\"; known are llama-3.1-8b, llama-3.1-8b-layer, llama-3.2-3b, "
            "llama-3.2-1b, smollm-135m, stories260k");
}

}  // namespace
}  // namespace etch::model
