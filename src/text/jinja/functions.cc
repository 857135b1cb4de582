// The global functions. strftime_now must not make two renders of the same inputs differ, so the
// clock is an input too: the context variable named by kClockVariable, or kDefaultClock.

#include "text/jinja/functions.h"

#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"

namespace etch::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

Result<Value> Range(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      Bind("range", {{"start"}, {"stop", Value::None()}, {"step", Value::Int(1)}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const int64_t first, WantInt("range", bound[0]));
  int64_t begin = 0;
  int64_t end = first;
  if (!bound[1].is_none()) {
    begin = first;
    ETCH_ASSIGN_OR_RETURN(end, WantInt("range", bound[1]));
  }
  ETCH_ASSIGN_OR_RETURN(const int64_t step, WantInt("range", bound[2]));
  if (step == 0) {
    return Fail(ErrorCode::kInvalidArgument, "the step of range is 0");
  }
  std::vector<Value> items;
  for (int64_t number = begin; step > 0 ? number < end : number > end;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return Fail(ErrorCode::kNoSpace, "range is longer than {}", kMaxRange);
    }
    items.push_back(Value::Int(number));
    if (__builtin_add_overflow(number, step, &number)) {
      break;
    }
  }
  ETCH_TRY(interpreter.meter().Step(static_cast<int64_t>(items.size() / 16)));
  return MakeList(interpreter.meter(), std::move(items));
}

// dict(mapping, name=value …).
Result<Dict> DictOf(std::string_view function, Interpreter& interpreter,
                    const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) {
    return Fail(ErrorCode::kInvalidArgument, "{} takes at most one dict", function);
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().entries()) {
        ETCH_TRY(interpreter.meter().Step());
        ETCH_TRY(dict.Set(key, value));
      }
    } else {
      ETCH_ASSIGN_OR_RETURN(const std::vector<Value> pairs, Items(source, interpreter.meter()));
      for (const Value& pair : pairs) {
        if (!pair.is_list() || pair.list().items.size() != 2) {
          return Fail(ErrorCode::kInvalidArgument, "{} wants a dict or pairs", function);
        }
        ETCH_TRY(interpreter.meter().Step());
        ETCH_TRY(dict.Set(pair.list().items[0], pair.list().items[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    dict.Set(name, value);
  }
  return dict;
}

Result<Value> MakeDictFunction(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(Dict dict, DictOf("dict", interpreter, arguments));
  return MakeDict(interpreter.meter(), std::move(dict));
}

Result<Value> MakeNamespace(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(Dict dict, DictOf("namespace", interpreter, arguments));
  const size_t bytes = dict.entries().size() * 2 * sizeof(Dict::Entry);
  return interpreter.NewObject({Namespace{std::move(dict)}}, bytes);
}

Result<Value> MakeJoiner(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("joiner", {{"sep", Value::Literal(", ")}}, arguments));
  return interpreter.NewObject({Joiner{.separator = bound[0]}});
}

Result<Value> MakeCycler(Interpreter& interpreter, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "cycler needs values");
  }
  return interpreter.NewObject({Cycler{.items = arguments.positional}},
                               arguments.positional.size() * sizeof(Value));
}

