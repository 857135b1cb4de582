// The same text with and without speculation. Random weights repeat themselves soon when decoding
// is greedy, so drafts are accepted; sampled text refuses most of them. kAlways makes the drafts of
// a test independent of the clock.

#include "engine/generator.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/random_model_test.h"

namespace etch::engine {
namespace {

using Logits = std::vector<int32_t>;

constexpr numerics::SamplingParams kGreedy{};
constexpr numerics::SamplingParams kSampled{0.7, 0, 0.95, 0.0, 77};
constexpr numerics::SamplingParams kCold{0.05, 3, 1.0, 0.0, 78};  // sampled, yet it repeats

struct Text {
  std::vector<TokenId> tokens;
  std::vector<Logits> logits;
  int64_t position = 0;  // of the session in the end
  SpeculationCounts counts;
};

std::vector<TokenId> PromptOf(int64_t size) {
  std::vector<TokenId> prompt(static_cast<size_t>(size));
  for (size_t index = 0; index < prompt.size(); ++index) {
    prompt[index] = static_cast<TokenId>((5 + index * index) % 23);
  }
  return prompt;
}

class GeneratorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    image_ = test::RandomImage(test::OddConfig(), 31);
    auto engine = Engine::Create(*image_, {BackendKind::kCpu, 2, "", 0});
    ASSERT_TRUE(engine);
    engine_ = std::move(*engine);
  }

  Generator MakeGenerator(const numerics::SamplingParams& sampling, Speculation speculation,
                          int64_t context = 0, std::vector<ActiveAdapter> adapters = {}) const {
    auto session = engine_->NewSession({context, std::move(adapters)});
    EXPECT_TRUE(session) << (session ? "" : session.error().message);
    return {*engine_, std::move(*session), {numerics::ToConfig(sampling), 3, speculation}};
  }

  // Draws until there are max_tokens, the context is full or `last` was drawn.
  static void Continue(PassRunner& passes, Generator& generator, int64_t max_tokens, Text& text,
                       TokenId last = model::kNoToken) {
    Generator* const one = &generator;
    int64_t drawn = 0;
    while (drawn < max_tokens && !generator.full()) {
      ASSERT_TRUE(passes.Run({&one, 1}, 5));
      while (drawn < max_tokens) {
        const auto event = generator.Draw();
        if (!event) {
          break;
        }
        ++drawn;
        text.tokens.push_back(event->token);
        text.logits.emplace_back(event->logits.begin(), event->logits.end());
        if (event->token == last) {
          drawn = max_tokens;
        }
      }
    }
    generator.Settle();
    text.position = generator.session().position();
    text.counts = generator.counts();
  }

  Text Draw(const numerics::SamplingParams& sampling, Speculation speculation, int64_t prompt,
            int64_t max_tokens, int64_t context = 0, std::vector<ActiveAdapter> adapters = {},
            TokenId last = model::kNoToken) {
    PassRunner passes(*engine_);
    Generator generator = MakeGenerator(sampling, speculation, context, std::move(adapters));
    generator.Begin(PromptOf(prompt), max_tokens);
    Text text;
    Continue(passes, generator, max_tokens, text, last);
    return text;
  }

  static void ExpectSame(const Text& with, const Text& without) {
    EXPECT_EQ(with.tokens, without.tokens);
    EXPECT_EQ(with.position, without.position);
    EXPECT_TRUE(with.logits == without.logits);
    EXPECT_EQ(without.counts.drafted, 0);
  }

  std::unique_ptr<image::Image> image_;
  std::unique_ptr<Engine> engine_;
};

// One session, one token a pass, the sampler called directly: what speculation must not change.
TEST_F(GeneratorTest, DrawsWhatSingleStepsDraw) {
  for (const auto& sampling : {kGreedy, kSampled, kCold}) {
    const auto session = engine_->NewSession({});
    ASSERT_TRUE(session);
    std::vector<TokenId> pending = PromptOf(12);
    std::vector<TokenId> expected;
    for (uint64_t index = 0; index < 150; ++index) {
      const Step step{session->get(), pending};
      ASSERT_TRUE(engine_->Forward({&step, 1}));
      pending.assign(1, numerics::Sample((*session)->logits(), numerics::ToConfig(sampling), index,
                                         3, image_->tables()));
      expected.push_back(pending[0]);
    }
    EXPECT_EQ(Draw(sampling, Speculation::kOff, 12, 150).tokens, expected);
    EXPECT_EQ(Draw(sampling, Speculation::kAlways, 12, 150).tokens, expected);
    EXPECT_EQ(Draw(sampling, Speculation::kAuto, 12, 150).tokens, expected);
  }
}

