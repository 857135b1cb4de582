#include "grammar/regex.h"

#include <algorithm>

#include "text/utf8.h"

namespace etch::grammar {
namespace {

constexpr int kMaxGroups = 100;  // inside of each other
constexpr std::string_view kSyntax = "^$\\.*+?()[]{}|/";

const std::vector<CodeRange> kDigit = {{'0', '9'}};
const std::vector<CodeRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
// ECMA-262 WhiteSpace and LineTerminator.
const std::vector<CodeRange> kSpace = {
    {0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const std::vector<CodeRange> kLineEnd = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class Parser {
 public:
  Parser(std::string_view pattern, const Limits& limits) : text_(pattern), limits_(limits) {}

  Result<Expression> Parse() {
    if (text::ValidUtf8Prefix(text_) != text_.size()) {
      return Fail(ErrorCode::kMalformed, "the pattern is not UTF-8");
    }
    ETCH_ASSIGN_OR_RETURN(Expression expression, ParseChoice(0));
    if (at_ < text_.size()) {
      return Malformed("\")\" without \"(\"");
    }
    return expression;
  }

 private:
  tl::unexpected<Error> Malformed(std::string_view what) const {
    return Fail(ErrorCode::kMalformed, "pattern, byte {}: {}", at_, what);
  }
  tl::unexpected<Error> Unsupported(std::string_view what) const {
    return Fail(ErrorCode::kUnsupported, "pattern, byte {}: {} is not supported", at_, what);
  }
  bool Ends() const { return at_ >= text_.size(); }
  bool Sees(std::string_view prefix) const { return text_.substr(at_).starts_with(prefix); }
  bool Take(std::string_view prefix) {
    const bool sees = Sees(prefix);
    at_ += sees ? prefix.size() : 0;
    return sees;
  }
  char32_t TakeCharacter() {
    const Expression literal = Literal(text_.substr(at_, text::NextUtf8(text_.substr(at_)).size));
    at_ += text::NextUtf8(text_.substr(at_)).size;
    return literal.children.front().ranges.front().low;
  }

  static Expression Class(std::vector<CodeRange> ranges) {
    Expression expression;
    expression.kind = Expression::Kind::kClass;
    expression.ranges = Normalize(std::move(ranges));
    return expression;
  }

  Result<Expression> ParseChoice(int depth) {
    if (depth > kMaxGroups) {
      return Malformed("groups are nested too deep");
    }
    Expression choice;
    choice.kind = Expression::Kind::kChoice;
    do {
      Expression sequence;
      while (!Ends() && !Sees("|") && !Sees(")")) {
        ETCH_ASSIGN_OR_RETURN(Expression term, ParseTerm(depth));
        sequence.children.push_back(std::move(term));
      }
      choice.children.push_back(std::move(sequence));
    } while (Take("|"));
    return choice;
  }

  Result<Expression> ParseTerm(int depth) {
    Expression term;
    if (Take("^")) {
      term.kind = Expression::Kind::kBegin;
      return term;
    }
    if (Take("$")) {
      term.kind = Expression::Kind::kEnd;
      return term;
    }
    ETCH_ASSIGN_OR_RETURN(term, ParseAtom(depth));
    return ParseQuantifier(std::move(term));
  }

  Result<Expression> ParseAtom(int depth) {
    if (Take("(")) {
      for (const char* ahead : {"?=", "?!", "?<=", "?<!"}) {
        if (Sees(ahead)) {
          return Unsupported("look-around");
        }
      }
      if (Take("?<")) {
        while (!Ends() && !Sees(">") && !Sees(")")) {
          ++at_;
        }
        if (!Take(">")) {
          return Malformed("the name of a group does not end");
        }
      } else if (!Take("?:") && Sees("?")) {
        return Unsupported("a group that begins in \"(?\"");
      }
      ETCH_ASSIGN_OR_RETURN(Expression group, ParseChoice(depth + 1));
      if (!Take(")")) {
        return Malformed("\"(\" without \")\"");
      }
      return group;
    }
    if (Take("[")) {
      return ParseClass();
    }
    if (Take(".")) {
      return Class(Complement(kLineEnd));
    }
    if (Take("\\")) {
      std::vector<CodeRange> ranges;
      ETCH_TRY(ParseEscape(false, ranges));
      return Class(std::move(ranges));
    }
    if (Sees("*") || Sees("+") || Sees("?")) {
      return Malformed("nothing to repeat");
    }
    if (Sees("{") || Sees("}") || Sees("]")) {
      return Malformed("a bracket that stands for itself needs \"\\\"");
    }
    const char32_t point = TakeCharacter();
    return Class({{point, point}});
  }

  Result<std::optional<int64_t>> ParseCount() {
    if (Ends() || text_[at_] < '0' || text_[at_] > '9') {
      return std::nullopt;
    }
    int64_t count = 0;
    while (!Ends() && text_[at_] >= '0' && text_[at_] <= '9') {
      count = std::min<int64_t>(count * 10 + (text_[at_++] - '0'), limits_.repeat + 1);
    }
    if (count > limits_.repeat) {
      return Fail(ErrorCode::kUnsupported, "pattern, byte {}: more than {} repetitions", at_,
                  limits_.repeat);
    }
    return count;
  }

  Result<Expression> ParseQuantifier(Expression term) {
    int64_t low = 0;
    int64_t high = -1;
    if (Take("+")) {
      low = 1;
    } else if (Take("?")) {
      high = 1;
    } else if (Take("{")) {
      ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> first, ParseCount());
      if (!first) {
        return Malformed("{m,n} needs a number");
      }
      low = *first;
      high = low;
      if (Take(",")) {
        ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> second, ParseCount());
        high = second.value_or(-1);
      }
      if (!Take("}") || (high >= 0 && high < low)) {
        return Malformed("{m,n} is not a range");
      }
    } else if (!Take("*")) {
      return term;
    }
    Take("?");  // lazy
    if (Sees("*") || Sees("+") || Sees("?") || Sees("{")) {
      return Malformed("nothing to repeat");
    }
    return Repeat(std::move(term), low, high);
  }

  Result<Expression> ParseClass() {
    const bool negated = Take("^");
    std::vector<CodeRange> ranges;
    while (!Ends() && !Sees("]")) {
      std::vector<CodeRange> item;
      ETCH_TRY(ParseClassItem(item));
      const bool is_point = item.size() == 1 && item[0].low == item[0].high;
      if (is_point && Sees("-") && !Sees("-]")) {
        ++at_;
        std::vector<CodeRange> last;
        ETCH_TRY(ParseClassItem(last));
        if (last.size() != 1 || last[0].low != last[0].high || last[0].low < item[0].low) {
          return Malformed("the range of a class ends before it begins");
        }
        item[0].high = last[0].high;
      }
      ranges.insert(ranges.end(), item.begin(), item.end());
    }
    if (!Take("]")) {
      return Malformed("\"[\" without \"]\"");
    }
    return Class(negated ? Complement(ranges) : std::move(ranges));
  }

  Status ParseClassItem(std::vector<CodeRange>& out) {
    if (Ends()) {
      return Malformed("\"[\" without \"]\"");
    }
    if (Take("\\")) {
      return ParseEscape(true, out);
    }
    const char32_t point = TakeCharacter();
    out.push_back({point, point});
    return {};
  }

  Result<char32_t> ParseHex(size_t digits) {
    char32_t value = 0;
    for (size_t index = 0; index < digits; ++index, ++at_) {
      const char digit = Ends() ? '\0' : text_[at_];
      const bool is_letter = (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
      if (!is_letter && !(digit >= '0' && digit <= '9')) {
        return Malformed("not enough hexadecimal digits");
      }
      const int number = is_letter ? (digit | 0x20) - 'a' + 10 : digit - '0';
      value = value * 16 + static_cast<char32_t>(number);
    }
    return value;
  }

  Result<char32_t> ParseUnicode() {
    if (!Take("{")) {
      ETCH_ASSIGN_OR_RETURN(char32_t point, ParseHex(4));
      if (point >= 0xD800 && point <= 0xDBFF && Take("\\u")) {
        ETCH_ASSIGN_OR_RETURN(const char32_t low, ParseHex(4));
        if (low < 0xDC00 || low > 0xDFFF) {
          return Malformed("half of a surrogate pair");
        }
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
      }
      return point;
    }
    char32_t point = 0;
    while (!Sees("}")) {
      ETCH_ASSIGN_OR_RETURN(const char32_t digit, ParseHex(1));
      point = std::min<char32_t>(point * 16 + digit, kLastCodePoint + 1);
    }
    ++at_;
    return point;
  }

  // Behind "\".
  Status ParseEscape(bool in_class, std::vector<CodeRange>& out) {
    if (Ends()) {
      return Malformed("\"\\\" at the end");
    }
    const char letter = text_[at_];
    const auto add = [&](const std::vector<CodeRange>& ranges) {
      ++at_;
      out.insert(out.end(), ranges.begin(), ranges.end());
      return Status();
    };
    const auto add_point = [&](char32_t point) { return add({{point, point}}); };
    switch (letter) {
      case 'd':
        return add(kDigit);
      case 'D':
        return add(Complement(kDigit));
      case 'w':
        return add(kWord);
      case 'W':
        return add(Complement(kWord));
      case 's':
        return add(kSpace);
      case 'S':
        return add(Complement(kSpace));
      case 't':
        return add_point('\t');
      case 'n':
        return add_point('\n');
      case 'v':
        return add_point('\v');
      case 'f':
        return add_point('\f');
      case 'r':
        return add_point('\r');
      case 'x':
      case 'u': {
        ++at_;
        ETCH_ASSIGN_OR_RETURN(const char32_t point, letter == 'x' ? ParseHex(2) : ParseUnicode());
        if (point > kLastCodePoint) {
          return Malformed("no such character");
        }
        out.push_back({point, point});
        return {};
      }
      case 'c': {
        const char control = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
        if ((control | 0x20) < 'a' || (control | 0x20) > 'z') {
          return Malformed("\\c needs a letter");
        }
        ++at_;
        return add_point(static_cast<char32_t>(control & 0x1F));
      }
      case 'b':
        if (in_class) {
          return add_point('\b');
        }
        return Unsupported("\\b");
      default:
        break;
    }
    if (letter == '0' &&
        (at_ + 1 == text_.size() || text_[at_ + 1] < '0' || text_[at_ + 1] > '9')) {
      return add_point(0);
    }
    if (letter >= '0' && letter <= '9') {
      return Unsupported("a back-reference");
    }
    if (kSyntax.find(letter) != std::string_view::npos || letter == '-') {
      return add_point(static_cast<unsigned char>(letter));
    }
    if (letter == 'p' || letter == 'P' || letter == 'B' || letter == 'k') {
      return Unsupported(std::string("\\") + letter);
    }
    return Malformed("an escape that ECMA-262 does not know");
  }

  std::string_view text_;
  const Limits& limits_;
  size_t at_ = 0;
};

}  // namespace

Result<Expression> ParseRegex(std::string_view pattern, const Limits& limits) {
  if (pattern.size() > limits.source_bytes) {
    return Fail(ErrorCode::kInvalidArgument, "the pattern has {} bytes, more than {}",
                pattern.size(), limits.source_bytes);
  }
  return Parser(pattern, limits).Parse();
}

Expression Anywhere(Expression expression) {
  Expression sequence;
  sequence.children.push_back(Repeat(AnyCharacter(), 0, -1));
  sequence.children.push_back(std::move(expression));
  sequence.children.push_back(Repeat(AnyCharacter(), 0, -1));
  return sequence;
}

}  // namespace etch::grammar
