#include "export/parity.h"

// Three passes of the twin over one short sequence, a matrix in memory at a time:
//
//   expected   base and adapters apart, y = W·x + weight · B·(A·x), by the engine's float backend
//   file       the weights that the file decodes to
//   flipped    expected weights plus the file's rounding errors with random signs
//
// A bound from norms and epsilon alone was not taken: it grows by a factor a layer and lets a
// permuted matrix pass in a deep model. The errors of `file` and `flipped` have the same sizes at
// the same places, so that what they do to logits has one distribution, and the largest of some ten
// thousand differences varies little between two draws. How far the two are apart is therefore the
// measure, and no error in merging hides in it, since that would be in both. Every weight is
// compared, too: one wrong row in a vocabulary of 128000 shows in no logit of a short sequence.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>

#include "engine/engine.h"
#include "export/encode.h"
#include "export/twin_logits.h"
#include "text/tokenizer.h"

namespace etch::exporting {
namespace {

using model::Role;
using model::TokenId;

// The file and the flipped weights are two draws of errors: their logits are apart by the root of
// two of what one draw does, so that this allows the file four times its share.
constexpr double kDraws = 3.0;

constexpr std::string_view kSample =
    "Once upon a time there was a small town by the sea. In 1984 its mayor, who liked to count, "
    "wrote down 17 rules: be kind, be early, and don't feed the gulls! Nobody asked why. When the "
    "first ship of the year came in, people ran to the harbour with bread, lamps and letters, and "
    "the children sang a song that had no end. What would you have brought them?\n";

constexpr std::array<std::string_view, 6> kTexts = {
    kSample,
    "  two spaces,\ttab\n\n3 newlines \r\n end ",
    "I'm sure she'll say: 'we've 1234567 cats'",
    "Gr\xC3\xBC\xC3\x9F"
    "e, \xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, \xE4\xBD\xA0\xE5\xA5\xBD, "
    "\xF0\x9F\x99\x82",
    "for (int i = 0; i < 10; ++i) { sum += values[i] * 0.5; }",
    " "};

// `count` tokens of the sample text, from its beginning as often as it takes.
Result<std::vector<TokenId>> SampleTokens(const image::Image& image, int64_t positions) {
  if (positions < 1) {
    return Fail(ErrorCode::kInvalidArgument, "a check over {} positions: at least 1 is needed",
                positions);
  }
  ETCH_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::Create(image.vocabulary()));
  std::vector<TokenId> tokens = tokenizer->Encode(kSample);
  if (tokens.empty()) {
    tokens.push_back(0);
  }
  const auto count = static_cast<size_t>(std::min(positions, image.config().context));
  for (size_t index = 0; tokens.size() < count; ++index) {
    tokens.push_back(tokens[index]);
  }
  tokens.resize(count);
  return tokens;
}

// Logits (tokens.size(), vocab_size) of the engine's float backend.
Result<std::vector<float>> EngineLogits(const image::Image& image,
                                        std::span<const engine::ActiveAdapter> adapters,
                                        std::span<const TokenId> tokens, int threads,
                                        const ProgressFn& progress) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto interrupted = [&progress, count] {
    return progress && !progress({"running base and adapters", 0, count, "tokens"});
  };
  ETCH_ASSIGN_OR_RETURN(const auto engine,
                        engine::Engine::Create(
                            image, {engine::BackendKind::kFloat, threads, "", count, interrupted}));
  ETCH_ASSIGN_OR_RETURN(const auto session,
                        engine->NewSession({count, {adapters.begin(), adapters.end()}}));
  const engine::Step step = {session.get(), tokens, engine::LogitsWanted::kAll};
  ETCH_TRY(engine->Forward({&step, 1}));
  std::vector<float> logits;
  for (int64_t row = 0; row < count; ++row) {
    for (const int32_t logit : session->logits(row)) {
      logits.push_back(static_cast<float>(std::ldexp(static_cast<double>(logit), -16)));
    }
  }
  return logits;
}

