#pragma once

// How much memory there is to have.

#include <cstdint>

namespace etch {

// Bytes that can be had now without swapping, as the system estimates; 0 when it does not say.
uint64_t AvailableMemoryBytes();

// Gives memory that was freed, but is kept for the next allocation, back to the system. Takes up to
// some milliseconds; does nothing where the C library has no such call.
void ReturnFreeMemory();

// From here on new threads allocate from the heap that the first one uses. The C library's further
// heaps, one or more a thread, keep what is freed at their ends whatever ReturnFreeMemory says: 40
// MB were seen to stay of a refused constraint. Before any thread is started.
void UseOneHeap();

}  // namespace etch
