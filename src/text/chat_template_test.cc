#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>

#include "support/data.h"

namespace etch::text {
namespace {

Result<std::string> RenderSource(std::string_view source, std::string_view context = "{}",
                                 const RenderLimits& limits = {}) {
  ETCH_ASSIGN_OR_RETURN(const ChatTemplate parsed, ChatTemplate::Parse(source));
  return parsed.Render(context, limits);
}

void ExpectText(std::string_view source, std::string_view expected,
                std::string_view context = "{}") {
  const Result<std::string> text = RenderSource(source, context);
  ASSERT_TRUE(text.has_value()) << source << ": " << text.error().message;
  EXPECT_EQ(*text, expected) << source;
}

void ExpectError(const Result<std::string>& result, ErrorCode code, std::string_view part,
                 std::string_view trace) {
  ASSERT_FALSE(result.has_value()) << trace << " → " << result->substr(0, 200);
  EXPECT_EQ(ErrorCodeName(result.error().code), ErrorCodeName(code))
      << trace << ": " << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos)
      << trace << ": " << result.error().message << "\n  lacks: " << part;
}

std::string Repeat(std::string_view part, int count) {
  std::string text;
  for (int copy = 0; copy < count; ++copy) {
    text += part;
  }
  return text;
}

TEST(ChatTemplate, RendersAChat) {
  const Result<ChatTemplate> parsed = ChatTemplate::Parse(
      "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}"
      "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}");
  ASSERT_TRUE(parsed.has_value());
  const std::vector<ChatMessage> messages = {{"system", "Be \"brief\"\n"}, {"user", "Où?"}};
  EXPECT_EQ(parsed->RenderChat(messages, true, "[", "]").value_or(""),
            "[<system>Be \"brief\"\n]<user>Où?]<assistant>");
  EXPECT_EQ(parsed->RenderChat(messages, false, "", "").value_or(""),
            "<system>Be \"brief\"\n<user>Où?");
  ExpectError(parsed->RenderChat({{"user", "\xff"}}, true, "", ""), ErrorCode::kInvalidArgument,
              "not UTF-8", "broken content");
}

TEST(ChatTemplate, OfTheBundledBase) {
  const std::filesystem::path file =
      test::SourceFolder() / "examples" / "bundled" / "chat_template.jinja";
  std::ifstream in(file, std::ios::binary);
  const std::string source{std::istreambuf_iterator<char>(in), {}};
  const Result<ChatTemplate> parsed = ChatTemplate::Parse(source);
  ASSERT_TRUE(parsed.has_value()) << file;
  std::vector<ChatMessage> chat = {{"system", "Firm: Oak\nPhone: 1"}, {"user", " Hi "}};
  const std::string prompt =
      "<|bos|><|system|>Firm: Oak\nPhone: 1<|end|><|user|>Hi<|end|><|assistant|>";
  EXPECT_EQ(parsed->RenderChat(chat, true, "<|bos|>", "<|end|>").value_or(""), prompt);
  // What is trained on goes on where the prompt ends.
  chat.push_back({"assistant", "Hello!"});
  EXPECT_EQ(parsed->RenderChat(chat, false, "<|bos|>", "<|end|>").value_or(""),
            prompt + "Hello!<|end|>");
  ExpectError(parsed->RenderChat({{"tool", "x"}}, true, "", ""), ErrorCode::kInvalidArgument,
              "a message is by system, user or assistant", "role");
}

TEST(ChatTemplate, MarksWhatTheAssistantGenerates) {
  const Result<ChatTemplate> parsed = ChatTemplate::Parse(
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }};"
      "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}");
  ASSERT_TRUE(parsed.has_value());
  const std::vector<ChatMessage> messages = {{"user", "a"}, {"assistant", "b"}};
  EXPECT_EQ(parsed->RenderMarkedChat(messages, "", "", "<", ">").value_or(""), "a<b;>");
  EXPECT_EQ(parsed->RenderChat(messages, false, "", "").value_or(""), "ab;");
}

