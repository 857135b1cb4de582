#include "ingest/tokenizer_tiktoken.h"

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <unordered_set>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {

using model::TokenId;
using model::Vocabulary;

namespace {

constexpr size_t kSpecialTokens = 256;

int Base64Digit(char letter) {
  if (letter >= 'A' && letter <= 'Z') {
    return letter - 'A';
  }
  if (letter >= 'a' && letter <= 'z') {
    return letter - 'a' + 26;
  }
  if (letter >= '0' && letter <= '9') {
    return letter - '0' + 52;
  }
  if (letter == '+') {
    return 62;
  }
  return letter == '/' ? 63 : -1;
}

// RFC 4648 section 4, padded; empty when it is not.
std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) {
    return std::nullopt;
  }
  size_t n_padding = 0;
  while (n_padding < 2 && text[text.size() - 1 - n_padding] == '=') {
    ++n_padding;
  }
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char letter : text.substr(0, text.size() - n_padding)) {
    const int digit = Base64Digit(letter);
    if (digit < 0) {
      return std::nullopt;
    }
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xFFFFFF;
    n_bits += 6;
    if (n_bits >= 8) {
      n_bits -= 8;
      bytes += static_cast<char>(bits >> n_bits & 0xFF);
    }
  }
  return bytes;
}

struct RankLine {
  std::string token;
  uint64_t rank = 0;
};

std::optional<RankLine> ParseLine(std::string_view line) {
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) {
    return std::nullopt;
  }
  RankLine parsed;
  const std::string_view digits = line.substr(space + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), parsed.rank);
  std::optional<std::string> token = DecodeBase64(line.substr(0, space));
  if (error != std::errc() || end != digits.data() + digits.size() || !token) {
    return std::nullopt;
  }
  parsed.token = *std::move(token);
  return parsed;
}

// Names of Llama 3.1 and later; Llama 3.0 calls three of them reserved.
std::string SpecialTokenName(size_t index) {
  constexpr std::array<std::string_view, 11> kNames = {"<|begin_of_text|>",
                                                       "<|end_of_text|>",
                                                       "",
                                                       "",
                                                       "<|finetune_right_pad_id|>",
                                                       "",
                                                       "<|start_header_id|>",
                                                       "<|end_header_id|>",
                                                       "<|eom_id|>",
                                                       "<|eot_id|>",
                                                       "<|python_tag|>"};
  if (index < kNames.size() && !kNames[index].empty()) {
    return std::string(kNames[index]);
  }
  // Of the reserved ones, 0 and 1 stand at 2 and 3, 2 at 5, the others from 11 on.
  const size_t number = index < 4 ? index - 2 : (index == 5 ? 2 : index - 8);
  return fmt::format("<|reserved_special_token_{}|>", number);
}

Status ReadRanks(std::string_view text, Vocabulary& vocabulary) {
  std::unordered_set<std::string> seen;
  std::array<bool, 256> has_byte{};
  int64_t line_number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.empty()) {
      continue;
    }
    std::optional<RankLine> parsed = ParseLine(line);
    if (!parsed) {
      return Fail(ErrorCode::kMalformed, "line {} is no \"base64 rank\"", line_number);
    }
    if (parsed->rank != vocabulary.tokens.size()) {
      return Fail(ErrorCode::kMalformed, "line {} has rank {} where {} is due", line_number,
                  parsed->rank, vocabulary.tokens.size());
    }
    if (!seen.insert(parsed->token).second) {
      return Fail(ErrorCode::kMalformed, "line {} has a token that an earlier line has",
                  line_number);
    }
    if (parsed->token.size() == 1) {
      has_byte[static_cast<uint8_t>(parsed->token[0])] = true;
    }
    vocabulary.tokens.push_back({.text = std::move(parsed->token)});
  }
  for (size_t byte = 0; byte < has_byte.size(); ++byte) {
    if (!has_byte[byte]) {
      return Fail(ErrorCode::kMalformed, "no token is the single byte 0x{:02X}", byte);
    }
  }
  return {};
}

}  // namespace

bool LooksLikeTiktoken(std::string_view bytes) {
  return ParseLine(bytes.substr(0, bytes.find('\n'))).has_value();
}

Result<Vocabulary> ReadTiktoken(std::string_view text) {
  Vocabulary vocabulary;
  vocabulary.kind = model::TokenizerKind::kByteLevelBpe;
  vocabulary.order = model::MergeOrder::kRanks;
  vocabulary.ranks_are_ids = true;
  vocabulary.ignore_merges = true;
  vocabulary.split_patterns = {std::string(kLlama3Pattern)};
  ETCH_TRY(ReadRanks(text, vocabulary));
  const auto first_special = static_cast<TokenId>(vocabulary.tokens.size());
  for (size_t index = 0; index < kSpecialTokens; ++index) {
    vocabulary.tokens.push_back(
        {.text = SpecialTokenName(index), .type = model::TokenType::kControl});
  }
  vocabulary.bos = first_special;
  vocabulary.eos = first_special + 1;
  vocabulary.padding = first_special + 4;
  vocabulary.add_bos = true;
  CollectEndOfGeneration(vocabulary);
  return vocabulary;
}

}  // namespace etch::ingest
