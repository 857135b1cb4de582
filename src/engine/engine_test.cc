#include "engine/engine.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/backend.h"
#include "engine/cpu/kernels.h"
#include "engine/random_model_test.h"
#include "engine/scheduler.h"
#include "numerics/sampler.h"

namespace etch::engine {
namespace {

using Logits = std::vector<int32_t>;
using test::OddConfig;
using test::RandomAdapter;
using test::RandomImage;

std::unique_ptr<Engine> MakeEngine(const image::Image& image, BackendKind backend, int threads = 1,
                                   const std::string& isa = "") {
  auto engine = Engine::Create(image, {backend, threads, isa, 0});
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message);
  return std::move(*engine);
}

std::vector<TokenId> SomeTokens(const model::Config& config, size_t count) {
  std::vector<TokenId> tokens(count);
  for (size_t index = 0; index < count; ++index) {
    tokens[index] = static_cast<TokenId>((7 * index * index + 3 * index + 1) %
                                         static_cast<size_t>(config.vocab_size));
  }
  return tokens;
}

std::unique_ptr<Session> MakeSession(Engine& engine, std::vector<ActiveAdapter> adapters = {}) {
  auto session = engine.NewSession({0, std::move(adapters)});
  EXPECT_TRUE(session) << (session ? "" : session.error().message);
  return std::move(*session);
}

// Logits of every position, the tokens given in pieces of `piece`.
std::vector<Logits> AllLogits(Engine& engine, const std::vector<TokenId>& tokens, size_t piece,
                              std::vector<ActiveAdapter> adapters = {}) {
  const auto session = MakeSession(engine, std::move(adapters));
  std::vector<Logits> all;
  for (size_t begin = 0; begin < tokens.size(); begin += piece) {
    const size_t count = std::min(piece, tokens.size() - begin);
    const Step step{session.get(), std::span(tokens).subspan(begin, count), LogitsWanted::kAll};
    const Status status = engine.Forward({&step, 1});
    EXPECT_TRUE(status) << (status ? "" : status.error().message);
    for (int64_t row = 0; row < session->logit_rows(); ++row) {
      all.emplace_back(session->logits(row).begin(), session->logits(row).end());
    }
  }
  return all;
}

class EngineShapes : public ::testing::TestWithParam<model::Config> {};

TEST_P(EngineShapes, CpuEqualsReferenceBitForBit) {
  const auto image = RandomImage(GetParam(), 1);
  const std::vector<TokenId> tokens = SomeTokens(GetParam(), 70);
  const auto twice = RandomAdapter(GetParam(), 16, 9);
  const std::vector<std::vector<ActiveAdapter>> settings = {
      {},
      {{RandomAdapter(GetParam(), 16, 2)}},
      {{RandomAdapter(GetParam(), 3, 3), 1 << 15}, {RandomAdapter(GetParam(), 40, 4), -(1 << 16)}},
      {{twice}, {twice, 1 << 13}}};
  const auto reference = MakeEngine(*image, BackendKind::kReference);
  std::vector<std::vector<Logits>> results;
  for (const auto& adapters : settings) {
    const std::vector<Logits> expected = AllLogits(*reference, tokens, 1, adapters);
    EXPECT_EQ(AllLogits(*reference, tokens, 9, adapters), expected);
    for (const int threads : {1, 2, 3}) {
      const auto cpu = MakeEngine(*image, BackendKind::kCpu, threads);
      EXPECT_EQ(AllLogits(*cpu, tokens, tokens.size(), adapters), expected) << threads;
      EXPECT_EQ(AllLogits(*cpu, tokens, 1, adapters), expected) << threads;
      EXPECT_EQ(AllLogits(*cpu, tokens, 13, adapters), expected) << threads;
    }
    results.push_back(expected);
  }
  EXPECT_NE(results[0], results[1]);  // adapters act
  EXPECT_NE(results[1], results[2]);
}

// Every instruction set of this machine, with 1 and 2 threads, token by token and in pieces that
// are no multiple of a tile, with two adapters.
TEST_P(EngineShapes, EveryInstructionSetGivesTheSameLogits) {
  const auto image = RandomImage(GetParam(), 15);
  const std::vector<TokenId> tokens = SomeTokens(GetParam(), 75);
  const std::vector<std::vector<ActiveAdapter>> settings = {
      {}, {{RandomAdapter(GetParam(), 16, 16)}, {RandomAdapter(GetParam(), 5, 17), 1 << 15}}};
  const auto reference = MakeEngine(*image, BackendKind::kReference);
  for (const auto& adapters : settings) {
    const std::vector<Logits> expected = AllLogits(*reference, tokens, tokens.size(), adapters);
    for (const KernelSet* kernels : AvailableKernels()) {
      for (const int threads : {1, 2}) {
        const auto cpu = MakeEngine(*image, BackendKind::kCpu, threads, std::string(kernels->isa));
        for (const size_t piece : {size_t{1}, size_t{37}, tokens.size()}) {
          EXPECT_EQ(AllLogits(*cpu, tokens, piece, adapters), expected)
              << kernels->isa << ", " << threads << " threads, pieces of " << piece;
        }
      }
    }
  }
}

// The head's input for the last token, the tokens read in pieces of `piece`.
std::vector<int32_t> LastHidden(Engine& engine, const std::vector<TokenId>& tokens, size_t piece,
                                const std::vector<ActiveAdapter>& adapters) {
  const auto session = MakeSession(engine, adapters);
  for (size_t begin = 0; begin < tokens.size(); begin += piece) {
    const size_t count = std::min(piece, tokens.size() - begin);
    const bool is_last = begin + count == tokens.size();
    const Step step{session.get(), std::span(tokens).subspan(begin, count),
                    is_last ? LogitsWanted::kLast : LogitsWanted::kNone, is_last};
    EXPECT_TRUE(engine.Forward({&step, 1}));
  }
  const std::span<const int32_t> hidden = session->hidden();
  return {hidden.begin(), hidden.end()};
}

TEST_P(EngineShapes, HiddenStatesAreTheSameBitsHoweverTheyAreMade) {
  const auto image = RandomImage(GetParam(), 31);
  const std::vector<TokenId> tokens = SomeTokens(GetParam(), 30);
  const std::vector<ActiveAdapter> adapters = {{RandomAdapter(GetParam(), 8, 32)}};
  const auto reference = MakeEngine(*image, BackendKind::kReference);
  const auto cpu = MakeEngine(*image, BackendKind::kCpu, 2);
  const auto expected = LastHidden(*reference, tokens, 30, adapters);
  ASSERT_EQ(std::ssize(expected), GetParam().dim);
  EXPECT_EQ(LastHidden(*cpu, tokens, 30, adapters), expected);
  EXPECT_EQ(LastHidden(*cpu, tokens, 7, adapters), expected);
  EXPECT_NE(LastHidden(*cpu, tokens, 30, {}), expected);
  // All rows of a pass, beside a session that wants none.
  const auto asked = MakeSession(*cpu, adapters);
  const auto other = MakeSession(*cpu);
  const std::vector<Step> steps = {{other.get(), tokens, LogitsWanted::kAll},
                                   {asked.get(), tokens, LogitsWanted::kAll, true}};
  ASSERT_TRUE(cpu->Forward(steps));
  EXPECT_TRUE(std::ranges::equal(asked->hidden(29), expected));
  EXPECT_FALSE(std::ranges::equal(asked->hidden(28), expected));
  EXPECT_TRUE(other->hidden(29).empty());
  // The twin's are near.
  const auto twin = LastHidden(*MakeEngine(*image, BackendKind::kFloat), tokens, 30, adapters);
  double product = 0.0;
  double sizes[2] = {};
  for (size_t index = 0; index < twin.size(); ++index) {
    product += static_cast<double>(twin[index]) * expected[index];
    sizes[0] += std::pow(static_cast<double>(twin[index]), 2);
    sizes[1] += std::pow(static_cast<double>(expected[index]), 2);
  }
  EXPECT_GT(product / std::sqrt(sizes[0] * sizes[1]), 0.99);
}

TEST(Engine, ABackendWithoutHiddenStatesSaysSo) {
  struct Plain : Backend {
    explicit Plain(std::unique_ptr<Backend> inner_in) : inner(std::move(inner_in)) {}
    Result<std::unique_ptr<SessionState>> NewState(int64_t context) const override {
      return inner->NewState(context);
    }
    Status Forward(std::span<const Column> columns, const Interrupted& interrupted) override {
      return inner->Forward(columns, interrupted);
    }
    int64_t kv_bytes_per_token() const override { return inner->kv_bytes_per_token(); }
    std::unique_ptr<Backend> inner;
  };
  const auto image = RandomImage(OddConfig(), 33);
  const auto engine =
      Engine::Over(*image, std::make_unique<Plain>(MakeReferenceBackend(*image)), "plain", {});
  const auto session = MakeSession(*engine);
  const std::vector<TokenId> tokens = {1, 2};
  const Step step{session.get(), tokens, LogitsWanted::kLast, true};
  const Status status = engine->Forward({&step, 1});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "the plain backend gives no hidden states");
  Scheduler scheduler(*engine, {});
  Request request;
  request.prompt = tokens;
  request.max_tokens = 1;
  request.hidden = true;
  const auto refused = scheduler.Submit(std::move(request));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("the plain backend gives tokens"), std::string::npos);
}

