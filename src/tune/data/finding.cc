#include "tune/data/finding.h"

#include <fmt/format.h>

#include <algorithm>

namespace etch::tune {

std::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kNote:
      break;
  }
  return "note";
}

std::string Describe(const Finding& finding) {
  std::string lines;
  for (const int64_t line : finding.lines) {
    lines += fmt::format("{}{}", lines.empty() ? "" : ", ", line);
  }
  const bool more = finding.count > static_cast<int64_t>(finding.lines.size());
  return fmt::format("{}: {}: {}{}", SeverityName(finding.severity), finding.code, finding.message,
                     lines.empty()
                         ? ""
                         : fmt::format(" ({} {}{})", finding.count == 1 ? "line" : "lines", lines,
                                       more ? " …" : ""));
}

bool HasErrors(std::span<const Finding> findings) {
  return std::ranges::any_of(
      findings, [](const Finding& finding) { return finding.severity == Severity::kError; });
}

void SortFindings(std::vector<Finding>& findings) {
  std::ranges::stable_sort(findings, {}, &Finding::severity);
}

std::string Counted(int64_t count, std::string_view noun) {
  const std::string digits = std::to_string(count);
  std::string grouped;
  for (size_t index = 0; index < digits.size(); ++index) {
    grouped += index > 0 && (digits.size() - index) % 3 == 0 ? "," : "";
    grouped += digits[index];
  }
  return fmt::format("{} {}{}", grouped, noun, count == 1 ? "" : "s");
}

void Tally::Add(int64_t line) {
  ++count_;
  if (lines_.size() < kMaxFindingLines) {
    lines_.push_back(line);
  }
}

void Tally::Report(Severity severity, std::string_view code, std::string_view message,
                   std::vector<Finding>& findings) const {
  if (count_ == 0) {
    return;
  }
  const size_t at = std::min(message.find("{}"), message.size());
  std::string text(message.substr(0, at));
  if (at < message.size()) {
    text += Counted(count_, "row");
    text += message.substr(at + 2);
  }
  findings.push_back({severity, std::string(code), count_, lines_, std::move(text)});
}

}  // namespace etch::tune
