#include "rtl/chip_writer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "engine/random_model_test.h"
#include "rtl/audit.h"

namespace etch::rtl {
namespace {

using engine::test::OddConfig;
using engine::test::RandomImage;

class Chip : public ::testing::Test {
 protected:
  static std::unique_ptr<image::Image> Image(uint32_t seed) {
    return RandomImage(OddConfig(), seed, numerics::WeightFormat::kW3);
  }

  static plan::HardwarePlan PlanOf(const image::Image& image, int64_t lanes = 16) {
    plan::Choices choices;
    choices.lanes = lanes;
    choices.context = 32;
    auto plan = plan::MakePlan(image, choices);
    EXPECT_TRUE(plan) << (plan ? "" : plan.error().message);
    return *std::move(plan);
  }

  static ChipReport Write(const image::Image& image, const plan::HardwarePlan& plan,
                          const std::filesystem::path& path) {
    const Result<ChipReport> report = WriteChip(image, plan, path);
    EXPECT_TRUE(report) << (report ? "" : report.error().message);
    return *report;
  }

  const std::filesystem::path folder_ = etch::test::TemporaryFolder();
};

TEST_F(Chip, TheFabricDependsOnTheShapeOnly) {
  const auto one = Image(1);
  const auto two = Image(2);
  const plan::HardwarePlan plan = PlanOf(*one);
  const ChipReport first = Write(*one, plan, folder_ / "one");
  const ChipReport again = Write(*one, plan, folder_ / "again");
  const ChipReport second = Write(*two, PlanOf(*two), folder_ / "two");
  EXPECT_EQ(first.fabric_sha256, again.fabric_sha256);
  EXPECT_EQ(first.masks_sha256, again.masks_sha256) << "the same bytes each time";
  EXPECT_EQ(first.fabric_sha256, second.fabric_sha256);
  EXPECT_NE(first.masks_sha256, second.masks_sha256);
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "one/fabric")) {
    const std::filesystem::path name = entry.path().filename();
    EXPECT_EQ(*ReadSmallFile(entry.path()), *ReadSmallFile(folder_ / "two/fabric" / name)) << name;
  }
  const ChipReport wider = Write(*one, PlanOf(*one, 32), folder_ / "wider");
  EXPECT_NE(first.fabric_sha256, wider.fabric_sha256);
}

TEST_F(Chip, TheAuditFindsASingleWrongWeight) {
  const auto image = Image(3);
  const plan::HardwarePlan plan = PlanOf(*image);
  Write(*image, plan, folder_ / "chip");
  const Result<AuditReport> right = AuditMasks(*image, plan, folder_ / "chip");
  ASSERT_TRUE(right) << right.error().message;
  EXPECT_EQ(right->wrong, 0) << right->first_wrong;
  const model::Config config = OddConfig();
  EXPECT_EQ(right->weights + (2 * config.n_layers + 1) * config.dim, model::ParameterCount(config));

  // One bit of one code, in every memory in turn.
  for (const char* name :
       {"step", "code", "param", "row", "gain", "exp2", "sigmoid", "rsqrt", "high", "low"}) {
    const std::filesystem::path path = folder_ / "chip/masks" / (std::string(name) + ".hex");
    const std::string text = *ReadSmallFile(path);
    std::string changed = text;
    char& digit = changed[text.find('\n') - 1];  // lane 0, column 0
    digit = digit == '0' ? '1' : '0';
    std::ofstream(path) << changed;
    const Result<AuditReport> wrong = AuditMasks(*image, plan, folder_ / "chip");
    ASSERT_TRUE(wrong) << wrong.error().message;
    EXPECT_GE(wrong->wrong, 1) << name;
    EXPECT_NE(wrong->first_wrong, "");
    if (std::string_view(name) == "code") {
      EXPECT_EQ(wrong->wrong, 1);
      EXPECT_THAT(wrong->first_wrong, ::testing::HasSubstr("token_embd row 0, column 0: level"));
    }
    std::ofstream(path) << text.substr(1);
    const Result<AuditReport> cut = AuditMasks(*image, plan, folder_ / "chip");
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code, ErrorCode::kMalformed);
    std::ofstream(path) << text;
  }
}

TEST_F(Chip, TheAuditFindsASingleWrongBitOfTheProgram) {
  const auto image = Image(5);
  const plan::HardwarePlan plan = PlanOf(*image);
  Write(*image, plan, folder_ / "chip");
  const std::filesystem::path path = folder_ / "chip/masks/step.hex";
  const std::string text = *ReadSmallFile(path);
  // Every bit of a step in the middle, in fields and between them.
  const auto step = std::ssize(plan.steps) / 2;
  for (int64_t bit = 0; bit < 256; ++bit) {
    std::string changed = text;
    char& digit = changed[static_cast<size_t>(65 * step + 63 - bit / 4)];
    const int value = (digit <= '9' ? digit - '0' : digit - 'a' + 10) ^ (1 << (bit % 4));
    digit = "0123456789abcdef"[value];
    std::ofstream(path) << changed;
    const Result<AuditReport> wrong = AuditMasks(*image, plan, folder_ / "chip");
    ASSERT_TRUE(wrong) << wrong.error().message;
    EXPECT_EQ(wrong->wrong, 1) << bit;
    EXPECT_THAT(wrong->first_wrong, ::testing::StartsWith(fmt::format("step {} (", step)));
  }
}

TEST_F(Chip, TheAuditFindsAWrongConstant) {
  const auto image = Image(6);
  const plan::HardwarePlan plan = PlanOf(*image);
  Write(*image, plan, folder_ / "chip");
  const std::filesystem::path path = folder_ / "chip/masks/etch_masks.sv";
  const std::string text = *ReadSmallFile(path);
  for (const char* name : {"levels", "epsilon", "score_mantissa", "score_exponent"}) {
    const std::string assign = fmt::format("  assign {} = ", name);
    const size_t begin = text.find(assign);
    ASSERT_NE(begin, text.npos);
    const size_t end = text.find(';', begin);
    std::string changed = text;
    changed[end - 1] = changed[end - 1] == '0' ? '1' : '0';
    std::ofstream(path) << changed;
    const Result<AuditReport> wrong = AuditMasks(*image, plan, folder_ / "chip");
    ASSERT_TRUE(wrong) << wrong.error().message;
    EXPECT_GE(wrong->wrong, 1) << name;
    // No number, too large a number, none, and two of the name.
    const std::string line = text.substr(begin, end + 2 - begin);
    for (const std::string& bad :
         {assign + "x;\n", line.substr(0, line.size() - 2) + "x;\n",
          line.substr(0, line.size() - 2) + "0000000000;\n", std::string("\n"), line + line}) {
      changed = text;
      changed.replace(begin, line.size(), bad);
      std::ofstream(path) << changed;
      const Result<AuditReport> none = AuditMasks(*image, plan, folder_ / "chip");
      ASSERT_FALSE(none) << bad;
      EXPECT_EQ(none.error().code, ErrorCode::kMalformed);
      EXPECT_THAT(none.error().message, ::testing::HasSubstr(name));
    }
  }
}

TEST_F(Chip, AForeignFolderIsNotReplaced) {
  const auto image = Image(4);
  std::filesystem::create_directories(folder_ / "mine");
  std::ofstream(folder_ / "mine/thesis.txt") << "x";
  const Result<ChipReport> report = WriteChip(*image, PlanOf(*image), folder_ / "mine");
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, ::testing::HasSubstr("thesis.txt"));
}

}  // namespace
}  // namespace etch::rtl
