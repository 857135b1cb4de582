// Dataset files: any bytes under any ending become rows, or one error.

#include "tune/data/dataset.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view content(reinterpret_cast<const char*>(data), size);
  for (const std::string_view name : {"a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a"}) {
    (void)etch::tune::ParseDataset(name, content);
  }
  return 0;
}
