#include "text/output_text.h"

#include <algorithm>

namespace etch::text {
namespace {

// Length of the longest end of `text` that is a proper beginning of `stop`.
size_t PartialMatch(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) {
      return length;
    }
  }
  return 0;
}

}  // namespace

OutputText::OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop_strings,
                       bool after_text)
    : decoder_(tokenizer, !after_text), stop_strings_(std::move(stop_strings)) {
  std::erase(stop_strings_, "");
}

std::string OutputText::Push(TokenId token) {
  return stopped_ ? "" : Release(decoder_.Push(token), false);
}

std::string OutputText::Flush() { return stopped_ ? "" : Release(decoder_.Flush(), true); }

std::string OutputText::Release(std::string text, bool final) {
  held_ += text;
  size_t first = std::string::npos;
  size_t partial = 0;
  for (const std::string& stop : stop_strings_) {
    first = std::min(first, held_.find(stop));
    partial = std::max(partial, PartialMatch(held_, stop));
  }
  stopped_ = first != std::string::npos;
  const size_t keep = stopped_ ? first : final ? held_.size() : held_.size() - partial;
  std::string out = held_.substr(0, keep);
  held_.erase(0, keep);
  return out;
}

}  // namespace etch::text
