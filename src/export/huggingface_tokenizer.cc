#include "export/huggingface_tokenizer.h"

// tokenizer.json is built from the parts that its readers know: for byte-level BPE Digits, Split
// and ByteLevel, for SentencePiece a normalizer that makes spaces "▁" (or Metaspace, which can
// leave the prefix out behind special tokens), for both a TemplateProcessing that puts bos and eos.
//
// What gets lost: scores (merges by rank take their place), the types of unused tokens, and joining
// of spaces.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "export/spelling.h"
#include "ingest/tokenizer_parts.h"

namespace etch::exporting {
namespace {

using model::kNoToken;
using model::TokenId;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;
using Json = nlohmann::ordered_json;

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

bool IsByteLevel(const Vocabulary& vocabulary) {
  return vocabulary.kind == TokenizerKind::kByteLevelBpe;
}

// The text; kUnsupported when it is no UTF-8.
Result<std::string> Dump(const Json& root, int indent) {
  try {
    return root.dump(indent, ' ', false, Json::error_handler_t::strict) + "\n";
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kUnsupported, "the tokenizer holds text that is no UTF-8: {}",
                error.what());
  }
}

bool IsAdded(const model::Token& token) {
  return token.type == TokenType::kControl || token.type == TokenType::kUserDefined ||
         token.type == TokenType::kUnknown;
}

// Spelled tokens by id; a hole is an empty text.
Result<std::vector<std::string>> SpelledTokens(const Vocabulary& vocabulary) {
  std::vector<std::string> spelled;
  std::unordered_map<std::string, size_t> ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    spelled.push_back(SpelledToken(vocabulary, static_cast<TokenId>(id)));
    const bool is_hole = spelled[id].empty() && vocabulary.tokens[id].type == TokenType::kUnused;
    if (is_hole) {
      continue;
    }
    if (spelled[id].empty()) {
      return Fail(ErrorCode::kUnsupported, "token {} has no text; tokenizer.json cannot hold it",
                  id);
    }
    const auto [other, is_new] = ids.try_emplace(spelled[id], id);
    if (!is_new) {
      return Fail(ErrorCode::kUnsupported,
                  "tokens {} and {} are both \"{}\"; tokenizer.json cannot hold two of one text",
                  other->second, id, spelled[id]);
    }
  }
  return spelled;
}

Json AddedTokens(const Vocabulary& vocabulary, const std::vector<std::string>& spelled) {
  Json added = Json::array();
  for (size_t id = 0; id < spelled.size(); ++id) {
    const model::Token& token = vocabulary.tokens[id];
    if (IsAdded(token)) {
      added.push_back({{"id", id},
                       {"content", spelled[id]},
                       {"single_word", false},
                       {"lstrip", token.lstrip},
                       {"rstrip", token.rstrip},
                       {"normalized", false},
                       {"special", token.type != TokenType::kUserDefined}});
    }
  }
  return added;
}

// One object, null, or a "Sequence" of several under `list_key`.
Json Sequence(Json parts, const char* list_key) {
  if (parts.empty()) {
    return nullptr;
  }
  if (parts.size() == 1) {
    return parts.front();
  }
  return {{"type", "Sequence"}, {list_key, std::move(parts)}};
}

Json Split(const std::string& pattern) {
  const bool is_literal = pattern.starts_with("\\Q") && pattern.ends_with("\\E");
  const Json what = is_literal ? Json{{"String", pattern.substr(2, pattern.size() - 4)}}
                               : Json{{"Regex", pattern}};
  return {{"type", "Split"}, {"pattern", what}, {"behavior", "Isolated"}, {"invert", false}};
}

Result<Json> ByteLevelPreTokenizer(const Vocabulary& vocabulary) {
  std::vector<std::string> patterns = vocabulary.split_patterns;
  const bool with_regex = !patterns.empty() && patterns.back() == ingest::kGpt2Pattern;
  if (with_regex) {
    patterns.pop_back();
  }
  Json parts = Json::array();
  if (vocabulary.split_digits) {
    parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
  }
  for (const std::string& pattern : patterns) {
    parts.push_back(Split(pattern));
  }
  if (vocabulary.add_prefix_space && !parts.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "a byte-level tokenizer that puts a space in front and cuts by other patterns than "
                "GPT-2's; tokenizer.json cannot say so");
  }
  parts.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", vocabulary.add_prefix_space},
                   {"trim_offsets", true},
                   {"use_regex", with_regex}});
  return Sequence(std::move(parts), "pretokenizers");
}

