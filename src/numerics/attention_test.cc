#include "numerics/attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "model/config.h"

namespace etch::numerics {
namespace {

__extension__ using Wide = __int128;

const FunctionTables kTables = BuildFunctionTables();

struct Head {
  std::vector<int16_t> codes;
  std::vector<int8_t> narrow;
  std::vector<uint8_t> shifts;

  Head(const std::vector<int32_t>& values, int32_t max_code) : codes(values.size()) {
    for (size_t begin = 0; begin < values.size(); begin += kBlock) {
      const size_t size = std::min<size_t>(kBlock, values.size() - begin);
      shifts.push_back(QuantizeBlock(std::span(values).subspan(begin, size), max_code,
                                     std::span(codes).subspan(begin, size)));
    }
    narrow.assign(codes.begin(), codes.end());
  }
  HeadCodes code() const { return {codes, shifts}; }
  ValueCodes value() const { return {narrow, shifts}; }
};

using Matrix = std::vector<std::vector<int32_t>>;  // (tokens, head_dim)

AttentionMaxima Maxima(const std::vector<int32_t>& scores, const std::vector<Head>& values) {
  AttentionMaxima maxima;
  maxima.score = *std::max_element(scores.begin(), scores.end());
  maxima.value_shifts.resize(values[0].shifts.size());
  for (const Head& value : values) {
    for (size_t block = 0; block < value.shifts.size(); ++block) {
      maxima.value_shifts[block] = std::max(maxima.value_shifts[block], value.shifts[block]);
    }
  }
  return maxima;
}

AttentionSums Sums(const std::vector<int32_t>& scores, const std::vector<Head>& values,
                   const AttentionMaxima& maxima, size_t begin, size_t end) {
  AttentionSums sums{0, std::vector<int64_t>(values[0].codes.size())};
  for (size_t key = begin; key < end; ++key) {
    AddKey(scores[key], values[key].value(), maxima, kTables, sums);
  }
  return sums;
}

std::vector<int32_t> Attend(const std::vector<int32_t>& scores, const Matrix& values) {
  std::vector<Head> heads;
  for (const auto& value : values) {
    heads.emplace_back(value, kMaxA8);
  }
  const AttentionMaxima maxima = Maxima(scores, heads);
  std::vector<int32_t> out(values[0].size());
  FinishAttention(Sums(scores, heads, maxima, 0, scores.size()), maxima, out);
  return out;
}

TEST(Attention, ADominatingKeyPicksItsValue) {
  // Keys are axes; the query points along one of them, so strongly that all else is 2^-26.
  for (size_t chosen = 0; chosen < 4; ++chosen) {
    std::vector<int32_t> query(40, 0);
    query[chosen] = 64 << 16;
    std::vector<int32_t> scores;
    Matrix values;
    for (size_t key = 0; key < 4; ++key) {
      std::vector<int32_t> axis(40, 0);
      axis[key] = 4 << 16;
      scores.push_back(
          Score(Head(query, kMaxA14).code(), Head(axis, kMaxA14).code(), ScoreScale(40)));
      values.emplace_back(40, static_cast<int32_t>(key + 1) << 16);
    }
    EXPECT_EQ(Attend(scores, values), values[chosen]);
  }
}

TEST(Attention, EqualScoresAverage) {
  for (const int32_t score : {0, kMax32, -kMax32}) {
    const Matrix values = {
        {1 << 16, -8 << 16}, {3 << 16, 0}, {2 << 16, 8 << 16}, {2 << 16, 4 << 16}};
    EXPECT_EQ(Attend({score, score, score, score}, values),
              (std::vector<int32_t>{2 << 16, 1 << 16}));
  }
  EXPECT_EQ(Attend({5}, {{127, -127, 1}}), (std::vector<int32_t>{127, -127, 1}));
}

TEST(Attention, EveryBlockHasItsOwnShift) {
  std::vector<int32_t> value(40, 100 << 16);
  std::fill(value.begin() + 32, value.end(), -101);
  EXPECT_EQ(Attend({7, 7, 7}, {value, value, value}), value);
}

TEST(Attention, AScoreOneOctaveLowerHasHalfTheWeight) {
  EXPECT_EQ(Attend({65536, 0}, {{6 << 16}, {0}}), (std::vector<int32_t>{4 << 16}));
}

// log2(e)/sqrt(d) · q·k for one pair of exactly represented vectors.
TEST(Attention, ScoresAreInUnitsOfLog2) {
  const std::vector<int32_t> query(64, 2 << 16);
  const std::vector<int32_t> key(64, -(1 << 16));
  const double want = -128.0 * FromScale16(ScoreScale(64)) * 65536.0;
  EXPECT_EQ(Score(Head(query, kMaxA14).code(), Head(key, kMaxA14).code(), ScoreScale(64)),
            static_cast<int32_t>(std::floor(want + 0.5)));
  EXPECT_NEAR(FromScale16(ScoreScale(64)), 1.4426950408889634 / 8.0,
              1.4426950408889634 / 8.0 * 0x1p-16);
}

// Contract §14: a block's dot product reaches 32 · 8191² < 2^31; eight blocks at the largest shifts
// stay below 2^52 and saturate.
TEST(Attention, ScoresReachTheirBounds) {
  const auto dim = static_cast<size_t>(model::kMaxHeadDim);
  for (const int sign : {1, -1}) {
    const std::vector<int16_t> query(dim, 8191);
    const std::vector<int16_t> key(dim, static_cast<int16_t>(sign * 8191));
    const int64_t dot = int64_t{32} * 8191 * 8191;
    EXPECT_EQ(dot, 2146959392);
    EXPECT_LE(dot, INT32_MAX);
    for (int shift = 0; shift <= 19; ++shift) {
      const std::vector<uint8_t> shifts(8, static_cast<uint8_t>(shift));
      const int exponent = 2 * shift - 20;
      const Wide block = exponent < 0
                             ? (Wide{sign * dot} + (Wide{1} << (-exponent - 1))) >> -exponent
                             : Wide{sign * dot} << exponent;
      const Wide raw = 8 * block;
      ASSERT_LT(raw < 0 ? -raw : raw, Wide{1} << 52);
      const Wide capped = raw > kMax32 ? Wide{kMax32} : raw < -kMax32 ? -Wide{kMax32} : raw;
      const Scale16 scale = ScoreScale(256);
      const Wide product = capped * scale.mantissa;
      ASSERT_LT(product < 0 ? -product : product, Wide{1} << 47);
      const int right = -(scale.exponent + 4);
      const Wide want = (product + (Wide{1} << (right - 1))) >> right;
      const Wide last = want > kMax32 ? Wide{kMax32} : want < -kMax32 ? -Wide{kMax32} : want;
      ASSERT_EQ(Score({query, shifts}, {key, shifts}, scale), static_cast<int64_t>(last));
    }
  }
}

TEST(Attention, Exp2IsRightOverItsWholeDomain) {
  // Interpolating between 64 entries an octave errs by ln(2)²/8/64²; the entries, the interpolation
  // and the shift are each rounded by at most half a unit.
  const double relative = 0.6931471805599453 * 0.6931471805599453 / 8.0 / 4096.0;
  int32_t before = 1 << 24;
  for (int64_t distance = 0; distance <= 27 * 65536; ++distance) {
    const int32_t got = Exp2Negative(distance, kTables);
    const double want = std::exp2(24.0 - static_cast<double>(distance) * 0x1p-16);
    const double bound = want * relative * std::exp2(1.0 / 64.0) + want * 0x1p-24 + 0.5;
    ASSERT_NEAR(got, want, bound + 1e-9) << distance;
    ASSERT_LE(got, before) << distance;
    before = got;
  }
  EXPECT_EQ(Exp2Negative(0, kTables), 1 << 24);
  EXPECT_EQ(Exp2Negative(2, kTables), (1 << 24) - 353);  // 2/1024 of the first step is 352.98
  EXPECT_EQ(Exp2Negative(3 << 16, kTables), 1 << 21);
  EXPECT_EQ(Exp2Negative(25 << 16, kTables), 1);
  EXPECT_EQ(Exp2Negative((25 << 16) + 1, kTables), 0);
  EXPECT_EQ(Exp2Negative(26 << 16, kTables), 0);
  EXPECT_EQ(Exp2Negative(int64_t{2} * kMax32, kTables), 0);
}

TEST(Attention, ValuesOfDifferentShiftsAreAligned) {
  // Shifts 10 and 0: the small value loses nothing but what 2^-4 of a weight unit is.
  const std::vector<int32_t> out = Attend({0, 0}, {{100 << 10}, {100}});
  EXPECT_EQ(out[0], (100 * 1024 + 100) / 2);
  // Even over a spread of 25, the average is right to the 31 bits that FinishAttention keeps.
  EXPECT_NEAR(Attend({0, 0}, {{-kMax32}, {2}})[0], -(1 << 30) + 1, 1);
}

// Contract §14: 2^17 keys of the largest weight, shift and code.
TEST(Attention, SumsReachTheirBounds) {
  constexpr int64_t kKeys = model::kMaxContext;
  const std::vector<int8_t> codes = {127, -127};
  for (const uint8_t shift : {uint8_t{0}, uint8_t{25}}) {
    const std::vector<uint8_t> shifts = {shift};
    AttentionMaxima maxima;
    maxima.score = kMax32;
    maxima.value_shifts = shifts;
    AttentionSums sums{0, std::vector<int64_t>(2)};
    for (int64_t key = 0; key < kKeys; ++key) {
      AddKey(kMax32, {codes, shifts}, maxima, kTables, sums);
    }
    EXPECT_EQ(sums.weight, uint64_t{1} << 41);
    EXPECT_EQ(sums.values[0], 127 * (int64_t{1} << 47));
    EXPECT_LT(sums.values[0], int64_t{1} << 54);
    EXPECT_EQ(sums.values[1], -sums.values[0]);
    std::vector<int32_t> out(2);
    FinishAttention(sums, maxima, out);
    const int32_t want = shift == 0 ? 127 : kMax32;
    EXPECT_EQ(out, (std::vector<int32_t>{want, -want}));
  }
}

// FinishAttention in 128 bits, with its bounds, for every magnitude of the weight.
TEST(Attention, FinishingStaysInsideItsBounds) {
  uint64_t state = 1;
  for (int bit = 24; bit <= 41; ++bit) {
    for (int round = 0; round < 200; ++round) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      const uint64_t low = uint64_t{1} << bit;
      uint64_t weight = round == 0 ? low : round == 1 ? 2 * low - 1 : low + (state >> 8) % low;
      weight = std::min(weight, uint64_t{1} << 41);
      const auto limit = static_cast<int64_t>(weight) * 64 * 127;
      for (const int64_t sum : {limit, -limit, limit / 3, int64_t{0}}) {
        const int align = 31 - BitLength(weight);
        const Wide divisor = align >= 0 ? Wide{weight} << align : Wide{weight} >> -align;
        ASSERT_TRUE(divisor >= Wide{1} << 30 && divisor < Wide{1} << 31);
        const Wide reciprocal = (Wide{1} << 60) / divisor;
        ASSERT_LE(reciprocal, Wide{1} << 30);
        const Wide value = (Wide{sum} + (Wide{1} << (11 - align))) >> (12 - align);
        ASSERT_LT(value < 0 ? -value : value, Wide{1} << 32);
        const Wide product = value * reciprocal;
        ASSERT_LT(product < 0 ? -product : product, (Wide{1} << 61) + (Wide{1} << 32));
        for (const int shift : {0, 9, 25}) {
          AttentionMaxima maxima;
          maxima.value_shifts = {static_cast<uint8_t>(shift)};
          std::vector<int32_t> out(1);
          FinishAttention({weight, {sum}}, maxima, out);
          const Wide want = (product + (Wide{1} << (53 - shift))) >> (54 - shift);
          const Wide capped = want > kMax32 ? Wide{kMax32} : want < -kMax32 ? -Wide{kMax32} : want;
          ASSERT_EQ(out[0], static_cast<int64_t>(capped)) << weight << " " << sum;
        }
      }
    }
  }
}

RC_GTEST_PROP(AttentionProperty, OrderAndSplitDoNotMatter, ()) {
  const auto keys = *rc::gen::inRange<size_t>(1, 30);
  const auto dim = *rc::gen::inRange<size_t>(1, 70);
  const auto scores =
      *rc::gen::container<std::vector<int32_t>>(keys, rc::gen::inRange(-(20 << 16), 20 << 16));
  std::vector<Head> values;
  for (size_t key = 0; key < keys; ++key) {
    const int drop = *rc::gen::inRange(0, 31);
    values.emplace_back(*rc::gen::container<std::vector<int32_t>>(
                            dim, rc::gen::map(rc::gen::inRange(-kMax32, kMax32),
                                              [drop](int32_t value) { return value >> drop; })),
                        kMaxA8);
  }
  const AttentionMaxima maxima = Maxima(scores, values);
  const AttentionSums whole = Sums(scores, values, maxima, 0, keys);
  // Reversed.
  const std::vector<int32_t> back_scores(scores.rbegin(), scores.rend());
  const std::vector<Head> back_values(values.rbegin(), values.rend());
  const AttentionSums back =
      Sums(back_scores, back_values, Maxima(back_scores, back_values), 0, keys);
  RC_ASSERT((back.weight == whole.weight && back.values == whole.values));
  // Split at any place.
  const auto cut = *rc::gen::inRange<size_t>(0, keys + 1);
  const AttentionSums left = Sums(scores, values, maxima, 0, cut);
  const AttentionSums right = Sums(scores, values, maxima, cut, keys);
  RC_ASSERT(left.weight + right.weight == whole.weight);
  for (size_t channel = 0; channel < dim; ++channel) {
    RC_ASSERT(left.values[channel] + right.values[channel] == whole.values[channel]);
    RC_ASSERT(std::abs(whole.values[channel]) <= static_cast<int64_t>(whole.weight) * 64 * 127);
  }
}

}  // namespace
}  // namespace etch::numerics
