#include "tune/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/engine.h"
#include "engine/random_model_test.h"
#include "numerics/fixed_point.h"

namespace etch::tune {
namespace {

using model::Role;

// Three sequences end to end, some positions without a target.
Batch SomeBatch(const model::Config& config) {
  Batch batch;
  for (int64_t index = 0; index < 41; ++index) {
    batch.tokens.push_back(static_cast<TokenId>((index * index + 3) % config.vocab_size));
    batch.targets.push_back(index % 5 == 2 ? model::kNoToken
                                           : static_cast<TokenId>((7 * index) % config.vocab_size));
  }
  batch.segments = {{0, 13}, {13, 14}, {14, 41}};
  return batch;
}

// Values of order one everywhere, so that every path carries a gradient.
void Shake(Parameters& parameters, float size, unsigned seed) {
  std::mt19937 random(seed);
  for (const Parameters::Tensor& tensor : parameters.tensors()) {
    const int64_t index = &tensor - parameters.tensors().data();
    for (float& value : parameters.Of(index)) {
      value += size * std::normal_distribution<float>()(random);
    }
  }
}

// Of every tensor: the derivative along a random direction and along some single values, against
// central differences of the loss.
void ExpectGradients(TrainedModel& model, const PassOptions& options) {
  ThreadPool pool(2);
  Network network(model, pool);
  const Batch batch = SomeBatch(model.config());
  Parameters& parameters = model.parameters();
  std::vector<float> gradients(parameters.values().size());
  network.LossAndGradient(batch, options, gradients);
  std::vector<float> unused(gradients.size());
  const auto loss = [&] {
    return options.dropout ? network.LossAndGradient(batch, options, unused) : network.Loss(batch);
  };
  std::mt19937 random(11);
  for (int64_t index = 0; index < std::ssize(parameters.tensors()); ++index) {
    const std::string& name = parameters.tensors()[static_cast<size_t>(index)].name;
    const std::span<float> values = parameters.Of(index);
    const std::vector<float> before(values.begin(), values.end());
    const auto gradient = parameters.Part(std::span<const float>(gradients), index);
    double norm = 0.0;
    for (const float part : gradient) {
      norm += static_cast<double>(part) * static_cast<double>(part);
    }
    norm = std::sqrt(norm);
    EXPECT_GT(norm, 0.0) << name;
    for (int direction = 0; direction < 3; ++direction) {
      // The gradient's own direction, then random ones.
      std::vector<double> step(values.size());
      double length = 0.0;
      for (size_t value = 0; value < step.size(); ++value) {
        step[value] = direction == 0 ? static_cast<double>(gradient[value])
                                     : std::normal_distribution<double>()(random);
        length += step[value] * step[value];
      }
      length = std::sqrt(length);
      constexpr double kStep = 4e-3;
      double expected = 0.0;
      double losses[2];
      for (const int side : {0, 1}) {
        for (size_t value = 0; value < step.size(); ++value) {
          values[value] = before[value] +
                          static_cast<float>((side == 0 ? kStep : -kStep) * step[value] / length);
        }
        losses[side] = loss();
      }
      std::ranges::copy(before, values.begin());
      for (size_t value = 0; value < step.size(); ++value) {
        expected += static_cast<double>(gradient[value]) * step[value] / length;
      }
      const double measured = (losses[0] - losses[1]) / (2.0 * kStep);
      // Rounding of a loss of some 150 in float sums, over the step; and the third derivative.
      EXPECT_NEAR(measured, expected, 4e-3 * norm + 1e-2) << name << " direction " << direction;
    }
  }
}

model::Config ToyConfig() {
  model::Config config = engine::test::OddConfig();
  config.vocab_size = 50;
  return config;
}

TEST(Network, GradientsOfEveryWeightAgreeWithDifferences) {
  for (const bool tied : {false, true}) {
    model::Config config = ToyConfig();
    config.tied_embeddings = tied;
    TrainedModel model = TrainedModel::FromScratch(config, 3);
    Shake(model.parameters(), 0.15F, 4);
    ExpectGradients(model, {});
  }
}

TEST(Network, GradientsOfEveryAdapterMatrixAgreeWithDifferences) {
  const auto image = engine::test::RandomImage(ToyConfig(), 5);
  for (const double dropout : {0.0, 0.3}) {
    LoraSettings settings;
    settings.rank = 5;
    settings.alpha = 7.0;
    settings.dropout = dropout;
    auto model = TrainedModel::OverImage(*image, settings, 6);
    ASSERT_TRUE(model);
    Shake(model->parameters(), 0.1F, 7);
    ExpectGradients(*model, {.noise = 99, .dropout = dropout > 0.0});
  }
}

TEST(Network, RecomputingGivesTheSameBits) {
  const auto image = engine::test::RandomImage(ToyConfig(), 8);
  LoraSettings settings;
  settings.rank = 4;
  settings.dropout = 0.2;
  auto model = TrainedModel::OverImage(*image, settings, 9);
  ASSERT_TRUE(model);
  Shake(model->parameters(), 0.1F, 10);
  const Batch batch = SomeBatch(model->config());
  std::vector<std::vector<float>> gradients;
  std::vector<double> losses;
  for (const int threads : {1, 2, 3}) {
    for (const bool recompute : {false, true}) {
      ThreadPool pool(threads);
      Network network(*model, pool);
      std::vector<float> gradient(model->parameters().values().size());
      losses.push_back(network.LossAndGradient(batch, {recompute, 5, true}, gradient));
      gradients.push_back(std::move(gradient));
    }
  }
  for (size_t index = 1; index < gradients.size(); ++index) {
    EXPECT_EQ(losses[index], losses[0]) << index;
    EXPECT_EQ(gradients[index], gradients[0]) << index;
  }
}

TEST(Network, DropoutDependsOnTheNoiseAndIsOffForLosses) {
  const auto image = engine::test::RandomImage(ToyConfig(), 8);
  LoraSettings settings;
  settings.rank = 4;
  settings.dropout = 0.5;
  auto model = TrainedModel::OverImage(*image, settings, 9);
  ASSERT_TRUE(model);
  Shake(model->parameters(), 0.1F, 10);
  ThreadPool pool(1);
  Network network(*model, pool);
  const Batch batch = SomeBatch(model->config());
  std::vector<float> gradient(model->parameters().values().size());
  const double first = network.LossAndGradient(batch, {false, 1, true}, gradient);
  EXPECT_EQ(network.LossAndGradient(batch, {false, 1, true}, gradient), first);
  EXPECT_NE(network.LossAndGradient(batch, {false, 2, true}, gradient), first);
  EXPECT_EQ(network.LossAndGradient(batch, {false, 1, false}, gradient), network.Loss(batch));
}

// The twin is the definition: same logits up to the order of float sums, adapters included, and
// each segment as if it were alone.
TEST(Network, AgreesWithTheTwin) {
  const auto image = engine::test::RandomImage(ToyConfig(), 12);
  LoraSettings settings;
  settings.rank = 6;
  settings.roles = {Role::kWq, Role::kWv, Role::kDown};
  auto model = TrainedModel::OverImage(*image, settings, 13);
  ASSERT_TRUE(model);
  Shake(model->parameters(), 0.05F, 14);
  ThreadPool pool(2);
  Network network(*model, pool);
  const Batch batch = SomeBatch(model->config());
  const std::vector<float> logits = network.Logits(batch);
  auto adapter = adapter::Lower(model->ToAdapter("trained"), model->config());
  ASSERT_TRUE(adapter) << adapter.error().message;
  engine::EngineOptions options;
  options.backend = engine::BackendKind::kFloat;
  auto engine = engine::Engine::Create(*image, options);
  ASSERT_TRUE(engine);
  for (const Segment& segment : batch.segments) {
    auto session = (*engine)->NewSession({0, {{*adapter}}});
    ASSERT_TRUE(session);
    const engine::Step step{session->get(),
                            std::span(batch.tokens)
                                .subspan(static_cast<size_t>(segment.begin),
                                         static_cast<size_t>(segment.end - segment.begin)),
                            engine::LogitsWanted::kAll};
    ASSERT_TRUE((*engine)->Forward({&step, 1}));
    for (int64_t row = segment.begin; row < segment.end; ++row) {
      const auto expected = (*session)->logits(row - segment.begin);
      for (int64_t token = 0; token < model->config().vocab_size; ++token) {
        EXPECT_NEAR(logits[static_cast<size_t>(row * model->config().vocab_size + token)],
                    std::ldexp(expected[static_cast<size_t>(token)], -numerics::kPoint), 2e-3)
            << row << ' ' << token;
      }
    }
  }
}

TEST(TrainedModel, RefusesSettingsThatMakeNoSense) {
  const auto image = engine::test::RandomImage(ToyConfig(), 15);
  const auto error = [&](const LoraSettings& settings) {
    const auto model = TrainedModel::OverImage(*image, settings, 1);
    return model ? std::string() : model.error().message;
  };
  EXPECT_NE(error({.rank = 0}).find("rank 0 is not in 1 to"), std::string::npos);
  EXPECT_NE(error({.rank = 49}).find("rank 49 is not in 1 to"), std::string::npos);
  EXPECT_NE(error({.rank = 4, .dropout = 1.0}).find("dropout 1"), std::string::npos);
  EXPECT_NE(error({.rank = 4, .roles = {}}).find("no layers to adapt"), std::string::npos);
  EXPECT_EQ(error({.rank = 4}), "");
}

}  // namespace
}  // namespace etch::tune
