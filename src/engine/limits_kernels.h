#pragma once

// The inner loops of limits.cc, one set for each instruction set; each is a translation unit with
// its own compiler flags. This header is all they include besides intrinsics: an inline function
// of the standard library that is compiled with -mavx512f may be the one that the linker keeps for
// the whole program.

#include <cstddef>
#include <cstdint>

namespace etch::engine {

struct LimitKernels {
  const char* isa;
  // Exclusive or of the 64-bit words of [data, data + size), each read once by plain loads as wide
  // as the registers. `data` is aligned to 64 bytes, `size` a multiple of 1024.
  uint64_t (*read)(const std::byte* data, size_t size);
  // `rounds` rounds of independent multiply-add chains over the bytes a (0…127) and b (-128…127).
  // Returns the sum of all 32-bit lanes, modulo 2^32: rounds * int8_macs * a * b.
  uint32_t (*int8)(int64_t rounds, uint8_t a, int8_t b);
  // Products that one round adds up. An operation is a multiply or an add: two a product.
  int64_t int8_macs;
};

extern const LimitKernels kGenericLimits;
#if defined(__x86_64__)
extern const LimitKernels kAvx2Limits;
extern const LimitKernels kAvx512Limits;
#endif

// Every set that this machine can run, the best first; ends with a null pointer.
const LimitKernels* const* AvailableLimitKernels();

}  // namespace etch::engine
