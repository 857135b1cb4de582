#include "export/gguf_export.h"

// Top to bottom: metadata, the plan of tensors, their rows in chunks, and the check.
//
// GGUF's names and its row order of wq and wk are Etch's own (model/tensors.h), so no row moves.
// Llama 3's RoPE scaling goes into a tensor of divisors, rope_freqs.weight, one a rotation pair, as
// llama.cpp's converter writes it; linear scaling into two keys. The base is the dequantised 3-bit
// one, never the original: an adapter learnt what to add to those weights and no others.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

#include "export/encode.h"
#include "export/gguf_tokenizer.h"
#include "export/merged_weights.h"
#include "formats/dequantize.h"
#include "formats/gguf.h"
#include "ingest/gguf_model.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;
using formats::GgufTensorPlan;
using model::Role;
using model::RopeScaling;

constexpr size_t kChunkBytes = size_t{4} << 20;
constexpr std::string_view kRopeFactors = "rope_freqs.weight";

// llama.cpp's enum llama_ftype: what most tensors are.
uint32_t FileType(DataType type) {
  return type == DataType::kF32    ? 0U
         : type == DataType::kF16  ? 1U
         : type == DataType::kQ8_0 ? 7U
                                   : 32U;
}

std::string NameOf(const image::Image& image, const ExportOptions& options) {
  if (!options.name.empty()) {
    return options.name;
  }
  std::string name = image.name();
  for (const engine::ActiveAdapter& active : options.adapters) {
    name += "+" + active.weights->name;
  }
  return name;
}

Status AddConfig(const model::Config& config, formats::GgufMetadata& metadata) {
  using namespace formats;
  const auto integer = [&metadata](const std::string& key, int64_t value) {
    metadata.Add("llama." + key, GgufUint32(static_cast<uint32_t>(value)));
  };
  const auto number = [&metadata](const std::string& key, double value) {
    metadata.Add("llama." + key, GgufFloat32(static_cast<float>(value)));
  };
  integer("block_count", config.n_layers);
  integer("context_length", config.context);
  integer("embedding_length", config.dim);
  integer("feed_forward_length", config.ffn_dim);
  integer("attention.head_count", config.n_heads);
  integer("attention.head_count_kv", config.n_kv_heads);
  integer("attention.key_length", config.head_dim);
  integer("attention.value_length", config.head_dim);
  integer("rope.dimension_count", config.head_dim);
  integer("vocab_size", config.vocab_size);
  number("attention.layer_norm_rms_epsilon", config.norm_eps);
  number("rope.freq_base", config.rope_theta);
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kLinear) {
    metadata.Add("llama.rope.scaling.type", GgufString("linear"));
    number("rope.scaling.factor", scaling.factor);
  }
  const RopeScaling published = {RopeScaling::Kind::kLlama3, scaling.factor};
  if (scaling.kind == RopeScaling::Kind::kLlama3 && scaling != published) {
    return Fail(ErrorCode::kUnsupported,
                "RoPE scaling with low factor {}, high factor {} and original context {}: a GGUF "
                "file has no place for others than 1, 4 and 8192",
                scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_context);
  }
  return {};
}

Result<formats::GgufMetadata> Metadata(const image::Image& image, const ExportOptions& options,
                                       std::vector<std::string>& notes) {
  using namespace formats;
  GgufMetadata metadata;
  metadata.Add("general.architecture", GgufString("llama"));
  metadata.Add("general.type", GgufString("model"));
  metadata.Add("general.name", GgufString(NameOf(image, options)));
  metadata.Add("general.description",
               GgufString(options.adapters.empty()
                              ? "the dequantised base of an Etch image"
                              : "the dequantised base of an Etch image with adapters merged in"));
  metadata.Add("general.file_type", GgufUint32(FileType(options.type)));
  if (options.type == DataType::kQ8_0) {
    metadata.Add("general.quantization_version", GgufUint32(2));
  }
  metadata.Add("etch.base.name", GgufString(image.name()));
  metadata.Add("etch.base.fingerprint", GgufString(fmt::format("{:016x}", image.fingerprint())));
  ETCH_TRY(AddConfig(image.config(), metadata));
  ETCH_TRY(AddTokenizer(image.vocabulary(), image.config().vocab_size, metadata, notes));
  return metadata;
}

