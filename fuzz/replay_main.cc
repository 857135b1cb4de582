// Replays a fuzz target over files or folders given on the command line, so that the corpus is an
// ordinary test with any compiler. With ETCH_FUZZ the same target is linked against libFuzzer
// instead.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

int64_t ReplayFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  std::vector<uint8_t> data(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(data.data(), data.size());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t replayed = 0;
  for (int arg = 1; arg < argc; ++arg) {
    const std::filesystem::path path = argv[arg];
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        if (entry.is_regular_file()) {
          replayed += ReplayFile(entry.path());
        }
      }
    } else if (std::filesystem::exists(path)) {
      replayed += ReplayFile(path);
    }
  }
  std::printf("replayed %lld inputs\n", static_cast<long long>(replayed));
  return replayed > 0 ? 0 : 1;
}
