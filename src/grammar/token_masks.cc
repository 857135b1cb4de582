// The walk over the trie is a loop over arrays: the state at every depth stands in a list, and a
// node whose byte leads to no state is skipped with all below it. A step of the machine is a
// look-up once it is known, so the walk costs a few nanoseconds a node that is reached.

#include "grammar/token_masks.h"

#include <algorithm>
#include <numeric>

#include "grammar/machine.h"

namespace etch::grammar {
namespace {

constexpr size_t kMaxMaskBytes = 32 << 20;  // of one constraint
// What one mask may cost, in new steps and states of the machine. A schema takes a few thousand; a
// grammar that was made to take more loses tokens.
constexpr int64_t kMaxWalkWork = 3'000'000;
constexpr int64_t kMaxWalkStates = 30'000;
constexpr size_t kMaxTokenBytes = UINT16_MAX - 1;

void SetBit(TokenSet& set, model::TokenId token) {
  set[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
}

}  // namespace

TokenTrie::TokenTrie(const text::Tokenizer& tokenizer, int64_t vocab_size)
    : vocab_size_(vocab_size), ends_(tokenizer.vocabulary().end_of_generation) {
  std::vector<std::string> texts(static_cast<size_t>(vocab_size));
  const auto& tokens = tokenizer.vocabulary().tokens;
  for (size_t token = 0; token < texts.size() && token < tokens.size(); ++token) {
    texts[token] = tokenizer.TokenBytes(static_cast<model::TokenId>(token));
  }
  Build(texts);
}

TokenTrie::TokenTrie(const std::vector<std::string>& texts, std::vector<model::TokenId> ends)
    : vocab_size_(std::ssize(texts)), ends_(std::move(ends)) {
  Build(texts);
}

std::string_view TokenTrie::text(model::TokenId token) const {
  const auto at = static_cast<size_t>(token);
  return std::string_view(texts_).substr(text_begins_[at], text_begins_[at + 1] - text_begins_[at]);
}

void TokenTrie::Build(const std::vector<std::string>& texts) {
  std::erase_if(ends_, [&](model::TokenId token) { return token < 0 || token >= vocab_size_; });
  for (const std::string& text : texts) {
    text_begins_.push_back(static_cast<uint32_t>(texts_.size()));
    texts_ += text;
  }
  text_begins_.push_back(static_cast<uint32_t>(texts_.size()));
  std::vector<model::TokenId> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](model::TokenId token) {
    const size_t size = texts[static_cast<size_t>(token)].size();
    return size == 0 || size > kMaxTokenBytes || std::ranges::binary_search(ends_, token);
  });
  // string_view compares bytes as unsigned.
  std::ranges::stable_sort(order, {}, [this](model::TokenId token) { return text(token); });
  std::vector<uint32_t> open;  // nodes from the root to the last token
  std::string_view last;
  const auto close = [&](size_t depth) {
    while (open.size() > depth) {
      skips_[open.back()] = static_cast<uint32_t>(bytes_.size());
      open.pop_back();
    }
  };
  for (const model::TokenId token : order) {
    const std::string_view now = text(token);
    const auto common = static_cast<size_t>(
        std::mismatch(last.begin(), last.end(), now.begin(), now.end()).first - last.begin());
    close(common);
    for (size_t depth = common; depth < now.size(); ++depth) {
      open.push_back(static_cast<uint32_t>(bytes_.size()));
      bytes_.push_back(static_cast<uint8_t>(now[depth]));
      depths_.push_back(static_cast<uint16_t>(depth + 1));
      skips_.push_back(0);
      token_begins_.push_back(static_cast<uint32_t>(tokens_.size()));
    }
    tokens_.push_back(token);
    last = now;
  }
  close(0);
  token_begins_.push_back(static_cast<uint32_t>(tokens_.size()));
}

TokenMasks::TokenMasks(ConstraintPtr constraint, const TokenTrie& trie)
    : constraint_(std::move(constraint)),
      trie_(trie),
      machine_(std::make_shared<Machine>(constraint_->program())) {}

