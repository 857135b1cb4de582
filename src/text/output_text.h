#pragma once

// From tokens to the text a user sees: streaming decoding plus stop strings. Text that could be the
// beginning of a stop string is held back until it is certain.

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace etch::text {

class OutputText {
 public:
  // `tokenizer` must outlive this. `after_text`: the answer continues a text, so a leading space is
  // kept.
  OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop_strings, bool after_text);

  // The text that became certain; nothing after a stop string was met.
  std::string Push(TokenId token);
  // What was held back, at the end of the stream (nothing when stopped).
  std::string Flush();
  // True once a stop string was met. It and all behind it are not part of the text.
  bool stopped() const { return stopped_; }

 private:
  std::string Release(std::string text, bool final);

  StreamDecoder decoder_;
  std::vector<std::string> stop_strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace etch::text
