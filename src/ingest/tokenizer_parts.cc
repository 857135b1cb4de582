#include "ingest/tokenizer_parts.h"

#include <algorithm>
#include <array>

namespace etch::ingest {
namespace {

// Turns end with these in Llama 3, ChatML (SmolLM, Qwen), Phi-3, Gemma and GPT-2's heirs.
constexpr std::array<std::string_view, 7> kTurnEnds = {
    "<|eot_id|>",      "<|eom_id|>",    "<|im_end|>",   "<|end|>",
    "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>"};

// GPT-2 (encoder.py, bytes_to_unicode): bytes that print stand for themselves, the others, in
// order, for the characters from U+0100 on.
std::array<int, 0x144> MakeByteOfCharacter() {
  std::array<int, 0x144> byte_of{};
  byte_of.fill(-1);
  size_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                        (byte >= 0xAE && byte <= 0xFF);
    byte_of[prints ? static_cast<size_t>(byte) : next++] = byte;
  }
  return byte_of;
}

}  // namespace

std::optional<std::string> FromByteAlphabet(std::string_view text) {
  static const std::array<int, 0x144> kByteOf = MakeByteOfCharacter();
  std::string bytes;
  for (size_t index = 0; index < text.size(); ++index) {
    size_t character = static_cast<uint8_t>(text[index]);
    if (character >= 0x80) {  // The alphabet lies in the first 0x144 characters: two bytes each.
      const bool is_pair = character >= 0xC2 && character <= 0xC5 && index + 1 < text.size() &&
                           (text[index + 1] & '\xC0') == '\x80';
      if (!is_pair) {
        return std::nullopt;
      }
      ++index;
      character = (character & 0x1F) << 6 | (static_cast<uint8_t>(text[index]) & 0x3F);
    }
    if (character >= kByteOf.size() || kByteOf[character] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(kByteOf[character]);
  }
  return bytes;
}

Result<model::Merge> MakeMerge(std::string_view left, std::string_view right, const TokenIds& ids) {
  model::Merge merge;
  const std::string joined = std::string(left).append(right);
  for (const auto& [text, id] :
       {std::pair(std::string(left), &merge.left), std::pair(std::string(right), &merge.right),
        std::pair(joined, &merge.result)}) {
    const auto found = ids.find(text);
    if (found == ids.end()) {
      return Fail(ErrorCode::kMalformed, "merge \"{} {}\": \"{}\" is no token", left, right, text);
    }
    *id = found->second;
  }
  return merge;
}

Result<model::Merge> ParseMerge(std::string_view line, const TokenIds& ids) {
  const size_t space = line.find(' ', 1);
  if (space == std::string_view::npos) {
    return Fail(ErrorCode::kMalformed, "merge \"{}\" is not two tokens with a space between", line);
  }
  return MakeMerge(line.substr(0, space), line.substr(space + 1), ids);
}

void CollectEndOfGeneration(model::Vocabulary& vocabulary) {
  std::vector<model::TokenId>& ends = vocabulary.end_of_generation;
  if (vocabulary.eos != model::kNoToken) {
    ends.push_back(vocabulary.eos);
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const model::Token& token = vocabulary.tokens[id];
    const bool is_special =
        token.type == model::TokenType::kControl || token.type == model::TokenType::kUserDefined;
    if (is_special && std::ranges::find(kTurnEnds, token.text) != kTurnEnds.end()) {
      ends.push_back(static_cast<model::TokenId>(id));
    }
  }
  std::ranges::sort(ends);
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

}  // namespace etch::ingest
