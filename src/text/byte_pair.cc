// Looking for the best pair anew after each merge is quadratic, and a piece can be a megabyte: text
// without a space for SentencePiece, a run of one letter for anyone. Here the symbols are a linked
// list and the pairs that could merge wait in a heap. A merge makes two pairs and voids up to two;
// the void ones stay in the heap and are recognised when they come up, because the size that they
// noted is no longer that of the two symbols.

#include "text/byte_pair.h"

#include <algorithm>

namespace etch::text {
namespace {

constexpr int32_t kNone = -1;

}  // namespace

void BytePairMerger::Consider(const MergeTable& table, std::string_view piece,
                              const std::vector<Symbol>& symbols, int32_t left) {
  if (left == kNone || links_[static_cast<size_t>(left)].next == kNone) {
    return;
  }
  const Symbol& first = symbols[static_cast<size_t>(left)];
  const Symbol& second = symbols[static_cast<size_t>(links_[static_cast<size_t>(left)].next)];
  const std::string_view joined =
      piece.substr(first.begin, second.begin + second.size - first.begin);
  if (const auto step = table.Find(first.token, second.token, joined)) {
    heap_.push_back({uint64_t{step->priority} << 32 | static_cast<uint32_t>(left),
                     first.size + second.size, step->result});
  }
}

void BytePairMerger::Run(const MergeTable& table, std::string_view piece,
                         std::vector<Symbol>& symbols) {
  const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
  const auto n_symbols = static_cast<int32_t>(symbols.size());
  links_.resize(symbols.size());
  for (int32_t index = 0; index < n_symbols; ++index) {
    links_[static_cast<size_t>(index)] = {index - 1, index + 1 < n_symbols ? index + 1 : kNone};
  }
  heap_.clear();
  for (int32_t index = 0; index < n_symbols; ++index) {
    Consider(table, piece, symbols, index);
  }
  std::ranges::make_heap(heap_, later);
  while (!heap_.empty()) {
    std::ranges::pop_heap(heap_, later);
    const Candidate candidate = heap_.back();
    heap_.pop_back();
    const auto left = static_cast<int32_t>(candidate.order & UINT32_MAX);
    Symbol& first = symbols[static_cast<size_t>(left)];
    Link& link = links_[static_cast<size_t>(left)];
    if (first.size == 0 || link.next == kNone) {
      continue;
    }
    Symbol& second = symbols[static_cast<size_t>(link.next)];
    if (first.size + second.size != candidate.size) {
      continue;
    }
    first.token = candidate.result;
    first.size += second.size;
    second.size = 0;
    link.next = links_[static_cast<size_t>(link.next)].next;
    if (link.next != kNone) {
      links_[static_cast<size_t>(link.next)].previous = left;
    }
    for (const int32_t changed : {left, link.previous}) {
      const size_t before = heap_.size();
      Consider(table, piece, symbols, changed);
      if (heap_.size() > before) {
        std::ranges::push_heap(heap_, later);
      }
    }
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.size == 0; });
}

}  // namespace etch::text
