#include "compile/synthetic.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "image/image.h"
#include "support/data.h"

namespace etch::compile {
namespace {

using model::Role;
using numerics::WeightFormat;

model::Config Shape() {
  model::Config config;
  config.dim = 96;
  config.ffn_dim = 200;
  config.n_layers = 2;
  config.n_heads = 6;
  config.n_kv_heads = 3;
  config.head_dim = 16;
  config.vocab_size = 301;
  config.context = 64;
  return config;
}

CompileReport Make(const std::filesystem::path& path, uint64_t seed, int threads, double bits) {
  const auto source = ingest::MakeSyntheticModel(Shape(), seed, "shape");
  CompileOptions options;
  options.threads = threads;
  options.bits = bits;
  const auto made = CompileSynthetic(*source, seed, path, options, {});
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return *made;
}

std::string Bytes(uint64_t seed, int threads) {
  const auto path = test::TemporaryFolder() / "synthetic.etch";
  Make(path, seed, threads, 0.0);
  return ReadSmallFile(path).value();
}

TEST(Synthetic, SameSeedSameBytesForAnyThreads) {
  const std::string one = Bytes(5, 1);
  EXPECT_EQ(Bytes(5, 2), one);
  EXPECT_NE(Bytes(6, 1), one);
}

TEST(Synthetic, WeightsHaveUnitGainAndTheBudgetHolds) {
  const auto path = test::TemporaryFolder() / "synthetic.etch";
  const CompileReport report = Make(path, 1, 2, 4.0);
  const auto image = image::Image::Open(path);
  ASSERT_TRUE(image) << (image ? "" : image.error().message);
  int six = 0;
  double bits = 0.0;
  double weights = 0.0;
  for (const image::TensorInfo& tensor : image->tensors()) {
    six += tensor.format == WeightFormat::kW6 ? 1 : 0;
    const auto count = static_cast<double>(tensor.shape.size());
    bits += count * (tensor.format == WeightFormat::kW6 ? 6.1875 : 3.1875);
    weights += count;
    const numerics::WeightView view = image->Weights(tensor.role, tensor.layer);
    std::vector<float> row(static_cast<size_t>(view.cols));
    double energy = 0.0;
    for (int64_t index = 0; index < view.rows; ++index) {
      numerics::DequantizeRow(view, index, row);
      for (const float value : row) {
        energy += double{value} * double{value};
      }
    }
    // Mean square of count / cols · 1: groups of 32 share a scale, so the spread is that of
    // rows · groups draws.
    const double mean = energy * static_cast<double>(view.cols) / count;
    const double draws = count / 32.0;
    EXPECT_NEAR(mean, 1.0, 6.0 * 1.2 / std::sqrt(draws))
        << model::TensorName(tensor.role, tensor.layer);
  }
  EXPECT_GT(six, 0);
  EXPECT_LE(bits / weights, 4.0);
  EXPECT_EQ(report.tensors.size(), image->tensors().size());
}

TEST(Synthetic, StopsWhenAsked) {
  const auto source = ingest::MakeSyntheticModel(Shape(), 1, "shape");
  const auto path = test::TemporaryFolder() / "stopped.etch";
  const auto made =
      CompileSynthetic(*source, 1, path, {}, [](const ProgressUpdate&) { return false; });
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace etch::compile
