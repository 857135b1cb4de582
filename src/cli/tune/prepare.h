#pragma once

// Data of a run, from files to samples: read, looked over, split, encoded.

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/tune/tune_options.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "tune/data/encode.h"
#include "tune/data/finding.h"

namespace etch::cli {

struct PreparedData {
  std::vector<std::string> descriptions;  // one a file
  std::vector<tune::Finding> findings;
  tune::SampleSet train;
  tune::SampleSet validation;  // empty: nothing is held out
  // Names what was read and how, for checkpoints.
  uint64_t fingerprint = 0;
};

// The files as conversations, without a tokenizer: of several files one behind the other.
Result<std::vector<tune::Dataset>> ReadData(const TuneOptions& options);

// kInvalidArgument when something was found with which training must not begin; what, is in the
// message.
Result<PreparedData> PrepareData(const TuneOptions& options,
                                 const std::vector<tune::Dataset>& datasets,
                                 const text::Tokenizer& tokenizer,
                                 const text::ChatTemplate* chat_template, int64_t context);

// The error of data that nothing should be trained on; names the first.
Status DataErrors(const std::vector<tune::Finding>& findings);

// Rows of a report: what was trained on and held out.
std::vector<std::pair<std::string, std::string>> DataTable(const PreparedData& data);

// What was read and found and, if asked for, rows token by token; to standard output, with --json
// as one object.
void PrintData(const TuneOptions& options, const PreparedData& data,
               const text::Tokenizer& tokenizer);

}  // namespace etch::cli
