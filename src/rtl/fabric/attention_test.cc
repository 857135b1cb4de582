#include "numerics/attention.h"

#include <gtest/gtest.h>

#include <random>

#include <Vetch_attention.h>
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

constexpr int64_t kHeads = UNIT_N_HEADS;
constexpr int64_t kKvHeads = UNIT_N_KV_HEADS;
constexpr int64_t kHeadDim = UNIT_HEAD_DIM;
constexpr int64_t kBlocks = numerics::HeadBlocks(kHeadDim);
constexpr int64_t kRows = UNIT_ROWS;
constexpr uint8_t kMaxKeyShift = 19;
constexpr uint8_t kMaxValueShift = 25;

// Heads side by side, as the quantise unit emits them.
struct Vector {
  std::vector<int16_t> codes;
  std::vector<uint8_t> shifts;

  numerics::HeadCodes Head(int64_t head) const {
    return {.codes = std::span(codes).subspan(static_cast<size_t>(head * kHeadDim),
                                              static_cast<size_t>(kHeadDim)),
            .shifts = std::span(shifts).subspan(static_cast<size_t>(head * kBlocks),
                                                static_cast<size_t>(kBlocks))};
  }
};

enum Kind : uint8_t { kQuery, kKey, kValue };

class AttentionUnit : public testing::Test {
 protected:
  AttentionUnit() : bench_(4096), keys_(kRows), values_(kRows) {
    scale_ = numerics::ScoreScale(kHeadDim);
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.w_en != 0) {
        bench_.work.at(unit.w_addr) = static_cast<int32_t>(unit.w_data);
      }
      return [this, &unit, entry = size_t{unit.exp2_addr}] {
        unit.exp2_pair = static_cast<uint64_t>(tables_.exp2.at(entry + 1)) << 25 |
                         static_cast<uint64_t>(tables_.exp2.at(entry));
      };
    };
  }

  int Between(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  // Codes within ±limit and shifts of a range.
  Vector RandomVector(int64_t heads, int limit, int low_shift, int high_shift) {
    Vector vector;
    for (int64_t index = 0; index < heads * kHeadDim; ++index) {
      vector.codes.push_back(static_cast<int16_t>(Between(-limit, limit)));
    }
    for (int64_t block = 0; block < heads * kBlocks; ++block) {
      vector.shifts.push_back(static_cast<uint8_t>(Between(low_shift, high_shift)));
    }
    return vector;
  }

  static Vector Constant(int64_t heads, int code, int shift) {
    return {
        .codes = std::vector(static_cast<size_t>(heads * kHeadDim), static_cast<int16_t>(code)),
        .shifts = std::vector(static_cast<size_t>(heads * kBlocks), static_cast<uint8_t>(shift))};
  }

  void Load(Kind kind, const Vector& vector, int64_t row) {
    auto& unit = bench_.unit;
    size_t block = 0;
    for (size_t index = 0; index < vector.codes.size(); ++index) {
      const size_t channel = index % kHeadDim;
      unit.load_valid = 1;
      unit.load_kind = kind;
      unit.load_code = static_cast<uint16_t>(vector.codes[index]);
      unit.load_index = static_cast<uint16_t>(index);
      unit.load_shift = vector.shifts[block];
      unit.load_last = channel % numerics::kBlock == numerics::kBlock - 1 ||
                       channel == static_cast<size_t>(kHeadDim - 1);
      unit.load_row = static_cast<uint8_t>(row);
      block += unit.load_last;
      bench_.Tick();
    }
    unit.load_valid = 0;
    unit.load_last = 0;
  }

  void LoadKey(int64_t row, Vector key, Vector value) {
    Load(kKey, key, row);
    Load(kValue, value, row);
    keys_[static_cast<size_t>(row)] = std::move(key);
    values_[static_cast<size_t>(row)] = std::move(value);
  }

  // Loads the query, runs all heads, and compares all of work memory.
  void Attend(const Vector& query, int64_t row_base, int64_t position, size_t dst) {
    SCOPED_TRACE(position);
    for (int32_t& word : bench_.work) {
      word = static_cast<int32_t>(random_());
    }
    std::vector<int32_t> expected = bench_.work;
    for (int64_t head = 0; head < kHeads; ++head) {
      Expected(query.Head(head), head / (kHeads / kKvHeads), row_base, position,
               std::span(expected).subspan(dst + static_cast<size_t>(head * kHeadDim),
                                           static_cast<size_t>(kHeadDim)));
    }
    Load(kQuery, query, 0);
    auto& unit = bench_.unit;
    unit.row_base = static_cast<uint8_t>(row_base);
    unit.position = static_cast<uint32_t>(position);
    unit.dst = static_cast<uint16_t>(dst);
    unit.scale_mantissa = scale_.mantissa;
    unit.scale_exponent = static_cast<uint8_t>(scale_.exponent);
    EXPECT_EQ(bench_.Run(), kHeads * (2 * kBlocks * (position + 1) + kHeadDim + 50) + 1);
    EXPECT_EQ(bench_.work, expected);
    unit.eval();
    EXPECT_FALSE(unit.done);
    EXPECT_FALSE(unit.w_en);
    EXPECT_EQ(unit.w_addr, 0);
    EXPECT_EQ(unit.w_data, 0U);
    EXPECT_EQ(unit.exp2_addr, 0);
  }

  void Expected(const numerics::HeadCodes& query, int64_t kv_head, int64_t row_base,
                int64_t position, std::span<int32_t> out) {
    numerics::AttentionMaxima maxima;
    maxima.value_shifts.assign(kBlocks, 0);
    std::vector<int32_t> scores;
    for (int64_t key = 0; key <= position; ++key) {
      const auto row = static_cast<size_t>(row_base + key);
      scores.push_back(numerics::Score(query, keys_[row].Head(kv_head), scale_));
      maxima.score = std::max(maxima.score, scores.back());
      const auto value = values_[row].Head(kv_head);
      for (size_t block = 0; block < value.shifts.size(); ++block) {
        maxima.value_shifts[block] = std::max(maxima.value_shifts[block], value.shifts[block]);
      }
    }
    numerics::AttentionSums sums;
    sums.values.assign(kHeadDim, 0);
    for (int64_t key = 0; key <= position; ++key) {
      const auto value = values_[static_cast<size_t>(row_base + key)].Head(kv_head);
      const std::vector<int8_t> codes(value.codes.begin(), value.codes.end());
      numerics::AddKey(scores[static_cast<size_t>(key)], {.codes = codes, .shifts = value.shifts},
                       maxima, tables_, sums);
    }
    numerics::FinishAttention(sums, maxima, out);
  }

  test::UnitBench<Vetch_attention> bench_;
  numerics::FunctionTables tables_ = numerics::BuildFunctionTables();
  numerics::Scale16 scale_;
  std::vector<Vector> keys_;
  std::vector<Vector> values_;
  std::mt19937 random_{1};
};

