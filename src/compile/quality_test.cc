// What three bits leave of a trained model, and whether the rule for 16-bit inputs finds the places
// that need them. stories260K has no outliers of its own; they are planted so that the function in
// floating point stays the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "compile/compile.h"
#include "compile/float_twin_test.h"
#include "support/data.h"

namespace etch::compile {
namespace {

namespace fs = std::filesystem;
using model::InputSite;
using model::Role;
using numerics::ActivationFormat;
using namespace etch::compile::testing;  // NOLINT: the twin of these tests

constexpr const char* kModel = "models/stories260K.bin";
constexpr const char* kText = "text/tinystories_sample.txt";
constexpr size_t kSequence = 256;
// Pieces of the text: the first for measuring, later ones for calibration.
constexpr size_t kMeasured = 4;
constexpr size_t kCalibrationBegin = 64;
constexpr size_t kCalibrationEnd = 96;
constexpr int64_t kCalibrationTokens = 2048;

// A source whose inputs carry outliers: `factor` times the rest, at one site of one layer.
class PlantedModel final : public ingest::SourceModel {
 public:
  PlantedModel(const ingest::SourceModel& inner, InputSite site, int64_t layer, float factor)
      : inner_(inner), site_(site), layer_(layer), factor_(factor) {
    config_ = inner.config();
    vocabulary_ = inner.vocabulary();
    format_ = inner.format();
    name_ = inner.name();
  }
  std::vector<ingest::SourceTensor> Tensors() const override { return inner_.Tensors(); }
  Status HashFiles() override { return {}; }

  Status Read(Role role, int64_t layer, std::span<float> out) const override {
    ETCH_TRY(inner_.Read(role, layer, out));
    if (layer != layer_ || !model::IsPerLayer(role)) {
      return {};
    }
    const model::Shape shape = model::TensorShape(config_, role);
    for (const int64_t channel : {5, 40}) {
      if (Writes(role)) {
        // A norm's gain, or a row of up.
        const int64_t width = model::IsNorm(role) ? 1 : shape.cols;
        for (int64_t col = 0; col < width; ++col) {
          out[static_cast<size_t>(channel * width + col)] *= factor_;
        }
      } else if (!model::IsNorm(role) && model::SiteOf(role) == site_) {
        for (int64_t row = 0; row < shape.rows; ++row) {
          out[static_cast<size_t>(row * shape.cols + channel)] /= factor_;
        }
      }
    }
    return {};
  }

 private:
  bool Writes(Role role) const {
    return (site_ == InputSite::kAttention && role == Role::kAttentionNorm) ||
           (site_ == InputSite::kFfn && role == Role::kFfnNorm) ||
           (site_ == InputSite::kDown && role == Role::kUp);
  }

