// Fuzz target: an adapter is read and, when it is one, lowered. Input that begins with "GGUF" is
// such a file; other input is a u16 length, that much of adapter_config.json, and the safetensors.

#include "adapter/adapter.h"

#include <algorithm>
#include <cstdint>

#include "adapter/pairs.h"

namespace {

etch::model::Config FuzzConfig() {
  etch::model::Config config;
  config.dim = 16;
  config.ffn_dim = 24;
  config.n_layers = 2;
  config.n_heads = 3;
  config.n_kv_heads = 1;
  config.head_dim = 4;
  config.vocab_size = 32;
  config.context = 32;
  return config;
}

etch::Result<etch::adapter::Adapter> Read(etch::Bytes input) {
  using namespace etch::adapter::internal;
  if (etch::AsText(input).starts_with("GGUF") || input.size() < 2) {
    return ParseGgufLora(input, "input", FuzzConfig());
  }
  const size_t rest = input.size() - 2;
  const auto length = std::min<size_t>(etch::LoadLittleEndian<uint16_t>(input, 0), rest);
  return ParsePeft(etch::AsText(input.subspan(2, length)), input.subspan(2 + length), FuzzConfig());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto adapter = Read({reinterpret_cast<const std::byte*>(data), size});
  if (adapter) {
    (void)etch::adapter::Lower(*adapter, FuzzConfig());
  }
  return 0;
}
