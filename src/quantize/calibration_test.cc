#include "quantize/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>

namespace etch::quantize {
namespace {

using model::Role;
using testing::HasSubstr;

constexpr int64_t kDim = 4;

// One layer, one head, square matrices of width 4, three tokens; everything zero but what a test
// sets.
class CalibrationTest : public testing::Test {
 protected:
  CalibrationTest() {
    config_.dim = kDim;
    config_.ffn_dim = kDim;
    config_.n_layers = 1;
    config_.n_heads = 1;
    config_.n_kv_heads = 1;
    config_.head_dim = kDim;
    config_.vocab_size = 3;
    config_.context = 8;
    config_.norm_eps = 0.0;
    Set(Role::kTokenEmbedding, {1, 1, 1, 1, 2, -2, 2, -2, 3, 0, 0, 0});
    for (const Role role : {Role::kAttentionNorm, Role::kFfnNorm, Role::kFinalNorm}) {
      Set(role, {1, 1, 1, 1});
    }
  }

  void Set(Role role, std::vector<float> values) { tensors_[role] = std::move(values); }
  void SetDiagonal(Role role, float value) {
    std::vector<float> matrix(kDim * kDim, 0.0F);
    for (size_t index = 0; index < kDim; ++index) {
      matrix[index * kDim + index] = value;
    }
    Set(role, matrix);
  }

  Status Read(Role role, std::span<float> out) const {
    if (role == failing_) {
      return Fail(ErrorCode::kMalformed, "broken tensor");
    }
    const auto found = tensors_.find(role);
    if (found == tensors_.end()) {
      std::fill(out.begin(), out.end(), 0.0F);
    } else {
      std::copy(found->second.begin(), found->second.end(), out.begin());
    }
    return {};
  }

  Result<Calibration> Run(const std::vector<std::vector<int32_t>>& sequences, int threads = 1,
                          const ProgressFn& progress = {}) const {
    ThreadPool pool(threads);
    return Calibrate(
        config_, [this](Role role, int64_t, std::span<float> out) { return Read(role, out); },
        sequences, pool, progress);
  }

