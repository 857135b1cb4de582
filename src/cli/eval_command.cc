// etch eval: perplexity on a text, and the distance to another model.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "cli/tune/answer_tasks.h"
#include "eval/evaluate.h"
#include "tune/data/dataset.h"
#include "tune/data/encode.h"

namespace etch::cli {
namespace {

struct Options {
  RunOptions model;
  std::string text;
  std::string questions;
  std::string against;
  std::string against_backend = "float";
  int64_t window = 512;
  int64_t max_tokens = 0;
  bool json = false;
};

Result<eval::Score> Evaluate(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(options.text, uint64_t{1} << 30));
  ETCH_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(options.model, Interrupted));
  LoadedModel other;
  if (!options.against.empty()) {
    RunOptions other_options = options.model;
    other_options.image = options.against;
    other_options.backend = options.against_backend;
    other_options.isa.clear();
    other_options.adapters.clear();
    ETCH_ASSIGN_OR_RETURN(other, LoadModel(other_options, Interrupted));
  }
  const model::Vocabulary& vocabulary = model.image->vocabulary();
  std::vector<engine::TokenId> tokens = model.tokenizer->Encode(text, {false, false});
  if (options.max_tokens > 0 && std::ssize(tokens) > options.max_tokens) {
    tokens.resize(static_cast<size_t>(options.max_tokens));
  }
  const auto windows =
      eval::CutWindows(tokens, vocabulary.add_bos ? vocabulary.bos : model::kNoToken,
                       std::min(options.window, model.image->config().context));
  if (windows.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "{}: has no text to predict", options.text);
  }
  const eval::Subject tested{model.engine.get(), model.adapters};
  const eval::Subject reference{other.engine.get(), {}};
  ProgressLine progress(options.json);
  return eval::ScoreWindows(tested, other.engine ? &reference : nullptr, windows,
                            progress.Callback());
}

Result<eval::AnswerScore> AnswerQuestions(const Options& options) {
  ETCH_ASSIGN_OR_RETURN(const tune::Dataset dataset, tune::ReadDataset(options.questions));
  ETCH_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(options.model, Interrupted));
  tune::SampleOptions sampling;
  sampling.context = model.image->config().context;
  ETCH_ASSIGN_OR_RETURN(
      const tune::SampleSet set,
      tune::EncodeDataset(dataset, *model.tokenizer,
                          model.chat_template ? &*model.chat_template : nullptr, sampling));
  if (tune::HasErrors(set.findings)) {
    return Fail(ErrorCode::kInvalidArgument, "{}: {}", options.questions,
                tune::Describe(set.findings.front()));
  }
  const std::vector<eval::AnswerTask> tasks = AnswerTasks(set, std::ssize(set.samples));
  if (tasks.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "{}: has no answers to compare with",
                options.questions);
  }
  ProgressLine progress(options.json);
  return eval::ScoreAnswers({model.engine.get(), model.adapters}, *model.tokenizer, tasks,
                            progress.Callback());
}

int ExecuteQuestions(const Options& options) {
  const Result<eval::AnswerScore> score = AnswerQuestions(options);
  if (!score) {
    return Report(score.error());
  }
  if (options.json) {
    const nlohmann::ordered_json json = {{"questions", score->answers.size()},
                                         {"exact", score->exact()},
                                         {"share", score->exact_share()},
                                         {"nll", score->nll()}};
    PrintJson(json);
    return 0;
  }
  fmt::print("questions   {}\n", score->answers.size());
  fmt::print("exact       {} ({:.1f} %)\n", score->exact(), 100.0 * score->exact_share());
  fmt::print("nll         {:.6f} nats a token of the right answers\n", score->nll());
  return 0;
}

int Execute(const Options& options) {
  if (options.text.empty() == options.questions.empty()) {
    return Report({ErrorCode::kInvalidArgument, "give --text FILE or --questions FILE"});
  }
  if (!options.questions.empty()) {
    return ExecuteQuestions(options);
  }
  const Result<eval::Score> score = Evaluate(options);
  if (!score) {
    return Report(score.error());
  }
  const bool compared = score->compared > 0;
  if (options.json) {
    nlohmann::ordered_json json = {
        {"tokens", score->tokens}, {"nll", score->nll()}, {"ppl", score->perplexity()}};
    json["kl"] = compared ? nlohmann::ordered_json(score->kl()) : nlohmann::ordered_json();
    json["top1"] =
        compared ? nlohmann::ordered_json(score->same_top_share()) : nlohmann::ordered_json();
    PrintJson(json);
    return 0;
  }
  fmt::print("tokens      {}\n", score->tokens);
  fmt::print("nll         {:.6f} nats a token\n", score->nll());
  fmt::print("perplexity  {:.4f}\n", score->perplexity());
  if (compared) {
    fmt::print("kl          {:.4g} nats a token from {} ({}), largest {:.3g}\n", score->kl(),
               options.against, options.against_backend, score->kl_max);
    fmt::print("same top    {:.2f} %\n", 100.0 * score->same_top_share());
  }
  return 0;
}

}  // namespace

void AddEval(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("eval", "Perplexity on a text, KL divergence, exact answers");
  command->footer(
      "The text is tokenised once and cut into disjoint windows, each with the model's beginning-\n"
      "of-text token in front; every token of a window is predicted from those before it.\n"
      "\n"
      "--against measures KL(other || this) with the other image on the float backend, so the "
      "cost\n"
      "of 3-bit weights and the cost of integer arithmetic come apart:\n"
      "  etch compile M -o source.etch --recipe source\n"
      "  etch eval model.etch --backend float --against source.etch --text T   weights\n"
      "  etch eval model.etch --backend cpu --against model.etch --text T      arithmetic");
  AddRunOptions(*command, options->model, true);
  command->add_option("--text", options->text, "Text file");
  command->add_option(
      "--questions", options->questions,
      "Instead: a dataset (as `etch tune` reads it) whose answers are compared word "
      "for word with the model's greedy ones");
  command->add_option("--against", options->against, "Image to compare with");
  command->add_option("--against-backend", options->against_backend, "Backend of --against")
      ->capture_default_str();
  command->add_option("--window", options->window, "Tokens a window, at most the model's context")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "Use only the first N tokens; 0: all")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
