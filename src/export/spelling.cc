#include "export/spelling.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <unordered_map>

namespace etch::exporting {

using model::Merge;
using model::TokenId;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;

namespace {

using IdsByText = std::unordered_map<std::string_view, TokenId>;

// GPT-2 (encoder.py, bytes_to_unicode): bytes that print stand for themselves, the others, in
// order, for the characters from U+0100 on.
std::array<uint16_t, 256> MakeAlphabet() {
  std::array<uint16_t, 256> characters{};
  uint16_t next = 0x100;
  for (size_t byte = 0; byte < characters.size(); ++byte) {
    const bool prints =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    characters[byte] = prints ? static_cast<uint16_t>(byte) : next++;
  }
  return characters;
}

// What text/merge_table.h merges.
bool IsMergeable(const model::Token& token) {
  return !token.text.empty() &&
         (token.type == TokenType::kNormal || token.type == TokenType::kUserDefined ||
          token.type == TokenType::kUnused);
}

bool ContinuesCharacter(char byte) { return (byte & '\xC0') == '\x80'; }

// The ways to cut `token` into two tokens of `ids`.
void AddCuts(const Vocabulary& vocabulary, TokenId result, const IdsByText& ids,
             std::vector<Merge>& merges) {
  const std::string_view text = vocabulary.tokens[static_cast<size_t>(result)].text;
  const bool by_character = vocabulary.kind == TokenizerKind::kSentencePiece;
  for (size_t cut = 1; cut < text.size(); ++cut) {
    if (by_character && ContinuesCharacter(text[cut])) {
      continue;
    }
    const auto left = ids.find(text.substr(0, cut));
    const auto right = ids.find(text.substr(cut));
    if (left != ids.end() && right != ids.end()) {
      merges.push_back({left->second, right->second, result});
    }
  }
}

}  // namespace

std::string ToByteAlphabet(std::string_view bytes) {
  static const std::array<uint16_t, 256> kCharacters = MakeAlphabet();
  std::string text;
  for (const char byte : bytes) {
    const uint16_t character = kCharacters[static_cast<uint8_t>(byte)];
    if (character < 0x80) {
      text += static_cast<char>(character);
    } else {
      text += static_cast<char>(0xC0 | character >> 6);
      text += static_cast<char>(0x80 | (character & 0x3F));
    }
  }
  return text;
}

std::string SpelledToken(const Vocabulary& vocabulary, TokenId id) {
  const model::Token& token = vocabulary.tokens[static_cast<size_t>(id)];
  const bool in_alphabet =
      vocabulary.kind == TokenizerKind::kByteLevelBpe && token.type == TokenType::kNormal;
  return in_alphabet ? ToByteAlphabet(token.text) : token.text;
}

std::vector<Merge> MergesOf(const Vocabulary& vocabulary) {
  const bool by_score = vocabulary.order == model::MergeOrder::kScores;
  if (!vocabulary.ranks_are_ids && !by_score) {
    return vocabulary.merges;
  }
  IdsByText ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (IsMergeable(vocabulary.tokens[id])) {
      ids.try_emplace(vocabulary.tokens[id].text, static_cast<TokenId>(id));
    }
  }
  std::vector<Merge> merges;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const auto found = ids.find(vocabulary.tokens[id].text);
    if (found != ids.end() && found->second == static_cast<TokenId>(id)) {
      AddCuts(vocabulary, found->second, ids, merges);
    }
  }
  const auto score = [&](const Merge& merge) {
    return by_score && !vocabulary.ranks_are_ids
               ? -vocabulary.tokens[static_cast<size_t>(merge.result)].score
               : 0.0F;
  };
  std::ranges::stable_sort(merges, [&](const Merge& left, const Merge& right) {
    return std::tuple(score(left), left.result, left.left, left.right) <
           std::tuple(score(right), right.result, right.left, right.right);
  });
  return merges;
}

Result<std::vector<std::string>> SpelledMerges(const Vocabulary& vocabulary) {
  std::vector<std::string> spelled;
  std::unordered_map<std::string_view, TokenId> ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    spelled.push_back(SpelledToken(vocabulary, static_cast<TokenId>(id)));
  }
  for (size_t id = 0; id < spelled.size(); ++id) {
    ids.try_emplace(spelled[id], static_cast<TokenId>(id));
  }
  const auto reads_as = [&](std::string_view text, TokenId id) {
    const auto found = ids.find(text);
    return found != ids.end() && found->second == id;
  };
  std::vector<std::string> lines;
  for (const Merge& merge : MergesOf(vocabulary)) {
    const std::string& left = spelled[static_cast<size_t>(merge.left)];
    const std::string& right = spelled[static_cast<size_t>(merge.right)];
    const bool is_plain = !left.empty() && left.find(' ') == std::string::npos && !right.empty();
    if (!is_plain || !reads_as(left, merge.left) || !reads_as(right, merge.right) ||
        !reads_as(left + right, merge.result)) {
      return Fail(
          ErrorCode::kUnsupported,
          "the merge of tokens {} and {} into {} cannot be written as two texts (\"{}\" and "
          "\"{}\")",
          merge.left, merge.right, merge.result, left, right);
    }
    lines.push_back(left + " " + right);
  }
  return lines;
}

}  // namespace etch::exporting
