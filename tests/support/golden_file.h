#pragma once

// Reads the text files of golden vectors under tests/golden/numerics (its README.md has the
// format): lines of a key and its values, grouped into cases.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/data.h"

namespace etch::test {

// One line: a key and its values, still as text.
struct GoldenLine {
  std::string key;
  std::vector<std::string> values;

  // The values from index `begin` on, as integers of type T. Throws for one that does not fit T.
  template <class T = int64_t>
  std::vector<T> Integers(size_t begin = 0) const {
    std::vector<T> out;
    for (size_t index = begin; index < values.size(); ++index) {
      const std::string& text = values[index];
      T value{};
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size()) {
        throw std::runtime_error("golden value \"" + text + "\" of " + key);
      }
      out.push_back(value);
    }
    return out;
  }

  // The value at `index` as bytes.
  std::vector<std::byte> Bytes(size_t index = 0) const {
    const std::string& text = values.at(index);
    std::vector<std::byte> out;
    for (size_t at = 0; at + 1 < text.size(); at += 2) {
      out.push_back(static_cast<std::byte>(std::stoi(text.substr(at, 2), nullptr, 16)));
    }
    return out;
  }
};

struct GoldenCase {
  std::string name;
  std::vector<GoldenLine> lines;

  // The first line with this key; throws when there is none.
  const GoldenLine& Line(const std::string& key) const {
    for (const GoldenLine& line : lines) {
      if (line.key == key) {
        return line;
      }
    }
    throw std::runtime_error("golden case " + name + " has no " + key);
  }
  template <class T = int64_t>
  std::vector<T> Integers(const std::string& key) const {
    return Line(key).Integers<T>();
  }
  template <class T = int64_t>
  T Integer(const std::string& key) const {
    return Integers<T>(key).at(0);
  }
  // Every line with this key, in order.
  std::vector<GoldenLine> All(const std::string& key) const {
    std::vector<GoldenLine> found;
    for (const GoldenLine& line : lines) {
      if (line.key == key) {
        found.push_back(line);
      }
    }
    return found;
  }
};

// The cases of tests/golden/numerics/`name`. Throws when the file cannot be read.
inline std::vector<GoldenCase> ReadGolden(const std::string& name) {
  const std::filesystem::path path = SourceFolder() / "tests" / "golden" / "numerics" / name;
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("cannot read " + path.string());
  }
  std::vector<GoldenCase> cases;
  std::string text;
  while (std::getline(file, text)) {
    std::istringstream words(text);
    GoldenLine line;
    if (!(words >> line.key) || line.key[0] == '#') {
      continue;
    }
    for (std::string word; words >> word;) {
      line.values.push_back(word);
    }
    if (line.key == "case") {
      cases.push_back({line.values.at(0), {}});
    } else {
      cases.at(cases.size() - 1).lines.push_back(std::move(line));
    }
  }
  return cases;
}

}  // namespace etch::test
