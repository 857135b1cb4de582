// The frames of JSON texts. A frame that opens something (an array, an object, a string) is pushed
// on a parent that already stands behind the value, so that closing is popping. A number has no
// last byte: its frame ends when its parent can use the next one.
//
// Strings are held to automata over their decoded characters: "\u0041" steps like "A". Inside of an
// escape the hexadecimal digits read so far leave a range of characters; the text is alive while
// the automaton takes one of them.

#include <algorithm>
#include <bit>

#include "grammar/heights.h"
#include "grammar/machine.h"
#include "text/utf8.h"

namespace etch::grammar {
namespace {

// Phases of kRoot.
constexpr uint8_t kBefore = 0;
constexpr uint8_t kDone = 1;

// Phases of arrays and objects.
constexpr uint8_t kOpen = 0;    // behind the bracket
constexpr uint8_t kAfter = 1;   // behind a value
constexpr uint8_t kComma = 2;   // behind a comma
constexpr uint8_t kColon = 3;   // behind a property's name: a colon comes
constexpr uint8_t kMember = 4;  // behind the colon

// Phases of texts.
constexpr uint8_t kPlain = 0;
constexpr uint8_t kBackslash = 1;
constexpr uint8_t kHex = 2;         // to kHex + 3: digits read
constexpr uint8_t kHighHalf = 6;    // behind the first half of a surrogate pair
constexpr uint8_t kHighEscape = 7;  // and a backslash

constexpr char32_t kFirstHigh = 0xD800;
constexpr char32_t kFirstLow = 0xDC00;
constexpr char32_t kAfterLow = 0xE000;

bool IsSpace(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

// The bytes that stand for themselves behind a backslash, or 0.
char32_t Unescaped(uint8_t byte) {
  switch (byte) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case '"':
    case '\\':
    case '/':
      return byte;
    default:
      return 0;
  }
}

int HexDigit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') {
    return byte - '0';
  }
  const int letter = (byte | 0x20) - 'a';
  return letter >= 0 && letter < 6 ? letter + 10 : -1;
}