  model::Config config_;
  std::map<Role, std::vector<float>> tensors_;
  std::optional<Role> failing_;
};

TEST_F(CalibrationTest, ImportanceIsTheMeanSquareOfEachChannel) {
  config_.tied_embeddings = true;
  failing_ = Role::kHead;  // absent, and not asked for
  Set(Role::kAttentionNorm, {1, 2, 3, 4});
  Set(Role::kFfnNorm, {1, 1, 1, 2});
  SetDiagonal(Role::kWv, 2.0F);
  SetDiagonal(Role::kGate, 1.0F);
  SetDiagonal(Role::kUp, 3.0F);
  const auto result = Run({{0, 1}, {2}});
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->tokens, 3);
  ASSERT_EQ(result->sites.size(), 4U);
  // Normalised: (1 1 1 1), (1 -1 1 -1), (2 0 0 0); squares' means times gains².
  const auto near = [](std::vector<float> values) {
    return testing::Pointwise(testing::FloatNear(1e-5F), std::move(values));
  };
  EXPECT_THAT(result->sites[0].importance,
              near({6.0F / 3, 4 * 2.0F / 3, 9 * 2.0F / 3, 16 * 2.0F / 3}));
  // Scores are zero: token 1 sees the mean of its own and the first one's values, 2 · gain · x.
  EXPECT_THAT(result->sites[1].importance,
              near({(4.0F + 4 + 16) / 3, 16.0F / 3, (36.0F + 36) / 3, 64.0F / 3}));
  EXPECT_THAT(result->sites[2].importance, near({6.0F / 3, 2.0F / 3, 2.0F / 3, 4 * 2.0F / 3}));
  // gate · sigmoid(gate) · 3 gate.
  const auto product = [](double gate) {
    return static_cast<float>(std::pow(3 * gate * gate / (1 + std::exp(-gate)), 2));
  };
  EXPECT_THAT(result->sites[3].importance,
              near({(2 * product(1) + product(2)) / 3, (product(1) + product(-1)) / 3,
                    2 * product(1) / 3, (product(2) + product(-2)) / 3}));
  EXPECT_THAT(result->head.importance, near({6.0F / 3, 2.0F / 3, 2.0F / 3, 2.0F / 3}));
}

TEST_F(CalibrationTest, ErrorsOfTheOutputsAreMeasured) {
  SetDiagonal(Role::kWq, 1.0F);
  Set(Role::kHead, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0});
  // Token 1 after the norm: 1 -1 1 -1, exact in 8 bits. Gains make channel 0 an outlier that the
  // layer hardly reads, so that the others lose their bits.
  const auto plain = Run({{1, 1}});
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->sites[0].a8_error, 0.0);
  Set(Role::kAttentionNorm, {1000, 1.3F, 1, 1});
  Set(Role::kWq, {0.001F, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  const auto planted = Run({{1, 1}});
  ASSERT_TRUE(planted.has_value());
  // 8 bits reach 1000 in steps of 8: all but the outlier becomes 0. Two of three readers are zero
  // and count as exact; the outputs are 1, -1.3, 1, -1.
  const double lost = (1.69 + 1 + 1) / (1 + 1.69 + 1 + 1) / 3;
  EXPECT_NEAR(planted->sites[0].a8_error, lost, 1e-3);
  EXPECT_GT(planted->sites[0].a16_error, 0.0);
  EXPECT_LT(planted->sites[0].a16_error, 1e-4);
  EXPECT_EQ(planted->sites[2].a8_error, 0.0);
}

TEST_F(CalibrationTest, ThreadsDoNotChangeAResult) {
  SetDiagonal(Role::kWv, 0.7F);
  SetDiagonal(Role::kWo, 0.9F);
  const auto one = Run({{0, 1, 2}, {2, 1}}, 1);
  const auto three = Run({{0, 1, 2}, {2, 1}}, 3);
  ASSERT_TRUE(one.has_value() && three.has_value());
  for (size_t site = 0; site < one->sites.size(); ++site) {
    EXPECT_EQ(one->sites[site].importance, three->sites[site].importance);
    EXPECT_EQ(one->sites[site].a8_error, three->sites[site].a8_error);
  }
}

TEST_F(CalibrationTest, NamesWhatIsWrongWithTheTokens) {
  const auto message = [&](const std::vector<std::vector<int32_t>>& sequences) {
    const auto result = Run(sequences);
    return result ? std::string() : result.error().message;
  };
  EXPECT_THAT(message({}), HasSubstr("no tokens"));
  EXPECT_THAT(message({{}}), HasSubstr("no tokens"));
  EXPECT_THAT(message({{0, 3}}), HasSubstr("token 3 is outside the vocabulary of 3"));
  EXPECT_THAT(message({{-1}}), HasSubstr("token -1 is outside"));
  EXPECT_THAT(message({std::vector<int32_t>(9, 0)}), HasSubstr("longer than the context of 8"));
}

TEST_F(CalibrationTest, FailsWithTheTensorThatCannotBeRead) {
  for (const Role role : {Role::kTokenEmbedding, Role::kAttentionNorm, Role::kFfnNorm, Role::kUp,
                          Role::kFinalNorm, Role::kHead}) {
    failing_ = role;
    const auto result = Run({{0}});
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message, "broken tensor");
  }
}

TEST_F(CalibrationTest, AnOverflowIsAnErrorNotAnImportance) {
  SetDiagonal(Role::kGate, 1e30F);
  SetDiagonal(Role::kUp, 1e30F);
  const auto result = Run({{0}});
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().message, HasSubstr("blk.0 down overflows"));
}

TEST_F(CalibrationTest, StopsWhenAsked) {
  const auto result = Run({{0}}, 1, [](const ProgressUpdate& update) {
    EXPECT_EQ(update.phase, "calibrating");
    EXPECT_EQ(update.total, 1);
    return false;
  });
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace etch::quantize
