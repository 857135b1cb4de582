#pragma once

// How many files, and so connections, this process may have open.

#include <cstdint>

namespace etch::serve {

struct OpenFiles {
  int64_t limit = 0;
  int64_t open = 0;  // now
};

// Raises the soft limit to the hard one; what cannot be raised stays as it was.
OpenFiles RaiseOpenFileLimit();

}  // namespace etch::serve
