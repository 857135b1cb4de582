// The lexer of Jinja 3.1 for the default delimiters. White space around tags is the part that goes
// wrong most easily, so the rules are all here:
//
//   {%- x   removes all white space before the tag        x -%}  removes all white space after it
//   {%+ x   keeps what is before a block tag              x +%}  keeps the newline after a block
//   tag
//   {% x    removes blanks from the start of the line     x %}   removes one newline after it
//           to the tag, if nothing else is there
//
// The last line is lstrip_blocks and trim_blocks; it holds for blocks and comments, not for {{ }}.
// A parser that reads characters directly was rejected: `%}` inside a string literal and the
// look-behind of lstrip_blocks are simple only with a separate pass.

#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

int HexDigit(char c) {
  if (IsDigit(c)) {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> Run() {
    while (offset_ < source_.size()) {
      const size_t tag = FindTag(offset_);
      EmitText(source_.substr(offset_, tag - offset_), tag);
      if (tag == source_.size()) {
        break;
      }
      MoveTo(tag);
      ETCH_TRY(LexTag());
    }
    MoveTo(source_.size());
    Emit(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // The offset of the next {{, {% or {#, or the end.
  size_t FindTag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string_view::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#')) {
        return at;
      }
    }
    return source_.size();
  }

  // Text before the tag at `tag`, stripped as the tag asks.
  void EmitText(std::string_view text, size_t tag) {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool has_tag = tag < source_.size();
    if (has_tag && sign == '-') {
      text = StripRight(text);
    } else if (has_tag && sign != '+' && source_[tag + 1] != '{') {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      const bool at_line_start = line > 0 || line_starting_;
      if (at_line_start &&
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), IsBlank)) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) {
      Emit(TokenKind::kText, text);
    }
  }

  Status LexTag() {
    const char type = source_[offset_ + 1];
    const size_t open = offset_;
    const size_t inside = open + 2;
    const bool signed_tag = inside < source_.size() &&
                            (source_[inside] == '-' || (source_[inside] == '+' && type != '{'));
    if (type == '#') {
      const size_t end = source_.find("#}", inside);
      if (end == std::string_view::npos) {
        return Malformed("the comment is not closed by #}");
      }
      MoveTo(end);
      CloseTag(source_[end - 1], end > inside);
      return {};
    }
    if (type == '%' && TryRawTag(inside + (signed_tag ? 1 : 0), "raw")) {
      return LexRaw();
    }
    Emit(type == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, source_.substr(open, 2));
    MoveTo(inside + (signed_tag ? 1 : 0));
    return LexInside(type == '{' ? '}' : '%');
  }

  // Moves past the two characters that close a tag, and past the white space that goes with them.
  // `sign` is the character before them.
  void CloseTag(char sign, bool has_sign) {
    const bool trims_newline = source_[offset_] != '}';  // not }}
    MoveTo(offset_ + 2);
    line_starting_ = false;
    if (has_sign && sign == '-') {
      const std::string_view rest = source_.substr(offset_);
      MoveTo(source_.size() - StripLeft(rest).size());
    } else if (trims_newline && !(has_sign && sign == '+') && offset_ < source_.size() &&
               source_[offset_] == '\n') {
      MoveTo(offset_ + 1);
      line_starting_ = true;
    }
  }

  // Whether `{%` is followed by `word` and a closing %}; then raw_close_ is the offset of that.
  bool TryRawTag(size_t at, std::string_view word) {
    const std::string_view rest = source_.substr(at);
    const std::string_view name = StripLeft(rest);
    if (!name.starts_with(word)) {
      return false;
    }
    std::string_view close = StripLeft(name.substr(word.size()));
    if (close.starts_with("-") || close.starts_with("+")) {
      close.remove_prefix(1);
    }
    if (!close.starts_with("%}")) {
      return false;
    }
    raw_close_ = source_.size() - close.size();
    return true;
  }

  Status LexRaw() {
    const size_t begin_close = raw_close_;
    MoveTo(begin_close + 2);
    if (source_[begin_close - 1] == '-') {
      MoveTo(source_.size() - StripLeft(source_.substr(offset_)).size());
    }
    line_starting_ = false;
    for (size_t at = source_.find("{%", offset_); at != std::string_view::npos;
         at = source_.find("{%", at + 2)) {
      const size_t inside = at + 2;
      const bool has_sign =
          inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+');
      if (TryRawTag(inside + (has_sign ? 1 : 0), "endraw")) {
        const size_t close = raw_close_;
        EmitText(source_.substr(offset_, at - offset_), at);
        MoveTo(close);
        CloseTag(source_[close - 1], true);
        return {};
      }
    }
    return Malformed("{% raw %} is not closed by {% endraw %}");
  }

  // The tokens of one tag up to and with its end; `close` is the first character of that.
  Status LexInside(char close) {
    int nesting = 0;  // of ( [ {
    while (true) {
      SkipSpace();
      if (offset_ >= source_.size()) {
        return Malformed(close == '}' ? "the tag is not closed by }}"
                                      : "the tag is not closed by %}");
      }
      const size_t sign_size =
          source_[offset_] == '-' || (close == '%' && source_[offset_] == '+') ? 1 : 0;
      const std::string_view rest = source_.substr(offset_ + sign_size);
      if (nesting == 0 && rest.size() >= 2 && rest[0] == close && rest[1] == '}') {
        const char sign = source_[offset_];
        Emit(close == '}' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, rest.substr(0, 2));
        MoveTo(offset_ + sign_size);
        CloseTag(sign, sign_size == 1);
        return {};
      }
      ETCH_TRY(LexToken(&nesting));
    }
  }

  Status LexToken(int* nesting) {
    const char first = source_[offset_];
    if (IsNameStart(first)) {
      size_t end = offset_;
      while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) {
        ++end;
      }
      Emit(TokenKind::kName, source_.substr(offset_, end - offset_));
      MoveTo(end);
      return {};
    }
    if (IsDigit(first)) {
      return LexNumber();
    }
    if (first == '"' || first == '\'') {
      return LexString(first);
    }
    return LexOperator(nesting);
  }

  size_t SkipDigits(size_t at) const {
    while (at < source_.size() &&
           (IsDigit(source_[at]) ||
            (source_[at] == '_' && at + 1 < source_.size() && IsDigit(source_[at + 1])))) {
      ++at;
    }
    return at;
  }

  Status LexNumber() {
    const auto digit_at = [&](size_t at) { return at < source_.size() && IsDigit(source_[at]); };
    const bool after_dot = !tokens_.empty() && tokens_.back().kind == TokenKind::kOperator &&
                           tokens_.back().text == ".";
    size_t end = SkipDigits(offset_);
    bool is_float = false;
    if (!after_dot && end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      is_float = true;
      end = SkipDigits(end + 1);
    }
    if (!after_dot && end < source_.size() && (source_[end] | 0x20) == 'e') {
      const size_t sign =
          end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
      if (digit_at(end + 1 + sign)) {
        is_float = true;
        end = SkipDigits(end + 1 + sign);
      }
    }
    if (!is_float && source_[offset_] == '0' && end == offset_ + 1 && end + 1 < source_.size() &&
        ((source_[end] | 0x20) == 'x' && HexDigit(source_[end + 1]) >= 0)) {
      for (++end; end < source_.size() && HexDigit(source_[end]) >= 0;) {
        ++end;
      }
    }
    std::string literal(source_.substr(offset_, end - offset_));
    std::erase(literal, '_');
    Emit(is_float ? TokenKind::kFloat : TokenKind::kInteger, literal);
    MoveTo(end);
    return {};
  }

  Status LexString(char quote) {
    size_t end = offset_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      end += source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size()) {
      return Malformed("the string is not closed");
    }
    std::string text;
    ETCH_TRY(Unescape(source_.substr(offset_ + 1, end - offset_ - 1), &text));
    Emit(TokenKind::kString, text);
    MoveTo(end + 1);
    return {};
  }

  // The escapes of a Python string literal.
  Status Unescape(std::string_view raw, std::string* text) const {
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    for (size_t at = 0; at < raw.size();) {
      if (raw[at] != '\\') {
        text->push_back(raw[at++]);
        continue;
      }
      const char letter = raw[at + 1];  // LexString leaves no lone backslash at the end
      at += 2;
      if (const size_t found = kLetters.find(letter); found != std::string_view::npos) {
        text->push_back(kMeanings[found]);
      } else if (letter == '\n') {
        continue;
      } else if (letter >= '0' && letter <= '7') {
        uint32_t value = static_cast<uint32_t>(letter - '0');
        for (int digits = 1; digits < 3 && at < raw.size() && raw[at] >= '0' && raw[at] <= '7';
             ++digits) {
          value = value * 8 + static_cast<uint32_t>(raw[at++] - '0');
        }
        AppendUtf8(value, text);
      } else if (letter == 'x' || letter == 'u' || letter == 'U') {
        const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
        ETCH_TRY(UnescapeHex(raw.substr(at, digits), digits, text));
        at += digits;
      } else {
        text->push_back('\\');
        text->push_back(letter);
      }
    }
    return {};
  }

  Status UnescapeHex(std::string_view hex, size_t digits, std::string* text) const {
    uint32_t value = 0;
    for (const char digit : hex) {
      if (HexDigit(digit) < 0 || value > 0x10ffff) {
        return Malformed("the string has a broken \\x, \\u or \\U escape");
      }
      value = value * 16 + static_cast<uint32_t>(HexDigit(digit));
    }
    if (hex.size() != digits || value > 0x10ffff) {
      return Malformed("the string has a broken \\x, \\u or \\U escape");
    }
    AppendUtf8(value, text);
    return {};
  }

  Status LexOperator(int* nesting) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const std::string_view rest = source_.substr(offset_);
    for (const std::string_view name : kOperators) {
      if (rest.starts_with(name)) {
        *nesting += name == "(" || name == "[" || name == "{" ? 1 : 0;
        *nesting -= (name == ")" || name == "]" || name == "}") && *nesting > 0 ? 1 : 0;
        Emit(TokenKind::kOperator, name);
        MoveTo(offset_ + name.size());
        return {};
      }
    }
    return Malformed(fmt::format("unexpected character '{}'", rest.substr(0, 1)));
  }

  void SkipSpace() {
    const std::string_view rest = source_.substr(offset_);
    MoveTo(offset_ + (rest.size() - StripLeft(rest).size()));
  }

  void MoveTo(size_t offset) {
    for (; offset_ < offset; ++offset_) {
      if (source_[offset_] == '\n') {
        ++line_;
        line_offset_ = offset_ + 1;
      }
    }
  }

  Position Here() const { return {line_, static_cast<int>(offset_ - line_offset_) + 1, offset_}; }

  void Emit(TokenKind kind, std::string_view text) {
    tokens_.push_back({kind, std::string(text), Here()});
  }

  tl::unexpected<Error> Malformed(std::string_view message) const {
    return Fail(ErrorCode::kMalformed, "{}", Locate(source_, Here(), message));
  }

  std::string_view source_;
  size_t offset_ = 0;
  int line_ = 1;
  size_t line_offset_ = 0;
  bool line_starting_ = true;  // the text that follows starts a line
  size_t raw_close_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

std::string NormalizeSource(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t at = 0; at < source.size(); ++at) {
    if (source[at] == '\r') {
      text.push_back('\n');
      at += at + 1 < source.size() && source[at + 1] == '\n' ? 1 : 0;
    } else {
      text.push_back(source[at]);
    }
  }
  if (text.ends_with('\n')) {
    text.pop_back();
  }
  return text;
}

std::string Locate(std::string_view source, const Position& position, std::string_view message) {
  constexpr size_t kSnippetBytes = 48;
  const std::string_view rest = source.substr(std::min(position.offset, source.size()));
  std::string_view line = rest.substr(0, rest.find('\n'));
  size_t size = std::min(line.size(), kSnippetBytes);
  while (size < line.size() && (static_cast<unsigned char>(line[size]) & 0xc0) == 0x80) {
    ++size;  // not inside of a code point
  }
  return fmt::format("line {}, column {}: {}, near `{}`", position.line, position.column, message,
                     line.substr(0, size));
}

}  // namespace etch::jinja
