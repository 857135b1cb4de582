#pragma once

// A JSON Schema as its author wrote it, read into typed facts: one SourceSchema for each subschema,
// references resolved. Keywords that Etch does not hold texts to are refused here.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "grammar/constraint.h"
#include "grammar/dfa.h"
#include "grammar/expression.h"
#include "grammar/number.h"

namespace etch::grammar {

using SchemaId = uint32_t;

// Kinds of JSON values as bits.
inline constexpr uint8_t kNull = 1;
inline constexpr uint8_t kFalse = 2;
inline constexpr uint8_t kTrue = 4;
inline constexpr uint8_t kNumber = 8;
inline constexpr uint8_t kString = 16;
inline constexpr uint8_t kArray = 32;
inline constexpr uint8_t kObject = 64;
inline constexpr uint8_t kAllTypes = 127;

struct LengthBounds {
  int64_t low = 0;
  std::optional<int64_t> high;
};

struct StringFacts {
  LengthBounds length;
  std::vector<uint32_t> dfas;  // all of them take the decoded text
};

struct ArrayFacts {
  LengthBounds length;
  std::vector<SchemaId> prefix;
  std::optional<SchemaId> rest;
  std::optional<SchemaId> contains;
  int64_t contains_low = 1;
};

struct ObjectFacts {
  LengthBounds length;
  std::vector<std::pair<std::string, SchemaId>> properties;
  std::vector<std::pair<Expression, SchemaId>> patterns;
  std::optional<SchemaId> additional;
  std::vector<std::string> required;
  std::optional<SchemaId> names;
  std::vector<std::pair<std::string, std::vector<std::string>>> dependents;
};

struct SourceSchema {
  std::string pointer;
  bool never = false;  // the schema `false`
  uint8_t types = kAllTypes;
  std::vector<SchemaId> all_of;               // $ref as well
  std::vector<std::vector<SchemaId>> any_of;  // each: one of these; oneOf and enum as well
  std::optional<NumberBounds> number;
  std::optional<StringFacts> string;
  std::optional<ArrayFacts> array;
  std::optional<ObjectFacts> object;
};

// Members of a oneOf that must not both hold.
struct ExclusivePair {
  std::string pointer;  // of the oneOf
  size_t left = 0;      // indices in it
  size_t right = 0;
  SchemaId left_schema = 0;
  SchemaId right_schema = 0;
};

struct SchemaSource {
  std::vector<SourceSchema> schemas;  // the first is the root
  std::vector<Dfa> dfas;              // of patterns, formats and enumerations
  std::vector<ExclusivePair> exclusive;
};

Result<SchemaSource> ReadSchema(std::string_view json, const SchemaOptions& options,
                                Budget& budget);

// The pattern of a "format" that Etch holds texts to, or "" for one that stays an annotation.
std::string FormatPattern(std::string_view format);
// Names of the formats with a pattern.
std::vector<std::string_view> FormatNames();

}  // namespace etch::grammar
