#include "cli/tune/prepare.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/terminal.h"
#include "tune/data/dataset.h"
#include "tune/data/lint.h"
#include "tune/data/preview.h"
#include "tune/data/split.h"

namespace etch::cli {
namespace {

using tune::Dataset;
using tune::Finding;

Result<tune::TrainOn> ParseTrainOn(std::string_view name) {
  if (name == "completions" || name.empty()) {
    return tune::TrainOn::kCompletions;
  }
  if (name == "last") {
    return tune::TrainOn::kLast;
  }
  if (name == "all") {
    return tune::TrainOn::kAll;
  }
  return Fail(ErrorCode::kInvalidArgument, "--train-on {}: there are completions, last and all",
              name);
}

Result<tune::LongRows> ParseLongRows(std::string_view name) {
  if (name == "refuse") {
    return tune::LongRows::kRefuse;
  }
  if (name == "skip") {
    return tune::LongRows::kSkip;
  }
  if (name == "truncate") {
    return tune::LongRows::kTruncate;
  }
  return Fail(ErrorCode::kInvalidArgument, "--long-rows {}: there are refuse, skip and truncate",
              name);
}

// A number means a share of the rows, anything else a file.
std::optional<double> ShareOf(const std::string& text) {
  double share = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(share)
                                                                  : std::nullopt;
}

Result<tune::DatasetOptions> ReadingOptions(const TuneOptions& options) {
  tune::DatasetOptions reading;
  if (!options.schema.empty()) {
    reading.schema = tune::SchemaFromName(options.schema);
    if (!reading.schema) {
      return Fail(ErrorCode::kInvalidArgument,
                  "no schema \"{}\"; there are messages, sharegpt, alpaca, prompt-completion and "
                  "text",
                  options.schema);
    }
  }
  return reading;
}

void Append(std::vector<Finding> more, std::vector<Finding>& findings) {
  findings.insert(findings.end(), std::make_move_iterator(more.begin()),
                  std::make_move_iterator(more.end()));
}

void Append(tune::SampleSet more, tune::SampleSet& set) {
  set.samples.insert(set.samples.end(), std::make_move_iterator(more.samples.begin()),
                     std::make_move_iterator(more.samples.end()));
  Append(std::move(more.findings), set.findings);
  set.n_tokens += more.n_tokens;
  set.n_trained += more.n_trained;
  set.uses_plain_template = set.uses_plain_template || more.uses_plain_template;
}

void AddToHash(XXH3_state_t* state, const tune::SampleSet& set) {
  for (const tune::Sample& sample : set.samples) {
    const uint64_t length = sample.tokens.size();
    XXH3_64bits_update(state, &length, sizeof(length));
    XXH3_64bits_update(state, sample.tokens.data(),
                       sample.tokens.size() * sizeof(sample.tokens[0]));
    XXH3_64bits_update(state, sample.trained.data(), sample.trained.size());
  }
}

uint64_t FingerprintOf(const PreparedData& data) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  AddToHash(state.get(), data.train);
  AddToHash(state.get(), data.validation);
  return XXH3_64bits_digest(state.get());
}

}  // namespace

Result<std::vector<Dataset>> ReadData(const TuneOptions& options) {
  ETCH_ASSIGN_OR_RETURN(const tune::DatasetOptions reading, ReadingOptions(options));
  std::vector<Dataset> datasets;
  for (const std::string& path : options.data) {
    ETCH_ASSIGN_OR_RETURN(Dataset dataset, tune::ReadDataset(path, reading));
    datasets.push_back(std::move(dataset));
  }
  return datasets;
}

