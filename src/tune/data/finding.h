#pragma once

// What the linter and the encoder have to say about a dataset.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace etch::tune {

enum class Severity {
  kError,    // training must not begin
  kWarning,  // likely a mistake in the data
  kNote,     // worth knowing
};

struct Finding {
  Severity severity = Severity::kNote;
  std::string code;            // "near-duplicate"; stable, for programs
  int64_t count = 0;           // rows
  std::vector<int64_t> lines;  // of the first kMaxFindingLines of them; empty when it is about all
  std::string message;         // a sentence without its lines
};

inline constexpr size_t kMaxFindingLines = 5;

// "error", "warning", "note".
std::string_view SeverityName(Severity severity);

// "warning: near-duplicate: 7 rows are nearly the same as another (lines 3, 9, 12, 20, 21 …)".
std::string Describe(const Finding& finding);

bool HasErrors(std::span<const Finding> findings);

// Errors first, then warnings; otherwise in the order they were found.
void SortFindings(std::vector<Finding>& findings);

// "1 row", "1,000 rows".
std::string Counted(int64_t count, std::string_view noun);

// Counts the rows of one finding.
class Tally {
 public:
  void Add(int64_t line);
  int64_t count() const { return count_; }
  // Adds the finding if a row was counted. `message` may hold "{}", which becomes "7 rows".
  void Report(Severity severity, std::string_view code, std::string_view message,
              std::vector<Finding>& findings) const;

 private:
  int64_t count_ = 0;
  std::vector<int64_t> lines_;
};

}  // namespace etch::tune
