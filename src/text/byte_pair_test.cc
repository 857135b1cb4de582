#include "text/byte_pair.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace etch::text {
namespace {

using model::TokenId;
using model::Vocabulary;

// Tokens of the letters a to d, and of merges of any two tokens before, in order of rank.
Vocabulary RandomVocabulary() {
  Vocabulary vocabulary;
  for (const char* letter : {"a", "b", "c", "d"}) {
    vocabulary.tokens.push_back({.text = letter});
  }
  const int n_merges = *rc::gen::inRange(0, 20);
  for (int merge = 0; merge < n_merges; ++merge) {
    const auto size = static_cast<TokenId>(vocabulary.tokens.size());
    const TokenId left = *rc::gen::inRange<TokenId>(0, size);
    const TokenId right = *rc::gen::inRange<TokenId>(0, size);
    vocabulary.merges.push_back({left, right, size});
    vocabulary.tokens.push_back({.text = vocabulary.tokens[static_cast<size_t>(left)].text +
                                         vocabulary.tokens[static_cast<size_t>(right)].text});
  }
  return vocabulary;
}

// The definition: merge the leftmost pair of the lowest priority until there is none.
std::vector<TokenId> MergeSlowly(const MergeTable& table, std::vector<Symbol> symbols,
                                 std::string_view piece) {
  while (true) {
    size_t best = symbols.size();
    MergeTable::Step best_step;
    for (size_t left = 0; left + 1 < symbols.size(); ++left) {
      const std::string_view joined =
          piece.substr(symbols[left].begin, symbols[left].size + symbols[left + 1].size);
      const auto step = table.Find(symbols[left].token, symbols[left + 1].token, joined);
      if (step && (best == symbols.size() || step->priority < best_step.priority)) {
        best = left;
        best_step = *step;
      }
    }
    if (best == symbols.size()) {
      break;
    }
    symbols[best].token = best_step.result;
    symbols[best].size += symbols[best + 1].size;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<TokenId> ids;
  for (const Symbol& symbol : symbols) {
    ids.push_back(symbol.token);
  }
  return ids;
}

RC_GTEST_PROP(BytePair, EqualsTheDefinition, ()) {
  Vocabulary vocabulary = RandomVocabulary();
  vocabulary.ranks_are_ids = *rc::gen::arbitrary<bool>();
  if (*rc::gen::arbitrary<bool>()) {
    vocabulary.ranks_are_ids = false;
    vocabulary.order = model::MergeOrder::kScores;
    for (model::Token& token : vocabulary.tokens) {
      token.score = static_cast<float>(*rc::gen::inRange(0, 5));
    }
  }
  const MergeTable table(vocabulary);
  const auto piece = *rc::gen::container<std::string>(rc::gen::inRange<char>('a', 'e'));
  std::vector<Symbol> symbols;
  for (size_t index = 0; index < piece.size(); ++index) {
    symbols.push_back({piece[index] - 'a', static_cast<uint32_t>(index), 1});
  }
  const std::vector<TokenId> expected = MergeSlowly(table, symbols, piece);
  BytePairMerger merger;
  merger.Run(table, piece, symbols);
  std::vector<TokenId> actual;
  for (const Symbol& symbol : symbols) {
    actual.push_back(symbol.token);
  }
  RC_ASSERT(actual == expected);
}

}  // namespace
}  // namespace etch::text
