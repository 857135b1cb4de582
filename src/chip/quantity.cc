#include "chip/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace etch::chip {
namespace {

using Json = nlohmann::json;

// Reads fields of one JSON object, naming each in what it says of it.
class Fields {
 public:
  Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  Result<double> Number(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_number() || !std::isfinite(found->get<double>())) {
      return Fail(ErrorCode::kMalformed, "{}.{}: a number is needed", path_, key);
    }
    return found->get<double>();
  }
  Result<std::string> Text(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_string() || found->get<std::string>().empty()) {
      return Fail(ErrorCode::kMalformed, "{}.{}: a text is needed", path_, key);
    }
    return found->get<std::string>();
  }
  Result<bool> Flag(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_boolean()) {
      return Fail(ErrorCode::kMalformed, "{}.{}: true or false is needed", path_, key);
    }
    return found->get<bool>();
  }

 private:
  const Json& object_;
  std::string path_;
};

Result<Quantity> ParseOne(const Json& object, const std::string& path, const QuantitySpec& spec) {
  if (!object.is_object()) {
    return Fail(ErrorCode::kMalformed, "{}: an object is needed", path);
  }
  const Fields fields(object, path);
  Quantity quantity;
  quantity.name = spec.name;
  ETCH_ASSIGN_OR_RETURN(quantity.value, fields.Number("value"));
  ETCH_ASSIGN_OR_RETURN(quantity.low, fields.Number("low"));
  ETCH_ASSIGN_OR_RETURN(quantity.high, fields.Number("high"));
  ETCH_ASSIGN_OR_RETURN(quantity.unit, fields.Text("unit"));
  ETCH_ASSIGN_OR_RETURN(quantity.source, fields.Text("source"));
  ETCH_ASSIGN_OR_RETURN(quantity.assumed, fields.Flag("assumed"));
  if (quantity.unit != spec.unit) {
    return Fail(ErrorCode::kMalformed, "{}.unit: \"{}\", not \"{}\"", path, quantity.unit,
                spec.unit);
  }
  if (quantity.low > quantity.value || quantity.value > quantity.high) {
    return Fail(ErrorCode::kMalformed, "{}: {} does not lie between low {} and high {}", path,
                quantity.value, quantity.low, quantity.high);
  }
  if (quantity.low < spec.least || quantity.high > spec.most) {
    return Fail(ErrorCode::kMalformed, "{}: {} to {} {} is not within {} to {}", path,
                quantity.low, quantity.high, quantity.unit, spec.least, spec.most);
  }
  return quantity;
}

}  // namespace

Result<std::vector<Quantity>> ParseQuantities(std::string_view text, std::string_view origin,
                                              std::span<const QuantitySpec> specs) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("values") || !json["values"].is_object()) {
    return Fail(ErrorCode::kMalformed, "{}: a JSON object with \"values\" is needed", origin);
  }
  const Json& values = json["values"];
  std::vector<Quantity> quantities;
  for (const QuantitySpec& spec : specs) {
    const std::string path = fmt::format("{}: values.{}", origin, spec.name);
    const auto found = values.find(spec.name);
    if (found == values.end()) {
      return Fail(ErrorCode::kMalformed, "{} is missing", path);
    }
    ETCH_ASSIGN_OR_RETURN(Quantity quantity, ParseOne(*found, path, spec));
    quantities.push_back(std::move(quantity));
  }
  for (const auto& [name, value] : values.items()) {
    if (std::ranges::none_of(specs, [&](const auto& spec) { return spec.name == name; })) {
      return Fail(ErrorCode::kMalformed, "{}: values.{} is unknown", origin, name);
    }
  }
  return quantities;
}

}  // namespace etch::chip
