// A value is held to a set of schemas at once: $ref, allOf and the properties of several of them
// all say something about the same place. Such a set is first written as a list of branches, one
// for every choice that anyOf, oneOf and enum leave; a branch is a set of types and the schemas
// whose facts hold together. From a branch come alternatives, one a type: an automaton for numbers
// and strings (facts of several schemas are intersected), a node for arrays and objects, whose
// children are again values held to sets of schemas. Sets are known by their sorted members, so
// that recursion ends.
//
// Afterwards every node learns how deep its flattest value is. Nodes that have none (a required
// property that is `false`, an endless recursion) are never entered, so that whatever the machine
// has begun it can finish. The same measure decides oneOf: two members exclude each other when the
// set of both has no value.

#include "grammar/schema_compiler.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "grammar/heights.h"

namespace etch::grammar {
namespace {

using SchemaSet = std::vector<SchemaId>;  // sorted, no duplicates

constexpr int kMaxChain = 500;  // allOf, anyOf, oneOf and $ref behind each other

struct Branch {
  uint8_t types = kAllTypes;
  SchemaSet facts;

  auto operator<=>(const Branch&) const = default;
};

SchemaSet Union(const SchemaSet& left, const SchemaSet& right) {
  SchemaSet out;
  std::ranges::set_union(left, right, std::back_inserter(out));
  return out;
}

void Insert(SchemaSet& set, SchemaId id) { set = Union(set, {id}); }

int64_t Steps(size_t count) { return static_cast<int64_t>(count); }

class SchemaCompiler {
 public:
  SchemaCompiler(SchemaSource source, Budget& budget)
      : source_(std::move(source)), budget_(budget), program_(std::make_unique<Program>()) {}

  Result<std::unique_ptr<Program>> Compile() {
    program_->kind = Program::Kind::kJson;
    program_->limits = budget_.limits();
    program_->dfas = std::move(source_.dfas);
    ETCH_ASSIGN_OR_RETURN(const Dfa any, ToDfa(Repeat(AnyCharacter(), 0, -1), budget_));
    any_string_ = AddDfa(any);
    ETCH_ASSIGN_OR_RETURN(program_->root, Value({0}));
    std::vector<uint32_t> both;
    for (const ExclusivePair& pair : source_.exclusive) {
      SchemaSet set = {pair.left_schema};
      Insert(set, pair.right_schema);
      ETCH_ASSIGN_OR_RETURN(const uint32_t value, Value(set));
      both.push_back(value);
    }
    ETCH_TRY(FillAll());
    ETCH_TRY(FindHeights(*program_, budget_));
    for (size_t index = 0; index < both.size(); ++index) {
      const ExclusivePair& pair = source_.exclusive[index];
      if (program_->values[both[index]].height != kNever) {
        return Fail(ErrorCode::kUnsupported,
                    "schema, #{}: members {} and {} of \"oneOf\" can both hold, which is not "
                    "supported; use anyOf, or tell them apart by a required property or a type",
                    pair.pointer, pair.left, pair.right);
      }
    }
    CutArrays(*program_);
    if (program_->values[program_->root].height == kNever) {
      return Fail(ErrorCode::kMismatch, "no JSON text satisfies the schema");
    }
    if (program_->values[program_->root].height > budget_.limits().nesting) {
      return Fail(ErrorCode::kInvalidArgument, "the schema asks for texts nested deeper than {}",
                  budget_.limits().nesting);
    }
    return std::unique_ptr<Program>(std::move(program_));
  }

 private:
  struct PendingArray {
    uint32_t array = 0;
    SchemaSet facts;
  };
  struct PendingObject {
    uint32_t object = 0;
    SchemaSet facts;
  };

  const SourceSchema& Schema(SchemaId id) const { return source_.schemas[id]; }

  uint32_t AddDfa(Dfa dfa) {
    program_->dfas.push_back(std::move(dfa));
    return static_cast<uint32_t>(program_->dfas.size() - 1);
  }

