#include "eval/answers.h"

#include <gtest/gtest.h>

#include <tuple>

#include "engine/random_model_test.h"
#include "engine/scheduler.h"
#include "numerics/sampler.h"

namespace etch::eval {
namespace {

using engine::TokenId;

// What the engine says greedily, one token at a time, and its log-probability.
std::pair<std::vector<TokenId>, double> Greedy(engine::Engine& engine, std::vector<TokenId> tokens,
                                               int count) {
  auto session = engine.NewSession({});
  EXPECT_TRUE(session);
  std::vector<TokenId> answer;
  double sum = 0.0;
  std::span<const TokenId> next = tokens;
  TokenId last = 0;
  for (int index = 0; index < count; ++index) {
    const engine::Step step{session->get(), next};
    EXPECT_TRUE(engine.Forward({&step, 1}));
    last = numerics::Greedy((*session)->logits());
    sum += engine::Logprob((*session)->logits(), last);
    answer.push_back(last);
    next = {&last, 1};
  }
  return {answer, sum};
}

TEST(Answers, AreExactWhenTheModelSaysThem) {
  const auto image = engine::test::RandomImage(engine::test::OddConfig(), 3);
  auto engine = engine::Engine::Create(*image, {});
  ASSERT_TRUE(engine);
  model::Vocabulary vocabulary = image->vocabulary();
  // A prompt whose third token is new: it ends the answer of the first two.
  std::vector<TokenId> prompt = {1, 5, 0};
  std::vector<TokenId> answer;
  double logprob = 0.0;
  TokenId end = 0;
  do {
    ASSERT_LT(++prompt.back(), image->config().vocab_size) << "choose another seed";
    std::tie(answer, logprob) = Greedy(**engine, prompt, 2);
    end = Greedy(**engine, prompt, 3).first.back();
  } while (std::ranges::count(answer, end) > 0);
  vocabulary.eos = end;
  vocabulary.end_of_generation = {end};
  auto tokenizer = text::Tokenizer::Create(vocabulary);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  std::vector<TokenId> ended = answer;
  ended.push_back(end);
  std::vector<TokenId> other = answer;
  other[1] = other[1] == 7 ? 8 : 7;
  const std::vector<AnswerTask> tasks = {{prompt, ended}, {prompt, answer}, {prompt, other}};
  const auto score = ScoreAnswers({engine->get(), {}}, **tokenizer, tasks, {});
  ASSERT_TRUE(score) << score.error().message;
  EXPECT_TRUE(score->answers[0].is_exact);
  EXPECT_TRUE(score->answers[1].is_exact);  // what is compared is the text
  EXPECT_FALSE(score->answers[2].is_exact);
  EXPECT_EQ(score->exact(), 2);
  EXPECT_DOUBLE_EQ(score->exact_share(), 2.0 / 3.0);
  EXPECT_EQ(score->answers[0].tokens, 3);
  EXPECT_NEAR(score->answers[1].nll_sum, -logprob, 1e-9);
  EXPECT_GT(score->answers[0].nll_sum, score->answers[1].nll_sum);
}

TEST(Answers, SayWhatDoesNotFitAndCanBeInterrupted) {
  const auto image = engine::test::RandomImage(engine::test::OddConfig(), 3);
  auto engine = engine::Engine::Create(*image, {});
  auto tokenizer = text::Tokenizer::Create(image->vocabulary());
  ASSERT_TRUE(engine && tokenizer);
  const std::vector<TokenId> long_prompt(static_cast<size_t>(image->config().context) + 1,
                                         TokenId{1});
  const std::vector<AnswerTask> tasks = {{{1}, {2}}, {long_prompt, {2}}};
  const auto score = ScoreAnswers({engine->get(), {}}, **tokenizer, tasks, {});
  ASSERT_FALSE(score);
  EXPECT_EQ(score.error().code, ErrorCode::kContextExceeded);
  EXPECT_NE(score.error().message.find("question 2"), std::string::npos);
  const auto stopped = ScoreAnswers({engine->get(), {}}, **tokenizer, tasks,
                                    [](const ProgressUpdate&) { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
}

TEST(Answers, AreTrimmed) {
  EXPECT_EQ(Trimmed("  a b\n"), "a b");
  EXPECT_EQ(Trimmed(" \t"), "");
  EXPECT_EQ(Trimmed(""), "");
}

}  // namespace
}  // namespace etch::eval