TEST_P(EngineShapes, TheTwinAgreesToQuantisationAccuracy) {
  const auto image = RandomImage(GetParam(), 5);
  const std::vector<TokenId> tokens = SomeTokens(GetParam(), 40);
  const std::vector<ActiveAdapter> adapters = {{RandomAdapter(GetParam(), 8, 6)}};
  const auto twin = AllLogits(*MakeEngine(*image, BackendKind::kFloat), tokens, 40, adapters);
  const auto cpu = AllLogits(*MakeEngine(*image, BackendKind::kCpu), tokens, 40, adapters);
  double error = 0.0;
  double energy = 0.0;
  for (size_t row = 0; row < twin.size(); ++row) {
    for (size_t token = 0; token < twin[row].size(); ++token) {
      error += std::pow(static_cast<double>(twin[row][token]) - cpu[row][token], 2);
      energy += std::pow(static_cast<double>(twin[row][token]), 2);
    }
  }
  // Eight-bit inputs in blocks of 32 err by 0.84 % a product (docs/numeric-contract.md §15); in the
  // worst case the errors of the products that stand one after the other (four a layer, and the
  // head) add up.
  const double products = 4.0 * static_cast<double>(GetParam().n_layers) + 1.0;
  EXPECT_LT(std::sqrt(error / energy), 0.0084 * products);
  EXPECT_GT(error, 0.0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, EngineShapes,
                         ::testing::Values(OddConfig(), test::WideHeadConfig()));

TEST(Engine, ABatchGivesEachSessionWhatItGetsAlone) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 7);
  const auto adapter = RandomAdapter(config, 16, 8);
  for (const BackendKind kind : {BackendKind::kCpu, BackendKind::kReference, BackendKind::kFloat}) {
    const auto engine = MakeEngine(*image, kind, 2);
    const std::vector<TokenId> tokens = SomeTokens(config, 30);
    const std::vector<std::vector<ActiveAdapter>> settings = {
        {}, {{adapter}}, {{adapter, 1 << 14}}};
    std::vector<std::unique_ptr<Session>> sessions;
    for (const auto& adapters : settings) {
      sessions.push_back(MakeSession(*engine, adapters));
    }
    // Different lengths in one pass, then one token each.
    std::vector<Step> steps = {{sessions[0].get(), std::span(tokens).first(5)},
                               {sessions[1].get(), std::span(tokens).first(12)},
                               {sessions[2].get(), std::span(tokens).first(1)}};
    ASSERT_TRUE(engine->Forward(steps));
    for (size_t index = 0; index < sessions.size(); ++index) {
      const size_t at = static_cast<size_t>(sessions[index]->position());
      steps[index].tokens = std::span(tokens).subspan(at, 1);
    }
    ASSERT_TRUE(engine->Forward(steps));
    for (size_t index = 0; index < sessions.size(); ++index) {
      const auto position = static_cast<size_t>(sessions[index]->position());
      const std::vector<TokenId> prefix(tokens.begin(),
                                        tokens.begin() + static_cast<std::ptrdiff_t>(position));
      const Logits alone = AllLogits(*engine, prefix, 4, settings[index]).back();
      EXPECT_EQ(Logits(sessions[index]->logits().begin(), sessions[index]->logits().end()), alone);
    }
  }
}