TEST_F(AttentionUnit, AttendsAsATokenAfterAnotherJoinsTheCaches) {
  constexpr int64_t kBase = 11;
  for (int64_t position = 0; position <= 37; ++position) {
    // Scores within some octaves of each other, so that most keys weigh something.
    LoadKey(kBase + position, RandomVector(kKvHeads, 8191, 4, 6),
            RandomVector(kKvHeads, 127, 8, 12));
    if (position < 3 || position == 37) {
      Attend(RandomVector(kHeads, 8191, 3, 5), kBase, position, 100);
    }
  }
  // The same caches, seen by other queries from other rows.
  Attend(RandomVector(kHeads, 8191, 3, 4), kBase, 37, 4096 - kHeads * kHeadDim);
  Attend(RandomVector(kHeads, 8191, 3, 4), kBase + 5, 32, 0);
  Attend(RandomVector(kHeads, 8191, 0, 4), kBase, 1, 7);
}

TEST_F(AttentionUnit, TakesAnyShifts) {
  for (int64_t row = 0; row < kRows; ++row) {
    LoadKey(row, RandomVector(kKvHeads, 8191, 0, kMaxKeyShift),
            RandomVector(kKvHeads, 127, 0, kMaxValueShift));
  }
  for (const int64_t position : {0, 1, 37}) {
    for (int high_shift = 0; high_shift <= kMaxKeyShift; high_shift += 3) {
      Attend(RandomVector(kHeads, 8191, 0, high_shift), 20, position, 100);
    }
  }
}

