// Subschemas are known by their JSON pointer, so that a $ref finds those that were read and reads
// those that were not (a pointer may lead anywhere in the document). A constant becomes the schema
// that only it satisfies: an object with exactly these properties, an array with exactly these
// items, a number between itself and itself.

#include "grammar/schema_source.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "grammar/regex.h"

namespace etch::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 100;  // of subschemas inside of each other
constexpr int64_t kMaxCount = 1'000'000'000;

// Keywords that say nothing about which texts are valid.
const std::set<std::string_view> kAnnotations = {
    "$schema",          "$id",           "$anchor",      "$comment",  "$defs",
    "definitions",      "title",         "description",  "default",   "examples",
    "example",          "deprecated",    "readOnly",     "writeOnly", "contentEncoding",
    "contentMediaType", "contentSchema", "externalDocs", "xml",       "discriminator",
    "enumNames"};

const std::set<std::string_view> kKeywords = {"$ref",
                                              "type",
                                              "enum",
                                              "const",
                                              "allOf",
                                              "anyOf",
                                              "oneOf",
                                              "properties",
                                              "required",
                                              "items",
                                              "prefixItems",
                                              "additionalProperties",
                                              "minItems",
                                              "maxItems",
                                              "minLength",
                                              "maxLength",
                                              "pattern",
                                              "format",
                                              "minimum",
                                              "maximum",
                                              "multipleOf",
                                              "contains",
                                              "minContains",
                                              "exclusiveMinimum",
                                              "propertyNames",
                                              "minProperties",
                                              "maxProperties",
                                              "exclusiveMaximum",
                                              "uniqueItems",
                                              "nullable",
                                              "patternProperties",
                                              "dependentRequired"};

const std::map<std::string_view, uint8_t> kTypes = {
    {"null", kNull},     {"boolean", kFalse | kTrue}, {"number", kNumber}, {"integer", kNumber},
    {"string", kString}, {"array", kArray},           {"object", kObject}};

std::string EscapePointer(std::string_view name) {
  std::string out;
  for (const char letter : name) {
    if (letter == '~' || letter == '/') {
      out += letter == '~' ? "~0" : "~1";
    } else {
      out += letter;
    }
  }
  return out;
}