// What RoPE's frequencies are divided by.
std::vector<float> RopeFactors(const model::Config& config) {
  if (config.rope_scaling.kind != RopeScaling::Kind::kLlama3) {
    return {};
  }
  model::Config plain = config;
  plain.rope_scaling = {};
  std::vector<float> factors;
  for (int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    factors.push_back(
        static_cast<float>(model::RopeFrequency(plain, pair) / model::RopeFrequency(config, pair)));
  }
  return factors;
}

// Writes tensors row by row, in chunks that all threads encode.
class TensorWriter {
 public:
  TensorWriter(const MergedWeights& weights, DataType type, ThreadPool& pool,
               formats::GgufWriter& file, const ProgressFn& progress)
      : weights_(weights), type_(type), pool_(pool), file_(file), progress_(progress) {
    total_ = model::ParameterCount(weights.image().config());
  }

  Status Write(const TensorId& id, const GgufTensorPlan& plan);

 private:
  Status EncodeOne(const TensorId& id, DataType type, int64_t row, std::span<std::byte> out) const;

  const MergedWeights& weights_;
  DataType type_;
  ThreadPool& pool_;
  formats::GgufWriter& file_;
  const ProgressFn& progress_;
  int64_t done_ = 0;
  int64_t total_ = 0;
};

Status TensorWriter::EncodeOne(const TensorId& id, DataType type, int64_t row,
                               std::span<std::byte> out) const {
  const image::Image& image = weights_.image();
  std::vector<float> values(static_cast<size_t>(model::TensorShape(image.config(), id.role).cols));
  weights_.ReadRow(id.role, id.layer, row, values);
  if (type == DataType::kQ8_0 && !weights_.IsAdapted(id.role, id.layer)) {
    const numerics::WeightView view = image.Weights(id.role, id.layer);
    if (numerics::IsTiled(view.format)) {
      return EncodeTiledRow(view, row, values, out);
    }
  }
  return EncodeRow(type, values, out);
}

Status TensorWriter::Write(const TensorId& id, const GgufTensorPlan& plan) {
  const model::Shape shape = model::TensorShape(weights_.image().config(), id.role);
  ETCH_ASSIGN_OR_RETURN(const uint64_t row_bytes,
                        formats::DataSize(plan.type, static_cast<uint64_t>(shape.cols), plan.name));
  const int64_t chunk_rows = std::max<int64_t>(static_cast<int64_t>(kChunkBytes / row_bytes), 1);
  std::vector<std::byte> chunk;
  for (int64_t first = 0; first < shape.rows; first += chunk_rows) {
    if (progress_ && !progress_({"writing " + plan.name, done_, total_, "weights"})) {
      return Fail(ErrorCode::kCancelled, "interrupted while writing {}", plan.name);
    }
    const int64_t rows = std::min(chunk_rows, shape.rows - first);
    chunk.resize(static_cast<size_t>(rows) * row_bytes);
    std::mutex mutex;
    Status status;  // of the first row that failed
    int64_t failed_row = rows;
    pool_.ParallelFor(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        Status encoded =
            EncodeOne(id, plan.type, first + row,
                      std::span(chunk).subspan(static_cast<size_t>(row) * row_bytes, row_bytes));
        const std::scoped_lock lock(mutex);
        if (!encoded && row < failed_row) {
          failed_row = row;
          status = std::move(encoded);
        }
      }
    });
    if (!status) {
      return Prefix(fmt::format("tensor \"{}\", row {}", plan.name, first + failed_row),
                    std::move(status).error());
    }
    ETCH_TRY(file_.Append(chunk));
    done_ += rows * shape.cols;
  }
  return {};
}

// The tensors of a file, as planned; the factors come first where there are any.
std::vector<GgufTensorPlan> PlanTensors(const model::Config& config, DataType type,
                                        const std::vector<float>& factors) {
  std::vector<GgufTensorPlan> plans;
  if (!factors.empty()) {
    plans.push_back({std::string(kRopeFactors), DataType::kF32, {std::ssize(factors)}});
  }
  for (const TensorId& id : TensorsOf(config)) {
    const model::Shape shape = model::TensorShape(config, id.role);
    const std::string name = model::TensorName(id.role, id.layer) + ".weight";
    if (model::IsNorm(id.role)) {
      plans.push_back({name, DataType::kF32, {shape.cols}});
    } else {
      plans.push_back({name, TypeForRows(type, shape.cols), {shape.cols, shape.rows}});
    }
  }
  return plans;
}

