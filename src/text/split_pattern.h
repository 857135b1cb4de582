#pragma once

// A regular expression that cuts text into pieces: its matches and what lies between them.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace etch::text {

// Immutable; safe to use from any number of threads.
class SplitPattern {
 public:
  // PCRE2 syntax with UTF and UCP on. kMalformed when it does not compile.
  static Result<SplitPattern> Compile(std::string_view pattern);

  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;
  ~SplitPattern();

  // Appends the pieces of `text`, which is valid UTF-8, to `pieces`: none of them empty, together
  // the whole text. Where a match would cost more than the limit, the rest of the text is one
  // piece.
  void Split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Impl;
  explicit SplitPattern(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace etch::text
