// A GGUF file holds one of two tokenizers under the same keys. "llama" is SentencePiece: tokens
// with "▁" and scores. "gpt2" is byte-level BPE: tokens in GPT-2's alphabet and merges; which
// pattern cuts the text is not in the file, only its name (`pre`), so the patterns are a table
// here. The rules that the file does not spell out (bos in front, the dummy space after special
// tokens) are those of llama.cpp, whose format this is; its published vectors are the test.

#include "ingest/tokenizer_gguf.h"

#include <array>
#include <cmath>
#include <string_view>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {

using model::kNoToken;
using model::TokenId;
using model::TokenType;
using model::Vocabulary;

namespace {

Status SetPatterns(std::string_view name, Vocabulary& vocabulary) {
  if (name.empty() || name == "default") {
    vocabulary.split_patterns.assign(model::kDefaultPatterns.begin(),
                                     model::kDefaultPatterns.end());
    return {};
  }
  for (const model::PreTokenizer& pre : model::kPreTokenizers) {
    if (pre.name == name) {
      vocabulary.split_patterns = {std::string(pre.pattern)};
      vocabulary.split_digits = pre.split_digits;
      vocabulary.add_bos = pre.add_bos;
      vocabulary.ignore_merges = pre.ignore_merges;
      return {};
    }
  }
  return Fail(ErrorCode::kUnsupported,
              "tokenizer.ggml.pre is \"{}\", whose pattern is not known; compile from the model's "
              "safetensors directory, where tokenizer.json has it",
              name);
}

// An absent key and the maximum of u32, which some converters write, mean none.
Status SetId(std::string_view key, const std::optional<int64_t>& id, const Vocabulary& vocabulary,
             TokenId& out) {
  if (!id || *id == -1 || *id == UINT32_MAX) {
    return {};
  }
  if (*id < 0 || *id >= static_cast<int64_t>(vocabulary.tokens.size())) {
    return Fail(ErrorCode::kMalformed, "tokenizer.ggml.{} is {}, but there are {} tokens", key, *id,
                vocabulary.tokens.size());
  }
  out = static_cast<TokenId>(*id);
  return {};
}

// Tokens with types and scores; the texts as they are in the file.
Status SetTokens(GgufTokenizer& tokenizer, Vocabulary& vocabulary) {
  const size_t size = tokenizer.tokens.size();
  if (size == 0) {
    return Fail(ErrorCode::kMalformed, "tokenizer.ggml.tokens is empty");
  }
  if ((!tokenizer.types.empty() && tokenizer.types.size() != size) ||
      (!tokenizer.scores.empty() && tokenizer.scores.size() != size)) {
    return Fail(ErrorCode::kMalformed, "tokenizer: {} tokens, but {} types and {} scores", size,
                tokenizer.types.size(), tokenizer.scores.size());
  }
  vocabulary.tokens.resize(size);
  for (size_t id = 0; id < size; ++id) {
    model::Token& token = vocabulary.tokens[id];
    token.text = std::move(tokenizer.tokens[id]);
    if (!tokenizer.types.empty()) {
      const int32_t type = tokenizer.types[id];
      if (type < 0 || type > static_cast<int32_t>(TokenType::kByte)) {
        return Fail(ErrorCode::kMalformed, "tokenizer.ggml.token_type of token {} is {}", id, type);
      }
      // 0 is llama.cpp's "undefined".
      token.type = type == 0 ? TokenType::kUnused : static_cast<TokenType>(type);
    }
    if (!tokenizer.scores.empty()) {
      token.score = tokenizer.scores[id];
      if (std::isnan(token.score)) {
        return Fail(ErrorCode::kMalformed, "tokenizer.ggml.scores of token {} is not a number", id);
      }
    }
  }
  return {};
}

Status FillSentencePiece(const GgufTokenizer& tokenizer, Vocabulary& vocabulary) {
  if (tokenizer.scores.empty()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.ggml.scores is missing");
  }
  vocabulary.kind = model::TokenizerKind::kSentencePiece;
  vocabulary.order = model::MergeOrder::kScores;
  vocabulary.add_bos = true;
  vocabulary.add_prefix_space = tokenizer.add_space_prefix.value_or(true);
  vocabulary.prefix_space_first_only = false;
  vocabulary.remove_extra_spaces = tokenizer.remove_extra_whitespaces.value_or(false);
  int64_t n_bytes = 0;
  for (const model::Token& token : vocabulary.tokens) {
    n_bytes += token.type == TokenType::kByte ? 1 : 0;
  }
  vocabulary.byte_fallback = n_bytes >= 256;
  return {};
}

Status FillByteLevel(const GgufTokenizer& tokenizer, Vocabulary& vocabulary) {
  vocabulary.kind = model::TokenizerKind::kByteLevelBpe;
  vocabulary.order = model::MergeOrder::kRanks;
  vocabulary.add_prefix_space = tokenizer.add_space_prefix.value_or(false);
  vocabulary.prefix_space_unless_space = true;
  ETCH_TRY(SetPatterns(tokenizer.pre, vocabulary));
  TokenIds ids;
  ids.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    ids.try_emplace(vocabulary.tokens[id].text, static_cast<TokenId>(id));
  }
  vocabulary.merges.reserve(tokenizer.merges.size());
  for (const std::string& line : tokenizer.merges) {
    ETCH_ASSIGN_OR_RETURN(const model::Merge merge, ParseMerge(line, ids));
    vocabulary.merges.push_back(merge);
  }
  for (model::Token& token : vocabulary.tokens) {
    if (token.type == TokenType::kNormal) {
      token.text = FromByteAlphabet(token.text).value_or(token.text);
    }
  }
  return {};
}

}  // namespace

Result<Vocabulary> VocabularyFromGguf(GgufTokenizer tokenizer) {
  Vocabulary vocabulary;
  ETCH_TRY(SetTokens(tokenizer, vocabulary));
  if (tokenizer.model == "llama") {
    ETCH_TRY(FillSentencePiece(tokenizer, vocabulary));
  } else if (tokenizer.model == "gpt2") {
    ETCH_TRY(FillByteLevel(tokenizer, vocabulary));
  } else {
    return Fail(ErrorCode::kUnsupported,
                "tokenizer.ggml.model is \"{}\"; Etch reads \"llama\" and \"gpt2\"",
                tokenizer.model);
  }
  ETCH_TRY(SetId("bos_token_id", tokenizer.bos, vocabulary, vocabulary.bos));
  ETCH_TRY(SetId("eos_token_id", tokenizer.eos, vocabulary, vocabulary.eos));
  ETCH_TRY(SetId("unknown_token_id", tokenizer.unk, vocabulary, vocabulary.unknown));
  ETCH_TRY(SetId("padding_token_id", tokenizer.pad, vocabulary, vocabulary.padding));
  TokenId end_of_turn = kNoToken;
  ETCH_TRY(SetId("eot_token_id", tokenizer.eot, vocabulary, end_of_turn));
  if (end_of_turn != kNoToken) {
    vocabulary.end_of_generation.push_back(end_of_turn);
  }
  vocabulary.add_bos = tokenizer.add_bos.value_or(vocabulary.add_bos) && vocabulary.bos != kNoToken;
  vocabulary.add_eos = tokenizer.add_eos.value_or(vocabulary.add_eos) && vocabulary.eos != kNoToken;
  CollectEndOfGeneration(vocabulary);
  vocabulary.chat_template = std::move(tokenizer.chat_template);
  return vocabulary;
}

}  // namespace etch::ingest
