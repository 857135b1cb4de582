#pragma once

// Text to token ids and back, for the two families of vocabularies that Llama models use. Immutable
// after Create; safe to use from any number of threads.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::text {

using model::TokenId;

struct EncodeOptions {
  bool add_special = true;  // put bos (eos) as the vocabulary says
  bool parse_special =
      false;  // "<|eot_id|>" in the text becomes its control token; off for untrusted text
  bool continues = false;  // the text goes on behind other text: no prefix space at its beginning
};

class Tokenizer {
 public:
  // kMalformed when the vocabulary contradicts itself: merges out of range, a broken pattern, no
  // byte fallback tokens.
  static Result<std::unique_ptr<Tokenizer>> Create(model::Vocabulary vocabulary);
  ~Tokenizer();

  // Any bytes are accepted; invalid UTF-8 goes through byte tokens or the unknown token. Linear in
  // the text's length up to a logarithm.
  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The bytes of one token as they appear in text. Control and unknown tokens give "" unless
  // `special`.
  std::string TokenBytes(TokenId token, bool special = false) const;
  // Whole sequence; drops the space that SentencePiece's dummy prefix added. May end inside a
  // character.
  std::string Decode(const std::vector<TokenId>& tokens, bool special = false) const;

  bool IsEndOfGeneration(TokenId token) const;
  // The id whose text is exactly `text` (special tokens included), or kNoToken.
  TokenId Find(std::string_view text) const;
  const model::Vocabulary& vocabulary() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns a stream of tokens into a stream of text that never splits a UTF-8 character: bytes of an
// unfinished character are held back until they are complete, or replaced by U+FFFD once they
// cannot become one.
class StreamDecoder {
 public:
  // `tokenizer` must outlive the decoder. `skip_prefix_space`: drop the first token's leading space
  // (SentencePiece).
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_prefix_space = false);

  // The text that became certain with this token; often empty.
  std::string Push(TokenId token);
  // The rest at the end of the stream; an unfinished character becomes U+FFFD.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool at_start_;
  std::string pending_;
};

}  // namespace etch::text
