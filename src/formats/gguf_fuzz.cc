// Fuzz target: a GGUF file is parsed, its metadata walked, its small tensors dequantised.

#include <cstdint>

#include "formats/dequantize.h"
#include "formats/gguf.h"

namespace {

constexpr uint64_t kMostValues = 1 << 16;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace etch::formats;
  const etch::Bytes file(reinterpret_cast<const std::byte*>(data), size);
  const auto header = ParseGguf(file, "input");
  if (!header) {
    return 0;
  }
  for (const auto& [key, value] : header->metadata.entries()) {
    (void)header->metadata.Integer(key);
    (void)header->metadata.Number(key);
    (void)header->metadata.Bool(key);
    (void)header->metadata.String(key);
    (void)header->metadata.Strings(key);
    (void)header->metadata.Integers(key);
    (void)header->metadata.Numbers(key);
  }
  for (const GgufTensor& tensor : header->tensors) {
    const auto count = ElementCount(tensor.dims, tensor.name);
    if (count && *count <= kMostValues) {
      std::vector<float> values(*count);
      (void)Dequantize(tensor.type, file.subspan(tensor.offset, tensor.size_bytes), values);
    }
  }
  return 0;
}