  // The branches of one schema.
  Result<const std::vector<Branch>*> Branches(SchemaId id) {
    if (const auto known = branches_.find(id); known != branches_.end()) {
      return &known->second;
    }
    const SourceSchema& schema = Schema(id);
    if (!open_.insert(id).second) {
      return Fail(ErrorCode::kMalformed, "schema, #{}: it refers to itself without end",
                  schema.pointer);
    }
    if (std::ssize(open_) > kMaxChain) {
      return Fail(ErrorCode::kInvalidArgument, "schema, #{}: a chain of more than {} references",
                  schema.pointer, kMaxChain);
    }
    std::vector<Branch> out;
    if (!schema.never) {
      Branch own{schema.types, {}};
      if (schema.number || schema.string || schema.array || schema.object) {
        own.facts = {id};
      }
      out.push_back(std::move(own));
    }
    for (const SchemaId part : schema.all_of) {
      ETCH_ASSIGN_OR_RETURN(const std::vector<Branch>* other, Branches(part));
      ETCH_ASSIGN_OR_RETURN(out, Join(out, *other));
    }
    for (const std::vector<SchemaId>& list : schema.any_of) {
      std::vector<Branch> ways;
      for (const SchemaId way : list) {
        ETCH_ASSIGN_OR_RETURN(const std::vector<Branch>* other, Branches(way));
        ways.insert(ways.end(), other->begin(), other->end());
        ETCH_TRY(budget_.Spend(Steps(other->size()) * 10));
      }
      ETCH_ASSIGN_OR_RETURN(out, Join(out, ways));
    }
    open_.erase(id);
    return &(branches_[id] = std::move(out));
  }

  Result<std::vector<Branch>> Join(const std::vector<Branch>& left,
                                   const std::vector<Branch>& right) {
    std::vector<Branch> out;
    for (const Branch& one : left) {
      for (const Branch& other : right) {
        ETCH_TRY(budget_.Spend(20 + Steps(one.facts.size() + other.facts.size())));
        const auto types = static_cast<uint8_t>(one.types & other.types);
        if (types != 0) {
          out.push_back({types, Union(one.facts, other.facts)});
        }
      }
    }
    std::ranges::sort(out);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    if (std::ssize(out) > budget_.limits().branches) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the schema is too complex: a value can satisfy it in more than {} ways",
                  budget_.limits().branches);
    }
    return out;
  }

  Result<std::vector<Branch>> BranchesOf(const SchemaSet& set) {
    std::vector<Branch> out = {Branch()};
    for (const SchemaId id : set) {
      ETCH_ASSIGN_OR_RETURN(const std::vector<Branch>* other, Branches(id));
      ETCH_ASSIGN_OR_RETURN(out, Join(out, *other));
    }
    return out;
  }

  // The value node of a set; it is filled by FillAll.
  Result<uint32_t> Value(const SchemaSet& set) {
    const auto [at, added] = values_.emplace(set, static_cast<uint32_t>(program_->values.size()));
    if (added) {
      ETCH_TRY(CountNode());
      program_->values.emplace_back();
      pending_values_.push_back(&*at);
    }
    return at->second;
  }

  Status CountNode() {
    if (++nodes_ > budget_.limits().schema_nodes) {
      return Fail(ErrorCode::kInvalidArgument, "the schema is too complex: more than {} nodes",
                  budget_.limits().schema_nodes);
    }
    return budget_.Spend(100);
  }

  Status FillAll() {
    while (!pending_values_.empty() || !pending_arrays_.empty() || !pending_objects_.empty()) {
      if (!pending_values_.empty()) {
        const auto* pending = pending_values_.front();
        pending_values_.pop_front();
        ETCH_TRY(FillValue(pending->first, pending->second));
      } else if (!pending_arrays_.empty()) {
        const PendingArray pending = std::move(pending_arrays_.front());
        pending_arrays_.pop_front();
        ETCH_TRY(FillArray(pending));
      } else {
        const PendingObject pending = std::move(pending_objects_.front());
        pending_objects_.pop_front();
        ETCH_TRY(FillObject(pending));
      }
    }
    return {};
  }

