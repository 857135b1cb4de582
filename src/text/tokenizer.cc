// Both families of vocabularies run through one path:
//
//   text ─► special tokens ─► prefix space, "▁" ─► pieces ─► symbols ─► merges ─► ids
//
// Byte-level vocabularies (GPT-2, Llama 3) cut pieces with regular expressions and start from
// bytes; SentencePiece vocabularies (Llama 2) start from characters, fall back to byte tokens, and
// in principle see the whole text as one piece. When no token of theirs holds a space behind a
// letter (Llama 2 has none), no merge crosses from a word into the next space, so words are pieces
// there too, with the same result.
//
// Text repeats its words: a piece that this call has met before is copied from its own output. The
// table lives only as long as the call, so that a tokenizer stays immutable and needs no lock.
//
// Control tokens are never the result of a merge: "<s>" typed by a user stays text.

#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <unordered_map>

#include "text/byte_pair.h"
#include "text/merge_table.h"
#include "text/special_tokens.h"
#include "text/split_pattern.h"
#include "text/utf8.h"

namespace etch::text {

using model::kNoToken;
using model::Token;
using model::TokenizerKind;
using model::TokenType;
using model::Vocabulary;

namespace {

constexpr size_t kMaxPatterns = 32;
constexpr size_t kMaxPieceBytes = size_t{1} << 30;
constexpr size_t kMaxRememberedBytes = 64;
constexpr std::string_view kDigitPattern = "\\p{N}";

int HexDigit(char letter) {
  if (letter >= '0' && letter <= '9') {
    return letter - '0';
  }
  if (letter >= 'A' && letter <= 'F') {
    return letter - 'A' + 10;
  }
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

// The byte that "<0x0A>" means.
std::optional<uint8_t> ParseByteToken(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') {
    return std::nullopt;
  }
  const int high = HexDigit(text[3]);
  const int low = HexDigit(text[4]);
  if (high < 0 || low < 0) {
    return std::nullopt;
  }
  return static_cast<uint8_t>(high * 16 + low);
}

Status CheckIds(const Vocabulary& vocabulary) {
  const auto size = static_cast<int64_t>(vocabulary.tokens.size());
  const auto check = [&](TokenId id, std::string_view what) -> Status {
    if (id < 0 || id >= size) {
      return Fail(ErrorCode::kMalformed, "vocabulary: {} {} is not one of the {} tokens", what, id,
                  size);
    }
    return {};
  };
  for (const auto& [id, what] :
       {std::pair(vocabulary.bos, "bos"), std::pair(vocabulary.eos, "eos"),
        std::pair(vocabulary.unknown, "unknown"), std::pair(vocabulary.padding, "padding")}) {
    if (id != kNoToken) {
      ETCH_TRY(check(id, what));
    }
  }
  for (const TokenId id : vocabulary.end_of_generation) {
    ETCH_TRY(check(id, "end of generation"));
  }
  for (const model::Merge& merge : vocabulary.merges) {
    ETCH_TRY(check(merge.left, "merge of"));
    ETCH_TRY(check(merge.right, "merge of"));
    ETCH_TRY(check(merge.result, "merge into"));
  }
  return {};
}

Status CheckVocabulary(const Vocabulary& vocabulary) {
  if (vocabulary.tokens.empty() || vocabulary.tokens.size() > INT32_MAX) {
    return Fail(ErrorCode::kMalformed, "vocabulary: {} tokens", vocabulary.tokens.size());
  }
  ETCH_TRY(CheckIds(vocabulary));
  if ((vocabulary.add_bos && vocabulary.bos == kNoToken) ||
      (vocabulary.add_eos && vocabulary.eos == kNoToken)) {
    return Fail(ErrorCode::kMalformed, "vocabulary: adds a {} token that it does not have",
                vocabulary.add_bos && vocabulary.bos == kNoToken ? "bos" : "eos");
  }
  if (vocabulary.split_patterns.size() > kMaxPatterns) {
    return Fail(ErrorCode::kMalformed, "vocabulary: {} split patterns, at most {} are allowed",
                vocabulary.split_patterns.size(), kMaxPatterns);
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (std::isnan(token.score)) {
      return Fail(ErrorCode::kMalformed, "vocabulary: the score of token {} is not a number", id);
    }
    if (token.type == TokenType::kByte && !ParseByteToken(token.text)) {
      return Fail(ErrorCode::kMalformed, "vocabulary: byte token {} is not spelled like <0x0A>",
                  id);
    }
  }
  return {};
}

// The token of each raw byte: byte tokens of SentencePiece, one-byte tokens otherwise.
std::array<TokenId, 256> ByteTokens(const Vocabulary& vocabulary) {
  std::array<TokenId, 256> ids;
  ids.fill(kNoToken);
  const bool sentence_piece = vocabulary.kind == TokenizerKind::kSentencePiece;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    std::optional<uint8_t> byte;
    if (sentence_piece && token.type == TokenType::kByte) {
      byte = ParseByteToken(token.text);
    } else if (!sentence_piece && token.type == TokenType::kNormal && token.text.size() == 1) {
      byte = static_cast<uint8_t>(token.text[0]);
    }
    if (byte && ids[*byte] == kNoToken) {
      ids[*byte] = static_cast<TokenId>(id);
    }
  }
  return ids;
}

// SentencePiece's remove_extra_whitespaces: single spaces, none at either end.
std::string WithoutExtraSpaces(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    if (letter != ' ' || (!out.empty() && out.back() != ' ')) {
      out += letter;
    }
  }
  if (!out.empty() && out.back() == ' ') {
    out.pop_back();
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(Vocabulary moved)
      : vocabulary(std::move(moved)),
        merges(vocabulary),
        specials(vocabulary),
        byte_tokens(ByteTokens(vocabulary)) {
    by_text.reserve(vocabulary.tokens.size());
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      by_text.try_emplace(vocabulary.tokens[id].text, static_cast<TokenId>(id));
    }
  }

