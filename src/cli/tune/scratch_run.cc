// etch tune --from-scratch: learn a tokenizer, then all weights, and write a model directory that
// `etch compile` reads.

#include "cli/tune/scratch_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/terminal.h"
#include "cli/tune/estimate.h"
#include "cli/tune/prepare.h"
#include "cli/tune/scratch_config.h"
#include "cli/tune/training_run.h"
#include "export/huggingface_model.h"
#include "model/tensors.h"
#include "tune/data/pack.h"
#include "tune/report.h"

namespace etch::cli {
namespace {

std::vector<std::string> TextsOf(const std::vector<tune::Dataset>& datasets) {
  std::vector<std::string> texts;
  for (const tune::Dataset& dataset : datasets) {
    for (const tune::Example& example : dataset.examples) {
      if (!example.text.empty()) {
        texts.push_back(example.text);
      }
      for (const text::ChatMessage& message : example.messages) {
        texts.push_back(message.content);
      }
    }
  }
  return texts;
}

Status WriteModel(const tune::TrainedModel& model, const model::Vocabulary& vocabulary,
                  const std::string& out) {
  const auto read = [&](model::Role role, int64_t layer, std::span<float> values) -> Status {
    std::ranges::copy(model.parameters().Of(model.Trained(role, layer)), values.begin());
    return {};
  };
  return exporting::WriteHuggingFaceModel(model.config(), vocabulary, read, out,
                                          formats::DataType::kF16);
}

tune::ReportContent ContentOf(const PreparedData& data, const ScratchConfig& config,
                              const tune::TrainedModel& model, const tune::TrainerResult& result,
                              const std::string& name) {
  tune::ReportContent content;
  content.title = fmt::format("{}: a base from scratch", name);
  content.tables.emplace_back("Data", DataTable(data));
  content.tables.emplace_back(
      "Settings",
      std::vector<std::pair<std::string, std::string>>{
          {"parameters", HumanCount(static_cast<double>(model.parameters().size()))},
          {"shape",
           fmt::format("{} layers of {}, {} heads, vocabulary of {}", config.model.n_layers,
                       config.model.dim, config.model.n_heads, model.config().vocab_size)},
          {"learning rate", fmt::format("{}, {}", config.trainer.optimizer.learning_rate,
                                        tune::ScheduleName(config.trainer.optimizer.schedule))},
          {"batch", fmt::format("{} sequences of {} tokens", config.trainer.batch, config.length)},
          {"seed", fmt::format("{}", config.trainer.seed)}});
  content.tables.emplace_back(
      "Results", std::vector<std::pair<std::string, std::string>>{
                     {"steps", fmt::format("{} of {}", result.steps, result.planned_steps)},
                     {"training loss", fmt::format("{:.4f}", result.train_loss)},
                     {"validation loss",
                      fmt::format("{:.4f} at step {}", result.validation_loss, result.best_step)}});
  for (const tune::Finding& finding : data.findings) {
    content.findings.push_back(tune::Describe(finding));
  }
  return content;
}

RunSize SizeOf(const ScratchConfig& config, const tune::TrainerSettings& settings) {
  const int64_t step_tokens = settings.batch * config.length;
  RunSize size;
  size.parameters = model::ParameterCount(config.model);
  size.pass_tokens = std::max(std::min(settings.pass_tokens, step_tokens), config.length);
  size.pass_targets = size.pass_tokens;
  size.passes_per_step = std::max<int64_t>(1, step_tokens / size.pass_tokens);
  size.all_weights = true;
  size.run_tokens = settings.max_steps * step_tokens;
  return size;
}

// Everything of a shape that the trained values depend on.
std::string ShapeText(const model::Config& config) {
  return fmt::format("shape {} {} {} {} {} {} {} {} {} {}", config.n_layers, config.dim,
                     config.ffn_dim, config.n_heads, config.n_kv_heads, config.head_dim,
                     config.vocab_size, config.rope_theta, config.norm_eps, config.tied_embeddings);
}

Status Tune(TuneOptions options, tune::Group* group) {
  ETCH_ASSIGN_OR_RETURN(ScratchConfig config, ReadScratchConfig(options.from_scratch));
  const bool speaks = group->is_first() && !options.json;
  if (options.train_on.empty()) {
    options.train_on = config.train_on;
  }
  options.trainer.seed = config.trainer.seed;
  options.length = config.length;
  ETCH_ASSIGN_OR_RETURN(const std::vector<tune::Dataset> datasets, ReadData(options));
  model::Vocabulary vocabulary;
  {
    ProgressLine progress(!speaks);
    ETCH_ASSIGN_OR_RETURN(vocabulary,
                          tune::TrainBpe(TextsOf(datasets), config.tokenizer, progress.Callback()));
  }
  config.model.vocab_size = std::ssize(vocabulary.tokens);
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                        text::Tokenizer::Create(vocabulary));
  std::optional<text::ChatTemplate> chat_template;
  if (!vocabulary.chat_template.empty()) {
    ETCH_ASSIGN_OR_RETURN(chat_template, text::ChatTemplate::Parse(vocabulary.chat_template));
  }
  ETCH_ASSIGN_OR_RETURN(const PreparedData data,
                        PrepareData(options, datasets, *tokenizer,
                                    chat_template ? &*chat_template : nullptr, config.length));
  if (group->is_first() && (speaks || options.check_only)) {
    PrintData(options, data, *tokenizer);
  }
  if (tune::HasErrors(data.findings)) {
    return DataErrors(data.findings);
  }
  if (options.check_only) {
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(std::vector<tune::Sequence> train,
                        tune::PackSamples(data.train.samples, config.length, config.trainer.seed));
  ETCH_ASSIGN_OR_RETURN(
      std::vector<tune::Sequence> held_out,
      tune::PackSamples(data.validation.samples, config.length, config.trainer.seed));
  tune::TrainerSettings settings = config.trainer;
  settings.pass_tokens = options.trainer.pass_tokens;
  settings.validate_every = options.trainer.validate_every;
  settings.save_every = options.trainer.save_every;
  ThreadPool pool(options.threads);
  ETCH_ASSIGN_OR_RETURN(const Estimate estimate, EstimateRun(config.model, SizeOf(config, settings),
                                                             options.recompute, pool));
  settings.recompute = estimate.recompute;
  ETCH_ASSIGN_OR_RETURN(const RunFiles files,
                        OpenRunFolder(options.out, options.resume, options.restart));
  tune::TrainedModel model = tune::TrainedModel::FromScratch(config.model, config.trainer.seed);
  if (speaks) {
    fmt::print("base         {} parameters\n",
               HumanCount(static_cast<double>(model.parameters().size())));
    fmt::print("sequences    {} of at most {} tokens, {} a step\n", train.size(), config.length,
               settings.batch);
    fmt::print("memory       about {}\n", HumanBytes(static_cast<double>(estimate.bytes)));
    fmt::print("time         about {}, {} steps\n", HumanSeconds(estimate.seconds),
               settings.max_steps);
  }
  tune::Trainer trainer(
      model, pool, *group, settings, std::move(train), std::move(held_out), files.folder,
      fmt::format("scratch data {:016x} {}", data.fingerprint, ShapeText(model.config())));
  ETCH_ASSIGN_OR_RETURN(const Training training, RunTraining(trainer, *group, files, options));
  if (!group->is_first()) {
    return {};
  }
  const tune::TrainerResult& result = training.result;
  ETCH_TRY(WriteModel(model, vocabulary, options.out));
  const std::string page =
      tune::RenderReport(ContentOf(data, config, model, result, ResultName(options.out)),
                         training.steps, training.validations);
  ETCH_TRY(WriteFileAtomically(files.report(), AsBytes(page)));
  if (options.json) {
    const nlohmann::ordered_json json = {{"steps", result.steps},
                                         {"train_loss", result.train_loss},
                                         {"validation_loss", result.validation_loss},
                                         {"best_step", result.best_step},
                                         {"model", options.out},
                                         {"report", files.report().string()}};
    PrintJson(json);
    return {};
  }
  fmt::print("loss         {:.4f} in training, {:.4f} held out (step {})\n", result.train_loss,
             result.validation_loss, result.best_step);
  fmt::print("model        {}; etch compile {} -o NAME.etch\nreport       {}\n", options.out,
             options.out, files.report().string());
  return {};
}

}  // namespace

Status TuneFromScratch(const TuneOptions& options) {
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<tune::Group> group, tune::JoinGroup());
  const Status status = Tune(options, group.get());
  if (!status) {
    AbandonGroup(*group, status.error());
  }
  return status;
}

}  // namespace etch::cli
