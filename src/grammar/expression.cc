// Nodes are built with the continuation already known, so that a repetition {m,n} is its child
// built n times and nothing has to be patched but loops. Determinizing is the subset construction;
// ^ and $ are edges without a byte: ^ is followed at the beginning of the text only, $ only to ask
// whether the text may end here.

#include "grammar/expression.h"

#include <algorithm>

#include "text/utf8.h"

namespace etch::grammar {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;

void Split(char32_t low, char32_t high, std::vector<std::vector<ByteRange>>& out) {
  if (low > high) {
    return;
  }
  if (low <= kLastSurrogate && high >= kFirstSurrogate) {
    if (low < kFirstSurrogate) {
      Split(low, kFirstSurrogate - 1, out);
    }
    Split(std::max<char32_t>(low, kLastSurrogate + 1), high, out);
    return;
  }
  for (const char32_t last : {0x7FU, 0x7FFU, 0xFFFFU}) {
    if (low <= last && high > last) {
      Split(low, last, out);
      Split(last + 1, high, out);
      return;
    }
  }
  for (int bits = 6; high > 0x7F && bits <= 18; bits += 6) {
    const char32_t mask = (char32_t{1} << bits) - 1;
    if ((low & ~mask) != (high & ~mask)) {
      if ((low & mask) != 0) {
        Split(low, low | mask, out);
        Split((low | mask) + 1, high, out);
        return;
      }
      if ((high & mask) != mask) {
        Split(low, (high & ~mask) - 1, out);
        Split(high & ~mask, high, out);
        return;
      }
    }
  }
  std::string first;
  std::string last;
  text::AppendUtf8(low, first);
  text::AppendUtf8(high, last);
  std::vector<ByteRange> sequence;
  for (size_t index = 0; index < first.size(); ++index) {
    sequence.push_back({static_cast<uint8_t>(first[index]), static_cast<uint8_t>(last[index])});
  }
  out.push_back(std::move(sequence));
}

// Sets of nodes closed under edges without a byte.
class Closure {
 public:
  explicit Closure(const std::vector<NfaNode>& nodes) : nodes_(nodes), seen_(nodes.size(), 0) {}

  void Clear() { ++round_; }
  // Adds what `node` reaches; nodes that read, match or end are listed in `out`.
  void Add(uint32_t node, bool at_begin, bool at_end, std::vector<uint32_t>& out) {
    work_.push_back(node);
    while (!work_.empty()) {
      const uint32_t index = work_.back();
      work_.pop_back();
      if (seen_[index] == round_) {
        continue;
      }
      seen_[index] = round_;
      ++visited_;
      const NfaNode& at = nodes_[index];
      switch (at.kind) {
        case NfaNode::Kind::kSplit:
          work_.push_back(at.to);
          work_.push_back(at.value);
          break;
        case NfaNode::Kind::kBegin:
          if (at_begin) {
            work_.push_back(at.to);
          }
          break;
        case NfaNode::Kind::kEnd:
          out.push_back(index);
          if (at_end) {
            work_.push_back(at.to);
          }
          break;
        default:
          out.push_back(index);
      }
    }
  }
  int64_t TakeVisited() { return std::exchange(visited_, 0); }

 private:
  const std::vector<NfaNode>& nodes_;
  std::vector<uint32_t> seen_;
  std::vector<uint32_t> work_;
  uint32_t round_ = 1;
  int64_t visited_ = 0;
};

ByteClasses ClassesOf(const std::vector<NfaNode>& nodes) {
  std::bitset<257> cuts;
  for (const NfaNode& node : nodes) {
    if (node.kind == NfaNode::Kind::kByte) {
      cuts.set(node.low).set(size_t{node.high} + 1);
    }
  }
  return ByteClasses::FromCuts(cuts);
}

}  // namespace

