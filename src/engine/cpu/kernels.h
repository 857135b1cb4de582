#pragma once

// The seam where instruction sets plug in. A kernel set is a table of functions with the same
// meaning and the same bits as numerics/; one is chosen by name when the engine starts. Each set is
// a few translation units of its own, compiled with its own flags; nothing else of Etch is.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/cpu/input_panel.h"
#include "numerics/activation.h"
#include "numerics/tables.h"
#include "numerics/weights.h"

namespace etch::engine {

inline constexpr int64_t kMaxTaskHeads = 16;

// One key/value head of one layer of a session's context, in tiles of 16 keys (kv_tiles.h), and
// the query heads of one column that read it.
struct AttendTask {
  const int16_t* keys = nullptr;          // (tiles, head_dim / 2, 16 keys, 2 channels)
  const uint8_t* key_shifts = nullptr;    // (tiles, blocks, 16 keys)
  const int8_t* values = nullptr;         // (tiles, 4, value_channels, 4 keys)
  const uint8_t* value_shifts = nullptr;  // (tiles, blocks, 16 keys)
  int64_t head_dim = 0;
  int64_t blocks = 0;                     // of a head
  int64_t value_channels = 0;             // head_dim rounded up to a multiple of 16
  int64_t visible = 0;                    // keys 0 … visible-1 are seen
  int64_t heads = 0;                      // at most kMaxTaskHeads
  const int16_t* queries = nullptr;       // (heads, head_dim), A14
  const uint8_t* query_shifts = nullptr;  // (heads, blocks)
  numerics::Scale16 score_scale;
  const numerics::FunctionTables* tables = nullptr;
  // Memory for the call: AttendScratchBytes(visible, heads, value_channels) bytes, 64-aligned.
  std::byte* scratch = nullptr;
  int32_t* out = nullptr;  // (heads, head_dim), I32
};

constexpr int64_t kKeyTile = 16;
constexpr int64_t KeyTiles(int64_t keys) { return (keys + kKeyTile - 1) / kKeyTile; }
constexpr int64_t AttendScratchBytes(int64_t visible, int64_t heads, int64_t value_channels) {
  return (KeyTiles(visible) + 1) * kKeyTile * heads * 4 + heads * value_channels * 8 + 8192;
}

// A column of a pass that runs an adapter, and with which weight (numerics::WeighDelta).
struct AdapterUse {
  int64_t column = 0;
  int32_t weight_q16 = 0;
};

// Where the columns of a panel are added: column i to the rows at y + uses[i].column * stride.
struct AddedTo {
  int32_t* y = nullptr;
  int64_t stride = 0;
  std::span<const AdapterUse> uses;

  int32_t* Rows(int64_t index) const {
    return y + uses[static_cast<size_t>(index)].column * stride;
  }
  int32_t weight_q16(int64_t index) const { return uses[static_cast<size_t>(index)].weight_q16; }
};

struct KernelSet {
  std::string_view isa;  // "generic", "avx2" …

  // Rows of tiles [tile_begin, tile_end) against every column of the panel:
  // out[column * out_stride + row] = numerics' y.
  void (*multiply)(const numerics::WeightView& weights, const InputPanel& inputs,
                   int64_t tile_begin, int64_t tile_end, int32_t* out, int64_t out_stride);

  // Column `column` of the panel = the values in the panel's format (numerics::QuantizeActivation,
  // then PackColumn); I32 values, and products with 32 fraction bits.
  void (*quantize)(const int32_t* values, int64_t column, InputPanel& panel);
  void (*quantize_products)(const int64_t* products, int64_t column, InputPanel& panel);
  // numerics::RmsNorm. Gains have `dim` entries; y may not be x.
  void (*norm)(std::span<const int32_t> x, std::span<const numerics::Gain16> gains,
               uint64_t epsilon, const numerics::FunctionTables& tables, int32_t* y);
  // products[i] = numerics::SwiGlu(gate[i], up[i]).
  void (*swiglu)(const int32_t* gate, const int32_t* up, int64_t count,
                 const numerics::FunctionTables& tables, int64_t* products);
  // numerics::RotateHead of one head, 2 · rotations.size() values.
  void (*rotate)(std::span<const numerics::Rotation> rotations, int32_t* head);
  // numerics::QuantizeBlock of each block of one head: as many codes as values, a shift a block.
  void (*quantize_head)(std::span<const int32_t> values, int32_t max_code, int16_t* codes,
                        uint8_t* shifts);
  // out = sat(a + b).
  void (*add)(const int32_t* a, const int32_t* b, int64_t count, int32_t* out);
  // Adds what an adapter gives: for every row of tiles [tile_begin, tile_end) and every column of
  // the panel, rows[row] = sat(rows[row] + numerics::WeighDelta(product, weight_q16)).
  void (*multiply_add)(const numerics::WeightView& weights, const InputPanel& inputs,
                       int64_t tile_begin, int64_t tile_end, const AddedTo& to);
  void (*attend)(const AttendTask& task);
};

// Memory of the calling thread for `count` products, until its next call.
int32_t* ThreadProducts(int64_t count);

// Every set that this machine can run, the best first. Never empty: "generic" runs everywhere.
const std::vector<const KernelSet*>& AvailableKernels();

// The set called `isa`, or the best for an empty name. kInvalidArgument lists what there is.
Result<const KernelSet*> SelectKernels(std::string_view isa);

extern const KernelSet kGenericKernels;
#if defined(__x86_64__)
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;
#endif

}  // namespace etch::engine
