#include "compile/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "compile/work.h"
#include "image/image.h"
#include "quantize/choose_formats.h"
#include "support/data.h"

namespace etch::compile {
namespace {

namespace fs = std::filesystem;
using model::Role;
using numerics::ActivationFormat;
using numerics::WeightFormat;
using testing::HasSubstr;

model::Config SmallConfig(bool is_tied) {
  model::Config config;
  config.dim = 64;
  config.ffn_dim = 172;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 301;
  config.context = 64;
  config.tied_embeddings = is_tied;
  return config;
}

std::unique_ptr<ingest::SourceModel> SmallModel(bool is_tied = false) {
  return ingest::MakeSyntheticModel(SmallConfig(is_tied), 3, "small");
}

int64_t FilesIn(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

std::string Content(const fs::path& path) { return ReadSmallFile(path).value(); }

fs::path WriteText(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
  return path;
}

std::string Words(int count) {
  std::string text;
  for (int word = 0; word < count; ++word) {
    text += "word " + std::to_string(word * word) + ", ";
  }
  return text;
}

TEST(CompileTest, WritesAnImageThatOpens) {
  for (const bool is_tied : {false, true}) {
    const fs::path folder = test::TemporaryFolder();
    const auto source = SmallModel(is_tied);
    const auto report = Compile(*source, folder / "x.etch", {.name = "my-model"}, {});
    ASSERT_TRUE(report.has_value()) << report.error().message;
    const auto image = image::Image::Open(folder / "x.etch");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->name(), "my-model");
    EXPECT_EQ(image->config(), source->config());
    EXPECT_FALSE(image->is_source());
    EXPECT_EQ(report->image_bytes, image->size_bytes());
    EXPECT_EQ(report->parameters, model::ParameterCount(source->config()));
    ASSERT_EQ(report->tensors.size(), is_tied ? 15U : 16U);
    // Every matrix is near the source's, within what its report says.
    size_t index = 0;
    double share = 0.0;
    std::vector<float> expected;
    for (const MatrixId& id : MatricesOf(source->config())) {
      const TensorReport& tensor = report->tensors[index++];
      const numerics::WeightView view = image->Weights(id.role, id.layer);
      EXPECT_EQ(tensor.name, model::TensorName(id.role, id.layer));
      EXPECT_EQ(tensor.format, view.format);
      ASSERT_TRUE(ReadInto(*source, id, expected).has_value());
      double error = 0.0;
      double energy = 0.0;
      std::vector<float> row(static_cast<size_t>(view.cols));
      for (int64_t row_index = 0; row_index < view.rows; ++row_index) {
        numerics::DequantizeRow(view, row_index, row);
        for (size_t col = 0; col < row.size(); ++col) {
          const auto weight =
              static_cast<double>(expected[static_cast<size_t>(row_index * view.cols) + col]);
          error += std::pow(static_cast<double>(row[col]) - weight, 2);
          energy += weight * weight;
        }
      }
      EXPECT_NEAR(error / energy / tensor.error, 1.0, 1e-3) << tensor.name;
      EXPECT_LT(tensor.error, tensor.format == WeightFormat::kW3 ? 0.03 : 0.0007);
      share += tensor.share;
    }
    EXPECT_NEAR(share, 1.0, 1e-12);
  }
}

TEST(CompileTest, WithoutCalibrationOnlyDownReadsSixteenBits) {
  const fs::path folder = test::TemporaryFolder();
  const auto report = Compile(*SmallModel(), folder / "x.etch", {}, {});
  ASSERT_TRUE(report.has_value());
  for (const TensorReport& tensor : report->tensors) {
    EXPECT_EQ(tensor.input, tensor.name.ends_with("ffn_down") ? "A16"
                            : tensor.name == "token_embd"     ? ""
                                                              : "A8")
        << tensor.name;
  }
  const auto image = image::Image::Open(folder / "x.etch");
  EXPECT_EQ(image->InputFormat(model::InputSite::kDown, 1), ActivationFormat::kA16);
  EXPECT_EQ(image->InputFormat(model::InputSite::kFfn, 1), ActivationFormat::kA8);
}

TEST(CompileTest, TheSameBytesForAnyNumberOfThreads) {
  const fs::path folder = test::TemporaryFolder();
  const fs::path text = WriteText(folder / "text", Words(60));
  CompileOptions options{.calibration_text = text};
  for (int threads = 1; threads <= 2; ++threads) {
    options.threads = threads;
    const fs::path out = folder / ("x" + std::to_string(threads));
    const auto report = Compile(*SmallModel(), out, options, {});
    ASSERT_TRUE(report.has_value()) << report.error().message;
  }
  EXPECT_EQ(Content(folder / "x1"), Content(folder / "x2"));
}

TEST(CompileTest, TheBudgetIsKept) {
  const fs::path folder = test::TemporaryFolder();
  const auto six_bit_share = [&](double bits) {
    const auto report = Compile(*SmallModel(), folder / "x.etch", {.bits = bits}, {});
    double six = 0.0;
    double all = 0.0;
    for (const TensorReport& tensor : report->tensors) {
      const auto size = static_cast<double>(tensor.rows * tensor.cols);
      all += size;
      six += tensor.format == WeightFormat::kW6 ? size : 0.0;
    }
    return six / all;
  };
  EXPECT_EQ(six_bit_share(3.1875), 0.0);
  EXPECT_EQ(six_bit_share(6.1875), 1.0);
  const double share = six_bit_share(0.0);
  EXPECT_LE(3.1875 + 3 * share, 4.5);
  EXPECT_GT(3.1875 + 3 * share, 4.2);
}

// Four-bit floats everywhere, each matrix nearer to its source than in W3, weighted and flat.
TEST(CompileTest, TheFloatRecipeBeatsThreeBits) {
  const fs::path folder = test::TemporaryFolder();
  for (const fs::path& text : {fs::path(), WriteText(folder / "text", Words(60))}) {
    CompileOptions options{.calibration_text = text, .bits = quantize::kW3Bits};
    const auto three = Compile(*SmallModel(), folder / "three.etch", options, {});
    ASSERT_TRUE(three.has_value()) << three.error().message;
    options.recipe = Recipe::kFloat4;
    options.bits = 0.0;
    const auto floats = Compile(*SmallModel(), folder / "floats.etch", options, {});
    ASSERT_TRUE(floats.has_value()) << floats.error().message;
    ASSERT_EQ(floats->tensors.size(), three->tensors.size());
    for (size_t index = 0; index < floats->tensors.size(); ++index) {
      const TensorReport& tensor = floats->tensors[index];
      EXPECT_EQ(tensor.format, WeightFormat::kW4F) << tensor.name;
      EXPECT_EQ(three->tensors[index].format, WeightFormat::kW3);
      EXPECT_GT(tensor.error, 0.0);
      EXPECT_LT(tensor.error, 0.7 * three->tensors[index].error) << tensor.name;
    }
    const auto image = image::Image::Open(folder / "floats.etch");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->Weights(Role::kDown, 1).format, WeightFormat::kW4F);
    const auto provenance = nlohmann::json::parse(image->provenance_json());
    EXPECT_EQ(provenance["recipe"], "w4f");
    EXPECT_EQ(provenance["bits"], 4.125);
  }
}

TEST(CompileTest, TheFloatRecipeHasNoBudget) {
  const fs::path folder = test::TemporaryFolder();
  const auto report =
      Compile(*SmallModel(), folder / "x.etch", {.recipe = Recipe::kFloat4, .bits = 4.0}, {});
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(report.error().message, HasSubstr("the recipe w4f has one format"));
  EXPECT_EQ(FilesIn(folder), 0);
}

TEST(CompileTest, ProvenanceAndReportSayWhatWasMade) {
  const fs::path folder = test::TemporaryFolder();
  const fs::path text = WriteText(folder / "text", Words(60));
  const auto report = Compile(*SmallModel(), folder / "x.etch",
                              {.calibration_text = text, .calibration_tokens = 100}, {});
  ASSERT_TRUE(report.has_value()) << report.error().message;
  const auto image = image::Image::Open(folder / "x.etch");
  ASSERT_TRUE(image.has_value());
  const auto provenance = nlohmann::json::parse(image->provenance_json());
  EXPECT_EQ(provenance["etch"], ETCH_VERSION);
  EXPECT_EQ(provenance["contract"], 1);
  EXPECT_EQ(provenance["recipe"], "default");
  EXPECT_EQ(provenance["bits"], 4.5);
  EXPECT_EQ(provenance["source"]["format"], "synthetic");
  EXPECT_EQ(provenance["source"]["name"], "small");
  // 100 tokens of text and a bos for each of two sequences.
  EXPECT_EQ(provenance["calibration"]["tokens"], 102);
  EXPECT_EQ(provenance["calibration"]["size_bytes"], fs::file_size(text));
  EXPECT_EQ(image->provenance_json().find(folder.string()), std::string::npos);
  const auto stored = nlohmann::json::parse(image->report_json());
  ASSERT_EQ(stored["tensors"].size(), report->tensors.size());
  EXPECT_EQ(stored["bits_per_weight"], report->bits_per_weight);
  EXPECT_EQ(stored["tensors"][3]["name"], "blk.0.attn_v");
  EXPECT_EQ(stored["tensors"][3]["format"], "W6");
  EXPECT_EQ(stored["tensors"][3]["error"], report->tensors[3].error);
}

// A model with one tensor replaced.
class ChangedModel final : public ingest::SourceModel {
 public:
  ChangedModel(Role role, std::function<Status(std::span<float>)> change)
      : inner_(SmallModel()), role_(role), change_(std::move(change)) {
    config_ = inner_->config();
    vocabulary_ = inner_->vocabulary();
    format_ = "changed";
    name_ = "changed";
  }
  std::vector<ingest::SourceTensor> Tensors() const override { return inner_->Tensors(); }
  Status Read(Role role, int64_t layer, std::span<float> out) const override {
    ETCH_TRY(inner_->Read(role, layer, out));
    return role == role_ ? change_(out) : Status();
  }
  Status HashFiles() override { return hash_; }

