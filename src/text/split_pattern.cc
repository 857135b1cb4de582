// Vocabularies say how text is cut in the regular expression dialect of Oniguruma or of Rust's
// fancy-regex: possessive-free, with look-ahead and Unicode classes. PCRE2 reads all of it. A
// translation by hand, one function a pattern, is what other programs do for speed; it was rejected
// because each vocabulary then needs code, and PCRE2's JIT is quick enough (about 100 ns a piece).
//
// The pattern comes from a downloaded file and the text from anyone, so the work of one match is
// limited, and \C, which could cut a character, is off. The JIT runs on the small stack of the
// calling thread; where that does not suffice the interpreter, whose stack is on the heap, repeats
// the match. White space is PCRE2's: it counts U+180E, which newer Unicode does not.

#include "text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

namespace etch::text {
namespace {

constexpr size_t kMaxPatternBytes = 4096;
constexpr uint32_t kMatchLimit = 1'000'000;  // steps of backtracking for one match
constexpr uint32_t kHeapLimitKib = 16 * 1024;

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct CompileContextDeleter {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct SplitPattern::Impl {
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context;
};

SplitPattern::SplitPattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;
SplitPattern::~SplitPattern() = default;

Result<SplitPattern> SplitPattern::Compile(std::string_view pattern) {
  const std::unique_ptr<pcre2_compile_context, CompileContextDeleter> compile_context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_max_pattern_length(compile_context.get(), kMaxPatternBytes);
  int error = 0;
  size_t offset = 0;
  auto impl = std::make_unique<Impl>();
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                 compile_context.get()));
  if (impl->code == nullptr) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return Fail(ErrorCode::kMalformed, "split pattern \"{}\" is broken at byte {}: {}",
                pattern.substr(0, 100), offset, reinterpret_cast<const char*>(message.data()));
  }
  // Where there is no JIT (or no executable memory) matching interprets; the result is the same.
  pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE);
  impl->context.reset(pcre2_match_context_create(nullptr));
  ETCH_CHECK(impl->context != nullptr);
  pcre2_set_match_limit(impl->context.get(), kMatchLimit);
  pcre2_set_heap_limit(impl->context.get(), kHeapLimitKib);
  return SplitPattern(std::move(impl));
}

void SplitPattern::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, MatchDataDeleter> match(
      pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  ETCH_CHECK(match != nullptr);
  const auto add = [&](size_t begin, size_t end) {
    if (end > begin) {
      pieces.push_back(text.substr(begin, end - begin));
    }
  };
  size_t piece_begin = 0;  // of what lies between two matches
  size_t search_from = 0;
  while (search_from < text.size()) {
    const auto run = [&](uint32_t options) {
      return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                         search_from, options, match.get(), impl_->context.get());
    };
    int count = run(PCRE2_NO_UTF_CHECK);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
      count = run(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    }
    if (count < 0) {
      break;
    }
    const size_t* ends = pcre2_get_ovector_pointer(match.get());
    const size_t begin = ends[0];
    const size_t end = ends[1];
    // \K can move where a match begins: only matches that lie ahead count.
    if (begin >= piece_begin && end > begin) {
      add(piece_begin, begin);
      add(begin, end);
      piece_begin = end;
      search_from = end;
      continue;
    }
    // An empty match cuts nothing; the search goes on behind the next character.
    search_from = std::max(search_from, end) + 1;
    while (search_from < text.size() && (text[search_from] & '\xC0') == '\x80') {
      ++search_from;
    }
  }
  add(piece_begin, text.size());
}

}  // namespace etch::text
