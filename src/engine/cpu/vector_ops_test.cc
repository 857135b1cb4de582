// The element-wise operations of every kernel set against numerics/: many widths, extreme values.

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "engine/cpu/kernels.h"
#include "model/config.h"
#include "numerics/norm.h"
#include "numerics/rope.h"
#include "numerics/swiglu.h"
#include "numerics/tables.h"

namespace etch::engine {
namespace {

using numerics::Activation;
using numerics::ActivationFormat;
using numerics::kMax32;

constexpr int64_t kWidths[] = {1, 15, 16, 31, 32, 33, 48, 64, 172, 576, 1000, 4096};

constexpr int64_t kInputWidths[] = {1,   16,  32,  33,  96,   97,   127,   128,
                                    129, 160, 172, 576, 1000, 4096, 16400, model::kMaxFfnDim};

class VectorOps : public ::testing::TestWithParam<const KernelSet*> {
 protected:
  // Values of `bits` magnitude bits at most; every kind of vector that a layer can meet.
  std::vector<int32_t> Values(int64_t count, int kind) {
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (size_t index = 0; index < values.size(); ++index) {
      const int bits = kind == 0   ? 31
                       : kind == 1 ? std::uniform_int_distribution<int>(0, 31)(random_)
                       : kind == 2 ? 4
                                   : 20;
      const auto bound = static_cast<int32_t>((int64_t{1} << bits) - 1);
      values[index] = std::uniform_int_distribution<int32_t>(-bound, bound)(random_);
      if (kind == 3) {  // one outlier among ones
        values[index] = index == values.size() / 2 ? 1 << 30 : 1;
      } else if (kind == 4) {
        values[index] = 0;
      } else if (kind == 5) {
        values[index] = index % 2 == 0 ? kMax32 : -kMax32;
      }
    }
    return values;
  }
  static constexpr int kKinds = 6;

