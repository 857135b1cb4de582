// Every operation of the numeric contract against vectors made by tools/make_numerics_golden.py,
// which shares no code with this folder and computes with unbounded integers.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "numerics/activation.h"
#include "numerics/attention.h"
#include "numerics/linear.h"
#include "numerics/norm.h"
#include "numerics/rope.h"
#include "numerics/sampler.h"
#include "numerics/swiglu.h"
#include "numerics/tables.h"
#include "numerics/weights.h"
#include "support/golden_file.h"

namespace etch::numerics {
namespace {

using test::GoldenCase;
using test::GoldenLine;
using test::ReadGolden;

std::vector<Rotation> Rotations(const std::vector<int32_t>& numbers) {
  std::vector<Rotation> out;
  for (size_t index = 0; index + 1 < numbers.size(); index += 2) {
    out.push_back({numbers[index], numbers[index + 1]});
  }
  return out;
}

std::vector<Gain16> Gains(const std::vector<int32_t>& numbers) {
  std::vector<Gain16> out;
  for (size_t index = 0; index + 1 < numbers.size(); index += 2) {
    out.push_back({static_cast<int16_t>(numbers[index]), static_cast<int8_t>(numbers[index + 1])});
  }
  return out;
}

Scale16 Scale(const std::vector<int32_t>& numbers) {
  return {static_cast<uint16_t>(numbers.at(0)), static_cast<int8_t>(numbers.at(1))};
}

ActivationFormat InputFormat(const std::string& name) {
  return name == "A16" ? ActivationFormat::kA16 : ActivationFormat::kA8;
}

WeightFormat MatrixFormat(const std::string& name) {
  return name == "W3"    ? WeightFormat::kW3
         : name == "W6"  ? WeightFormat::kW6
         : name == "W4F" ? WeightFormat::kW4F
                         : WeightFormat::kW8;
}

// A head as the caches keep it.
struct QuantizedHead {
  std::vector<int16_t> codes;
  std::vector<int8_t> narrow;
  std::vector<uint8_t> shifts;

