// Fuzz target: a safetensors file is parsed, its small tensors dequantised.

#include <cstdint>

#include "formats/dequantize.h"
#include "formats/safetensors.h"

namespace {

constexpr uint64_t kMostValues = 1 << 16;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace etch::formats;
  const etch::Bytes file(reinterpret_cast<const std::byte*>(data), size);
  const auto header = ParseSafetensors(file, "input");
  if (!header) {
    return 0;
  }
  for (const SafetensorsEntry& tensor : header->tensors) {
    const auto count = ElementCount(tensor.shape, tensor.name);
    if (count && *count <= kMostValues) {
      std::vector<float> values(*count);
      (void)Dequantize(tensor.type, file.subspan(tensor.offset, tensor.size_bytes), values);
    }
  }
  return 0;
}
