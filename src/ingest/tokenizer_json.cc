// tokenizer.json is a program in JSON: a normalizer, a pre-tokenizer, a model and a post-processor,
// each built from a dozen parts. Vocabulary is the subset that Llama-like models use, so this
// reader walks the parts, sets what each of them means, and refuses every part that Vocabulary
// cannot express; guessing would give wrong tokens without a word. Parts that do not change what is
// encoded (truncation, padding, decoder, offsets) are not read.
//
// Unicode normalisation (NFC) is accepted and not done: published text is in that form nearly
// always, and text that is not still encodes to tokens that decode to the same bytes.
//
// `ids` maps the texts as the file spells them, because merges and special tokens refer to those;
// the tokens themselves are turned into raw bytes last.

#include "ingest/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {

using model::kNoToken;
using model::Merge;
using model::TokenId;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;
using nlohmann::json;

namespace {

constexpr int kMaxDepth = 8;  // of sequences within sequences
constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";
// One piece for each "▁" with what follows it.
constexpr std::string_view kMetaspacePattern = "\xE2\x96\x81[^\xE2\x96\x81]*|[^\xE2\x96\x81]+";

struct Reading {
  Vocabulary vocabulary;
  TokenIds ids;
  bool has_template = false;
};

// The member, or null when `object` is none or lacks it.
const json& Member(const json& object, const char* key) {
  static const json kNull;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNull;
}

std::string Text(const json& object, const char* key) {
  const json& value = Member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool Flag(const json& object, const char* key, bool otherwise) {
  const json& value = Member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

tl::unexpected<Error> Unsupported(std::string_view part, std::string_view type) {
  return Fail(ErrorCode::kUnsupported, "tokenizer.json: {} \"{}\" is not supported", part, type);
}

// Calls visit(part) for `part`, or for each part of a "Sequence", whose list is under `list_key`.
template <class Visit>
Status ForEachPart(const json& part, const char* list_key, const Visit& visit, int depth = 0) {
  if (part.is_null()) {
    return {};
  }
  if (depth > kMaxDepth || !part.is_object()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: {} are nested too deeply or no objects",
                list_key);
  }
  if (Text(part, "type") != "Sequence") {
    return visit(part);
  }
  for (const json& inner : Member(part, list_key)) {
    ETCH_TRY(ForEachPart(inner, list_key, visit, depth + 1));
  }
  return {};
}

bool IsByteLevel(const json& root) {
  bool found = false;
  const auto look = [&](const json& part) -> Status {
    found = found || Text(part, "type") == "ByteLevel";
    return {};
  };
  return ForEachPart(Member(root, "pre_tokenizer"), "pretokenizers", look) &&
         ForEachPart(Member(root, "decoder"), "decoders", look) && found;
}

Status CheckModel(const json& model) {
  const std::string type = Text(model, "type");
  if (!model.is_object() || (!type.empty() && type != "BPE")) {
    return Fail(ErrorCode::kUnsupported, "tokenizer.json: model of type \"{}\"; Etch reads BPE",
                type);
  }
  const json& dropout = Member(model, "dropout");
  if (dropout.is_number() && dropout.get<double>() != 0.0) {
    return Unsupported("model part", "dropout");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!Text(model, key).empty()) {
      return Unsupported("model part", key);
    }
  }
  return {};
}

// Gives token `id` its text. `limit` bounds the ids by the size of the file.
Status SetToken(const json& id, const std::string& text, size_t limit, Reading& reading) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= std::min<size_t>(limit, INT32_MAX)) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: token \"{}\" has no valid id", text);
  }
  const auto index = id.get<size_t>();
  auto& tokens = reading.vocabulary.tokens;
  if (index >= tokens.size()) {
    tokens.resize(index + 1, {.text = {}, .type = TokenType::kUnused});
  }
  tokens[index].text = text;
  tokens[index].type = TokenType::kNormal;
  reading.ids[text] = static_cast<TokenId>(index);
  return {};
}