  Status FillValue(const SchemaSet& set, uint32_t value) {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Branch> branches, BranchesOf(set));
    std::vector<Alternative> out;
    std::vector<uint32_t> numbers;
    std::vector<uint32_t> strings;
    for (const Branch& branch : branches) {
      for (uint32_t literal = 0; literal < kLiterals.size(); ++literal) {
        if ((branch.types & (1U << literal)) != 0) {
          out.push_back({Alternative::Kind::kLiteral, literal});
        }
      }
      if ((branch.types & kNumber) != 0) {
        ETCH_ASSIGN_OR_RETURN(const uint32_t dfa, Number(branch.facts));
        numbers.push_back(dfa);
      }
      if ((branch.types & kString) != 0) {
        ETCH_ASSIGN_OR_RETURN(const uint32_t string, String(branch.facts));
        strings.push_back(string);
      }
      if ((branch.types & kArray) != 0) {
        ETCH_ASSIGN_OR_RETURN(const uint32_t array, Array(branch.facts));
        out.push_back({Alternative::Kind::kArray, array});
      }
      if ((branch.types & kObject) != 0) {
        ETCH_ASSIGN_OR_RETURN(const uint32_t object, Object(branch.facts));
        out.push_back({Alternative::Kind::kObject, object});
      }
    }
    ETCH_TRY(AddNumbers(std::move(numbers), out));
    ETCH_TRY(AddStrings(std::move(strings), out));
    std::ranges::sort(out);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    program_->values[value].alternatives = std::move(out);
    return {};
  }

  // One automaton for all ways to be a number.
  Status AddNumbers(std::vector<uint32_t> dfas, std::vector<Alternative>& out) {
    ETCH_ASSIGN_OR_RETURN(const std::optional<uint32_t> dfa, UniteAll(std::move(dfas)));
    if (dfa) {
      out.push_back({Alternative::Kind::kNumber, *dfa});
    }
    return {};
  }

  Result<std::optional<uint32_t>> UniteAll(std::vector<uint32_t> dfas) {
    std::ranges::sort(dfas);
    dfas.erase(std::unique(dfas.begin(), dfas.end()), dfas.end());
    std::erase_if(dfas, [&](uint32_t dfa) { return program_->dfas[dfa].empty(); });
    if (dfas.empty()) {
      return std::nullopt;
    }
    const auto [at, added] = united_.emplace(dfas, dfas.front());
    if (added && dfas.size() > 1) {
      Dfa all = program_->dfas[dfas.front()];
      for (size_t index = 1; index < dfas.size(); ++index) {
        ETCH_ASSIGN_OR_RETURN(all, Unite(all, program_->dfas[dfas[index]], budget_));
      }
      at->second = AddDfa(std::move(all));
    }
    return at->second;
  }

  // One automaton for all ways to be a string whose length is not counted.
  Status AddStrings(std::vector<uint32_t> strings, std::vector<Alternative>& out) {
    std::vector<uint32_t> plain;
    for (const uint32_t index : strings) {
      const StringNode& string = program_->strings[index];
      if (string.low == 0 && string.high < 0) {
        plain.push_back(string.dfa);
      } else {
        out.push_back({Alternative::Kind::kString, index});
      }
    }
    ETCH_ASSIGN_OR_RETURN(const std::optional<uint32_t> dfa, UniteAll(std::move(plain)));
    if (dfa) {
      out.push_back({Alternative::Kind::kString, AddString({*dfa, 0, -1})});
    }
    return {};
  }

  uint32_t AddString(const StringNode& string) {
    const auto [at, added] = string_nodes_.emplace(std::tuple(string.dfa, string.low, string.high),
                                                   static_cast<uint32_t>(string_nodes_.size()));
    if (added) {
      program_->strings.push_back(string);
    }
    return at->second;
  }

  template <class Has>
  SchemaSet Only(const SchemaSet& facts, const Has& has) const {
    SchemaSet out;
    std::ranges::copy_if(facts, std::back_inserter(out),
                         [&](SchemaId id) { return has(Schema(id)).has_value(); });
    return out;
  }

  Result<uint32_t> Number(const SchemaSet& facts) {
    const SchemaSet own = Only(facts, [](const auto& schema) { return schema.number; });
    const auto [at, added] = numbers_.emplace(own, 0);
    if (added) {
      Dfa dfa;
      if (own.empty()) {
        ETCH_ASSIGN_OR_RETURN(dfa, NumberDfa({}, budget_));
      }
      for (const SchemaId id : own) {
        Result<Dfa> one = NumberDfa(*Schema(id).number, budget_);
        if (!one) {
          return Prefix(fmt::format("schema, #{}", Schema(id).pointer), one.error());
        }
        if (id == own.front()) {
          dfa = std::move(*one);
        } else {
          ETCH_ASSIGN_OR_RETURN(dfa, Intersect(dfa, *one, budget_));
        }
      }
      at->second = AddDfa(std::move(dfa));
    }
    return at->second;
  }

  Result<uint32_t> String(const SchemaSet& facts) {
    const SchemaSet own = Only(facts, [](const auto& schema) { return schema.string; });
    const auto [at, added] = strings_.emplace(own, 0);
    if (added) {
      StringNode string{any_string_, 0, -1};
      std::vector<uint32_t> dfas;
      for (const SchemaId id : own) {
        const StringFacts& one = *Schema(id).string;
        string.low = std::max(string.low, one.length.low);
        if (one.length.high) {
          string.high =
              string.high < 0 ? *one.length.high : std::min(string.high, *one.length.high);
        }
        dfas.insert(dfas.end(), one.dfas.begin(), one.dfas.end());
      }
      std::ranges::sort(dfas);
      dfas.erase(std::unique(dfas.begin(), dfas.end()), dfas.end());
      if (!dfas.empty()) {
        ETCH_ASSIGN_OR_RETURN(string, Narrow(dfas, string));
      } else if (string.high >= 0 && string.high < string.low) {
        string = {AddDfa(EmptyDfa()), 0, -1};
      }
      at->second = AddString(string);
    }
    return at->second;
  }

  Result<StringNode> Narrow(const std::vector<uint32_t>& dfas, const StringNode& string) {
    uint32_t dfa = dfas.front();
    for (size_t index = 1; index < dfas.size(); ++index) {
      ETCH_ASSIGN_OR_RETURN(Dfa both,
                            Intersect(program_->dfas[dfa], program_->dfas[dfas[index]], budget_));
      dfa = AddDfa(std::move(both));
    }
    if (string.low > 0 || string.high >= 0) {
      const std::optional<int64_t> high =
          string.high < 0 ? std::nullopt : std::optional(string.high);
      ETCH_ASSIGN_OR_RETURN(Dfa limited,
                            LimitLength(program_->dfas[dfa], string.low, high, budget_));
      dfa = AddDfa(std::move(limited));
    }
    return StringNode{dfa, 0, -1};
  }

  static Dfa EmptyDfa() {
    Dfa dfa;
    dfa.classes = ByteClasses::FromCuts({});
    dfa.next = {kDeadState};
    dfa.labels = {0};
    return dfa;
  }

  Result<uint32_t> Array(const SchemaSet& facts) {
    const SchemaSet own = Only(facts, [](const auto& schema) { return schema.array; });
    const auto [at, added] = arrays_.emplace(own, static_cast<uint32_t>(program_->arrays.size()));
    if (added) {
      ETCH_TRY(CountNode());
      program_->arrays.emplace_back();
      pending_arrays_.push_back({at->second, own});
    }
    return at->second;
  }

  Status FillArray(const PendingArray& pending) {
    ArrayNode array;
    size_t prefix = 0;
    std::optional<SchemaId> contains;
    for (const SchemaId id : pending.facts) {
      const ArrayFacts& facts = *Schema(id).array;
      array.low = std::max(array.low, facts.length.low);
      if (facts.length.high) {
        array.high = array.high < 0 ? *facts.length.high : std::min(array.high, *facts.length.high);
      }
      prefix = std::max(prefix, facts.prefix.size());
      if (facts.contains && facts.contains_low > 0) {
        if (contains) {
          return Fail(ErrorCode::kUnsupported,
                      "schema, #{}: a second \"contains\" for one array is not supported",
                      Schema(id).pointer);
        }
        contains = facts.contains;
        array.contains_low = facts.contains_low;
      }
    }
    for (size_t index = 0; index <= prefix; ++index) {  // the last is the rest
      ETCH_TRY(budget_.Spend(10 * Steps(pending.facts.size() + 1)));
      SchemaSet set;
      for (const SchemaId id : pending.facts) {
        const ArrayFacts& facts = *Schema(id).array;
        if (index < facts.prefix.size()) {
          Insert(set, facts.prefix[index]);
        } else if (facts.rest) {
          Insert(set, *facts.rest);
        }
      }
      ETCH_ASSIGN_OR_RETURN(const uint32_t value, Value(set));
      uint32_t hit = value;
      if (contains) {
        Insert(set, *contains);
        ETCH_ASSIGN_OR_RETURN(hit, Value(set));
      }
      if (index < prefix) {
        array.prefix.push_back(value);
        array.prefix_hit.push_back(hit);
      } else {
        array.rest = value;
        array.rest_hit = hit;
      }
    }
    program_->arrays[pending.array] = std::move(array);
    return {};
  }

  Result<uint32_t> Object(const SchemaSet& facts) {
    const SchemaSet own = Only(facts, [](const auto& schema) { return schema.object; });
    const auto [at, added] = objects_.emplace(own, static_cast<uint32_t>(program_->objects.size()));
    if (added) {
      ETCH_TRY(CountNode());
      program_->objects.emplace_back();
      pending_objects_.push_back({at->second, own});
    }
    return at->second;
  }

  Status FillObject(const PendingObject& pending);
  Result<LabelledDfa> KeyAutomaton(const SchemaSet& facts, const std::vector<std::string>& names);
  Result<SchemaSet> PropertySchemas(const SchemaSet& facts, const std::string* name,
                                    const std::vector<uint32_t>& labels, size_t names) const;
  Status SetRequired(const SchemaSet& facts, const std::map<std::string, uint32_t>& index,
                     ObjectNode& object) const;

  SchemaSource source_;
  Budget& budget_;
  std::unique_ptr<Program> program_;
  uint32_t any_string_ = 0;
  int64_t nodes_ = 0;

  std::map<SchemaId, std::vector<Branch>> branches_;
  std::set<SchemaId> open_;  // whose branches are being found
  std::map<SchemaSet, uint32_t> values_;
  std::map<SchemaSet, uint32_t> numbers_;
  std::map<SchemaSet, uint32_t> strings_;
  std::map<SchemaSet, uint32_t> arrays_;
  std::map<SchemaSet, uint32_t> objects_;
  std::map<std::vector<uint32_t>, uint32_t> united_;
  std::map<std::tuple<uint32_t, int64_t, int64_t>, uint32_t> string_nodes_;
  std::deque<const std::pair<const SchemaSet, uint32_t>*> pending_values_;
  std::deque<PendingArray> pending_arrays_;
  std::deque<PendingObject> pending_objects_;
};

