#pragma once

// The constraints that requests ask for, compiled once and kept while they are used: requests of
// one schema share its masks.

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.h"
#include "grammar/token_masks.h"
#include "serve/request.h"
#include "text/tokenizer.h"

namespace etch::serve {

class ConstraintCache {
 public:
  // `tokenizer` must outlive the cache.
  ConstraintCache(const text::Tokenizer& tokenizer, int64_t vocab_size)
      : tokenizer_(tokenizer), vocab_size_(vocab_size) {}

  // Compiles `spec` or finds it. The error begins with the request's field. Safe to call from any
  // number of threads.
  Result<std::shared_ptr<grammar::TokenMasks>> Find(const ConstraintSpec& spec);

 private:
  struct Entry {
    ConstraintSpec spec;
    std::shared_ptr<grammar::TokenMasks> masks;  // running requests keep it when it leaves
  };

  const text::Tokenizer& tokenizer_;
  const int64_t vocab_size_;
  std::mutex mutex_;
  std::optional<grammar::TokenTrie> trie_;  // made for the first constraint
  std::list<Entry> entries_;                // the last used first
};

}  // namespace etch::serve
