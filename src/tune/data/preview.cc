#include "tune/data/preview.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"
#include "tune/data/finding.h"

namespace etch::tune {
namespace {

constexpr std::string_view kGreen = "\x1B[32m";
constexpr std::string_view kDim = "\x1B[2m";
constexpr std::string_view kPlain = "\x1B[0m";
constexpr std::string_view kBorder = "·";

// U+0080 … U+009F, by which terminals are steered as by ESC.
bool IsSecondControl(std::string_view character) {
  return character.size() == 2 && character[0] == '\xC2' &&
         static_cast<uint8_t>(character[1]) < 0xA0;
}

std::string Escaped(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const text::Utf8Step step = text::NextUtf8(bytes);
    const std::string_view character = bytes.substr(0, step.size);
    const auto first = static_cast<uint8_t>(bytes[0]);
    if (bytes[0] == '\n') {
      out += "\\n\n";
    } else if (bytes[0] == '\t') {
      out += "\\t";
    } else if (step.state != text::Utf8State::kValid || first < 0x20 || first == 0x7F ||
               IsSecondControl(character)) {
      for (const char byte : character) {
        out += fmt::format("\\x{:02X}", static_cast<uint8_t>(byte));
      }
    } else {
      out += character;
    }
    bytes.remove_prefix(step.size);
  }
  return out;
}

}  // namespace

std::string Preview(const text::Tokenizer& tokenizer, const Sample& sample,
                    const PreviewOptions& options) {
  const int64_t n_tokens = std::ssize(sample.tokens);
  std::string out = fmt::format("line {}: {}, {} trained\n", sample.line,
                                Counted(n_tokens, "token"), std::ranges::count(sample.trained, 1));
  const auto shown = static_cast<size_t>(std::clamp<int64_t>(options.max_tokens, 0, n_tokens));
  bool was_trained = false;
  for (size_t index = 0; index < shown; ++index) {
    const bool is_trained = sample.trained[index] != 0;
    if (index > 0) {
      out += was_trained && !is_trained && !options.color ? "⟧" : "";
      out += out.ends_with('\n') ? "" : kBorder;
    }
    if (options.color && (index == 0 || is_trained != was_trained)) {
      out += kPlain;
      out += is_trained ? kGreen : kDim;
    } else if (is_trained && !was_trained) {
      out += "⟦";
    }
    const TokenId token = sample.tokens[index];
    std::string text = Escaped(tokenizer.TokenBytes(token, true));
    if (options.ids) {
      const bool breaks = text.ends_with('\n');
      if (breaks) {
        text.pop_back();
      }
      text += fmt::format("({}){}", token, breaks ? "\n" : "");
    }
    out += text;
    was_trained = is_trained;
  }
  out += options.color ? kPlain : was_trained ? "⟧" : "";
  if (static_cast<int64_t>(shown) < n_tokens) {
    out += fmt::format(" … {} more", Counted(n_tokens - static_cast<int64_t>(shown), "token"));
  }
  out += out.ends_with('\n') ? "" : "\n";
  return out;
}

}  // namespace etch::tune