  Status hash_;

 private:
  std::unique_ptr<ingest::SourceModel> inner_;
  Role role_;
  std::function<Status(std::span<float>)> change_;
};

TEST(CompileTest, SourceRecipeKeepsEveryValueInTheNarrowestFormat) {
  const fs::path folder = test::TemporaryFolder();
  const auto compile_with = [&](float value) {
    ChangedModel source(Role::kWv, [value](std::span<float> out) -> Status {
      std::fill(out.begin(), out.end(), 0.5F);
      out[7] = value;
      return {};
    });
    const auto report =
        Compile(source, folder / "x.etch", {.recipe = Recipe::kSource, .bits = 4.0}, {});
    EXPECT_TRUE(report.has_value());
    const auto image = image::Image::Open(folder / "x.etch");
    EXPECT_TRUE(image.has_value() && image->is_source());
    const numerics::WeightView view = image->Weights(Role::kWv, 1);
    std::vector<float> row(static_cast<size_t>(view.cols));
    numerics::DequantizeRow(view, 0, row);
    EXPECT_EQ(row[7], value);
    EXPECT_EQ(row[8], 0.5F);
    return view.format;
  };
  EXPECT_EQ(compile_with(1e30F), WeightFormat::kF32);
  EXPECT_EQ(compile_with(0x1p100F), WeightFormat::kBF16);
  EXPECT_EQ(compile_with(1.0F + 0x1p-10F), WeightFormat::kF16);
  EXPECT_EQ(compile_with(1.0F + 0x1p-20F), WeightFormat::kF32);
  EXPECT_EQ(compile_with(-0.0F), WeightFormat::kBF16);
}

TEST(CompileTest, LeavesNothingBehindOnFailure) {
  const fs::path folder = test::TemporaryFolder();
  ChangedModel broken(Role::kDown, [](std::span<float>) -> Status {
    return Fail(ErrorCode::kMalformed, "ffn_down: value 3 is not a number");
  });
  for (const Recipe recipe : {Recipe::kDefault, Recipe::kSource}) {
    const auto result = Compile(broken, folder / "x.etch", {.recipe = recipe}, {});
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message, "ffn_down: value 3 is not a number");
    EXPECT_EQ(FilesIn(folder), 0);
  }
  ChangedModel unreadable(Role::kDown, [](std::span<float>) { return Status(); });
  unreadable.hash_ = Fail(ErrorCode::kIo, "cannot hash");
  EXPECT_EQ(Compile(unreadable, folder / "x.etch", {}, {}).error().message, "cannot hash");
  EXPECT_EQ(Compile(*SmallModel(), folder / "none" / "x.etch", {}, {}).error().code,
            ErrorCode::kNotFound);
}