double LargestDifference(std::span<const float> left, std::span<const float> right) {
  double largest = 0.0;
  for (size_t index = 0; index < left.size(); ++index) {
    const double difference =
        std::abs(static_cast<double>(left[index]) - static_cast<double>(right[index]));
    // A logit that is no number differs without limit.
    largest = std::isfinite(difference) ? std::max(largest, difference) : HUGE_VAL;
  }
  return largest;
}

double LargestMagnitude(std::span<const float> values) {
  double largest = 0.0;
  for (const float value : values) {
    largest = std::max(largest, std::abs(static_cast<double>(value)));
  }
  return largest;
}

// Everything of the comparison but the bound's share of rounding.
Parity CompareLogits(const model::Config& config, std::span<const float> expected,
                     std::span<const float> found) {
  const auto vocabulary = static_cast<size_t>(config.vocab_size);
  Parity parity;
  parity.positions = static_cast<int64_t>(expected.size() / vocabulary);
  parity.max_difference = LargestDifference(expected, found);
  parity.bound = FloatNoise(config, LargestMagnitude(expected));
  for (size_t begin = 0; begin < expected.size(); begin += vocabulary) {
    const auto left = expected.subspan(begin, vocabulary);
    const auto right = found.subspan(begin, vocabulary);
    parity.same_top += std::ranges::max_element(left) - left.begin() ==
                               std::ranges::max_element(right) - right.begin()
                           ? 1
                           : 0;
  }
  return parity;
}

Status CheckBound(const Parity& parity) {
  if (parity.max_difference <= parity.bound) {
    return {};
  }
  return Fail(ErrorCode::kMismatch, "parity: the logits are not those of Etch's float twin: {}",
              ParityText(parity));
}

// A GGUF file calls every model of the family "llama"; whether equal matrices are stored once is no
// difference.
Status CheckConfig(model::Config expected, model::Config found) {
  expected.architecture = found.architecture;
  expected.tied_embeddings = found.tied_embeddings;
  if (expected == found) {
    return {};
  }
  return Fail(ErrorCode::kMismatch,
              "parity: the configuration reads back otherwise (context {} and {}, norm epsilon {} "
              "and {}, rope theta {} and {}, rope factor {} and {})",
              expected.context, found.context, expected.norm_eps, found.norm_eps,
              expected.rope_theta, found.rope_theta, expected.rope_scaling.factor,
              found.rope_scaling.factor);
}

// 1 or -1, evenly, by place.
float RandomSign(uint64_t key) {
  key = (key + 1) * 0x9E3779B97F4A7C15U;
  key = (key ^ key >> 32) * 0xD6E8FEB86659FD93U;
  return (key >> 40 & 1U) != 0U ? 1.0F : -1.0F;
}

// Reads expected tensors with the file's errors under random signs, and compares on the way.
class FlippedTensors {
 public:
  FlippedTensors(const MergedWeights& expected, DataType type, const ingest::SourceModel& file,
                 ThreadPool& pool)
      : expected_(expected), type_(type), file_(file), pool_(pool) {}

  Status Read(Role role, int64_t layer, std::span<float> out);
  double max_rounding() const { return max_rounding_; }

 private:
  struct Worst {
    size_t index = 0;
    float wanted = 0.0F;
    float found = 0.0F;
    bool is_wrong = false;
  };
  // Rows [begin, end): flips the errors in `out`, returns the largest; notes the first wrong
  // weight.
  float FlipRow(Role role, size_t row, size_t cols, std::span<float> out, Worst& worst) const;

  const MergedWeights& expected_;
  DataType type_;
  const ingest::SourceModel& file_;
  ThreadPool& pool_;
  std::vector<float> stored_;
  double max_rounding_ = 0.0;
};

