// Formats that are regular languages, as patterns. RFC 3339 (date, time, date-time and, in its
// appendix, duration), RFC 4122 (uuid), RFC 2673 (ipv4), RFC 3986 (ipv6), RFC 6901 (json-pointer).
// Formats that need a table or a parser (hostname, email, uri, regex …) are not here.

#include <fmt/format.h>

#include <map>

#include "grammar/schema_source.h"

namespace etch::grammar {
namespace {

// Days that exist, leap years included.
std::string Date() {
  const std::string leap = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
  return "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
         "02-(0[1-9]|1[0-9]|2[0-8]))|" +
         leap + "-02-29)";
}

// Second 60 is taken at 23:59 of UTC when it is written in UTC. (With an offset it is another time
// of day for each of 2880 offsets: an automaton of 23,000 states for texts that nobody writes.)
std::string Time() {
  const std::string clock = "([01][0-9]|2[0-3]):[0-5][0-9]";
  return "(" + clock + R"(:[0-5][0-9](\.[0-9]+)?([Zz]|[+\-])" + clock +
         R"()|23:59:60(\.[0-9]+)?([Zz]|[+\-]00:00)))";
}

std::string Duration() {
  const std::string time = "(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))";
  const std::string date = "([0-9]+D|[0-9]+M([0-9]+D)?|[0-9]+Y([0-9]+M([0-9]+D)?)?)";
  return "P([0-9]+W|" + date + time + "?|" + time + ")";
}

std::string Ipv4() {
  const std::string byte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  return "(" + byte + "(\\." + byte + "){3})";
}

std::string Ipv6() {
  const std::string part = "[0-9a-fA-F]{1,4}";
  const std::string last = "(" + part + ":" + part + "|" + Ipv4() + ")";
  std::string out = "(" + part + ":){6}" + last + "|::(" + part + ":){5}" + last;
  for (int before = 0; before <= 4; ++before) {
    const int after = 4 - before;
    out += fmt::format("|(({0}:){{0,{1}}}{0})?::({0}:){{{2}}}{3}", part, before, after, last);
  }
  out += fmt::format("|(({0}:){{0,5}}{0})?::{0}|(({0}:){{0,6}}{0})?::", part);
  return "(" + out + ")";
}

const std::map<std::string_view, std::string (*)()>& Formats() {
  static const std::map<std::string_view, std::string (*)()> formats = {
      {"date", Date},
      {"time", Time},
      {"date-time", [] { return Date() + "[Tt]" + Time(); }},
      {"duration", Duration},
      {"ipv4", Ipv4},
      {"ipv6", Ipv6},
      {"uuid", [] { return std::string("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"); }},
      {"json-pointer", [] { return std::string("(/([^~/]|~[01])*)*"); }},
      {"relative-json-pointer",
       [] { return std::string("(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)"); }}};
  return formats;
}

}  // namespace

std::string FormatPattern(std::string_view format) {
  const auto found = Formats().find(format);
  return found == Formats().end() ? "" : "^(" + found->second() + ")$";
}

std::vector<std::string_view> FormatNames() {
  std::vector<std::string_view> names;
  for (const auto& [name, pattern] : Formats()) {
    names.push_back(name);
  }
  return names;
}

}  // namespace etch::grammar
