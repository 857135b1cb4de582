// etch tune IMAGE: prepare the data, say what the run takes, train, measure by the integer engine,
// write the adapter and the report.

#include "cli/tune/adapter_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "adapter/adapter.h"
#include "base/file.h"
#include "cli/terminal.h"
#include "cli/tune/answer_tasks.h"
#include "cli/tune/estimate.h"
#include "cli/tune/prepare.h"
#include "cli/tune/training_run.h"
#include "engine/engine.h"
#include "eval/answers.h"
#include "export/adapter_export.h"
#include "tune/data/pack.h"
#include "tune/report.h"

namespace etch::cli {
namespace {

// Everything that a run is made of, in the order in which it comes to be.
struct Run {
  explicit Run(const TuneOptions& from) : options(from), pool(from.threads) {}

  TuneOptions options;
  std::unique_ptr<tune::Group> group;
  ThreadPool pool;
  std::unique_ptr<image::Image> image;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::optional<text::ChatTemplate> chat_template;
  PreparedData data;
  RunFiles files;
  std::vector<eval::AnswerTask> tasks;
  std::unique_ptr<engine::Engine> engine;  // of integers; made when it is first asked

  bool speaks() const { return group->is_first() && !options.json; }
};

Status ParseTargets(const std::string& text, tune::LoraSettings& lora) {
  using model::Role;
  if (text == "all") {
    lora.roles.assign(model::kBlockLinears.begin(), model::kBlockLinears.end());
    return {};
  }
  if (text == "attention") {
    lora.roles = {Role::kWq, Role::kWk, Role::kWv, Role::kWo};
    return {};
  }
  lora.roles.clear();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    const auto* found = std::ranges::find_if(model::kBlockLinears, [&](Role role) {
      return model::HuggingFaceModule(role).ends_with("." + name);
    });
    if (found == model::kBlockLinears.end()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "--targets {}: \"{}\" is no linear layer; there are all, attention, and any of "
                  "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
                  text, name);
    }
    lora.roles.push_back(*found);
    begin = end + 1;
  }
  return {};
}

Status Open(Run& run) {
  TuneOptions& options = run.options;
  ETCH_TRY(ParseTargets(options.targets, options.lora));
  ETCH_ASSIGN_OR_RETURN(options.trainer.optimizer.schedule, tune::ParseSchedule(options.schedule));
  ETCH_ASSIGN_OR_RETURN(run.group, tune::JoinGroup());
  // The data first: what is wrong with it shows before a large image is read.
  ETCH_ASSIGN_OR_RETURN(const std::vector<tune::Dataset> datasets, ReadData(options));
  ETCH_ASSIGN_OR_RETURN(image::Image image, image::Image::Open(options.image, options.threads));
  if (image.is_source()) {
    return Fail(ErrorCode::kUnsupported,
                "{}: holds original weights (--recipe source); adapters are trained on the base "
                "that serves them",
                options.image);
  }
  run.image = std::make_unique<image::Image>(std::move(image));
  ETCH_ASSIGN_OR_RETURN(run.tokenizer, text::Tokenizer::Create(run.image->vocabulary()));
  if (!run.image->vocabulary().chat_template.empty()) {
    ETCH_ASSIGN_OR_RETURN(run.chat_template,
                          text::ChatTemplate::Parse(run.image->vocabulary().chat_template));
  }
  const int64_t context = run.image->config().context;
  constexpr int64_t kDefaultLength = 2048;
  if (options.length > context) {
    return Fail(ErrorCode::kInvalidArgument, "--length {}: the model's context is {}",
                options.length, context);
  }
  if (options.length == 0) {
    options.length = std::min(context, kDefaultLength);
  }
  ETCH_ASSIGN_OR_RETURN(
      run.data, PrepareData(options, datasets, *run.tokenizer,
                            run.chat_template ? &*run.chat_template : nullptr, options.length));
  return {};
}

std::string FingerprintOf(const Run& run) {
  const tune::LoraSettings& lora = run.options.lora;
  std::string roles;
  for (const model::Role role : lora.roles) {
    roles += fmt::format(" {}", static_cast<int>(role));
  }
  return fmt::format("image {:016x} data {:016x} lora {} {} {} {} on{}", run.image->fingerprint(),
                     run.data.fingerprint, lora.rank, lora.alpha, lora.rank_stabilised,
                     lora.dropout, roles);
}