class SchemaReader {
 public:
  SchemaReader(const SchemaOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  Result<SchemaSource> Read(std::string_view text) {
    const Limits& limits = budget_.limits();
    if (text.size() > limits.source_bytes) {
      return Fail(ErrorCode::kInvalidArgument, "the schema has {} bytes, more than {}", text.size(),
                  limits.source_bytes);
    }
    try {
      root_ = Json::parse(text);
    } catch (const Json::exception& error) {
      return Fail(ErrorCode::kMalformed, "the schema is not JSON: {}", error.what());
    }
    ETCH_TRY(SchemaAt(root_, ""));
    while (!references_.empty()) {
      const auto [schema, reference] = std::move(references_.back());
      references_.pop_back();
      ETCH_ASSIGN_OR_RETURN(const SchemaId target, Resolve(reference, Schema(schema).pointer));
      Schema(schema).all_of.push_back(target);
    }
    return std::move(source_);
  }

 private:
  SourceSchema& Schema(SchemaId id) { return source_.schemas[id]; }

  static tl::unexpected<Error> Malformed(const std::string& pointer, std::string_view what) {
    return Fail(ErrorCode::kMalformed, "schema, #{}: {}", pointer, what);
  }
  static tl::unexpected<Error> Unsupported(const std::string& pointer, std::string_view keyword,
                                           std::string_view hint = "") {
    return Fail(ErrorCode::kUnsupported, "schema, #{}: \"{}\" is not supported{}{}", pointer,
                keyword, hint.empty() ? "" : "; ", hint);
  }

  SchemaId Add(const std::string& pointer) {
    source_.schemas.emplace_back().pointer = pointer;
    return static_cast<SchemaId>(source_.schemas.size() - 1);
  }

  Result<SchemaId> SchemaAt(const Json& json, const std::string& pointer) {
    if (const auto known = by_pointer_.find(pointer); known != by_pointer_.end()) {
      return known->second;
    }
    ETCH_TRY(budget_.Spend(50 + static_cast<int64_t>(pointer.size())));
    const SchemaId id = Add(pointer);
    by_pointer_[pointer] = id;
    if (json.is_boolean()) {
      Schema(id).never = !json.get<bool>();
      return id;
    }
    if (!json.is_object()) {
      return Malformed(pointer, "a schema is an object, true or false");
    }
    if (++depth_ > kMaxDepth) {
      return Malformed(pointer, "schemas are nested too deep");
    }
    ETCH_TRY(CheckKeywords(json, pointer));
    ETCH_TRY(ReadApplicators(json, pointer, id));
    ETCH_TRY(ReadNumber(json, pointer, id));
    ETCH_TRY(ReadString(json, pointer, id));
    ETCH_TRY(ReadArray(json, pointer, id));
    ETCH_TRY(ReadObject(json, pointer, id));
    --depth_;
    return id;
  }

  Status CheckKeywords(const Json& json, const std::string& pointer) {
    for (const auto& [keyword, value] : json.items()) {
      if (!kKeywords.contains(keyword) && !kAnnotations.contains(keyword) &&
          !keyword.starts_with("x-")) {
        const bool is_old = keyword == "additionalItems" || keyword == "dependencies";
        return Unsupported(pointer, keyword,
                           is_old ? "use the keywords of draft 2020-12" : std::string_view());
      }
    }
    if (json.contains("$id") && !pointer.empty()) {
      return Unsupported(pointer, "$id", "only the whole schema may have one");
    }
    if (const auto dialect = json.find("$schema"); dialect != json.end()) {
      const bool is_known = dialect->is_string() &&
                            (dialect->get<std::string>().starts_with("http://json-schema.org/") ||
                             dialect->get<std::string>().starts_with("https://json-schema.org/"));
      if (!is_known) {
        return Unsupported(pointer, "$schema", "only json-schema.org's dialects are known");
      }
    }
    if (const auto anchor = json.find("$anchor"); anchor != json.end()) {
      if (!anchor->is_string()) {
        return Malformed(pointer, "\"$anchor\" is not a string");
      }
      anchors_[anchor->get<std::string>()] = pointer;
    }
    for (const char* name : {"$defs", "definitions"}) {
      if (const auto defs = json.find(name); defs != json.end()) {
        ETCH_TRY(FindAnchors(*defs, pointer + "/" + name, 0));
      }
    }
    return {};
  }

  // Definitions are read when something refers to them; what is not needed need not be supported.
  Status FindAnchors(const Json& json, const std::string& pointer, int depth) {
    ETCH_TRY(budget_.Spend(10));
    if (!json.is_object() || depth > kMaxDepth) {
      return {};
    }
    for (const auto& [name, value] : json.items()) {
      if (name == "$id" && depth > 0 && value.is_string()) {
        return Unsupported(pointer, "$id", "only the whole schema may have one");
      }
      if (name == "$anchor" && value.is_string()) {
        anchors_.emplace(value.get<std::string>(), pointer);
      }
      ETCH_TRY(FindAnchors(value, pointer + "/" + EscapePointer(name), depth + 1));
    }
    return {};
  }

  Result<std::vector<SchemaId>> SchemaList(const Json& json, const std::string& pointer,
                                           const std::string& keyword) {
    const Json& list = json[keyword];
    if (!list.is_array() || list.empty()) {
      return Malformed(pointer, fmt::format("\"{}\" is not a list of schemas", keyword));
    }
    std::vector<SchemaId> out;
    for (size_t index = 0; index < list.size(); ++index) {
      ETCH_ASSIGN_OR_RETURN(
          const SchemaId id,
          SchemaAt(list[index], fmt::format("{}/{}/{}", pointer, keyword, index)));
      out.push_back(id);
    }
    return out;
  }

  Result<std::optional<SchemaId>> Subschema(const Json& json, const std::string& pointer,
                                            const std::string& keyword) {
    if (!json.contains(keyword)) {
      return std::nullopt;
    }
    ETCH_ASSIGN_OR_RETURN(const SchemaId id, SchemaAt(json[keyword], pointer + "/" + keyword));
    return id;
  }

  Status ReadApplicators(const Json& json, const std::string& pointer, SchemaId id) {
    ETCH_TRY(ReadType(json, pointer, id));
    if (json.contains("nullable") && json["nullable"] != false) {
      return Unsupported(pointer, "nullable", "write \"type\": [\"null\", …]");
    }
    if (json.contains("$ref")) {
      if (!json["$ref"].is_string()) {
        return Malformed(pointer, "\"$ref\" is not a string");
      }
      references_.emplace_back(id, json["$ref"].get<std::string>());
    }
    if (json.contains("allOf")) {
      ETCH_ASSIGN_OR_RETURN(std::vector<SchemaId> list, SchemaList(json, pointer, "allOf"));
      Schema(id).all_of.insert(Schema(id).all_of.end(), list.begin(), list.end());
    }
    for (const char* keyword : {"anyOf", "oneOf"}) {
      if (json.contains(keyword)) {
        ETCH_ASSIGN_OR_RETURN(std::vector<SchemaId> list, SchemaList(json, pointer, keyword));
        if (keyword[0] == 'o') {
          ETCH_TRY(AddExclusive(pointer + "/oneOf", list));
        }
        Schema(id).any_of.push_back(std::move(list));
      }
    }
    if (json.contains("const")) {
      ETCH_ASSIGN_OR_RETURN(std::vector<SchemaId> list,
                            Constants(Json::array({json["const"]}), pointer + "/const"));
      Schema(id).any_of.push_back(std::move(list));
    }
    if (json.contains("enum")) {
      if (!json["enum"].is_array()) {
        return Malformed(pointer, "\"enum\" is not a list");
      }
      ETCH_ASSIGN_OR_RETURN(std::vector<SchemaId> list, Constants(json["enum"], pointer + "/enum"));
      Schema(id).any_of.push_back(std::move(list));
    }
    return {};
  }

  Status AddExclusive(const std::string& pointer, const std::vector<SchemaId>& list) {
    for (size_t left = 0; left < list.size(); ++left) {
      for (size_t right = left + 1; right < list.size(); ++right) {
        ETCH_TRY(budget_.Spend(100));
        source_.exclusive.push_back({pointer, left, right, list[left], list[right]});
      }
    }
    return {};
  }

  Status ReadType(const Json& json, const std::string& pointer, SchemaId id) {
    if (!json.contains("type")) {
      return {};
    }
    const Json& type = json["type"];
    uint8_t types = 0;
    bool number = false;
    bool integer = false;
    for (const Json& name : type.is_array() ? type : Json::array({type})) {
      const auto known =
          name.is_string() ? kTypes.find(name.get_ref<const std::string&>()) : kTypes.end();
      if (known == kTypes.end()) {
        return Malformed(pointer, "\"type\" is not a type of JSON");
      }
      types = static_cast<uint8_t>(types | known->second);
      number = number || known->first == "number";
      integer = integer || known->first == "integer";
    }
    Schema(id).types = types;
    if (integer && !number) {
      Schema(id).number.emplace().integer = true;
    }
    return {};
  }

  // Schemas for the values of a const or enum: strings share one, as do null, true and false.
  Result<std::vector<SchemaId>> Constants(const Json& values, const std::string& pointer) {
    std::vector<SchemaId> out;
    Expression strings;
    strings.kind = Expression::Kind::kChoice;
    uint8_t literals = 0;
    for (const Json& value : values) {
      ETCH_TRY(budget_.Spend(50));
      if (value.is_string()) {
        strings.children.push_back(Literal(value.get_ref<const std::string&>()));
      } else if (value.is_null() || value.is_boolean()) {
        literals = static_cast<uint8_t>(literals | (value.is_null()  ? kNull
                                                    : value == false ? kFalse
                                                                     : kTrue));
      } else {
        ETCH_ASSIGN_OR_RETURN(const SchemaId id, Constant(value, pointer));
        out.push_back(id);
      }
    }
    if (!strings.children.empty()) {
      const SchemaId id = Add(pointer);
      Schema(id).types = kString;
      ETCH_ASSIGN_OR_RETURN(const uint32_t dfa, AddDfa(strings));
      Schema(id).string.emplace().dfas.push_back(dfa);
      out.push_back(id);
    }
    if (literals != 0) {
      out.push_back(Add(pointer));
      Schema(out.back()).types = literals;
    }
    return out;
  }

  Result<SchemaId> Constant(const Json& value, const std::string& pointer) {
    if (++depth_ > kMaxDepth) {
      return Malformed(pointer, "a constant is nested too deep");
    }
    const SchemaId id = Add(pointer);
    if (value.is_number()) {
      Schema(id).types = kNumber;
      ETCH_ASSIGN_OR_RETURN(const Decimal decimal, ParseDecimal(value.dump()));
      NumberBounds& number = Schema(id).number.emplace();
      number.low = decimal;
      number.high = decimal;
    } else if (value.is_array()) {
      ArrayFacts facts;
      for (const Json& item : value) {
        ETCH_ASSIGN_OR_RETURN(const SchemaId child, OneConstant(item, pointer));
        facts.prefix.push_back(child);
      }
      facts.length = {std::ssize(value), std::ssize(value)};
      Schema(id).types = kArray;
      Schema(id).array = std::move(facts);
    } else {
      ObjectFacts facts;
      for (const auto& [name, item] : value.items()) {
        ETCH_ASSIGN_OR_RETURN(const SchemaId child, OneConstant(item, pointer));
        facts.properties.emplace_back(name, child);
        facts.required.push_back(name);
      }
      facts.additional = Add(pointer);
      Schema(*facts.additional).never = true;
      Schema(id).types = kObject;
      Schema(id).object = std::move(facts);
    }
    --depth_;
    return id;
  }

  Result<SchemaId> OneConstant(const Json& value, const std::string& pointer) {
    ETCH_ASSIGN_OR_RETURN(const std::vector<SchemaId> list,
                          Constants(Json::array({value}), pointer));
    return list.front();
  }

  Result<uint32_t> AddDfa(const Expression& expression) {
    ETCH_ASSIGN_OR_RETURN(Dfa dfa, ToDfa(expression, budget_));
    source_.dfas.push_back(std::move(dfa));
    return static_cast<uint32_t>(source_.dfas.size() - 1);
  }

  Status ReadNumber(const Json& json, const std::string& pointer, SchemaId id) {
    const auto read = [&](const char* keyword) -> Result<std::optional<Decimal>> {
      const auto found = json.find(keyword);
      if (found == json.end()) {
        return std::nullopt;
      }
      if (!found->is_number()) {
        return Malformed(pointer, fmt::format("\"{}\" is not a number", keyword));
      }
      const Result<Decimal> decimal = ParseDecimal(found->dump());
      if (!decimal) {
        return Prefix(fmt::format("schema, #{}/{}", pointer, keyword), decimal.error());
      }
      return *decimal;
    };
    ETCH_ASSIGN_OR_RETURN(const auto low, read("minimum"));
    ETCH_ASSIGN_OR_RETURN(const auto low_open, read("exclusiveMinimum"));
    ETCH_ASSIGN_OR_RETURN(const auto high, read("maximum"));
    ETCH_ASSIGN_OR_RETURN(const auto high_open, read("exclusiveMaximum"));
    ETCH_ASSIGN_OR_RETURN(const auto multiple, read("multipleOf"));
    const auto bounds = [&]() -> NumberBounds& {
      return Schema(id).number ? *Schema(id).number : Schema(id).number.emplace();
    };
    if (low || high || multiple) {
      bounds().low = low;
      bounds().high = high;
      bounds().multiple_of = multiple;
    }
    if (multiple && (multiple->negative || multiple->is_zero())) {
      return Malformed(pointer, "\"multipleOf\" is not above zero");
    }
    if (low_open || high_open) {  // a schema of its own, as both kinds of bound may be given
      const SchemaId open = Add(pointer);
      NumberBounds& number = Schema(open).number.emplace();
      number.low = low_open;
      number.high = high_open;
      number.low_open = number.high_open = true;
      Schema(id).all_of.push_back(open);
    }
    return {};
  }

  Result<std::optional<int64_t>> Count(const Json& json, const std::string& pointer,
                                       const char* keyword) {
    const auto found = json.find(keyword);
    if (found == json.end()) {
      return std::nullopt;
    }
    const double value = found->is_number() ? found->get<double>() : -1.0;
    if (value < 0.0 || value != std::floor(value)) {
      return Malformed(pointer, fmt::format("\"{}\" is not a whole number from 0", keyword));
    }
    return static_cast<int64_t>(std::min(value, static_cast<double>(kMaxCount)));
  }

  Result<bool> ReadLength(const Json& json, const std::string& pointer, const char* low_keyword,
                          const char* high_keyword, LengthBounds& out) {
    ETCH_ASSIGN_OR_RETURN(const auto low, Count(json, pointer, low_keyword));
    ETCH_ASSIGN_OR_RETURN(const auto high, Count(json, pointer, high_keyword));
    out = {low.value_or(0), high};
    return low || high;
  }

  Status ReadString(const Json& json, const std::string& pointer, SchemaId id) {
    StringFacts facts;
    ETCH_ASSIGN_OR_RETURN(bool used,
                          ReadLength(json, pointer, "minLength", "maxLength", facts.length));
    for (const char* keyword : {"pattern", "format"}) {
      const auto found = json.find(keyword);
      if (found == json.end()) {
        continue;
      }
      if (!found->is_string()) {
        return Malformed(pointer, fmt::format("\"{}\" is not a string", keyword));
      }
      const bool is_format = keyword[0] == 'f';
      const std::string pattern =
          is_format ? FormatPattern(found->get<std::string>()) : found->get<std::string>();
      if (is_format && (pattern.empty() || !options_.formats)) {
        continue;
      }
      ETCH_ASSIGN_OR_RETURN(const uint32_t dfa, PatternDfa(pattern, pointer + "/" + keyword));
      facts.dfas.push_back(dfa);
      used = true;
    }
    if (used) {
      Schema(id).string = std::move(facts);
    }
    return {};
  }

  Result<uint32_t> PatternDfa(const std::string& pattern, const std::string& pointer) {
    if (const auto known = patterns_.find(pattern); known != patterns_.end()) {
      return known->second;
    }
    Result<Expression> expression = ParseRegex(pattern, budget_.limits());
    if (!expression) {
      return Prefix(fmt::format("schema, #{}", pointer), expression.error());
    }
    ETCH_ASSIGN_OR_RETURN(const uint32_t dfa, AddDfa(Anywhere(std::move(*expression))));
    patterns_[pattern] = dfa;
    return dfa;
  }

  Status ReadArray(const Json& json, const std::string& pointer, SchemaId id) {
    ArrayFacts facts;
    ETCH_ASSIGN_OR_RETURN(bool used,
                          ReadLength(json, pointer, "minItems", "maxItems", facts.length));
    if (json.contains("uniqueItems") && json["uniqueItems"] != false) {
      return Unsupported(pointer, "uniqueItems");
    }
    if (json.contains("prefixItems")) {
      ETCH_ASSIGN_OR_RETURN(facts.prefix, SchemaList(json, pointer, "prefixItems"));
      used = true;
    }
    if (json.contains("items") && json["items"].is_array()) {
      return Unsupported(pointer, "items", "a list of items is \"prefixItems\" in draft 2020-12");
    }
    ETCH_ASSIGN_OR_RETURN(facts.rest, Subschema(json, pointer, "items"));
    ETCH_ASSIGN_OR_RETURN(facts.contains, Subschema(json, pointer, "contains"));
    ETCH_ASSIGN_OR_RETURN(const auto contains_low, Count(json, pointer, "minContains"));
    facts.contains_low = contains_low.value_or(1);
    if (used || facts.rest || facts.contains) {
      Schema(id).array = std::move(facts);
    }
    return {};
  }

  Result<std::vector<std::string>> Names(const Json& list, const std::string& pointer,
                                         std::string_view keyword) {
    std::vector<std::string> out;
    for (const Json& name : list) {
      if (!name.is_string() || !list.is_array()) {
        return Malformed(pointer, fmt::format("\"{}\" is not a list of names", keyword));
      }
      out.push_back(name.get<std::string>());
    }
    return out;
  }

  Status ReadObject(const Json& json, const std::string& pointer, SchemaId id) {
    ObjectFacts facts;
    ETCH_ASSIGN_OR_RETURN(
        bool used, ReadLength(json, pointer, "minProperties", "maxProperties", facts.length));
    for (const char* keyword : {"properties", "patternProperties", "dependentRequired"}) {
      const auto found = json.find(keyword);
      if (found == json.end()) {
        continue;
      }
      if (!found->is_object()) {
        return Malformed(pointer, fmt::format("\"{}\" is not an object", keyword));
      }
      used = true;
      for (const auto& [name, value] : found->items()) {
        const std::string place = pointer + "/" + keyword + "/" + EscapePointer(name);
        if (keyword[0] == 'd') {
          ETCH_ASSIGN_OR_RETURN(std::vector<std::string> names, Names(value, pointer, keyword));
          facts.dependents.emplace_back(name, std::move(names));
          continue;
        }
        ETCH_ASSIGN_OR_RETURN(const SchemaId child, SchemaAt(value, place));
        if (keyword[1] == 'r') {
          facts.properties.emplace_back(name, child);
        } else {
          Result<Expression> expression = ParseRegex(name, budget_.limits());
          if (!expression) {
            return Prefix(fmt::format("schema, #{}", place), expression.error());
          }
          facts.patterns.emplace_back(Anywhere(std::move(*expression)), child);
        }
      }
    }
    if (json.contains("required")) {
      ETCH_ASSIGN_OR_RETURN(facts.required, Names(json["required"], pointer, "required"));
      used = true;
    }
    ETCH_ASSIGN_OR_RETURN(facts.additional, Subschema(json, pointer, "additionalProperties"));
    ETCH_ASSIGN_OR_RETURN(facts.names, Subschema(json, pointer, "propertyNames"));
    if (used || facts.additional || facts.names) {
      Schema(id).object = std::move(facts);
    }
    return {};
  }

  Result<SchemaId> Resolve(std::string reference, const std::string& from) {
    const auto refuse = [&](std::string_view why) {
      return Fail(ErrorCode::kUnsupported, "schema, #{}: \"$ref\" to \"{}\" is not supported; {}",
                  from, reference, why);
    };
    if (root_.is_object() && root_.contains("$id") && root_["$id"].is_string()) {
      const auto base = root_["$id"].get<std::string>();
      if (!base.empty() && reference.starts_with(base)) {
        reference.erase(0, base.size());
      }
    }
    if (!reference.empty() && !reference.starts_with('#')) {
      return refuse("only references inside of the schema are followed");
    }
    std::string fragment;
    for (size_t at = 1; at < reference.size(); ++at) {
      const std::string_view digits = std::string_view(reference).substr(at + 1, 2);
      unsigned value = 0;
      const auto [end, code] = std::from_chars(digits.begin(), digits.end(), value, 16);
      if (reference[at] == '%' && digits.size() == 2 && end == digits.end()) {
        fragment += static_cast<char>(value);
        at += 2;
      } else {
        fragment += reference[at];
      }
    }
    if (!fragment.empty() && !fragment.starts_with('/')) {
      const auto anchor = anchors_.find(fragment);
      if (anchor == anchors_.end()) {
        return refuse("there is no such \"$anchor\"");
      }
      fragment = anchor->second;
    }
    try {
      const Json& target = root_.at(Json::json_pointer(fragment));
      return SchemaAt(target, fragment);
    } catch (const Json::exception&) {
      return refuse("the schema has no such place");
    }
  }

  const SchemaOptions& options_;
  Budget& budget_;
  Json root_;
  SchemaSource source_;
  std::map<std::string, SchemaId> by_pointer_;
  std::map<std::string, std::string> anchors_;  // to pointers
  std::map<std::string, uint32_t> patterns_;
  std::vector<std::pair<SchemaId, std::string>> references_;
  int depth_ = 0;
};

}  // namespace

Result<SchemaSource> ReadSchema(std::string_view json, const SchemaOptions& options,
                                Budget& budget) {
  return SchemaReader(options, budget).Read(json);
}

}  // namespace etch::grammar
