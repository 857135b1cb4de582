#pragma once

// The small sections of an image as bytes and back: config, tables, rope, norms. layout.h has the
// records; the vocabulary has a file of its own. Decoders check everything that a section says by
// itself; errors name the section.

#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "model/config.h"
#include "model/tensors.h"
#include "numerics/activation.h"
#include "numerics/fixed_point.h"
#include "numerics/tables.h"
#include "numerics/weights.h"

namespace etch::image {

struct ConfigSection {
  std::string name;  // model id
  model::Config config;
  // Index layer * 4 + site, the head's last: 4 * n_layers + 1.
  std::vector<numerics::ActivationFormat> input_formats;
  bool is_source = false;
};
inline size_t InputFormatCount(const model::Config& config) {
  return static_cast<size_t>(config.n_layers * model::kLayerSites) + 1;
}
std::vector<std::byte> EncodeConfig(const ConfigSection& section);
// The config is valid.
Result<ConfigSection> DecodeConfig(Bytes bytes);

struct TablesSection {
  numerics::FunctionTables functions;
  numerics::LevelTables levels;
};
std::vector<std::byte> EncodeTables(const TablesSection& section);
// Both are valid.
Result<TablesSection> DecodeTables(Bytes bytes);

std::vector<std::byte> EncodeRope(const numerics::RopeTables& tables);
// Sizes are those of `config`, entries at most 2^30 in magnitude.
Result<numerics::RopeTables> DecodeRope(Bytes bytes, const model::Config& config);

// The gains of one norm, dim of each: as the model states them, and as the contract uses them
// (numerics::NormGain; none in a source image).
struct NormGains {
  std::vector<float> stated;
  std::vector<numerics::Gain16> integer;
};
// For each norm in the order of NormIndex(): dim f32; then, unless the image is a source image, dim
// mantissas (i16) and dim exponents (i8).
std::vector<std::byte> EncodeNorms(std::span<const NormGains> norms);
// Stated gains are finite.
Result<std::vector<NormGains>> DecodeNorms(Bytes bytes, const model::Config& config,
                                           bool is_source);

}  // namespace etch::image