  bool sentence_piece() const { return vocabulary.kind == TokenizerKind::kSentencePiece; }

  Vocabulary vocabulary;
  MergeTable merges;
  SpecialTokens specials;
  std::array<TokenId, 256> byte_tokens;
  std::vector<SplitPattern> patterns;
  std::unordered_map<std::string_view, TokenId> by_text;
};

namespace {

// One call of Encode.
template <class Impl>
class Encoding {
 public:
  Encoding(const Impl& impl, std::vector<TokenId>& out) : impl_(impl), out_(out) {}

  // Where a segment stands, which decides whether it gets a prefix space.
  enum class Place { kFirst, kInside, kContinues };

  void AddText(std::string_view text, Place place) {
    text = Normalize(text, place);
    if (!impl_.sentence_piece() || !impl_.patterns.empty()) {
      AddPieces(text);
    } else {
      AddWords(text);
    }
  }

 private:
  struct Range {
    size_t begin = 0;
    size_t count = 0;
  };

  // Spaces as the vocabulary wants them. The result lives as long as this.
  std::string_view Normalize(std::string_view text, Place place) {
    const Vocabulary& vocabulary = impl_.vocabulary;
    if (vocabulary.remove_extra_spaces) {
      // What parts a continuing text from the one before is not extra.
      const bool parted = place == Place::kContinues && text.starts_with(' ');
      std::string single = WithoutExtraSpaces(text);
      single.insert(single.begin(), parted ? 1 : 0, ' ');
      text = texts_.emplace_back(std::move(single));
    }
    const bool prefix = vocabulary.add_prefix_space && !text.empty() &&
                        place != Place::kContinues &&
                        (place == Place::kFirst || !vocabulary.prefix_space_first_only) &&
                        !(vocabulary.prefix_space_unless_space && text.front() == ' ');
    if (!prefix && !impl_.sentence_piece()) {
      return text;
    }
    std::string normal(prefix ? 1 : 0, ' ');
    normal += text;
    if (impl_.sentence_piece()) {
      normal = ReplaceAll(normal, " ", kSpaceSymbol);
    }
    return texts_.emplace_back(std::move(normal));
  }

