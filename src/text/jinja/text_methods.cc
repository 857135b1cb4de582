// The methods of str. Each charges the bytes it reads; what it makes is charged where it is made.

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace etch::jinja {
namespace {

template <std::string (*kMap)(std::string_view)>
Result<Value> Mapped(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("the method", {}, arguments));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  return MakeText(interpreter.meter(), kMap(self.text()));
}

enum Sides { kLeft = 1, kRight = 2, kBoth = 3 };

template <Sides kSides>
Result<Value> Strip(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("strip", {{"chars", Value::None()}}, arguments));
  std::string_view text = self.text();
  if (bound[0].is_none()) {
    text = kSides & kLeft ? StripLeft(text) : text;
    text = kSides & kRight ? StripRight(text) : text;
  } else {
    ETCH_ASSIGN_OR_RETURN(const std::string_view set, WantText("strip", bound[0]));
    // Each stripped code point searches the set.
    ETCH_TRY(
        interpreter.meter().Step(1 + static_cast<int64_t>(text.size() * (set.size() / 16) / 8)));
    text = kSides & kLeft ? StripLeft(text, set) : text;
    text = kSides & kRight ? StripRight(text, set) : text;
  }
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  return MakeText(interpreter.meter(), std::string(text));
}

// Pieces between runs of white space, at most `limit` cuts, from the left or from the right.
std::vector<std::string_view> SplitSpace(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> pieces;
  text = from_right ? StripRight(text) : StripLeft(text);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(pieces.size()) >= limit) {
      pieces.push_back(from_right ? StripLeft(text) == text ? text : StripRight(text) : text);
      break;
    }
    size_t cut = from_right ? text.size() : 0;
    if (from_right) {
      while (cut > 0 && StripRight(text.substr(0, cut)).size() == cut) {
        --cut;
      }
      pieces.push_back(text.substr(cut));
      text = StripRight(text.substr(0, cut));
    } else {
      while (cut < text.size() && !IsSpace(CodePointAt(text, cut).value)) {
        cut += CodePointAt(text, cut).bytes.size();
      }
      pieces.push_back(text.substr(0, cut));
      text = StripLeft(text.substr(cut));
    }
  }
  return pieces;
}

std::vector<std::string_view> SplitSeparator(std::string_view text, std::string_view separator,
                                             int64_t limit, bool from_right) {
  std::vector<std::string_view> pieces;
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) {
      break;
    }
    pieces.push_back(from_right ? text.substr(found + separator.size()) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(found + separator.size());
  }
  pieces.push_back(text);
  return pieces;
}

Result<Value> TextList(const std::vector<std::string_view>& pieces, Meter& meter) {
  std::vector<Value> items;
  for (const std::string_view piece : pieces) {
    ETCH_ASSIGN_OR_RETURN(Value item, MakeText(meter, std::string(piece)));
    items.push_back(std::move(item));
  }
  return MakeList(meter, std::move(items));
}

template <bool kFromRight>
Result<Value> Split(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("split", {{"sep", Value::None()}, {"maxsplit", Value::Int(-1)}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t limit, WantInt("split", bound[1]));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  std::vector<std::string_view> pieces;
  if (bound[0].is_none()) {
    pieces = SplitSpace(self.text(), limit, kFromRight);
  } else {
    ETCH_ASSIGN_OR_RETURN(const std::string_view separator, WantText("split", bound[0]));
    if (separator.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "split wants a separator that is not empty");
    }
    pieces = SplitSeparator(self.text(), separator, limit, kFromRight);
  }
  if (kFromRight) {
    std::reverse(pieces.begin(), pieces.end());
  }
  return TextList(pieces, interpreter.meter());
}

Result<Value> SplitLinesMethod(Interpreter& interpreter, const Value& self,
                               const Arguments& arguments) {
  ETCH_TRY(Bind("splitlines", {}, arguments));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  return TextList(SplitLines(self.text()), interpreter.meter());
}

template <bool kAtEnd>
Result<Value> Affix(Interpreter&, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind(kAtEnd ? "endswith" : "startswith", {{"affix"}}, arguments));
  const std::vector<Value> choices =
      bound[0].is_list() && bound[0].list().is_tuple ? bound[0].list().items : bound;
  for (const Value& choice : choices) {
    ETCH_ASSIGN_OR_RETURN(const std::string_view affix,
                          WantText(kAtEnd ? "endswith" : "startswith", choice));
    if (kAtEnd ? self.text().ends_with(affix) : self.text().starts_with(affix)) {
      return Value::Bool(true);
    }
  }
  return Value::Bool(false);
}

