#pragma once

// A tokenizer as data: what ingest reads from tokenizer.json, tokenizer.model, GGUF or
// tokenizer.bin, what the image stores, and what text/ turns into a Tokenizer.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etch::model {

using TokenId = int32_t;
inline constexpr TokenId kNoToken = -1;
inline constexpr TokenId kMaxTokenId = INT32_MAX;

// Stored in images; never renumber.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // special: never made from plain text, printed only on request
  kUserDefined = 4,  // matched in plain text before the algorithm runs, printed
  kUnused = 5,
  kByte = 6,  // "<0x0A>": one raw byte
};

enum class TokenizerKind : uint8_t {
  kByteLevelBpe =
      1,  // GPT-2, Llama 3, SmolLM: regex pieces, then merges over bytes (tokens hold raw bytes)
  kSentencePiece =
      2,  // Llama 2, Mistral, stories260K: greedy merges by score, "▁" for space, byte fallback
};

// How a SentencePiece vocabulary finds the next pair to merge.
enum class MergeOrder : uint8_t {
  kScores = 1,  // highest score first: SentencePiece BPE, llama2.c
  kRanks = 2,   // `merges` in order: tokenizer.json
};

struct Token {
  std::string text;  // raw bytes for kByteLevelBpe (the GPT-2 byte alphabet is undone on reading);
                     // UTF-8 with "▁" (U+2581) for kSentencePiece
  float score = 0.0F;
  TokenType type = TokenType::kNormal;
  // How an added token takes white space with it (tokenizer.json `lstrip`, `rstrip`).
  bool lstrip = false;
  bool rstrip = false;
};

struct Merge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
};

struct Vocabulary {
  TokenizerKind kind = TokenizerKind::kByteLevelBpe;
  MergeOrder order = MergeOrder::kRanks;
  std::vector<Token> tokens;   // by id; a vocabulary may be shorter than the model's vocab_size
  std::vector<Merge> merges;   // by rank; empty when ranks are the token ids themselves (tiktoken)
                               // or order is kScores
  bool ranks_are_ids = false;  // tiktoken: the pair that makes the lowest id merges first
  bool ignore_merges = false;  // Llama 3: a piece that is a token as a whole is not merged

  // Regular expressions (PCRE2, UTF and UCP on) that cut text into pieces; applied one after the
  // other, each to the pieces of the one before. Empty: the text is one piece.
  std::vector<std::string> split_patterns;
  bool split_digits = false;  // each digit is a piece of its own (Digits, individual_digits)

  bool add_prefix_space = false;  // SentencePiece add_dummy_prefix; byte-level add_prefix_space
  bool prefix_space_first_only = true;     // not again after every special token
  bool prefix_space_unless_space = false;  // not to text that begins with a space (Metaspace)
  bool remove_extra_spaces = false;
  bool byte_fallback = false;

  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId unknown = kNoToken;
  TokenId padding = kNoToken;
  // Every id that ends an answer: eos, <|eot_id|>, <|im_end|> …; sorted.
  std::vector<TokenId> end_of_generation;
  bool add_bos = false;  // Encode(…, add_special) puts bos first
  bool add_eos = false;

  std::string chat_template;  // Jinja; empty when the model has none
};

}  // namespace etch::model