bool Intersects(const ClassSet& left, const ClassSet& right) {
  for (size_t word = 0; word < left.size(); ++word) {
    if ((left[word] & right[word]) != 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool Machine::TakeSpace(const Frame& frame, uint8_t byte) {
  if (!IsSpace(byte)) {
    return false;
  }
  const Limits& limits = program_.limits;
  Frame next = frame;
  ++next.spaces;
  if (!limits.free_space && frame.spaces == 0 && byte != '\n') {
    next.spaces = static_cast<uint16_t>(limits.whitespace + 1);  // one space, and no more
  }
  const bool fits =
      limits.free_space || byte == ' ' || byte == '\t' || (byte == '\n' && frame.spaces == 0);
  if (fits && frame.spaces <= limits.whitespace) {
    Push(Intern(next));
  }
  return true;
}

void Machine::StepRoot(const Frame& frame, uint8_t byte) {
  const std::string& fixed = frame.phase == kBefore ? program_.prefix : program_.suffix;
  if (frame.a < fixed.size()) {
    if (static_cast<uint8_t>(fixed[frame.a]) == byte) {
      Frame next = frame;
      ++next.a;
      Push(Intern(next));
    }
    return;
  }
  if (frame.phase == kBefore && !TakeSpace(frame, byte)) {
    Frame done;
    done.phase = kDone;
    BeginValue(program_.root, 0, Intern(done), byte);
  }
}

void Machine::StepLiteral(const Frame& frame, uint8_t byte) {
  const std::string_view text = kLiterals[frame.node];
  if (static_cast<uint8_t>(text[frame.a]) == byte) {
    Frame next = frame;
    ++next.a;
    Push(next.a == text.size() ? frame.parent : Intern(next));
  }
}

void Machine::BeginValue(uint32_t value, uint32_t depth, FrameId parent, uint8_t byte) {
  for (const Alternative& alternative : program_.values[value].alternatives) {
    Frame frame;
    frame.node = alternative.index;
    frame.parent = parent;
    frame.depth = depth;
    const auto fits = [&](int32_t height) {
      return height != kNever && static_cast<int>(depth) + height <= program_.limits.nesting;
    };
    bool begins = false;
    switch (alternative.kind) {
      case Alternative::Kind::kLiteral:
        frame.kind = Frame::Kind::kLiteral;
        frame.a = 1;
        begins = static_cast<uint8_t>(kLiterals[alternative.index].front()) == byte;
        break;
      case Alternative::Kind::kNumber: {
        const Dfa& dfa = program_.dfas[alternative.index];
        frame.kind = Frame::Kind::kAutomaton;
        frame.a = dfa.Next(dfa.start, byte);
        begins = frame.a != kDeadState;
        break;
      }
      case Alternative::Kind::kString:
        frame.kind = Frame::Kind::kString;
        frame.a = program_.dfas[program_.strings[alternative.index].dfa].start;
        begins = byte == '"' && frame.a != kDeadState;
        break;
      case Alternative::Kind::kArray:
        frame.kind = Frame::Kind::kArray;
        frame.depth = depth + 1;
        begins = byte == '[' && fits(program_.arrays[alternative.index].height);
        break;
      case Alternative::Kind::kObject: {
        const ObjectNode& object = program_.objects[alternative.index];
        frame.kind = Frame::Kind::kObject;
        frame.depth = depth + 1;
        begins = byte == '{' && fits(object.height);
        if (begins) {
          frame.a = Intern(ClassSet(object.required.size(), 0));
        }
        break;
      }
    }
    if (begins) {
      Push(Intern(frame));
    }
  }
}

// Arrays ---------------------------------------------------------------------------------------

// How many of the items from `from` on may be counted by "contains", up to what is needed.
int64_t Machine::HitsLeft(const ArrayNode& array, int64_t from) const {
  int64_t hits = 0;
  const auto prefix = std::ssize(array.prefix);
  const int64_t end = array.high < 0 ? from + array.contains_low + prefix : array.high;
  for (int64_t index = from; index < end && index < prefix; ++index) {
    hits += program_.values[array.prefix_hit[static_cast<size_t>(index)]].height != kNever ? 1 : 0;
  }
  if (program_.values[array.rest_hit].height != kNever) {
    hits += std::max<int64_t>(0, end - std::max(from, prefix));
  }
  return hits;
}

void Machine::BeginItem(const Frame& frame, uint8_t byte) {
  const ArrayNode& array = program_.arrays[frame.node];
  const auto prefix = std::ssize(array.prefix);
  const int64_t index = frame.a;
  if (array.high >= 0 && index >= array.high) {
    return;
  }
  Frame after = frame;
  after.phase = kAfter;
  after.spaces = 0;
  // Beyond what is compared with, counts are the same.
  const int64_t last = std::max({array.high, array.low, prefix});
  after.a = static_cast<uint32_t>(std::min(index + 1, last));
  const auto place = static_cast<size_t>(index);
  const auto begin = [&](uint32_t value, uint32_t hits) {
    after.b = hits;
    if (program_.values[value].height != kNever &&
        hits + HitsLeft(array, index + 1) >= array.contains_low) {
      BeginValue(value, frame.depth, Intern(after), byte);
    }
  };
  begin(index < prefix ? array.prefix[place] : array.rest, frame.b);
  if (frame.b < array.contains_low) {
    begin(index < prefix ? array.prefix_hit[place] : array.rest_hit, frame.b + 1);
  }
}

void Machine::StepArray(const Frame& frame, uint8_t byte) {
  const ArrayNode& array = program_.arrays[frame.node];
  if (TakeSpace(frame, byte)) {
    return;
  }
  const bool may_close = frame.a >= array.low && frame.b >= array.contains_low;
  if (byte == ']' && frame.phase != kComma) {
    if (may_close) {
      Push(frame.parent);
    }
    return;
  }
  if (frame.phase != kAfter) {
    return BeginItem(frame, byte);
  }
  if (byte != ',' || (array.high >= 0 && frame.a >= array.high)) {
    return;
  }
  const auto prefix = std::ssize(array.prefix);
  const uint32_t value = frame.a < prefix ? array.prefix[frame.a] : array.rest;
  const int32_t height = program_.values[value].height;
  if (height != kNever && static_cast<int>(frame.depth) + height <= program_.limits.nesting) {
    Frame next = frame;
    next.phase = kComma;
    next.spaces = 0;
    Push(Intern(next));
  }
}

// Objects --------------------------------------------------------------------------------------

ClassSet Machine::FindKeySet(const Frame& frame) const {
  const ObjectNode& object = program_.objects[frame.node];
  const ClassSet& seen = *sets_[frame.a];
  ClassSet out(object.required.size(), 0);
  int64_t missing = 0;
  for (size_t word = 0; word < seen.size(); ++word) {
    missing += std::popcount(object.required[word] & ~seen[word]);
  }
  for (uint32_t index = 0; index < object.values.size(); ++index) {
    const bool declared = index < object.declared;
    const int32_t height = object.heights[index];
    if (height == kNever || static_cast<int>(frame.depth) + height > program_.limits.nesting ||
        (declared && HasClass(seen, index))) {
      continue;
    }
    const int64_t missing_then = missing - (declared && HasClass(object.required, index) ? 1 : 0);
    if (object.high < 0 || frame.b + 1 + missing_then <= object.high) {
      AddClass(out, index);
    }
  }
  return out;
}

// The classes of names that may come next.
Machine::SetId Machine::KeySet(const Frame& frame) {
  const ObjectNode& object = program_.objects[frame.node];
  const KeySetQuery query{frame.node, frame.a, object.high < 0 ? 0 : frame.b, frame.depth};
  if (const auto known = key_sets_.find(query); known != key_sets_.end()) {
    return known->second;
  }
  return key_sets_[query] = Intern(FindKeySet(frame));
}

bool Machine::MayClose(const Frame& frame) const {
  const ObjectNode& object = program_.objects[frame.node];
  const ClassSet& seen = *sets_[frame.a];
  if (frame.b < object.low) {
    return false;
  }
  const auto has_all = [&](const ClassSet& wanted) {
    for (size_t word = 0; word < seen.size(); ++word) {
      if ((wanted[word] & ~seen[word]) != 0) {
        return false;
      }
    }
    return true;
  };
  if (!has_all(object.required)) {
    return false;
  }
  for (uint32_t index = 0; index < object.needed_along.size(); ++index) {
    if (HasClass(seen, index) && !has_all(object.needed_along[index])) {
      return false;
    }
  }
  return true;
}

void Machine::BeginKey(const Frame& frame) {
  const ObjectNode& object = program_.objects[frame.node];
  Frame key;
  key.kind = Frame::Kind::kKey;
  key.node = frame.node;
  key.a = object.keys.start;
  key.b = KeySet(frame);
  if (key.a != kDeadState && IsAlive(key, key.a)) {
    Frame parent = frame;
    parent.phase = kColon;
    parent.spaces = 0;
    key.parent = Intern(parent);
    key.depth = frame.depth;
    Push(Intern(key));
  }
}

void Machine::StepObject(const Frame& frame, uint8_t byte) {
  const ObjectNode& object = program_.objects[frame.node];
  if (TakeSpace(frame, byte)) {
    return;
  }
  Frame next = frame;
  next.spaces = 0;
  switch (frame.phase) {
    case kOpen:
    case kAfter:
      if (byte == '}' && MayClose(frame)) {
        Push(frame.parent);
      } else if (byte == '"' && frame.phase == kOpen) {
        BeginKey(frame);
      } else if (byte == ',' && frame.phase == kAfter) {
        const SetId keys = KeySet(frame);
        if (object.keys.start != kDeadState &&
            Intersects(object.reach[object.keys.start], *sets_[keys])) {
          next.phase = kComma;
          Push(Intern(next));
        }
      }
      break;
    case kComma:
      if (byte == '"') {
        BeginKey(frame);
      }
      break;
    case kColon:
      if (byte == ':') {
        next.phase = kMember;
        Push(Intern(next));
      }
      break;
    default:
      next.phase = kAfter;
      next.c = 0;
      BeginValue(object.values[frame.c], frame.depth, Intern(next), byte);
  }
}

// Strings and names ----------------------------------------------------------------------------

const Dfa& Machine::TextDfa(const Frame& frame) const {
  return frame.kind == Frame::Kind::kKey ? program_.objects[frame.node].keys
                                         : program_.dfas[program_.strings[frame.node].dfa];
}

bool Machine::IsAlive(const Frame& frame, DfaState state) const {
  return state != kDeadState &&
         (frame.kind != Frame::Kind::kKey ||
          Intersects(program_.objects[frame.node].reach[state], *sets_[frame.b]));
}

// One more character is not too many.
bool Machine::HasRoom(const Frame& frame) const {
  if (frame.kind == Frame::Kind::kKey) {
    return true;
  }
  const StringNode& string = program_.strings[frame.node];
  return string.high < 0 || frame.b < string.high;
}

uint32_t Machine::CountedUp(const Frame& frame) const {
  if (frame.kind == Frame::Kind::kKey) {
    return frame.b;
  }
  const StringNode& string = program_.strings[frame.node];
  return static_cast<uint32_t>(std::min<int64_t>(frame.b + 1, std::max(string.low, string.high)));
}

void Machine::EndText(const Frame& frame) {
  const Dfa& dfa = TextDfa(frame);
  if (!dfa.accepts(frame.a)) {
    return;
  }
  if (frame.kind == Frame::Kind::kString) {
    if (frame.b >= program_.strings[frame.node].low) {
      Push(frame.parent);
    }
    return;
  }
  const uint32_t index = dfa.labels[frame.a] - 1;
  if (HasClass(*sets_[frame.b], index)) {
    Frame object = frames_[frame.parent];
    const ObjectNode& node = program_.objects[frame.node];
    object.c = index;
    if (index < node.declared) {
      ClassSet seen = *sets_[object.a];
      AddClass(seen, index);
      object.a = Intern(seen);
    }
    object.b =
        static_cast<uint32_t>(std::min<int64_t>(object.b + 1, std::max(node.low, node.high)));
    Push(Intern(object));
  }
}

void Machine::StepText(const Frame& frame, uint8_t byte) {
  if (frame.phase != kPlain) {
    return StepEscape(frame, byte);
  }
  if (byte == '"') {
    return EndText(frame);
  }
  Frame next = frame;
  if (byte == '\\') {
    next.phase = kBackslash;
    next.c = 0;
    if (HasRoom(frame) && MayRead(frame, 0, kLastCodePoint)) {
      Push(Intern(next));
    }
    return;
  }
  const bool begins = (byte & 0xC0) != 0x80;
  if (byte < 0x20 || (begins && !HasRoom(frame))) {
    return;
  }
  next.a = TextDfa(frame).Next(frame.a, byte);
  if (begins) {
    next.b = CountedUp(frame);
  }
  if (IsAlive(frame, next.a)) {
    Push(Intern(next));
  }
}

bool Machine::MayRead(const Frame& frame, char32_t low, char32_t high) const {
  const Dfa& dfa = TextDfa(frame);
  for (const std::vector<ByteRange>& sequence : Utf8Sequences(low, high)) {
    std::vector<DfaState> states = {frame.a};
    for (const ByteRange& bytes : sequence) {
      std::vector<DfaState> reached;
      for (const DfaState state : states) {
        for (int byte = bytes.low; byte <= bytes.high; ++byte) {
          const DfaState next = dfa.Next(state, static_cast<uint8_t>(byte));
          if (next != kDeadState && (reached.empty() || reached.back() != next)) {
            reached.push_back(next);
          }
        }
      }
      std::ranges::sort(reached);
      reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
      states = std::move(reached);
    }
    if (std::ranges::any_of(states, [&](DfaState state) { return IsAlive(frame, state); })) {
      return true;
    }
  }
  return false;
}

void Machine::ReadCharacter(Frame frame, char32_t point) {
  std::string bytes;
  text::AppendUtf8(point, bytes);
  const Dfa& dfa = TextDfa(frame);
  for (const char byte : bytes) {
    frame.a = dfa.Next(frame.a, static_cast<uint8_t>(byte));
  }
  frame.b = CountedUp(frame);
  frame.phase = kPlain;
  frame.c = 0;
  if (IsAlive(frame, frame.a)) {
    Push(Intern(frame));
  }
}

void Machine::StepEscape(const Frame& frame, uint8_t byte) {
  Frame next = frame;
  switch (frame.phase) {
    case kBackslash:
      if (byte == 'u') {
        next.phase = kHex;
        Push(Intern(next));
      } else if (const char32_t point = Unescaped(byte); point != 0) {
        ReadCharacter(frame, point);
      }
      return;
    case kHighHalf:
      next.phase = kHighEscape;
      if (byte == '\\') {
        Push(Intern(next));
      }
      return;
    case kHighEscape:
      next.phase = kHex;
      if (byte == 'u') {
        Push(Intern(next));
      }
      return;
    default:
      return StepHex(frame, byte);
  }
}

// `c` holds the digits read in its lower half and the first half of a surrogate pair in its upper.
void Machine::StepHex(const Frame& frame, uint8_t byte) {
  const int digit = HexDigit(byte);
  if (digit < 0) {
    return;
  }
  const char32_t pair = frame.c >> 16;
  const char32_t value = ((frame.c & 0xFFFF) << 4) | static_cast<char32_t>(digit);
  const int left = kHex + 3 - frame.phase;
  const char32_t low = value << (4 * left);
  const char32_t high = low | ((char32_t{1} << (4 * left)) - 1);
  const auto supplementary = [](char32_t first, char32_t second) {
    return 0x10000 + ((first - kFirstHigh) << 10) + (second - kFirstLow);
  };
  bool alive = false;
  if (pair != 0) {
    const char32_t from = std::max(low, kFirstLow);
    const char32_t to = std::min<char32_t>(high, kAfterLow - 1);
    alive = from <= to && MayRead(frame, supplementary(pair, from), supplementary(pair, to));
  } else {
    const char32_t from = std::max(low, kFirstHigh);
    const char32_t to = std::min<char32_t>(high, kFirstLow - 1);
    alive = MayRead(frame, low, high) ||
            (from <= to &&
             MayRead(frame, supplementary(from, kFirstLow), supplementary(to, kAfterLow - 1)));
  }
  if (!alive) {
    return;
  }
  if (left > 0) {
    Frame next = frame;
    ++next.phase;
    next.c = (pair << 16) | value;
    Push(Intern(next));
  } else if (pair != 0) {
    ReadCharacter(frame, supplementary(pair, value));
  } else if (value >= kFirstHigh && value < kFirstLow) {
    Frame next = frame;
    next.phase = kHighHalf;
    next.c = value << 16;
    Push(Intern(next));
  } else {
    ReadCharacter(frame, value);
  }
}

}  // namespace etch::grammar