RunSize SizeOf(const Run& run, const tune::TrainedModel& model,
               const std::vector<tune::Sequence>& train) {
  RunSize size;
  int64_t longest = 0;
  int64_t tokens = 0;
  for (const tune::Sequence& sequence : train) {
    longest = std::max(longest, std::ssize(sequence.tokens));
    tokens += std::ssize(sequence.tokens);
  }
  const tune::TrainerSettings& settings = run.options.trainer;
  const int64_t step_tokens = tokens * settings.batch / std::ssize(train);
  size.parameters = model.parameters().size();
  size.pass_tokens = std::max(longest, std::min(settings.pass_tokens, step_tokens));
  size.pass_targets =
      size.pass_tokens * run.data.train.n_trained / std::max<int64_t>(1, run.data.train.n_tokens);
  size.passes_per_step = std::max<int64_t>(1, step_tokens / size.pass_tokens);
  size.image_bytes = static_cast<int64_t>(run.image->size_bytes());
  size.run_tokens = tune::PlannedSteps(settings, std::ssize(train)) * step_tokens;
  return size;
}

struct Measured {
  eval::AnswerScore base;
  eval::AnswerScore adapter;
};

Status OpenEngine(Run& run) {
  if (!run.engine) {
    engine::EngineOptions options;
    options.threads = run.options.threads;
    options.interrupted = Interrupted;
    ETCH_ASSIGN_OR_RETURN(run.engine, engine::Engine::Create(*run.image, options));
  }
  return {};
}

// What the adapter answers now to one of the held-out rows.
Status ShowAnswer(Run& run, const tune::TrainedModel& model, int64_t step, TrainingLine& line) {
  ETCH_TRY(OpenEngine(run));
  ETCH_ASSIGN_OR_RETURN(auto weights,
                        adapter::Lower(model.ToAdapter("sample"), run.image->config()));
  const eval::AnswerTask& task = run.tasks[static_cast<size_t>(step) % run.tasks.size()];
  ETCH_ASSIGN_OR_RETURN(const eval::AnswerScore score,
                        eval::ScoreAnswers({run.engine.get(), {{std::move(weights)}}},
                                           *run.tokenizer, {&task, 1}, {}));
  line.Show({step, eval::Trimmed(run.tokenizer->Decode(task.prompt)), score.answers[0].text});
  return {};
}

Result<Measured> Score(Run& run, const adapter::Adapter& adapter) {
  ETCH_TRY(OpenEngine(run));
  ETCH_ASSIGN_OR_RETURN(auto weights, adapter::Lower(adapter, run.image->config()));
  ProgressLine progress(!run.speaks());
  Measured measured;
  ETCH_ASSIGN_OR_RETURN(measured.base, eval::ScoreAnswers({run.engine.get(), {}}, *run.tokenizer,
                                                          run.tasks, progress.Callback()));
  ETCH_ASSIGN_OR_RETURN(measured.adapter,
                        eval::ScoreAnswers({run.engine.get(), {{std::move(weights)}}},
                                           *run.tokenizer, run.tasks, progress.Callback()));
  return measured;
}

std::string Percent(double share) { return fmt::format("{:.1f} %", 100.0 * share); }

std::vector<std::pair<std::string, std::string>> SettingsTable(const Run& run) {
  const TuneOptions& options = run.options;
  const tune::OptimizerSettings& optimizer = options.trainer.optimizer;
  return {
      {"base", fmt::format("{} ({})", run.image->name(),
                           std::filesystem::path(options.image).filename().string())},
      {"adapter",
       fmt::format("rank {}, alpha {}{}, dropout {}, on {}", options.lora.rank, options.lora.alpha,
                   options.lora.rank_stabilised ? " (rank-stabilised)" : "", options.lora.dropout,
                   options.targets)},
      {"learning rate",
       fmt::format("{}, {}, warm-up {}", optimizer.learning_rate,
                   tune::ScheduleName(optimizer.schedule), Percent(optimizer.warmup))},
      {"batch", fmt::format("{} rows of at most {} tokens", options.trainer.batch, options.length)},
      {"weight decay", fmt::format("{}", optimizer.weight_decay)},
      {"seed", fmt::format("{}", options.trainer.seed)},
      {"trained on", options.train_on.empty() ? "completions" : options.train_on}};
}