TEST(ChatTemplate, IsUsableAfterAMove) {
  Result<ChatTemplate> parsed = ChatTemplate::Parse("{{ 1 + 1 }}");
  ASSERT_TRUE(parsed.has_value());
  ChatTemplate moved = std::move(*parsed);
  EXPECT_EQ(moved.Render("{}").value_or(""), "2");
}

TEST(ChatTemplate, TheClockIsAnInput) {
  constexpr std::string_view kSource = "{{ strftime_now('%d %b %Y, %-d/%-m, %e, %F %T') }}";
  ExpectText(kSource, "26 Jul 2024, 26/7, 26, 2024-07-26 00:00:00");
  ExpectText(kSource, "29 Feb 2000, 29/2, 29, 2000-02-29 23:59:59",
             R"({"strftime_now_seconds": 951868799})");
  ExpectText(kSource, "01 Jan 1970, 1/1,  1, 1970-01-01 00:00:00",
             R"({"strftime_now_seconds": 0})");
}

TEST(ChatTemplate, KeepsTheOrderAndTheLastOfEqualKeys) {
  ExpectText("{{ d }}{{ d.a.keys() }}", "{'z': 1, 'a': {'y': 2, 'b': None}}['y', 'b']",
             R"({"d": {"z": 0, "a": {"y": 2, "b": null}, "z": 1}})");
}

TEST(ChatTemplate, BrokenUtf8PassesThrough) {
  ExpectText("a\xff{{ '\xc3' }}{{ '\xff' | length }}{{ '\xe2\x82x'[2] }}",
             "a\xff\xc3"
             "1x");
}

// What Jinja2 does as well but on which Python versions differ, or where this engine goes further.
TEST(ChatTemplate, GoesBeyondJinja2) {
  ExpectText("{{ '{\"a\": [1, null]}' | from_json }}", "{'a': [1, None]}");
  ExpectText("{{ [1, 2] | select('odd') | length }}", "1");
  ExpectText("{{ 'aXbX'.replace('X', '-', count=1) }}", "a-bX");
  ExpectText("{{ {'items': 5}.items is callable }}{{ {'items': 5}['items'] }}", "True5");
  ExpectText("{{ loop is defined }}{{ range }}{{ namespace(a=1) }}", "False<function><Namespace>");
  ExpectText("{% for x in [1] %}{% set ns = namespace(l=loop) %}{{ ns.l.index }}{% endfor %}", "1");
}

TEST(ChatTemplate, SyntaxErrorsNameTheirPlace) {
  const std::tuple<std::string_view, ErrorCode, std::string_view> cases[] = {
      {"a\nb {{ 1 + }}", ErrorCode::kMalformed, "line 2, column 10: expected an expression"},
      {"{{ x", ErrorCode::kMalformed, "line 1, column 5: the tag is not closed by }}"},
      {"{% if x", ErrorCode::kMalformed, "the tag is not closed by %}"},
      {"{# x", ErrorCode::kMalformed, "the comment is not closed by #}"},
      {"{% raw %} x", ErrorCode::kMalformed, "{% raw %} is not closed by {% endraw %}"},
      {"{{ 'x }}", ErrorCode::kMalformed, "the string is not closed"},
      {"{{ '\\x4' }}", ErrorCode::kMalformed, "broken \\x, \\u or \\U escape"},
      {"{{ '\\Uffffffff' }}", ErrorCode::kMalformed, "broken \\x, \\u or \\U escape"},
      {"{{ x ? y }}", ErrorCode::kMalformed, "unexpected character '?'"},
      {"{{ x y }}", ErrorCode::kMalformed, "expected '}}', got 'y'"},
      {"{% if x y %}", ErrorCode::kMalformed, "expected '%}', got 'y'"},
      {"{{ x[ }}", ErrorCode::kMalformed, "the tag is not closed by }}"},
      {"{{ x[] }}", ErrorCode::kMalformed, "expected an index, got '}}'"},
      {"{{ (1 ] }}", ErrorCode::kMalformed, "expected ')', got ']'"},
      {"{{ x. }}", ErrorCode::kMalformed, "expected a name"},
      {"{{ f(a=1, 2) }}", ErrorCode::kMalformed, "an argument without a name follows one with"},
      {"{% macro m(a=1, b) %}", ErrorCode::kMalformed, "a parameter without a default follows"},
      {"{% if x %}a", ErrorCode::kMalformed, "the template ends where {% endif %} should follow"},
      {"{% endif %}", ErrorCode::kMalformed, "{% endif %} is out of place or unknown"},
      {"{% break %}", ErrorCode::kMalformed, "{% break %} outside of a loop"},
      {"{% for x in y %}{% macro m() %}{% continue %}", ErrorCode::kMalformed, "outside of a loop"},
      {"{% call x %}{% endcall %}", ErrorCode::kMalformed, "expected the call of a macro"},
      {"{% set 1 = 2 %}", ErrorCode::kMalformed, "expected a name, got '1'"},
      {"{% include 'x' %}", ErrorCode::kUnsupported, "{% include %} is not allowed"},
      {"{% import 'x' as y %}", ErrorCode::kUnsupported, "{% import %} is not allowed"},
      {"{% for x in y recursive %}", ErrorCode::kUnsupported, "recursive loops"},
      {"{{ 99999999999999999999 }}", ErrorCode::kUnsupported, "99999999999999999999 is out of"},
  };
  for (const auto& [source, code, part] : cases) {
    ExpectError(RenderSource(source), code, part, source);
  }
}