float FlippedTensors::FlipRow(Role role, size_t row, size_t cols, std::span<float> out,
                              Worst& worst) const {
  const DataType type =
      model::IsNorm(role) ? DataType::kF32 : TypeForRows(type_, static_cast<int64_t>(cols));
  std::vector<float> bounds(cols);
  RoundingBounds(type, out, bounds);
  float largest = 0.0F;
  for (size_t col = 0; col < cols; ++col) {
    const size_t index = row * cols + col;
    const float error = stored_[index] - out[col];
    if (!(std::abs(error) <= bounds[col]) && !worst.is_wrong) {
      worst = {index, out[col], stored_[index], true};
    }
    largest = std::max(largest, std::abs(error));
    out[col] += RandomSign(index) * error;
  }
  return largest;
}

Status FlippedTensors::Read(Role role, int64_t layer, std::span<float> out) {
  const model::Shape shape = model::TensorShape(file_.config(), role);
  const auto cols = static_cast<size_t>(shape.cols);
  stored_.resize(out.size());
  ETCH_TRY(file_.Read(role, layer, stored_));
  expected_.Read(role, layer, pool_, out);
  std::mutex mutex;
  Worst worst;
  float largest = 0.0F;
  pool_.ParallelFor(shape.rows, 16, [&](int64_t begin, int64_t end) {
    Worst part;
    float part_largest = 0.0F;
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      part_largest =
          std::max(part_largest, FlipRow(role, row, cols, out.subspan(row * cols, cols), part));
    }
    const std::scoped_lock lock(mutex);
    largest = std::max(largest, part_largest);
    if (part.is_wrong && (!worst.is_wrong || part.index < worst.index)) {
      worst = part;
    }
  });
  if (worst.is_wrong) {
    return Fail(ErrorCode::kMismatch,
                "parity: tensor \"{}\": row {}, column {} reads back as {}, {} was written",
                model::TensorName(role, layer), worst.index / cols, worst.index % cols, worst.found,
                worst.wanted);
  }
  max_rounding_ = std::max(max_rounding_, static_cast<double>(largest));
  return {};
}

bool SameBits(std::span<const float> left, std::span<const float> right) {
  return std::ranges::equal(left, right, [](float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
  });
}

// The largest |Δ| of B times its scaling; kMismatch when it is more than a float's last bits or A
// is not the same.
Result<double> CompareLinears(const engine::AdapterLinear& written,
                              const engine::AdapterLinear& found, const std::string& name) {
  constexpr float kLastBits = 0x1p-22F;
  bool same = written.rank == found.rank && SameBits(written.a_float, found.a_float) &&
              written.b_float.size() == found.b_float.size();
  double largest = 0.0;
  for (size_t index = 0; same && index < written.b_float.size(); ++index) {
    const float wanted = written.b_float[index];
    const float difference = std::abs(found.b_float[index] - wanted);
    same = difference <= std::abs(wanted) * kLastBits;
    largest = std::max(largest, static_cast<double>(difference));
  }
  if (!same) {
    return Fail(ErrorCode::kMismatch, "parity: A or B of {} reads back otherwise", name);
  }
  return largest;
}

}  // namespace

std::string ParityText(const Parity& parity) {
  return fmt::format("{} positions, max |\xCE\x94logit| {:.2g} (bound {:.2g}), top-1 {}/{}",
                     parity.positions, parity.max_difference, parity.bound, parity.same_top,
                     parity.positions);
}

double FloatNoise(const model::Config& config, double largest) {
  constexpr double kSpread = 8.0;          // standard deviations: of many logits, the worst
  constexpr double kFixedPoint = 0x1p-16;  // the engine's logits are rounded to it
  const auto longest = static_cast<double>(std::max(config.dim, config.ffn_dim));
  const auto stages = static_cast<double>(4 * config.n_layers + 2);
  return kFixedPoint + kSpread * 0x1p-24 * std::sqrt(longest * stages) * largest;
}

