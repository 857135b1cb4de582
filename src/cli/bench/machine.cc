#include "cli/bench/machine.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace etch::cli {

std::string ProcessorName() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

uint64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  in >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// smaps has one line a mapping, "from-to rights offset device inode path", and below it lines
// "Name: N kB". Mappings are told by inode: the path in smaps is the resolved one.
uint64_t MappedShareBytes(const std::filesystem::path& file) {
  struct stat status = {};
  if (::stat(file.c_str(), &status) != 0) {
    return 0;
  }
  std::ifstream in("/proc/self/smaps");
  std::string line;
  bool inside = false;
  uint64_t bytes = 0;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (!first.ends_with(':')) {
      std::string rights;
      std::string offset;
      std::string device;
      uint64_t inode = 0;
      inside = words >> rights >> offset >> device >> inode && inode == status.st_ino;
    } else if (uint64_t kilobytes = 0; inside && first == "Pss:" && words >> kilobytes) {
      bytes += kilobytes * 1024;
    }
  }
  return bytes;
}

}  // namespace etch::cli