TEST(ChatTemplate, RenderErrorsNameTheirPlace) {
  const std::tuple<std::string_view, std::string_view> cases[] = {
      {"x\n{{ a.b }}", "line 2, column 4: 'a' is undefined, near `a.b }}`"},
      {"{{ {}.a.b }}", "'dict object' has no attribute 'a'"},
      {"{{ [1][5].x }}", "'list object' has no element 5"},
      {"{{ 5[0].x }}", "'int object' has no element of type 'int'"},
      {"{{ raise_exception('No ' ~ 1) }}", "the template says: No 1"},
      {"{{ 1 + 'a' }}", "unsupported operand types for +: 'int' and 'str'"},
      {"{{ 1 < 'a' }}", "unsupported operand types for <"},
      {"{{ -'a' }}", "a value of type 'str' has no sign"},
      {"{{ 1 // 0 }}", "division by zero"},
      {"{{ 1 % 0 }}", "division by zero"},
      {"{{ 9223372036854775807 + 1 }}", "the integer exceeds 64 bits"},
      {"{{ (-9223372036854775807 - 1) // -1 }}", "the integer exceeds 64 bits"},
      {"{{ 10 ** 30 }}", "the integer exceeds 64 bits"},
      {"{{ 1 in 'a' }}", "'in <text>' wants a text on the left"},
      {"{{ 1 in 2 }}", "a value of type 'int' cannot contain anything"},
      {"{{ {[]: 1} }}", "unhashable type: 'list'"},
      {"{% for x in 5 %}{% endfor %}", "a value of type 'int' is not iterable"},
      {"{{ 5 | length }}", "a value of type 'int' has no length"},
      {"{{ 5[1:] }}", "a value of type 'int' cannot be sliced"},
      {"{{ 'a'['b':] }}", "a slice wants integers"},
      {"{{ 'a'[::'b'] }}", "a slice wants integers"},
      {"{{ 'a'[::0] }}", "the step of a slice is 0"},
      {"{{ 5() }}", "a value of type 'int' cannot be called"},
      {"{{ [1].index(2) }}", "the value is not in the list"},
      {"{{ 'a'.index('b') }}", "does not contain what index looks for"},
      {"{{ 'a'.split('') }}", "a separator that is not empty"},
      {"{{ 'a'.upper(1) }}", "takes at most 0 arguments, not 1"},
      {"{{ 'a'.replace('b') }}", "replace needs its parameter 'new'"},
      {"{{ 'a' | indent(wide=1) }}", "indent has no parameter 'wide'"},
      {"{{ 'a' | indent(1, width=1) }}", "indent got its parameter 'width' twice"},
      {"{{ 'a' | indent('x'.y) }}", "has no attribute 'y'"},
      {"{{ 'a' | indent([]) }}", "indent wants an integer, not 'list'"},
      {"{{ 5 | from_json }}", "from_json wants a text, not 'int'"},
      {"{{ x | tojson }}", "a value of type Undefined has no form in JSON: 'x' is undefined"},
      {"{{ {(1, 2): 3} | tojson }}", "a key of type tuple has no form in JSON"},
      {"{{ {1: 3} | tojson(sort_keys=true) }}", "sort_keys wants keys that are texts"},
      {"{{ 1 | tojson(separators=1) }}", "tojson wants two separators"},
      {"{{ 1 | tojson(indent=101) }}", "indent of tojson lies between 0 and 100"},
      {"{{ 1 | int(base=1) }}", "base of int lies between 2 and 36"},
      {"{{ 'a' | round }}", "round wants a number"},
      {"{{ 1 | round(0, 'up') }}", "round knows common, ceil and floor, not 'up'"},
      {"{{ 1 | items }}", "items wants a dict, not 'int'"},
      {"{{ 1 | dictsort }}", "dictsort wants a dict"},
      {"{{ [1] | batch(0) }}", "a batch has between 1 and 100000 items"},
      {"{{ [1] | selectattr }}", "the filter needs the name of an attribute"},
      {"{{ '%d' % 'a' }}", "format d wants a number, not 'str'"},
      {"{{ '%s' % () }}", "the format wants more values than it gets"},
      {"{{ '%s' % (1, 2) }}", "the format wants fewer values than it gets"},
      {"{{ '%' % 1 }}", "is not a format of this engine"},
      {"{{ '{x.y}'.format(x=1) }}", "'x.y' is not a format of this engine"},
      {"{{ '{'.format() }}", "is not a format of this engine"},
      {"{{ '%d' % 1e300 }}", "the integer exceeds 64 bits"},
      {"{{ range(1, 2, 0) }}", "the step of range is 0"},
      {"{{ dict(1, 2) }}", "dict takes at most one dict"},
      {"{{ dict([1]) }}", "dict wants a dict or pairs"},
      {"{{ cycler() }}", "cycler needs values"},
      {"{% for x in [1] %}{{ loop.cycle() }}{% endfor %}", "cycle needs values"},
      {"{{ strftime_now('%') }}", "the format of strftime_now ends in %"},
      {"{% set d = {} %}{% set d.a = 1 %}", "only attributes of a namespace can be set"},
      {"{% set a, b = [1] %}", "1 values to unpack into 2 names"},
      {"{% macro m() %}{% endmacro %}{{ m(1) }}", "macro 'm' takes 0 arguments, not 1"},
      {"{% macro m() %}{% endmacro %}{{ m(a=1) }}", "macro 'm' has no parameter 'a'"},
      {"{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}", "parameter 'a' was not provided"},
      {"{{ range(*[1], **5) }}", "** wants a dict, not 'int'"},
      {"{{ range(**{1: 2}) }}", "** wants texts as keys"},
      {"{{ (1 if false).x }}", "the condition is false and there is no else"},
      {"{{ [] | first.x }}", "expected"},
      {"{{ ([] | first).x }}", "the sequence is empty"},
      {"{{ '' | format(a=1) }}", "format takes no named arguments"},
  };
  for (const auto& [source, part] : cases) {
    const Result<std::string> text = RenderSource(source);
    ASSERT_FALSE(text.has_value()) << source << " → " << *text;
    EXPECT_NE(text.error().message.find(part), std::string::npos)
        << source << ": " << text.error().message;
    EXPECT_TRUE(text.error().message.starts_with("chat template: line ")) << text.error().message;
  }
}

