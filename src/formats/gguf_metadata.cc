#include "formats/gguf.h"

// Metadata of a GGUF file, behind typed reading. Writers disagree on the width and sign of integers
// (u32, i32, u64), so these are folded into one; a string where a number belongs is an error.

#include <charconv>
#include <utility>

namespace etch::formats {
namespace {

bool IsInteger(const GgufValue& value) {
  switch (value.type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kUint16:
    case GgufType::kInt16:
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kUint64:
    case GgufType::kInt64:
      return true;
    default:
      return false;
  }
}

bool IsFloat(const GgufValue& value) {
  return value.type == GgufType::kFloat32 || value.type == GgufType::kFloat64;
}

tl::unexpected<Error> WrongType(std::string_view key, std::string_view wanted) {
  return Fail(ErrorCode::kMalformed, "metadata key \"{}\" is not {}", key, wanted);
}

// 9.999999747378752e-06, which is 1e-5f, becomes 1e-5.
double ShortestDecimal(double value) {
  const auto narrow = static_cast<float>(value);
  char text[32];
  const auto end = std::to_chars(std::begin(text), std::end(text), narrow).ptr;
  double result = value;
  std::from_chars(std::begin(text), end, result);
  return result;
}

GgufValue Integers(GgufType type, std::vector<int64_t> numbers, bool is_array) {
  return {.type = type,
          .is_array = is_array,
          .integers = std::move(numbers),
          .floats = {},
          .strings = {}};
}

}  // namespace

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = index_.find(std::string(key));
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

bool GgufMetadata::Add(std::string key, GgufValue value) {
  if (!index_.emplace(key, entries_.size()).second) {
    return false;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  return true;
}

Result<std::optional<int64_t>> GgufMetadata::Integer(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->is_array || !IsInteger(*value)) {
    return WrongType(key, "an integer");
  }
  return value->integers.front();
}

Result<std::optional<double>> GgufMetadata::Number(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_array && IsInteger(*value)) {
    return static_cast<double>(value->integers.front());
  }
  if (value->is_array || !IsFloat(*value)) {
    return WrongType(key, "a number");
  }
  const double number = value->floats.front();
  return value->type == GgufType::kFloat32 ? ShortestDecimal(number) : number;
}

Result<std::optional<bool>> GgufMetadata::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->is_array || value->type != GgufType::kBool) {
    return WrongType(key, "a boolean");
  }
  return value->integers.front() != 0;
}

Result<std::optional<std::string>> GgufMetadata::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->is_array || value->type != GgufType::kString) {
    return WrongType(key, "a string");
  }
  return value->strings.front();
}

Result<const std::vector<std::string>*> GgufMetadata::Strings(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value != nullptr && (!value->is_array || value->type != GgufType::kString)) {
    return WrongType(key, "an array of strings");
  }
  return value == nullptr ? nullptr : &value->strings;
}

Result<const std::vector<int64_t>*> GgufMetadata::Integers(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value != nullptr && (!value->is_array || !IsInteger(*value))) {
    return WrongType(key, "an array of integers");
  }
  return value == nullptr ? nullptr : &value->integers;
}

Result<const std::vector<double>*> GgufMetadata::Numbers(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value != nullptr && (!value->is_array || !IsFloat(*value))) {
    return WrongType(key, "an array of floating-point numbers");
  }
  return value == nullptr ? nullptr : &value->floats;
}

GgufValue GgufString(std::string text) {
  GgufValue value = Integers(GgufType::kString, {}, false);
  value.strings.push_back(std::move(text));
  return value;
}
GgufValue GgufUint32(uint32_t number) { return Integers(GgufType::kUint32, {number}, false); }
GgufValue GgufInt32(int32_t number) { return Integers(GgufType::kInt32, {number}, false); }
GgufValue GgufUint64(uint64_t number) {
  return Integers(GgufType::kUint64, {static_cast<int64_t>(number)}, false);
}
GgufValue GgufFloat32(float number) {
  GgufValue value = Integers(GgufType::kFloat32, {}, false);
  value.floats.push_back(static_cast<double>(number));
  return value;
}
GgufValue GgufBool(bool flag) { return Integers(GgufType::kBool, {flag ? 1 : 0}, false); }
GgufValue GgufStrings(std::vector<std::string> texts) {
  GgufValue value = Integers(GgufType::kString, {}, true);
  value.strings = std::move(texts);
  return value;
}
GgufValue GgufInt32s(std::vector<int64_t> numbers) {
  return Integers(GgufType::kInt32, std::move(numbers), true);
}
GgufValue GgufFloat32s(std::vector<double> numbers) {
  GgufValue value = Integers(GgufType::kFloat32, {}, true);
  value.floats = std::move(numbers);
  return value;
}

}  // namespace etch::formats
