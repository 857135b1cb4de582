#include "text/tokenizer.h"
#include "text/utf8.h"

namespace etch::text {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_prefix_space)
    : tokenizer_(&tokenizer),
      at_start_(skip_prefix_space && tokenizer.vocabulary().add_prefix_space &&
                tokenizer.vocabulary().kind == model::TokenizerKind::kSentencePiece) {}

std::string StreamDecoder::Push(TokenId token) {
  std::string bytes = tokenizer_->TokenBytes(token);
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    if (bytes.front() == ' ') {
      bytes.erase(0, 1);
    }
  }
  pending_ += bytes;
  std::string out;
  size_t position = 0;
  while (position < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(position);
    const Utf8Step step = NextUtf8(rest);
    if (step.state == Utf8State::kIncomplete) {
      break;
    }
    out += step.state == Utf8State::kValid ? rest.substr(0, step.size) : kReplacementCharacter;
    position += step.size;
  }
  pending_.erase(0, position);
  return out;
}

std::string StreamDecoder::Flush() {
  // What is pending is always one unfinished character.
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return unfinished ? std::string(kReplacementCharacter) : std::string();
}

}  // namespace etch::text