  // Cuts valid UTF-8 by the patterns; a byte that is none is a piece of its own.
  void AddPieces(std::string_view text) {
    while (!text.empty()) {
      const size_t valid = ValidUtf8Prefix(text);
      if (valid == 0) {
        AddPiece(text.substr(0, 1));
        text.remove_prefix(1);
        continue;
      }
      pieces_.assign(1, text.substr(0, valid));
      for (const SplitPattern& pattern : impl_.patterns) {
        parts_.clear();
        for (const std::string_view piece : pieces_) {
          pattern.Split(piece, parts_);
        }
        std::swap(pieces_, parts_);
      }
      for (const std::string_view piece : pieces_) {
        impl_.sentence_piece() ? AddWords(piece) : AddPiece(piece);
      }
      text.remove_prefix(valid);
    }
  }

  // Cuts before each "▁" that follows another character, where that changes nothing.
  void AddWords(std::string_view text) {
    if (!impl_.merges.spaces_lead() || impl_.vocabulary.ignore_merges) {
      AddPiece(text);
      return;
    }
    while (!text.empty()) {
      size_t end = 0;
      while (text.substr(end).starts_with(kSpaceSymbol)) {
        end += kSpaceSymbol.size();
      }
      end = std::min(text.find(kSpaceSymbol, end), text.size());
      AddPiece(text.substr(0, end));
      text.remove_prefix(end);
    }
  }

  void AddPiece(std::string_view piece) {
    if (piece.size() > kMaxRememberedBytes) {
      for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), kMaxPieceBytes))) {
        MergePiece(piece.substr(0, kMaxPieceBytes));
      }
      return;
    }
    const auto [known, is_fresh] = known_.try_emplace(piece);
    Range& range = known->second;
    if (is_fresh) {
      range.begin = out_.size();
      MergePiece(piece);
      range.count = out_.size() - range.begin;
      return;
    }
    for (size_t index = 0; index < range.count; ++index) {
      out_.push_back(out_[range.begin + index]);
    }
  }

  void MergePiece(std::string_view piece) {
    const Vocabulary& vocabulary = impl_.vocabulary;
    if (vocabulary.ignore_merges || vocabulary.ranks_are_ids) {
      if (const TokenId whole = impl_.merges.FindText(piece); whole != kNoToken) {
        out_.push_back(whole);
        return;
      }
    }
    FillSymbols(piece);
    merger_.Run(impl_.merges, piece, symbols_);
    const size_t begin = out_.size();
    for (const Symbol& symbol : symbols_) {
      if (symbol.token == kNoToken && vocabulary.byte_fallback) {
        for (const char letter : piece.substr(symbol.begin, symbol.size)) {
          out_.push_back(impl_.byte_tokens[static_cast<uint8_t>(letter)]);
        }
        continue;
      }
      const TokenId token = symbol.token == kNoToken ? vocabulary.unknown : symbol.token;
      // Unknown characters in a row are one unknown token.
      const bool fused = token == vocabulary.unknown && out_.size() > begin && out_.back() == token;
      if (token != kNoToken && !fused) {
        out_.push_back(token);
      }
    }
  }

  // Where merges go by pairs of tokens, a character without a token becomes byte tokens or the
  // unknown token before they run, or else vanishes, as in Hugging Face's library (SmolLM has no
  // token for 21 bytes, and no unknown token). By text, it is left for later.
  void FillSymbols(std::string_view piece) {
    symbols_.clear();
    for (size_t position = 0; position < piece.size();) {
      const std::string_view rest = piece.substr(position);
      size_t size = 1;
      TokenId token = kNoToken;
      if (impl_.sentence_piece()) {
        const Utf8Step step = NextUtf8(rest);
        size = step.state == Utf8State::kValid ? step.size : 1;
        token = impl_.merges.FindText(rest.substr(0, size));
      } else {
        token = impl_.byte_tokens[static_cast<uint8_t>(rest[0])];
      }
      if (token != kNoToken || impl_.merges.by_text()) {
        symbols_.push_back({token, static_cast<uint32_t>(position), static_cast<uint32_t>(size)});
      } else if (impl_.vocabulary.byte_fallback) {
        for (size_t index = 0; index < size; ++index) {
          symbols_.push_back({impl_.byte_tokens[static_cast<uint8_t>(rest[index])],
                              static_cast<uint32_t>(position + index), 1});
        }
      } else if (impl_.vocabulary.unknown != kNoToken) {
        symbols_.push_back({impl_.vocabulary.unknown, static_cast<uint32_t>(position),
                            static_cast<uint32_t>(size)});
      }
      position += size;
    }
  }

  const Impl& impl_;
  std::vector<TokenId>& out_;
  std::deque<std::string> texts_;  // what the views in `known_` view, beside the caller's text
  std::unordered_map<std::string_view, Range> known_;  // where in `out_` a piece's tokens are
  std::vector<std::string_view> pieces_;
  std::vector<std::string_view> parts_;
  std::vector<Symbol> symbols_;
  BytePairMerger merger_;
};

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  ETCH_TRY(CheckVocabulary(vocabulary));
  std::ranges::sort(vocabulary.end_of_generation);
  auto impl = std::make_unique<Impl>(std::move(vocabulary));
  if (impl->vocabulary.byte_fallback) {
    for (size_t byte = 0; byte < impl->byte_tokens.size(); ++byte) {
      if (impl->byte_tokens[byte] == kNoToken) {
        return Fail(ErrorCode::kMalformed,
                    "vocabulary: byte fallback without a token for byte 0x{:02X}", byte);
      }
    }
  }
  if (impl->vocabulary.split_digits) {
    ETCH_ASSIGN_OR_RETURN(SplitPattern digits, SplitPattern::Compile(kDigitPattern));
    impl->patterns.push_back(std::move(digits));
  }
  for (const std::string& text : impl->vocabulary.split_patterns) {
    ETCH_ASSIGN_OR_RETURN(SplitPattern pattern, SplitPattern::Compile(text));
    impl->patterns.push_back(std::move(pattern));
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  const Vocabulary& vocabulary = impl_->vocabulary;
  if (options.add_special && vocabulary.add_bos) {
    out.push_back(vocabulary.bos);
  }
  using Place = Encoding<Impl>::Place;
  const Place start = options.continues ? Place::kContinues : Place::kFirst;
  Encoding encoding(*impl_, out);
  for (const auto& segment : impl_->specials.Split(text, options.parse_special)) {
    if (segment.token != kNoToken) {
      out.push_back(segment.token);
    } else {
      encoding.AddText(segment.text, segment.text.data() == text.data() ? start : Place::kInside);
    }
  }
  if (options.add_special && vocabulary.add_eos) {
    out.push_back(vocabulary.eos);
  }
  return out;
}

