// Words (pieces between cuts) are counted once; a merge is then done in each distinct word, whose
// pairs are counted with the word's weight. An index says which words hold a pair.

#include "tune/bpe_training.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "model/split_patterns.h"
#include "text/split_pattern.h"

namespace etch::tune {
namespace {

using model::Merge;
using model::TokenId;
using model::TokenType;

struct Word {
  std::vector<TokenId> tokens;
  int64_t count = 0;
};

using Pair = std::pair<TokenId, TokenId>;

struct HashPair {
  size_t operator()(const Pair& pair) const {
    return static_cast<size_t>((static_cast<uint64_t>(static_cast<uint32_t>(pair.first)) << 32 |
                                static_cast<uint32_t>(pair.second)) *
                               0x9E3779B97F4A7C15U);
  }
};

struct PairUse {
  int64_t count = 0;
  std::unordered_set<size_t> words;  // may hold words that have lost the pair
};

class PairTable {
 public:
  void Add(const std::vector<Word>& words, size_t word, int64_t sign) {
    const std::vector<TokenId>& tokens = words[word].tokens;
    for (size_t index = 0; index + 1 < tokens.size(); ++index) {
      PairUse& use = uses_[{tokens[index], tokens[index + 1]}];
      use.count += sign * words[word].count;
      if (sign > 0) {
        use.words.insert(word);
      }
    }
  }

  // The most frequent pair; among equals the one of the lowest ids. Its count is below 1 when there
  // is none.
  std::pair<Pair, int64_t> Best() const {
    std::pair<Pair, int64_t> best = {{0, 0}, 0};
    for (const auto& [pair, use] : uses_) {
      if (use.count > best.second || (use.count == best.second && pair < best.first)) {
        best = {pair, use.count};
      }
    }
    return best;
  }

  // Words that may hold a pair; all of them are about to lose it.
  std::vector<size_t> TakeWords(const Pair& pair) {
    const std::unordered_set<size_t> taken = std::exchange(uses_[pair].words, {});
    std::vector<size_t> words(taken.begin(), taken.end());
    std::ranges::sort(words);
    return words;
  }

 private:
  std::unordered_map<Pair, PairUse, HashPair> uses_;
};

void SplitDigits(std::string_view text, std::vector<std::string_view>& parts) {
  size_t begin = 0;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (size_t index = 0; index < text.size(); ++index) {
    if (is_digit(text[index])) {
      if (index > begin) {
        parts.push_back(text.substr(begin, index - begin));
      }
      parts.push_back(text.substr(index, 1));
      begin = index + 1;
    }
  }
  if (begin < text.size()) {
    parts.push_back(text.substr(begin));
  }
}

Result<std::vector<Word>> CountWords(std::span<const std::string> texts, TokenId first_byte) {
  ETCH_ASSIGN_OR_RETURN(const text::SplitPattern pattern,
                        text::SplitPattern::Compile(model::kGpt2Pattern));
  std::map<std::string_view, int64_t> counts;  // sorted: the result does not depend on hashing
  std::vector<std::string_view> parts;
  std::vector<std::string_view> pieces;
  for (const std::string& text : texts) {
    parts.clear();
    SplitDigits(text, parts);
    for (const std::string_view part : parts) {
      pieces.clear();
      pattern.Split(part, pieces);
      for (const std::string_view piece : pieces) {
        ++counts[piece];
      }
    }
  }
  std::vector<Word> words;
  for (const auto& [piece, count] : counts) {
    Word word;
    word.count = count;
    for (const char byte : piece) {
      word.tokens.push_back(first_byte + static_cast<unsigned char>(byte));
    }
    words.push_back(std::move(word));
  }
  return words;
}

void Apply(const Merge& merge, std::vector<TokenId>& tokens) {
  size_t to = 0;
  for (size_t from = 0; from < tokens.size(); ++from) {
    if (from + 1 < tokens.size() && tokens[from] == merge.left && tokens[from + 1] == merge.right) {
      tokens[to++] = merge.result;
      ++from;
    } else {
      tokens[to++] = tokens[from];
    }
  }
  tokens.resize(to);
}

Result<TokenId> FindControl(const BpeSettings& settings, const std::string& name) {
  const auto found = std::ranges::find(settings.control_tokens, name);
  if (found == settings.control_tokens.end()) {
    return Fail(ErrorCode::kInvalidArgument, "\"{}\" is not among the control tokens", name);
  }
  return static_cast<TokenId>(found - settings.control_tokens.begin());
}

}  // namespace

Result<model::Vocabulary> TrainBpe(std::span<const std::string> texts, const BpeSettings& settings,
                                   const ProgressFn& progress) {
  model::Vocabulary out;
  out.kind = model::TokenizerKind::kByteLevelBpe;
  out.order = model::MergeOrder::kRanks;
  out.split_patterns = {std::string(model::kGpt2Pattern)};
  out.split_digits = true;
  out.chat_template = settings.chat_template;
  for (const std::string& name : settings.control_tokens) {
    out.tokens.push_back({name, 0.0F, TokenType::kControl});
  }
  if (!settings.bos.empty()) {
    ETCH_ASSIGN_OR_RETURN(out.bos, FindControl(settings, settings.bos));
    out.add_bos = true;
  }
  ETCH_ASSIGN_OR_RETURN(out.eos, FindControl(settings, settings.end_of_turn));
  out.end_of_generation = {out.eos};
  const auto first_byte = static_cast<TokenId>(out.tokens.size());
  for (int byte = 0; byte < 256; ++byte) {
    out.tokens.push_back({std::string(1, static_cast<char>(byte))});
  }
  const int64_t merges = settings.vocab_size - std::ssize(out.tokens);
  if (merges < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "a vocabulary of {} has no room for {} control tokens and 256 bytes",
                settings.vocab_size, settings.control_tokens.size());
  }

  ETCH_ASSIGN_OR_RETURN(std::vector<Word> words, CountWords(texts, first_byte));
  PairTable pairs;
  for (size_t word = 0; word < words.size(); ++word) {
    pairs.Add(words, word, 1);
  }
  for (int64_t done = 0; done < merges; ++done) {
    if (progress && !progress({"learning the tokenizer", done, merges, "merges"})) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    const auto [pair, count] = pairs.Best();
    if (count < 2) {
      break;
    }
    const Merge merge{pair.first, pair.second, static_cast<TokenId>(out.tokens.size())};
    out.tokens.push_back({out.tokens[static_cast<size_t>(merge.left)].text +
                          out.tokens[static_cast<size_t>(merge.right)].text});
    out.merges.push_back(merge);
    for (const size_t word : pairs.TakeWords(pair)) {
      pairs.Add(words, word, -1);
      Apply(merge, words[word].tokens);
      pairs.Add(words, word, 1);
    }
  }
  return out;
}

}  // namespace etch::tune