Result<PreparedData> PrepareData(const TuneOptions& options, const std::vector<Dataset>& datasets,
                                 const text::Tokenizer& tokenizer,
                                 const text::ChatTemplate* chat_template, int64_t context) {
  tune::SampleOptions sampling;
  sampling.context = context;
  ETCH_ASSIGN_OR_RETURN(sampling.train_on, ParseTrainOn(options.train_on));
  ETCH_ASSIGN_OR_RETURN(sampling.long_rows, ParseLongRows(options.long_rows));
  PreparedData data;
  const auto encode = [&](const Dataset& dataset, tune::SampleSet& set) -> Status {
    sampling.cut_text = dataset.schema == tune::Schema::kText;
    ETCH_ASSIGN_OR_RETURN(tune::SampleSet more,
                          tune::EncodeDataset(dataset, tokenizer, chat_template, sampling));
    Append(std::move(more), set);
    return {};
  };
  const std::optional<double> share = ShareOf(options.validation);
  const bool from_file = !options.validation.empty() && !share;
  std::optional<Dataset> held_out;
  if (from_file) {
    ETCH_ASSIGN_OR_RETURN(const tune::DatasetOptions reading, ReadingOptions(options));
    ETCH_ASSIGN_OR_RETURN(held_out, tune::ReadDataset(options.validation, reading));
    ETCH_TRY(encode(*held_out, data.validation));
  }
  for (const Dataset& dataset : datasets) {
    data.descriptions.push_back(tune::Describe(dataset));
    Append(tune::LintDataset(dataset, &tokenizer), data.findings);
    if (held_out) {
      Append(tune::LintOverlap(dataset, *held_out), data.findings);
      ETCH_TRY(encode(dataset, data.train));
      continue;
    }
    tune::SplitOptions splitting;
    splitting.validation = share;
    splitting.seed = options.trainer.seed;
    ETCH_ASSIGN_OR_RETURN(const tune::Split split, tune::SplitRows(dataset, splitting));
    ETCH_TRY(encode(tune::Select(dataset, split.train), data.train));
    if (!split.validation.empty()) {
      ETCH_TRY(encode(tune::Select(dataset, split.validation), data.validation));
    }
  }
  Append(data.train.findings, data.findings);
  Append(data.validation.findings, data.findings);
  tune::SortFindings(data.findings);
  data.fingerprint = FingerprintOf(data);
  return data;
}

Status DataErrors(const std::vector<Finding>& findings) {
  const auto errors = std::ranges::count_if(
      findings, [](const Finding& finding) { return finding.severity == tune::Severity::kError; });
  return Fail(ErrorCode::kInvalidArgument, "{}{}", tune::Describe(findings.front()),
              errors > 1 ? fmt::format(" ({} more)", errors - 1) : "");
}

namespace {

nlohmann::ordered_json DataAsJson(const TuneOptions& options, const PreparedData& data) {
  nlohmann::ordered_json findings = nlohmann::ordered_json::array();
  for (const Finding& finding : data.findings) {
    findings.push_back({{"severity", tune::SeverityName(finding.severity)},
                        {"code", finding.code},
                        {"count", finding.count},
                        {"lines", finding.lines},
                        {"message", finding.message}});
  }
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const tune::Sample& sample : data.train.samples) {
    if (std::ssize(rows) == options.preview) {
      break;
    }
    rows.push_back({{"line", sample.line}, {"tokens", sample.tokens}, {"trained", sample.trained}});
  }
  return {{"data", data.descriptions},
          {"samples", data.train.samples.size()},
          {"tokens", data.train.n_tokens},
          {"trained", data.train.n_trained},
          {"held_out", data.validation.samples.size()},
          {"findings", std::move(findings)},
          {"rows", std::move(rows)}};
}

}  // namespace

std::vector<std::pair<std::string, std::string>> DataTable(const PreparedData& data) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const std::string& description : data.descriptions) {
    rows.emplace_back("data", description);
  }
  rows.emplace_back("training", fmt::format("{} samples, {} tokens, {} of them trained",
                                            data.train.samples.size(), data.train.n_tokens,
                                            data.train.n_trained));
  rows.emplace_back("held out", fmt::format("{} samples", data.validation.samples.size()));
  return rows;
}

void PrintData(const TuneOptions& options, const PreparedData& data,
               const text::Tokenizer& tokenizer) {
  if (options.json) {
    PrintJson(DataAsJson(options, data));
    return;
  }
  for (const std::string& description : data.descriptions) {
    fmt::print("data         {}\n", description);
  }
  fmt::print("training     {} samples, {} tokens, {} of them trained\n", data.train.samples.size(),
             data.train.n_tokens, data.train.n_trained);
  fmt::print("held out     {} samples\n", data.validation.samples.size());
  for (const Finding& finding : data.findings) {
    fmt::print("{}\n", tune::Describe(finding));
  }
  tune::PreviewOptions preview;
  preview.color = ::isatty(STDOUT_FILENO) == 1;
  const auto rows =
      std::min<size_t>(static_cast<size_t>(options.preview), data.train.samples.size());
  for (size_t row = 0; row < rows; ++row) {
    fmt::print("\n{}", tune::Preview(tokenizer, data.train.samples[row], preview));
  }
}

}  // namespace etch::cli