TEST(ChatTemplate, WhatIsLeftOutIsUnsupported) {
  ExpectError(RenderSource("{{ 1 | nothing }}"), ErrorCode::kUnsupported,
              "there is no filter named 'nothing'", "filter");
  ExpectError(RenderSource("{{ 1 is nothing }}"), ErrorCode::kUnsupported,
              "there is no test named 'nothing'", "test");
  ExpectError(RenderSource("{{ [1].append(2) }}"), ErrorCode::kUnsupported,
              "list.append would change a value", "list");
  ExpectError(RenderSource("{{ {}.update({}) }}"), ErrorCode::kUnsupported,
              "dict.update would change a value", "dict");
  ExpectError(RenderSource("{{ strftime_now('%Q') }}"), ErrorCode::kUnsupported,
              "strftime_now does not know %Q", "strftime");
  ExpectError(RenderSource("{{ {(" + Repeat("'" + Repeat("k", 5000) + "',", 1) + "): 1} }}"),
              ErrorCode::kUnsupported, "a tuple as key is longer than 4096 bytes", "key");
  ExpectError(RenderSource(Repeat("a", (1 << 20) + 1)), ErrorCode::kUnsupported,
              "1048577 bytes, more than 1048576", "size");
}

TEST(ChatTemplate, TheContextIsChecked) {
  ExpectError(RenderSource("", "{\"a\": "), ErrorCode::kMalformed, "broken JSON at byte", "cut");
  ExpectError(RenderSource("", "[1]"), ErrorCode::kInvalidArgument, "no JSON object", "list");
  ExpectError(RenderSource("", R"({"a": 18446744073709551615})"), ErrorCode::kMalformed,
              "the integer 18446744073709551615 exceeds 64 bits", "integer");
  ExpectError(RenderSource("", "{\"a\": " + Repeat("[", 200000)), ErrorCode::kNoSpace,
              "the JSON is nested deeper than 100", "depth");
  ExpectError(RenderSource("{{ strftime_now('%Y') }}", R"({"strftime_now_seconds": -1})"),
              ErrorCode::kInvalidArgument, "outside of the years 1970 to 9999", "clock");
  ExpectError(RenderSource("", "{\"a\": \"" + Repeat("x", 5000) + "\"}", {.max_value_bytes = 4096}),
              ErrorCode::kNoSpace, "the values of the template take more than 4096 bytes", "bytes");
}

