#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <random>
#include <span>
#include <vector>

#include <Vetch_quantise.h>
#include "numerics/activation.h"
#include "numerics/fixed_point.h"
#include "numerics/swiglu.h"
#include "numerics/tables.h"
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

using numerics::ActivationFormat;
using numerics::kBlock;

constexpr int32_t kMax = numerics::kMax32;
constexpr int64_t kGate = 100;
constexpr int64_t kUp = 2100;
constexpr int64_t kHeadDim = 40;  // of the unit under test
constexpr int kA14 = 2;
constexpr int kFormats = 3;

int32_t MaxCode(int format) {
  return format == kA14 ? numerics::kMaxA14
                        : numerics::MaxCode(static_cast<ActivationFormat>(format));
}

// What the unit says of one code.
struct Code {
  int32_t code = 0;
  int32_t index = 0;
  int32_t block = 0;
  int32_t shift = 0;
  bool last = false;
  bool operator==(const Code&) const = default;
  friend void PrintTo(const Code& code, std::ostream* out) {
    *out << "code " << code.code << " at " << code.index << ", block " << code.block << ", shift "
         << code.shift << (code.last ? ", last" : "");
  }
};

class QuantiseUnit : public ::testing::Test {
 protected:
  QuantiseUnit() {
    bench_.memories = [this] {
      auto& unit = bench_.unit;
      if (unit.code_valid != 0) {
        codes_.push_back({static_cast<int16_t>(unit.code), unit.code_index, unit.code_block,
                          unit.code_shift, unit.code_last != 0});
      }
      const size_t entry = unit.sigmoid_addr;
      const uint64_t pair = static_cast<uint64_t>(tables_.sigmoid[entry + 1]) << 17 |
                            static_cast<uint64_t>(tables_.sigmoid[entry]);
      return [&unit, pair, a = bench_.work[unit.a_addr], b = bench_.work[unit.b_addr]] {
        unit.a_data = static_cast<uint32_t>(a);
        unit.b_data = static_cast<uint32_t>(b);
        unit.sigmoid_pair = pair;
      };
    };
    // What lies around the operands: were it read, codes would differ.
    std::ranges::generate(bench_.work, [this] { return Between(-kMax, 0); });
  }

  int32_t Between(int64_t low, int64_t high) {
    return static_cast<int32_t>(std::uniform_int_distribution<int64_t>(low, high)(random_));
  }

  std::vector<int32_t> Random(int64_t n, int bits) {
    const int64_t limit = (int64_t{1} << bits) - 1;
    std::vector<int32_t> x(static_cast<size_t>(n));
    std::ranges::generate(x, [&] { return Between(-limit, limit); });
    return x;
  }

  // Every block has a magnitude of its own.
  std::vector<int32_t> Spread(int64_t n) {
    std::vector<int32_t> x(static_cast<size_t>(n));
    int64_t limit = 0;
    for (size_t index = 0; index < x.size(); ++index) {
      if (index % kBlock == 0) {
        limit = (int64_t{1} << Between(0, 31)) - 1;
      }
      x[index] = Between(-limit, limit);
    }
    return x;
  }

  static std::vector<Code> Codes(const numerics::Activation& activation) {
    std::vector<Code> codes;
    for (size_t index = 0; index < activation.codes.size(); ++index) {
      const size_t block = index / kBlock;
      codes.push_back({activation.codes[index], static_cast<int32_t>(index),
                       static_cast<int32_t>(block), activation.shifts[block],
                       index % kBlock == kBlock - 1});
    }
    return codes;
  }

  // One run of the unit, whose words are in place, against what it is to say.
  void Run(int64_t n, int format, bool is_product, bool per_head, const std::vector<Code>& expected,
           int max_shift) {
    codes_.clear();
    bench_.unit.src = kGate;
    bench_.unit.src_b = kUp;
    bench_.unit.n = static_cast<uint16_t>(n);
    bench_.unit.format = static_cast<uint8_t>(format);
    bench_.unit.is_product = is_product;
    bench_.unit.per_head = per_head;
    ASSERT_EQ(bench_.Run(), n + static_cast<int64_t>(expected.size()) + 13);
    ASSERT_EQ(codes_, expected) << "n " << n << ", format " << format;
    EXPECT_EQ(bench_.unit.max_shift, max_shift);
    EXPECT_EQ(bench_.unit.a_addr, 0);
    EXPECT_EQ(bench_.unit.b_addr, 0);
    EXPECT_EQ(bench_.unit.sigmoid_addr, 0);
    EXPECT_EQ(bench_.unit.code_valid, 0);
    EXPECT_EQ(bench_.unit.code, 0);
    bench_.Tick();
    EXPECT_EQ(bench_.unit.max_shift, max_shift);
  }

