// Any bytes are valid codes and group parameters of W3 and W6, so a tile is filled with random
// bytes and only its row scales, and what the layout leaves empty, are then set
// (docs/numeric-contract.md §5). A tile's generator is keyed by seed, matrix and tile, so tiles can
// be made in any order by any thread.

#include "compile/synthetic.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "compile/finish.h"
#include "compile/work.h"
#include "image/writer.h"
#include "quantize/choose_formats.h"

namespace etch::compile {
namespace {

using model::Role;
using numerics::ActivationFormat;
using numerics::WeightFormat;

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
class Generator {
 public:
  explicit Generator(uint64_t key) : state_(key) {}

  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t value = state_;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
  }

 private:
  uint64_t state_;
};

// Root mean square of level · group scale over uniform codes and parameters.
double UnitWeight(WeightFormat format, const numerics::LevelTables& tables) {
  double levels = 0.0;
  double scales = 0.0;
  if (format == WeightFormat::kW3) {
    for (const auto& table : tables.levels) {
      for (const int8_t level : table) {
        levels += level * level / 16.0;
      }
    }
    for (int scale = -16; scale < 16; ++scale) {
      scales += scale * scale / 32.0;
    }
  } else {
    for (int level = -32; level < 32; ++level) {
      levels += level * level / 64.0;
    }
    for (int scale = 0; scale < 64; ++scale) {
      scales += scale * scale / 64.0;
    }
  }
  return std::sqrt(levels * scales);
}

void FillTile(uint64_t key, WeightFormat format, int64_t rows, int64_t cols,
              numerics::Scale16 scale, std::span<std::byte> tile) {
  Generator random(key);
  for (size_t at = 0; at < tile.size(); at += sizeof(uint64_t)) {  // tiles are multiples of 64
    const uint64_t word = random.Next();
    std::memcpy(tile.data() + at, &word, sizeof word);
  }
  std::memset(tile.data(), 0, numerics::kTileHeaderBytes);
  for (int64_t row = 0; row < std::min(rows, numerics::kTileRows); ++row) {
    numerics::PackRowScale(tile, row, scale);
  }
  const int64_t used = numerics::GroupCount(cols) * numerics::GroupParamBytes(format);
  std::memset(tile.data() + numerics::kTileHeaderBytes + used, 0,
              static_cast<size_t>(numerics::ParamBytes(format, cols) - used));
}

std::vector<WeightFormat> ChooseFormats(const model::Config& config, double bits) {
  std::vector<quantize::MatrixEstimate> alike;
  for (const MatrixId& id : MatricesOf(config)) {
    alike.push_back({id.role, id.layer, model::TensorShape(config, id.role), 1.0, 0.0});
  }
  return quantize::ChooseWeightFormats(config, alike, bits);
}

}  // namespace

Result<CompileReport> CompileSynthetic(const ingest::SourceModel& source, uint64_t seed,
                                       const std::filesystem::path& out,
                                       const CompileOptions& options, const ProgressFn& progress) {
  const auto start = std::chrono::steady_clock::now();
  const model::Config& config = source.config();
  ETCH_TRY(CheckOptions(options));
  ETCH_TRY(model::Validate(config));
  image::ImageHeader header;
  header.name = options.name.empty() ? source.name() : options.name;
  header.config = config;
  header.vocabulary = source.vocabulary();
  header.input_formats.assign(static_cast<size_t>(config.n_layers * model::kLayerSites + 1),
                              ActivationFormat::kA8);
  ETCH_ASSIGN_OR_RETURN(image::ImageWriter writer, image::ImageWriter::Create(out, header));
  std::vector<float> gains;
  for (const MatrixId& id : NormsOf(config)) {
    ETCH_TRY(ReadInto(source, id, gains));
    ETCH_TRY(writer.AddNorm(id.role, id.layer, gains));
  }

  ThreadPool pool(options.threads);
  CompileReport report;
  WeightProgress done(progress, config);
  std::vector<std::byte> data;
  const std::vector<MatrixId> matrices = MatricesOf(config);
  const double bits =
      options.bits > 0.0 ? options.bits : quantize::DefaultBits(model::ParameterCount(config));
  const std::vector<WeightFormat> formats = ChooseFormats(config, bits);
  for (size_t index = 0; index < matrices.size(); ++index) {
    const MatrixId& id = matrices[index];
    const WeightFormat format = formats[index];
    const model::Shape shape = model::TensorShape(config, id.role);
    const std::string name = model::TensorName(id.role, id.layer);
    ETCH_TRY(done.Report("drawing " + name));
    const numerics::Scale16 scale = numerics::ToScale16(
        1.0 / (UnitWeight(format, header.levels) * std::sqrt(static_cast<double>(shape.cols))));
    const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(format, shape.cols));
    data.resize(static_cast<size_t>(numerics::WeightBytes(format, shape.rows, shape.cols)));
    const uint64_t matrix_key = Generator(Generator(seed).Next() + index).Next();
    pool.ParallelFor(numerics::TileCount(shape.rows), 8, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) {
        FillTile(Generator(matrix_key + static_cast<uint64_t>(tile)).Next(), format,
                 shape.rows - tile * numerics::kTileRows, shape.cols, scale,
                 std::span(data).subspan(static_cast<size_t>(tile) * tile_bytes, tile_bytes));
      }
    });
    ETCH_TRY(writer.AddMatrix(id.role, id.layer, format, data));
    TensorReport tensor{name, format, "A8", shape.rows, shape.cols};
    if (id.role == Role::kTokenEmbedding && !config.tied_embeddings) {
      tensor.input = "";
    }
    report.tensors.push_back(std::move(tensor));
    done.Add(shape.size());
  }
  return FinishCompile(source, options, bits, nullptr, out, start, writer, std::move(report));
}

}  // namespace etch::compile