// Of processor time; sanitizers slow the engine down by about ten.
#if defined(__SANITIZE_ADDRESS__)
constexpr double kMaxSeconds = 10.0;
#else
constexpr double kMaxSeconds = 1.0;
#endif

// Each ends in one error, within a second; most take some milliseconds.
TEST(ChatTemplate, HostileTemplatesEndInOneError) {
  const std::string loops =
      Repeat("{% for x in range(100000) %}", 5) + "x" + Repeat("{% endfor %}", 5);
  const std::string doubling =
      "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}"
      "{% set n.s = n.s ~ n.s %}{% endfor %}";
  const std::string cases[] = {
      loops,
      doubling,
      "{{ range(10**9) }}",
      "{{ 'a' * 10**12 }}",
      "{{ [1] * 10**12 }}",
      "{% for i in range(10**5) %}{% set x = 'a' * 10**7 %}{% endfor %}",
      "{% for i in range(10**5) %}{% set x = ('a' * 10**6) | upper | length %}{% endfor %}",
      "{% set s = 'ab' * 10**6 %}{% for i in range(10**5) %}{% set x = s.replace('a', 'b') %}"
      "{% endfor %}",
      "{% set s = ' ' * 10**6 %}{% for i in range(10**5) %}{% set x = s.split(' ') %}{% endfor %}",
      "{% set s = 'a' * 10**6 %}{% for i in range(10**5) %}{% set x = s[i] %}{% endfor %}",
      "{% set s = 'a' * 10**6 %}{% for i in range(10**5) %}{% set x = s.strip(s) %}{% endfor %}",
      "{% for i in range(10**5) %}{{ 'x' * 10**4 }}{% endfor %}",
      "{{ '%999999999d' % 1 }}",
      "{{ '{:>99999999}'.format(1) }}",
      "{{ 'a\nb' | indent(10**9) }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}",
      "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
      "{% set n = namespace(x=[]) %}{% for i in range(10**5) %}{% set n.x = [n.x] %}{% endfor %}",
      "{% set n = namespace(x={}) %}{% for i in range(10**5) %}{% set n.x = {1: n.x} %}"
      "{% endfor %}",
      "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
      "{{ n.x }}",
      "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
      "{{ n.x == n.x }}{{ n.x | tojson | length }}",
      "{% set n = namespace(x=(1,)) %}{% for i in range(90) %}{% set n.x = (n.x, n.x) %}"
      "{% endfor %}{{ {n.x: 1} }}",
      "{% for i in range(10**5) %}{% for j in range(100) %}{{ [3, 1, 2] | sort }}{% endfor %}"
      "{% endfor %}",
      "{{ " + Repeat("(", 100000) + "1" + Repeat(")", 100000) + " }}",
      "{{ " + Repeat("[", 100000) + " }}",
      "{{ " + Repeat("not ", 100000) + "1 }}",
      "{{ " + Repeat("-", 100000) + "1 }}",
      "{{ x" + Repeat(".a", 100000) + " }}",
      "{{ 1" + Repeat("|abs", 100000) + " }}",
      "{{ 1" + Repeat(" if 1 else 2", 50000) + " }}",
      "{{ 1" + Repeat(" is defined", 50000) + " }}",
      "{% set " + Repeat("(", 100000) + "a",
      Repeat("{% if 1 %}", 50000),
      Repeat("{% for x in [1] %}", 50000),
  };
  for (const std::string& source : cases) {
    const std::clock_t start = std::clock();
    const Result<std::string> text = RenderSource(source);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(seconds, kMaxSeconds) << source.substr(0, 120);
    ASSERT_FALSE(text.has_value()) << source.substr(0, 120);
    EXPECT_EQ(text.error().message.find('\n'), std::string::npos) << text.error().message;
    EXPECT_LT(text.error().message.size(), 300u) << text.error().message;
  }
}