tune::ReportContent ContentOf(const Run& run, const tune::TrainerResult& result,
                              const Measured& measured, const std::string& name) {
  tune::ReportContent content;
  content.title = fmt::format("{}: an adapter on {}", name, run.image->name());
  content.tables.emplace_back("Data", DataTable(run.data));
  content.tables.emplace_back("Settings", SettingsTable(run));
  std::vector<std::pair<std::string, std::string>> results = {
      {"steps", fmt::format("{} of {}{}", result.steps, result.planned_steps,
                            result.stopped_early ? ", stopped early" : "")},
      {"training loss", fmt::format("{:.4f}", result.train_loss)}};
  if (result.best_step > 0) {
    results.emplace_back("validation loss",
                         fmt::format("{:.4f} at step {}, whose weights these are",
                                     result.validation_loss, result.best_step));
  }
  if (!run.tasks.empty()) {
    results.emplace_back(
        "exact answers, base",
        fmt::format("{} ({} of {}), {:.3f} nats a token", Percent(measured.base.exact_share()),
                    measured.base.exact(), run.tasks.size(), measured.base.nll()));
    results.emplace_back(
        "exact answers, adapter",
        fmt::format("{} ({} of {}), {:.3f} nats a token", Percent(measured.adapter.exact_share()),
                    measured.adapter.exact(), run.tasks.size(), measured.adapter.nll()));
    results.emplace_back("measured by", "the integer engine that serves the adapter, greedily");
  }
  content.tables.emplace_back("Results", std::move(results));
  for (const tune::Finding& finding : run.data.findings) {
    content.findings.push_back(tune::Describe(finding));
  }
  constexpr size_t kExamples = 24;
  for (size_t index = 0; index < std::min(kExamples, run.tasks.size()); ++index) {
    const eval::AnswerTask& task = run.tasks[index];
    content.examples.push_back(
        {eval::Trimmed(run.tokenizer->Decode(task.prompt)),
         eval::Trimmed(run.tokenizer->Decode(task.answer)), measured.base.answers[index].text,
         measured.adapter.answers[index].text, measured.adapter.answers[index].is_exact});
  }
  return content;
}

exporting::CardInfo CardOf(const Run& run, const tune::ReportContent& content) {
  exporting::CardInfo card;
  const auto list = [&](size_t table) {
    std::string text;
    for (const auto& [name, value] : content.tables[table].second) {
      text += fmt::format("- {}: {}\n", name, value);
    }
    return text;
  };
  card.data = list(0);
  card.training = list(1);
  card.evaluation = list(2);
  if (run.data.train.uses_plain_template) {
    card.chat_template = tune::kPlainChatTemplate;
  }
  card.image_file = std::filesystem::path(run.options.image).filename().string();
  return card;
}

void PrintStart(const Run& run, const tune::TrainedModel& model, const Estimate& estimate,
                int64_t steps) {
  PrintData(run.options, run.data, *run.tokenizer);
  fmt::print("adapter      rank {} on {}, {} parameters\n", run.options.lora.rank,
             run.options.targets, HumanCount(static_cast<double>(model.parameters().size())));
  fmt::print("rows         {} a step, at most {} tokens in a pass\n", run.options.trainer.batch,
             run.options.trainer.pass_tokens);
  fmt::print("memory       about {}{}\n", HumanBytes(static_cast<double>(estimate.bytes)),
             estimate.recompute ? ", activations computed twice" : "");
  fmt::print("time         about {}, {} steps\n", HumanSeconds(estimate.seconds), steps);
}

