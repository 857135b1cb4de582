#include "export/gguf_tokenizer.h"

// What the file does not say, llama.cpp decides (src/llama-vocab.cpp), and what it decides
// otherwise than the vocabulary is said in a note rather than passed over:
//
//   pattern        only a name (tokenizer.ggml.pre), so that patterns without a name get lost
//   space prefix   SentencePiece only, and again after every special token
//   no eos         means token 2 (SentencePiece) or 11 (byte-level)
//   ends           eos, eot and the tokens that it knows by text (<|im_end|> …); no list
//
// SentencePiece vocabularies that merge by rank (tokenizer.json) get scores: the negative rank of
// the first merge that makes a token, which is how those ranks came about.

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>

#include "export/spelling.h"
#include "ingest/tokenizer_parts.h"

namespace etch::exporting {

using model::kNoToken;
using model::TokenId;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;

namespace {

// Tokens that llama.cpp takes for the end of an answer because of their text.
constexpr std::array<std::string_view, 7> kKnownEnds = {
    "<|eot_id|>",      "<|im_end|>",    "<|end|>",   "<end_of_turn>",
    "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>"};

constexpr float kNeverMerged = -1e9F;

const model::PreTokenizer* FindPre(std::string_view name) {
  const auto* found = std::ranges::find(model::kPreTokenizers, name, &model::PreTokenizer::name);
  return found == model::kPreTokenizers.end() ? nullptr : found;
}

// Texts and types of all rows of the embedding.
struct Tokens {
  std::vector<std::string> texts;
  std::vector<int64_t> types;
};

Tokens SpelledTokens(const Vocabulary& vocabulary, int64_t vocab_size,
                     std::vector<std::string>& notes) {
  Tokens tokens;
  std::unordered_set<std::string> seen;
  int64_t doubled = 0;
  for (size_t id = 0; id < static_cast<size_t>(vocab_size); ++id) {
    std::string text;
    TokenType type = TokenType::kUnused;
    if (id < vocabulary.tokens.size()) {
      text = SpelledToken(vocabulary, static_cast<TokenId>(id));
      type = vocabulary.tokens[id].type;
    }
    if (type == TokenType::kUnused && (text.empty() || seen.contains(text))) {
      text = fmt::format("[PAD{}]", id);
    }
    doubled += seen.insert(text).second ? 0 : 1;
    tokens.texts.push_back(std::move(text));
    tokens.types.push_back(static_cast<int64_t>(type));
  }
  if (doubled > 0) {
    notes.push_back(fmt::format(
        "{} tokens have the text of another token; llama.cpp finds only one of each by text",
        doubled));
  }
  return tokens;
}

std::vector<double> Scores(const Vocabulary& vocabulary, int64_t vocab_size,
                           std::vector<std::string>& notes) {
  std::vector<double> scores(static_cast<size_t>(vocab_size), 0.0);
  if (vocabulary.order == model::MergeOrder::kScores) {
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      scores[id] = static_cast<double>(vocabulary.tokens[id].score);
    }
    return scores;
  }
  std::ranges::fill(scores, static_cast<double>(kNeverMerged));
  for (size_t rank = vocabulary.merges.size(); rank-- > 0;) {
    scores[static_cast<size_t>(vocabulary.merges[rank].result)] = -static_cast<double>(rank);
  }
  notes.emplace_back(
      "the ranks of merges became scores of tokens, which is all that GGUF has for SentencePiece");
  return scores;
}

Status AddByteLevel(const Vocabulary& vocabulary, formats::GgufMetadata& metadata,
                    std::vector<std::string>& notes) {
  metadata.Add("tokenizer.ggml.model", formats::GgufString("gpt2"));
  const std::string pre = PreTokenizerName(vocabulary);
  metadata.Add("tokenizer.ggml.pre", formats::GgufString(pre.empty() ? "default" : pre));
  if (pre.empty()) {
    notes.push_back(fmt::format(
        "llama.cpp has no name for the {} patterns by which this model cuts text; written as "
        "\"default\", with which some text becomes other tokens",
        vocabulary.split_patterns.size()));
  }
  const model::PreTokenizer* known = FindPre(pre);
  if (vocabulary.ignore_merges != (known != nullptr && known->ignore_merges)) {
    notes.push_back(fmt::format(
        "this model {} pieces that are whole tokens, llama.cpp's \"{}\" does not do so alike",
        vocabulary.ignore_merges ? "does not merge" : "merges", pre.empty() ? "default" : pre));
  }
  if (vocabulary.add_prefix_space) {
    notes.emplace_back("llama.cpp puts no space in front of the text of a byte-level tokenizer");
  }
  ETCH_ASSIGN_OR_RETURN(std::vector<std::string> merges, SpelledMerges(vocabulary));
  metadata.Add("tokenizer.ggml.merges", formats::GgufStrings(std::move(merges)));
  return {};
}

void AddSentencePiece(const Vocabulary& vocabulary, int64_t vocab_size,
                      formats::GgufMetadata& metadata, std::vector<std::string>& notes) {
  metadata.Add("tokenizer.ggml.model", formats::GgufString("llama"));
  metadata.Add("tokenizer.ggml.pre", formats::GgufString("default"));
  metadata.Add("tokenizer.ggml.scores",
               formats::GgufFloat32s(Scores(vocabulary, vocab_size, notes)));
  metadata.Add("tokenizer.ggml.remove_extra_whitespaces",
               formats::GgufBool(vocabulary.remove_extra_spaces));
  if (vocabulary.add_prefix_space && vocabulary.prefix_space_first_only) {
    notes.emplace_back(
        "llama.cpp puts the space in front of a text again after every special token");
  }
  if (vocabulary.add_prefix_space && vocabulary.prefix_space_unless_space) {
    notes.emplace_back("llama.cpp puts a space in front of a text even when it begins with one");
  }
  if (vocabulary.remove_extra_spaces) {
    notes.emplace_back("llama.cpp keeps spaces in a row, which this model's tokenizer joins");
  }
}

// The end of a turn beside eos: one that llama.cpp would not know by its text if there is any.
TokenId EndOfTurn(const Vocabulary& vocabulary, std::vector<std::string>& notes) {
  TokenId known = kNoToken;
  TokenId unknown = kNoToken;
  int64_t more = 0;
  for (const TokenId id : vocabulary.end_of_generation) {
    if (id == vocabulary.eos || id >= static_cast<TokenId>(vocabulary.tokens.size())) {
      continue;
    }
    const std::string& text = vocabulary.tokens[static_cast<size_t>(id)].text;
    const auto* place = std::ranges::find(kKnownEnds, text);
    if (place == kKnownEnds.end()) {
      more += unknown == kNoToken ? 0 : 1;
      unknown = unknown == kNoToken ? id : unknown;
    } else if (known == kNoToken ||
               place < std::ranges::find(kKnownEnds,
                                         vocabulary.tokens[static_cast<size_t>(known)].text)) {
      known = id;
    }
  }
  if (more > 0) {
    notes.push_back(
        fmt::format("{} of the tokens that end an answer are not known to llama.cpp, which takes "
                    "one beside eos",
                    more));
  }
  return unknown == kNoToken ? known : unknown;
}

void AddSpecial(const Vocabulary& vocabulary, formats::GgufMetadata& metadata,
                std::vector<std::string>& notes) {
  const auto add = [&metadata](const char* key, TokenId id) {
    if (id != kNoToken) {
      metadata.Add(key, formats::GgufUint32(static_cast<uint32_t>(id)));
    }
  };
  add("tokenizer.ggml.bos_token_id", vocabulary.bos);
  add("tokenizer.ggml.eos_token_id", vocabulary.eos);
  add("tokenizer.ggml.eot_token_id", EndOfTurn(vocabulary, notes));
  add("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
  add("tokenizer.ggml.padding_token_id", vocabulary.padding);
  metadata.Add("tokenizer.ggml.add_bos_token", formats::GgufBool(vocabulary.add_bos));
  metadata.Add("tokenizer.ggml.add_eos_token", formats::GgufBool(vocabulary.add_eos));
  metadata.Add("tokenizer.ggml.add_space_prefix", formats::GgufBool(vocabulary.add_prefix_space));
  if (vocabulary.eos == kNoToken) {
    notes.push_back(
        fmt::format("the model names no end of text; llama.cpp then takes token {} for it",
                    vocabulary.kind == TokenizerKind::kSentencePiece ? 2 : 11));
  }
  const bool strips = std::ranges::any_of(
      vocabulary.tokens, [](const model::Token& token) { return token.lstrip || token.rstrip; });
  if (strips) {
    notes.emplace_back(
        "some special tokens take the white space beside them with them; GGUF cannot say so");
  }
}

}  // namespace

std::string PreTokenizerName(const Vocabulary& vocabulary) {
  if (std::ranges::equal(vocabulary.split_patterns, model::kDefaultPatterns) &&
      !vocabulary.split_digits) {
    return "default";
  }
  if (vocabulary.split_patterns.size() != 1) {
    return "";
  }
  for (const model::PreTokenizer& pre : model::kPreTokenizers) {
    if (vocabulary.split_patterns.front() == pre.pattern &&
        vocabulary.split_digits == pre.split_digits) {
      return std::string(pre.name);
    }
  }
  return "";
}

Status AddTokenizer(const Vocabulary& vocabulary, int64_t vocab_size,
                    formats::GgufMetadata& metadata, std::vector<std::string>& notes) {
  if (vocabulary.kind == TokenizerKind::kByteLevelBpe) {
    ETCH_TRY(AddByteLevel(vocabulary, metadata, notes));
  } else {
    AddSentencePiece(vocabulary, vocab_size, metadata, notes);
  }
  Tokens tokens = SpelledTokens(vocabulary, vocab_size, notes);
  metadata.Add("tokenizer.ggml.tokens", formats::GgufStrings(std::move(tokens.texts)));
  metadata.Add("tokenizer.ggml.token_type", formats::GgufInt32s(std::move(tokens.types)));
  AddSpecial(vocabulary, metadata, notes);
  if (!vocabulary.chat_template.empty()) {
    metadata.Add("tokenizer.chat_template", formats::GgufString(vocabulary.chat_template));
  }
  return {};
}

}  // namespace etch::exporting