Result<Value> RaiseException(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("raise_exception", {{"message"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(const Value message, ToText(bound[0], interpreter.meter()));
  return Fail(ErrorCode::kInvalidArgument, "the template says: {}", message.text());
}

struct Moment {
  int64_t year;
  int month;        // 1 to 12
  int day;          // 1 to 31
  int day_of_year;  // 1 to 366
  int weekday;      // 0: Sunday
  int hour;
  int minute;
  int second;
};

constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};

bool IsLeap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

// The Gregorian calendar, UTC. `seconds` lies between the years 1970 and 9999.
Moment MomentOf(int64_t seconds) {
  const int64_t days = seconds / 86400;
  const int rest = static_cast<int>(seconds % 86400);
  Moment moment{.year = 1970,
                .month = 1,
                .day = 1,
                .day_of_year = 1,
                .weekday = static_cast<int>((days + 4) % 7),
                .hour = rest / 3600,
                .minute = rest / 60 % 60,
                .second = rest % 60};
  int64_t left = days;
  for (; left >= (IsLeap(moment.year) ? 366 : 365); ++moment.year) {
    left -= IsLeap(moment.year) ? 366 : 365;
  }
  moment.day_of_year = static_cast<int>(left) + 1;
  static constexpr int kLengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (;; ++moment.month) {
    const int length =
        kLengths[moment.month - 1] + (moment.month == 2 && IsLeap(moment.year) ? 1 : 0);
    if (left < length) {
      break;
    }
    left -= length;
  }
  moment.day = static_cast<int>(left) + 1;
  return moment;
}

// One directive of strftime, with and without the padding that %- drops.
Result<std::string> Directive(const Moment& moment, char letter, bool padded) {
  const auto number = [&](int64_t value, int width) {
    return padded ? fmt::format("{:0{}}", value, width) : fmt::format("{}", value);
  };
  const std::string_view month = kMonths[static_cast<size_t>(moment.month - 1)];
  const std::string_view day = kDays[static_cast<size_t>(moment.weekday)];
  switch (letter) {
    case 'Y':
      return fmt::format("{}", moment.year);
    case 'y':
      return number(moment.year % 100, 2);
    case 'm':
      return number(moment.month, 2);
    case 'd':
      return number(moment.day, 2);
    case 'e':
      return fmt::format("{:2}", moment.day);
    case 'j':
      return number(moment.day_of_year, 3);
    case 'H':
      return number(moment.hour, 2);
    case 'I':
      return number((moment.hour + 11) % 12 + 1, 2);
    case 'M':
      return number(moment.minute, 2);
    case 'S':
      return number(moment.second, 2);
    case 'p':
      return std::string(moment.hour < 12 ? "AM" : "PM");
    case 'B':
      return std::string(month);
    case 'b':
      return std::string(month.substr(0, 3));
    case 'A':
      return std::string(day);
    case 'a':
      return std::string(day.substr(0, 3));
    case 'F':
      return fmt::format("{}-{:02}-{:02}", moment.year, moment.month, moment.day);
    case 'T':
      return fmt::format("{:02}:{:02}:{:02}", moment.hour, moment.minute, moment.second);
    case '%':
      return std::string("%");
    default:
      return Fail(ErrorCode::kUnsupported, "strftime_now does not know %{}", letter);
  }
}

Result<Value> StrftimeNow(Interpreter& interpreter, const Arguments& arguments) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        Bind("strftime_now", {{"format"}}, arguments));
  ETCH_ASSIGN_OR_RETURN(std::string_view format, WantText("strftime_now", bound[0]));
  constexpr int64_t kYear10000 = 253'402'300'800;
  if (interpreter.clock() < 0 || interpreter.clock() >= kYear10000) {
    return Fail(ErrorCode::kInvalidArgument, "{} lies outside of the years 1970 to 9999",
                kClockVariable);
  }
  const Moment moment = MomentOf(interpreter.clock());
  TextBuilder out(interpreter.meter());
  while (!format.empty()) {
    ETCH_TRY(interpreter.meter().Step());
    const size_t percent = std::min(format.find('%'), format.size());
    ETCH_TRY(out.Append(format.substr(0, percent)));
    format.remove_prefix(percent);
    if (format.empty()) {
      break;
    }
    format.remove_prefix(1);
    const bool padded = !format.starts_with('-');
    format.remove_prefix(padded ? 0 : 1);
    if (format.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "the format of strftime_now ends in %");
    }
    ETCH_ASSIGN_OR_RETURN(const std::string text, Directive(moment, format[0], padded));
    ETCH_TRY(out.Append(text));
    format.remove_prefix(1);
  }
  return out.Finish();
}

constexpr Function kFunctions[] = {{"range", Range},
                                   {"dict", MakeDictFunction},
                                   {"namespace", MakeNamespace},
                                   {"joiner", MakeJoiner},
                                   {"cycler", MakeCycler},
                                   {"raise_exception", RaiseException},
                                   {"strftime_now", StrftimeNow}};

}  // namespace

const Function* FindFunction(std::string_view name) {
  for (const Function& function : kFunctions) {
    if (function.name == name) {
      return &function;
    }
  }
  return nullptr;
}

}  // namespace etch::jinja
