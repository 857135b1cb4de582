#include "tune/data/normalize.h"

#include <algorithm>

namespace etch::tune {
namespace {

constexpr std::string_view kPunctuation = ".,;:!?'\"";

bool IsSpace(char letter) { return letter == ' ' || (letter >= '\t' && letter <= '\r'); }

// Bytes of other than ASCII characters count as letters.
bool IsWord(char letter) {
  return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
         (letter >= 'A' && letter <= 'Z') || static_cast<uint8_t>(letter) >= 0x80;
}

// The index of the last answer, or the number of messages.
size_t LastAnswer(const Example& example) {
  const auto found =
      std::find_if(example.messages.rbegin(), example.messages.rend(),
                   [](const text::ChatMessage& message) { return message.role == "assistant"; });
  return found == example.messages.rend()
             ? example.messages.size()
             : static_cast<size_t>(example.messages.rend() - found) - 1;
}

}  // namespace

std::string Normalize(std::string_view text) {
  std::string normal;
  for (size_t at = 0; at < text.size(); ++at) {
    const char letter = text[at];
    if (IsSpace(letter)) {
      if (!normal.empty() && normal.back() != ' ') {
        normal += ' ';
      }
      continue;
    }
    const bool is_inside =
        at > 0 && at + 1 < text.size() && IsWord(text[at - 1]) && IsWord(text[at + 1]);
    if (kPunctuation.find(letter) == std::string_view::npos || is_inside) {
      normal += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    }
  }
  if (!normal.empty() && normal.back() == ' ') {
    normal.pop_back();
  }
  return normal;
}

std::string NormalizedPrompt(const Example& example) {
  if (example.messages.empty()) {
    return Normalize(example.text);
  }
  std::string prompt;
  for (size_t index = 0; index < LastAnswer(example); ++index) {
    const text::ChatMessage& message = example.messages[index];
    prompt += message.role + "\n" + Normalize(message.content) + "\n";
  }
  return prompt;
}

std::string NormalizedAnswer(const Example& example) {
  const size_t answer = LastAnswer(example);
  return answer < example.messages.size() ? Normalize(example.messages[answer].content) : "";
}

}  // namespace etch::tune
