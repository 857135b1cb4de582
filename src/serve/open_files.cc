#include "serve/open_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>

namespace etch::serve {

OpenFiles RaiseOpenFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = raised.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) {
      limit = raised;
    }
  }
  constexpr rlim_t kMost = std::numeric_limits<int32_t>::max();  // RLIM_INFINITY is larger
  OpenFiles files;
  files.limit = static_cast<int64_t>(std::min(limit.rlim_cur, kMost));
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  files.open = error ? 0 : std::distance(begin(open), end(open));
  return files;
}

}  // namespace etch::serve