std::string Tokenizer::TokenBytes(TokenId token, bool special) const {
  if (token < 0 || static_cast<size_t>(token) >= impl_->vocabulary.tokens.size()) {
    return {};
  }
  const Token& entry = impl_->vocabulary.tokens[static_cast<size_t>(token)];
  switch (entry.type) {
    case TokenType::kControl:
    case TokenType::kUnknown:
      return special ? entry.text : std::string();
    case TokenType::kByte:
      return std::string(1, static_cast<char>(ParseByteToken(entry.text).value_or(0)));
    case TokenType::kNormal:
    case TokenType::kUserDefined:
    case TokenType::kUnused:
      break;
  }
  return impl_->sentence_piece() ? ReplaceAll(entry.text, kSpaceSymbol, " ") : entry.text;
}

std::string Tokenizer::Decode(const std::vector<TokenId>& tokens, bool special) const {
  std::string out;
  bool strip = impl_->sentence_piece() && impl_->vocabulary.add_prefix_space;
  for (const TokenId token : tokens) {
    std::string bytes = TokenBytes(token, special);
    const bool is_text = !TokenBytes(token).empty();
    if (strip && is_text) {
      strip = false;
      if (bytes.front() == ' ') {
        bytes.erase(0, 1);
      }
    }
    out += bytes;
  }
  return out;
}

bool Tokenizer::IsEndOfGeneration(TokenId token) const {
  return std::ranges::binary_search(impl_->vocabulary.end_of_generation, token);
}

TokenId Tokenizer::Find(std::string_view text) const {
  const auto found = impl_->by_text.find(text);
  return found == impl_->by_text.end() ? kNoToken : found->second;
}

const Vocabulary& Tokenizer::vocabulary() const { return impl_->vocabulary; }

}  // namespace etch::text
