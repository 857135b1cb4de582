// The context of a render and the input of from_json arrive as JSON. nlohmann's event parser feeds
// a stack of half-built lists and dicts, so there is no second tree in memory, objects with many
// keys cost no quadratic time (ordered_json's do), and depth is checked while reading.

#include "text/jinja/json_reader.h"

#include <nlohmann/json.hpp>

namespace etch::jinja {
namespace {

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(Meter& meter) : meter_(meter) {}

  bool null() override { return Add(Value::None()); }
  bool boolean(bool value) override { return Add(Value::Bool(value)); }
  bool number_integer(int64_t value) override { return Add(Value::Int(value)); }
  bool number_unsigned(uint64_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX)) {
      return Stop({ErrorCode::kMalformed, fmt::format("the integer {} exceeds 64 bits", value)});
    }
    return Add(Value::Int(static_cast<int64_t>(value)));
  }
  bool number_float(double value, const std::string&) override { return Add(Value::Float(value)); }
  bool string(std::string& value) override { return AddResult(MakeText(meter_, std::move(value))); }
  bool binary(binary_t&) override { return false; }

  bool start_object(size_t) override { return Open(false); }
  bool start_array(size_t) override { return Open(true); }
  bool key(std::string& value) override {
    stack_.back().key = std::move(value);
    return true;
  }
  bool end_object() override {
    Dict dict = std::move(stack_.back().dict);
    stack_.pop_back();
    return AddResult(MakeDict(meter_, std::move(dict)));
  }
  bool end_array() override {
    std::vector<Value> items = std::move(stack_.back().items);
    stack_.pop_back();
    return AddResult(MakeList(meter_, std::move(items)));
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Stop({ErrorCode::kMalformed, fmt::format("broken JSON at byte {}", position)});
  }

  Result<Value> Finish() {
    if (error_.message.empty()) {
      return std::move(root_);
    }
    return tl::unexpected(std::move(error_));
  }

 private:
  struct Level {
    bool is_list;
    std::vector<Value> items;
    Dict dict;
    std::string key;
  };

  bool Open(bool is_list) {
    if (static_cast<int>(stack_.size()) >= meter_.limits().max_depth) {
      return Stop({ErrorCode::kNoSpace,
                   fmt::format("the JSON is nested deeper than {}", meter_.limits().max_depth)});
    }
    stack_.push_back({.is_list = is_list, .items = {}, .dict = {}, .key = {}});
    return true;
  }

  bool AddResult(Result<Value> value) {
    return value ? Add(std::move(*value)) : Stop(std::move(value).error());
  }

  bool Add(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().is_list) {
      stack_.back().items.push_back(std::move(value));
    } else {
      stack_.back().dict.Set(stack_.back().key, std::move(value));
    }
    return true;
  }

  bool Stop(Error error) {
    if (error_.message.empty()) {
      error_ = std::move(error);
    }
    return false;
  }

  Meter& meter_;
  std::vector<Level> stack_;
  Value root_;
  Error error_{ErrorCode::kMalformed, ""};
};

}  // namespace

Result<Value> ReadJson(std::string_view text, Meter& meter) {
  ETCH_TRY(meter.Read(text.size()));
  Builder builder(meter);
  try {
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  } catch (const std::exception& exception) {
    return Fail(ErrorCode::kMalformed, "broken JSON: {}", exception.what());
  }
  return builder.Finish();
}

}  // namespace etch::jinja