  void CheckVector(const std::vector<int32_t>& x) {
    std::ranges::copy(x, bench_.work.begin() + kGate);
    const auto n = static_cast<int64_t>(x.size());
    for (const auto format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
      numerics::Activation expected;
      numerics::QuantizeActivation(x, format, expected);
      Run(n, static_cast<int>(format), false, false, Codes(expected), expected.max_shift);
    }
  }

  void CheckProducts(const std::vector<int32_t>& gate, const std::vector<int32_t>& up) {
    std::ranges::copy(gate, bench_.work.begin() + kGate);
    std::ranges::copy(up, bench_.work.begin() + kUp);
    const auto n = static_cast<int64_t>(gate.size());
    std::vector<int64_t> products;
    for (size_t index = 0; index < gate.size(); ++index) {
      products.push_back(numerics::SwiGlu(gate[index], up[index], tables_));
    }
    for (const auto format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
      numerics::Activation expected;
      numerics::QuantizeActivation(products, 2 * numerics::kPoint, format, expected);
      Run(n, static_cast<int>(format), true, false, Codes(expected), expected.max_shift);
    }
  }

  // x holds whole heads.
  void CheckHeads(const std::vector<int32_t>& x) {
    std::ranges::copy(x, bench_.work.begin() + kGate);
    const auto n = static_cast<int64_t>(x.size());
    for (int format = 0; format < kFormats; ++format) {
      std::vector<Code> expected;
      int32_t block = 0;
      for (int64_t head = 0; head < n; head += kHeadDim) {
        for (int64_t begin = 0; begin < kHeadDim; begin += kBlock, ++block) {
          const auto size = static_cast<size_t>(std::min(kBlock, kHeadDim - begin));
          std::vector<int16_t> codes(size);
          const uint8_t shift =
              numerics::QuantizeBlock(std::span(x).subspan(static_cast<size_t>(head + begin), size),
                                      MaxCode(format), codes);
          for (size_t index = 0; index < size; ++index) {
            expected.push_back({codes[index],
                                static_cast<int32_t>(head + begin) + static_cast<int32_t>(index),
                                block, shift, index + 1 == size});
          }
        }
      }
      Run(n, format, false, true, expected, 0);
    }
  }

  numerics::FunctionTables tables_ = numerics::BuildFunctionTables();
  std::mt19937_64 random_{1};
  std::vector<Code> codes_;
  test::UnitBench<Vetch_quantise> bench_{4096};
};

TEST_F(QuantiseUnit, EqualsTheDefinitionForVectors) {
  for (const int64_t n : {1, 2, 5, 31, 32, 33, 64, 172, 1000}) {
    for (int bits = 0; bits <= 31; ++bits) {
      CheckVector(Random(n, bits));
      CheckVector(Spread(n));
    }
  }
}

TEST_F(QuantiseUnit, HoldsAtTheEndsOfVectors) {
  for (const int64_t n : {1, 33, 1000}) {
    const auto size = static_cast<size_t>(n);
    CheckVector(std::vector<int32_t>(size, 0));
    CheckVector(std::vector<int32_t>(size, kMax));
    CheckVector(std::vector<int32_t>(size, -kMax));
    for (const size_t place : {size_t{0}, size / 2, size - 1}) {
      std::vector<int32_t> outlier(size, 1);
      outlier[place] = -kMax;
      CheckVector(outlier);
    }
  }
}

