// Instances are taken from the files as text, so that numbers keep their digits. The files are
// known to be JSON, which makes finding the end of a value easy.

#include "grammar/schema_suite.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

namespace etch::test {
namespace {

size_t SkipSpace(const std::string& text, size_t at) {
  return text.find_first_not_of(" \t\r\n", at);
}

size_t EndOfString(const std::string& text, size_t at) {
  for (++at; text[at] != '"'; ++at) {
    at += text[at] == '\\' ? 1 : 0;
  }
  return at + 1;
}

size_t EndOfValue(const std::string& text, size_t at) {
  if (text[at] == '"') {
    return EndOfString(text, at);
  }
  if (text[at] != '[' && text[at] != '{') {
    return text.find_first_of(",]} \t\r\n", at);
  }
  int depth = 0;
  do {
    if (text[at] == '"') {
      at = EndOfString(text, at);
      continue;
    }
    depth += text[at] == '[' || text[at] == '{' ? 1 : text[at] == ']' || text[at] == '}' ? -1 : 0;
    ++at;
  } while (depth > 0);
  return at;
}

std::vector<std::string> Items(const std::string& array) {
  std::vector<std::string> out;
  for (size_t at = SkipSpace(array, 1); array[at] != ']'; at = SkipSpace(array, at)) {
    const size_t end = EndOfValue(array, at);
    out.push_back(array.substr(at, end - at));
    at = SkipSpace(array, end);
    at += array[at] == ',' ? 1 : 0;
  }
  return out;
}

std::map<std::string, std::string> Members(const std::string& object) {
  std::map<std::string, std::string> out;
  for (size_t at = SkipSpace(object, 1); object[at] != '}'; at = SkipSpace(object, at)) {
    const size_t end = EndOfString(object, at);
    const std::string name = object.substr(at + 1, end - at - 2);
    const size_t begin = SkipSpace(object, object.find(':', end) + 1);
    at = EndOfValue(object, begin);
    out[name] = object.substr(begin, at - begin);
    at = SkipSpace(object, at);
    at += object[at] == ',' ? 1 : 0;
  }
  return out;
}

std::string Text(const std::string& json) { return nlohmann::json::parse(json).get<std::string>(); }

}  // namespace

std::vector<SuiteCase> ReadSuite(const std::filesystem::path& archive,
                                 const std::filesystem::path& folder, const std::string& part) {
  const std::string command =
      fmt::format("tar -xJf '{}' -C '{}'", archive.string(), folder.string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "tests" / part)) {
    if (entry.path().extension() == ".json") {
      paths.push_back(entry.path());
    }
  }
  std::ranges::sort(paths);
  std::vector<SuiteCase> out;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    for (const std::string& one : Items(text.str())) {
      const auto members = Members(one);
      SuiteCase suite_case{
          path.stem().string(), Text(members.at("description")), members.at("schema"), {}};
      for (const std::string& test : Items(members.at("tests"))) {
        const auto parts = Members(test);
        suite_case.instances.push_back(
            {Text(parts.at("description")), parts.at("data"), parts.at("valid") == "true"});
      }
      out.push_back(std::move(suite_case));
    }
  }
  return out;
}

}  // namespace etch::test
