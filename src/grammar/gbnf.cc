// Each rule becomes an automaton with calls. A rule that calls itself before it reads a byte would
// never begin, so left recursion is refused. Every node knows how many rules must be open at once
// on the flattest way to the end of its rule; ways that do not fit the limit, or have no end, are
// never taken.

#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <string>

#include "text/utf8.h"

namespace etch::grammar {
namespace {

constexpr int kMaxGroups = 100;

bool IsNameLetter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || letter == '-' || letter == '_';
}

struct Rule {
  std::string name;
  Expression expression;
  bool defined = false;
};

class GrammarParser {
 public:
  GrammarParser(std::string_view grammar, const Limits& limits) : text_(grammar), limits_(limits) {}

  Result<std::vector<Rule>> Parse() {
    if (text::ValidUtf8Prefix(text_) != text_.size()) {
      return Fail(ErrorCode::kMalformed, "the grammar is not UTF-8");
    }
    SkipSpace(true);
    while (!Ends()) {
      ETCH_TRY(ParseRule());
      SkipSpace(true);
    }
    for (const Rule& rule : rules_) {
      if (!rule.defined) {
        return Fail(ErrorCode::kMalformed, "grammar: rule \"{}\" is not defined", rule.name);
      }
    }
    return std::move(rules_);
  }

 private:
  tl::unexpected<Error> Malformed(std::string_view what) const {
    const auto line = 1 + std::ranges::count(text_.substr(0, at_), '\n');
    return Fail(ErrorCode::kMalformed, "grammar, line {}: {}", line, what);
  }
  bool Ends() const { return at_ >= text_.size(); }
  char Letter() const { return Ends() ? '\0' : text_[at_]; }
  bool Take(std::string_view prefix) {
    const bool sees = text_.substr(at_).starts_with(prefix);
    at_ += sees ? prefix.size() : 0;
    return sees;
  }