  std::mt19937 random_{7};
};

void ExpectSamePanel(const Activation& expected, const InputPanel& panel, int64_t column) {
  InputPanel wanted;
  wanted.Reset(panel.format(), panel.width(), panel.columns(), panel.point());
  PackColumn(expected, column, wanted);
  EXPECT_EQ(wanted.max_shift(column), panel.max_shift(column));
  EXPECT_EQ(expected.point, panel.point());
  for (int64_t group = 0; group < panel.groups(); ++group) {
    const auto bytes = static_cast<size_t>(panel.record_bytes());
    ASSERT_EQ(std::memcmp(wanted.Record(column, group), panel.Record(column, group), bytes), 0)
        << "width " << panel.width() << ", group " << group;
  }
}

// Function tables: v1's, and the steepest and flattest that numerics::Validate() admits.
std::vector<numerics::FunctionTables> AdmittedTables() {
  const numerics::FunctionTables usual = numerics::BuildFunctionTables();
  numerics::FunctionTables early = usual;  // the whole rise in the first step
  early.sigmoid.fill(1 << numerics::kSigmoidBits);
  early.sigmoid.front() = 0;
  early.rsqrt.fill(1 << numerics::kRsqrtBits);
  numerics::FunctionTables late = usual;
  late.sigmoid.fill(0);
  late.sigmoid.back() = 1 << numerics::kSigmoidBits;
  late.rsqrt.fill((1 << 29) + 1);
  for (const numerics::FunctionTables& tables : {early, late}) {
    EXPECT_TRUE(numerics::Validate(tables));
  }
  return {usual, early, late};
}

TEST_P(VectorOps, QuantizeIsTheContractsAndPacksLikeIt) {
  for (const int64_t width : kInputWidths) {
    for (int kind = 0; kind < kKinds; ++kind) {
      for (const ActivationFormat format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
        InputPanel panel;
        const int64_t columns = kind == 1 ? kBlockColumns + 2 : 2;
        panel.Reset(format, width, columns);
        const std::vector<int32_t> values = Values(width, kind);
        GetParam()->quantize(values.data(), columns - 1, panel);
        Activation expected;
        numerics::QuantizeActivation(values, format, expected);
        ExpectSamePanel(expected, panel, columns - 1);

        const std::vector<int32_t> factors = Values(width, kind);
        std::vector<int64_t> products(values.size());
        for (size_t index = 0; index < products.size(); ++index) {
          products[index] = int64_t{values[index]} * factors[index];
        }
        panel.Reset(format, width, columns, 32);
        GetParam()->quantize_products(products.data(), 0, panel);
        numerics::QuantizeActivation(products, 32, format, expected);
        ExpectSamePanel(expected, panel, 0);
      }
    }
  }
}

TEST_P(VectorOps, RotateAndQuantizeHead) {
  // A composed rotation of any admitted table lies in ±2^15.
  std::uniform_int_distribution<int32_t> any(-(1 << 15), 1 << 15);
  for (size_t pairs = 1; pairs <= model::kMaxHeadDim / 2; ++pairs) {
    for (int kind = 0; kind < kKinds; ++kind) {
      std::vector<numerics::Rotation> rotations(pairs);
      for (numerics::Rotation& rotation : rotations) {
        rotation = {any(random_), any(random_)};
      }
      rotations.back() = {-(1 << 15), 1 << 15};
      // What lies behind the head is left alone.
      std::vector<int32_t> head = Values(static_cast<int64_t>(2 * pairs), kind);
      std::vector<int32_t> rotated = head;
      rotated.push_back(-1);
      numerics::RotateHead(rotations, head);
      GetParam()->rotate(rotations, rotated.data());
      ASSERT_EQ(rotated.back(), -1);
      rotated.pop_back();
      ASSERT_EQ(rotated, head) << pairs << " pairs, kind " << kind;

      for (const int32_t limit : {numerics::kMaxA14, numerics::kMaxA8}) {
        std::vector<int16_t> codes(head.size() + 1, -1);
        std::vector<uint8_t> shifts(head.size() / numerics::kBlock + 2, 99);
        GetParam()->quantize_head(head, limit, codes.data(), shifts.data());
        ASSERT_EQ(codes.back(), -1);
        size_t block = 0;
        for (size_t begin = 0; begin < head.size(); begin += numerics::kBlock) {
          const size_t size = std::min<size_t>(numerics::kBlock, head.size() - begin);
          std::vector<int16_t> expected(size);
          const auto values = std::span<const int32_t>(head).subspan(begin, size);
          ASSERT_EQ(shifts[block++], numerics::QuantizeBlock(values, limit, expected));
          for (size_t index = 0; index < size; ++index) {
            ASSERT_EQ(codes[begin + index], expected[index]) << pairs << " pairs, kind " << kind;
          }
        }
        ASSERT_EQ(shifts[block], 99);
      }
    }
  }
}

// Every magnitude near a power of two, where the search for the shift takes a second trial.
TEST_P(VectorOps, ShiftsAtTheirEdges) {
  std::vector<int32_t> values(128);
  for (int bits = 0; bits <= 31; ++bits) {
    for (int64_t delta = -70; delta <= 70; ++delta) {
      for (const int64_t part : {int64_t{0}, int64_t{127} << 24, int64_t{8191} << 18}) {
        const int64_t edge = (part == 0 ? int64_t{1} << bits : part >> (31 - bits)) + delta;
        values[5] = static_cast<int32_t>(std::clamp<int64_t>(edge, 0, kMax32));
        values[40] = -values[5];
        for (const int32_t limit : {numerics::kMaxA14, numerics::kMaxA8}) {
          std::array<int16_t, 64> codes;
          std::array<uint8_t, 2> shifts;
          GetParam()->quantize_head(std::span(values).first(64), limit, codes.data(),
                                    shifts.data());
          const auto magnitude = static_cast<uint64_t>(values[5]);
          ASSERT_EQ(shifts[0], numerics::BlockShift(magnitude, limit)) << magnitude;
          ASSERT_EQ(shifts[1], shifts[0]);
          ASSERT_EQ(codes[5], numerics::RoundShiftRight(values[5], shifts[0]));
          ASSERT_EQ(codes[40], numerics::RoundShiftRight(values[40], shifts[0]));
        }
        for (const ActivationFormat format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
          InputPanel panel;
          panel.Reset(format, 128, 1);
          GetParam()->quantize(values.data(), 0, panel);
          Activation expected;
          numerics::QuantizeActivation(values, format, expected);
          ExpectSamePanel(expected, panel, 0);
          const std::vector<int64_t> products(values.begin(), values.end());
          panel.Reset(format, 128, 1, 32);
          GetParam()->quantize_products(products.data(), 0, panel);
          numerics::QuantizeActivation(products, 32, format, expected);
          ExpectSamePanel(expected, panel, 0);
        }
      }
    }
  }
}

// The same of products, up to the largest.
TEST_P(VectorOps, ShiftsOfProductsAtTheirEdges) {
  std::vector<int64_t> products(128);
  for (int bits = 31; bits <= 62; ++bits) {
    for (int64_t delta = -40; delta <= 40; ++delta) {
      const int64_t most = int64_t{kMax32} * kMax32;
      products[70] = -std::min((int64_t{1} << bits) + delta, most);
      products[71] = std::min((int64_t{255} << (bits - 8)) + delta, most);
      for (const ActivationFormat format : {ActivationFormat::kA8, ActivationFormat::kA16}) {
        InputPanel panel;
        panel.Reset(format, 128, 1, 32);
        GetParam()->quantize_products(products.data(), 0, panel);
        Activation expected;
        numerics::QuantizeActivation(products, 32, format, expected);
        ExpectSamePanel(expected, panel, 0);
      }
    }
  }
}

TEST_P(VectorOps, Norm) {
  for (const numerics::FunctionTables& tables : AdmittedTables()) {
    for (const int64_t width : kWidths) {
      for (int kind = 0; kind < kKinds; ++kind) {
        // Gains of trained models, and of every exponent (the last: shifts up).
        for (const int highest : {-14, 14, 127}) {
          std::vector<numerics::Gain16> gains(static_cast<size_t>(width));
          for (numerics::Gain16& gain : gains) {
            gain.mantissa =
                static_cast<int16_t>(std::uniform_int_distribution<int>(-32768, 32767)(random_));
            gain.exponent = static_cast<int8_t>(
                std::uniform_int_distribution<int>(highest == -14 ? -20 : -128, highest)(random_));
          }
          gains.front() = {-32768, static_cast<int8_t>(highest)};
          const std::vector<int32_t> x = Values(width, kind);
          for (const double eps : {0.0, 1e-5, 1.0}) {
            const uint64_t epsilon = numerics::NormEpsilon(eps, width);
            std::vector<int32_t> expected(x.size());
            numerics::RmsNorm(x, gains, epsilon, tables, expected);
            std::vector<int32_t> out(x.size());
            GetParam()->norm(x, gains, epsilon, tables, out.data());
            ASSERT_EQ(out, expected) << width << ", kind " << kind << ", gains to " << highest;
          }
        }
      }
    }
  }
}

TEST_P(VectorOps, SwiGlu) {
  std::vector<int32_t> gate;
  for (int64_t value = -(17 << 16); value <= 17 << 16; value += 61) {  // the table's whole range
    gate.push_back(static_cast<int32_t>(value));
  }
  for (const int32_t edge : {16 << 16, 0, kMax32}) {
    for (const int32_t delta : {-1, 0, 1}) {
      const auto value = std::clamp<int64_t>(int64_t{edge} + delta, -kMax32, kMax32);
      gate.push_back(static_cast<int32_t>(value));
      gate.push_back(static_cast<int32_t>(-value));
    }
  }
  std::vector<int32_t> up = Values(std::ssize(gate), 1);
  up.back() = kMax32;
  for (const numerics::FunctionTables& tables : AdmittedTables()) {
    for (size_t count = 0; count <= gate.size(); count = count < 70 ? count + 1 : gate.size()) {
      // From the end, where the extremes are; what lies behind is left alone.
      const size_t from = gate.size() - count;
      std::vector<int64_t> out(count + 1, -1);
      GetParam()->swiglu(gate.data() + from, up.data() + from, static_cast<int64_t>(count), tables,
                         out.data());
      for (size_t index = 0; index < count; ++index) {
        ASSERT_EQ(out[index], numerics::SwiGlu(gate[from + index], up[from + index], tables))
            << gate[from + index];
      }
      ASSERT_EQ(out[count], -1);
      if (count == gate.size()) {
        break;
      }
    }
  }
}

TEST_P(VectorOps, AddSaturates) {
  for (const int64_t width : kWidths) {
    const std::vector<int32_t> a = Values(width, 5);
    const std::vector<int32_t> b = Values(width, width % 2 == 0 ? 5 : 0);
    std::vector<int32_t> out(a.size());
    GetParam()->add(a.data(), b.data(), width, out.data());
    for (size_t index = 0; index < a.size(); ++index) {
      ASSERT_EQ(out[index], numerics::Saturate32(int64_t{a[index]} + b[index]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, VectorOps, ::testing::ValuesIn(AvailableKernels()),
                         [](const auto& at) { return std::string(at.param->isa); });

}  // namespace
}  // namespace etch::engine
