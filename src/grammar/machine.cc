// States, and what is common to all constraints: interning, patterns and the rules of grammars.
// machine_json.cc has the frames of JSON texts.
//
// The number of readings is bounded: beyond kMaxReadings those that were interned last are dropped.
// A dropped reading means that some valid texts are not offered any more, never that an invalid one
// is; every reading that is kept can be finished.

#include "grammar/machine.h"

#include <algorithm>

namespace etch::grammar {
namespace {

constexpr size_t kMaxReadings = 256;
constexpr size_t kMaxStates = 20'000;  // with their steps about 21 MB
constexpr size_t kMaxFrames = 400'000;
constexpr uint8_t kDone = 1;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15U;
  return hash ^ (hash >> 29);
}

}  // namespace

size_t Machine::FrameHash::operator()(const Frame& frame) const {
  uint64_t hash =
      Mix(static_cast<uint64_t>(frame.kind) << 24 | uint64_t{frame.phase} << 16 | frame.spaces,
          frame.node);
  hash = Mix(hash, uint64_t{frame.a} << 32 | frame.b);
  return Mix(hash, uint64_t{frame.c} << 32 | frame.parent);
}

size_t Machine::ListHash::operator()(const std::vector<uint64_t>& list) const {
  uint64_t hash = list.size();
  for (const uint64_t item : list) {
    hash = Mix(hash, item);
  }
  return hash;
}

size_t Machine::ListHash::operator()(const std::vector<uint32_t>& list) const {
  uint64_t hash = list.size();
  for (const uint32_t item : list) {
    hash = Mix(hash, item);
  }
  return hash;
}

size_t Machine::KeySetHash::operator()(const KeySetQuery& query) const {
  return Mix(Mix(query.object, query.seen), uint64_t{query.count} << 32 | query.depth);
}

Machine::Machine(const Program& program) : program_(program) {
  states_.emplace_back();
  next_.assign(256, kNoState);
  Frame root;
  switch (program.kind) {
    case Program::Kind::kJson:
      Push(Intern(root));
      break;
    case Program::Kind::kRegex: {
      root.phase = kDone;
      Frame automaton;
      automaton.kind = Frame::Kind::kAutomaton;
      automaton.a = program.dfas.front().start;
      automaton.parent = Intern(root);
      Push(Intern(automaton));
      break;
    }
    case Program::Kind::kRules:
      root.phase = kDone;
      Enter(program.rule_starts[program.root_rule], Intern(root));
      break;
  }
  start_ = Intern(std::exchange(reached_, {}));
}

bool Machine::is_full() const { return states_.size() > kMaxStates || frames_.size() > kMaxFrames; }

Machine::FrameId Machine::Intern(const Frame& frame) {
  const auto [at, added] = frame_ids_.emplace(frame, static_cast<FrameId>(frames_.size()));
  if (added) {
    frames_.push_back(frame);
  }
  return at->second;
}

Machine::SetId Machine::Intern(const ClassSet& set) {
  const auto [at, added] = set_ids_.emplace(set, static_cast<SetId>(sets_.size()));
  if (added) {
    sets_.push_back(&at->first);
  }
  return at->second;
}

StateId Machine::Intern(std::vector<FrameId> frames) {
  std::ranges::sort(frames);
  frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
  if (frames.size() > kMaxReadings) {
    frames.resize(kMaxReadings);
  }
  if (frames.empty()) {
    return kNoState;
  }
  const auto [at, added] =
      state_ids_.emplace(std::move(frames), static_cast<StateId>(states_.size()));
  if (added) {
    State state;
    state.frames = &at->first;
    state.accepts =
        std::ranges::any_of(at->first, [this](FrameId frame) { return Accepts(frame); });
    states_.push_back(state);
    next_.resize(next_.size() + 256, kUnknown);
  }
  return at->second;
}

StateId Machine::FindNext(StateId state, uint8_t byte) {
  reached_.clear();
  for (const FrameId frame : *states_[state].frames) {
    ++work_;
    Step(frame, byte);
  }
  const StateId next = Intern(reached_);
  next_[size_t{state} * 256 + byte] = next;
  return next;
}

bool Machine::ends(StateId state) {
  if (!states_[state].ends_known) {
    bool ends = true;
    for (size_t byte = 0; byte < 256 && ends; ++byte) {
      ends = Next(state, static_cast<uint8_t>(byte)) == kNoState;
    }
    states_[state].ends = ends;
    states_[state].ends_known = true;
  }
  return states_[state].ends;
}