Result<Parity> CheckModel(const MergedWeights& expected,
                          std::span<const engine::ActiveAdapter> adapters, DataType type,
                          const ingest::SourceModel& file, const CheckOptions& options,
                          const ProgressFn& progress) {
  const image::Image& image = expected.image();
  const model::Config& config = file.config();
  ETCH_TRY(CheckConfig(image.config(), config));
  ETCH_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, SampleTokens(image, options.positions));
  ETCH_ASSIGN_OR_RETURN(const std::vector<float> wanted,
                        EngineLogits(image, adapters, tokens, options.threads, progress));
  ThreadPool pool(options.threads);
  const ReadTensor read_file = [&file](Role role, int64_t layer, std::span<float> out) {
    return file.Read(role, layer, out);
  };
  ETCH_ASSIGN_OR_RETURN(const std::vector<float> found,
                        TwinLogits(config, read_file, tokens, pool, "running the file", progress));
  FlippedTensors flipped(expected, type, file, pool);
  const ReadTensor read_flipped = [&flipped](Role role, int64_t layer, std::span<float> out) {
    return flipped.Read(role, layer, out);
  };
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<float> other,
      TwinLogits(config, read_flipped, tokens, pool, "comparing weights", progress));
  Parity parity = CompareLogits(config, wanted, found);
  parity.bound += kDraws * LargestDifference(found, other);
  parity.max_rounding = flipped.max_rounding();
  ETCH_TRY(CheckBound(parity));
  return parity;
}

Result<Parity> CheckAdapter(const image::Image& image, const adapter::Adapter& written,
                            const adapter::Adapter& found, const CheckOptions& options,
                            const ProgressFn& progress) {
  ETCH_ASSIGN_OR_RETURN(const auto left, adapter::Lower(written, image.config()));
  ETCH_ASSIGN_OR_RETURN(const auto right, adapter::Lower(found, image.config()));
  double rounding = 0.0;
  for (int64_t layer = 0; layer < image.config().n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      ETCH_ASSIGN_OR_RETURN(const double largest,
                            CompareLinears(left->Linear(layer, role), right->Linear(layer, role),
                                           model::TensorName(role, layer)));
      rounding = std::max(rounding, largest);
    }
  }
  ETCH_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, SampleTokens(image, options.positions));
  std::array<std::vector<float>, 2> logits;
  for (size_t side = 0; side < logits.size(); ++side) {
    const engine::ActiveAdapter active = {side == 0 ? left : right};
    ETCH_ASSIGN_OR_RETURN(logits[side],
                          EngineLogits(image, {&active, 1}, tokens, options.threads, progress));
  }
  Parity parity = CompareLogits(image.config(), logits[0], logits[1]);
  parity.max_rounding = rounding;
  ETCH_TRY(CheckBound(parity));
  return parity;
}

std::vector<std::string> TokenizerDifferences(const model::Vocabulary& expected,
                                              const model::Vocabulary& found) {
  const auto left = text::Tokenizer::Create(expected);
  const auto right = text::Tokenizer::Create(found);
  if (!left || !right) {
    return left ? std::vector{"the tokenizer does not read back: " + right.error().message}
                : std::vector<std::string>{};
  }
  std::vector<std::string> texts(kTexts.begin(), kTexts.end());
  for (const TokenId id : expected.end_of_generation) {
    if (id < static_cast<TokenId>(expected.tokens.size())) {
      texts.push_back("Yes." + expected.tokens[static_cast<size_t>(id)].text + "\nNo.");
    }
  }
  size_t differing = 0;
  for (const std::string& sample : texts) {
    const text::EncodeOptions options = {.add_special = true, .parse_special = true};
    differing += (*left)->Encode(sample, options) != (*right)->Encode(sample, options) ? 1 : 0;
  }
  if (differing == 0) {
    return {};
  }
  return {fmt::format("{} of {} sample texts become other tokens by the tokenizer in the file",
                      differing, texts.size())};
}

}  // namespace etch::exporting