  const ingest::SourceModel& inner_;
  InputSite site_;
  int64_t layer_;
  float factor_;
};

std::string Join(std::span<const std::string> pieces) {
  std::string text;
  for (const std::string& piece : pieces) {
    text += piece;
  }
  return text;
}

TEST(QualityTest, PredictionsSurviveTheDefaultRecipe) {
  ETCH_DATA_OR_SKIP(model_path, kModel);
  ETCH_DATA_OR_SKIP(text_path, kText);
  const fs::path folder = test::TemporaryFolder();
  const auto source = ingest::OpenModel(model_path);
  ASSERT_TRUE(source.has_value()) << source.error().message;
  const std::vector<std::string> pieces = CutPieces(ReadSmallFile(text_path).value(), 96);
  ASSERT_EQ(pieces.size(), kCalibrationEnd);
  const auto measured = Encode(**source, std::span(pieces).first(kMeasured), kSequence);
  std::ofstream(folder / "calibration") << Join(std::span(pieces).subspan(kCalibrationBegin));
  const FloatModel reference = FromSource(**source);

  const auto compare = [&](const char* what, CompileOptions options) {
    options.calibration_tokens = kCalibrationTokens;
    const auto report = Compile(**source, folder / "x.etch", options, {});
    EXPECT_TRUE(report.has_value()) << report.error().message;
    const auto image = image::Image::Open(folder / "x.etch");
    EXPECT_TRUE(image.has_value()) << image.error().message;
    const Comparison result = Compare(reference, FromImage(*image), measured);
    std::cout << what << ": " << result.tokens << " tokens, KL " << result.kl << ", NLL "
              << result.nll << ", " << report->bits_per_weight << " bits stored\n";
    return result;
  };
  const double kOwnNll = Compare(reference, reference, measured).nll;
  const Comparison source_image = compare("source", {.recipe = Recipe::kSource});
  const Comparison flat = compare("flat", {});
  const Comparison calibrated = compare("calibrated", {.calibration_text = folder / "calibration"});
  const Comparison three =
      compare("W3 alone", {.calibration_text = folder / "calibration", .bits = 3.1875});
  const Comparison floats =
      compare("W4F", {.recipe = Recipe::kFloat4, .calibration_text = folder / "calibration"});
  EXPECT_EQ(source_image.nll, kOwnNll);
  EXPECT_EQ(source_image.kl, 0.0);
  // 0.160, 0.152 and 0.423 on 20 pieces (docs/rationale/quantize.md).
  EXPECT_LT(flat.kl, 0.18);
  EXPECT_LT(calibrated.kl, 0.17);
  EXPECT_LT(calibrated.nll, kOwnNll + 0.18);
  EXPECT_LT(three.kl, 0.48);
  EXPECT_LT(floats.kl, 0.6 * three.kl);
}

TEST(QualityTest, PlantedOutliersGetSixteenBitsAndNothingElseDoes) {
  ETCH_DATA_OR_SKIP(model_path, kModel);
  ETCH_DATA_OR_SKIP(text_path, kText);
  const fs::path folder = test::TemporaryFolder();
  const auto source = ingest::OpenModel(model_path);
  ASSERT_TRUE(source.has_value()) << source.error().message;
  const std::vector<std::string> pieces = CutPieces(ReadSmallFile(text_path).value(), 67);
  std::ofstream(folder / "calibration") << Join(std::span(pieces).subspan(kCalibrationBegin));
  const auto measured = Encode(**source, std::span(pieces).first(1), kSequence);
  const FloatModel reference = FromSource(**source);

  const auto wide_sites = [&](ingest::SourceModel& planted) {
    const auto report = Compile(
        planted, folder / "x.etch",
        {.calibration_text = folder / "calibration", .calibration_tokens = kCalibrationTokens / 4},
        {});
    EXPECT_TRUE(report.has_value()) << report.error().message;
    const auto image = image::Image::Open(folder / "x.etch");
    std::vector<std::string> sites;
    for (int64_t layer = 0; layer < planted.config().n_layers; ++layer) {
      for (int site = 0; site < model::kLayerSites; ++site) {
        const auto which = static_cast<InputSite>(site);
        if (image->InputFormat(which, layer) == ActivationFormat::kA16) {
          sites.push_back(fmt::format("blk.{} {}", layer, model::SiteName(which)));
        }
      }
    }
    if (image->InputFormat(InputSite::kHead, 0) == ActivationFormat::kA16) {
      sites.emplace_back("head");
    }
    return sites;
  };
  EXPECT_THAT(wide_sites(**source), ::testing::IsEmpty());
  for (const InputSite site : {InputSite::kAttention, InputSite::kFfn, InputSite::kDown}) {
    for (const float factor : {128.0F, 1024.0F}) {
      PlantedModel planted(**source, site, 2, factor);
      EXPECT_LT(Compare(reference, FromSource(planted), measured).kl, 1e-6);
      EXPECT_THAT(wide_sites(planted),
                  ::testing::ElementsAre(fmt::format("blk.2 {}", model::SiteName(site))))
          << factor;
    }
  }
}

}  // namespace
}  // namespace etch::compile
