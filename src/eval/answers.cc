#include "eval/answers.h"

#include <algorithm>

#include "engine/scheduler.h"  // Logprob
#include "numerics/sampler.h"

namespace etch::eval {
namespace {

using engine::TokenId;

constexpr int64_t kExtraTokens = 16;
constexpr size_t kChunk = 256;

// Runs all tokens but the last and adds what the answer's tokens were worth.
Status ScoreAnswer(engine::Engine& engine, engine::Session& session, const AnswerTask& task,
                   GivenAnswer& given) {
  std::vector<TokenId> tokens = task.prompt;
  tokens.insert(tokens.end(), task.answer.begin(), task.answer.end());
  const std::span<const TokenId> inputs(tokens.data(), tokens.size() - 1);
  for (size_t begin = 0; begin < inputs.size(); begin += kChunk) {
    const auto chunk = inputs.subspan(begin, std::min(kChunk, inputs.size() - begin));
    const engine::Step step{&session, chunk, engine::LogitsWanted::kAll};
    ETCH_TRY(engine.Forward({&step, 1}));
    for (size_t row = 0; row < chunk.size(); ++row) {
      const size_t next = begin + row + 1;
      if (next >= task.prompt.size()) {
        given.nll_sum -= engine::Logprob(session.logits(static_cast<int64_t>(row)), tokens[next]);
        ++given.tokens;
      }
    }
  }
  return {};
}

Result<std::string> Answer(engine::Engine& engine, engine::Session& session,
                           const text::Tokenizer& tokenizer, const AnswerTask& task) {
  session.Truncate(std::ssize(task.prompt) - 1);
  std::vector<TokenId> answer;
  TokenId last = task.prompt.back();
  const int64_t longest =
      std::min(std::ssize(task.answer) + kExtraTokens, session.context() - session.position());
  while (std::ssize(answer) < longest) {
    const engine::Step step{&session, {&last, 1}};
    ETCH_TRY(engine.Forward({&step, 1}));
    last = numerics::Greedy(session.logits());
    if (tokenizer.IsEndOfGeneration(last)) {
      break;
    }
    answer.push_back(last);
  }
  return Trimmed(tokenizer.Decode(answer));
}

}  // namespace

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) {
    return "";
  }
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

int64_t AnswerScore::exact() const {
  return std::ranges::count_if(answers, [](const GivenAnswer& given) { return given.is_exact; });
}

double AnswerScore::exact_share() const {
  return answers.empty() ? 0.0 : static_cast<double>(exact()) / static_cast<double>(answers.size());
}

double AnswerScore::nll() const {
  double sum = 0.0;
  int64_t tokens = 0;
  for (const GivenAnswer& given : answers) {
    sum += given.nll_sum;
    tokens += given.tokens;
  }
  return tokens > 0 ? sum / static_cast<double>(tokens) : 0.0;
}

Result<AnswerScore> ScoreAnswers(const Subject& subject, const text::Tokenizer& tokenizer,
                                 std::span<const AnswerTask> tasks, const ProgressFn& progress) {
  AnswerScore score;
  for (const AnswerTask& task : tasks) {
    const int64_t done = std::ssize(score.answers);
    if (progress && !progress({"answering", done, std::ssize(tasks), "answers"})) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    ETCH_CHECK(!task.prompt.empty() && !task.answer.empty(), "task {} is empty", done);
    const int64_t needed = std::ssize(task.prompt) + std::ssize(task.answer) + kExtraTokens;
    const int64_t context = std::min(needed, subject.engine->image().config().context);
    ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Session> session,
                          subject.engine->NewSession({context, subject.adapters}));
    GivenAnswer given;
    const Status scored = ScoreAnswer(*subject.engine, *session, task, given);
    if (!scored) {
      return Prefix(fmt::format("question {}", done + 1), scored.error());
    }
    ETCH_ASSIGN_OR_RETURN(given.text, Answer(*subject.engine, *session, tokenizer, task));
    std::vector<TokenId> right = task.answer;
    std::erase_if(right, [&](TokenId token) { return tokenizer.IsEndOfGeneration(token); });
    given.is_exact = given.text == Trimmed(tokenizer.Decode(right));
    score.answers.push_back(std::move(given));
  }
  return score;
}

}  // namespace etch::eval