std::vector<CodeRange> Normalize(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> pieces;
  for (const CodeRange& range : ranges) {  // without surrogates
    if (range.low < kFirstSurrogate) {
      pieces.push_back({range.low, std::min<char32_t>(range.high, kFirstSurrogate - 1)});
    }
    if (range.high > kLastSurrogate) {
      pieces.push_back({std::max<char32_t>(range.low, kLastSurrogate + 1), range.high});
    }
  }
  std::ranges::sort(pieces, {}, &CodeRange::low);
  std::vector<CodeRange> out;
  for (const CodeRange& range : pieces) {
    if (!out.empty() && range.low <= out.back().high + 1) {
      out.back().high = std::max(out.back().high, range.high);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

std::vector<CodeRange> Complement(const std::vector<CodeRange>& ranges) {
  std::vector<CodeRange> out;
  char32_t next = 0;
  for (const CodeRange& range : Normalize(ranges)) {
    if (range.low > next) {
      out.push_back({next, range.low - 1});
    }
    next = range.high + 1;
  }
  if (next <= kLastCodePoint) {
    out.push_back({next, kLastCodePoint});
  }
  return Normalize(std::move(out));
}

Expression Literal(std::string_view utf8) {
  Expression sequence;
  for (size_t at = 0; at < utf8.size();) {
    const size_t size = text::NextUtf8(utf8.substr(at)).size;
    const auto lead = static_cast<uint8_t>(utf8[at]);
    char32_t point = size == 1 ? lead : lead & (0xFFU >> (size + 1));
    for (size_t index = 1; index < size; ++index) {
      point = (point << 6) | (static_cast<uint8_t>(utf8[at + index]) & 0x3FU);
    }
    Expression character;
    character.kind = Expression::Kind::kClass;
    character.ranges = {{point, point}};
    sequence.children.push_back(std::move(character));
    at += size;
  }
  return sequence;
}

Expression AnyCharacter() {
  Expression any;
  any.kind = Expression::Kind::kClass;
  any.ranges = Complement({});
  return any;
}

Expression Repeat(Expression child, int64_t low, int64_t high) {
  Expression repeat;
  repeat.kind = Expression::Kind::kRepeat;
  repeat.low = low;
  repeat.high = high;
  repeat.children.push_back(std::move(child));
  return repeat;
}

std::vector<std::vector<ByteRange>> Utf8Sequences(char32_t low, char32_t high) {
  std::vector<std::vector<ByteRange>> out;
  Split(low, high, out);
  return out;
}

Result<uint32_t> Nfa::Build(const Expression& expression, uint32_t next, Budget& budget) {
  using Kind = Expression::Kind;
  ETCH_TRY(budget.Spend(4));
  switch (expression.kind) {
    case Kind::kSequence:
      for (auto child = expression.children.rbegin(); child != expression.children.rend();
           ++child) {
        ETCH_ASSIGN_OR_RETURN(next, Build(*child, next, budget));
      }
      return next;
    case Kind::kChoice: {
      uint32_t entry = 0;
      for (size_t index = expression.children.size(); index-- > 0;) {
        ETCH_ASSIGN_OR_RETURN(const uint32_t way, Build(expression.children[index], next, budget));
        entry = index + 1 == expression.children.size()
                    ? way
                    : Add({NfaNode::Kind::kSplit, 0, 0, way, entry});
      }
      return entry;
    }
    case Kind::kClass:
      return BuildClass(expression.ranges, next, budget);
    case Kind::kRepeat:
      return BuildRepeat(expression, next, budget);
    case Kind::kBegin:
      return Add({NfaNode::Kind::kBegin, 0, 0, next, 0});
    case Kind::kEnd:
      return Add({NfaNode::Kind::kEnd, 0, 0, next, 0});
    case Kind::kReference:
      return Add({NfaNode::Kind::kCall, 0, 0, next, expression.rule});
  }
  return next;
}

Result<uint32_t> Nfa::BuildClass(const std::vector<CodeRange>& ranges, uint32_t next,
                                 Budget& budget) {
  std::optional<uint32_t> entry;
  for (const CodeRange& range : ranges) {
    for (const std::vector<ByteRange>& sequence : Utf8Sequences(range.low, range.high)) {
      uint32_t way = next;
      for (auto bytes = sequence.rbegin(); bytes != sequence.rend(); ++bytes) {
        way = Add({NfaNode::Kind::kByte, bytes->low, bytes->high, way, 0});
      }
      entry = entry ? Add({NfaNode::Kind::kSplit, 0, 0, way, *entry}) : way;
      ETCH_TRY(budget.Spend(static_cast<int64_t>(sequence.size()) * 4));
    }
  }
  // No character at all: a byte that never is.
  return entry ? *entry : Add({NfaNode::Kind::kByte, 1, 0, next, 0});
}

Result<uint32_t> Nfa::BuildRepeat(const Expression& expression, uint32_t next, Budget& budget) {
  const Expression& child = expression.children.front();
  uint32_t entry = next;
  if (expression.high < 0) {
    const uint32_t loop = Add({NfaNode::Kind::kSplit, 0, 0, next, next});
    ETCH_ASSIGN_OR_RETURN(const uint32_t body, Build(child, loop, budget));
    nodes_[loop].to = body;
    entry = loop;
  } else {
    for (int64_t count = expression.low; count < expression.high; ++count) {
      ETCH_ASSIGN_OR_RETURN(const uint32_t body, Build(child, entry, budget));
      entry = Add({NfaNode::Kind::kSplit, 0, 0, body, next});
    }
  }
  for (int64_t count = 0; count < expression.low; ++count) {
    ETCH_ASSIGN_OR_RETURN(entry, Build(child, entry, budget));
  }
  return entry;
}

Result<LabelledDfa> Determinize(const Nfa& nfa, uint32_t start, Budget& budget) {
  using Key = std::vector<uint32_t>;  // sorted; the first state ends in kAtBegin
  constexpr uint32_t kAtBegin = UINT32_MAX;
  const std::vector<NfaNode>& nodes = nfa.nodes();
  Closure closure(nodes);
  LabelledDfa out;
  std::map<std::vector<uint32_t>, uint32_t> known;
  const auto label = [&](const Key& key) -> uint32_t {
    const bool at_begin = key.back() == kAtBegin;
    std::vector<uint32_t> reached;
    std::vector<uint32_t> labels;
    closure.Clear();
    for (const uint32_t node : key) {
      if (node != kAtBegin && nodes[node].kind != NfaNode::Kind::kByte) {
        closure.Add(node, at_begin, true, reached);
      }
    }
    for (const uint32_t node : reached) {
      if (nodes[node].kind == NfaNode::Kind::kMatch) {
        labels.push_back(nodes[node].value);
      }
    }
    if (labels.empty()) {
      return 0;
    }
    std::ranges::sort(labels);
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    const auto [at, added] = known.emplace(labels, static_cast<uint32_t>(known.size() + 1));
    if (added) {
      out.label_sets.push_back(labels);
    }
    return at->second;
  };
  bool exhausted = false;
  const auto step = [&](const Key& key, uint8_t byte) -> std::optional<Key> {
    Key reached;
    closure.Clear();
    for (const uint32_t node : key) {
      if (node != kAtBegin && nodes[node].kind == NfaNode::Kind::kByte && nodes[node].low <= byte &&
          byte <= nodes[node].high) {
        closure.Add(nodes[node].to, false, false, reached);
      }
    }
    exhausted =
        exhausted || !budget.Spend(closure.TakeVisited() + static_cast<int64_t>(key.size()) / 4);
    if (reached.empty() || exhausted) {
      return std::nullopt;
    }
    std::ranges::sort(reached);
    return reached;
  };
  Key first;
  closure.Add(start, true, false, first);
  std::ranges::sort(first);
  first.push_back(kAtBegin);
  ETCH_ASSIGN_OR_RETURN(out.dfa, Explore(first, ClassesOf(nodes), step, label, budget));
  ETCH_TRY(budget.Spend(0));
  return out;
}

Result<Dfa> ToDfa(const Expression& expression, Budget& budget) {
  Nfa nfa;
  const uint32_t match = nfa.Add({NfaNode::Kind::kMatch, 0, 0, 0, 0});
  ETCH_ASSIGN_OR_RETURN(const uint32_t start, nfa.Build(expression, match, budget));
  ETCH_ASSIGN_OR_RETURN(LabelledDfa labelled, Determinize(nfa, start, budget));
  return std::move(labelled.dfa);
}

}  // namespace etch::grammar
