#include "tune/data/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "text/utf8.h"
#include "tune/data/normalize.h"

namespace etch::tune {
namespace {

constexpr int64_t kFewRows = 20;
constexpr size_t kMaxShownNames = 5;
constexpr size_t kMaxPlaceholderBytes = 40;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

bool IsOutOfOrder(const std::vector<text::ChatMessage>& messages) {
  std::string_view before = "system";
  for (size_t index = 0; index < messages.size(); ++index) {
    const std::string_view role = messages[index].role;
    const bool is_answer = role == "assistant";
    if ((role == "system" && index > 0) || (is_answer && before == "system") ||
        ((is_answer || role == "user") && before == role)) {
      return true;
    }
    before = role;
  }
  return false;
}

// Calls `visit` for each text of the example until it returns true; whether it did.
template <class Visit>
bool AnyText(const Example& example, const Visit& visit) {
  return example.messages.empty() ? visit(std::string_view(example.text))
                                  : std::ranges::any_of(example.messages, [&](const auto& message) {
                                      return visit(std::string_view(message.content));
                                    });
}

// "name" of each {{name}}: a word, with spaces, dots and the like.
void FindPlaceholders(std::string_view text, std::set<std::string>& names) {
  for (size_t open = text.find("{{"); open != std::string_view::npos;
       open = text.find("{{", open + 2)) {
    const size_t close = text.find("}}", open + 2);
    if (close == std::string_view::npos) {
      return;
    }
    const std::string_view inside = text.substr(open + 2, close - open - 2);
    const auto is_of_name = [](char letter) {
      return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
             (letter >= '0' && letter <= '9') || letter == '_' || letter == ' ' || letter == '.' ||
             letter == '-';
    };
    if (!IsBlank(inside) && inside.size() <= kMaxPlaceholderBytes &&
        std::ranges::all_of(inside, is_of_name)) {
      names.insert(std::string(inside));
    }
  }
}

// Texts of control tokens, found in any text. A token of one letter would be found everywhere.
class ControlTexts {
 public:
  explicit ControlTexts(const text::Tokenizer* tokenizer) {
    if (tokenizer == nullptr) {
      return;
    }
    for (const model::Token& token : tokenizer->vocabulary().tokens) {
      if (token.type == model::TokenType::kControl && token.text.size() > 1) {
        texts_.push_back(token.text);
        may_begin_[static_cast<uint8_t>(token.text[0])] = true;
      }
    }
  }

  // Adds those in `text` to `found`.
  void FindIn(std::string_view text, std::set<std::string>& found) const {
    for (size_t at = 0; at < text.size(); ++at) {
      if (!may_begin_[static_cast<uint8_t>(text[at])]) {
        continue;
      }
      for (const std::string& control : texts_) {
        if (text.substr(at).starts_with(control)) {
          found.insert(control);
        }
      }
    }
  }

 private:
  std::vector<std::string> texts_;
  std::array<bool, 256> may_begin_{};
};

bool HasBrokenCharacters(std::string_view text) {
  constexpr std::string_view kEuroTrace = "\xC3\xA2\xE2\x82\xAC";  // "â€", of quotes and dashes
  if (text.find(text::kReplacementCharacter) != std::string_view::npos ||
      text.find(kEuroTrace) != std::string_view::npos) {
    return true;
  }
  // "Ã" or "Â" and a character of U+0080 … U+00BF: two bytes of one character, each read as one.
  for (size_t at = text.find('\xC3'); at != std::string_view::npos;
       at = text.find('\xC3', at + 1)) {
    const std::string_view rest = text.substr(at + 1);
    if (rest.size() >= 2 && (rest[0] == '\x83' || rest[0] == '\x82') && rest[1] == '\xC2') {
      return true;
    }
  }
  return false;
}

std::string ExactText(const Example& example) {
  std::string text = example.text;
  for (const text::ChatMessage& message : example.messages) {
    text += message.role + '\0' + message.content + '\0';
  }
  return text;
}

std::string Quoted(const std::set<std::string>& names, std::string_view before,
                   std::string_view after) {
  std::string shown;
  size_t count = 0;
  for (const std::string& name : names) {
    if (count++ == kMaxShownNames) {
      return shown + " …";
    }
    shown += fmt::format("{}{}{}{}", shown.empty() ? "" : ", ", before, name, after);
  }
  return shown;
}

uint64_t Hash(std::string_view text) { return std::hash<std::string_view>()(text); }

// Rows like rows before them. Texts are compared by hash: memory stays small, and two of ten
// million rows share one by chance once in some hundred thousand datasets.
class Duplicates {
 public:
  void Add(const Example& example) {
    const uint64_t prompt = Hash(NormalizedPrompt(example));
    const uint64_t answer = Hash(NormalizedAnswer(example));
    const bool is_new = exact_.insert(Hash(ExactText(example))).second;
    const auto [first, is_new_prompt] = answers_.try_emplace(prompt);
    const bool is_new_answer = first->second.insert(answer).second;
    if (!is_new) {
      exact_duplicates_.Add(example.line);
    } else if (!is_new_answer) {
      near_duplicates_.Add(example.line);
    } else if (!is_new_prompt) {
      conflicts_.Add(example.line);
    }
  }

