// Masks over published vocabularies: the same as trying every token, and what they cost. The
// figures of docs/structured-output.md are what these tests print.

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "grammar/machine.h"
#include "grammar/token_masks.h"
#include "tokenizer/real_tokenizers.h"

namespace etch::test {
namespace {

using grammar::TokenMasks;
using grammar::TokenTrie;

constexpr std::string_view kPerson =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":40},
        "age":{"type":"integer","minimum":0,"maximum":130},
        "mail":{"type":"string","pattern":"^[a-z]+@[a-z]+\\.[a-z]{2,4}$"},
        "born":{"type":"string","format":"date-time"},
        "tags":{"type":"array","items":{"enum":["a","b","c"]},"maxItems":5}},
        "required":["name","age","mail"],"additionalProperties":false})";
constexpr std::string_view kDocument =
    R"({"name": "Ada Lovelace", "age": 36, "mail": "ada@engine.org", )"
    R"("born": "1815-12-10T08:00:00Z", "tags": ["a", "c"]})";

double Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

void Measure(const char* name, const text::Tokenizer& tokenizer, std::string_view schema,
             std::string_view document) {
  auto begin = std::chrono::steady_clock::now();
  const auto constraint = grammar::CompileJsonSchema(schema);
  const double compile_ms = Since(begin);
  ASSERT_TRUE(constraint) << constraint.error().message;
  begin = std::chrono::steady_clock::now();
  const TokenTrie trie(tokenizer, std::ssize(tokenizer.vocabulary().tokens));
  const double trie_ms = Since(begin);
  const auto masks = std::make_shared<TokenMasks>(*constraint, trie);
  const std::vector<text::TokenId> tokens = Ids(tokenizer, std::string(document));
  for (const char* round : {"cold", "warm"}) {
    grammar::Matcher matcher(masks, true);
    double total_ms = 0.0;
    double worst_ms = 0.0;
    for (const text::TokenId token : tokens) {
      begin = std::chrono::steady_clock::now();
      const auto allowed = matcher.Allowed();
      const double took = Since(begin);
      total_ms += took;
      worst_ms = std::max(worst_ms, took);
      ASSERT_TRUE((allowed[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0)
          << tokenizer.TokenBytes(token);
      ASSERT_TRUE(matcher.Accept(token));
    }
    EXPECT_TRUE(matcher.may_end());
    std::cout << fmt::format(
        "{}, {} tokens, {}: compile {:.2f} ms, trie {:.0f} ms ({} nodes), mask a token {:.3f} ms, "
        "worst {:.2f} ms\n",
        name, trie.vocab_size(), round, compile_ms, trie_ms, trie.nodes(),
        total_ms / static_cast<double>(tokens.size()), worst_ms);
  }
}

TEST(Masks, CostOnLargeVocabularies) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto llama3 = Llama3(root);
  Measure("Llama 3, person", *llama3, kPerson, kDocument);
  Measure("Llama 3, any JSON", *llama3, "true", kDocument);
  Measure("Llama 2, person", *Llama2Model(root), kPerson, kDocument);
  Measure("SmolLM, person", *SmolLm(root), kPerson, kDocument);
}

// At random places of random texts: a token is in the mask if and only if it is accepted there.
TEST(Masks, AreWhatAcceptSays) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  std::mt19937 random(7);
  for (const auto& tokenizer : {SmolLm(root), Llama2Model(root)}) {
    const TokenTrie trie(*tokenizer, std::ssize(tokenizer->vocabulary().tokens) + 5);
    const auto regex = grammar::CompileRegex("(ab|[^x]{2,9}|é+) *[0-9]*");
    const auto schema = grammar::CompileJsonSchema(kPerson);
    const auto rules = grammar::CompileGbnf("root ::= [a-z]+ (\" \" root)? | \"(\" root \")\"");
    for (const auto& constraint : {*regex, *schema, *rules}) {
      const auto masks = std::make_shared<TokenMasks>(constraint, trie);
      for (int walk = 0; walk < 3; ++walk) {
        grammar::Matcher matcher(masks, walk == 1);
        for (int step = 0; step < 12; ++step) {
          const auto span = matcher.Allowed();
          const std::vector<uint64_t> allowed(span.begin(), span.end());
          std::vector<text::TokenId> candidates;
          for (text::TokenId token = 0; token < trie.vocab_size(); ++token) {
            const bool in_mask =
                (allowed[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0;
            grammar::Matcher copy = matcher;
            ASSERT_EQ(in_mask, copy.Accept(token)) << token << " " << trie.text(token);
            if (in_mask && !trie.text(token).empty()) {
              candidates.push_back(token);
            }
          }
          if (candidates.empty()) {
            break;
          }
          ASSERT_TRUE(matcher.Accept(candidates[random() % candidates.size()]));
        }
      }
    }
  }
}

// An ambiguous grammar, made to have readings without end: masks stay bounded, and right.
TEST(Masks, OfHostileGrammarsAreBounded) {
  ETCH_DATA_OR_SKIP(root, "tokenizers");
  const auto tokenizer = Llama3(root);
  const TokenTrie trie(*tokenizer, std::ssize(tokenizer->vocabulary().tokens));
  for (const char* rules :
       {"root ::= x x x x x x x x x\nx ::= .* y .*\ny ::= [a-z]* z*\nz ::= [^0-9] root | .",
        "root ::= [a-z] root? [^b]{0,900} x*\nx ::= (\"a\" | [a-z] | . x)+"}) {
    const auto constraint = grammar::CompileGbnf(rules);
    ASSERT_TRUE(constraint) << constraint.error().message;
    const auto masks = std::make_shared<TokenMasks>(*constraint, trie);
    grammar::Matcher matcher(masks, false);
    for (const text::TokenId token : Ids(*tokenizer, "hello brave")) {
      const auto begin = std::chrono::steady_clock::now();
      matcher.Allowed();
      EXPECT_LT(Since(begin), 10'000.0);
      std::cout << fmt::format("hostile mask: {:.0f} ms\n", Since(begin));
      matcher.Accept(token);
    }
  }
}

// A machine that has grown too large is replaced in the middle of a text.
TEST(Masks, SurviveTheirMachine) {
  const TokenTrie trie({"", "a", "b", "\"", "[", "]", ","}, {0});
  const auto constraint = grammar::CompileJsonSchema(
      R"({"type":"array","items":{"type":"string","maxLength":100000},"maxItems":100000})");
  ASSERT_TRUE(constraint);
  const auto masks = std::make_shared<TokenMasks>(*constraint, trie);
  grammar::Matcher matcher(masks, false);
  ASSERT_TRUE(matcher.Accept(4));
  for (int item = 0; item < 9000; ++item) {  // every count of items is a state of its own
    for (const int token : {3, 1, 3, 6}) {
      ASSERT_NE(matcher.Allowed()[0] >> token & 1, 0U) << item;
      ASSERT_TRUE(matcher.Accept(token));
    }
  }
  EXPECT_FALSE(matcher.may_end());
  EXPECT_FALSE(matcher.Accept(5));  // behind a comma
}

}  // namespace
}  // namespace etch::test
