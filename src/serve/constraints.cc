#include "serve/constraints.h"

#include <chrono>

#include "base/memory.h"
#include "grammar/constraint.h"

namespace etch::serve {
namespace {

constexpr size_t kMaxEntries = 16;  // of at most about 80 MB each, for a vocabulary of 128 k
// What takes this long, mostly to be refused, has taken tens of megabytes, which would stay with
// this thread's arena.
constexpr std::chrono::milliseconds kLongCompile{20};

Result<grammar::ConstraintPtr> Compile(const ConstraintSpec& spec) {
  const grammar::SchemaOptions options{.prefix = spec.prefix, .suffix = spec.suffix};
  grammar::Limits limits;
  limits.whitespace = spec.is_compact ? 0 : limits.whitespace;
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonObject:
      return grammar::CompileJsonSchema(R"({"type":"object"})", options);
    case ConstraintSpec::Kind::kJsonSchema:
      return grammar::CompileJsonSchema(spec.text, options, limits);
    case ConstraintSpec::Kind::kRegex:
      return grammar::CompileRegex(spec.text);
    case ConstraintSpec::Kind::kGrammar:
      return grammar::CompileGbnf(spec.text);
    case ConstraintSpec::Kind::kChoice:
      return grammar::CompileChoice(spec.choices);
  }
  return grammar::CompileJsonValue();
}

}  // namespace

Result<std::shared_ptr<grammar::TokenMasks>> ConstraintCache::Find(const ConstraintSpec& spec) {
  const auto find = [&]() -> std::shared_ptr<grammar::TokenMasks> {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->spec.kind == spec.kind && entry->spec.text == spec.text &&
          entry->spec.choices == spec.choices && entry->spec.prefix == spec.prefix &&
          entry->spec.suffix == spec.suffix && entry->spec.is_compact == spec.is_compact) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entry->masks;
      }
    }
    return nullptr;
  };
  {
    const std::lock_guard lock(mutex_);
    if (auto masks = find()) {
      return masks;
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  Result<grammar::ConstraintPtr> constraint = Compile(spec);
  if (std::chrono::steady_clock::now() - begin > kLongCompile) {
    ReturnFreeMemory();
  }
  if (!constraint) {
    // A server has one answer to what a request got wrong.
    const ErrorCode code = constraint.error().code == ErrorCode::kMismatch
                               ? ErrorCode::kInvalidArgument
                               : constraint.error().code;
    return Prefix(spec.field, Error{code, constraint.error().message});
  }
  const std::lock_guard lock(mutex_);
  if (auto masks = find()) {  // another thread was as quick
    return masks;
  }
  if (!trie_) {
    trie_.emplace(tokenizer_, vocab_size_);
  }
  entries_.push_front({spec, std::make_shared<grammar::TokenMasks>(*constraint, *trie_)});
  if (entries_.size() > kMaxEntries) {
    entries_.pop_back();
  }
  return entries_.front().masks;
}

}  // namespace etch::serve