bool UsesMetaspace(const Vocabulary& vocabulary) {
  return vocabulary.add_prefix_space &&
         (vocabulary.prefix_space_first_only || vocabulary.prefix_space_unless_space);
}

Json SentencePieceNormalizer(const Vocabulary& vocabulary) {
  if (UsesMetaspace(vocabulary)) {
    return nullptr;
  }
  Json parts = Json::array();
  if (vocabulary.add_prefix_space) {
    parts.push_back({{"type", "Prepend"}, {"prepend", kSpaceSymbol}});
  }
  parts.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceSymbol}});
  return Sequence(std::move(parts), "normalizers");
}

Json SentencePiecePreTokenizer(const Vocabulary& vocabulary) {
  if (!UsesMetaspace(vocabulary)) {
    return nullptr;
  }
  return {{"type", "Metaspace"},
          {"replacement", kSpaceSymbol},
          {"prepend_scheme", vocabulary.prefix_space_first_only ? "first" : "always"},
          {"split", !vocabulary.split_patterns.empty()}};
}

Json Decoder(const Vocabulary& vocabulary) {
  if (IsByteLevel(vocabulary)) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}};
  }
  Json parts =
      Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpaceSymbol}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}});
  if (vocabulary.add_prefix_space) {
    parts.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", std::move(parts)}};
}

// What Encode puts around a text.
Json PostProcessor(const Vocabulary& vocabulary, const std::vector<std::string>& spelled) {
  Json parts = Json::array();
  if (IsByteLevel(vocabulary)) {
    parts.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", true},
                     {"trim_offsets", false},
                     {"use_regex", true}});
  }
  if (vocabulary.add_bos || vocabulary.add_eos) {
    Json specials = Json::object();
    const auto special = [&](TokenId id, int type_id) -> Json {
      const std::string& text = spelled[static_cast<size_t>(id)];
      specials[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
      return {{"SpecialToken", {{"id", text}, {"type_id", type_id}}}};
    };
    const auto around = [&](Json& list, const char* sequence, int type_id) {
      if (vocabulary.add_bos) {
        list.push_back(special(vocabulary.bos, type_id));
      }
      list.push_back({{"Sequence", {{"id", sequence}, {"type_id", type_id}}}});
      if (vocabulary.add_eos) {
        list.push_back(special(vocabulary.eos, type_id));
      }
    };
    Json single = Json::array();
    Json pair = Json::array();
    around(single, "A", 0);
    around(pair, "A", 0);
    around(pair, "B", 1);
    parts.push_back({{"type", "TemplateProcessing"},
                     {"single", std::move(single)},
                     {"pair", std::move(pair)},
                     {"special_tokens", std::move(specials)}});
  }
  return Sequence(std::move(parts), "processors");
}

Result<Json> ModelPart(const Vocabulary& vocabulary, const std::vector<std::string>& spelled) {
  ETCH_ASSIGN_OR_RETURN(std::vector<std::string> merges, SpelledMerges(vocabulary));
  Json vocab = Json::object();
  auto& members = vocab.get_ref<Json::object_t&>();
  for (size_t id = 0; id < spelled.size(); ++id) {
    const bool is_added_only = IsByteLevel(vocabulary) && IsAdded(vocabulary.tokens[id]);
    if (!spelled[id].empty() && !is_added_only) {
      // Texts are known to differ; the object's own look-up would walk all members.
      members.Container::emplace_back(spelled[id], id);
    }
  }
  Json unknown = nullptr;
  if (vocabulary.unknown != kNoToken) {
    unknown = spelled[static_cast<size_t>(vocabulary.unknown)];
  }
  return Json{{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", std::move(unknown)},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", !IsByteLevel(vocabulary)},
              {"byte_fallback", vocabulary.byte_fallback},
              {"ignore_merges", vocabulary.ignore_merges || vocabulary.ranks_are_ids},
              {"vocab", std::move(vocab)},
              {"merges", std::move(merges)}};
}