// Many passes, because what waits for what depends on the moment.
TEST(Engine, AnyMixOfAdaptersGivesWhatEachGetsAlone) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 17);
  const std::vector<TokenId> tokens = SomeTokens(config, 30);
  const auto one = RandomAdapter(config, 16, 18);
  const auto two = RandomAdapter(config, 40, 19);
  const auto three = RandomAdapter(config, 5, 20);
  const std::vector<std::vector<ActiveAdapter>> settings = {
      {{one}},         {}, {{two}}, {{one}, {two, -(1 << 15)}}, {{three}}, {{one, 1 << 14}},
      {{two}, {three}}};
  const std::vector<size_t> lengths = {1, 3, 17, 2, 1, 9, 1};
  const auto reference = MakeEngine(*image, BackendKind::kReference);
  std::vector<Logits> expected;
  for (size_t index = 0; index < settings.size(); ++index) {
    const auto end = tokens.begin() + static_cast<std::ptrdiff_t>(lengths[index]);
    expected.push_back(AllLogits(*reference, {tokens.begin(), end}, 30, settings[index]).back());
  }
  for (const int threads : {1, 2, 3, 7}) {
    const auto engine = MakeEngine(*image, BackendKind::kCpu, threads);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<Step> steps;
    for (size_t index = 0; index < settings.size(); ++index) {
      sessions.push_back(MakeSession(*engine, settings[index]));
      steps.push_back({sessions[index].get(), std::span(tokens).first(lengths[index])});
    }
    for (int pass = 0; pass < 30; ++pass) {
      for (const auto& session : sessions) {
        session->Truncate(0);
      }
      ASSERT_TRUE(engine->Forward(steps));
      for (size_t index = 0; index < settings.size(); ++index) {
        const std::span<const int32_t> logits = sessions[index]->logits();
        ASSERT_EQ(Logits(logits.begin(), logits.end()), expected[index])
            << threads << " threads, session " << index << ", pass " << pass;
      }
    }
  }
}

