#pragma once

// From bytes to tokens: which tokens of a vocabulary may come next. The vocabulary stands in a
// trie, which is walked together with the machine; the answer is kept by the machine's state, so
// that a state that comes again costs nothing.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "grammar/constraint.h"
#include "model/vocabulary.h"
#include "text/tokenizer.h"

namespace etch::grammar {

class Machine;

// A set of tokens: bit t % 64 of word t / 64.
using TokenSet = std::vector<uint64_t>;

// The texts of a vocabulary as a trie in depth-first order. Immutable; one for a tokenizer.
class TokenTrie {
 public:
  // `vocab_size` of the model; tokens without text never come.
  TokenTrie(const text::Tokenizer& tokenizer, int64_t vocab_size);

  // Texts by token id, for tests; `ends` are the tokens that end an answer.
  TokenTrie(const std::vector<std::string>& texts, std::vector<model::TokenId> ends);

  int64_t vocab_size() const { return vocab_size_; }
  std::string_view text(model::TokenId token) const;
  const std::vector<model::TokenId>& ends() const { return ends_; }
  int64_t nodes() const { return static_cast<int64_t>(bytes_.size()); }

 private:
  friend class TokenMasks;

  void Build(const std::vector<std::string>& texts);

  int64_t vocab_size_ = 0;
  std::vector<model::TokenId> ends_;   // sorted
  std::string texts_;                  // of all tokens
  std::vector<uint32_t> text_begins_;  // (vocab_size + 1)

  // By node.
  std::vector<uint8_t> bytes_;
  std::vector<uint16_t> depths_;        // from 1
  std::vector<uint32_t> skips_;         // the next node that is not below this one
  std::vector<uint32_t> token_begins_;  // (nodes + 1): in tokens_
  std::vector<model::TokenId> tokens_;
};

// One constraint over one vocabulary, with what is known already. Shared by all texts that are held
// to the constraint; safe to use from any number of threads.
class TokenMasks {
 public:
  // `trie` must outlive the masks.
  TokenMasks(ConstraintPtr constraint, const TokenTrie& trie);
  ~TokenMasks();

  const TokenTrie& trie() const { return trie_; }

 private:
  friend class Matcher;

  std::shared_ptr<const TokenSet> Find(uint32_t state, bool drops_space);
  TokenSet Walk(uint32_t state, bool drops_space);

  const ConstraintPtr constraint_;
  const TokenTrie& trie_;
  std::mutex mutex_;
  std::shared_ptr<Machine> machine_;  // shared with the matchers whose states it holds
  std::unordered_map<uint64_t, std::shared_ptr<const TokenSet>> masks_;  // of machine_'s states
  std::vector<uint32_t> path_;  // states by depth, of the walk under way
};

// One text on its way.
class Matcher {
 public:
  // `drops_space`: the text's first token loses a leading space (SentencePiece).
  Matcher(std::shared_ptr<TokenMasks> masks, bool drops_space);
  ~Matcher();

  // The tokens that may come now. Ends are among them when the text may end here. Valid until the
  // next call. All zero when no token of the vocabulary goes on.
  std::span<const uint64_t> Allowed();
  // Adds a token; false when it was not allowed (the text stays as it was).
  bool Accept(model::TokenId token);
  // The text may end here; nothing but its end may come.
  bool may_end() const;
  bool is_complete() const;

 private:
  std::shared_ptr<TokenMasks> masks_;
  std::shared_ptr<Machine> machine_;  // that state_ is of
  uint32_t state_ = 0;
  bool drops_space_ = false;  // until the first token
  std::shared_ptr<const TokenSet> allowed_;
};

}  // namespace etch::grammar
