#include "adapter/adapter.h"

// Which reader a path belongs to is decided by what lies there: a directory is PEFT, a file that
// begins with "GGUF" is that, whatever its name. A pickle or a file out of a PEFT directory is
// recognised only to say what to do instead.

#include <array>
#include <charconv>
#include <cmath>
#include <fstream>

#include "adapter/pairs.h"
#include "base/file.h"
#include "base/thread_pool.h"

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

Result<internal::OpenAdapter> OpenFile(const fs::path& path, const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const std::string_view text = AsText(file.bytes());
  if (text.starts_with("GGUF")) {
    ETCH_ASSIGN_OR_RETURN(internal::AdapterPlan plan,
                          internal::PlanGgufLora(file.bytes(), path.string(), config));
    return internal::OpenAdapter{std::move(file), std::move(plan)};
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

Result<internal::OpenAdapter> Open(const fs::path& path, const model::Config& config) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  ETCH_ASSIGN_OR_RETURN(internal::OpenAdapter adapter,
                        is_folder ? internal::OpenPeft(path, config) : OpenFile(path, config));
  adapter.plan.head.name = is_folder ? FolderName(path) : path.stem().string();
  return adapter;
}

}  // namespace

Result<Adapter> ReadAdapter(const fs::path& path, const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const internal::OpenAdapter open, Open(path, config));
  Result<Adapter> adapter = internal::Decode(open.plan, config);
  if (!adapter) {
    return Prefix(path.string(), std::move(adapter).error());
  }
  return adapter;
}

Result<std::shared_ptr<const engine::AdapterWeights>> LoadAdapter(const fs::path& path,
                                                                  const model::Config& config,
                                                                  const LoadOptions& options) {
  ETCH_ASSIGN_OR_RETURN(const internal::OpenAdapter open, Open(path, config));
  const std::vector<internal::PairPlan>& plans = open.plan.pairs;
  std::vector<internal::Lowering::Place> places;
  for (const internal::PairPlan& pair : plans) {
    places.push_back({pair.a.role, pair.a.layer, pair.a.rank()});
  }
  internal::Lowering lowering(open.plan.head.name, places, config);
  std::vector<Status> done(plans.size());
  ThreadPool pool(options.threads);
  pool.ParallelFor(std::ssize(plans), 1, [&](int64_t begin, int64_t end) {
    for (auto index = static_cast<size_t>(begin); index < static_cast<size_t>(end); ++index) {
      const auto pair = internal::DecodePair(open.plan, plans[index], config);
      done[index] =
          pair ? lowering.Lower(index, *pair, options.keep_floats) : tl::unexpected(pair.error());
    }
  });
  for (Status& status : done) {
    if (!status) {
      return Prefix(path.string(), std::move(status).error());
    }
  }
  return lowering.Finish();
}

Result<AdapterSummary> InspectAdapter(const fs::path& path, const model::Config& config) {
  ETCH_ASSIGN_OR_RETURN(const internal::OpenAdapter open, Open(path, config));
  AdapterSummary summary;
  summary.format = open.plan.head.format;
  for (const internal::PairPlan& pair : open.plan.pairs) {
    const int64_t rank = pair.a.rank();
    constexpr auto kFormat = numerics::WeightFormat::kW8;
    summary.rank = std::max(summary.rank, rank);
    summary.size_bytes += numerics::WeightBytes(kFormat, rank, pair.a.cols) +
                          numerics::WeightBytes(kFormat, pair.b.rows, rank);
  }
  return summary;
}

Result<int64_t> GlanceAtAdapter(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return internal::GlanceAtPeft(path);
  }
  std::ifstream file(path, std::ios::binary);
  std::array<char, 4> magic{};
  file.read(magic.data(), magic.size());
  if (!file || std::string_view(magic.data(), magic.size()) != "GGUF") {
    return Fail(ErrorCode::kMalformed, "{}: is neither a PEFT directory nor a GGUF adapter",
                path.string());
  }
  return 0;
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