TokenMasks::~TokenMasks() = default;

std::shared_ptr<const TokenSet> TokenMasks::Find(uint32_t state, bool drops_space) {
  const uint64_t key = uint64_t{state} << 1 | (drops_space ? 1 : 0);
  if (const auto known = masks_.find(key); known != masks_.end()) {
    return known->second;
  }
  const size_t mask_bytes = (static_cast<size_t>(trie_.vocab_size_) + 63) / 64 * sizeof(uint64_t);
  if ((masks_.size() + 1) * mask_bytes > kMaxMaskBytes) {
    masks_.clear();
  }
  return masks_[key] = std::make_shared<const TokenSet>(Walk(state, drops_space));
}

TokenSet TokenMasks::Walk(uint32_t state, bool drops_space) {
  TokenSet allowed((static_cast<size_t>(trie_.vocab_size_) + 63) / 64, 0);
  Machine& machine = *machine_;
  if (machine.accepts(state)) {
    for (const model::TokenId token : trie_.ends_) {
      SetBit(allowed, token);
    }
  }
  path_.resize(kMaxTokenBytes + 2, kNoState);
  path_[0] = state;
  const auto nodes = static_cast<uint32_t>(trie_.bytes_.size());
  const int64_t last_work = machine.work() + kMaxWalkWork;
  const int64_t last_state = machine.states() + kMaxWalkStates;
  for (uint32_t node = 0; node < nodes;) {
    if (machine.work() > last_work || machine.states() > last_state) {
      break;
    }
    const uint16_t depth = trie_.depths_[node];
    const uint8_t byte = trie_.bytes_[node];
    const uint32_t next = drops_space && depth == 1 && byte == ' '
                              ? state
                              : machine.Next(path_[size_t{depth} - 1], byte);
    if (next == kNoState) {
      node = trie_.skips_[node];
      continue;
    }
    path_[depth] = next;
    for (uint32_t at = trie_.token_begins_[node]; at < trie_.token_begins_[node + 1]; ++at) {
      SetBit(allowed, trie_.tokens_[at]);
    }
    ++node;
  }
  return allowed;
}

Matcher::Matcher(std::shared_ptr<TokenMasks> masks, bool drops_space)
    : masks_(std::move(masks)), drops_space_(drops_space) {
  const std::lock_guard lock(masks_->mutex_);
  machine_ = masks_->machine_;
  state_ = machine_->start();
}

Matcher::~Matcher() = default;

std::span<const uint64_t> Matcher::Allowed() {
  const std::lock_guard lock(masks_->mutex_);
  if (masks_->machine_->is_full()) {
    masks_->machine_ = std::make_shared<Machine>(masks_->constraint_->program());
    masks_->masks_.clear();
  }
  if (machine_ != masks_->machine_) {
    state_ = masks_->machine_->Adopt(*machine_, state_);
    machine_ = masks_->machine_;
  }
  allowed_ = masks_->Find(state_, drops_space_);
  return *allowed_;
}

bool Matcher::Accept(model::TokenId token) {
  const TokenTrie& trie = masks_->trie_;
  if (token < 0 || token >= trie.vocab_size()) {
    return false;
  }
  const std::lock_guard lock(masks_->mutex_);
  if (std::ranges::binary_search(trie.ends(), token)) {
    return machine_->accepts(state_);
  }
  std::string_view text = trie.text(token);
  if (text.empty()) {
    return false;
  }
  if (drops_space_ && text.front() == ' ') {
    text.remove_prefix(1);
  }
  StateId state = state_;
  for (const char byte : text) {
    state = machine_->Next(state, static_cast<uint8_t>(byte));
  }
  if (state == kNoState) {
    return false;
  }
  state_ = state;
  drops_space_ = false;
  return true;
}

bool Matcher::may_end() const {
  const std::lock_guard lock(masks_->mutex_);
  return machine_->accepts(state_);
}

bool Matcher::is_complete() const {
  const std::lock_guard lock(masks_->mutex_);
  return machine_->accepts(state_) && machine_->ends(state_);
}

}  // namespace etch::grammar