Status Finish(Run& run, const tune::TrainedModel& model, const Training& training) {
  const std::filesystem::path out = run.options.out;
  const tune::TrainerResult& result = training.result;
  const std::string name = ResultName(out);
  const adapter::Adapter adapter = model.ToAdapter(name);
  ETCH_ASSIGN_OR_RETURN(const Measured measured, Score(run, adapter));
  const tune::ReportContent content = ContentOf(run, result, measured, name);
  const std::string page = tune::RenderReport(content, training.steps, training.validations);
  ETCH_TRY(WriteFileAtomically(run.files.report(), AsBytes(page)));
  ETCH_ASSIGN_OR_RETURN(
      const exporting::AdapterReport exported,
      exporting::WriteAdapterBundle(adapter, *run.image, CardOf(run, content), out));
  if (run.options.json) {
    nlohmann::ordered_json json = {
        {"steps", result.steps},         {"train_loss", result.train_loss},
        {"validation_loss", nullptr},    {"score_base", nullptr},
        {"score_adapter", nullptr},      {"nll_base", nullptr},
        {"nll_adapter", nullptr},        {"held_out", run.tasks.size()},
        {"best_step", result.best_step}, {"stopped_early", result.stopped_early},
        {"adapter", out.string()},       {"report", run.files.report().string()}};
    if (result.best_step > 0) {
      json["validation_loss"] = result.validation_loss;
    }
    if (!run.tasks.empty()) {
      json["score_base"] = measured.base.exact_share();
      json["score_adapter"] = measured.adapter.exact_share();
      json["nll_base"] = measured.base.nll();
      json["nll_adapter"] = measured.adapter.nll();
    }
    PrintJson(json);
    return {};
  }
  for (const auto& [key, value] : content.tables.back().second) {
    fmt::print("{:<24} {}\n", key, value);
  }
  for (const std::string& note : exported.notes) {
    fmt::print("note: {}\n", note);
  }
  fmt::print("adapter      {}\nreport       {}\n", out.string(), run.files.report().string());
  return {};
}

Status Tune(Run& run) {
  ETCH_TRY(Open(run));
  TuneOptions& options = run.options;
  if (options.check_only || tune::HasErrors(run.data.findings)) {
    if (run.group->is_first() && (options.check_only || !options.json)) {
      PrintData(options, run.data, *run.tokenizer);
    }
    if (tune::HasErrors(run.data.findings)) {
      return DataErrors(run.data.findings);
    }
    return {};
  }
  // A pass takes as many rows as fit, end to end and unseen by each other, without padding: there
  // is nothing to gain from packing them beforehand.
  std::vector<tune::Sequence> train = tune::UnpackedSequences(run.data.train.samples);
  std::vector<tune::Sequence> held_out = tune::UnpackedSequences(run.data.validation.samples);
  ETCH_ASSIGN_OR_RETURN(
      tune::TrainedModel model,
      tune::TrainedModel::OverImage(*run.image, options.lora, options.trainer.seed));
  ETCH_ASSIGN_OR_RETURN(
      const Estimate estimate,
      EstimateRun(model.config(), SizeOf(run, model, train), options.recompute, run.pool));
  options.trainer.recompute = estimate.recompute;
  ETCH_ASSIGN_OR_RETURN(run.files, OpenRunFolder(options.out, options.resume, options.restart));
  run.tasks = AnswerTasks(run.data.validation, options.score_rows);
  if (run.speaks()) {
    PrintStart(run, model, estimate, tune::PlannedSteps(options.trainer, std::ssize(train)));
  }
  tune::Trainer trainer(model, run.pool, *run.group, options.trainer, std::move(train),
                        std::move(held_out), run.files.folder, FingerprintOf(run));
  ETCH_ASSIGN_OR_RETURN(
      const Training training,
      RunTraining(trainer, *run.group, run.files, options, [&](int64_t step, TrainingLine& line) {
        // A sample is for the eye: the run goes on without it.
        if (!run.tasks.empty()) {
          (void)ShowAnswer(run, model, step, line);
        }
      }));
  return run.group->is_first() ? Finish(run, model, training) : Status();
}

}  // namespace

Status TuneAdapter(const TuneOptions& options) {
  Run run(options);
  const Status status = Tune(run);
  if (!status && run.group) {
    AbandonGroup(*run.group, status.error());
  }
  return status;
}

}  // namespace etch::cli