  QuantizedHead(const std::vector<int32_t>& values, int32_t max_code) : codes(values.size()) {
    for (size_t begin = 0; begin < values.size(); begin += kBlock) {
      const size_t size = std::min<size_t>(kBlock, values.size() - begin);
      shifts.push_back(QuantizeBlock(std::span(values).subspan(begin, size), max_code,
                                     std::span(codes).subspan(begin, size)));
    }
    for (const int16_t code : codes) {
      narrow.push_back(static_cast<int8_t>(code));
    }
  }
  HeadCodes head() const { return {codes, shifts}; }
  ValueCodes value() const { return {narrow, shifts}; }
};

TEST(NumericsGolden, FunctionTables) {
  const GoldenCase functions = ReadGolden("tables.txt").at(0);
  const FunctionTables tables = BuildFunctionTables();
  EXPECT_EQ(functions.Integers<int32_t>("exp2"),
            std::vector<int32_t>(tables.exp2.begin(), tables.exp2.end()));
  EXPECT_EQ(functions.Integers<int32_t>("sigmoid"),
            std::vector<int32_t>(tables.sigmoid.begin(), tables.sigmoid.end()));
  EXPECT_EQ(functions.Integers<int32_t>("rsqrt"),
            std::vector<int32_t>(tables.rsqrt.begin(), tables.rsqrt.end()));
}

// Angles are formed in double precision, so that entries of far positions may differ by the last of
// 30 bits from the exact ones (contract §3); those of near positions may not.
TEST(NumericsGolden, RopeTables) {
  std::map<std::string, RopeTables> built;
  for (const GoldenCase& golden : ReadGolden("tables.txt")) {
    if (!golden.name.starts_with("angles")) {
      continue;
    }
    const std::vector<int64_t> numbers = golden.Integers("config");
    const GoldenLine& scaling = golden.Line("scaling");
    const std::string& kind = scaling.values.at(0);
    const std::vector<int64_t> factors = scaling.Integers(1);
    model::Config config;
    config.head_dim = numbers[0];
    config.rope_theta = static_cast<double>(numbers[1]);
    config.context = numbers[2];
    config.rope_scaling = {kind == "linear"   ? model::RopeScaling::Kind::kLinear
                           : kind == "llama3" ? model::RopeScaling::Kind::kLlama3
                                              : model::RopeScaling::Kind::kNone,
                           static_cast<double>(factors[0]), static_cast<double>(factors[1]),
                           static_cast<double>(factors[2]), static_cast<double>(factors[3])};
    if (!built.contains(kind)) {
      built[kind] = BuildRopeTables(config);
    }
    const RopeTables& tables = built[kind];
    const auto position = golden.Integer("position");
    const bool high = position >= kAngleStride;
    const std::vector<Rotation>& table = high ? tables.high : tables.low;
    const int64_t row = high ? position / kAngleStride : position;
    const std::vector<Rotation> want = Rotations(golden.Integers<int32_t>("rotations"));
    ASSERT_EQ(static_cast<int64_t>(want.size()), tables.pairs);
    for (int64_t pair = 0; pair < tables.pairs; ++pair) {
      const Rotation got = table.at(static_cast<size_t>(row * tables.pairs + pair));
      const int tolerance = position > 1024 ? 1 : 0;
      EXPECT_NEAR(got.cosine, want[static_cast<size_t>(pair)].cosine, tolerance) << golden.name;
      EXPECT_NEAR(got.sine, want[static_cast<size_t>(pair)].sine, tolerance) << golden.name;
    }
  }
  EXPECT_EQ(built.size(), 3U);
}

TEST(NumericsGolden, ScoreScales) {
  int count = 0;
  for (const GoldenCase& golden : ReadGolden("tables.txt")) {
    if (golden.name.starts_with("score-scale")) {
      EXPECT_EQ(ScoreScale(golden.Integer("head_dim")), Scale(golden.Integers<int32_t>("scale")));
      ++count;
    }
  }
  EXPECT_EQ(count, 6);
}

TEST(NumericsGolden, Activations) {
  int vectors = 0;
  for (const GoldenCase& golden : ReadGolden("activation.txt")) {
    SCOPED_TRACE(golden.name);
    if (golden.name.starts_with("block")) {
      const std::vector<int32_t> values = golden.Integers<int32_t>("values");
      std::vector<int16_t> codes(values.size());
      EXPECT_EQ(QuantizeBlock(values, golden.Integer<int32_t>("max_code"), codes),
                golden.Integer("shift"));
      EXPECT_EQ(codes, golden.Integers<int16_t>("codes"));
      continue;
    }
    ++vectors;
    const ActivationFormat format = InputFormat(golden.Line("format").values[0]);
    Activation activation;
    if (golden.Integer("point") == kPoint) {
      QuantizeActivation(golden.Integers<int32_t>("values"), format, activation);
    } else {
      QuantizeActivation(golden.Integers<int64_t>("values"), golden.Integer<int32_t>("point"),
                         format, activation);
    }
    EXPECT_EQ(activation.point, golden.Integer("point"));
    EXPECT_EQ(activation.codes, golden.Integers<int16_t>("codes"));
    const std::vector<int64_t> shifts = golden.Integers("shifts");
    EXPECT_EQ(std::vector<int64_t>(activation.shifts.begin(), activation.shifts.end()), shifts);
    EXPECT_EQ(activation.max_shift, *std::max_element(shifts.begin(), shifts.end()));
  }
  EXPECT_EQ(vectors, 20);
}

TEST(NumericsGolden, PackingAndDotProducts) {
  for (const GoldenCase& golden : ReadGolden("linear.txt")) {
    SCOPED_TRACE(golden.name);
    const WeightFormat format = MatrixFormat(golden.Line("shape").values[0]);
    const std::vector<int64_t> shape = golden.Line("shape").Integers(1);
    std::vector<std::byte> packed(static_cast<size_t>(WeightBytes(format, shape[0], shape[1])));
    const auto tile_bytes = static_cast<size_t>(TileBytes(format, shape[1]));
    const std::vector<GoldenLine> row_scales = golden.All("row");
    const std::vector<GoldenLine> scales = golden.All("scales");
    const std::vector<GoldenLine> tables = golden.All("tables");
    const std::vector<GoldenLine> codes = golden.All("codes");
    const std::vector<GoldenLine> halvings = golden.All("halvings");  // W4F only
    for (int64_t row = 0; row < shape[0]; ++row) {
      const auto at = static_cast<size_t>(row);
      const std::span<std::byte> tile =
          std::span(packed).subspan(at / kTileRows * tile_bytes, tile_bytes);
      PackRowScale(tile, row % kTileRows, Scale(row_scales[at].Integers<int32_t>()));
      const std::vector<std::byte> row_codes = codes[at].Bytes();
      for (int64_t group = 0; group < GroupCount(shape[1]); ++group) {
        RowGroup values;
        values.scale = scales[at].Integers<int8_t>()[static_cast<size_t>(group)];
        values.table = tables[at].Integers<uint8_t>()[static_cast<size_t>(group)];
        if (format == WeightFormat::kW4F) {
          values.halvings = halvings.at(at).Integers<uint8_t>()[static_cast<size_t>(group)];
        }
        for (size_t column = 0; column < kGroup; ++column) {
          values.codes[column] =
              static_cast<int8_t>(row_codes[static_cast<size_t>(group) * 32 + column]);
        }
        PackGroup(format, shape[1], tile, row % kTileRows, group, values);
      }
    }
    ASSERT_EQ(packed, golden.Line("tiles").Bytes());
    const WeightView view = {format, shape[0], shape[1], packed.data(), &kDefaultLevels};
    const std::vector<GoldenLine> inputs = golden.All("input");
    for (size_t index = 0; index < inputs.size(); ++index) {
      Activation input;
      QuantizeActivation(inputs[index].Integers<int32_t>(1), InputFormat(inputs[index].values[0]),
                         input);
      std::vector<int32_t> acc;
      for (int64_t row = 0; row < shape[0]; ++row) {
        acc.push_back(AccumulateRow(view, row, input));
      }
      EXPECT_EQ(acc, golden.All("acc")[index].Integers<int32_t>());
      std::vector<int32_t> out(acc.size());
      MultiplyMatrix(view, input, out);
      EXPECT_EQ(out, golden.All("y")[index].Integers<int32_t>());
    }
    for (const GoldenLine& line : golden.All("embed")) {
      std::vector<int32_t> out(static_cast<size_t>(shape[1]));
      EmbedRow(view, line.Integers()[0], out);
      EXPECT_EQ(out, line.Integers<int32_t>(1));
    }
  }
}

TEST(NumericsGolden, Norm) {
  const FunctionTables tables = BuildFunctionTables();
  for (const GoldenCase& golden : ReadGolden("norm.txt")) {
    SCOPED_TRACE(golden.name);
    if (golden.name == "rsqrt") {
      const std::vector<uint64_t> values = golden.Integers<uint64_t>("values");
      const std::vector<int64_t> mantissas = golden.Integers("mantissas");
      const std::vector<int64_t> exponents = golden.Integers("exponents");
      for (size_t index = 0; index < values.size(); ++index) {
        const ReciprocalRoot root = Rsqrt(values[index], tables);
        EXPECT_EQ(root.mantissa, mantissas[index]) << values[index];
        EXPECT_EQ(root.exponent, exponents[index]) << values[index];
      }
      continue;
    }
    const std::vector<int32_t> x = golden.Integers<int32_t>("x");
    const auto dim = static_cast<int64_t>(x.size());
    EXPECT_EQ(NormEpsilon(std::stod(golden.Line("eps").values[0]), dim),
              golden.Integer<uint64_t>("epsilon"));
    std::vector<Gain16> gains;
    for (const int64_t gain : golden.Integers("gain_256ths")) {
      gains.push_back(NormGain(static_cast<double>(gain) / 256.0, dim));
    }
    EXPECT_EQ(gains, Gains(golden.Integers<int32_t>("gains")));
    std::vector<int32_t> y(x.size());
    RmsNorm(x, gains, golden.Integer<uint64_t>("epsilon"), tables, y);
    EXPECT_EQ(y, golden.Integers<int32_t>("y"));
  }
}

TEST(NumericsGolden, Rope) {
  for (const GoldenCase& golden : ReadGolden("rope.txt")) {
    const std::vector<Rotation> high = Rotations(golden.Integers<int32_t>("high"));
    const std::vector<Rotation> low = Rotations(golden.Integers<int32_t>("low"));
    std::vector<Rotation> rotations;
    for (size_t pair = 0; pair < high.size(); ++pair) {
      rotations.push_back(ComposeRotation(high[pair], low[pair]));
    }
    EXPECT_EQ(rotations, Rotations(golden.Integers<int32_t>("rotations"))) << golden.name;
    std::vector<int32_t> head = golden.Integers<int32_t>("head");
    RotateHead(rotations, head);
    EXPECT_EQ(head, golden.Integers<int32_t>("rotated")) << golden.name;
  }
}

TEST(NumericsGolden, Attention) {
  const FunctionTables tables = BuildFunctionTables();
  for (const GoldenCase& golden : ReadGolden("attention.txt")) {
    SCOPED_TRACE(golden.name);
    if (golden.name == "exp2") {
      std::vector<int32_t> weights;
      for (const int64_t distance : golden.Integers("distances")) {
        weights.push_back(Exp2Negative(distance, tables));
      }
      EXPECT_EQ(weights, golden.Integers<int32_t>("weights"));
      continue;
    }
    const QuantizedHead query(golden.Integers<int32_t>("query"), kMaxA14);
    const Scale16 scale = Scale(golden.Integers<int32_t>("score_scale"));
    AttentionMaxima maxima;
    maxima.value_shifts.resize(query.shifts.size());
    std::vector<QuantizedHead> values;
    std::vector<int32_t> scores;
    for (const GoldenLine& key : golden.All("key")) {
      scores.push_back(
          Score(query.head(), QuantizedHead(key.Integers<int32_t>(), kMaxA14).head(), scale));
      maxima.score = std::max(maxima.score, scores.back());
    }
    for (const GoldenLine& value : golden.All("value")) {
      values.emplace_back(value.Integers<int32_t>(), kMaxA8);
      for (size_t block = 0; block < maxima.value_shifts.size(); ++block) {
        maxima.value_shifts[block] =
            std::max(maxima.value_shifts[block], values.back().shifts[block]);
      }
    }
    EXPECT_EQ(scores, golden.Integers<int32_t>("scores"));
    EXPECT_EQ(maxima.value_shifts, golden.Integers<uint8_t>("value_shifts"));
    AttentionSums sums{0, std::vector<int64_t>(query.codes.size())};
    for (size_t key = 0; key < scores.size(); ++key) {
      AddKey(scores[key], values[key].value(), maxima, tables, sums);
    }
    EXPECT_EQ(sums.weight, golden.Integer<uint64_t>("weight"));
    EXPECT_EQ(sums.values, golden.Integers("sums"));
    std::vector<int32_t> out(query.codes.size());
    FinishAttention(sums, maxima, out);
    EXPECT_EQ(out, golden.Integers<int32_t>("out"));
  }
}

TEST(NumericsGolden, SwiGlu) {
  const FunctionTables tables = BuildFunctionTables();
  const GoldenCase golden = ReadGolden("swiglu.txt").at(0);
  const std::vector<int32_t> gate = golden.Integers<int32_t>("gate");
  const std::vector<int32_t> up = golden.Integers<int32_t>("up");
  std::vector<int32_t> sigmoids;
  std::vector<int64_t> products;
  for (size_t index = 0; index < gate.size(); ++index) {
    sigmoids.push_back(Sigmoid(gate[index], tables));
    products.push_back(SwiGlu(gate[index], up[index], tables));
  }
  EXPECT_EQ(sigmoids, golden.Integers<int32_t>("sigmoid"));
  EXPECT_EQ(products, golden.Integers("products"));
}

TEST(NumericsGolden, Sampler) {
  const FunctionTables tables = BuildFunctionTables();
  for (const GoldenCase& golden : ReadGolden("sampler.txt")) {
    SCOPED_TRACE(golden.name);
    if (golden.name == "philox") {
      const auto counter = golden.Integers<uint32_t>("counter");
      const auto key = golden.Integers<uint32_t>("key");
      const auto words = Philox({counter[0], counter[1], counter[2], counter[3]}, {key[0], key[1]});
      EXPECT_EQ(std::vector<uint32_t>(words.begin(), words.end()),
                golden.Integers<uint32_t>("words"));
      continue;
    }
    const auto numbers = golden.Integers<uint64_t>("config");
    SamplingConfig config;
    config.greedy = numbers[0] != 0;
    config.inverse_temperature = numbers[1];
    config.top_k = static_cast<int64_t>(numbers[2]);
    config.top_p = static_cast<uint32_t>(numbers[3]);
    config.min_p = static_cast<uint32_t>(numbers[4]);
    config.seed = numbers[5];
    const auto logits = golden.Integers<int32_t>("logits");
    for (const uint32_t stream : {0U, 1U}) {
      std::vector<int32_t> tokens;
      for (const uint64_t step : golden.Integers<uint64_t>("steps")) {
        tokens.push_back(Sample(logits, config, step, stream, tables));
      }
      EXPECT_EQ(tokens, golden.Integers<int32_t>("tokens" + std::to_string(stream)));
    }
  }
}

}  // namespace
}  // namespace etch::numerics
