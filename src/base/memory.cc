#include "base/memory.h"

#include <fstream>
#include <sstream>
#include <string>

namespace etch {

uint64_t AvailableMemoryBytes() {
  std::ifstream in("/proc/meminfo");
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string name;
    uint64_t kilobytes = 0;
    if (words >> name >> kilobytes && name == "MemAvailable:") {
      return kilobytes * 1024;
    }
  }
  return 0;
}

}  // namespace etch