TEST_F(GeneratorTest, GreedyTextRepeatsAndItsDraftsAreAccepted) {
  const Text without = Draw(kGreedy, Speculation::kOff, 20, 250);
  const Text with = Draw(kGreedy, Speculation::kAlways, 20, 250);
  ExpectSame(with, without);
  EXPECT_GT(with.counts.accepted, 50);
  EXPECT_GE(with.counts.drafted, with.counts.accepted);
}

TEST_F(GeneratorTest, SampledTextIsTheSameWhereDraftsFailAndWhereTheyDoNot) {
  const Text sampled = Draw(kSampled, Speculation::kAlways, 100, 200);
  ExpectSame(sampled, Draw(kSampled, Speculation::kOff, 100, 200));
  EXPECT_GT(sampled.counts.drafted, sampled.counts.accepted);
  const Text cold = Draw(kCold, Speculation::kAlways, 20, 200);
  ExpectSame(cold, Draw(kCold, Speculation::kOff, 20, 200));
  EXPECT_GT(cold.counts.accepted, 20);
}

TEST_F(GeneratorTest, AdaptersChangeNothingAboutIt) {
  const std::vector<ActiveAdapter> adapters = {{test::RandomAdapter(test::OddConfig(), 8, 32)},
                                               {test::RandomAdapter(test::OddConfig(), 40, 33)}};
  const Text with = Draw(kGreedy, Speculation::kAlways, 20, 200, 0, adapters);
  ExpectSame(with, Draw(kGreedy, Speculation::kOff, 20, 200, 0, adapters));
  EXPECT_GT(with.counts.accepted, 10);
  EXPECT_NE(with.tokens, Draw(kGreedy, Speculation::kOff, 20, 200).tokens);
}

TEST_F(GeneratorTest, StopsAtEveryTokenAsWithout) {
  for (int64_t tokens = 1; tokens <= 60; ++tokens) {
    const Text with = Draw(kGreedy, Speculation::kAlways, 6, tokens);
    ExpectSame(with, Draw(kGreedy, Speculation::kOff, 6, tokens));
    EXPECT_EQ(std::ssize(with.tokens), tokens);
    EXPECT_EQ(with.position, 6 + tokens - 1);
  }
}

TEST_F(GeneratorTest, StopsInTheMiddleOfAcceptedDrafts) {
  for (TokenId last = 0; last < 67; ++last) {
    ExpectSame(Draw(kCold, Speculation::kAlways, 30, 120, 0, {}, last),
               Draw(kCold, Speculation::kOff, 30, 120, 0, {}, last));
  }
}

TEST_F(GeneratorTest, SmallContextsAreFilledToTheLastToken) {
  for (int64_t context = 8; context <= 40; ++context) {
    const Text with = Draw(kGreedy, Speculation::kAlways, 7, 1000, context);
    ExpectSame(with, Draw(kGreedy, Speculation::kOff, 7, 1000, context));
    EXPECT_EQ(std::ssize(with.tokens), context - 7 + 1);
    EXPECT_EQ(with.position, context);
  }
}

TEST_F(GeneratorTest, ABatchOfGeneratorsIsAsEachAlone) {
  std::vector<Text> alone;
  std::vector<std::unique_ptr<Generator>> generators;
  for (int64_t index = 0; index < 5; ++index) {
    const auto& sampling = index % 2 == 0 ? kGreedy : kSampled;
    alone.push_back(Draw(sampling, Speculation::kOff, 3 + 11 * index, 90));
    generators.push_back(
        std::make_unique<Generator>(MakeGenerator(sampling, Speculation::kAlways)));
    generators.back()->Begin(PromptOf(3 + 11 * index), 90);
  }
  PassRunner passes(*engine_);
  std::vector<Text> together(generators.size());
  std::vector<size_t> running(generators.size());
  std::iota(running.begin(), running.end(), 0);
  while (!running.empty()) {
    std::vector<Generator*> pass;
    for (const size_t index : running) {
      pass.push_back(generators[index].get());
    }
    ASSERT_TRUE(passes.Run(pass, 7));
    std::erase_if(running, [&](size_t index) {
      std::vector<TokenId>& tokens = together[index].tokens;
      while (const auto event = generators[index]->Draw()) {
        tokens.push_back(event->token);
      }
      return tokens.size() >= 90;
    });
  }
  int64_t accepted = 0;
  for (size_t index = 0; index < alone.size(); ++index) {
    EXPECT_EQ(together[index].tokens, alone[index].tokens) << index;
    accepted += generators[index]->counts().accepted;
  }
  EXPECT_GT(accepted, 50);
}

