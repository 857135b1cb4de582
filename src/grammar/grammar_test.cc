#include "grammar/constraint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <random>

#include "grammar/machine.h"
#include "grammar/number.h"
#include "grammar/token_masks.h"

namespace etch::grammar {
namespace {

bool Takes(const Result<ConstraintPtr>& constraint, std::string_view text) {
  EXPECT_TRUE(constraint) << (constraint ? "" : constraint.error().message);
  if (!constraint) {
    return false;
  }
  Machine machine((*constraint)->program());
  StateId state = machine.start();
  for (const char byte : text) {
    state = machine.Next(state, static_cast<uint8_t>(byte));
  }
  return machine.accepts(state);
}

std::string ErrorOf(const Result<ConstraintPtr>& constraint) {
  return constraint ? "" : constraint.error().message;
}

void ExpectError(const Result<ConstraintPtr>& constraint, ErrorCode code, std::string_view words) {
  ASSERT_FALSE(constraint) << words;
  EXPECT_EQ(constraint.error().code, code) << constraint.error().message;
  EXPECT_NE(constraint.error().message.find(words), std::string::npos)
      << constraint.error().message;
}

TEST(Schema, StandsBetweenFixedTexts) {
  const auto call =
      CompileJsonSchema(R"({"type":"integer"})", {.prefix = "<a>\n", .suffix = "\n</a>"});
  EXPECT_TRUE(Takes(call, "<a>\n12\n</a>"));
  EXPECT_TRUE(Takes(call, "<a>\n -1\n</a>"));
  for (const char* wrong : {"12", "<a>\n12", "<a>12\n</a>", "<a>\n12\n</a", "<a>\n12\n</a>\n",
                            "<a>\n\n</a>", "<b>\n12\n</a>", ""}) {
    EXPECT_FALSE(Takes(call, wrong)) << wrong;
  }
}

TEST(Regex, TakesWholeTexts) {
  const auto takes = [](std::string_view pattern, std::string_view text) {
    return Takes(CompileRegex(pattern), text);
  };
  EXPECT_TRUE(takes("a|bc*", "bccc"));
  EXPECT_FALSE(takes("a|bc*", "abc"));
  EXPECT_TRUE(takes("[^a-z]{2,3}", "Ä9"));
  EXPECT_FALSE(takes("[^a-z]{2,3}", "Ä9AB"));
  EXPECT_TRUE(takes(R"(\d+\.\x41\u00e9\u{1F600}\cJ)", "12.A\xC3\xA9\xF0\x9F\x98\x80\n"));
  EXPECT_TRUE(takes(R"(\uD83D\uDE00)", "\xF0\x9F\x98\x80"));
  EXPECT_TRUE(takes("(?<year>[0-9]{4})(?:-)x??", "2024-x"));
  EXPECT_TRUE(takes("^a$", "a"));
  EXPECT_FALSE(takes("(^a|b)b", "bab"));
  EXPECT_TRUE(takes("(a|^)b", "b"));
  EXPECT_TRUE(takes("$^", ""));
  EXPECT_FALSE(takes(".", "\n"));
  EXPECT_FALSE(takes(".", "\xC3"));
  EXPECT_TRUE(takes(R"([\]\-a-c]*)", "]-b"));
}

TEST(Regex, RefusesWhatItCanNotHold) {
  for (const char* pattern :
       {"(?=a)", "(?!a)", "(?<=a)", R"((a)\1)", R"(\bword)", R"(\p{L})", "(?i)a"}) {
    ExpectError(CompileRegex(pattern), ErrorCode::kUnsupported, "not supported");
  }
  for (const char* pattern : {"(", ")", "[a", "a**", "*", "{2}", "a{3,2}", "[b-a]", R"(\a)", R"(\)",
                              R"(\u12)", R"(\u{110000})", "\xFF", R"(\c1)", "(?<n"}) {
    ExpectError(CompileRegex(pattern), ErrorCode::kMalformed, "pattern");
  }
  ExpectError(CompileRegex("a{20000}"), ErrorCode::kUnsupported, "repetitions");
  ExpectError(CompileRegex("[^\\s\\S]"), ErrorCode::kMismatch, "no text");
}

// Patterns that other engines spend minutes or gigabytes on end in an error at once.
TEST(Limits, BoundWhatCompilingCosts) {
  std::string chain = R"({"$ref":"#/$defs/d0","$defs":{"d3000":{})";
  for (int index = 0; index < 3000; ++index) {
    chain += fmt::format(R"(,"d{}":{{"$ref":"#/$defs/d{}"}})", index, index + 1);
  }
  std::string ways = R"({"allOf":[{})";
  std::string names = R"({"properties":{"a":{})";
  for (int index = 0; index < 40; ++index) {
    ways += fmt::format(R"(,{{"anyOf":[{{"required":["a{0}"]}},{{"required":["b{0}"]}}]}})", index);
    names += fmt::format(R"(,"n{}":{{"pattern":"(a|b)*a(a|b){{{}}}$"}})", index, 6 + index);
  }
  const auto compile = [](const char* kind, const std::string& text) {
    return kind[0] == 'r'   ? CompileRegex(text)
           : kind[0] == 's' ? CompileJsonSchema(text)
                            : CompileGbnf(text);
  };
  const std::vector<std::pair<const char*, std::string>> cases = {
      {"regex", "(a|b)*a(a|b){30}"},
      {"regex", "((((a{1000}){1000}){1000}){1000})"},
      {"regex", "((((){10000}){10000}){10000}){10000}"},
      {"regex", std::string(300'000, 'a')},
      {"regex", std::string(200'000, '(')},
      {"schema", chain + "}}"},
      {"schema", ways + "]}"},
      {"schema", names + "}}"},
      {"schema", R"({"pattern":"^[a-z]*$","minLength":900000000})"},
      {"schema", R"({"multipleOf":0.999983,"minimum":1e-9})"},
      {"rules", "root ::= (((\"a\"{1000}){1000}){1000}){1000}"},
      {"rules", "root ::= " + std::string(100'000, '(')}};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr double kMostSeconds = 60.0;
#else
  constexpr double kMostSeconds = 5.0;
#endif
  for (const auto& [kind, text] : cases) {
    const std::clock_t begin = std::clock();  // of the processor: the machine may be busy
    EXPECT_NE(ErrorOf(compile(kind, text)), "") << text.substr(0, 60);
    const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    EXPECT_LT(took, kMostSeconds) << text.substr(0, 60);
  }
}

// Against arithmetic, for all short numbers.
TEST(Numbers, AreHeldToTheirBounds) {
  struct Case {
    const char* schema;
    bool (*holds)(double value);
  };
  const std::vector<Case> cases = {
      {R"({"minimum":-12.5,"exclusiveMaximum":7})", [](double v) { return v >= -12.5 && v < 7; }},
      {R"({"exclusiveMinimum":0})", [](double v) { return v > 0; }},
      {R"({"maximum":0})", [](double v) { return v <= 0; }},
      {R"({"minimum":-3,"maximum":-0.5})", [](double v) { return v >= -3 && v <= -0.5; }},
      {R"({"minimum":99.5,"maximum":100.25})", [](double v) { return v >= 99.5 && v <= 100.25; }},
      {R"({"multipleOf":7,"minimum":0})", [](double v) { return v >= 0 && std::fmod(v, 7) == 0; }},
      {R"({"multipleOf":0.25})", [](double v) { return std::fmod(v, 0.25) == 0; }},
      {R"({"const":10})", [](double v) { return v == 10; }}};
  for (const Case& one : cases) {
    const auto constraint =
        CompileJsonSchema(fmt::format(R"({{"type":"number","allOf":[{}]}})", one.schema));
    const auto integer =
        CompileJsonSchema(fmt::format(R"({{"type":"integer","allOf":[{}]}})", one.schema));
    ASSERT_TRUE(constraint && integer);
    for (int hundredths = -15'000; hundredths <= 15'000; hundredths += 5) {
      const double value = hundredths / 100.0;
      const std::string text = fmt::format("{:.2f}", value);
      ASSERT_EQ(Takes(constraint, text), one.holds(value)) << one.schema << " " << text;
      ASSERT_EQ(Takes(integer, text), one.holds(value) && hundredths % 100 == 0)
          << one.schema << " " << text;
    }
  }
  EXPECT_TRUE(Takes(CompileJsonSchema(R"({"type":"number"})"), "-1.5E+10"));
  EXPECT_FALSE(Takes(CompileJsonSchema(R"({"type":"number"})"), "01"));
}

TEST(Numbers, BecomeDecimals) {
  const auto decimal = [](std::string_view text) {
    const auto read = ParseDecimal(text);
    return !read ? read.error().message
                 : (read->negative ? "-" : "") + read->whole + "." + read->fraction;
  };
  EXPECT_EQ(decimal("-0.0"), "0.");
  EXPECT_EQ(decimal("1.50"), "1.5");
  EXPECT_EQ(decimal("-12e2"), "-1200.");
  EXPECT_EQ(decimal("1.25e1"), "12.5");
  EXPECT_EQ(decimal("25e-4"), "0.0025");
  EXPECT_NE(decimal("1e999").find("400 digits"), std::string::npos);
}

TEST(Schema, ReadsEscapesAsTheirCharacters) {
  const auto constraint = CompileJsonSchema(R"({"enum":["Aé","😀","/"]})");
  for (const char* text : {R"("Aé")", R"("\u0041\u00e9")", R"("\u0041\u00E9")", R"("😀")",
                           R"("\ud83d\ude00")", R"("\/")", R"("/")"}) {
    EXPECT_TRUE(Takes(constraint, text)) << text;
  }
  for (const char* text :
       {R"("\u0042")", R"("\ud83d")", R"("\ud83dx")", R"("\ude00")", R"("\x41")"}) {
    EXPECT_FALSE(Takes(constraint, text)) << text;
  }
  const auto keys = CompileJsonSchema(
      R"({"type":"object","properties":{"ab":{"const":1}},"additionalProperties":false})");
  EXPECT_TRUE(Takes(keys, R"({"\u0061b":1})"));
  EXPECT_FALSE(Takes(keys, R"({"\u0062b":1})"));
  EXPECT_FALSE(Takes(keys, R"({"ab":1,"a\u0062":1})"));  // a name comes once
}

TEST(Schema, LimitsWhiteSpaceAndNesting) {
  const auto any = CompileJsonValue();
  EXPECT_TRUE(Takes(any, "{ \"a\":\n    [1, 2]\n}"));
  EXPECT_FALSE(Takes(any, "[  1]"));
  EXPECT_FALSE(Takes(any, "[\n\n1]"));
  EXPECT_TRUE(Takes(any, std::string(64, '[') + std::string(64, ']')));
  EXPECT_FALSE(Takes(any, std::string(65, '[') + std::string(65, ']')));
  EXPECT_FALSE(Takes(CompileJsonObject(), "[]"));
}

TEST(Schema, NamesWhatItRefuses) {
  const auto refuses = [](std::string_view schema, std::string_view words) {
    ExpectError(CompileJsonSchema(schema), ErrorCode::kUnsupported, words);
  };
  refuses(R"({"properties":{"a":{"not":{}}}})", "#/properties/a: \"not\"");
  refuses(R"({"uniqueItems":true})", "uniqueItems");
  refuses(R"({"items":[{}]})", "prefixItems");
  refuses(R"({"nullable":true})", "nullable");
  refuses(R"({"unknown":1})", "unknown");
  refuses(R"({"dependencies":{}})", "draft 2020-12");
  refuses(R"({"$schema":"http://example.com/"})", "$schema");
  refuses(R"({"items":{"$id":"x"}})", "$id");
  refuses(R"({"$ref":"#/nowhere"})", "no such place");
  refuses(R"({"$ref":"#nowhere"})", "$anchor");
  refuses(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "can both hold");
  refuses(R"({"allOf":[{"contains":{"const":1}},{"contains":{"const":2}}]})", "contains");
  refuses(R"({"minProperties":3})", "minProperties");
  refuses(R"({"maxProperties":3,"dependentRequired":{"a":["b"]}})", "dependentRequired");
  refuses(R"({"multipleOf":1.0000001})", "6 digits");
  for (const char* schema :
       {"{", "5", R"({"type":"text"})", R"({"minLength":-1})", R"({"pattern":5})", R"({"enum":5})",
        R"({"required":[1]})", R"({"anyOf":[]})", R"({"properties":5})", R"({"$ref":5})",
        R"({"pattern":"("})", R"({"patternProperties":{"(":{}}})", R"({"minimum":"1"})",
        R"({"multipleOf":0})", R"({"allOf":[{"$ref":"#"}]})", R"({"$anchor":5})"}) {
    ExpectError(CompileJsonSchema(schema), ErrorCode::kMalformed, "");
  }
  for (const char* schema :
       {"false", R"({"type":"integer","minimum":2,"maximum":1})", R"({"enum":[]})",
        R"({"type":"string","minLength":3,"maxLength":2})",
        R"({"type":"string","pattern":"^a$","minLength":2})",
        R"({"type":"array","minItems":1,"items":false})",
        R"({"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}})"}) {
    ExpectError(CompileJsonSchema(schema), ErrorCode::kMismatch, "no JSON text");
  }
  const std::string deep = R"({"type":"array","minItems":1,"items":)";
  std::string nested = "true";
  for (int depth = 0; depth < 70; ++depth) {
    nested = deep + nested + "}";
  }
  ExpectError(CompileJsonSchema(nested), ErrorCode::kInvalidArgument, "nested deeper");
}

// Whatever has begun can be finished: random bytes among those that are alive, then a bounded
// search for the end.
TEST(Schema, NeverRunsIntoADeadEnd) {
  std::mt19937 random(11);
  for (
      const char* schema :
      {R"({"type":"object","properties":{"ab":{},"ac":{"type":"null"}},"required":["ac"],
            "maxProperties":1})",
       R"({"type":"array","contains":{"const":7},"minContains":2,"maxItems":3,
            "items":{"type":"integer","maximum":50,"minimum":-5}})",
       R"({"type":"string","pattern":"^(ab)+$","maxLength":5})",
       R"({"type":"string","pattern":"^[é😀]{2}$"})",
       R"({"type":"object","patternProperties":{"^x[0-9]$":{"const":1}},"minProperties":1,
            "additionalProperties":false})",
       R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},
            "additionalProperties":false}}})",
       R"({"type":"object","properties":{"a":{"const":1},"b":false},"minProperties":1,
            "dependentRequired":{"c":["b"]},"additionalProperties":{"type":"boolean"}})"}) {
    const auto constraint = CompileJsonSchema(schema);
    ASSERT_TRUE(constraint) << constraint.error().message;
    for (int walk = 0; walk < 40; ++walk) {
      Machine machine((*constraint)->program());
      StateId state = machine.start();
      for (int step = 0; step < 400; ++step) {
        std::vector<StateId> ways;
        for (int byte = 0; byte < 256; ++byte) {
          if (const StateId next = machine.Next(state, static_cast<uint8_t>(byte));
              next != kNoState) {
            ways.push_back(next);
          }
        }
        ASSERT_TRUE(!ways.empty() || machine.accepts(state)) << schema;
        if (ways.empty()) {
          break;
        }
        state = ways[random() % ways.size()];
      }
    }
  }
}

TEST(Gbnf, ReadsTheSyntax) {
  const auto takes = [](std::string_view grammar, std::string_view text) {
    return Takes(CompileGbnf(grammar), text);
  };
  EXPECT_TRUE(takes("root ::= \"a\" b? # comment\nb ::= [x-z]{2,3} |\n  \"\\u00e9\"\n", "axyz"));
  EXPECT_TRUE(takes("root ::= \"a\" b?\nb ::= [x-z]{2,3} |\n  \"\\u00e9\"\n", "aé"));
  EXPECT_FALSE(takes("root ::= \"a\" b?\nb ::= [x-z]{2,3}\n", "ax"));
  EXPECT_TRUE(takes("root ::= (\n \"a\"\n | b)+\nb ::= .", "aéa"));
  EXPECT_TRUE(takes("root ::= \"a\"\n  | \"b\"\n", "b"));
  EXPECT_TRUE(takes("root ::= [^\\n\\]]*\n", "a-b"));
  EXPECT_TRUE(takes("root ::= \"(\" root \")\" | \"\"", "((()))"));
  EXPECT_FALSE(takes("root ::= \"(\" root \")\" | \"\"", "(()"));
  EXPECT_TRUE(takes("root ::= (x*)* \".\"\nx ::= y?\ny ::= \"\"", "."));
  EXPECT_TRUE(
      takes("root ::= item (\",\" item)*\nitem ::= [0-9]+ | \"[\" root \"]\"", "1,[2,[3]],4"));
}

TEST(Gbnf, RefusesWhatItCanNotHold) {
  for (const char* grammar :
       {"", "root", "root ::= x", "x ::= \"a\"", "root ::= \"a\nroot ::= \"b\"", "root ::= [b-a]",
        "root ::= (\"a\"", "root ::= \"\\q\"", "root ::= \"a\"{2,1}", "root ::= \"a\"{}",
        "root ::= \"\\x4\"", "root ::= \"a\" )", "root ::= \"a\"{99999}", "\xFF",
        "root ::= \"a\"\nroot ::= \"b\"", "root ::= \"\\UFFFFFFFF\""}) {
    ExpectError(CompileGbnf(grammar), ErrorCode::kMalformed, "grammar");
  }
  ExpectError(CompileGbnf("root ::= x? root \"a\" | \"b\"\nx ::= \"c\"*"), ErrorCode::kUnsupported,
              "\"root\" begins with itself");
  ExpectError(CompileGbnf("root ::= \"a\" root"), ErrorCode::kMismatch, "no text");
  std::string deep = "root ::= r0 \".\"\n";
  for (int rule = 0; rule < 300; ++rule) {
    deep += fmt::format("r{} ::= r{} \"x\"\n", rule, rule + 1);
  }
  ExpectError(CompileGbnf(deep + "r300 ::= \"a\""), ErrorCode::kInvalidArgument, "rules at once");
}

TEST(Choice, IsOneOfTheTexts) {
  EXPECT_TRUE(Takes(CompileChoice({"red", "réd", ""}), "réd"));
  EXPECT_TRUE(Takes(CompileChoice({"red", ""}), ""));
  EXPECT_FALSE(Takes(CompileChoice({"red"}), "re"));
  ExpectError(CompileChoice({}), ErrorCode::kInvalidArgument, "no choice");
  ExpectError(CompileChoice({"\xFF"}), ErrorCode::kMalformed, "UTF-8");
}

TEST(Matcher, HoldsTokensAndTheirEnd) {
  //                    0   1    2     3     4    5      6
  const TokenTrie trie({"", "a", "ab", "ba", " ", " a", "<s>"}, {0});
  const auto masks = std::make_shared<TokenMasks>(*CompileRegex("(ab)+"), trie);
  Matcher matcher(masks, false);
  EXPECT_EQ(matcher.Allowed()[0], 0b0000110U);
  EXPECT_FALSE(matcher.Accept(0) || matcher.Accept(3) || matcher.Accept(-1) || matcher.Accept(7));
  ASSERT_TRUE(matcher.Accept(2));
  EXPECT_EQ(matcher.Allowed()[0], 0b0000111U);
  EXPECT_TRUE(matcher.Accept(0));
  EXPECT_TRUE(matcher.may_end());
  EXPECT_FALSE(matcher.is_complete());
  Matcher spaced(masks, true);  // " a" gives "a" at the beginning of the text
  EXPECT_EQ(spaced.Allowed()[0], 0b0110110U);
  ASSERT_TRUE(spaced.Accept(5));
  EXPECT_EQ(spaced.Allowed()[0], 0b0001000U);
  Matcher once(std::make_shared<TokenMasks>(*CompileRegex("ab"), trie), false);
  ASSERT_TRUE(once.Accept(2));
  EXPECT_TRUE(once.is_complete());
}

}  // namespace
}  // namespace etch::grammar
