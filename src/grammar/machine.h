#pragma once

// Reads a text byte by byte and knows after each whether it can still become one that satisfies the
// constraint. A reading is a stack of frames (what is open: objects, arrays, a string, rules); a
// state is a set of readings. Frames and states are interned, so a state is a small number and its
// steps are remembered: a deterministic automaton that is built as far as it is used.

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/program.h"

namespace etch::grammar {

using StateId = uint32_t;
inline constexpr StateId kNoState = 0;  // the text can not satisfy the constraint any more

// Not safe to use from several threads at once.
class Machine {
 public:
  // `program` must outlive the machine.
  explicit Machine(const Program& program);

  StateId start() const { return start_; }
  StateId Next(StateId state, uint8_t byte) {
    const uint32_t known = next_[size_t{state} * 256 + byte];
    return known != kUnknown ? known : FindNext(state, byte);
  }
  // The text may end here.
  bool accepts(StateId state) const { return states_[state].accepts; }
  // No byte may follow.
  bool ends(StateId state);

  // True when it has grown so large that it should be replaced.
  bool is_full() const;
  // The state of `other`, a machine of the same program, in this one.
  StateId Adopt(const Machine& other, StateId state);

  int64_t states() const { return static_cast<int64_t>(states_.size()); }
  // Steps of readings that were not known before, since the machine was made.
  int64_t work() const { return work_; }

 private:
  using FrameId = uint32_t;
  using SetId = uint32_t;
  static constexpr uint32_t kUnknown = UINT32_MAX;

  struct Frame {
    enum class Kind : uint8_t {
      kRoot,       // the bottom; phase: kBefore or kDone; a: bytes read of prefix or suffix
      kLiteral,    // node: of kLiterals; a: bytes read
      kAutomaton,  // a number, or a whole pattern; node: of dfas; a: its state
      kString,     // node: of strings; a: state; b: characters; phase, c: escape
      kKey,        // node: of objects; a: state; b: set of classes that may come; phase, c: escape
      kArray,      // node: of arrays; a: items; b: items that "contains" counts
      kObject,     // node: of objects; a: set of classes that came; b: properties; c: class
      kRule,       // node: of nodes, which reads a byte
      kReturn,     // node: of nodes, where the calling rule goes on
    };
    Kind kind = Kind::kRoot;
    uint8_t phase = 0;
    uint16_t spaces = 0;  // white space read in this phase
    uint32_t node = 0;
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    FrameId parent = 0;
    uint32_t depth = 0;  // open arrays and objects, or rules, with this one

    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    size_t operator()(const Frame& frame) const;
  };
  struct ListHash {
    size_t operator()(const std::vector<uint64_t>& list) const;
    size_t operator()(const std::vector<uint32_t>& list) const;
  };
  struct State {
    const std::vector<FrameId>* frames = nullptr;  // sorted; owned by state_ids_
    bool accepts = false;
    bool ends = false;
    bool ends_known = false;
  };
  struct KeySetQuery {
    uint32_t object = 0;
    SetId seen = 0;
    uint32_t count = 0;
    uint32_t depth = 0;
    bool operator==(const KeySetQuery&) const = default;
  };
  struct KeySetHash {
    size_t operator()(const KeySetQuery& query) const;
  };

  StateId FindNext(StateId state, uint8_t byte);
  StateId Intern(std::vector<FrameId> frames);
  FrameId Intern(const Frame& frame);
  SetId Intern(const ClassSet& set);
  FrameId AdoptFrame(const Machine& other, FrameId frame,
                     std::unordered_map<FrameId, FrameId>& known);

  // Each adds the frames that `frame` becomes with `byte`.
  void Step(FrameId id, uint8_t byte);
  void StepRoot(const Frame& frame, uint8_t byte);
  void StepLiteral(const Frame& frame, uint8_t byte);
  void StepAutomaton(const Frame& frame, uint8_t byte);
  void StepArray(const Frame& frame, uint8_t byte);
  void StepObject(const Frame& frame, uint8_t byte);
  void StepText(const Frame& frame, uint8_t byte);  // strings and keys
  void BeginValue(uint32_t value, uint32_t depth, FrameId parent, uint8_t byte);
  void BeginItem(const Frame& array, uint8_t byte);
  void BeginKey(const Frame& object);
  void EndText(const Frame& frame);
  void StepEscape(const Frame& frame, uint8_t byte);
  void StepHex(const Frame& frame, uint8_t byte);
  void Push(FrameId frame) { reached_.push_back(frame); }
  // White space before the next part of a JSON text; true when `byte` was that.
  bool TakeSpace(const Frame& frame, uint8_t byte);

  const Dfa& TextDfa(const Frame& frame) const;
  // A text that stands in `state` can be finished.
  bool IsAlive(const Frame& frame, DfaState state) const;
  // One of the characters may come next.
  bool MayRead(const Frame& frame, char32_t low, char32_t high) const;
  void ReadCharacter(Frame frame, char32_t point);
  bool HasRoom(const Frame& frame) const;
  uint32_t CountedUp(const Frame& frame) const;
  SetId KeySet(const Frame& object);
  ClassSet FindKeySet(const Frame& object) const;
  bool MayClose(const Frame& object) const;
  int64_t HitsLeft(const ArrayNode& array, int64_t from) const;

  // Follows a rule's automaton without reading.
  void Enter(uint32_t node, FrameId parent);
  bool Accepts(FrameId frame) const;

  const Program& program_;
  std::unordered_map<Frame, FrameId, FrameHash> frame_ids_;
  std::vector<Frame> frames_;
  std::unordered_map<ClassSet, SetId, ListHash> set_ids_;
  std::vector<const ClassSet*> sets_;
  std::unordered_map<KeySetQuery, SetId, KeySetHash> key_sets_;
  std::unordered_map<std::vector<FrameId>, StateId, ListHash> state_ids_;
  std::vector<State> states_;
  std::vector<uint32_t> next_;  // (states, 256)
  StateId start_ = kNoState;
  int64_t work_ = 0;
  // Of the step under way.
  std::vector<FrameId> reached_;
  std::vector<std::pair<uint32_t, FrameId>> entered_;
};

}  // namespace etch::grammar
