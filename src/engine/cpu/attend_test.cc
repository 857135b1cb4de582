// The attention of every kernel set against the reference's own, over the tiled cache.

#include <gtest/gtest.h>

#include <random>

#include "base/aligned_buffer.h"
#include "engine/cpu/attend_parts.h"
#include "engine/cpu/kernels_avx512.h"
#include "engine/cpu/kv_tiles.h"
#include "numerics/attention.h"

namespace etch::engine {
namespace {

using numerics::kMax32;

struct Shape {
  int64_t head_dim;
  int64_t heads;  // query heads of the one key/value head
  int64_t keys;
};

class AttendMatches : public ::testing::TestWithParam<const KernelSet*> {
 protected:
  // Magnitude bits of what is drawn.
  std::vector<int32_t> Draw(int64_t count, int bits) {
    std::vector<int32_t> values(static_cast<size_t>(count));
    const auto bound = static_cast<int32_t>((int64_t{1} << bits) - 1);
    for (int32_t& value : values) {
      value = std::uniform_int_distribution<int32_t>(-bound, bound)(random_);
    }
    return values;
  }

  static constexpr int64_t kStale = 20;

  // Both sides over the same queries, keys and values.
  void Compare(const Shape& shape, int query_bits, int key_bits, int value_bits,
               const numerics::FunctionTables& tables) {
    model::Config config;
    config.n_layers = 2;
    config.n_kv_heads = 2;
    config.n_heads = 2 * shape.heads;
    config.head_dim = shape.head_dim;
    auto state = KvTiles::Create(config, shape.keys + kStale);
    ASSERT_TRUE(state);
    auto& tiles = static_cast<KvTiles&>(**state);
    const auto width = static_cast<size_t>(shape.head_dim);
    const auto blocks = static_cast<size_t>(numerics::HeadBlocks(shape.head_dim));
    const auto quantize = [&](std::span<const int32_t> values, int32_t limit, int16_t* codes,
                              uint8_t* shifts) {
      for (size_t block = 0; block < blocks; ++block) {
        const size_t from = block * numerics::kBlock;
        const size_t size = std::min<size_t>(numerics::kBlock, width - from);
        shifts[block] =
            numerics::QuantizeBlock(values.subspan(from, size), limit, {codes + from, size});
      }
    };

    const auto count = static_cast<size_t>(shape.heads);
    std::vector<int16_t> queries(count * width);
    std::vector<uint8_t> query_shifts(count * blocks);
    for (size_t head = 0; head < count; ++head) {
      quantize(Draw(shape.head_dim, query_bits), numerics::kMaxA14, queries.data() + head * width,
               query_shifts.data() + head * blocks);
    }
    const numerics::Scale16 scale = numerics::ScoreScale(shape.head_dim);
    std::vector<std::vector<int16_t>> value_codes;
    std::vector<std::vector<uint8_t>> value_shifts;
    std::vector<std::vector<int32_t>> scores(count);
    numerics::AttentionMaxima maxima;
    maxima.value_shifts.assign(blocks, 0);
    for (int64_t key = 0; key < shape.keys; ++key) {
      // Spreads of the blocks' shifts from key to key.
      const std::vector<int32_t> k = Draw(shape.head_dim, std::max(1, key_bits - int(key % 5)));
      const std::vector<int32_t> v =
          Draw(shape.head_dim, std::max(1, value_bits - int((7 * key) % 19)));
      tiles.Store(1, 1, key, k.data(), v.data(), *GetParam());
      std::vector<int16_t> codes(width);
      std::vector<uint8_t> shifts(blocks);
      quantize(k, numerics::kMaxA14, codes.data(), shifts.data());
      for (size_t head = 0; head < count; ++head) {
        scores[head].push_back(numerics::Score(
            {{queries.data() + head * width, width}, {query_shifts.data() + head * blocks, blocks}},
            {codes, shifts}, scale));
      }
      value_codes.emplace_back(width);
      value_shifts.emplace_back(blocks);
      quantize(v, numerics::kMaxA8, value_codes.back().data(), value_shifts.back().data());
      for (size_t block = 0; block < blocks; ++block) {
        maxima.value_shifts[block] =
            std::max(maxima.value_shifts[block], value_shifts.back()[block]);
      }
    }
    // What lies beyond the visible keys: entries of tokens that were forgotten, as large as can be.
    for (int64_t key = shape.keys; key < shape.keys + kStale; ++key) {
      tiles.Store(1, 1, key, Draw(shape.head_dim, 31).data(), Draw(shape.head_dim, 31).data(),
                  *GetParam());
    }
    std::vector<int32_t> expected(count * width);
    for (size_t head = 0; head < count; ++head) {
      maxima.score = *std::max_element(scores[head].begin(), scores[head].end());
      numerics::AttentionSums sums{0, std::vector<int64_t>(width)};
      for (size_t key = 0; key < scores[head].size(); ++key) {
        const std::vector<int8_t> codes(value_codes[key].begin(), value_codes[key].end());
        numerics::AddKey(scores[head][key], {codes, value_shifts[key]}, maxima, tables, sums);
      }
      numerics::FinishAttention(sums, maxima, std::span(expected).subspan(head * width, width));
    }

    AttendTask task;
    tiles.Locate(1, 1, task);
    task.visible = shape.keys;
    task.heads = shape.heads;
    task.queries = queries.data();
    task.query_shifts = query_shifts.data();
    task.score_scale = scale;
    task.tables = &tables;
    AlignedBuffer scratch;
    scratch.Grow(AttendScratchBytes(task.visible, task.heads, task.value_channels));
    task.scratch = scratch.data();
    std::vector<int32_t> out(expected.size());
    task.out = out.data();
    GetParam()->attend(task);
    EXPECT_EQ(out, expected) << shape.head_dim << " channels, " << shape.heads << " heads, "
                             << shape.keys << " keys, bits " << query_bits << " " << key_bits << " "
                             << value_bits;
  }

