#include "text/merge_table.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "text/utf8.h"

namespace etch::text {

using model::TokenId;
using model::TokenType;

namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

bool IsMergeable(const model::Token& token) {
  return !token.text.empty() &&
         (token.type == TokenType::kNormal || token.type == TokenType::kUserDefined ||
          token.type == TokenType::kUnused);
}

bool HasSpaceInside(std::string_view text) {
  while (text.starts_with(kSpaceSymbol)) {
    text.remove_prefix(kSpaceSymbol.size());
  }
  return text.find(kSpaceSymbol) != std::string_view::npos;
}

}  // namespace

MergeTable::MergeTable(const model::Vocabulary& vocabulary)
    : by_text_(vocabulary.ranks_are_ids || vocabulary.order == model::MergeOrder::kScores) {
  texts_.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const model::Token& token = vocabulary.tokens[id];
    if (IsMergeable(token)) {
      texts_.try_emplace(token.text, Step{static_cast<uint32_t>(id), static_cast<TokenId>(id)});
      spaces_lead_ = spaces_lead_ && !HasSpaceInside(token.text);
    }
  }
  if (!vocabulary.ranks_are_ids && vocabulary.order == model::MergeOrder::kScores) {
    AddScores(vocabulary);
  }
  pairs_.reserve(vocabulary.merges.size());
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const model::Merge& merge = vocabulary.merges[rank];
    pairs_.try_emplace(PairKey(merge.left, merge.right),
                       Step{static_cast<uint32_t>(rank), merge.result});
  }
}

// Scores become ranks, so that one integer comparison orders all three kinds.
void MergeTable::AddScores(const model::Vocabulary& vocabulary) {
  std::vector<float> scores;
  scores.reserve(texts_.size());
  for (const auto& [text, step] : texts_) {
    scores.push_back(vocabulary.tokens[static_cast<size_t>(step.result)].score);
  }
  std::ranges::sort(scores, std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  for (auto& [text, step] : texts_) {
    const float score = vocabulary.tokens[static_cast<size_t>(step.result)].score;
    const auto found = std::ranges::lower_bound(scores, score, std::greater<>());
    step.priority = static_cast<uint32_t>(found - scores.begin());
  }
}

std::optional<MergeTable::Step> MergeTable::Find(TokenId left, TokenId right,
                                                 std::string_view joined) const {
  if (by_text_) {
    const auto found = texts_.find(joined);
    return found == texts_.end() ? std::nullopt : std::optional(found->second);
  }
  const auto found = pairs_.find(PairKey(left, right));
  return found == pairs_.end() ? std::nullopt : std::optional(found->second);
}

TokenId MergeTable::FindText(std::string_view text) const {
  const auto found = texts_.find(text);
  return found == texts_.end() ? model::kNoToken : found->second.result;
}

}  // namespace etch::text