// bos_token, eos_token, unk_token and pad_token, where there are any.
Json SpecialTokens(const Vocabulary& vocabulary, const std::vector<std::string>& spelled) {
  Json specials = Json::object();
  const auto add = [&](const char* key, TokenId id) {
    if (id != kNoToken) {
      specials[key] = spelled[static_cast<size_t>(id)];
    }
  };
  add("bos_token", vocabulary.bos);
  add("eos_token", vocabulary.eos);
  add("unk_token", vocabulary.unknown);
  add("pad_token", vocabulary.padding);
  return specials;
}

Json TokenizerConfig(const Vocabulary& vocabulary, const Json& specials, int64_t context) {
  Json config = {{"add_bos_token", vocabulary.add_bos},
                 {"add_eos_token", vocabulary.add_eos},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", context},
                 {"tokenizer_class", "PreTrainedTokenizerFast"}};
  config.update(specials);
  if (!vocabulary.chat_template.empty()) {
    config["chat_template"] = vocabulary.chat_template;
  }
  return config;
}

void AddNotes(const Vocabulary& vocabulary, std::vector<std::string>& notes) {
  if (vocabulary.remove_extra_spaces) {
    notes.emplace_back("tokenizer.json keeps spaces in a row, which this model's tokenizer joins");
  }
  if (!IsByteLevel(vocabulary) && UsesMetaspace(vocabulary) &&
      !vocabulary.prefix_space_unless_space) {
    notes.emplace_back(
        "tokenizer.json puts no space in front of a text that begins with one, unlike this model's "
        "tokenizer");
  }
  const bool has_bytes = std::ranges::any_of(
      vocabulary.tokens, [](const model::Token& token) { return token.type == TokenType::kByte; });
  if (has_bytes && !vocabulary.byte_fallback) {
    notes.emplace_back("byte tokens without fallback to them become ordinary tokens");
  }
}

}  // namespace

Result<TokenizerFiles> MakeTokenizerFiles(const Vocabulary& vocabulary, int64_t context) {
  TokenizerFiles files;
  AddNotes(vocabulary, files.notes);
  ETCH_ASSIGN_OR_RETURN(const std::vector<std::string> spelled, SpelledTokens(vocabulary));
  Json pre_tokenizer = SentencePiecePreTokenizer(vocabulary);
  if (IsByteLevel(vocabulary)) {
    ETCH_ASSIGN_OR_RETURN(pre_tokenizer, ByteLevelPreTokenizer(vocabulary));
  }
  ETCH_ASSIGN_OR_RETURN(Json model, ModelPart(vocabulary, spelled));
  const Json normalizer =
      IsByteLevel(vocabulary) ? Json(nullptr) : SentencePieceNormalizer(vocabulary);
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", AddedTokens(vocabulary, spelled)},
                          {"normalizer", normalizer},
                          {"pre_tokenizer", std::move(pre_tokenizer)},
                          {"post_processor", PostProcessor(vocabulary, spelled)},
                          {"decoder", Decoder(vocabulary)},
                          {"model", std::move(model)}};
  const Json specials = SpecialTokens(vocabulary, spelled);
  ETCH_ASSIGN_OR_RETURN(files.tokenizer_json, Dump(tokenizer, 1));
  ETCH_ASSIGN_OR_RETURN(files.tokenizer_config_json,
                        Dump(TokenizerConfig(vocabulary, specials, context), 2));
  ETCH_ASSIGN_OR_RETURN(files.special_tokens_map_json, Dump(specials, 2));
  files.chat_template = vocabulary.chat_template;
  return files;
}

Status WriteTokenizerFiles(const TokenizerFiles& files, const AtomicFolder& folder) {
  ETCH_TRY(folder.Write("tokenizer.json", files.tokenizer_json));
  ETCH_TRY(folder.Write("tokenizer_config.json", files.tokenizer_config_json));
  ETCH_TRY(folder.Write("special_tokens_map.json", files.special_tokens_map_json));
  return files.chat_template.empty() ? Status()
                                     : folder.Write("chat_template.jinja", files.chat_template);
}

}  // namespace etch::exporting