  std::mt19937 random_{11};
};

TEST_P(AttendMatches, ForManyShapes) {
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  for (const int64_t head_dim : {2, 8, 16, 20, 24, 48, 50, 64, 80, 128, 256}) {
    for (const int64_t heads : {1, 4, 7, 16}) {
      for (const int64_t keys : {1, 15, 16, 17, 100, 300}) {
        Compare({head_dim, heads, keys}, 19, 19, 18, tables);
      }
    }
  }
}

// From scores that are all but equal to scores beyond 32 bits, values from one bit to all.
TEST_P(AttendMatches, ForEveryMagnitude) {
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  for (const int query_bits : {1, 14, 18, 22, 26, 31}) {
    for (const int key_bits : {1, 17, 20, 24, 31}) {
      for (const int value_bits : {1, 16, 31}) {
        Compare({64, 4, 70}, query_bits, key_bits, value_bits, tables);
      }
    }
  }
}

// Chunks of keys whose weights differ in how many bytes they need, down to none.
TEST_P(AttendMatches, ForLongContexts) {
  const numerics::FunctionTables tables = numerics::BuildFunctionTables();
  for (const int query_bits : {12, 15, 18, 21, 26}) {
    Compare({40, 3, 1000}, query_bits, 18, 18, tables);
  }
}

// A table that falls from 2^24 to 1 at once: what a hostile image may hold.
TEST_P(AttendMatches, WithTheSteepestTable) {
  numerics::FunctionTables tables = numerics::BuildFunctionTables();
  std::fill(tables.exp2.begin() + 1, tables.exp2.end(), 1);
  Compare({64, 2, 40}, 18, 18, 18, tables);
}

// Sums to their bound of 127 · 64 · W (docs/numeric-contract.md §14), W from its least to its most.
void ExpectDefinitionAtEveryBound(decltype(&FinishHead) finish) {
  std::mt19937_64 random(5);
  for (int64_t head_dim = 2; head_dim <= model::kMaxHeadDim; head_dim += 2) {
    const auto width = static_cast<size_t>(head_dim);
    for (int bits = 24; bits <= 41; ++bits) {
      const auto least = uint64_t{1} << bits;
      const uint64_t most = bits == 41 ? least : 2 * least - 1;
      for (const uint64_t weight : {least, (least + most) / 2, most}) {
        const auto bound = static_cast<int64_t>(127 * 64 * weight);
        std::vector<int64_t> sums(width);
        std::vector<uint8_t> shifts(static_cast<size_t>(numerics::HeadBlocks(head_dim)));
        for (size_t channel = 0; channel < width; ++channel) {
          const int64_t drawn = static_cast<int64_t>(random()) % (bound + 1) >> random() % 40;
          sums[channel] = channel == 0 ? bound : channel == 1 ? -bound : drawn;
        }
        for (uint8_t& shift : shifts) {
          shift = static_cast<uint8_t>(random() % 26);
        }
        shifts.front() = weight == least ? 25 : weight == most ? 0 : shifts.front();
        std::vector<int32_t> expected(width);
        numerics::FinishAttention(weight, sums, shifts, expected);
        std::vector<int32_t> out(2 * width + 1, -1);  // as the second head of two
        AttendTask task;
        task.head_dim = head_dim;
        task.blocks = std::ssize(shifts);
        task.out = out.data();
        finish(task, 1, weight, sums.data(), shifts);
        ASSERT_EQ(std::vector<int32_t>(out.begin() + head_dim, out.end() - 1), expected)
            << head_dim << " channels, weight " << weight;
        ASSERT_EQ(out.back(), -1);
        ASSERT_EQ(out[width - 1], -1);
      }
    }
  }
}

TEST(FinishHead, IsTheDefinitionAtEveryWidthAndBound) {
  ExpectDefinitionAtEveryBound(FinishHead);
#if defined(__x86_64__)
  if (AvailableKernels().front() == &kAvx512Kernels) {
    ExpectDefinitionAtEveryBound(avx512::FinishHeadInVectors);
  }
#endif
}

INSTANTIATE_TEST_SUITE_P(Sets, AttendMatches, ::testing::ValuesIn(AvailableKernels()),
                         [](const auto& at) { return std::string(at.param->isa); });

}  // namespace
}  // namespace etch::engine