TEST(Engine, TruncateForgets) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 9);
  for (const BackendKind kind : {BackendKind::kCpu, BackendKind::kReference, BackendKind::kFloat}) {
    const auto engine = MakeEngine(*image, kind);
    const std::vector<TokenId> tokens = SomeTokens(config, 20);
    const auto session = MakeSession(*engine);
    Step step{session.get(), tokens};
    ASSERT_TRUE(engine->Forward({&step, 1}));
    session->Truncate(4);
    const std::vector<TokenId> other = {5, 6, 7};
    step = {session.get(), other};
    ASSERT_TRUE(engine->Forward({&step, 1}));
    EXPECT_EQ(session->position(), 7);
    const std::vector<TokenId> whole = {tokens[0], tokens[1], tokens[2], tokens[3], 5, 6, 7};
    EXPECT_EQ(Logits(session->logits().begin(), session->logits().end()),
              AllLogits(*engine, whole, 7).back());
  }
}

// What memory held before, tokens of another sequence included, has no part in the result.
TEST(Engine, RepeatedTokensAreTheSameOnEveryBackend) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 15);
  const std::vector<TokenId> tokens = SomeTokens(config, 50);
  std::vector<Logits> found;
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu, BackendKind::kFloat}) {
    const auto engine = MakeEngine(*image, kind);
    Logits clean;
    for (const size_t before : {0, 50}) {
      const auto session = MakeSession(*engine);
      const Step used{session.get(), std::span(tokens).first(before)};
      ASSERT_TRUE(engine->Forward({&used, 1}));
      session->Truncate(std::min<int64_t>(session->position(), 3));
      if (before == 0) {
        const Step kept{session.get(), std::span(tokens).first(3)};
        ASSERT_TRUE(engine->Forward({&kept, 1}));
      }
      ASSERT_TRUE(session->RepeatTo(40));
      EXPECT_EQ(session->position(), 40);
      const Step step{session.get(), std::span(tokens).first(2)};
      ASSERT_TRUE(engine->Forward({&step, 1}));
      EXPECT_EQ(session->position(), 42);
      const Logits logits(session->logits().begin(), session->logits().end());
      EXPECT_TRUE(clean.empty() || clean == logits) << BackendName(kind);
      clean = logits;
    }
    found.push_back(clean);
    const auto session = MakeSession(*engine);
    const Step unskipped{session.get(), std::span(tokens).first(5)};
    ASSERT_TRUE(engine->Forward({&unskipped, 1}));
    EXPECT_EQ(session->RepeatTo(4).error().message, "cannot repeat 5 tokens to be 4");
    EXPECT_EQ(session->RepeatTo(session->context() + 1).error().code, ErrorCode::kContextExceeded);
    EXPECT_TRUE(session->RepeatTo(session->context()));
    EXPECT_FALSE(MakeSession(*engine)->RepeatTo(1));
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST(Engine, AnInterruptedPassLeavesTheSessionWhereItWas) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 6);
  const std::vector<TokenId> tokens = SomeTokens(config, 20);
  const auto plain = MakeEngine(*image, BackendKind::kCpu);
  const std::vector<Logits> expected = AllLogits(*plain, tokens, 20);
  for (const BackendKind backend :
       {BackendKind::kCpu, BackendKind::kReference, BackendKind::kFloat}) {
    int asked = 0;
    int give_up_at = 0;  // 0: never
    auto engine =
        Engine::Create(*image, {backend, 1, "", 0, [&] { return ++asked == give_up_at; }});
    ASSERT_TRUE(engine);
    const auto session = MakeSession(**engine);
    const Step first{session.get(), std::span(tokens).first(10)};
    ASSERT_TRUE((*engine)->Forward({&first, 1}));
    ASSERT_GT(asked, 0);
    give_up_at = asked + 1;
    const Step second{session.get(), std::span(tokens).subspan(10), LogitsWanted::kAll};
    const Status status = (*engine)->Forward({&second, 1});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
    EXPECT_EQ(session->position(), 10);
    EXPECT_EQ(session->logit_rows(), 0);
    ASSERT_TRUE((*engine)->Forward({&second, 1}));
    EXPECT_EQ(session->position(), 20);
    if (backend != BackendKind::kFloat) {
      EXPECT_TRUE(std::ranges::equal(session->logits(9), expected[19]));
    }
  }
}