Status ReadTokens(const json& model, size_t limit, Reading& reading) {
  const json& vocab = Member(model, "vocab");
  if (!vocab.is_object() || vocab.empty()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: model.vocab is missing or empty");
  }
  reading.ids.reserve(vocab.size());
  for (const auto& [text, id] : vocab.items()) {
    ETCH_TRY(SetToken(id, text, limit, reading));
  }
  return {};
}

Status ReadMerges(const json& model, Reading& reading) {
  const json& merges = Member(model, "merges");
  if (!merges.is_array()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: model.merges is missing");
  }
  reading.vocabulary.merges.reserve(merges.size());
  for (const json& merge : merges) {
    Result<Merge> parsed = Fail(ErrorCode::kMalformed, "merge {} is neither text nor a pair",
                                reading.vocabulary.merges.size());
    if (merge.is_string()) {
      parsed = ParseMerge(merge.get_ref<const std::string&>(), reading.ids);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      parsed = MakeMerge(merge[0].get_ref<const std::string&>(),
                         merge[1].get_ref<const std::string&>(), reading.ids);
    }
    if (!parsed) {
      return Prefix("tokenizer.json", std::move(parsed).error());
    }
    reading.vocabulary.merges.push_back(*parsed);
  }
  return {};
}

Status ReadAddedTokens(const json& added_tokens, size_t limit, Reading& reading) {
  if (!added_tokens.is_array() && !added_tokens.is_null()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: added_tokens is no list");
  }
  for (const json& added : added_tokens) {
    const std::string content = Text(added, "content");
    if (content.empty()) {
      return Fail(ErrorCode::kMalformed, "tokenizer.json: an added token has no content");
    }
    if (Flag(added, "single_word", false)) {
      return Unsupported("single_word of added token", content);
    }
    ETCH_TRY(SetToken(Member(added, "id"), content, limit, reading));
    const auto id = Member(added, "id").get<size_t>();
    model::Token& token = reading.vocabulary.tokens[id];
    token.type = Flag(added, "special", false) ? TokenType::kControl : TokenType::kUserDefined;
    token.lstrip = Flag(added, "lstrip", false);
    token.rstrip = Flag(added, "rstrip", false);
  }
  return {};
}

Status ReadNormalizer(const json& part, Vocabulary& vocabulary) {
  const std::string type = Text(part, "type");
  const bool sentence_piece = vocabulary.kind == TokenizerKind::kSentencePiece;
  if (type == "NFC") {
    return {};
  }
  if (type == "Prepend" && sentence_piece && Text(part, "prepend") == kSpaceSymbol) {
    vocabulary.add_prefix_space = true;
    vocabulary.prefix_space_first_only = false;
    return {};
  }
  if (type == "Replace" && sentence_piece && Text(part, "content") == kSpaceSymbol &&
      Text(Member(part, "pattern"), "String") == " ") {
    return {};
  }
  return Unsupported("normalizer", type);
}

Status ReadMetaspace(const json& part, Vocabulary& vocabulary) {
  if (vocabulary.kind != TokenizerKind::kSentencePiece ||
      Text(part, "replacement") != kSpaceSymbol) {
    return Unsupported("pre_tokenizer", "Metaspace");
  }
  // Older files have add_prefix_space where newer ones have prepend_scheme.
  std::string scheme = Text(part, "prepend_scheme");
  if (scheme.empty()) {
    scheme = Flag(part, "add_prefix_space", true) ? "always" : "never";
  }
  vocabulary.add_prefix_space = vocabulary.add_prefix_space || scheme != "never";
  vocabulary.prefix_space_first_only = scheme == "first";
  vocabulary.prefix_space_unless_space = true;
  if (Flag(part, "split", true)) {
    vocabulary.split_patterns.emplace_back(kMetaspacePattern);
  }
  return {};
}

Status ReadByteLevel(const json& part, Vocabulary& vocabulary) {
  if (Flag(part, "add_prefix_space", true)) {
    if (vocabulary.split_digits || !vocabulary.split_patterns.empty()) {
      return Unsupported("pre_tokenizer", "ByteLevel with add_prefix_space behind another");
    }
    vocabulary.add_prefix_space = true;
    vocabulary.prefix_space_first_only = false;
    vocabulary.prefix_space_unless_space = true;
  }
  if (Flag(part, "use_regex", true)) {
    vocabulary.split_patterns.emplace_back(kGpt2Pattern);
  }
  return {};
}

