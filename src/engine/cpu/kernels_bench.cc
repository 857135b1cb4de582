// Every kernel set of this machine: a 4096 × 4096 matrix with one column (decoding) and with many,
// an adapter's A and B of rank 16 beside it, attention over short and long contexts, and the
// element-wise operations at the widths of an 8B model. The matrices stay in the last-level cache:
// what is measured is the kernel, not the memory.

#include "engine/cpu/kernels.h"

#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/huge_page_arena.h"
#include "engine/cpu/attend_parts.h"
#include "engine/cpu/kv_tiles.h"
#include "numerics/attention.h"
#include "numerics/linear.h"
#include "numerics/norm.h"

namespace etch::engine {
namespace {

using numerics::ActivationFormat;
using numerics::WeightFormat;

constexpr int64_t kDim = 4096;
constexpr int64_t kFfnDim = 14336;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kRank = 16;  // of an adapter

// Memory as the engine has it: at cache lines, in huge pages.
template <class T>
using Vector = std::vector<T, HugePageAllocator<T>>;

// A counter a second. The names are few, and the first benchmark has them all: a CSV's columns.
benchmark::Counter Rate(int64_t per_iteration) {
  return {static_cast<double>(per_iteration), benchmark::Counter::kIsIterationInvariantRate};
}

// Any bits are codes and group parameters of every format; only the row scales are chosen.
Vector<std::byte> RandomMatrix(WeightFormat format, int64_t rows, int64_t cols) {
  std::mt19937_64 random(1);
  Vector<std::byte> data(static_cast<size_t>(numerics::WeightBytes(format, rows, cols)));
  for (size_t at = 0; at + sizeof(uint64_t) <= data.size(); at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(data.data() + at, &word, sizeof word);
  }
  const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(format, cols));
  for (int64_t tile = 0; tile < numerics::TileCount(rows); ++tile) {
    const auto bytes = std::span(data).subspan(static_cast<size_t>(tile) * tile_bytes, tile_bytes);
    std::fill_n(bytes.begin(), numerics::kTileHeaderBytes, std::byte{0});
    for (int64_t row = 0; row < numerics::kTileRows; ++row) {
      numerics::PackRowScale(bytes, row, numerics::ToScale16(1e-5));
    }
  }
  return data;
}

Vector<int32_t> RandomValues(int64_t count, int bits, uint32_t seed = 2) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> pick(-(1 << bits), 1 << bits);
  Vector<int32_t> values(static_cast<size_t>(count));
  for (int32_t& value : values) {
    value = pick(random);
  }
  return values;
}

void Multiply(benchmark::State& state, const KernelSet* kernels, WeightFormat format,
              ActivationFormat input, int64_t rows, int64_t columns) {
  const Vector<std::byte> data = RandomMatrix(format, rows, kDim);
  const numerics::WeightView view{format, rows, kDim, data.data(), &numerics::kDefaultLevels};
  InputPanel panel;
  panel.Reset(input, kDim, columns);
  const Vector<int32_t> values = RandomValues(kDim, 18);
  for (int64_t column = 0; column < columns; ++column) {
    kernels->quantize(values.data(), column, panel);
  }
  Vector<int32_t> out(static_cast<size_t>(columns * rows));
  for (auto _ : state) {
    kernels->multiply(view, panel, 0, numerics::TileCount(rows), out.data(), rows);
    benchmark::ClobberMemory();
  }
  state.counters["weights"] = Rate(rows * kDim);
  state.counters["bytes"] = Rate(static_cast<int64_t>(data.size()));
  state.counters["ops"] = Rate(2 * rows * kDim * columns);
}

// An adapter's B.
void MultiplyAdd(benchmark::State& state, const KernelSet* kernels, int64_t columns) {
  const Vector<std::byte> data = RandomMatrix(WeightFormat::kW8, kDim, kRank);
  const numerics::WeightView view{WeightFormat::kW8, kDim, kRank, data.data(), nullptr};
  InputPanel panel;
  panel.Reset(ActivationFormat::kA8, kRank, columns);
  const Vector<int32_t> values = RandomValues(kRank, 18);
  Vector<int32_t> y(static_cast<size_t>(columns * kDim));
  std::vector<AdapterUse> uses;
  for (int64_t column = 0; column < columns; ++column) {
    kernels->quantize(values.data(), column, panel);
    uses.push_back({column, 1 << 16});
  }
  for (auto _ : state) {
    kernels->multiply_add(view, panel, 0, numerics::TileCount(kDim), {y.data(), kDim, uses});
    benchmark::ClobberMemory();
  }
  state.counters["weights"] = Rate(kDim * kRank);
  state.counters["bytes"] = Rate(static_cast<int64_t>(data.size()));
  state.counters["ops"] = Rate(2 * kDim * kRank * columns);
}