void SetClass(ClassSet& set, uint32_t index) { set[index / 64] |= uint64_t{1} << (index % 64); }

// Names, patterns and "any name" as one automaton: label i is name i, then come the patterns of all
// schemas in order, then any name.
Result<LabelledDfa> SchemaCompiler::KeyAutomaton(const SchemaSet& facts,
                                                 const std::vector<std::string>& names) {
  Nfa nfa;
  std::optional<uint32_t> start;
  uint32_t label = 0;
  const auto add = [&](const Expression& expression) -> Status {
    const uint32_t match = nfa.Add({NfaNode::Kind::kMatch, 0, 0, 0, label++});
    ETCH_ASSIGN_OR_RETURN(const uint32_t way, nfa.Build(expression, match, budget_));
    start = start ? nfa.Add({NfaNode::Kind::kSplit, 0, 0, way, *start}) : way;
    return {};
  };
  for (const std::string& name : names) {
    ETCH_TRY(add(Literal(name)));
  }
  for (const SchemaId id : facts) {
    for (const auto& [pattern, schema] : Schema(id).object->patterns) {
      ETCH_TRY(add(pattern));
    }
  }
  ETCH_TRY(add(Repeat(AnyCharacter(), 0, -1)));
  ETCH_ASSIGN_OR_RETURN(LabelledDfa keys, Determinize(nfa, *start, budget_));
  for (const SchemaId id : facts) {
    if (Schema(id).object->names) {
      ETCH_ASSIGN_OR_RETURN(const std::vector<Branch> branches,
                            BranchesOf({*Schema(id).object->names}));
      Dfa allowed = EmptyDfa();
      for (const Branch& branch : branches) {
        if ((branch.types & kString) != 0) {
          ETCH_ASSIGN_OR_RETURN(const uint32_t index, String(branch.facts));
          const StringNode string = program_->strings[index];
          ETCH_ASSIGN_OR_RETURN(const StringNode narrow, Narrow({string.dfa}, string));
          ETCH_ASSIGN_OR_RETURN(allowed, Unite(allowed, program_->dfas[narrow.dfa], budget_));
        }
      }
      ETCH_ASSIGN_OR_RETURN(keys.dfa, Intersect(keys.dfa, allowed, budget_));
    }
  }
  return keys;
}

