#pragma once

// What the keys of a row mean.

#include <set>
#include <string>
#include <string_view>

#include "tune/data/rows.h"

namespace etch::tune::internal {

// Turns rows of one schema into examples. The first row decides which schema that is, unless the
// options do; each row after it has to fit.
class RowReader {
 public:
  // Both outlive the reader.
  RowReader(std::string_view name, const DatasetOptions& options)
      : name_(name), options_(options) {}

  // kInvalidArgument, with the keys that were found and the schemas that exist, when `row` fits
  // none or not the one in use.
  Result<Example> Read(int64_t line, const Json& row);

  // Valid after a row.
  Schema schema() const { return schema_; }
  const std::string& columns() const { return columns_; }
  const std::set<std::string>& ignored_keys() const { return ignored_keys_; }

 private:
  class Row;

  Status Detect(const Row& row);
  Result<Example> Convert(Row& row);
  Status ReadMessages(Row& row, Example& example);
  Status ReadAlpaca(Row& row, Example& example);
  Status ReadPromptCompletion(Row& row, Example& example);
  Status ReadHistory(Row& row, Example& example);
  void NoteColumns(const Row& row);

  std::string_view name_;
  const DatasetOptions& options_;
  bool is_known_ = false;
  Schema schema_ = Schema::kText;
  std::string columns_;
  std::set<std::string> ignored_keys_;
};

}  // namespace etch::tune::internal
