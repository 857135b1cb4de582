#pragma once

// Which two neighbouring symbols of a piece may become one, and in which order.

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "model/vocabulary.h"

namespace etch::text {

// Three kinds of vocabularies under one question. Pairs with a rank of their own (tokenizer.json,
// GGUF "gpt2") are found by the two tokens; where ranks are ids (tiktoken) or follow from scores
// (SentencePiece) by the text that they make. Views the vocabulary's texts. Immutable.
class MergeTable {
 public:
  // `vocabulary` was checked and outlives the table.
  explicit MergeTable(const model::Vocabulary& vocabulary);

  struct Step {
    uint32_t priority = 0;  // the lowest merges first
    model::TokenId result = model::kNoToken;
  };
  // `joined` is the text of `left` and `right` together. A side can be kNoToken when by_text().
  std::optional<Step> Find(model::TokenId left, model::TokenId right,
                           std::string_view joined) const;

  // The token that plain text `text` is as a whole, or kNoToken: never a control, unknown or byte
  // token.
  model::TokenId FindText(std::string_view text) const;

  bool by_text() const { return by_text_; }
  // True when no token has a "▁" behind another character: then no merge crosses from the end of a
  // word into the next space.
  bool spaces_lead() const { return spaces_lead_; }

 private:
  void AddScores(const model::Vocabulary& vocabulary);

  bool by_text_ = false;
  bool spaces_lead_ = true;
  std::unordered_map<std::string_view, Step> texts_;
  std::unordered_map<uint64_t, Step> pairs_;  // key: left << 32 | right
};

}  // namespace etch::text