TEST(ChatTemplate, EachLimitHasItsMessage) {
  const auto render = [](std::string_view source, RenderLimits limits) {
    return RenderSource(source, "{}", limits);
  };
  constexpr std::string_view kLoop = "{% for i in range(1000) %}{{ i }}{% endfor %}";
  ExpectError(render(kLoop, {.max_steps = 500}), ErrorCode::kNoSpace,
              "the template takes more than 500 steps", "steps");
  ExpectError(render(kLoop, {.max_output_bytes = 100}), ErrorCode::kNoSpace,
              "the template writes more than 100 bytes", "output");
  ExpectError(render(kLoop, {.max_value_bytes = 1000}), ErrorCode::kNoSpace,
              "the values of the template take more than 1000 bytes", "values");
  ExpectError(render("{{ 'a' * 1000 }}", {.max_value_bytes = 900}), ErrorCode::kNoSpace,
              "the values of the template take more than 900 bytes", "repeat");
  ExpectError(render("{{ ((((1 + 1) + 1) + 1) + 1) }}", {.max_depth = 3}), ErrorCode::kNoSpace,
              "the template nests deeper than 3", "depth");
  ExpectError(render("{% filter upper|lower|upper|lower %}a{% endfilter %}", {.max_depth = 2}),
              ErrorCode::kNoSpace, "the template nests deeper than 2", "filters");
  ExpectError(render("{% set n = namespace(x=[]) %}{% for i in range(9) %}{% set n.x = [n.x] %}"
                     "{% endfor %}",
                     {.max_depth = 8}),
              ErrorCode::kNoSpace, "lists are nested deeper than 8", "lists");
  ExpectError(render("{% set n = namespace(x={}) %}{% for i in range(9) %}{% set n.x = {1: n.x} %}"
                     "{% endfor %}",
                     {.max_depth = 8}),
              ErrorCode::kNoSpace, "dicts are nested deeper than 8", "dicts");
  ExpectError(render("{{ range(100001) }}", {}), ErrorCode::kNoSpace, "range is longer than 100000",
              "range");
  ExpectError(render("{{ '%1001d' % 1 }}", {}), ErrorCode::kNoSpace,
              "a width in a format exceeds 1000", "width");
  ExpectError(render("{{ 'a' | indent(1001) }}", {}), ErrorCode::kNoSpace,
              "indent is wider than 1000", "indent");
  ExpectError(RenderSource("{{ " + Repeat("(", 101) + "1" + Repeat(")", 101) + " }}"),
              ErrorCode::kUnsupported, "expressions are nested deeper than 100", "parentheses");
  ExpectError(RenderSource(Repeat("{% if 1 %}", 101)), ErrorCode::kUnsupported,
              "blocks are nested deeper than 100", "blocks");
  EXPECT_EQ(render(kLoop, {}).value_or("").size(), 2890u);
}

}  // namespace
}  // namespace etch::text
