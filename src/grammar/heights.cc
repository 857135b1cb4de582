// The least solution, from above: every height begins at kNever and sinks as the heights that it
// depends on become known.

#include "grammar/heights.h"

#include <algorithm>

namespace etch::grammar {
namespace {

int32_t ItemHeight(const Program& program, const ArrayNode& array, int64_t index) {
  const auto prefix = std::ssize(array.prefix);
  return program.values[index < prefix ? array.prefix[static_cast<size_t>(index)] : array.rest]
      .height;
}

int32_t HitHeight(const Program& program, const ArrayNode& array, int64_t index) {
  const auto prefix = std::ssize(array.prefix);
  return program
      .values[index < prefix ? array.prefix_hit[static_cast<size_t>(index)] : array.rest_hit]
      .height;
}

// The deepest of the items that "contains" may need; kNever when there are not enough.
int32_t ContainsHeight(const Program& program, const ArrayNode& array) {
  const auto prefix = std::ssize(array.prefix);
  int64_t hits = 0;
  int32_t deepest = 0;
  for (int64_t index = 0; index <= prefix && hits < array.contains_low; ++index) {
    const int32_t item = ItemHeight(program, array, index);
    if (item == kNever || (array.high >= 0 && index >= array.high)) {
      return kNever;
    }
    const int32_t hit = HitHeight(program, array, index);
    if (hit != kNever) {
      const int64_t room = array.high < 0 ? array.contains_low : array.high - index;
      hits += index < prefix ? 1 : room;
      deepest = std::max(deepest, hit);
    }
    deepest = std::max(deepest, item);
  }
  return hits < array.contains_low ? kNever : deepest;
}

int32_t ArrayHeight(const Program& program, const ArrayNode& array) {
  if (array.high >= 0 && array.high < array.low) {
    return kNever;
  }
  int32_t deepest = array.contains_low > 0 ? ContainsHeight(program, array) : 0;
  const auto places = std::ssize(array.prefix) + 1;
  for (int64_t index = 0; index < std::min(array.low, places); ++index) {
    deepest = std::max(deepest, ItemHeight(program, array, index));
  }
  return deepest == kNever ? kNever : deepest + 1;
}

void FindClassHeights(const Program& program, ObjectNode& object) {
  object.heights.clear();
  for (const uint32_t value : object.values) {
    object.heights.push_back(value == kNoNode ? kNever : program.values[value].height);
  }
  for (bool changed = !object.needed_along.empty(); changed;) {
    changed = false;
    for (uint32_t index = 0; index < object.declared; ++index) {
      for (uint32_t other = 0; other < object.declared; ++other) {
        if (HasClass(object.needed_along[index], other) &&
            object.heights[other] > object.heights[index]) {
          object.heights[index] = object.heights[other];
          changed = true;
        }
      }
    }
  }
}

int32_t ObjectHeight(const ObjectNode& object) {
  int32_t deepest = 0;
  int64_t required = 0;
  for (uint32_t index = 0; index < object.declared; ++index) {
    if (HasClass(object.required, index)) {
      deepest = std::max(deepest, object.heights[index]);
      ++required;
    }
  }
  if (object.high >= 0 && object.high < std::max(required, object.low)) {
    return kNever;
  }
  if (object.low > required) {  // at most 1
    deepest = object.heights.empty() ? kNever
                                     : std::max(deepest, *std::ranges::min_element(object.heights));
  }
  return deepest == kNever ? kNever : deepest + 1;
}

int32_t AlternativeHeight(const Program& program, const Alternative& alternative) {
  switch (alternative.kind) {
    case Alternative::Kind::kArray:
      return program.arrays[alternative.index].height;
    case Alternative::Kind::kObject:
      return program.objects[alternative.index].height;
    case Alternative::Kind::kNumber:
      return program.dfas[alternative.index].empty() ? kNever : 0;
    case Alternative::Kind::kString:
      return program.dfas[program.strings[alternative.index].dfa].empty() ? kNever : 0;
    case Alternative::Kind::kLiteral:
      break;
  }
  return 0;
}

}  // namespace

Status FindHeights(Program& program, Budget& budget) {
  for (bool changed = true; changed;) {
    changed = false;
    for (ArrayNode& array : program.arrays) {
      ETCH_TRY(budget.Spend(2 + std::ssize(array.prefix)));
      array.height = ArrayHeight(program, array);
    }
    for (ObjectNode& object : program.objects) {
      ETCH_TRY(budget.Spend(2 + std::ssize(object.values)));
      if (!object.needed_along.empty()) {
        ETCH_TRY(budget.Spend(int64_t{object.declared} * object.declared));
      }
      FindClassHeights(program, object);
      object.height = ObjectHeight(object);
    }
    for (ValueNode& value : program.values) {
      ETCH_TRY(budget.Spend(1 + std::ssize(value.alternatives)));
      int32_t height = kNever;
      for (const Alternative& alternative : value.alternatives) {
        height = std::min(height, AlternativeHeight(program, alternative));
      }
      changed = changed || height != value.height;
      value.height = height;
    }
  }
  return {};
}

void CutArrays(Program& program) {
  for (ArrayNode& array : program.arrays) {
    const auto places = std::ssize(array.prefix) + 1;
    for (int64_t index = 0; index < places; ++index) {
      if (ItemHeight(program, array, index) == kNever) {
        array.high = array.high < 0 ? index : std::min(array.high, index);
        break;
      }
    }
  }
}

}  // namespace etch::grammar
