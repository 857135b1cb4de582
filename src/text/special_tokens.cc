#include "text/special_tokens.h"

#include <algorithm>
#include <string>

#include "text/utf8.h"

namespace etch::text {

using model::kNoToken;
using model::TokenId;
using model::TokenType;

namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

}  // namespace

SpecialTokens::SpecialTokens(const model::Vocabulary& vocabulary)
    : vocabulary_(vocabulary), nodes_(1) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const model::Token& token = vocabulary.tokens[id];
    const bool is_control = token.type == TokenType::kControl;
    if (token.text.empty() || (!is_control && token.type != TokenType::kUserDefined)) {
      continue;
    }
    // The user writes a space where a SentencePiece vocabulary has "▁".
    const std::string text = vocabulary.kind == model::TokenizerKind::kSentencePiece
                                 ? ReplaceAll(token.text, kSpaceSymbol, " ")
                                 : token.text;
    Insert(text, static_cast<TokenId>(id), is_control);
  }
}

void SpecialTokens::Insert(std::string_view text, TokenId token, bool is_control) {
  uint32_t node = 0;
  for (const char letter : text) {
    const auto byte = static_cast<uint8_t>(letter);
    auto& children = nodes_[node].children;
    auto child = std::ranges::lower_bound(children, byte, {}, &std::pair<uint8_t, uint32_t>::first);
    if (child != children.end() && child->first == byte) {
      node = child->second;
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    children.insert(child, {byte, fresh});
    nodes_.emplace_back();
    node = fresh;
  }
  TokenId& slot = is_control ? nodes_[node].control : nodes_[node].user_defined;
  if (slot == kNoToken) {
    slot = token;
  }
}

SpecialTokens::Match SpecialTokens::LongestAt(std::string_view text, bool with_control) const {
  Match best;
  uint32_t node = 0;
  for (size_t size = 0; size < text.size();) {
    const auto& children = nodes_[node].children;
    const auto byte = static_cast<uint8_t>(text[size]);
    const auto child =
        std::ranges::lower_bound(children, byte, {}, &std::pair<uint8_t, uint32_t>::first);
    if (child == children.end() || child->first != byte) {
      break;
    }
    node = child->second;
    ++size;
    if (with_control && nodes_[node].control != kNoToken) {
      best = {nodes_[node].control, size};
    } else if (nodes_[node].user_defined != kNoToken) {
      best = {nodes_[node].user_defined, size};
    }
  }
  return best;
}

std::vector<SpecialTokens::Segment> SpecialTokens::Split(std::string_view text,
                                                         bool with_control) const {
  std::vector<Segment> segments;
  size_t begin = 0;  // of the plain text in hand
  const auto add_plain = [&](size_t end, bool strip) {
    std::string_view plain = text.substr(begin, end - begin);
    if (strip) {
      plain = plain.substr(0, plain.find_last_not_of(kWhiteSpace) + 1);
    }
    if (!plain.empty()) {
      segments.push_back({kNoToken, plain});
    }
  };
  for (size_t position = 0; position < text.size();) {
    const Match match = LongestAt(text.substr(position), with_control);
    if (match.token == kNoToken) {
      ++position;
      continue;
    }
    const model::Token& token = vocabulary_.tokens[static_cast<size_t>(match.token)];
    add_plain(position, token.lstrip);
    segments.push_back({match.token, text.substr(position, match.size)});
    position += match.size;
    if (token.rstrip) {
      position = std::min(text.find_first_not_of(kWhiteSpace, position), text.size());
    }
    begin = position;
  }
  add_plain(text.size(), false);
  return segments;
}

}  // namespace etch::text
