// The order of the whole forward pass (contract §13), written out over this folder's operations and
// held to the golden vectors of a two-layer model, without and with an adapter. Backends are held
// to the same file.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "numerics/activation.h"
#include "numerics/attention.h"
#include "numerics/linear.h"
#include "numerics/norm.h"
#include "numerics/rope.h"
#include "numerics/swiglu.h"
#include "support/golden_file.h"

namespace etch::numerics {
namespace {

using test::GoldenCase;
using test::GoldenLine;
using Values = std::vector<int32_t>;

struct Tensor {
  WeightFormat format = WeightFormat::kW3;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<std::byte> bytes;

  WeightView view() const { return {format, rows, cols, bytes.data(), &kDefaultLevels}; }
};

std::map<std::string, Tensor> Tensors(const GoldenCase& golden) {
  std::map<std::string, Tensor> tensors;
  for (const GoldenLine& line : golden.All("tensor")) {
    const std::string& format = line.values[1];
    Tensor& tensor = tensors[line.values[0]];
    tensor.format = format == "W3"    ? WeightFormat::kW3
                    : format == "W6"  ? WeightFormat::kW6
                    : format == "W4F" ? WeightFormat::kW4F
                                      : WeightFormat::kW8;
    tensor.rows = std::stoll(line.values[2]);
    tensor.cols = std::stoll(line.values[3]);
    tensor.bytes = line.Bytes(4);
    EXPECT_EQ(static_cast<int64_t>(tensor.bytes.size()),
              WeightBytes(tensor.format, tensor.rows, tensor.cols));
  }
  return tensors;
}

struct CachedHead {
  std::vector<int16_t> codes;
  std::vector<int8_t> narrow;
  std::vector<uint8_t> shifts;
};

CachedHead QuantizeHead(std::span<const int32_t> values, int32_t max_code) {
  CachedHead head;
  head.codes.resize(values.size());
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t size = std::min<size_t>(kBlock, values.size() - begin);
    head.shifts.push_back(QuantizeBlock(values.subspan(begin, size), max_code,
                                        std::span(head.codes).subspan(begin, size)));
  }
  head.narrow.assign(head.codes.begin(), head.codes.end());
  return head;
}

// The model of a golden file and one sequence over it.
class TinyModel {
 public:
  explicit TinyModel(const std::vector<GoldenCase>& cases)
      : golden_(cases.at(0)),
        tensors_(Tensors(golden_)),
        adapter_(Tensors(cases.at(1))),
        weight_q16_(cases.at(1).Integer<int32_t>("weight_q16")) {
    const model::Config config = Config();
    rope_ = BuildRopeTables(config);
    caches_.resize(static_cast<size_t>(config.n_layers * config.n_kv_heads));
    for (const GoldenLine& line : golden_.All("gains")) {
      const std::vector<int32_t> numbers = line.Integers<int32_t>(1);
      for (size_t index = 0; index + 1 < numbers.size(); index += 2) {
        gains_[line.values[0]].push_back(
            {static_cast<int16_t>(numbers[index]), static_cast<int8_t>(numbers[index + 1])});
      }
    }
  }

  model::Config Config() const {
    model::Config config;
    config.dim = golden_.Integer("dim");
    config.ffn_dim = golden_.Integer("ffn_dim");
    config.n_layers = golden_.Integer("n_layers");
    config.n_heads = golden_.Integer("n_heads");
    config.n_kv_heads = golden_.Integer("n_kv_heads");
    config.head_dim = golden_.Integer("head_dim");
    config.vocab_size = golden_.Integer("vocab_size");
    config.context = golden_.Integer("context");
    config.rope_theta = static_cast<double>(golden_.Integer("rope_theta"));
    return config;
  }

  // Appends `token` at `position`; every named intermediate of the golden file.
  std::map<std::string, Values> Forward(int32_t token, int64_t position, bool adapted) {
    const model::Config config = Config();
    std::map<std::string, Values> trace;
    std::vector<Rotation> rotations(static_cast<size_t>(rope_.pairs));
    RotationsAt(rope_.high, rope_.low, rope_.pairs, position, rotations);
    Values x(static_cast<size_t>(config.dim));
    EmbedRow(tensors_.at("token_embd").view(), token, x);
    trace["embedding"] = x;
    for (int64_t layer = 0; layer < config.n_layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      const Activation normed = Norm(prefix + "attn_norm", Site(layer, 0), x);
      Values q = Linear(prefix + "attn_q", normed, adapted);
      Values k = Linear(prefix + "attn_k", normed, adapted);
      const Values v = Linear(prefix + "attn_v", normed, adapted);
      RotateHeads(rotations, q);
      RotateHeads(rotations, k);
      const Values attended = Attend(layer, q, k, v);
      Activation input;
      QuantizeActivation(attended, Site(layer, 1), input);
      AddResidual(Linear(prefix + "attn_output", input, adapted), x);
      trace[prefix + "q"] = q;
      trace[prefix + "k"] = k;
      trace[prefix + "v"] = v;
      trace[prefix + "attended"] = attended;
      trace[prefix + "residual_attention"] = x;
      const Activation ffn = Norm(prefix + "ffn_norm", Site(layer, 2), x);
      const Values gate = Linear(prefix + "ffn_gate", ffn, adapted);
      const Values up = Linear(prefix + "ffn_up", ffn, adapted);
      std::vector<int64_t> products;
      for (size_t index = 0; index < gate.size(); ++index) {
        products.push_back(SwiGlu(gate[index], up[index], tables_));
      }
      QuantizeActivation(products, 2 * kPoint, Site(layer, 3), input);
      AddResidual(Linear(prefix + "ffn_down", input, adapted), x);
      trace[prefix + "residual_ffn"] = x;
    }
    Values logits(static_cast<size_t>(config.vocab_size));
    MultiplyMatrix(tensors_.at("output").view(), Norm("output_norm", Site(config.n_layers, 0), x),
                   logits);
    trace["logits"] = logits;
    return trace;
  }

