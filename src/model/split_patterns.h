#pragma once

// The regular expressions that cut text into pieces in published byte-level tokenizers (PCRE2
// syntax, UTF and UCP on), as Vocabulary::split_patterns holds them.

#include <array>
#include <string_view>

namespace etch::model {

// GPT-2, SmolLM, StarCoder.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Llama 3.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen 2.
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// A way to cut text that llama.cpp knows by name (tokenizer.ggml.pre; llama-vocab.cpp).
struct PreTokenizer {
  std::string_view name;
  std::string_view pattern;
  bool split_digits = false;
  bool add_bos = false;
  bool ignore_merges = false;
};

// Of several names for one way the first is the one to write.
inline constexpr std::array kPreTokenizers = {
    PreTokenizer{
        .name = "llama-bpe", .pattern = kLlama3Pattern, .add_bos = true, .ignore_merges = true},
    PreTokenizer{
        .name = "llama3", .pattern = kLlama3Pattern, .add_bos = true, .ignore_merges = true},
    PreTokenizer{
        .name = "llama-v3", .pattern = kLlama3Pattern, .add_bos = true, .ignore_merges = true},
    PreTokenizer{.name = "gpt-2", .pattern = kGpt2Pattern},
    PreTokenizer{.name = "smollm", .pattern = kGpt2Pattern, .split_digits = true},
    PreTokenizer{.name = "starcoder", .pattern = kGpt2Pattern, .split_digits = true},
    PreTokenizer{.name = "refact", .pattern = kGpt2Pattern, .split_digits = true},
    PreTokenizer{.name = "qwen2", .pattern = kQwen2Pattern},
    PreTokenizer{.name = "deepseek-r1-qwen", .pattern = kQwen2Pattern},
};

// What llama.cpp does without a name ("default"): runs of punctuation, GPT-2's pattern, digits by
// threes.
inline constexpr std::array<std::string_view, 4> kDefaultPatterns = {
    R"([\p{P}\$\+<=>\^~\|]+)",
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))", R"(\p{N}+)",
    R"([0-9][0-9][0-9])"};

}  // namespace etch::model
