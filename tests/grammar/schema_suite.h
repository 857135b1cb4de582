#pragma once

// The published JSON-Schema-Test-Suite: schemas with instances and whether these are valid.

#include <filesystem>
#include <string>
#include <vector>

namespace etch::test {

struct SuiteInstance {
  std::string description;
  std::string text;  // as the file writes it
  bool valid = false;
};

struct SuiteCase {
  std::string file;
  std::string description;
  std::string schema;
  std::vector<SuiteInstance> instances;
};

// The files of one folder of the suite's archive, unpacked under `folder`.
std::vector<SuiteCase> ReadSuite(const std::filesystem::path& archive,
                                 const std::filesystem::path& folder, const std::string& part);

}  // namespace etch::test