bool Machine::Accepts(FrameId id) const {
  const Frame& frame = frames_[id];
  if (frame.kind == Frame::Kind::kAutomaton) {
    return program_.dfas[frame.node].accepts(frame.a) && Accepts(frame.parent);
  }
  return frame.kind == Frame::Kind::kRoot && frame.phase == kDone &&
         frame.a == program_.suffix.size();
}

StateId Machine::Adopt(const Machine& other, StateId state) {
  std::unordered_map<FrameId, FrameId> known;
  std::vector<FrameId> frames;
  if (state != kNoState) {
    for (const FrameId frame : *other.states_[state].frames) {
      frames.push_back(AdoptFrame(other, frame, known));
    }
  }
  return Intern(std::move(frames));
}

Machine::FrameId Machine::AdoptFrame(const Machine& other, FrameId id,
                                     std::unordered_map<FrameId, FrameId>& known) {
  if (const auto at = known.find(id); at != known.end()) {
    return at->second;
  }
  Frame frame = other.frames_[id];
  if (frame.kind != Frame::Kind::kRoot) {
    frame.parent = AdoptFrame(other, frame.parent, known);
  }
  if (frame.kind == Frame::Kind::kObject) {
    frame.a = Intern(*other.sets_[frame.a]);
  }
  if (frame.kind == Frame::Kind::kKey) {
    frame.b = Intern(*other.sets_[frame.b]);
  }
  return known[id] = Intern(frame);
}

void Machine::Step(FrameId id, uint8_t byte) {
  const Frame frame = frames_[id];  // a copy: interning may move frames_
  switch (frame.kind) {
    case Frame::Kind::kRoot:
      return StepRoot(frame, byte);
    case Frame::Kind::kLiteral:
      return StepLiteral(frame, byte);
    case Frame::Kind::kAutomaton:
      return StepAutomaton(frame, byte);
    case Frame::Kind::kString:
    case Frame::Kind::kKey:
      return StepText(frame, byte);
    case Frame::Kind::kArray:
      return StepArray(frame, byte);
    case Frame::Kind::kObject:
      return StepObject(frame, byte);
    case Frame::Kind::kRule: {
      const NfaNode& node = program_.nodes[frame.node];
      if (node.low <= byte && byte <= node.high) {
        Enter(node.to, frame.parent);
      }
      return;
    }
    case Frame::Kind::kReturn:
      return;
  }
}

void Machine::StepAutomaton(const Frame& frame, uint8_t byte) {
  const Dfa& dfa = program_.dfas[frame.node];
  if (const DfaState state = dfa.Next(frame.a, byte); state != kDeadState) {
    Frame next = frame;
    next.a = state;
    Push(Intern(next));
  }
  if (dfa.accepts(frame.a)) {  // a number ends where something else begins
    Step(frame.parent, byte);
  }
}

void Machine::Enter(uint32_t start, FrameId start_parent) {
  std::vector<std::pair<uint32_t, FrameId>> work = {{start, start_parent}};
  entered_.clear();
  while (!work.empty() && entered_.size() < 4 * kMaxReadings) {
    const auto [index, parent] = work.back();
    work.pop_back();
    const Frame above = frames_[parent];
    if (above.depth + program_.needs[index] > static_cast<uint32_t>(program_.limits.rule_depth) ||
        std::ranges::find(entered_, std::pair(index, parent)) != entered_.end()) {
      continue;
    }
    work_ += 1 + static_cast<int64_t>(entered_.size()) / 64;
    entered_.emplace_back(index, parent);
    const NfaNode& node = program_.nodes[index];
    switch (node.kind) {
      case NfaNode::Kind::kByte: {
        Frame frame;
        frame.kind = Frame::Kind::kRule;
        frame.node = index;
        frame.parent = parent;
        frame.depth = above.depth;
        Push(Intern(frame));
        break;
      }
      case NfaNode::Kind::kSplit:
        work.emplace_back(node.value, parent);
        work.emplace_back(node.to, parent);
        break;
      case NfaNode::Kind::kCall: {
        FrameId caller = parent;
        if (!program_.only_matches[node.to]) {  // nothing to come back for
          Frame frame;
          frame.kind = Frame::Kind::kReturn;
          frame.node = node.to;
          frame.parent = parent;
          frame.depth = above.depth + 1;
          caller = Intern(frame);
        }
        work.emplace_back(program_.rule_starts[node.value], caller);
        break;
      }
      case NfaNode::Kind::kMatch:
        if (above.kind == Frame::Kind::kReturn) {
          work.emplace_back(above.node, above.parent);
        } else {
          Push(parent);
        }
        break;
      default:
        work.emplace_back(node.to, parent);
    }
  }
}

}  // namespace etch::grammar