TEST(Engine, LogitsAreKeptAsAsked) {
  const auto image = RandomImage(OddConfig(), 10);
  const auto engine = MakeEngine(*image, BackendKind::kCpu);
  const auto session = MakeSession(*engine);
  const std::vector<TokenId> tokens = {1, 2, 3};
  Step step{session.get(), tokens, LogitsWanted::kNone};
  ASSERT_TRUE(engine->Forward({&step, 1}));
  EXPECT_EQ(session->logit_rows(), 0);
  step.logits = LogitsWanted::kLast;
  ASSERT_TRUE(engine->Forward({&step, 1}));
  EXPECT_EQ(session->logit_rows(), 1);
  step.logits = LogitsWanted::kAll;
  ASSERT_TRUE(engine->Forward({&step, 1}));
  EXPECT_EQ(session->logit_rows(), 3);
  EXPECT_EQ(session->position(), 9);
}

TEST(Engine, PromptsLongerThanOnePassAreCutIntoSeveral) {
  const auto image = RandomImage(OddConfig(), 11);
  const auto engine = MakeEngine(*image, BackendKind::kCpu, 2);
  const std::vector<TokenId> tokens = SomeTokens(OddConfig(), 300);
  EXPECT_EQ(AllLogits(*engine, tokens, 300).back(), AllLogits(*engine, tokens, 100).back());
}

