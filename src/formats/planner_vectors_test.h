#pragma once

// The planner vectors of the data folder (robustness/planner-vectors/README.md): small files in
// hexadecimal, each with a verdict and the place of its tensors.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"

namespace etch::test {

using Regions = std::vector<std::pair<uint64_t, uint64_t>>;  // offset, size

struct PlannerVector {
  std::string name;
  std::vector<std::byte> bytes;
  bool well_formed = false;  // classification "semantic"
  Regions tensors;
};

template <class Tensor>
Regions TensorRegions(const std::vector<Tensor>& tensors) {
  Regions regions;
  for (const Tensor& tensor : tensors) {
    regions.emplace_back(tensor.offset, tensor.size_bytes);
  }
  return regions;
}

inline std::vector<std::byte> FromHex(std::string_view text) {
  std::vector<std::byte> bytes;
  for (size_t at = 0; at + 1 < text.size(); at += 2) {
    bytes.push_back(
        static_cast<std::byte>(std::stoi(std::string(text.substr(at, 2)), nullptr, 16)));
  }
  return bytes;
}

// Calls `check` with each vector whose name begins with `prefix`; there has to be one.
inline void ForEachPlannerVector(const std::filesystem::path& folder, const std::string& prefix,
                                 const std::function<void(const PlannerVector&)>& check) {
  const auto root = nlohmann::json::parse(ReadSmallFile(folder / "planner-vectors.json").value());
  int checked = 0;
  for (const nlohmann::json& entry : root["cases"]) {
    PlannerVector vector;
    vector.name = entry["name"];
    if (!vector.name.starts_with(prefix)) {
      continue;
    }
    vector.bytes = FromHex(ReadSmallFile(folder / (vector.name + ".hex")).value());
    vector.bytes.resize(vector.bytes.size() + entry.value("zero_tail", size_t{0}));
    vector.well_formed = entry["classification"] == "semantic";
    for (const nlohmann::json& object : entry["expected"]["objects"]) {
      if (object["kind"] == "tensor") {
        vector.tensors.emplace_back(object["offset"], object["length"]);
      }
    }
    check(vector);
    ++checked;
  }
  EXPECT_GT(checked, 0);
}

}  // namespace etch::test
