#pragma once

// How often the test program has called operator new.

#include <cstdint>

namespace etch::engine::test {

int64_t Allocations();

}  // namespace etch::engine::test