Status ReadSplit(const json& part, Vocabulary& vocabulary) {
  if (Text(part, "behavior") != "Isolated") {
    return Unsupported("pre_tokenizer Split with behavior", Text(part, "behavior"));
  }
  const json& pattern = Member(part, "pattern");
  const std::string literal = Text(pattern, "String");
  std::string regex = Text(pattern, "Regex");
  if (regex.empty() && !literal.empty() && literal.find("\\E") == std::string::npos) {
    regex = "\\Q" + literal + "\\E";
  }
  if (regex.empty()) {
    return Fail(ErrorCode::kMalformed, "tokenizer.json: pre_tokenizer Split has no pattern");
  }
  vocabulary.split_patterns.push_back(std::move(regex));
  return {};
}

Status ReadPreTokenizer(const json& part, Vocabulary& vocabulary) {
  const std::string type = Text(part, "type");
  if (type == "Metaspace") {
    return ReadMetaspace(part, vocabulary);
  }
  if (type == "ByteLevel") {
    return ReadByteLevel(part, vocabulary);
  }
  if (type == "Split") {
    return ReadSplit(part, vocabulary);
  }
  if (type != "Digits") {
    return Unsupported("pre_tokenizer", type);
  }
  const bool individual = Flag(part, "individual_digits", false);
  if (individual && vocabulary.split_patterns.empty()) {
    vocabulary.split_digits = true;
  } else {
    vocabulary.split_patterns.emplace_back(individual ? "\\p{N}" : "\\p{N}+");
  }
  return {};
}

// "TemplateProcessing": special tokens around the sequence A.
Status ReadPostProcessor(const json& part, Reading& reading) {
  const std::string type = Text(part, "type");
  if (type == "ByteLevel") {
    return {};
  }
  if (type != "TemplateProcessing") {
    return Unsupported("post_processor", type);
  }
  reading.has_template = true;
  Vocabulary& vocabulary = reading.vocabulary;
  bool behind = false;
  for (const json& item : Member(part, "single")) {
    if (Member(item, "Sequence").is_object()) {
      behind = true;
      continue;
    }
    const std::string name = Text(Member(item, "SpecialToken"), "id");
    const auto found = reading.ids.find(name);
    bool& adds = behind ? vocabulary.add_eos : vocabulary.add_bos;
    if (found == reading.ids.end() || adds) {
      return Unsupported("post_processor TemplateProcessing with special token", name);
    }
    adds = true;
    (behind ? vocabulary.eos : vocabulary.bos) = found->second;
  }
  return {};
}

// A special token of tokenizer_config.json: its text, or an object with the text as "content".
TokenId ConfigToken(const json& config, const char* key, const TokenIds& ids) {
  std::string text = Text(config, key);
  if (text.empty()) {
    text = Text(Member(config, key), "content");
  }
  const auto found = ids.find(text);
  return found == ids.end() ? kNoToken : found->second;
}

// Without tokenizer_config.json the end of a text has to be known by its usual names.
TokenId UsualEnd(const Reading& reading) {
  for (const char* name : {"</s>", "<|end_of_text|>", "<|endoftext|>"}) {
    const auto found = reading.ids.find(name);
    if (found != reading.ids.end() &&
        reading.vocabulary.tokens[static_cast<size_t>(found->second)].type == TokenType::kControl) {
      return found->second;
    }
  }
  return kNoToken;
}