// Four query heads of 128 channels over one key/value head. Keys whose scores are far below the
// best weigh little or nothing, and that takes less time: `query_bits` 18 spreads the scores by a
// standard deviation of 5 (e^5 in weight), 15 by 0.7, where all keys matter.
void Attend(benchmark::State& state, const KernelSet* kernels, int64_t keys, int query_bits) {
  constexpr int64_t kHeads = 4;
  model::Config config;
  config.n_layers = 1;
  config.n_heads = kHeads;
  config.n_kv_heads = 1;
  config.head_dim = kHeadDim;
  const auto memory = KvTiles::Create(config, keys);
  if (!memory) {
    state.SkipWithError(memory.error().message.c_str());
    return;
  }
  auto& tiles = static_cast<KvTiles&>(**memory);
  const Vector<int32_t> values = RandomValues(keys + 2 * kHeadDim, 18);
  for (int64_t key = 0; key < keys; ++key) {
    tiles.Store(0, 0, key, values.data() + key, values.data() + key + kHeadDim, *kernels);
  }
  const Vector<int32_t> query_values = RandomValues(kHeads * kHeadDim, query_bits, 3);
  Vector<int16_t> queries(kHeads * kHeadDim);
  std::vector<uint8_t> shifts(queries.size() / numerics::kBlock);
  for (size_t block = 0; block < shifts.size(); ++block) {
    const size_t at = block * numerics::kBlock;
    shifts[block] = numerics::QuantizeBlock(std::span(query_values).subspan(at, numerics::kBlock),
                                            numerics::kMaxA14,
                                            std::span(queries).subspan(at, numerics::kBlock));
  }
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  AttendTask task;
  tiles.Locate(0, 0, task);
  task.visible = keys;
  task.heads = kHeads;
  task.queries = queries.data();
  task.query_shifts = shifts.data();
  task.score_scale = numerics::ScoreScale(kHeadDim);
  task.tables = &tables;
  AlignedBuffer scratch;
  scratch.Grow(AttendScratchBytes(keys, kHeads, task.value_channels));
  task.scratch = scratch.data();
  Vector<int32_t> out(queries.size());
  task.out = out.data();
  for (auto _ : state) {
    kernels->attend(task);
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(KvTiles::BytesPerToken(config) * keys);
  state.counters["ops"] = Rate(4 * keys * kHeads * kHeadDim);
}

void Norm(benchmark::State& state, const KernelSet* kernels, int64_t width) {
  const Vector<int32_t> x = RandomValues(width, 18);
  const std::vector<numerics::Gain16> gains(x.size(), numerics::NormGain(1.0, width));
  const uint64_t epsilon = numerics::NormEpsilon(1e-5, width);
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  Vector<int32_t> y(x.size());
  for (auto _ : state) {
    kernels->norm(x, gains, epsilon, tables, y.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(width * 4);
}

void Quantize(benchmark::State& state, const KernelSet* kernels, ActivationFormat format,
              int64_t width) {
  const Vector<int32_t> values = RandomValues(width, 18);
  InputPanel panel;
  panel.Reset(format, width, 1);
  for (auto _ : state) {
    kernels->quantize(values.data(), 0, panel);
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(width * 4);
}

void QuantizeProducts(benchmark::State& state, const KernelSet* kernels, int64_t width) {
  const Vector<int32_t> values = RandomValues(width, 18);
  Vector<int64_t> products(values.size());
  for (size_t index = 0; index < values.size(); ++index) {
    products[index] = int64_t{values[index]} * values[values.size() - 1 - index];
  }
  InputPanel panel;
  panel.Reset(ActivationFormat::kA8, width, 1, 2 * numerics::kPoint);
  for (auto _ : state) {
    kernels->quantize_products(products.data(), 0, panel);
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(width * 8);
}

void SwiGlu(benchmark::State& state, const KernelSet* kernels, int64_t width) {
  const Vector<int32_t> values = RandomValues(width, 18);
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  Vector<int64_t> products(values.size());
  for (auto _ : state) {
    kernels->swiglu(values.data(), values.data(), width, tables, products.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(width * 4);
}

void Rotate(benchmark::State& state, const KernelSet* kernels) {
  Vector<int32_t> head = RandomValues(kHeadDim, 18);
  const std::vector<numerics::Rotation> rotations(kHeadDim / 2, {11585, 11585});
  for (auto _ : state) {
    kernels->rotate(rotations, head.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(kHeadDim * 4);
}

void QuantizeHead(benchmark::State& state, const KernelSet* kernels) {
  const Vector<int32_t> head = RandomValues(kHeadDim, 18);
  Vector<int16_t> codes(kHeadDim);
  std::vector<uint8_t> shifts(kHeadDim / numerics::kBlock);
  for (auto _ : state) {
    kernels->quantize_head(head, numerics::kMaxA14, codes.data(), shifts.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(kHeadDim * 4);
}

// The end of attention of all sets but AVX-512, which has its own.
void FinishAttention(benchmark::State& state) {
  std::mt19937_64 random(3);
  std::vector<int64_t> sums(kHeadDim);
  for (int64_t& sum : sums) {
    sum = static_cast<int64_t>(random()) >> 22;
  }
  const std::vector<uint8_t> shifts(kHeadDim / numerics::kBlock, 10);
  Vector<int32_t> out(kHeadDim);
  AttendTask task;
  task.head_dim = kHeadDim;
  task.blocks = kHeadDim / numerics::kBlock;
  task.out = out.data();
  for (auto _ : state) {
    FinishHead(task, 0, uint64_t{1} << 36, sums.data(), shifts);
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = Rate(kHeadDim * 4);
}

bool RegisterAll() {
  benchmark::RegisterBenchmark("finish_attention/128", FinishAttention);
  for (const KernelSet* kernels : AvailableKernels()) {
    const std::string isa(kernels->isa);
    const bool plain = isa == "generic";
    for (const WeightFormat format :
         {WeightFormat::kW3, WeightFormat::kW6, WeightFormat::kW8, WeightFormat::kW4F}) {
      for (const ActivationFormat input : {ActivationFormat::kA8, ActivationFormat::kA16}) {
        const std::string name = "multiply/" + isa + "/" +
                                 std::string(numerics::FormatName(format)) +
                                 (input == ActivationFormat::kA8 ? "_A8/" : "_A16/");
        for (const int64_t columns : {1, 32, 512}) {
          if (!plain || columns < 512) {  // 512 columns of plain code take seconds and say no more
            benchmark::RegisterBenchmark((name + std::to_string(columns)).c_str(), Multiply,
                                         kernels, format, input, kDim, columns)
                ->Unit(benchmark::kMillisecond);
          }
        }
      }
    }
    for (const int64_t columns : {1, 32}) {
      const std::string end = "/" + isa + "/" + std::to_string(columns);
      benchmark::RegisterBenchmark(("adapter_A" + end).c_str(), Multiply, kernels,
                                   WeightFormat::kW8, ActivationFormat::kA8, kRank, columns)
          ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(("adapter_B" + end).c_str(), MultiplyAdd, kernels, columns)
          ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RegisterBenchmark(("quantize_A8/" + isa + "/" + std::to_string(kRank)).c_str(),
                                 Quantize, kernels, ActivationFormat::kA8, kRank);
    for (const int64_t keys : {1024, 16384}) {
      const std::string end = "/" + isa + "/" + std::to_string(keys);
      benchmark::RegisterBenchmark(("attend" + end).c_str(), Attend, kernels, keys, 18)
          ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(("attend_flat" + end).c_str(), Attend, kernels, keys, 15)
          ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RegisterBenchmark(("rotate/" + isa + "/128").c_str(), Rotate, kernels);
    benchmark::RegisterBenchmark(("quantize_head/" + isa + "/128").c_str(), QuantizeHead, kernels);
    for (const int64_t width : {kDim, kFfnDim}) {
      const std::string end = "/" + isa + "/" + std::to_string(width);
      benchmark::RegisterBenchmark(("quantize_A8" + end).c_str(), Quantize, kernels,
                                   ActivationFormat::kA8, width);
      benchmark::RegisterBenchmark(("quantize_A16" + end).c_str(), Quantize, kernels,
                                   ActivationFormat::kA16, width);
      benchmark::RegisterBenchmark(("swiglu" + end).c_str(), SwiGlu, kernels, width);
      benchmark::RegisterBenchmark(("quantize_products" + end).c_str(), QuantizeProducts, kernels,
                                   width);
      if (width == kDim) {  // no norm is wider than the residual stream
        benchmark::RegisterBenchmark(("norm" + end).c_str(), Norm, kernels, width);
      }
    }
  }
  return true;
}

const bool registered = RegisterAll();

}  // namespace
}  // namespace etch::engine