// Turns of a chat: the next prompt shares a part with what was drawn, the index is that of the new
// sequence, and the session keeps only what is common.
TEST_F(GeneratorTest, BeginKeepsTheCommonPart) {
  const auto converse = [&](Speculation speculation) {
    PassRunner passes(*engine_);
    Generator generator = MakeGenerator(kGreedy, speculation);
    generator.Begin(PromptOf(10), 40);
    Text text;
    Continue(passes, generator, 40, text);
    std::vector<TokenId> next = PromptOf(10);
    next.insert(next.end(), text.tokens.begin(), text.tokens.begin() + 25);
    next.insert(next.end(), {1, 2, 3});
    generator.Begin(next, 40);
    EXPECT_GE(generator.session().position(), 35);
    EXPECT_EQ(generator.session().position() + generator.unread(), 38);
    Continue(passes, generator, 40, text);
    generator.Begin(PromptOf(10), 40);  // a shorter one: its last token is read again
    EXPECT_EQ(generator.unread(), 1);
    Continue(passes, generator, 40, text);
    return text;
  };
  const Text with = converse(Speculation::kAlways);
  ExpectSame(with, converse(Speculation::kOff));
  EXPECT_GT(with.counts.accepted, 0);
  EXPECT_EQ(std::vector<TokenId>(with.tokens.begin() + 80, with.tokens.end()),
            std::vector<TokenId>(with.tokens.begin(), with.tokens.begin() + 40));
}

TEST_F(GeneratorTest, OtherBackendsDraftOnlyWhenTold) {
  auto reference = Engine::Create(*image_, {BackendKind::kReference, 1, "", 0});
  ASSERT_TRUE(reference);
  PassRunner passes(**reference);
  std::vector<Text> texts;
  for (const Speculation speculation : {Speculation::kAuto, Speculation::kAlways}) {
    auto session = (*reference)->NewSession({});
    ASSERT_TRUE(session);
    Generator generator(**reference, std::move(*session),
                        {numerics::ToConfig(kGreedy), 0, speculation});
    generator.Begin(PromptOf(20), 60);
    Continue(passes, generator, 60, texts.emplace_back());
  }
  ExpectSame(texts[1], texts[0]);
  EXPECT_GT(texts[1].counts.drafted, 0);
}

// A filter that depends on what was drawn before: an odd token after an even one. Drafts that it
// forbids are never drawn, and the text is that of single steps.
TEST_F(GeneratorTest, AFilterHoldsWithAndWithoutDrafts) {
  for (const numerics::SamplingParams& sampling : {kGreedy, kSampled, kCold}) {
    std::vector<Text> texts;
    for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways}) {
      auto session = engine_->NewSession({});
      ASSERT_TRUE(session);
      bool odd = false;
      std::vector<uint64_t> mask((engine_->image().config().vocab_size + 63) / 64);
      GeneratorOptions options{numerics::ToConfig(sampling), 3, speculation, {}};
      options.filter.allowed = [&] {
        mask.assign(mask.size(), odd ? 0xAAAAAAAAAAAAAAAAU : 0x5555555555555555U);
        return numerics::AllowedTokens(mask);
      };
      options.filter.accept = [&](TokenId token) { odd = token % 2 == 0; };
      Generator generator(*engine_, std::move(*session), options);
      generator.Begin(PromptOf(20), 60);
      PassRunner passes(*engine_);
      Continue(passes, generator, 60, texts.emplace_back());
      for (size_t index = 0; index < texts.back().tokens.size(); ++index) {
        ASSERT_EQ(texts.back().tokens[index] % 2, static_cast<TokenId>(index % 2));
      }
    }
    ExpectSame(texts[1], texts[0]);
    EXPECT_GT(texts[1].counts.drafted, 0);
  }
}

}  // namespace
}  // namespace etch::engine