// Magnitudes at which a shift becomes the next.
TEST_F(QuantiseUnit, ShiftsWhereTheRoundedCodeNoLongerFits) {
  for (int format = 0; format < kFormats; ++format) {
    for (int shift = 0; shift < 24; ++shift) {
      const int64_t edge = (int64_t{MaxCode(format)} << shift) + (int64_t{1} << shift) / 2;
      for (int64_t value = edge - 2; value <= edge + 2; ++value) {
        if (value <= kMax) {
          CheckVector({static_cast<int32_t>(value), 1, -3});
          std::vector<int32_t> heads(2 * kHeadDim, 1);
          heads[0] = static_cast<int32_t>(-value);
          heads[kHeadDim + 35] = static_cast<int32_t>(value);
          CheckHeads(heads);
        }
      }
    }
  }
}

TEST_F(QuantiseUnit, EqualsTheDefinitionForProducts) {
  for (const int64_t n : {1, 31, 32, 33, 64, 172, 1000}) {
    for (int bits = 0; bits <= 31; ++bits) {
      CheckProducts(Random(n, bits), Random(n, Between(0, 31)));
      CheckProducts(Spread(n), Spread(n));
    }
  }
}

TEST_F(QuantiseUnit, HoldsAtTheEndsOfProducts) {
  for (const int64_t n : {1, 33, 1000}) {
    const auto size = static_cast<size_t>(n);
    for (const int32_t gate : {-kMax, -1, 0, 1, kMax}) {
      for (const int32_t up : {-kMax, 0, 1, kMax}) {
        CheckProducts(std::vector<int32_t>(size, gate), std::vector<int32_t>(size, up));
      }
    }
    std::vector<int32_t> outlier(size, 1);
    outlier[size / 2] = kMax;
    CheckProducts(outlier, outlier);
  }
  CheckProducts({kMax, 1 << 30}, {(1 << 30) + 1, 1 << 30});  // one above 2^61, one below
  // The sigmoid's ends and the steps of its table.
  for (int32_t step = -257; step <= 257; ++step) {
    std::vector<int32_t> gate;
    for (int32_t offset = -2; offset <= 2; ++offset) {
      gate.push_back(step * 4096 + offset);
    }
    CheckProducts(gate, std::vector<int32_t>(gate.size(), 1 << 16));
  }
}

TEST_F(QuantiseUnit, EqualsTheDefinitionForHeads) {
  for (const int64_t heads : {1, 2, 5, 20}) {
    for (int bits = 0; bits <= 31; ++bits) {
      CheckHeads(Random(heads * kHeadDim, bits));
      CheckHeads(Spread(heads * kHeadDim));
    }
    CheckHeads(std::vector<int32_t>(static_cast<size_t>(heads * kHeadDim), -kMax));
  }
}

TEST_F(QuantiseUnit, TakesRunsOfEveryKindInTurn) {
  for (int round = 0; round < 50; ++round) {
    CheckVector(Spread(Between(1, 200)));
    const int64_t n = Between(1, 200);
    CheckProducts(Spread(n), Spread(n));
    CheckHeads(Spread(Between(1, 4) * kHeadDim));
  }
}

// Any table that a reader of images admits: the steps at its ends are large here.
TEST_F(QuantiseUnit, TakesEveryTable) {
  for (size_t entry = 1; entry < tables_.sigmoid.size() - 1; ++entry) {
    tables_.sigmoid[entry] = 20000 + static_cast<int32_t>(entry) * 50;
  }
  ASSERT_TRUE(numerics::Validate(tables_));
  for (const int32_t edge : {-(1 << 20), 1 << 20}) {
    for (int32_t offset = -40; offset <= 40; ++offset) {
      CheckProducts({edge + offset}, {1 << 16});
    }
  }
  CheckProducts(Random(1000, 21), Random(1000, 31));
}

// A unit that is reset while it works starts afresh.
TEST_F(QuantiseUnit, StartsAfreshAfterReset) {
  for (int cycles = 0; cycles < 150; ++cycles) {
    std::ranges::fill(bench_.work, kMax);
    bench_.unit.src = 0;
    bench_.unit.n = 64;
    bench_.unit.start = 1;
    bench_.Tick();
    bench_.unit.start = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
      bench_.Tick();
    }
    bench_.unit.rst = 1;
    bench_.Tick();
    bench_.unit.rst = 0;
    EXPECT_EQ(bench_.unit.a_addr, 0);
    CheckVector(Random(64, 20));
  }
}

}  // namespace
}  // namespace etch::rtl