// The schemas that the value of a property must satisfy.
Result<SchemaSet> SchemaCompiler::PropertySchemas(const SchemaSet& facts, const std::string* name,
                                                  const std::vector<uint32_t>& labels,
                                                  size_t names) const {
  SchemaSet set;
  auto label = static_cast<uint32_t>(names);
  for (const SchemaId id : facts) {
    const ObjectFacts& object = *Schema(id).object;
    bool evaluated = false;
    ETCH_TRY(budget_.Spend(Steps(object.properties.size() / 4 + object.patterns.size() + 1)));
    for (const auto& [property, schema] : object.properties) {
      if (name != nullptr && property == *name) {
        Insert(set, schema);
        evaluated = true;
      }
    }
    for (const auto& [pattern, schema] : object.patterns) {
      if (std::ranges::binary_search(labels, label++)) {
        Insert(set, schema);
        evaluated = true;
      }
    }
    if (!evaluated && object.additional) {
      Insert(set, *object.additional);
    }
  }
  return set;
}

Status SchemaCompiler::SetRequired(const SchemaSet& facts,
                                   const std::map<std::string, uint32_t>& index,
                                   ObjectNode& object) const {
  const size_t words = (object.values.size() + 63) / 64;
  object.required.assign(words, 0);
  int64_t required = 0;
  for (const SchemaId id : facts) {
    const ObjectFacts& own = *Schema(id).object;
    for (const std::string& name : own.required) {
      SetClass(object.required, index.at(name));
    }
    for (const auto& [name, needed] : own.dependents) {
      object.needed_along.resize(object.declared, ClassSet(words, 0));
      for (const std::string& other : needed) {
        SetClass(object.needed_along[index.at(name)], index.at(other));
      }
    }
    object.low = std::max(object.low, own.length.low);
    if (own.length.high) {
      object.high = object.high < 0 ? *own.length.high : std::min(object.high, *own.length.high);
    }
  }
  for (const uint64_t word : object.required) {
    required += std::popcount(word);
  }
  // Names that are not declared may come twice, and then count once.
  if (object.low > std::max<int64_t>(required, 1)) {
    return Fail(ErrorCode::kUnsupported,
                "schema, #{}: \"minProperties\" above 1 and above the count of required properties "
                "is not supported",
                Schema(facts.front()).pointer);
  }
  if (object.high >= 0 && !object.needed_along.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "schema, #{}: \"maxProperties\" beside \"dependentRequired\" is not supported",
                Schema(facts.front()).pointer);
  }
  return {};
}