  void SkipSpace(bool lines) {
    while (!Ends()) {
      if (Letter() == '#') {
        while (!Ends() && Letter() != '\n') {
          ++at_;
        }
      } else if (Letter() == ' ' || Letter() == '\t' ||
                 (lines && (Letter() == '\n' || Letter() == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Result<uint32_t> ParseName() {
    const size_t begin = at_;
    while (IsNameLetter(Letter())) {
      ++at_;
    }
    if (begin == at_) {
      return Malformed("a rule's name is expected");
    }
    const std::string name(text_.substr(begin, at_ - begin));
    const auto [known, added] = by_name_.emplace(name, static_cast<uint32_t>(rules_.size()));
    if (added) {
      rules_.push_back({name, {}, false});
    }
    return known->second;
  }

  Status ParseRule() {
    ETCH_ASSIGN_OR_RETURN(const uint32_t rule, ParseName());
    SkipSpace(false);
    if (!Take("::=")) {
      return Malformed("\"::=\" is expected");
    }
    if (rules_[rule].defined) {
      return Malformed(fmt::format("rule \"{}\" is defined twice", rules_[rule].name));
    }
    SkipSpace(true);
    ETCH_ASSIGN_OR_RETURN(Expression expression, ParseChoice(0));
    rules_[rule].expression = std::move(expression);
    rules_[rule].defined = true;
    if (!Ends() && Letter() != '\n' && Letter() != '\r') {
      return Malformed("this can not be read");
    }
    return {};
  }

  // Inside of brackets a line's end is white space.
  Result<Expression> ParseChoice(int depth) {
    if (depth > kMaxGroups) {
      return Malformed("groups are nested too deep");
    }
    Expression choice;
    choice.kind = Expression::Kind::kChoice;
    do {
      SkipSpace(true);
      Expression sequence;
      while (StartsItem()) {
        ETCH_ASSIGN_OR_RETURN(Expression item, ParseItem(depth));
        sequence.children.push_back(std::move(item));
        SkipSpace(depth > 0);
        if (depth == 0 && !Ends() && !StartsItem() && Letter() != '|') {
          SkipToBar();
        }
      }
      choice.children.push_back(std::move(sequence));
      if (depth == 0) {
        SkipToBar();
      }
    } while (Take("|"));
    return choice;
  }

  // A rule goes on in the next line when that begins with "|".
  void SkipToBar() {
    const size_t before = at_;
    SkipSpace(true);
    if (Letter() != '|') {
      at_ = before;
    }
  }

  // "|" at the end of a line leaves the next line's name, which may be the next rule's.
  bool StartsItem() const {
    if (Letter() == '"' || Letter() == '[' || Letter() == '(' || Letter() == '.') {
      return true;
    }
    if (!IsNameLetter(Letter())) {
      return false;
    }
    size_t end = at_;
    while (end < text_.size() && IsNameLetter(text_[end])) {
      ++end;
    }
    while (end < text_.size() && (text_[end] == ' ' || text_[end] == '\t')) {
      ++end;
    }
    return !text_.substr(end).starts_with("::=");
  }

  Result<Expression> ParseItem(int depth) {
    Expression item;
    if (Take("\"")) {
      ETCH_ASSIGN_OR_RETURN(item, ParseLiteral());
    } else if (Take("[")) {
      ETCH_ASSIGN_OR_RETURN(item, ParseClass());
    } else if (Take(".")) {
      item = AnyCharacter();
    } else if (Take("(")) {
      ETCH_ASSIGN_OR_RETURN(item, ParseChoice(depth + 1));
      SkipSpace(true);
      if (!Take(")")) {
        return Malformed("\"(\" without \")\"");
      }
    } else {
      ETCH_ASSIGN_OR_RETURN(const uint32_t rule, ParseName());
      item.kind = Expression::Kind::kReference;
      item.rule = rule;
    }
    return ParseRepeats(std::move(item));
  }

  Result<Expression> ParseRepeats(Expression item) {
    for (;;) {
      SkipSpace(false);
      if (Take("*")) {
        item = Repeat(std::move(item), 0, -1);
      } else if (Take("+")) {
        item = Repeat(std::move(item), 1, -1);
      } else if (Take("?")) {
        item = Repeat(std::move(item), 0, 1);
      } else if (Take("{")) {
        ETCH_ASSIGN_OR_RETURN(const int64_t low, ParseCount());
        int64_t high = low;
        if (Take(",")) {
          high = -1;
          SkipSpace(false);
          if (Letter() != '}') {
            ETCH_ASSIGN_OR_RETURN(high, ParseCount());
          }
        }
        if (!Take("}") || (high >= 0 && high < low)) {
          return Malformed("{m,n} is not a range");
        }
        item = Repeat(std::move(item), low, high);
      } else {
        return item;
      }
      if (++repeats_ > 10'000) {
        return Malformed("too many repetitions");
      }
    }
  }

  Result<int64_t> ParseCount() {
    SkipSpace(false);
    if (Letter() < '0' || Letter() > '9') {
      return Malformed("{m,n} needs a number");
    }
    int64_t count = 0;
    while (Letter() >= '0' && Letter() <= '9') {
      count = std::min<int64_t>(count * 10 + (text_[at_++] - '0'), limits_.repeat + 1);
    }
    if (count > limits_.repeat) {
      return Malformed(fmt::format("more than {} repetitions", limits_.repeat));
    }
    SkipSpace(false);
    return count;
  }

  Result<char32_t> ParseCharacter() {
    if (Ends() || Letter() == '\n') {
      return Malformed("a literal or class does not end in its line");
    }
    if (!Take("\\")) {
      const size_t size = text::NextUtf8(text_.substr(at_)).size;
      const Expression literal = Literal(text_.substr(at_, size));
      at_ += size;
      return literal.children.front().ranges.front().low;
    }
    const char letter = Letter();
    ++at_;
    switch (letter) {
      case 'x':
        return ParseHex(2);
      case 'u':
        return ParseHex(4);
      case 'U':
        return ParseHex(8);
      case 't':
        return U'\t';
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<char32_t>(letter);
      default:
        return Malformed("an escape that GBNF does not know");
    }
  }

  Result<char32_t> ParseHex(size_t digits) {
    char32_t value = 0;
    for (size_t index = 0; index < digits; ++index, ++at_) {
      const char digit = static_cast<char>(Letter() | 0x20);
      const bool is_letter = digit >= 'a' && digit <= 'f';
      if (!is_letter && (Letter() < '0' || Letter() > '9')) {
        return Malformed("not enough hexadecimal digits");
      }
      value = value * 16 + static_cast<char32_t>(is_letter ? digit - 'a' + 10 : Letter() - '0');
    }
    if (value > kLastCodePoint) {
      return Malformed("no such character");
    }
    return value;
  }

  static Expression Character(char32_t point) {
    Expression item;
    item.kind = Expression::Kind::kClass;
    item.ranges = Normalize({{point, point}});
    return item;
  }

  Result<Expression> ParseLiteral() {
    Expression sequence;
    while (!Take("\"")) {
      ETCH_ASSIGN_OR_RETURN(const char32_t point, ParseCharacter());
      sequence.children.push_back(Character(point));
    }
    return sequence;
  }

  Result<Expression> ParseClass() {
    const bool negated = Take("^");
    std::vector<CodeRange> ranges;
    while (!Take("]")) {
      ETCH_ASSIGN_OR_RETURN(const char32_t low, ParseCharacter());
      char32_t high = low;
      if (Letter() == '-' && !text_.substr(at_).starts_with("-]")) {
        ++at_;
        ETCH_ASSIGN_OR_RETURN(high, ParseCharacter());
      }
      if (high < low) {
        return Malformed("the range of a class ends before it begins");
      }
      ranges.push_back({low, high});
    }
    Expression item;
    item.kind = Expression::Kind::kClass;
    item.ranges = negated ? Complement(ranges) : Normalize(std::move(ranges));
    return item;
  }

  std::string_view text_;
  const Limits& limits_;
  size_t at_ = 0;
  std::vector<Rule> rules_;
  std::map<std::string, uint32_t> by_name_;
  int repeats_ = 0;
};

class RuleCompiler {
 public:
  RuleCompiler(std::vector<Rule> rules, Budget& budget)
      : rules_(std::move(rules)), budget_(budget), program_(std::make_unique<Program>()) {}

  Result<std::unique_ptr<const Program>> Compile() {
    program_->kind = Program::Kind::kRules;
    program_->limits = budget_.limits();
    const auto root = std::ranges::find(rules_, "root", &Rule::name);
    if (root == rules_.end()) {
      return Fail(ErrorCode::kMalformed, "grammar: there is no rule \"root\"");
    }
    program_->root_rule = static_cast<uint32_t>(root - rules_.begin());
    Nfa nfa;
    for (const Rule& rule : rules_) {
      const uint32_t match = nfa.Add({});
      ETCH_ASSIGN_OR_RETURN(const uint32_t start, nfa.Build(rule.expression, match, budget_));
      program_->rule_starts.push_back(start);
    }
    program_->nodes = nfa.nodes();
    ETCH_TRY(FindMatches());
    ETCH_TRY(RefuseLeftRecursion());
    ETCH_TRY(FindNeeds());
    const uint32_t need = program_->needs[program_->rule_starts[program_->root_rule]];
    if (need >= kNever) {
      return Fail(ErrorCode::kMismatch, "grammar: no text satisfies rule \"root\"");
    }
    if (need > static_cast<uint32_t>(budget_.limits().rule_depth)) {
      return Fail(ErrorCode::kInvalidArgument, "grammar: the shortest text opens {} rules at once",
                  need);
    }
    return std::unique_ptr<const Program>(std::move(program_));
  }

 private:
  // Repeats `visit` for every node until nothing changes.
  template <class Visit>
  Status Settle(const Visit& visit) {
    for (bool changed = true; changed;) {
      changed = false;
      ETCH_TRY(budget_.Spend(static_cast<int64_t>(program_->nodes.size())));
      for (uint32_t index = 0; index < program_->nodes.size(); ++index) {
        changed = visit(index) || changed;
      }
    }
    return {};
  }

  Status FindMatches() {
    program_->only_matches.assign(program_->nodes.size(), false);
    empty_.assign(program_->nodes.size(), false);
    for (uint32_t index = 0; index < program_->nodes.size(); ++index) {
      program_->only_matches[index] = program_->nodes[index].kind == NfaNode::Kind::kMatch;
    }
    return Settle([this](uint32_t index) {
      const NfaNode& node = program_->nodes[index];
      bool empty = false;
      switch (node.kind) {
        case NfaNode::Kind::kMatch:
          empty = true;
          break;
        case NfaNode::Kind::kSplit:
          empty = empty_[node.to] || empty_[node.value];
          break;
        case NfaNode::Kind::kCall:
          empty = empty_[program_->rule_starts[node.value]] && empty_[node.to];
          break;
        default:
          break;
      }
      const bool changed = empty && !empty_[index];
      empty_[index] = empty_[index] || empty;
      return changed;
    });
  }

  // The rules that `rule` may call before it reads a byte.
  Result<std::vector<uint32_t>> FirstCalls(uint32_t rule) {
    std::vector<uint32_t> calls;
    std::vector<uint32_t> work = {program_->rule_starts[rule]};
    std::vector<uint32_t> seen = work;
    while (!work.empty()) {
      const NfaNode& node = program_->nodes[work.back()];
      work.pop_back();
      ETCH_TRY(budget_.Spend(10));
      std::vector<uint32_t> next;
      if (node.kind == NfaNode::Kind::kSplit) {
        next = {node.to, node.value};
      } else if (node.kind == NfaNode::Kind::kCall) {
        calls.push_back(node.value);
        if (empty_[program_->rule_starts[node.value]]) {
          next = {node.to};
        }
      }
      for (const uint32_t to : next) {
        if (visited_[to] != rule + 1) {
          visited_[to] = rule + 1;
          work.push_back(to);
        }
      }
    }
    return calls;
  }

  Status RefuseLeftRecursion() {
    visited_.assign(program_->nodes.size(), 0);
    const auto n_rules = static_cast<uint32_t>(rules_.size());
    std::vector<std::vector<uint32_t>> first(n_rules);
    for (uint32_t rule = 0; rule < n_rules; ++rule) {
      ETCH_ASSIGN_OR_RETURN(first[rule], FirstCalls(rule));
    }
    // A rule is sound once all its first calls are; rules that never become sound are on a cycle or
    // lead to one.
    std::vector<std::vector<uint32_t>> callers(n_rules);
    std::vector<size_t> open(n_rules);
    std::vector<uint32_t> sound;
    for (uint32_t rule = 0; rule < n_rules; ++rule) {
      open[rule] = first[rule].size();
      for (const uint32_t call : first[rule]) {
        callers[call].push_back(rule);
      }
      if (open[rule] == 0) {
        sound.push_back(rule);
      }
    }
    for (size_t done = 0; done < sound.size(); ++done) {
      for (const uint32_t caller : callers[sound[done]]) {
        if (--open[caller] == 0) {
          sound.push_back(caller);
        }
      }
    }
    if (sound.size() == rules_.size()) {
      return {};
    }
    // Among the others every rule has a first call that is not sound: following it finds a cycle.
    uint32_t rule = 0;
    while (open[rule] == 0) {
      ++rule;
    }
    for (uint32_t step = 0; step < n_rules; ++step) {
      rule = *std::ranges::find_if(first[rule], [&](uint32_t call) { return open[call] > 0; });
    }
    return Fail(ErrorCode::kUnsupported,
                "grammar: rule \"{}\" begins with itself (left recursion), which is not supported; "
                "write a repetition",
                rules_[rule].name);
  }

  Status FindNeeds() {
    std::vector<uint32_t>& needs = program_->needs;
    needs.assign(program_->nodes.size(), kNever);
    return Settle([&](uint32_t index) {
      const NfaNode& node = program_->nodes[index];
      uint32_t need = kNever;
      switch (node.kind) {
        case NfaNode::Kind::kMatch:
          need = 0;
          break;
        case NfaNode::Kind::kByte:
          need = node.low <= node.high ? needs[node.to] : kNever;
          break;
        case NfaNode::Kind::kSplit:
          need = std::min(needs[node.to], needs[node.value]);
          break;
        case NfaNode::Kind::kCall: {
          const uint32_t rule = needs[program_->rule_starts[node.value]];
          const uint32_t opened = program_->only_matches[node.to] ? 0 : 1;
          need = std::max(rule >= kNever ? kNever : rule + opened, needs[node.to]);
          break;
        }
        default:
          need = needs[node.to];
      }
      const bool changed = need < needs[index];
      needs[index] = need;
      return changed;
    });
  }

  std::vector<Rule> rules_;
  Budget& budget_;
  std::unique_ptr<Program> program_;
  std::vector<bool> empty_;  // by node: the rule may end without another byte
  std::vector<uint32_t> visited_;
};

}  // namespace

Result<std::unique_ptr<const Program>> CompileRules(std::string_view grammar, Budget& budget) {
  if (grammar.size() > budget.limits().source_bytes) {
    return Fail(ErrorCode::kInvalidArgument, "the grammar has {} bytes, more than {}",
                grammar.size(), budget.limits().source_bytes);
  }
  ETCH_ASSIGN_OR_RETURN(std::vector<Rule> rules, GrammarParser(grammar, budget.limits()).Parse());
  return RuleCompiler(std::move(rules), budget).Compile();
}

}  // namespace etch::grammar
