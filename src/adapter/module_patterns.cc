#include "adapter/module_patterns.h"

// Nearly every key is a plain module name, and a file that adapts each layer on its own has
// thousands; these are compared by hand, with the dot matching any character as it does in a
// regular expression. The rest goes to PCRE2, whose dialect agrees with Python's on what such keys
// hold. The key is put into the surrounding expression as text, unbalanced parentheses and all,
// because that is what PEFT does. Time is bounded by PCRE2's match limit: a key is untrusted, and
// (a+)+ would otherwise run for ever.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

namespace etch::adapter::internal {
namespace {

constexpr size_t kMaxKeys = 8192;
constexpr size_t kMaxExpressions = 64;
constexpr size_t kMaxKeyBytes = 512;
constexpr uint32_t kMatchLimit = 5000;  // "(.*\.)?" over a module's name takes fewer than 100 steps

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

bool IsPlain(std::string_view key) {
  return std::ranges::all_of(key, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '_' || letter == '-' || letter == '.';
  });
}

// re.match(rf"(.*\.)?({key})$", module) for a plain key.
bool MatchesPlain(std::string_view key, std::string_view module) {
  if (key.size() > module.size()) {
    return false;
  }
  const size_t start = module.size() - key.size();
  if (start > 0 && module[start - 1] != '.') {
    return false;
  }
  return std::equal(key.begin(), key.end(), module.begin() + static_cast<ptrdiff_t>(start),
                    [](char expected, char found) { return expected == '.' || expected == found; });
}

}  // namespace

struct ModulePatterns::Entry {
  std::string key;
  double value = 0.0;
  std::unique_ptr<pcre2_code, CodeDeleter> code;  // null for a plain key
};

ModulePatterns::ModulePatterns() = default;
ModulePatterns::ModulePatterns(ModulePatterns&&) noexcept = default;
ModulePatterns& ModulePatterns::operator=(ModulePatterns&&) noexcept = default;
ModulePatterns::~ModulePatterns() = default;

Result<ModulePatterns> ModulePatterns::Make(std::vector<std::pair<std::string, double>> entries,
                                            std::string_view what) {
  ModulePatterns patterns;
  patterns.what_ = what;
  if (entries.size() > kMaxKeys) {
    return Fail(ErrorCode::kUnsupported, "{} has {} keys, at most {} are read", what,
                entries.size(), kMaxKeys);
  }
  size_t expressions = 0;
  for (auto& [key, value] : entries) {
    if (key.size() > kMaxKeyBytes) {
      return Fail(ErrorCode::kUnsupported, "{} has a key of {} bytes, at most {} are read", what,
                  key.size(), kMaxKeyBytes);
    }
    Entry entry;
    entry.value = value;
    if (!IsPlain(key)) {
      if (++expressions > kMaxExpressions) {
        return Fail(ErrorCode::kUnsupported,
                    "{} has more than {} keys that are regular expressions", what, kMaxExpressions);
      }
      const std::string text = "(.*\\.)?(" + key + ")$";
      int number = 0;
      PCRE2_SIZE offset = 0;
      entry.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                     PCRE2_ANCHORED | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
                                         PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
                                     &number, &offset, nullptr));
      if (entry.code == nullptr) {
        return Fail(ErrorCode::kMalformed, "{}: key \"{}\" is not a regular expression", what, key);
      }
    }
    entry.key = std::move(key);
    patterns.entries_.push_back(std::move(entry));
  }
  return patterns;
}

Result<std::optional<double>> ModulePatterns::Find(std::string_view module) const {
  for (const Entry& entry : entries_) {
    if (entry.code == nullptr) {
      if (MatchesPlain(entry.key, module)) {
        return entry.value;
      }
      continue;
    }
    const std::unique_ptr<pcre2_match_context, ContextDeleter> context(
        pcre2_match_context_create(nullptr));
    const std::unique_ptr<pcre2_match_data, MatchDeleter> data(pcre2_match_data_create(1, nullptr));
    ETCH_CHECK(context != nullptr && data != nullptr, "out of memory");
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kMatchLimit);
    const int answer = pcre2_match(entry.code.get(), reinterpret_cast<PCRE2_SPTR>(module.data()),
                                   module.size(), 0, 0, data.get(), context.get());
    if (answer >= 0) {
      return entry.value;
    }
    if (answer != PCRE2_ERROR_NOMATCH) {
      return Fail(ErrorCode::kUnsupported, "{}: key \"{}\" is too costly to match", what_,
                  entry.key);
    }
  }
  return std::optional<double>();
}

}  // namespace etch::adapter::internal