template <bool kSuffix>
Result<Value> RemoveAffix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("remove", {{"affix"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view affix, WantText("remove", bound[0]));
  std::string_view text = self.text();
  if (kSuffix && text.ends_with(affix)) {
    text.remove_suffix(affix.size());
  } else if (!kSuffix && text.starts_with(affix)) {
    text.remove_prefix(affix.size());
  }
  return MakeText(interpreter.meter(), std::string(text));
}

Result<Value> Replace(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("replace", {{"old"}, {"new"}, {"count", Value::Int(-1)}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view before, WantText("replace", bound[0]));
  ETCH_ASSIGN_OR_RETURN(const std::string_view after, WantText("replace", bound[1]));
  ETCH_ASSIGN_OR_RETURN(const int64_t count, WantInt("replace", bound[2]));
  return ReplaceText(self.text(), before, after, count, interpreter.meter());
}

// The index of a code point, or -1.
template <bool kFromRight>
Result<int64_t> FindCodePoint(Interpreter& interpreter, const Value& self,
                              const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("find", {{"sub"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view part, WantText("find", bound[0]));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  const size_t found = kFromRight ? self.text().rfind(part) : self.text().find(part);
  return found == std::string_view::npos ? -1 : CountCodePoints(self.text().substr(0, found));
}

template <bool kFromRight>
Result<Value> Find(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const int64_t index,
                        FindCodePoint<kFromRight>(interpreter, self, arguments));
  return Value::Int(index);
}

template <bool kFromRight>
Result<Value> Index(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const int64_t index,
                        FindCodePoint<kFromRight>(interpreter, self, arguments));
  if (index < 0) {
    return Fail(ErrorCode::kInvalidArgument, "the text does not contain what index looks for");
  }
  return Value::Int(index);
}

Result<Value> Count(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("count", {{"sub"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view part, WantText("count", bound[0]));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  if (part.empty()) {
    return Value::Int(CountCodePoints(self.text()) + 1);
  }
  return Value::Int(static_cast<int64_t>(SplitSeparator(self.text(), part, -1, false).size()) - 1);
}

template <bool kFromRight>
Result<Value> Partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("partition", {{"sep"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::string_view separator, WantText("partition", bound[0]));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  const std::string_view text = self.text();
  const size_t found = kFromRight ? text.rfind(separator) : text.find(separator);
  std::vector<std::string_view> parts = {text, "", ""};
  if (found != std::string_view::npos) {
    parts = {text.substr(0, found), separator, text.substr(found + separator.size())};
  } else if (kFromRight) {
    parts = {"", "", text};
  }
  ETCH_ASSIGN_OR_RETURN(const Value list, TextList(parts, interpreter.meter()));
  return MakeList(interpreter.meter(), list.list().items, true);
}

Result<Value> Join(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound, Bind("join", {{"items"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(bound[0], interpreter.meter()));
  TextBuilder out(interpreter.meter());
  for (size_t index = 0; index < items.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const std::string_view item, WantText("join", items[index]));
    ETCH_TRY(out.Append(index == 0 ? "" : self.text()));
    ETCH_TRY(out.Append(item));
  }
  return out.Finish();
}

Result<Value> Format(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return FormatBraces(interpreter, self.text(), arguments);
}

// Whether the text is not empty and all its code points are of a class.
template <bool (*kInClass)(uint32_t)>
Result<Value> All(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ETCH_TRY(Bind("the method", {}, arguments));
  ETCH_TRY(interpreter.meter().Read(self.text().size()));
  for (size_t offset = 0; offset < self.text().size();) {
    const CodePoint point = CodePointAt(self.text(), offset);
    if (!kInClass(point.value)) {
      return Value::Bool(false);
    }
    offset += point.bytes.size();
  }
  return Value::Bool(!self.text().empty());
}

bool IsDigit(uint32_t point) { return point >= '0' && point <= '9'; }
// Every letter of a script without case counts as a letter.
bool IsLetter(uint32_t point) { return IsCased(point) || (point > 0x2af && !IsSpace(point)); }
bool IsLetterOrDigit(uint32_t point) { return IsLetter(point) || IsDigit(point); }

struct Entry {
  std::string_view name;
  MethodFunction function;
};

constexpr Entry kMethods[] = {{"upper", Mapped<Upper>},
                              {"lower", Mapped<Lower>},
                              {"title", Mapped<Title>},
                              {"capitalize", Mapped<Capitalize>},
                              {"strip", Strip<kBoth>},
                              {"lstrip", Strip<kLeft>},
                              {"rstrip", Strip<kRight>},
                              {"split", Split<false>},
                              {"rsplit", Split<true>},
                              {"splitlines", SplitLinesMethod},
                              {"startswith", Affix<false>},
                              {"endswith", Affix<true>},
                              {"removeprefix", RemoveAffix<false>},
                              {"removesuffix", RemoveAffix<true>},
                              {"replace", Replace},
                              {"find", Find<false>},
                              {"rfind", Find<true>},
                              {"index", Index<false>},
                              {"rindex", Index<true>},
                              {"count", Count},
                              {"partition", Partition<false>},
                              {"rpartition", Partition<true>},
                              {"join", Join},
                              {"format", Format},
                              {"isspace", All<IsSpace>},
                              {"isdigit", All<IsDigit>},
                              {"isalpha", All<IsLetter>},
                              {"isalnum", All<IsLetterOrDigit>}};

}  // namespace

MethodFunction FindTextMethod(std::string_view name) {
  for (const Entry& entry : kMethods) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = CodePointAt(text, at);
    const uint32_t c = point.value;
    const bool ends =
        (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    const size_t end = at;
    at += point.bytes.size();
    if (ends) {
      lines.push_back(text.substr(begin, end - begin));
      at += c == '\r' && at < text.size() && text[at] == '\n' ? 1 : 0;
      begin = at;
    }
  }
  if (begin < text.size()) {
    lines.push_back(text.substr(begin));
  }
  return lines;
}

Result<Value> ReplaceText(std::string_view text, std::string_view before, std::string_view after,
                          int64_t count, Meter& meter) {
  ETCH_TRY(meter.Read(text.size()));
  TextBuilder out(meter);
  size_t at = 0;
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    ETCH_TRY(meter.Step());
    if (before.empty()) {  // between all code points and at both ends
      ETCH_TRY(out.Append(after));
      if (at == text.size()) {
        return out.Finish();
      }
      const std::string_view bytes = CodePointAt(text, at).bytes;
      ETCH_TRY(out.Append(bytes));
      at += bytes.size();
      continue;
    }
    const size_t found = text.find(before, at);
    if (found == std::string_view::npos) {
      break;
    }
    ETCH_TRY(out.Append(text.substr(at, found - at)));
    ETCH_TRY(out.Append(after));
    at = found + before.size();
  }
  ETCH_TRY(out.Append(text.substr(at)));
  return out.Finish();
}

}  // namespace etch::jinja
