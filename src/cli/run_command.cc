// etch run: one answer, or a chat in the terminal.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"
#include "engine/generator.h"
#include "grammar/token_masks.h"
#include "numerics/sampler.h"
#include "text/chat_prompt.h"
#include "text/output_text.h"

namespace etch::cli {
namespace {

using engine::TokenId;

struct Options {
  RunOptions model;
  std::string prompt;
  bool has_prompt = false;
  std::string system;
  int64_t max_tokens = 512;
  bool greedy = false;
  numerics::SamplingParams sampling{0.8, 40, 0.95, 0.0, 0};
  bool has_seed = false;
  std::vector<std::string> stop;
  engine::Speculation speculation = engine::Speculation::kAuto;
  std::string json_schema;  // paths; at most one of the three is given
  std::string grammar;
  std::string regex;
  bool raw = false;
  bool json = false;
};

struct Answer {
  std::string text;
  std::vector<TokenId> tokens;
  std::string finish = "length";  // or "stop", "interrupted"
  double prompt_seconds = 0.0;
  double answer_seconds = 0.0;
  int64_t prompt_tokens = 0;
  engine::SpeculationCounts speculation;
};

double Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Runner {
 public:
  Runner(LoadedModel& model, const Options& options)
      : model_(model), options_(options), passes_(*model.engine) {}

  Status Start() {
    ETCH_TRY(numerics::Validate(options_.sampling));
    ETCH_TRY(Constrain());
    ETCH_ASSIGN_OR_RETURN(auto session,
                          model_.engine->NewSession({options_.model.context, model_.adapters}));
    generator_.emplace(
        *model_.engine, std::move(session),
        engine::GeneratorOptions{
            numerics::ToConfig(options_.sampling), 0, options_.speculation, {}, Filter()});
    return {};
  }

  // Reads what of `tokens` the session does not hold yet, then draws until an end. Text goes to
  // `emit` as it becomes sure.
  Result<Answer> Continue(std::vector<TokenId> tokens, bool after_text,
                          const std::function<void(std::string_view)>& emit) {
    if (tokens.empty()) {
      return Fail(
          ErrorCode::kInvalidArgument,
          "the prompt is empty and this model has no beginning-of-text token; give -p TEXT");
    }
    Answer answer;
    if (masks_ != nullptr) {
      const model::Vocabulary& vocabulary = model_.tokenizer->vocabulary();
      matcher_.emplace(masks_, !after_text && vocabulary.add_prefix_space &&
                                   vocabulary.kind == model::TokenizerKind::kSentencePiece);
    }
    generator_->Begin(std::move(tokens), options_.max_tokens);
    answer.prompt_tokens = generator_->unread();
    auto begin = std::chrono::steady_clock::now();
    ETCH_TRY(Read());
    answer.prompt_seconds = Since(begin);
    begin = std::chrono::steady_clock::now();
    ETCH_TRY(Draw(answer, after_text, emit));
    generator_->Settle();
    answer.answer_seconds = Since(begin);
    answer.speculation = generator_->counts();
    return answer;
  }

 private:
  // Compiles what the answers are held to, if anything.
  Status Constrain() {
    const std::string& path =
        options_.json_schema.empty() ? options_.grammar : options_.json_schema;
    if (path.empty() && options_.regex.empty()) {
      return {};
    }
    std::string text = options_.regex;
    if (!path.empty()) {
      ETCH_ASSIGN_OR_RETURN(text, ReadSmallFile(path, 1 << 20));
    }
    auto constraint = !options_.regex.empty()         ? grammar::CompileRegex(text)
                      : !options_.json_schema.empty() ? grammar::CompileJsonSchema(text)
                                                      : grammar::CompileGbnf(text);
    if (!constraint) {
      return Prefix(path.empty() ? "--regex" : path, constraint.error());
    }
    trie_.emplace(*model_.tokenizer, model_.image->config().vocab_size);
    masks_ = std::make_shared<grammar::TokenMasks>(std::move(*constraint), *trie_);
    return {};
  }

  engine::TokenFilter Filter() {
    if (masks_ == nullptr) {
      return {};
    }
    return {[this] { return numerics::AllowedTokens(matcher_->Allowed()); },
            [this](TokenId token) { matcher_->Accept(token); }};
  }

  Status Read() {
    const engine::Session& session = generator_->session();
    if (generator_->unread() > session.context() - session.position()) {
      return Fail(
          ErrorCode::kContextExceeded,
          "the prompt has {} tokens, {} of the context's {} are free; use a longer --context",
          generator_->unread(), session.context() - session.position(), session.context());
    }
    while (generator_->unread() > 0) {
      ETCH_TRY(Pass());
    }
    return {};
  }

  Status Draw(Answer& answer, bool after_text, const std::function<void(std::string_view)>& emit) {
    text::OutputText output(*model_.tokenizer, options_.stop, after_text);
    const auto put = [&](const std::string& text) {
      answer.text += text;
      if (!text.empty() && emit) {
        emit(text);
      }
    };
    while (std::ssize(answer.tokens) < options_.max_tokens) {
      if (Interrupted()) {
        answer.finish = "interrupted";
        break;
      }
      std::optional<engine::TokenEvent> event = generator_->Draw();
      if (!event) {
        if (generator_->full()) {
          break;
        }
        if (generator_->stuck()) {
          return Fail(ErrorCode::kMismatch, "no token of the vocabulary can go on with the answer");
        }
        if (const Status status = Pass(); !status) {
          if (status.error().code != ErrorCode::kCancelled) {
            return status;
          }
          answer.finish = "interrupted";
          break;
        }
        event = generator_->Draw();
        if (!event) {
          continue;  // the constraint leaves nothing to draw
        }
      }
      if (model_.tokenizer->IsEndOfGeneration(event->token)) {
        answer.finish = "stop";
        break;
      }
      answer.tokens.push_back(event->token);
      put(output.Push(event->token));
      if (output.stopped() || (matcher_ && matcher_->is_complete())) {
        answer.finish = "stop";
        break;
      }
    }
    put(output.Flush());
    return {};
  }

  Status Pass() {
    engine::Generator* const generator = &*generator_;
    return passes_.Run({&generator, 1});
  }

  LoadedModel& model_;
  const Options& options_;
  engine::PassRunner passes_;
  std::optional<grammar::TokenTrie> trie_;
  std::shared_ptr<grammar::TokenMasks> masks_;  // matchers share it
  std::optional<grammar::Matcher> matcher_;     // of the present answer
  std::optional<engine::Generator> generator_;
};

void Emit(std::string_view text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

std::string Speed(const Answer& answer) {
  const auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return fmt::format("{} prompt tokens at {:.1f}/s, {} answer tokens at {:.1f}/s",
                     answer.prompt_tokens, rate(answer.prompt_tokens, answer.prompt_seconds),
                     answer.tokens.size(), rate(std::ssize(answer.tokens), answer.answer_seconds));
}

void PrintAnswer(const LoadedModel& model, const Options& options, const Answer& answer) {
  const nlohmann::ordered_json json = {{"text", answer.text},
                                       {"tokens", answer.tokens},
                                       {"finish_reason", answer.finish},
                                       {"prompt_tokens", answer.prompt_tokens},
                                       {"completion_tokens", answer.tokens.size()},
                                       {"prompt_seconds", answer.prompt_seconds},
                                       {"completion_seconds", answer.answer_seconds},
                                       {"drafted", answer.speculation.drafted},
                                       {"accepted", answer.speculation.accepted},
                                       {"seed", options.sampling.seed},
                                       {"backend", model.engine->info().backend},
                                       {"isa", model.engine->info().isa},
                                       {"threads", model.engine->info().threads}};
  PrintJson(json);
}

// One prompt, one answer.
Status RunOnce(LoadedModel& model, const Options& options) {
  Runner runner(model, options);
  ETCH_TRY(runner.Start());
  const bool chat = model.chat_template.has_value() && !options.raw;
  std::vector<TokenId> tokens;
  if (chat) {
    std::vector<text::ChatMessage> messages;
    if (!options.system.empty()) {
      messages.push_back({"system", options.system});
    }
    messages.push_back({"user", options.prompt});
    ETCH_ASSIGN_OR_RETURN(tokens,
                          text::EncodeChat(*model.chat_template, *model.tokenizer, messages));
  } else {
    tokens = model.tokenizer->Encode(options.prompt);
  }
  // The prompt is shown once it is known to fit.
  bool shown = !options.raw || options.json;
  const auto emit = [&](std::string_view text) {
    if (!shown) {
      Emit(options.prompt);
      shown = true;
    }
    if (!options.json) {
      Emit(text);
    }
  };
  ETCH_ASSIGN_OR_RETURN(const Answer answer,
                        runner.Continue(std::move(tokens), !chat && !options.prompt.empty(), emit));
  emit("");
  if (options.json) {
    PrintAnswer(model, options, answer);
  } else {
    fmt::print("\n");
    if (!options.raw && ::isatty(STDERR_FILENO) == 1) {
      fmt::print(stderr, "[{}]\n", Speed(answer));
    }
  }
  return answer.finish == "interrupted"
             ? Status(
                   Fail(ErrorCode::kCancelled, "interrupted after {} tokens", answer.tokens.size()))
             : Status();
}

// A conversation: each turn renders the whole history; only what is new is read.
Status Chat(LoadedModel& model, const Options& options) {
  Runner runner(model, options);
  ETCH_TRY(runner.Start());
  std::vector<text::ChatMessage> messages;
  if (!options.system.empty()) {
    messages.push_back({"system", options.system});
  }
  fmt::print(stderr, "{} on {} ({}, {} threads), context {}. Ctrl-D ends.\n", model.image->name(),
             model.engine->info().backend, model.engine->info().isa, model.engine->info().threads,
             model.engine->info().context);
  std::string line;
  while (fmt::print(stderr, "> "), std::getline(std::cin, line)) {
    if (line.empty()) {
      continue;
    }
    std::vector<TokenId> tokens;
    if (model.chat_template) {
      messages.push_back({"user", line});
      ETCH_ASSIGN_OR_RETURN(tokens,
                            text::EncodeChat(*model.chat_template, *model.tokenizer, messages));
    } else {
      tokens = model.tokenizer->Encode(line);
    }
    const Result<Answer> answer = runner.Continue(std::move(tokens), !model.chat_template, Emit);
    if (!answer) {
      if (answer.error().code != ErrorCode::kContextExceeded) {
        return tl::unexpected(answer.error());
      }
      return Fail(ErrorCode::kContextExceeded, "the conversation is longer than the context: {}",
                  answer.error().message);
    }
    fmt::print("\n");
    fmt::print(stderr, "[{}]\n", Speed(*answer));
    messages.push_back({"assistant", answer->text});
    if (answer->finish == "interrupted") {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
  }
  fmt::print(stderr, "\n");
  return {};
}

int Execute(Options& options) {
  if (options.greedy) {
    options.sampling.temperature = 0.0;
  }
  if (!options.has_seed) {
    options.sampling.seed =
        static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  }
  Result<LoadedModel> model = LoadModel(options.model, Interrupted);
  if (!model) {
    return Report(model.error());
  }
  const Status status = options.has_prompt ? RunOnce(*model, options) : Chat(*model, options);
  return status ? 0 : Report(status.error());
}

}  // namespace

void AddRun(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Chat in the terminal, or answer one prompt");
  command->footer(
      "Without -p a conversation starts. With -p one answer is printed; the model's chat\n"
      "template is applied unless --raw.\n"
      "\n"
      "The same prompt, seed and sampling give the same text on every integer backend, for any\n"
      "number of threads. Speculation (the cpu backend's default) drafts tokens by finding the\n"
      "last words earlier in the prompt or the answer, and keeps those that would have been drawn\n"
      "anyway: answers that repeat their prompt come sooner, and the text stays the same.\n"
      "\n"
      "Examples:\n"
      "  etch run model.etch\n"
      "  etch run model.etch -p \"Once upon a time\" -n 100 --greedy --raw\n"
      "  etch run model.etch -p Hello --adapter clients/acme --adapter style.gguf=0.5");
  AddRunOptions(*command, options->model, true);
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "The prompt");
  command->add_option("--system", options->system, "System message of the chat template");
  command->add_option("-n,--max-tokens", options->max_tokens, "Longest answer in tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--greedy", options->greedy, "Always the most likely token");
  command->add_option("--temperature", options->sampling.temperature, "0: greedy")
      ->capture_default_str();
  command->add_option("--top-k", options->sampling.top_k, "Only the K most likely; 0: off")
      ->capture_default_str();
  command->add_option("--top-p", options->sampling.top_p, "Only the likeliest with this mass")
      ->capture_default_str();
  command
      ->add_option("--min-p", options->sampling.min_p, "Only what reaches this share of the best")
      ->capture_default_str();
  CLI::Option* seed =
      command->add_option("--seed", options->sampling.seed, "Default: from the clock");
  command->add_option("--stop", options->stop, "End the answer at this text; repeatable");
  CLI::Option* schema = command->add_option("--json-schema", options->json_schema,
                                            "Hold answers to the JSON Schema in this file");
  CLI::Option* rules = command->add_option("--grammar", options->grammar,
                                           "Hold answers to the GBNF grammar in this file");
  CLI::Option* regex =
      command->add_option("--regex", options->regex, "Hold answers to this regular expression");
  schema->excludes(rules)->excludes(regex);
  rules->excludes(regex);
  AddSpeculateOption(*command, options->speculation);
  command->add_flag("--raw", options->raw, "No template, no decoration: prompt and continuation");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, prompt, seed, exit_code] {
    options->has_prompt = prompt->count() > 0;
    options->has_seed = seed->count() > 0;
    *exit_code = Execute(*options);
  });
}

}  // namespace etch::cli