// Keys of one score have equal weights: sums of them are as large as they become. Between such
// keys lie others of low scores, whose values differ.
TEST_F(AttentionUnit, TakesTheLargestCodesShiftsAndSums) {
  struct Extreme {
    int key;
    int key_shift;
    int value;
    int value_shift;
  };
  for (const Extreme extreme :
       {Extreme{8191, kMaxKeyShift, 127, kMaxValueShift},
        Extreme{-8191, kMaxKeyShift, -127, kMaxValueShift}, Extreme{-8191, 0, 127, 0},
        Extreme{8191, 2, -127, 25}, Extreme{0, 0, 0, 0}}) {
    for (int64_t row = 0; row < kRows; ++row) {
      const bool other = row % 16 == 5;
      LoadKey(row, Constant(kKvHeads, other ? -extreme.key : extreme.key, extreme.key_shift),
              other ? RandomVector(kKvHeads, 127, 0, extreme.value_shift)
                    : Constant(kKvHeads, extreme.value, extreme.value_shift));
    }
    for (const int shift : {0, 10, int{kMaxKeyShift}}) {
      Attend(Constant(kHeads, 8191, shift), 3, 37, 100);
      Attend(Constant(kHeads, -8191, shift), 3, kRows - 4, 100);
      Attend(Constant(kHeads, 8191, shift), 5, 0, 100);
    }
  }
}

// As many keys as the unit has room for, all of one weight.
TEST_F(AttentionUnit, SumsAWholeContext) {
  constexpr int64_t kKeys = std::min<int64_t>(UNIT_ROWS, UNIT_CONTEXT);
  for (const int code : {127, -127, 63}) {
    for (int64_t row = 0; row < kKeys; ++row) {
      LoadKey(row, Constant(kKvHeads, 8191, 3), Constant(kKvHeads, code, kMaxValueShift));
    }
    Attend(Constant(kHeads, 1, 0), 0, kKeys - 1, 100);
  }
}

// Two keys, the second weighing 2^-distance: on a step of its table, halfway to the next, and
// where it ends.
TEST_F(AttentionUnit, WeighsExactDistances) {
  constexpr int32_t kOctave = 1 << 16;
  scale_ = {.mantissa = 0x8000, .exponent = -15};  // 1
  std::vector<int32_t> distances;
  for (int32_t entry = 0; entry < 64; ++entry) {
    distances.push_back(entry * 1024);
    distances.push_back(entry * 1024 + 512);
    distances.push_back(entry * 1024 + 896);
  }
  for (int32_t octave = 1; octave < 63; ++octave) {
    distances.insert(distances.end(),
                     {octave * kOctave - 1024, octave * kOctave, octave * kOctave + 1024});
  }
  Vector query = Constant(kHeads, 0, 3);
  for (int64_t head = 0; head < kHeads; ++head) {
    query.codes[static_cast<size_t>(head * kHeadDim)] = 8;
  }
  LoadKey(8, Constant(kKvHeads, 0, 0), Constant(kKvHeads, 0, 0));
  for (const int32_t distance : distances) {
    // The score is 16 · 8 · code · 2^(shift + 3 − 20).
    int32_t code = distance / 128;
    int shift = 17;
    while (code > numerics::kMaxA14) {
      code /= 2;
      ++shift;
    }
    Vector key = Constant(kKvHeads, 0, shift);
    for (int64_t head = 0; head < kKvHeads; ++head) {
      key.codes[static_cast<size_t>(head * kHeadDim)] = static_cast<int16_t>(-code);
    }
    LoadKey(9, key, Constant(kKvHeads, 63, kMaxValueShift));
    Attend(query, 8, 1, 100);
  }
}

TEST_F(AttentionUnit, TakesAnyScale) {
  for (int64_t row = 0; row < 38; ++row) {
    LoadKey(row, RandomVector(kKvHeads, 8191, 0, 12), RandomVector(kKvHeads, 127, 5, 9));
  }
  for (const numerics::Scale16 scale :
       {numerics::Scale16{.mantissa = 0xffff, .exponent = -128},
        numerics::Scale16{.mantissa = 0xffff, .exponent = -30},
        numerics::Scale16{.mantissa = 0x8001, .exponent = -20},
        numerics::Scale16{.mantissa = 0xffff, .exponent = -4},
        numerics::Scale16{.mantissa = 0x8000, .exponent = 127}, numerics::Scale16{}}) {
    scale_ = scale;
    Attend(RandomVector(kHeads, 8191, 0, 12), 0, 37, 100);
  }
}

}  // namespace
}  // namespace etch::rtl
