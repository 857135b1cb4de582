#include "adapter/adapter.h"

// Which reader a path belongs to is decided by what lies there: a directory is PEFT, a file that
// begins with "GGUF" is that, whatever its name. A pickle or a file out of a PEFT directory is
// recognised only to say what to do instead.

#include <charconv>
#include <cmath>

#include "adapter/pairs.h"
#include "base/file.h"

namespace etch::adapter {
namespace {

namespace fs = std::filesystem;

constexpr double kMaxWeight = 16.0;

// The last part of the path as the user wrote it, also of "folder/" and ".".
std::string FolderName(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(path, error);
  const fs::path& known = error ? path : whole;
  return (known.has_filename() ? known : known.parent_path()).filename().string();
}

Result<Adapter> ReadFile(const fs::path& path, const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text = AsText(file.bytes());
  if (text.starts_with("GGUF")) {
    return internal::ParseGgufLora(file.bytes(), path.string(), config);
  }
  const fs::path extension = path.extension();
  if (text.starts_with("PK") || extension == ".bin" || extension == ".pt" || extension == ".pth") {
    return Fail(ErrorCode::kUnsupported,
                "{}: is a pickle, which can run code when it is loaded; convert it to safetensors",
                path.string());
  }
  if (extension == ".safetensors") {
    return Fail(ErrorCode::kInvalidArgument,
                "{}: is a file of a PEFT adapter; name its directory, which also holds "
                "adapter_config.json",
                path.string());
  }
  return Fail(ErrorCode::kMalformed, "{}: is neither a PEFT directory nor a GGUF adapter",
              path.string());
}

}  // namespace

Result<Adapter> ReadAdapter(const fs::path& path, const model::Config& config) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  ETCH_ASSIGN_OR_RETURN(Adapter adapter,
                        is_folder ? internal::ReadPeft(path, config) : ReadFile(path, config));
  adapter.name = is_folder ? FolderName(path) : path.stem().string();
  return adapter;
}

Result<std::shared_ptr<const engine::AdapterWeights>> LoadAdapter(const fs::path& path,
                                                                  const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const Adapter adapter, ReadAdapter(path, config));
  return Lower(adapter, config);
}

Result<AdapterArgument> ParseAdapterArgument(std::string_view text) {
  AdapterArgument argument;
  const size_t equals = text.rfind('=');
  argument.path = text.substr(0, equals);
  if (argument.path.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "\"{}\" names no adapter; write PATH or PATH=WEIGHT",
                text);
  }
  if (equals == std::string_view::npos) {
    return argument;
  }
  const std::string_view weight = text.substr(equals + 1);
  const char* end = weight.data() + weight.size();
  const auto [stop, error] = std::from_chars(weight.data(), end, argument.weight);
  if (error != std::errc() || stop != end) {
    return Fail(ErrorCode::kInvalidArgument,
                "\"{}\": \"{}\" is not a number; write PATH or PATH=WEIGHT (a path with '=' in it "
                "needs a weight)",
                text, weight);
  }
  ETCH_TRY(ToWeightQ16(argument.weight));
  return argument;
}

Result<int32_t> ToWeightQ16(double weight) {
  if (!(std::abs(weight) <= kMaxWeight)) {
    return Fail(ErrorCode::kInvalidArgument, "adapter weight {} is outside {} to {}", weight,
                -kMaxWeight, kMaxWeight);
  }
  return static_cast<int32_t>(std::lround(weight * 65536.0));
}

}  // namespace etch::adapter
