#pragma once

// How much memory there is to have.

#include <cstdint>

namespace etch {

// Bytes that can be had now without swapping, as the system estimates; 0 when it does not say.
uint64_t AvailableMemoryBytes();

}  // namespace etch