void ReadConfig(const json& config, Reading& reading) {
  Vocabulary& vocabulary = reading.vocabulary;
  // What the template puts around a text stays; the configuration adds what it does not say.
  if (!vocabulary.add_bos) {
    vocabulary.bos = ConfigToken(config, "bos_token", reading.ids);
  }
  if (!vocabulary.add_eos) {
    vocabulary.eos = ConfigToken(config, "eos_token", reading.ids);
    if (vocabulary.eos == kNoToken) {
      vocabulary.eos = UsualEnd(reading);
    }
  }
  vocabulary.padding = ConfigToken(config, "pad_token", reading.ids);
  if (!reading.has_template) {
    vocabulary.add_bos = vocabulary.bos != kNoToken && Flag(config, "add_bos_token", false);
    vocabulary.add_eos = vocabulary.eos != kNoToken && Flag(config, "add_eos_token", false);
  }
}

void FinishSentencePiece(const json& model, Reading& reading) {
  Vocabulary& vocabulary = reading.vocabulary;
  const auto unknown = reading.ids.find(Text(model, "unk_token"));
  if (unknown != reading.ids.end()) {
    vocabulary.unknown = unknown->second;
    vocabulary.tokens[static_cast<size_t>(unknown->second)].type = TokenType::kUnknown;
  }
  if (!Flag(model, "byte_fallback", false)) {
    return;
  }
  std::array<TokenId, 256> bytes{};
  for (size_t byte = 0; byte < bytes.size(); ++byte) {
    const auto found = reading.ids.find(fmt::format("<0x{:02X}>", byte));
    if (found == reading.ids.end()) {
      return;  // Hugging Face's library then goes on to the unknown token.
    }
    bytes[byte] = found->second;
  }
  vocabulary.byte_fallback = true;
  for (const TokenId id : bytes) {
    vocabulary.tokens[static_cast<size_t>(id)].type = TokenType::kByte;
  }
}

void FinishByteLevel(Vocabulary& vocabulary) {
  for (model::Token& token : vocabulary.tokens) {
    if (token.type == TokenType::kNormal) {
      token.text = FromByteAlphabet(token.text).value_or(token.text);
    }
  }
}

Result<json> Parse(std::string_view text, std::string_view file) {
  json root = json::parse(text, nullptr, false);
  if (!root.is_object()) {
    return Fail(ErrorCode::kMalformed, "{} is no JSON object", file);
  }
  return root;
}

}  // namespace

Result<Vocabulary> ReadTokenizerJson(std::string_view tokenizer_json,
                                     std::string_view tokenizer_config_json) {
  ETCH_ASSIGN_OR_RETURN(const json root, Parse(tokenizer_json, "tokenizer.json"));
  json config;
  if (!tokenizer_config_json.empty()) {
    ETCH_ASSIGN_OR_RETURN(config, Parse(tokenizer_config_json, "tokenizer_config.json"));
  }
  Reading reading;
  Vocabulary& vocabulary = reading.vocabulary;
  const json& model = Member(root, "model");
  ETCH_TRY(CheckModel(model));
  vocabulary.kind =
      IsByteLevel(root) ? TokenizerKind::kByteLevelBpe : TokenizerKind::kSentencePiece;
  vocabulary.order = model::MergeOrder::kRanks;
  vocabulary.ignore_merges = Flag(model, "ignore_merges", false);
  ETCH_TRY(ReadTokens(model, tokenizer_json.size(), reading));
  ETCH_TRY(ReadMerges(model, reading));
  ETCH_TRY(ReadAddedTokens(Member(root, "added_tokens"), tokenizer_json.size(), reading));
  ETCH_TRY(ForEachPart(Member(root, "normalizer"), "normalizers",
                       [&](const json& part) { return ReadNormalizer(part, vocabulary); }));
  ETCH_TRY(ForEachPart(Member(root, "pre_tokenizer"), "pretokenizers",
                       [&](const json& part) { return ReadPreTokenizer(part, vocabulary); }));
  ETCH_TRY(ForEachPart(Member(root, "post_processor"), "processors",
                       [&](const json& part) { return ReadPostProcessor(part, reading); }));
  ReadConfig(config, reading);
  if (vocabulary.kind == TokenizerKind::kSentencePiece) {
    FinishSentencePiece(model, reading);
  } else {
    FinishByteLevel(vocabulary);
  }
  CollectEndOfGeneration(vocabulary);
  return vocabulary;
}

}  // namespace etch::ingest