Status SchemaCompiler::FillObject(const PendingObject& pending) {
  std::vector<std::string> names;
  std::map<std::string, uint32_t> index;
  const auto declare = [&](const std::string& name) {
    if (index.emplace(name, static_cast<uint32_t>(names.size())).second) {
      names.push_back(name);
    }
  };
  for (const SchemaId id : pending.facts) {
    const ObjectFacts& facts = *Schema(id).object;
    for (const auto& [name, schema] : facts.properties) {
      declare(name);
    }
    for (const std::string& name : facts.required) {
      declare(name);
    }
    for (const auto& [name, needed] : facts.dependents) {
      declare(name);
      std::ranges::for_each(needed, declare);
    }
  }
  ObjectNode object;
  ETCH_ASSIGN_OR_RETURN(LabelledDfa keys, KeyAutomaton(pending.facts, names));
  object.declared = static_cast<uint32_t>(names.size());
  object.values.assign(names.size(), kNoNode);
  std::vector<uint32_t> class_of(keys.label_sets.size() + 1, kNoNode);
  for (const uint32_t label : keys.dfa.labels) {
    if (label == 0 || class_of[label] != kNoNode) {
      continue;
    }
    const std::vector<uint32_t>& labels = keys.label_sets[label - 1];
    const bool is_name = labels.front() < names.size();
    const std::string* name = is_name ? &names[labels.front()] : nullptr;
    ETCH_ASSIGN_OR_RETURN(const SchemaSet set,
                          PropertySchemas(pending.facts, name, labels, names.size()));
    ETCH_ASSIGN_OR_RETURN(const uint32_t value, Value(set));
    if (is_name) {
      class_of[label] = labels.front();
      object.values[labels.front()] = value;
    } else {
      class_of[label] = static_cast<uint32_t>(object.values.size());
      object.values.push_back(value);
    }
  }
  for (uint32_t& label : keys.dfa.labels) {
    label = label == 0 ? 0 : 1 + class_of[label];
  }
  object.keys = std::move(keys.dfa);
  const size_t words = (object.values.size() + 63) / 64;
  object.reach.assign(object.keys.labels.size(), ClassSet(words, 0));
  const size_t n_classes = object.keys.classes.representatives.size();
  for (bool changed = true; changed;) {  // states were found outwards, so few rounds are needed
    changed = false;
    ETCH_TRY(budget_.Spend(Steps(object.keys.next.size() * words / 4 + 1)));
    for (size_t state = object.reach.size(); state-- > 1;) {
      ClassSet reach = object.reach[state];
      if (object.keys.labels[state] != 0) {
        SetClass(reach, object.keys.labels[state] - 1);
      }
      for (size_t edge = state * n_classes; edge < (state + 1) * n_classes; ++edge) {
        const ClassSet& other = object.reach[object.keys.next[edge]];
        for (size_t word = 0; word < words; ++word) {
          reach[word] |= other[word];
        }
      }
      changed = changed || reach != object.reach[state];
      object.reach[state] = std::move(reach);
    }
  }
  ETCH_TRY(SetRequired(pending.facts, index, object));
  program_->objects[pending.object] = std::move(object);
  return {};
}

}  // namespace

Result<std::unique_ptr<Program>> CompileSchema(SchemaSource source, Budget& budget) {
  return SchemaCompiler(std::move(source), budget).Compile();
}

}  // namespace etch::grammar
