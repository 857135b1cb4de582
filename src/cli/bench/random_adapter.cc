// The codes are written straight into the W8 layout (numerics/weights.h), because packing them one
// by one would take a minute for fifteen adapters of an 8B model. With rank 16 nothing of it is
// padding.

#include "cli/bench/random_adapter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace etch::cli {
namespace {

using engine::AdapterLinear;
using numerics::WeightFormat;

static_assert(kRandomAdapterRank == numerics::kTileRows);
static_assert(numerics::StoredColumns(WeightFormat::kW8, kRandomAdapterRank) == kRandomAdapterRank);

// SplitMix64: eight codes a step.
class Codes {
 public:
  explicit Codes(uint64_t seed) : state_(seed) {}

  void Fill(std::span<std::byte> codes) {  // a multiple of 8
    for (size_t index = 0; index < codes.size(); index += sizeof(uint64_t)) {
      state_ += 0x9e3779b97f4a7c15U;
      uint64_t mixed = state_;
      mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
      mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
      mixed ^= mixed >> 31U;
      std::memcpy(codes.data() + index, &mixed, sizeof mixed);
    }
    // W8 has no code -128.
    std::ranges::replace(codes, std::byte{0x80}, std::byte{0x81});
  }

 private:
  uint64_t state_;
};

// Makes `data` a W8 (rows, cols) of random codes whose rows have the scale `scale`.
void FillW8(int64_t rows, int64_t cols, double scale, Codes& random, engine::StreamedBytes& data) {
  const int64_t tile_bytes = numerics::TileBytes(WeightFormat::kW8, cols);
  data.resize(static_cast<size_t>(numerics::WeightBytes(WeightFormat::kW8, rows, cols)));
  const numerics::Scale16 scale16 = numerics::ToScale16(scale);
  for (int64_t first = 0; first < rows; first += numerics::kTileRows) {
    const auto tile =
        std::span(data).subspan(static_cast<size_t>(first / numerics::kTileRows * tile_bytes),
                                static_cast<size_t>(tile_bytes));
    const int64_t lanes = std::min(numerics::kTileRows, rows - first);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      numerics::PackRowScale(tile, lane, scale16);
    }
    random.Fill(tile.subspan(numerics::kTileHeaderBytes));
  }
}

// Scale of the rows of a matrix whose outputs are `gain` times as large as its `inputs` inputs: a
// random code is 73 in the mean square.
double ScaleFor(double gain, int64_t inputs) {
  return gain / (73.0 * std::sqrt(static_cast<double>(inputs)));
}

void AddFloats(AdapterLinear& linear, int64_t rows, int64_t cols) {
  linear.a_float.resize(static_cast<size_t>(linear.rank * cols));
  for (int64_t row = 0; row < linear.rank; ++row) {
    numerics::DequantizeRow(
        linear.ViewA(cols), row,
        std::span(linear.a_float)
            .subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols)));
  }
  linear.b_float.resize(static_cast<size_t>(rows * linear.rank));
  for (int64_t row = 0; row < rows; ++row) {
    numerics::DequantizeRow(
        linear.ViewB(rows), row,
        std::span(linear.b_float)
            .subspan(static_cast<size_t>(row * linear.rank), static_cast<size_t>(linear.rank)));
  }
}

}  // namespace

uint64_t RandomAdapterBytes(const model::Config& config) {
  int64_t bytes = 0;
  for (const model::Role role : model::kBlockLinears) {
    const auto [rows, cols] = model::TensorShape(config, role);
    bytes += numerics::WeightBytes(WeightFormat::kW8, kRandomAdapterRank, cols) +
             numerics::WeightBytes(WeightFormat::kW8, rows, kRandomAdapterRank);
  }
  return static_cast<uint64_t>(bytes * config.n_layers);
}

std::shared_ptr<const engine::AdapterWeights> MakeRandomAdapter(const model::Config& config,
                                                                uint64_t seed, bool with_floats) {
  Codes random(seed);
  // Shared, because that is how sessions hold adapters.
  auto weights = std::make_shared<engine::AdapterWeights>();
  weights->name = "random-" + std::to_string(seed);
  weights->Reset(config);
  for (AdapterLinear& linear : weights->linears) {
    linear.rank = kRandomAdapterRank;
  }
  weights->Reserve(config);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const model::Role role : model::kBlockLinears) {
      const auto [rows, cols] = model::TensorShape(config, role);
      AdapterLinear& linear = weights->Linear(layer, role);
      FillW8(kRandomAdapterRank, cols, ScaleFor(1.0, cols), random, linear.a);
      FillW8(rows, kRandomAdapterRank, ScaleFor(0.05, kRandomAdapterRank), random, linear.b);
      if (with_floats) {
        AddFloats(linear, rows, cols);
      }
      weights->size_bytes += linear.a.size() + linear.b.size();
    }
  }
  return weights;
}

}  // namespace etch::cli