Status WriteTensors(const MergedWeights& weights, const ExportOptions& options,
                    const formats::GgufMetadata& metadata, const fs::path& file,
                    const ProgressFn& progress) {
  const model::Config& config = weights.image().config();
  const std::vector<float> factors = RopeFactors(config);
  const std::vector<GgufTensorPlan> plans = PlanTensors(config, options.type, factors);
  ETCH_ASSIGN_OR_RETURN(formats::GgufWriter writer,
                        formats::GgufWriter::Create(file, metadata, plans));
  ThreadPool pool(options.check.threads);
  TensorWriter tensors(weights, options.type, pool, writer, progress);
  size_t index = 0;
  if (!factors.empty()) {
    ETCH_TRY(writer.Append(std::as_bytes(std::span(factors))));
    ++index;
  }
  for (const TensorId& id : TensorsOf(config)) {
    ETCH_TRY(tensors.Write(id, plans[index]));
    ++index;
  }
  return writer.Finish();
}

Status CheckArguments(const image::Image& image, const fs::path& path,
                      const ExportOptions& options) {
  static constexpr std::array kTypes = {DataType::kF32, DataType::kF16, DataType::kBf16,
                                        DataType::kQ8_0};
  if (std::ranges::find(kTypes, options.type) == kTypes.end()) {
    return Fail(ErrorCode::kInvalidArgument, "{} is no type of an export",
                formats::Traits(options.type).name);
  }
  std::error_code error;
  if (fs::is_directory(path, error) ||
      (!image.path().empty() && fs::equivalent(path, image.path(), error))) {
    return Fail(ErrorCode::kInvalidArgument, "{}: is {}; choose another name", path.string(),
                fs::is_directory(path, error) ? "a directory" : "the image itself");
  }
  return {};
}

// Adds what a reader of the file will find different from the image.
void AddTypeNotes(const image::Image& image, const ExportOptions& options,
                  std::vector<std::string>& notes) {
  const auto falls_back = [&](const TensorId& id) {
    return !model::IsNorm(id.role) &&
           TypeForRows(options.type, model::TensorShape(image.config(), id.role).cols) !=
               options.type;
  };
  const std::vector<TensorId> tensors = TensorsOf(image.config());
  if (const auto count = std::ranges::count_if(tensors, falls_back); count > 0) {
    notes.push_back(fmt::format(
        "{} matrices are F16: their rows are no whole number of Q8_0's blocks of 32", count));
  }
}

}  // namespace

Status internal::WriteChecked(const fs::path& path, const FileStep& write, const FileStep& check) {
  static std::atomic<uint64_t> counter = 0;
  fs::path unchecked = path;
  unchecked += fmt::format(".unchecked-{}-{}", ::getpid(), counter.fetch_add(1));
  Status status = write(unchecked);
  if (status) {
    status = check(unchecked);
  }
  std::error_code error;
  if (status) {
    fs::rename(unchecked, path, error);
    if (error) {
      status = Fail(ErrorCode::kIo, "{}: cannot create: {}", path.string(), error.message());
    }
  }
  if (!status) {
    fs::remove(unchecked, error);
  }
  return status;
}

Result<ExportReport> ExportGguf(const image::Image& image, const fs::path& path,
                                const ExportOptions& options, const ProgressFn& progress) {
  const auto start = std::chrono::steady_clock::now();
  ETCH_TRY(CheckArguments(image, path, options));
  ExportReport report;
  ETCH_ASSIGN_OR_RETURN(const formats::GgufMetadata metadata,
                        Metadata(image, options, report.notes));
  AddTypeNotes(image, options, report.notes);
  ETCH_ASSIGN_OR_RETURN(const MergedWeights weights,
                        MergedWeights::Create(image, options.adapters));
  const auto write = [&](const fs::path& file) {
    return WriteTensors(weights, options, metadata, file, progress);
  };
  const auto check = [&](const fs::path& file) -> Status {
    ETCH_ASSIGN_OR_RETURN(const auto found, ingest::OpenGgufModel(file));
    ETCH_ASSIGN_OR_RETURN(report.parity, CheckModel(weights, options.adapters, options.type, *found,
                                                    options.check, progress));
    std::ranges::move(TokenizerDifferences(image.vocabulary(), found->vocabulary()),
                      std::back_inserter(report.notes));
    report.tensors = std::ssize(found->Tensors());
    report.bytes = found->files().front().size_bytes;
    return {};
  };
  if (Status status = internal::WriteChecked(path, write, check); !status) {
    return Prefix(path.string(), std::move(status).error());
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace etch::exporting
