// Every vector between the units of a small chip is compared with the engine's, and a fault planted
// in a mask is found at the step, and mostly the element, that it first touches.

#include "rtl/vectors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "engine/random_model_test.h"
#include "rtl/chip_writer.h"
#include "rtl/verify.h"

namespace etch::rtl {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Vectors : public ::testing::Test {
 protected:
  static constexpr int64_t kTokens = 3;  // drawn; with the prompt's first two, four positions

  void SetUp() override {
    if (image_) {
      return;  // the chip is built once
    }
    image_ = engine::test::RandomImage(engine::test::OddConfig(), 7, numerics::WeightFormat::kW3);
    plan::Choices choices;
    choices.lanes = 16;
    choices.context = 16;
    choices.adapter_rank = 40;  // two groups, of which an adapter of rank 8 has one
    plan_ = *plan::MakePlan(*image_, choices);
    engine::EngineOptions options;
    options.threads = 1;
    engine_ = *engine::Engine::Create(*image_, options);
    folder_ = etch::test::TemporaryFolder() / "chip";
    ASSERT_TRUE(WriteChip(*image_, plan_, folder_));
    const Status built = BuildSimulation(folder_, true);
    ASSERT_TRUE(built) << built.error().message;
  }
  static void TearDownTestSuite() {
    engine_.reset();
    image_.reset();
  }

  // The chip as its folder stands.
  static VerifyReport Verify(std::shared_ptr<const engine::AdapterWeights> adapter = nullptr) {
    VerifyReport report;
    Result<Simulation> simulation = Simulation::Start(folder_, plan_);
    EXPECT_TRUE(simulation);
    VerifyCase test;
    test.prompt = {5, 61};
    test.tokens = kTokens;
    test.adapter = std::move(adapter);
    const Status status = VerifyOne(*simulation, *engine_, plan_, test, report, true);
    EXPECT_TRUE(status) << (status ? "" : status.error().message);
    return report;
  }

  static int64_t StepNamed(std::string_view name) {
    const auto step = std::ranges::find(plan_.steps, name, &plan::Step::name);
    EXPECT_NE(step, plan_.steps.end()) << name;
    return step - plan_.steps.begin();
  }

  // Words, or codes and shifts, that a step makes.
  static int64_t Elements(const plan::Step& step) {
    const model::Config& config = plan_.fabric.config;
    switch (step.operation) {
      case plan::Operation::kEnd:
      case plan::Operation::kAngles:
      case plan::Operation::kSample:
        return 0;
      case plan::Operation::kQuantise:
        return step.per_head ? step.n + step.n / config.head_dim : (step.n + 31) / 32 * 33;
      case plan::Operation::kRope:
        return step.n * config.head_dim;
      case plan::Operation::kAttend:
        return config.q_dim();
      default:
        return step.n;
    }
  }

  static const plan::MatrixPlace& Place(model::Role role, int64_t layer) {
    return *std::ranges::find_if(plan_.matrices, [&](const plan::MatrixPlace& place) {
      return place.role == role && place.layer == layer;
    });
  }

  // What Verify() says first when a bit of a mask is another.
  static std::string FirstWith(const std::string& mask, int64_t word, int64_t bit) {
    const std::filesystem::path path = folder_ / "masks" / mask;
    const std::string text = *ReadSmallFile(path);
    const auto line = static_cast<int64_t>(text.find('\n')) + 1;
    std::string changed = text;
    char& digit = changed[static_cast<size_t>(line * word + line - 2 - bit / 4)];
    const int value = (digit <= '9' ? digit - '0' : digit - 'a' + 10) ^ (1 << (bit % 4));
    digit = "0123456789abcdef"[value];
    std::ofstream(path) << changed;
    const VerifyReport report = Verify();
    EXPECT_GT(report.vector_mismatches, 0);
    std::ofstream(path) << text;
    return report.first_mismatch;
  }

