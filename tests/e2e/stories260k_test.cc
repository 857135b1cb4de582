// A real trained model through the whole of Etch: loaded from each of its formats, compared with
// the outputs of llama2.c, frozen to 3 bits, and run on every backend.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/file.h"
#include "compile/compile.h"
#include "engine/engine.h"
#include "eval/evaluate.h"
#include "numerics/sampler.h"
#include "support/data.h"
#include "text/output_text.h"
#include "text/tokenizer.h"

namespace etch {
namespace {

using engine::BackendKind;
using engine::TokenId;

constexpr uint64_t kMaxText = 1 << 20;

// An image with its tokenizer and one engine a backend.
struct Model {
  std::unique_ptr<image::Image> image;
  std::unique_ptr<text::Tokenizer> tokenizer;

  std::unique_ptr<engine::Engine> Engine(BackendKind backend, int threads = 1) const {
    auto made = engine::Engine::Create(*image, {backend, threads, "", image->config().context});
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return std::move(*made);
  }
};

Model CompileModel(const std::filesystem::path& source, compile::Recipe recipe,
                   const std::filesystem::path& calibration = {}) {
  Model model;
  const auto opened = ingest::OpenModel(source);
  EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
  const std::filesystem::path out =
      test::TemporaryFolder() / (recipe == compile::Recipe::kSource ? "source.etch" : "model.etch");
  compile::CompileOptions options;
  options.recipe = recipe;
  options.calibration_text = calibration;
  const auto report = compile::Compile(**opened, out, options, {});
  EXPECT_TRUE(report) << (report ? "" : report.error().message);
  auto image = image::Image::Open(out);
  EXPECT_TRUE(image) << (image ? "" : image.error().message);
  model.image = std::make_unique<image::Image>(std::move(*image));
  auto tokenizer = text::Tokenizer::Create(model.image->vocabulary());
  EXPECT_TRUE(tokenizer) << (tokenizer ? "" : tokenizer.error().message);
  model.tokenizer = std::move(*tokenizer);
  return model;
}

struct Generated {
  std::vector<TokenId> tokens;
  std::string text;
  std::vector<int32_t> last_logits;
  bool operator==(const Generated&) const = default;
};

// Draws `count` tokens after `prompt`, which is fed in pieces of `piece` tokens.
Generated Generate(const Model& model, engine::Engine& engine, const std::string& prompt,
                   size_t count, const numerics::SamplingParams& params = {}, size_t piece = 1000,
                   std::vector<engine::ActiveAdapter> adapters = {}) {
  const auto session = engine.NewSession({0, std::move(adapters)});
  EXPECT_TRUE(session) << (session ? "" : session.error().message);
  std::vector<TokenId> pending = model.tokenizer->Encode(prompt);
  for (size_t begin = 0; begin < pending.size(); begin += piece) {
    const engine::Step step{
        session->get(), std::span(pending).subspan(begin, std::min(piece, pending.size() - begin))};
    EXPECT_TRUE(engine.Forward({&step, 1}));
  }
  Generated out;
  text::OutputText output(*model.tokenizer, {}, !prompt.empty());
  const numerics::SamplingConfig sampling = numerics::ToConfig(params);
  while (true) {
    const auto logits = (*session)->logits();
    out.last_logits.assign(logits.begin(), logits.end());
    const TokenId token =
        numerics::Sample(logits, sampling, out.tokens.size(), 0, model.image->tables());
    if (out.tokens.size() == count || model.tokenizer->IsEndOfGeneration(token)) {
      break;
    }
    out.tokens.push_back(token);
    out.text += output.Push(token);
    const engine::Step step{session->get(), {&token, 1}};
    EXPECT_TRUE(engine.Forward({&step, 1}));
  }
  out.text += output.Flush();
  return out;
}

std::string ReadText(const std::filesystem::path& path) {
  const auto text = ReadSmallFile(path, kMaxText);
  EXPECT_TRUE(text) << path;
  return text.value_or("");
}

// The windows of models/golden/stories260K_nll.json: pieces of the text of the sizes given there.
std::vector<std::vector<TokenId>> GoldenWindows(const Model& model,
                                                const std::filesystem::path& data,
                                                const nlohmann::json& golden) {
  const std::string text = ReadText(data / "text/tinystories_sample.txt");
  std::vector<std::vector<TokenId>> windows;
  size_t begin = 0;
  for (const auto& story : golden["stories"]) {
    const auto size = story["bytes"].get<size_t>();
    windows.push_back(model.tokenizer->Encode(std::string_view(text).substr(begin, size)));
    windows.back().resize(
        std::min(windows.back().size(), static_cast<size_t>(model.image->config().context)));
    begin += size;
  }
  return windows;
}

class SourceFormats : public ::testing::TestWithParam<const char*> {};

TEST_P(SourceFormats, TheTwinWritesTheGoldenStory) {
  ETCH_DATA_OR_SKIP(source, std::filesystem::path("models") / GetParam());
  const std::filesystem::path golden = test::DataFolder() / "models/golden";
  const Model model = CompileModel(source, compile::Recipe::kSource);
  const auto engine = model.Engine(BackendKind::kFloat, 2);
  EXPECT_EQ(Generate(model, *engine, "", 200).text,
            ReadText(golden / "stories260K_greedy_200.txt"));
}

TEST_P(SourceFormats, TheTwinsLogitsAreTheGoldenOnes) {
  ETCH_DATA_OR_SKIP(source, std::filesystem::path("models") / GetParam());
  const Model model = CompileModel(source, compile::Recipe::kSource);
  const auto engine = model.Engine(BackendKind::kFloat);
  const std::vector<TokenId> tokens = {1,   403, 407, 261, 378, 432, 383, 286,
                                       261, 376, 298, 315, 421, 395, 317, 426};
  const auto session = engine->NewSession({});
  ASSERT_TRUE(session);
  const engine::Step step{session->get(), tokens, engine::LogitsWanted::kAll};
  ASSERT_TRUE(engine->Forward({&step, 1}));
  const std::string raw = ReadText(test::DataFolder() / "models/golden/stories260K_logits16.f32");
  std::vector<float> expected(raw.size() / sizeof(float));
  std::memcpy(expected.data(), raw.data(), raw.size());
  ASSERT_EQ(expected.size(), 16U * 512U);
  double worst = 0.0;
  for (size_t row = 0; row < 16; ++row) {
    for (size_t token = 0; token < 512; ++token) {
      const double logit = (*session)->logits(static_cast<int64_t>(row))[token] / 65536.0;
      worst = std::max(worst, std::fabs(logit - static_cast<double>(expected[row * 512 + token])));
    }
  }
  // Float sums of up to 172 terms in another order, through five layers; logits are rounded to
  // 2^-16.
  EXPECT_LT(worst, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Stories260K, SourceFormats,
                         ::testing::Values("stories260K.gguf", "stories260K.bin",
                                           "stories260K_v1.bin"),
                         [](const auto& at) {
                           std::string name = at.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(Stories260K, TheTwinsLikelihoodIsTheGoldenOne) {
  ETCH_DATA_OR_SKIP(source, "models/stories260K.gguf");
  const std::filesystem::path data = test::DataFolder();
  const Model model = CompileModel(source, compile::Recipe::kSource);
  const auto golden = nlohmann::json::parse(ReadText(data / "models/golden/stories260K_nll.json"));
  const auto windows = GoldenWindows(model, data, golden);
  const auto engine = model.Engine(BackendKind::kFloat, 2);
  eval::Score total;
  for (size_t index = 0; index < windows.size(); ++index) {
    const auto score = eval::ScoreWindow({engine.get(), {}}, nullptr, windows[index]);
    ASSERT_TRUE(score);
    // The golden file counts the beginning-of-text token, which is not predicted.
    EXPECT_EQ(score->tokens + 1, golden["stories"][index]["tokens"].get<int64_t>());
    EXPECT_NEAR(score->nll_sum, golden["stories"][index]["nll_sum"].get<double>(), 0.01);
    total.Add(*score);
  }
  EXPECT_EQ(total.tokens, golden["predicted_tokens"].get<int64_t>());
  EXPECT_NEAR(total.nll(), golden["mean_nll"].get<double>(), 1e-5);
}

// What 3-bit weights cost, and what integer arithmetic costs on top: at most a twentieth.
TEST(Stories260K, TheContractCostsATwentiethOfTheWeights) {
  ETCH_DATA_OR_SKIP(source_path, "models/stories260K.gguf");
  const std::filesystem::path data = test::DataFolder();
  const Model source = CompileModel(source_path, compile::Recipe::kSource);
  const Model model = CompileModel(source_path, compile::Recipe::kDefault);
  const auto golden = nlohmann::json::parse(ReadText(data / "models/golden/stories260K_nll.json"));
  auto windows = GoldenWindows(model, data, golden);
  windows.resize(24);
  const auto source_engine = source.Engine(BackendKind::kFloat, 2);
  const auto twin = model.Engine(BackendKind::kFloat, 2);
  const auto cpu = model.Engine(BackendKind::kCpu, 2);
  const eval::Subject source_subject{source_engine.get(), {}};
  const eval::Subject twin_subject{twin.get(), {}};
  const auto weights = eval::ScoreWindows(twin_subject, &source_subject, windows, {});
  const auto arithmetic = eval::ScoreWindows({cpu.get(), {}}, &twin_subject, windows, {});
  const auto plain = eval::ScoreWindows(source_subject, nullptr, windows, {});
  ASSERT_TRUE(weights && arithmetic && plain);
  std::printf("perplexity: source %.4f, twin on 3-bit weights %.4f, integer engine %.4f\n",
              plain->perplexity(), weights->perplexity(), arithmetic->perplexity());
  std::printf("KL: source to twin %.4g, twin to integers %.4g (ratio 1/%.0f)\n", weights->kl(),
              arithmetic->kl(), weights->kl() / arithmetic->kl());
  EXPECT_GT(arithmetic->kl(), 0.0);
  EXPECT_LT(arithmetic->kl(), weights->kl() / 20.0);
  EXPECT_LT(weights->kl(), 0.35);
}

// One token stream, whatever the backend, the threads and the pieces of the prompt, with and
// without adapters.
TEST(Stories260K, EveryIntegerBackendGivesTheSameStream) {
  ETCH_DATA_OR_SKIP(source, "models/stories260K.gguf");
  const Model model = CompileModel(source, compile::Recipe::kDefault);
  const auto reference = model.Engine(BackendKind::kReference);
  const std::vector<numerics::SamplingParams> samplings = {{}, {0.9, 40, 0.95, 0.01, 42}};
  for (const numerics::SamplingParams& sampling : samplings) {
    for (const std::string prompt : {"", "One day, Tom and his dog"}) {
      const Generated expected = Generate(model, *reference, prompt, 150, sampling);
      EXPECT_GT(expected.tokens.size(), 50U);
      for (const int threads : {1, 2}) {
        const auto cpu = model.Engine(BackendKind::kCpu, threads);
        EXPECT_EQ(Generate(model, *cpu, prompt, 150, sampling), expected);
        EXPECT_EQ(Generate(model, *cpu, prompt, 150, sampling, 1), expected);
        EXPECT_EQ(Generate(model, *cpu, prompt, 150, sampling, 3), expected);
      }
    }
  }
}

// A random adapter of `rank` on every linear layer.
adapter::Adapter RandomAdapter(const model::Config& config, int64_t rank, double size) {
  adapter::Adapter out;
  out.name = "random";
  uint64_t state = 12345;
  const auto next = [&state] {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<double>(static_cast<int64_t>(state >> 11)) / 0x1p52 - 1.0;
  };
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const model::Role role : model::kBlockLinears) {
      const auto [rows, cols] = model::TensorShape(config, role);
      adapter::LoraPair pair;
      pair.role = role;
      pair.layer = layer;
      pair.rank = rank;
      pair.scaling = 2.0;
      pair.rows = rows;
      pair.cols = cols;
      for (int64_t index = 0; index < rank * cols; ++index) {
        pair.a.push_back(static_cast<float>(next() / std::sqrt(static_cast<double>(cols))));
      }
      for (int64_t index = 0; index < rows * rank; ++index) {
        pair.b.push_back(static_cast<float>(size * next() / std::sqrt(static_cast<double>(rank))));
      }
      out.pairs.push_back(std::move(pair));
    }
  }
  return out;
}

TEST(Stories260K, AnAdapterGivesTheSameTextThroughPeftAndGguf) {
  ETCH_DATA_OR_SKIP(source, "models/stories260K.gguf");
  const Model model = CompileModel(source, compile::Recipe::kDefault);
  const model::Config& config = model.image->config();
  const adapter::Adapter made = RandomAdapter(config, 16, 0.2);
  const std::filesystem::path folder = test::TemporaryFolder();
  ASSERT_TRUE(adapter::WritePeft(made, config, folder / "peft"));
  ASSERT_TRUE(adapter::WriteGguf(made, config, folder / "lora.gguf"));
  const auto peft = adapter::LoadAdapter(folder / "peft", config);
  const auto gguf = adapter::LoadAdapter(folder / "lora.gguf", config);
  ASSERT_TRUE(peft) << peft.error().message;
  ASSERT_TRUE(gguf) << gguf.error().message;

  const auto cpu = model.Engine(BackendKind::kCpu, 2);
  const Generated base = Generate(model, *cpu, "Once", 80);
  const Generated with_peft = Generate(model, *cpu, "Once", 80, {}, 1000, {{*peft}});
  const Generated with_gguf = Generate(model, *cpu, "Once", 80, {}, 1000, {{*gguf}});
  EXPECT_EQ(with_peft, with_gguf);
  EXPECT_NE(with_peft.text, base.text);

  // All other backends and settings agree with it bit for bit.
  const auto reference = model.Engine(BackendKind::kReference);
  EXPECT_EQ(Generate(model, *reference, "Once", 80, {}, 1000, {{*peft}}), with_peft);
  const auto one_thread = model.Engine(BackendKind::kCpu, 1);
  EXPECT_EQ(Generate(model, *one_thread, "Once", 80, {}, 1, {{*peft}}), with_peft);

  // The integer engine is as close to the twin with the adapter as it is without.
  const auto twin = model.Engine(BackendKind::kFloat, 2);
  const auto golden =
      nlohmann::json::parse(ReadText(test::DataFolder() / "models/golden/stories260K_nll.json"));
  auto windows = GoldenWindows(model, test::DataFolder(), golden);
  windows.resize(4);
  const eval::Subject twin_base{twin.get(), {}};
  const eval::Subject twin_adapted{twin.get(), {{*peft}}};
  const auto plain = eval::ScoreWindows({cpu.get(), {}}, &twin_base, windows, {});
  const auto adapted = eval::ScoreWindows({cpu.get(), {{*peft}}}, &twin_adapted, windows, {});
  const auto effect = eval::ScoreWindows(twin_adapted, &twin_base, windows, {});
  ASSERT_TRUE(plain && adapted && effect);
  std::printf("KL twin to integers: base %.3g, with the adapter %.3g; the adapter's effect %.3g\n",
              plain->kl(), adapted->kl(), effect->kl());
  EXPECT_LT(adapted->kl(), 4.0 * plain->kl() + 0.01 * effect->kl());
  EXPECT_GT(effect->kl(), 10.0 * adapted->kl());
}

// Adapters stay apart from the base's weights, yet act as if merged into them.
TEST(Stories260K, TheTwinWithAnAdapterIsTheTwinWithMergedWeights) {
  ETCH_DATA_OR_SKIP(path, "models/stories260K.gguf");
  const auto source = ingest::OpenModel(path);
  ASSERT_TRUE(source);
  const model::Config config = (*source)->config();
  const adapter::Adapter made = RandomAdapter(config, 16, 0.2);

  // The same model with every linear layer replaced by W + scaling · B · A.
  class Merged : public ingest::SourceModel {
   public:
    Merged(const ingest::SourceModel& base, const adapter::Adapter& adapter_in)
        : base_(base), adapter_(adapter_in) {
      config_ = base.config();
      vocabulary_ = base.vocabulary();
      name_ = "merged";
      format_ = "merged";
    }
    std::vector<ingest::SourceTensor> Tensors() const override { return base_.Tensors(); }
    Status HashFiles() override { return {}; }
    Status Read(model::Role role, int64_t layer, std::span<float> out) const override {
      ETCH_TRY(base_.Read(role, layer, out));
      for (const adapter::LoraPair& pair : adapter_.pairs) {
        if (pair.role != role || pair.layer != layer) {
          continue;
        }
        for (int64_t row = 0; row < pair.rows; ++row) {
          for (int64_t col = 0; col < pair.cols; ++col) {
            double sum = 0.0;
            for (int64_t rank = 0; rank < pair.rank; ++rank) {
              sum += double{pair.b[static_cast<size_t>(row * pair.rank + rank)]} *
                     double{pair.a[static_cast<size_t>(rank * pair.cols + col)]};
            }
            out[static_cast<size_t>(row * pair.cols + col)] +=
                static_cast<float>(pair.scaling * sum);
          }
        }
      }
      return {};
    }

   private:
    const ingest::SourceModel& base_;
    const adapter::Adapter& adapter_;
  };

  const std::filesystem::path folder = test::TemporaryFolder();
  Merged merged(**source, made);
  compile::CompileOptions options;
  options.recipe = compile::Recipe::kSource;
  ASSERT_TRUE(compile::Compile(**source, folder / "base.etch", options, {}));
  ASSERT_TRUE(compile::Compile(merged, folder / "merged.etch", options, {}));
  const auto base_image = image::Image::Open(folder / "base.etch");
  const auto merged_image = image::Image::Open(folder / "merged.etch");
  ASSERT_TRUE(base_image && merged_image);
  const auto base_engine = engine::Engine::Create(*base_image, {BackendKind::kFloat, 2, "", 0});
  const auto merged_engine = engine::Engine::Create(*merged_image, {BackendKind::kFloat, 2, "", 0});
  ASSERT_TRUE(base_engine && merged_engine);
  const auto lowered = adapter::Lower(made, config);
  ASSERT_TRUE(lowered);
  std::vector<TokenId> tokens = {1};
  for (TokenId token = 260; token < 300; ++token) {
    tokens.push_back(token);
  }
  const eval::Subject merged_subject{merged_engine->get(), {}};
  const auto same = eval::ScoreWindow({base_engine->get(), {{*lowered}}}, &merged_subject, tokens);
  const auto different = eval::ScoreWindow({base_engine->get(), {}}, &merged_subject, tokens);
  ASSERT_TRUE(same && different);
  EXPECT_LT(same->kl(), 1e-7);
  EXPECT_GT(different->kl(), 1e-2);
}

}  // namespace
}  // namespace etch