  void Report(std::vector<Finding>& findings) const {
    exact_duplicates_.Report(Severity::kWarning, "exact-duplicate", "{} the same as a row before",
                             findings);
    near_duplicates_.Report(Severity::kWarning, "near-duplicate",
                            "{} the same as a row before but for case, white space and punctuation",
                            findings);
    conflicts_.Report(Severity::kWarning, "conflicting-answers",
                      "{} with the prompt of a row before and another answer", findings);
  }

 private:
  std::unordered_set<uint64_t> exact_;
  std::unordered_map<uint64_t, std::unordered_set<uint64_t>> answers_;  // by prompt
  Tally exact_duplicates_;
  Tally near_duplicates_;
  Tally conflicts_;
};

void LintTurns(const Dataset& dataset, std::vector<Finding>& findings) {
  Tally empty, out_of_order, no_answer_last;
  for (const Example& example : dataset.examples) {
    if (AnyText(example, IsBlank)) {
      empty.Add(example.line);
    }
    if (IsOutOfOrder(example.messages)) {
      out_of_order.Add(example.line);
    }
    if (!example.messages.empty() && example.messages.back().role != "assistant") {
      no_answer_last.Add(example.line);
    }
  }
  empty.Report(Severity::kWarning, "empty-turn", "{} with an empty turn", findings);
  out_of_order.Report(Severity::kWarning, "roles-out-of-order",
                      "{} whose roles are out of order (two questions or answers in a row, an "
                      "answer first, or a system message inside)",
                      findings);
  no_answer_last.Report(Severity::kWarning, "ends-without-answer",
                        "{} whose last turn is not the assistant's: nothing is learned from it",
                        findings);
}

void LintContent(const Dataset& dataset, const text::Tokenizer* tokenizer,
                 std::vector<Finding>& findings) {
  const ControlTexts control_texts(tokenizer);
  Tally with_placeholder, with_control, broken;
  std::set<std::string> placeholders, controls;
  for (const Example& example : dataset.examples) {
    std::set<std::string> names, texts;
    const bool is_broken = AnyText(example, HasBrokenCharacters);
    (void)AnyText(example, [&](std::string_view text) {
      FindPlaceholders(text, names);
      control_texts.FindIn(text, texts);
      return false;
    });
    if (is_broken) {
      broken.Add(example.line);
    }
    if (!names.empty()) {
      with_placeholder.Add(example.line);
      placeholders.merge(names);
    }
    if (!texts.empty()) {
      with_control.Add(example.line);
      controls.merge(texts);
    }
  }
  with_placeholder.Report(Severity::kWarning, "placeholder",
                          "{} with placeholders, which the model learns as they stand; replace " +
                              Quoted(placeholders, "{{", "}}"),
                          findings);
  with_control.Report(
      Severity::kWarning, "control-token-text",
      "{} with the text of control tokens, which stays text: " + Quoted(controls, "\"", "\""),
      findings);
  broken.Report(Severity::kWarning, "broken-characters",
                "{} with characters that a wrong encoding has broken (U+FFFD, \"Ã©\", \"â€™\")",
                findings);
}

}  // namespace

std::vector<Finding> LintDataset(const Dataset& dataset, const text::Tokenizer* tokenizer) {
  std::vector<Finding> findings;
  LintTurns(dataset, findings);
  LintContent(dataset, tokenizer, findings);
  Duplicates duplicates;
  for (const Example& example : dataset.examples) {
    duplicates.Add(example);
  }
  duplicates.Report(findings);
  const int64_t rows = std::ssize(dataset.examples);
  if (dataset.format != FileFormat::kPlainText && rows < kFewRows) {
    findings.push_back({Severity::kWarning,
                        "too-few-rows",
                        rows,
                        {},
                        fmt::format("{}; fewer than {} rarely teach anything but themselves",
                                    Counted(rows, "row"), kFewRows)});
  }
  if (!dataset.ignored_keys.empty()) {
    const std::set<std::string> keys(dataset.ignored_keys.begin(), dataset.ignored_keys.end());
    findings.push_back({Severity::kNote,
                        "ignored-keys",
                        std::ssize(dataset.ignored_keys),
                        {},
                        "keys that are not read: " + Quoted(keys, "\"", "\"")});
  }
  SortFindings(findings);
  return findings;
}

std::vector<Finding> LintOverlap(const Dataset& train, const Dataset& validation) {
  std::unordered_set<uint64_t> prompts;
  for (const Example& example : train.examples) {
    prompts.insert(Hash(NormalizedPrompt(example)));
  }
  Tally overlap;
  for (const Example& example : validation.examples) {
    if (prompts.contains(Hash(NormalizedPrompt(example)))) {
      overlap.Add(example.line);
    }
  }
  std::vector<Finding> findings;
  overlap.Report(Severity::kWarning, "validation-overlap",
                 "{} of " + validation.name +
                     " with a prompt that is trained on: the validation "
                     "loss is better than it should be",
                 findings);
  return findings;
}

}  // namespace etch::tune
