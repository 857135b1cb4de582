#pragma once

// Tokens that are found in text as they are, before the algorithm of the vocabulary runs: control
// tokens ("<|eot_id|>") and user-defined ones.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "model/vocabulary.h"

namespace etch::text {

// Immutable after construction.
class SpecialTokens {
 public:
  explicit SpecialTokens(const model::Vocabulary& vocabulary);

  // A stretch of plain text (token kNoToken), or one token.
  struct Segment {
    model::TokenId token = model::kNoToken;
    std::string_view text;
  };
  // Cuts `text` at its special tokens: the leftmost first, of those the longest. Control tokens are
  // seen only with `with_control`. Plain segments are not empty. White space that a token takes
  // with it (lstrip, rstrip) is in no segment.
  std::vector<Segment> Split(std::string_view text, bool with_control) const;

 private:
  // A trie over bytes; children are sorted by byte.
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> children;
    model::TokenId control = model::kNoToken;
    model::TokenId user_defined = model::kNoToken;
  };
  struct Match {
    model::TokenId token = model::kNoToken;
    size_t size = 0;
  };

  void Insert(std::string_view text, model::TokenId token, bool is_control);
  Match LongestAt(std::string_view text, bool with_control) const;

  const model::Vocabulary& vocabulary_;
  std::vector<Node> nodes_;
};

}  // namespace etch::text
