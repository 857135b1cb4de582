#include "serve/request_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "tenant/calendar.h"

namespace etch::serve {
namespace {

bool IsHex(std::string_view text) {
  return std::ranges::all_of(text, [](char character) {
    return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'f');
  });
}

bool AllZero(std::string_view text) {
  return std::ranges::all_of(text, [](char character) { return character == '0'; });
}

std::string IsoTime(int64_t time_ms) {
  std::string text = tenant::FormatTime(time_ms / 1000);
  text.insert(text.size() - 1, fmt::format(".{:03}", time_ms % 1000));
  return text;
}

// A value of the text form: quoted when it has spaces, without line ends.
std::string Value(const std::string& text) {
  std::string out;
  bool is_plain = !text.empty();
  for (const char character : text) {
    const bool is_control = static_cast<unsigned char>(character) < 0x20;
    is_plain = is_plain && character != ' ' && character != '"' && character != '=' && !is_control;
    out += is_control ? ' ' : character == '"' ? '\'' : character;
  }
  return is_plain ? out : "\"" + out + "\"";
}

}  // namespace

std::string FormatLog(const RequestLog& log, LogFormat format) {
  nlohmann::ordered_json json;
  json["time"] = IsoTime(log.time_ms);
  json["request_id"] = log.request_id;
  json["method"] = log.method;
  json["path"] = log.path;
  json["status"] = log.status;
  const auto add = [&json](const char* name, const std::string& value) {
    if (!value.empty()) {
      json[name] = value;
    }
  };
  add("tenant", log.tenant);
  add("key", log.key);
  add("adapter", log.adapter);
  add("finish", log.finish);
  json["prompt_tokens"] = log.prompt_tokens;
  json["completion_tokens"] = log.completion_tokens;
  json["ttft_ms"] = std::round(log.first_token_s * 1e6) / 1e3;
  json["duration_ms"] = std::round(log.duration_s * 1e6) / 1e3;
  if (log.trace) {
    json["trace_id"] = log.trace->trace_id;
    json["span_id"] = log.trace->span_id;
    json["parent_span_id"] = log.trace->parent_id;
  }
  add("error", log.error);
  if (format == LogFormat::kJson) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  std::string line;
  for (const auto& [name, value] : json.items()) {
    line += line.empty() ? "" : " ";
    line += name + "=" + (value.is_string() ? Value(value.get<std::string>()) : value.dump());
  }
  return line;
}

std::string RandomId(std::string_view prefix, int hex_digits) {
  std::random_device device;
  std::string id(prefix);
  for (int digits = 0; digits < hex_digits; digits += 8) {
    id += fmt::format("{:08x}", device());
  }
  return id;
}

std::string RequestId(std::string_view given) {
  constexpr size_t kMaxLength = 128;
  const bool is_sane =
      !given.empty() && given.size() <= kMaxLength &&
      std::ranges::all_of(given, [](char character) {
        return std::isalnum(static_cast<unsigned char>(character)) != 0 ||
               std::string_view("-_.:/+=").find(character) != std::string_view::npos;
      });
  return is_sane ? std::string(given) : RandomId("req_", 32);
}

std::optional<Trace> ParseTraceparent(std::string_view header) {
  // 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
  constexpr size_t kLength = 55;
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') {
    return std::nullopt;
  }
  const std::string_view version = header.substr(0, 2);
  const bool ends = header.size() == kLength || (version != "00" && header[kLength] == '-');
  Trace trace{std::string(header.substr(3, 32)), std::string(header.substr(36, 16)), "",
              std::string(header.substr(53, 2))};
  if (!ends || !IsHex(version) || version == "ff" || !IsHex(trace.trace_id) ||
      !IsHex(trace.parent_id) || !IsHex(trace.flags) || AllZero(trace.trace_id) ||
      AllZero(trace.parent_id)) {
    return std::nullopt;
  }
  trace.span_id = RandomId("", 16);
  return trace;
}

}  // namespace etch::serve
