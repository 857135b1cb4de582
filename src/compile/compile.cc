// The compiler. Every tensor is read twice: once to estimate what three and six bits would cost it,
// once to quantise it when the formats of all are chosen. Reading costs little beside the search
// for scales, and keeping the first reading would cost the memory of the model.

#include "compile/compile.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include "compile/finish.h"
#include "compile/work.h"
#include "formats/data_type.h"
#include "formats/dequantize.h"
#include "image/writer.h"
#include "quantize/calibration.h"
#include "quantize/choose_formats.h"
#include "quantize/quantize.h"

namespace etch::compile {
namespace {

using model::Role;
using numerics::ActivationFormat;
using numerics::WeightFormat;
using quantize::Calibration;

constexpr int64_t kSampleRows = 64;
// Weights quantised between two reports of progress; whole tiles.
constexpr int64_t kPartWeights = int64_t{1} << 24;

// What the choosing steps hand to the writing step.
struct Plan {
  std::vector<WeightFormat> formats;     // of MatricesOf()
  std::vector<ActivationFormat> inputs;  // of the sites; see ImageHeader
};

// The importance of a matrix's input channels. A tied embedding is judged as the head that it is;
// an embedding that is nothing else has no input.
std::span<const float> ImportanceOf(const model::Config& config, const Calibration* calibration,
                                    const MatrixId& id) {
  if (calibration == nullptr || (id.role == Role::kTokenEmbedding && !config.tied_embeddings)) {
    return {};
  }
  if (id.role == Role::kTokenEmbedding || id.role == Role::kHead) {
    return calibration->head.importance;
  }
  const int64_t site = static_cast<int64_t>(model::SiteOf(id.role));
  return calibration->sites[static_cast<size_t>(id.layer * model::kLayerSites + site)].importance;
}

Result<std::vector<quantize::MatrixEstimate>> EstimateAll(const ingest::SourceModel& source,
                                                          const Calibration* calibration,
                                                          const ProgressFn& progress) {
  const model::Config& config = source.config();
  std::vector<quantize::MatrixEstimate> estimates;
  WeightProgress done(progress, config);
  std::vector<float> weights;
  for (const MatrixId& id : MatricesOf(config)) {
    ETCH_TRY(done.Report("measuring " + model::TensorName(id.role, id.layer)));
    ETCH_TRY(ReadInto(source, id, weights));
    const model::Shape shape = model::TensorShape(config, id.role);
    const auto estimate = [&](WeightFormat format) {
      return quantize::EstimateError(weights, shape, format, ImportanceOf(config, calibration, id),
                                     numerics::kDefaultLevels, kSampleRows);
    };
    estimates.push_back(
        {id.role, id.layer, shape, estimate(WeightFormat::kW3), estimate(WeightFormat::kW6)});
    done.Add(shape.size());
  }
  return estimates;
}

// Quantises one matrix in parts, so that a stop is heard within a fraction of a second.
Result<quantize::QuantizedMatrix> QuantizeParts(std::span<const float> weights, model::Shape shape,
                                                WeightFormat format,
                                                std::span<const float> importance,
                                                std::string_view phase, ThreadPool& pool,
                                                WeightProgress& done) {
  const int64_t part_rows =
      std::max<int64_t>(kPartWeights / shape.cols / numerics::kTileRows, 1) * numerics::kTileRows;
  quantize::QuantizedMatrix whole;
  whole.data.reserve(static_cast<size_t>(numerics::WeightBytes(format, shape.rows, shape.cols)));
  for (int64_t row = 0; row < shape.rows; row += part_rows) {
    ETCH_TRY(done.Report(phase));
    const model::Shape part_shape = {std::min(part_rows, shape.rows - row), shape.cols};
    const quantize::QuantizedMatrix part =
        quantize::QuantizeMatrix(weights.subspan(static_cast<size_t>(row * shape.cols),
                                                 static_cast<size_t>(part_shape.size())),
                                 part_shape, format, importance, numerics::kDefaultLevels, pool);
    whole.data.insert(whole.data.end(), part.data.begin(), part.data.end());
    whole.error += part.error;
    whole.energy += part.energy;
    done.Add(part_shape.size());
  }
  return whole;
}

Status WriteQuantized(const ingest::SourceModel& source, const Plan& plan,
                      const Calibration* calibration, ThreadPool& pool, const ProgressFn& progress,
                      image::ImageWriter& writer, CompileReport& report) {
  const model::Config& config = source.config();
  const std::vector<MatrixId> matrices = MatricesOf(config);
  WeightProgress done(progress, config);
  std::vector<float> weights;
  for (size_t index = 0; index < matrices.size(); ++index) {
    const MatrixId& id = matrices[index];
    const WeightFormat format = plan.formats[index];
    const std::string name = model::TensorName(id.role, id.layer);
    const model::Shape shape = model::TensorShape(config, id.role);
    ETCH_TRY(ReadInto(source, id, weights));
    ETCH_ASSIGN_OR_RETURN(
        const quantize::QuantizedMatrix packed,
        QuantizeParts(weights, shape, format, ImportanceOf(config, calibration, id),
                      "quantizing " + name, pool, done));
    ETCH_TRY(writer.AddMatrix(id.role, id.layer, format, packed.data));

    TensorReport tensor{name, format, "", shape.rows, shape.cols};
    if (id.role != Role::kTokenEmbedding || config.tied_embeddings) {
      const size_t site = id.role == Role::kTokenEmbedding || id.role == Role::kHead
                              ? plan.inputs.size() - 1
                              : static_cast<size_t>(id.layer * model::kLayerSites +
                                                    static_cast<int64_t>(model::SiteOf(id.role)));
      tensor.input = plan.inputs[site] == ActivationFormat::kA16 ? "A16" : "A8";
    }
    tensor.error = quantize::RelativeError(packed.error, packed.energy);
    report.tensors.push_back(std::move(tensor));
  }
  return {};
}

// The narrowest of BF16, F16 and F32 that holds every value exactly.
Result<WeightFormat> EncodeExactly(std::span<const float> values, std::vector<std::byte>& out) {
  static constexpr std::array<std::pair<WeightFormat, formats::DataType>, 2> kNarrow = {
      {{WeightFormat::kBF16, formats::DataType::kBf16},
       {WeightFormat::kF16, formats::DataType::kF16}}};
  for (const auto& [format, type] : kNarrow) {
    const bool is_exact = std::all_of(values.begin(), values.end(), [&](float value) {
      const float rounded = format == WeightFormat::kBF16
                                ? formats::Bfloat16ToFloat(formats::FloatToBfloat16(value))
                                : formats::HalfToFloat(formats::FloatToHalf(value));
      return rounded == value;
    });
    if (is_exact) {
      out.resize(values.size() * 2);
      ETCH_TRY(formats::EncodeFloats(type, values, out));
      return format;
    }
  }
  out.resize(values.size() * 4);
  ETCH_TRY(formats::EncodeFloats(formats::DataType::kF32, values, out));
  return WeightFormat::kF32;
}

Status WriteSource(const ingest::SourceModel& source, const ProgressFn& progress,
                   image::ImageWriter& writer, CompileReport& report) {
  const model::Config& config = source.config();
  WeightProgress done(progress, config);
  std::vector<float> weights;
  std::vector<std::byte> data;
  for (const MatrixId& id : MatricesOf(config)) {
    const std::string name = model::TensorName(id.role, id.layer);
    ETCH_TRY(done.Report("copying " + name));
    ETCH_TRY(ReadInto(source, id, weights));
    ETCH_ASSIGN_OR_RETURN(const WeightFormat format, EncodeExactly(weights, data));
    ETCH_TRY(writer.AddMatrix(id.role, id.layer, format, data));
    const model::Shape shape = model::TensorShape(config, id.role);
    report.tensors.push_back({name, format, "", shape.rows, shape.cols});
    done.Add(shape.size());
  }
  return {};
}

// Bits and shares, from formats and shapes.
void FinishReport(const model::Config& config, CompileReport& report) {
  double bytes = 0.0;
  double weights = 0.0;
  for (TensorReport& tensor : report.tensors) {
    const auto size =
        static_cast<double>(numerics::WeightBytes(tensor.format, tensor.rows, tensor.cols));
    const double count = static_cast<double>(tensor.rows) * static_cast<double>(tensor.cols);
    tensor.bits = 8.0 * size / count;
    tensor.share = size;
    bytes += size;
    weights += count;
  }
  for (TensorReport& tensor : report.tensors) {
    tensor.share /= bytes;
  }
  report.bits_per_weight = 8.0 * bytes / weights;
  report.parameters = model::ParameterCount(config);
}

}  // namespace

Status CheckOptions(const CompileOptions& options) {
  if (options.recipe == Recipe::kFloat4 && options.bits != 0.0) {
    return Fail(ErrorCode::kInvalidArgument,
                "the recipe w4f has one format; bits a weight are for the default recipe");
  }
  if (!(options.bits == 0.0 || (options.bits >= quantize::kW3Bits && options.bits <= 8.0))) {
    return Fail(ErrorCode::kInvalidArgument,
                "{} bits a weight: the formats reach from {:.2f} to {:.2f}", options.bits,
                quantize::kW3Bits, quantize::kW6Bits);
  }
  return {};
}

Result<CompileReport> FinishCompile(const ingest::SourceModel& source,
                                    const CompileOptions& options, double bits,
                                    const CalibrationText* text, const std::filesystem::path& out,
                                    std::chrono::steady_clock::time_point start,
                                    image::ImageWriter& writer, CompileReport report) {
  FinishReport(source.config(), report);
  ETCH_TRY(writer.Finish(ProvenanceJson(source, options, bits, text), ReportJson(report)));
  std::error_code ignored;
  report.image_bytes = std::filesystem::file_size(out, ignored);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::string_view RecipeName(Recipe recipe) {
  switch (recipe) {
    case Recipe::kDefault:
      return "default";
    case Recipe::kFloat4:
      return "w4f";
    case Recipe::kSource:
      return "source";
  }
  return "?";
}

Result<CompileReport> Compile(ingest::SourceModel& source, const std::filesystem::path& out,
                              const CompileOptions& options, const ProgressFn& progress) {
  const auto start = std::chrono::steady_clock::now();
  const model::Config& config = source.config();
  ETCH_TRY(CheckOptions(options));
  ETCH_TRY(model::Validate(config));
  const WeightProgress nothing(progress, config);
  ETCH_TRY(nothing.Report("hashing the source"));
  ETCH_TRY(source.HashFiles());
  ThreadPool pool(options.threads);
  const bool is_source = options.recipe == Recipe::kSource;

  // Calibrate.
  std::optional<CalibrationText> text;
  std::optional<Calibration> calibration;
  if (!options.calibration_text.empty() && !is_source) {
    ETCH_ASSIGN_OR_RETURN(
        text, ReadCalibrationText(options.calibration_text, source, options.calibration_tokens));
    const auto read = [&](Role role, int64_t layer, std::span<float> values) {
      return source.Read(role, layer, values);
    };
    ETCH_ASSIGN_OR_RETURN(calibration,
                          quantize::Calibrate(config, read, text->sequences, pool, progress));
  }
  const Calibration* known = calibration ? &*calibration : nullptr;

  // Choose.
  Plan plan;
  double bits = 0.0;
  if (is_source) {
    const auto sites = static_cast<size_t>(config.n_layers * model::kLayerSites + 1);
    plan.inputs.assign(sites, ActivationFormat::kA8);
  } else {
    ETCH_ASSIGN_OR_RETURN(const auto estimates, EstimateAll(source, known, progress));
    if (options.recipe == Recipe::kFloat4) {
      bits = quantize::kW4FBits;
      plan.formats.assign(estimates.size(), WeightFormat::kW4F);
    } else {
      bits =
          options.bits > 0.0 ? options.bits : quantize::DefaultBits(model::ParameterCount(config));
      plan.formats = quantize::ChooseWeightFormats(config, estimates, bits);
    }
    plan.inputs = quantize::ChooseInputFormats(config, known, estimates);
  }

  // Write.
  image::ImageHeader header;
  header.name = options.name.empty() ? source.name() : options.name;
  header.config = config;
  header.vocabulary = source.vocabulary();
  header.input_formats = plan.inputs;
  header.is_source = is_source;
  ETCH_ASSIGN_OR_RETURN(image::ImageWriter writer, image::ImageWriter::Create(out, header));
  std::vector<float> gains;
  for (const MatrixId& id : NormsOf(config)) {
    ETCH_TRY(ReadInto(source, id, gains));
    ETCH_TRY(writer.AddNorm(id.role, id.layer, gains));
  }
  CompileReport report;
  ETCH_TRY(is_source ? WriteSource(source, progress, writer, report)
                     : WriteQuantized(source, plan, known, pool, progress, writer, report));
  return FinishCompile(source, options, bits, text ? &*text : nullptr, out, start, writer,
                       std::move(report));
}

}  // namespace etch::compile