TEST(CompileTest, StopsInEveryPhase) {
  const fs::path folder = test::TemporaryFolder();
  const fs::path text = WriteText(folder / "text", Words(60));
  for (const Recipe recipe : {Recipe::kDefault, Recipe::kSource}) {
    CompileOptions options{.recipe = recipe};
    if (recipe == Recipe::kDefault) {
      options.calibration_text = text;
    }
    int steps = 0;
    ASSERT_TRUE(Compile(*SmallModel(), folder / "x.etch", options, [&](const ProgressUpdate& at) {
                  EXPECT_LE(at.done, at.total);
                  ++steps;
                  return true;
                }).has_value());
    fs::remove(folder / "x.etch");
    EXPECT_GT(steps, 16);
    for (int stop = 0; stop < steps; stop += stop == 0 ? 1 : 6) {
      int step = 0;
      const auto result = Compile(*SmallModel(), folder / "x.etch", options,
                                  [&](const ProgressUpdate&) { return step++ < stop; });
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
      EXPECT_THAT(result.error().message, HasSubstr("interrupted while "));
      EXPECT_EQ(FilesIn(folder), 1);  // the text
    }
  }
}

TEST(CompileTest, RefusesOptionsThatMakeNoSense) {
  const fs::path folder = test::TemporaryFolder();
  const auto message = [&](const CompileOptions& options) {
    const auto result = Compile(*SmallModel(), folder / "x.etch", options, {});
    return result ? std::string() : result.error().message;
  };
  for (const double bits : {-1.0, 3.0, 9.0, static_cast<double>(NAN)}) {
    EXPECT_THAT(message({.bits = bits}), HasSubstr("the formats reach from 3.19 to 6.19"));
  }
  EXPECT_THAT(message({.calibration_text = WriteText(folder / "empty", "")}),
              HasSubstr("the calibration text is empty"));
  EXPECT_THAT(message({.calibration_text = folder / "missing"}), HasSubstr("missing"));
  EXPECT_THAT(
      message({.calibration_text = WriteText(folder / "text", "a"), .calibration_tokens = 0}),
      HasSubstr("0 calibration tokens"));
}

TEST(CompileTest, RefusesAConfigThatIsNotValid) {
  const fs::path folder = test::TemporaryFolder();
  model::Config config = SmallConfig(false);
  config.context = model::kMaxContext * 2;
  const auto source = ingest::MakeSyntheticModel(config, 1, "wide");
  const auto result = Compile(*source, folder / "x.etch", {}, {});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message, model::Validate(config).error().message);
  EXPECT_EQ(FilesIn(folder), 0);
}

}  // namespace
}  // namespace etch::compile
