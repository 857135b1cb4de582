#pragma once

// Keys of PEFT's rank_pattern and alpha_pattern: regular expressions over module names.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace etch::adapter::internal {

// Values by pattern. As in PEFT, a pattern matches a module when Python's
// `re.match(rf"(.*\.)?({key})$", module)` does, and the first that matches wins.
class ModulePatterns {
 public:
  ModulePatterns();
  ModulePatterns(ModulePatterns&&) noexcept;
  ModulePatterns& operator=(ModulePatterns&&) noexcept;
  ~ModulePatterns();

  // kMalformed for a key that is no regular expression; kUnsupported for more keys, or longer ones,
  // than any adapter has. Errors begin with `what`, the field's name.
  static Result<ModulePatterns> Make(std::vector<std::pair<std::string, double>> entries,
                                     std::string_view what);

  // Empty when nothing matches. kUnsupported when a pattern takes unreasonably long.
  Result<std::optional<double>> Find(std::string_view module) const;

 private:
  struct Entry;
  std::vector<Entry> entries_;
  std::string what_;
};

}  // namespace etch::adapter::internal