TEST(Engine, RefusesWhatItCannotRun) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 12);
  const auto engine = MakeEngine(*image, BackendKind::kCpu);
  const auto code = [](const auto& result) {
    EXPECT_FALSE(result);
    return result ? ErrorCode::kIo : result.error().code;
  };
  EXPECT_EQ(code(Engine::Create(*image, {BackendKind::kCpu, 1, "", 321})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(Engine::Create(*image, {BackendKind::kCpu, 1, "no-such-set", 0})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(ParseBackend("gpu")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(engine->NewSession({321, {}})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(engine->NewSession({-1, {}})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(engine->NewSession({0, {{RandomAdapter(test::WideHeadConfig(), 4, 1)}}})),
            ErrorCode::kMismatch);
  model::Config other = config;
  other.ffn_dim = 96;
  EXPECT_EQ(code(engine->NewSession({0, {{RandomAdapter(other, 4, 1)}}})), ErrorCode::kMismatch);
  // Without its float parts an adapter runs on the integer backends only.
  AdapterWeights integers = *RandomAdapter(config, 4, 1);
  for (AdapterLinear& linear : integers.linears) {
    linear.a_float.clear();
    linear.b_float.clear();
  }
  const auto shared = std::make_shared<const AdapterWeights>(integers);
  EXPECT_TRUE(engine->NewSession({0, {{shared}}}));
  EXPECT_EQ(code(MakeEngine(*image, BackendKind::kFloat)->NewSession({0, {{shared}}})),
            ErrorCode::kMismatch);
  integers.linears[0].b.pop_back();
  EXPECT_EQ(code(engine->NewSession(
                {0, {{std::make_shared<const AdapterWeights>(std::move(integers))}}})),
            ErrorCode::kMismatch);

  auto session = engine->NewSession({4, {}});
  ASSERT_TRUE(session);
  const std::vector<TokenId> five(5, 1);
  Step step{session->get(), five};
  EXPECT_EQ(code(engine->Forward({&step, 1})), ErrorCode::kContextExceeded);
  const std::vector<TokenId> unknown = {67};
  step = {session->get(), unknown};
  EXPECT_EQ(code(engine->Forward({&step, 1})), ErrorCode::kInvalidArgument);
  EXPECT_EQ((*session)->position(), 0);  // nothing happened
}

TEST(Engine, TokenStreamsAreEqualGreedyAndSampled) {
  const model::Config config = OddConfig();
  const auto image = RandomImage(config, 13);
  const auto adapter = RandomAdapter(config, 16, 14);
  for (const bool greedy : {true, false}) {
    const auto sampling =
        numerics::ToConfig({greedy ? 0.0 : 0.9, greedy ? 0 : 20, 0.95, 0.02, 1234});
    std::vector<std::vector<TokenId>> streams;
    struct Way {
      BackendKind backend;
      int threads;
      std::string isa;
    };
    std::vector<Way> ways = {{BackendKind::kReference, 1, ""}};
    for (const KernelSet* kernels : AvailableKernels()) {
      for (const int threads : {1, 2}) {
        ways.push_back({BackendKind::kCpu, threads, std::string(kernels->isa)});
      }
    }
    for (const Way& way : ways) {
      const auto engine = MakeEngine(*image, way.backend, way.threads, way.isa);
      const auto session = MakeSession(*engine, {{adapter}});
      std::vector<TokenId> stream = {3};
      while (stream.size() < 120) {
        const Step step{session.get(), std::span(stream).last(1)};
        ASSERT_TRUE(engine->Forward({&step, 1}));
        stream.push_back(
            numerics::Sample(session->logits(), sampling, stream.size(), 0, image->tables()));
      }
      streams.push_back(stream);
      EXPECT_EQ(stream, streams[0]) << way.isa << ", " << way.threads << " threads";
    }
  }
}

TEST(Logprobs, AreThoseOfTheSoftmax) {
  const std::vector<int32_t> logits = {0, 1 << 16, 1 << 16, -(3 << 16)};
  const double total = 1.0 + 2.0 * std::exp(1.0) + std::exp(-3.0);
  EXPECT_NEAR(Logprob(logits, 0), -std::log(total), 1e-12);
  const auto top = TopLogprobs(logits, 3);
  ASSERT_EQ(top.size(), 3U);
  EXPECT_EQ(top[0].token, 1);  // the lowest id among equals
  EXPECT_EQ(top[1].token, 2);
  EXPECT_EQ(top[2].token, 0);
  EXPECT_NEAR(top[1].logprob, 1.0 - std::log(total), 1e-12);
  EXPECT_EQ(TopLogprobs(logits, 20).size(), 4U);
}

}  // namespace
}  // namespace etch::engine
