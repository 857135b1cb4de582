#include "model/config.h"

#include <array>
#include <cmath>
#include <numbers>

namespace etch::model {
namespace {

constexpr double kMaxRopeScaling = 1e9;

Status CheckField(std::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    return Fail(ErrorCode::kUnsupported, "config: {} is {}, supported are {} to {}", name, value,
                low, high);
  }
  return {};
}

Status ValidateRopeScaling(const RopeScaling& scaling) {
  const auto in_range = [](double value) { return value > 0.0 && value <= kMaxRopeScaling; };
  if (!in_range(scaling.factor)) {
    return Fail(ErrorCode::kMalformed, "config: RoPE scaling factor {} is not in 0 to {}",
                scaling.factor, kMaxRopeScaling);
  }
  if (!in_range(scaling.low_freq_factor) || !in_range(scaling.high_freq_factor) ||
      scaling.high_freq_factor <= scaling.low_freq_factor) {
    return Fail(ErrorCode::kMalformed,
                "config: RoPE scaling needs 0 < low_freq_factor {} < high_freq_factor {}",
                scaling.low_freq_factor, scaling.high_freq_factor);
  }
  if (!in_range(scaling.original_context)) {
    return Fail(ErrorCode::kMalformed, "config: RoPE scaling original_context {} is not in 0 to {}",
                scaling.original_context, kMaxRopeScaling);
  }
  return {};
}

}  // namespace

Status Validate(const Config& config) {
  ETCH_TRY(CheckField("dim", config.dim, 2, kMaxDim));
  ETCH_TRY(CheckField("ffn_dim", config.ffn_dim, 1, kMaxFfnDim));
  ETCH_TRY(CheckField("n_layers", config.n_layers, 1, kMaxLayers));
  ETCH_TRY(CheckField("n_heads", config.n_heads, 1, kMaxHeads));
  ETCH_TRY(CheckField("n_kv_heads", config.n_kv_heads, 1, config.n_heads));
  ETCH_TRY(CheckField("head_dim", config.head_dim, 2, kMaxHeadDim));
  ETCH_TRY(CheckField("vocab_size", config.vocab_size, 2, kMaxVocabulary));
  ETCH_TRY(CheckField("context", config.context, 1, kMaxContext));
  ETCH_TRY(CheckField("n_heads * head_dim", config.q_dim(), 2, kMaxFfnDim));
  if (config.n_heads % config.n_kv_heads != 0) {
    return Fail(ErrorCode::kMalformed, "config: n_heads {} is not a multiple of n_kv_heads {}",
                config.n_heads, config.n_kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return Fail(ErrorCode::kUnsupported, "config: head_dim {} is odd, rotary embedding needs pairs",
                config.head_dim);
  }
  if (!(config.norm_eps >= 0.0 && config.norm_eps <= 1.0)) {
    return Fail(ErrorCode::kMalformed, "config: norm_eps {} is not in 0 to 1", config.norm_eps);
  }
  if (!(config.rope_theta >= 1.0 && config.rope_theta <= 1e12)) {
    return Fail(ErrorCode::kMalformed, "config: rope_theta {} is not in 1 to 1e12",
                config.rope_theta);
  }
  return ValidateRopeScaling(config.rope_scaling);
}

double RopeFrequency(const Config& config, int64_t pair) {
  const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(config.head_dim);
  const double frequency = std::pow(config.rope_theta, -exponent);
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kNone) {
    return frequency;
  }
  if (scaling.kind == RopeScaling::Kind::kLinear) {
    return frequency / scaling.factor;
  }
  // Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between
  // interpolated.
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const double low_wavelength = scaling.original_context / scaling.low_freq_factor;
  const double high_wavelength = scaling.original_context / scaling.high_freq_factor;
  if (wavelength < high_wavelength) {
    return frequency;
  }
  if (wavelength > low_wavelength) {
    return frequency / scaling.factor;
  }
  const double smooth = (scaling.original_context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
}

Result<Config> PresetConfig(std::string_view name) {
  const RopeScaling llama31 = {RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192.0};
  const RopeScaling llama32 = {RopeScaling::Kind::kLlama3, 32.0, 1.0, 4.0, 8192.0};
  struct Preset {
    std::string_view name;
    Config config;
  };
  const std::array<Preset, 6> presets = {{
      {"llama-3.1-8b",
       {"llama", 4096, 14336, 32, 32, 8, 128, 128256, 131072, 1e-5, 500000.0, llama31, false}},
      // One layer of it at full size, with a small vocabulary: what a chip's test can carry.
      {"llama-3.1-8b-layer",
       {"llama", 4096, 14336, 1, 32, 8, 128, 512, 131072, 1e-5, 500000.0, llama31, false}},
      {"llama-3.2-3b",
       {"llama", 3072, 8192, 28, 24, 8, 128, 128256, 131072, 1e-5, 500000.0, llama32, true}},
      {"llama-3.2-1b",
       {"llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072, 1e-5, 500000.0, llama32, true}},
      {"smollm-135m", {"llama", 576, 1536, 30, 9, 3, 64, 49152, 2048, 1e-5, 10000.0, {}, true}},
      {"stories260k", {"llama", 64, 172, 5, 8, 4, 8, 512, 512, 1e-5, 10000.0, {}, true}},
  }};
  std::string known;
  for (const Preset& preset : presets) {
    if (preset.name == name) {
      return preset.config;
    }
    known += known.empty() ? "" : ", ";
    known += preset.name;
  }
  return Fail(ErrorCode::kInvalidArgument, "no preset \"{}\"; known are {}", name, known);
}

}  // namespace etch::model