  static std::unique_ptr<image::Image> image_;
  static plan::HardwarePlan plan_;
  static std::unique_ptr<engine::Engine> engine_;
  static std::filesystem::path folder_;
};

std::unique_ptr<image::Image> Vectors::image_;
plan::HardwarePlan Vectors::plan_;
std::unique_ptr<engine::Engine> Vectors::engine_;
std::filesystem::path Vectors::folder_;

TEST_F(Vectors, AreTheEnginesWithAndWithoutAdapters) {
  const model::Config config = engine::test::OddConfig();
  const VerifyReport base = Verify();
  EXPECT_EQ(base.vector_mismatches, 0) << base.first_mismatch;
  EXPECT_EQ(base.mismatches, 0);
  EXPECT_EQ(base.cycles, base.planned_cycles);
  // Norm, input, products, rotations, codes of heads, attention, output, residual; and likewise.
  const int64_t of_a_layer = 2 + 3 + 2 + 3 + 1 + 2 + 1 + 2 + 2 + 2 + 1;
  EXPECT_EQ(base.vectors, 4 * (1 + config.n_layers * of_a_layer) + kTokens * 3);
  int64_t elements = 0;
  for (const plan::Step& step : plan_.steps) {
    elements += step.adapter_only ? 0 : Elements(step) * (step.wanted_only ? kTokens : 4);
  }
  EXPECT_EQ(base.vector_elements, elements);
  for (const int64_t rank : {8, 40}) {
    const VerifyReport adapted = Verify(engine::test::RandomAdapter(config, rank, 1));
    EXPECT_EQ(adapted.vector_mismatches, 0) << adapted.first_mismatch;
    EXPECT_EQ(adapted.mismatches, 0);
    EXPECT_EQ(adapted.vectors, base.vectors + 4 * config.n_layers * 7 * 3);
  }
}

TEST_F(Vectors, NameTheElementThatAWrongWeightTouchesFirst) {
  const plan::MatrixPlace& keys = Place(model::Role::kWk, 1);
  const int64_t step = StepNamed("blk.1.attn_k");
  // Row 3 stands on lane 3; column 37 is the second group's.
  EXPECT_THAT(
      FirstWith("code.hex", keys.code_base + 37, 3 * 3 + 2),
      StartsWith(fmt::format("token 0, layer 1, step {} (blk.1.attn_k): element 3 is ", step)));
  const plan::MatrixPlace& down = Place(model::Role::kDown, 0);
  EXPECT_THAT(FirstWith("row.hex", down.row_base + 21, 14),
              StartsWith(fmt::format("token 0, layer 0, step {} (blk.0.ffn_down): element 21 is ",
                                     StepNamed("blk.0.ffn_down"))));
  EXPECT_THAT(FirstWith("gain.hex", 3 * plan_.fabric.config.dim + 7, 12),
              StartsWith(fmt::format("token 0, layer 1, step {} (layer 1, ffn norm): element 7 is ",
                                     StepNamed("layer 1, ffn norm"))));
  // The angle of position 1, which is the second token's.
  EXPECT_THAT(FirstWith("low.hex", plan_.fabric.config.head_dim / 2 + 2, 20),
              HasSubstr("token 1, layer 0"));
  EXPECT_EQ(Verify().first_mismatch, "") << "the masks are as they were";
}

TEST_F(Vectors, NameAStepThatWritesElsewhereOrIsLeftOut) {
  const int64_t attention = StepNamed("layer 0, attention");
  const int64_t q_dim = plan_.fabric.config.q_dim();
  EXPECT_EQ(FirstWith("step.hex", attention, 72),
            fmt::format("token 0, layer 0, step {} (layer 0, attention): element {} is written, of "
                        "{}",
                        attention, plan_.map.attended % 2 == 0 ? q_dim : -1, q_dim));
  const int64_t up = StepNamed("blk.1.ffn_up");
  EXPECT_EQ(FirstWith("step.hex", up, 8),
            fmt::format("token 0: the chip goes to step {} instead of {} (blk.1.ffn_up)",
                        StepNamed("layer 1, down input"), up));
}

TEST_F(Vectors, NeedASimulationThatIsBuiltForThem) {
  const std::filesystem::path folder = etch::test::TemporaryFolder() / "unobserved";
  ASSERT_TRUE(WriteChip(*image_, plan_, folder));
  ASSERT_TRUE(BuildSimulation(folder));
  Result<Simulation> simulation = Simulation::Start(folder, plan_);
  ASSERT_TRUE(simulation);
  VerifyCase test;
  test.prompt = {5};
  test.tokens = 1;
  VerifyReport report;
  const Status status = VerifyOne(*simulation, *engine_, plan_, test, report, true);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(status.error().message, HasSubstr("without observation"));
  ASSERT_TRUE(VerifyOne(*simulation, *engine_, plan_, test, report));
  EXPECT_EQ(report.mismatches, 0) << report.first_mismatch;
}

}  // namespace
}  // namespace etch::rtl
