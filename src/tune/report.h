#pragma once

// The report of a run: one HTML file with everything inside of it.

#include <string>
#include <utility>
#include <vector>

#include "tune/run_log.h"

namespace etch::tune {

struct ExampleAnswers {
  std::string question;
  std::string right;
  std::string base;
  std::string adapter;
  bool adapter_is_exact = false;
};

struct ReportContent {
  std::string title;
  // Tables of names and values, each under a heading.
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::string>>>> tables;
  std::vector<std::string> findings;  // of the linter
  std::vector<ExampleAnswers> examples;
};

// The page, UTF-8; it loads nothing from anywhere.
std::string RenderReport(const ReportContent& content, const std::vector<StepReport>& steps,
                         const std::vector<ValidationReport>& validations);

}  // namespace etch::tune
