#pragma once

// The numbers that llama-server's API gives to adapters, and the weights that apply where a request
// says nothing. A name keeps its number as long as the server runs, loaded or not. Thread-safe.

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace etch::serve {

class LoraTable {
 public:
  int64_t IdOf(const std::string& name);
  // "" when no adapter has the number.
  std::string NameOf(int64_t id) const;

  // By number; 0 for those that were never set.
  double Scale(int64_t id) const;
  void SetScales(std::map<int64_t, double> scales);
  std::map<int64_t, double> Scales() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> names_;  // index: number
  std::map<int64_t, double> scales_;
};

}  // namespace etch::serve