 private:
  ActivationFormat Site(int64_t layer, int64_t site) const {
    const std::string& name =
        golden_.Line("inputs").values.at(static_cast<size_t>(layer * 4 + site));
    return name == "A16" ? ActivationFormat::kA16 : ActivationFormat::kA8;
  }

  Activation Norm(const std::string& name, ActivationFormat format, const Values& x) const {
    Values y(x.size());
    RmsNorm(x, gains_.at(name), golden_.Integer<uint64_t>("norm_epsilon"), tables_, y);
    Activation out;
    QuantizeActivation(y, format, out);
    return out;
  }

  Values Linear(const std::string& name, const Activation& x, bool adapted) const {
    const WeightView view = tensors_.at(name).view();
    Values y(static_cast<size_t>(view.rows));
    MultiplyMatrix(view, x, y);
    if (!adapted || !adapter_.contains(name + ".a")) {
      return y;
    }
    const WeightView a = adapter_.at(name + ".a").view();
    Values u(static_cast<size_t>(a.rows));
    MultiplyMatrix(a, x, u);
    Activation narrow;
    QuantizeActivation(u, ActivationFormat::kA8, narrow);
    Values delta(y.size());
    MultiplyMatrix(adapter_.at(name + ".b").view(), narrow, delta);
    for (size_t row = 0; row < y.size(); ++row) {
      y[row] = Saturate32(y[row] + WeighDelta(delta[row], weight_q16_));
    }
    return y;
  }

  void RotateHeads(const std::vector<Rotation>& rotations, Values& heads) const {
    for (size_t begin = 0; begin < heads.size(); begin += 2 * rotations.size()) {
      RotateHead(rotations, std::span(heads).subspan(begin, 2 * rotations.size()));
    }
  }

  Values Attend(int64_t layer, const Values& q, const Values& k, const Values& v) {
    const model::Config config = Config();
    const auto width = static_cast<size_t>(config.head_dim);
    Values out(q.size());
    const auto first_cache = static_cast<size_t>(layer * config.n_kv_heads);
    for (size_t head = 0; head < static_cast<size_t>(config.n_kv_heads); ++head) {
      caches_[first_cache + head].emplace_back(
          QuantizeHead(std::span(k).subspan(head * width, width), kMaxA14),
          QuantizeHead(std::span(v).subspan(head * width, width), kMaxA8));
    }
    const auto group = static_cast<size_t>(config.n_heads / config.n_kv_heads);
    for (size_t head = 0; head < static_cast<size_t>(config.n_heads); ++head) {
      const auto& cache = caches_[first_cache + head / group];
      const CachedHead query = QuantizeHead(std::span(q).subspan(head * width, width), kMaxA14);
      AttentionMaxima maxima;
      maxima.value_shifts.resize(query.shifts.size());
      Values scores;
      for (const auto& [key, value] : cache) {
        scores.push_back(Score({query.codes, query.shifts}, {key.codes, key.shifts},
                               ScoreScale(config.head_dim)));
        maxima.score = std::max(maxima.score, scores.back());
        for (size_t block = 0; block < value.shifts.size(); ++block) {
          maxima.value_shifts[block] = std::max(maxima.value_shifts[block], value.shifts[block]);
        }
      }
      AttentionSums sums{0, std::vector<int64_t>(width)};
      for (size_t key = 0; key < cache.size(); ++key) {
        AddKey(scores[key], {cache[key].second.narrow, cache[key].second.shifts}, maxima, tables_,
               sums);
      }
      FinishAttention(sums, maxima, std::span(out).subspan(head * width, width));
    }
    return out;
  }

  static void AddResidual(const Values& delta, Values& x) {
    for (size_t index = 0; index < x.size(); ++index) {
      x[index] = Saturate32(int64_t{x[index]} + delta[index]);
    }
  }

  GoldenCase golden_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, Tensor> adapter_;
  int32_t weight_q16_;
  FunctionTables tables_ = BuildFunctionTables();
  RopeTables rope_;
  std::map<std::string, std::vector<Gain16>> gains_;
  std::vector<std::vector<std::pair<CachedHead, CachedHead>>> caches_;  // (layer, kv head)
};

void ExpectForward(const std::string& file, const std::string& run, bool adapted) {
  const std::vector<GoldenCase> cases = test::ReadGolden(file);
  TinyModel model(cases);
  const std::vector<int32_t> tokens = cases.at(0).Integers<int32_t>("tokens");
  size_t compared = 0;
  for (size_t position = 0; position < tokens.size(); ++position) {
    auto trace = model.Forward(tokens[position], static_cast<int64_t>(position), adapted);
    for (const GoldenCase& golden : cases) {
      if (golden.name == run + "-" + std::to_string(position)) {
        for (const GoldenLine& line : golden.lines) {
          ASSERT_EQ(trace.at(line.key), line.Integers<int32_t>())
              << line.key << " of position " << position;
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, tokens.size() * (adapted ? 14 : 5));
}

TEST(NumericsGolden, ForwardWithoutAdapter) { ExpectForward("forward.txt", "base", false); }

TEST(NumericsGolden, ForwardWithAdapter) { ExpectForward("forward.txt", "adapted", true); }

TEST(NumericsGolden, ForwardOfFloatWeights) {
  ExpectForward("forward_w4f.txt", "base", false);
  ExpectForward("forward_w4f.txt", "adapted", true);
}

}  // namespace
}  // namespace etch::numerics
