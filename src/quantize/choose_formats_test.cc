#include "quantize/choose_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace etch::quantize {
namespace {

using model::Role;
using numerics::ActivationFormat;
using numerics::WeightFormat;
using testing::ElementsAre;

constexpr WeightFormat kW3 = WeightFormat::kW3;
constexpr WeightFormat kW6 = WeightFormat::kW6;
constexpr ActivationFormat kA8 = ActivationFormat::kA8;
constexpr ActivationFormat kA16 = ActivationFormat::kA16;

model::Config OneLayer(bool is_tied) {
  model::Config config;
  config.n_layers = 1;
  config.tied_embeddings = is_tied;
  return config;
}

MatrixEstimate Estimate(Role role, int64_t weights, double w3_error = 0.02) {
  return {role, 0, {1, weights}, w3_error, w3_error / 50.0};
}

TEST(ChooseWeightFormatsTest, TheBudgetDecidesHowMany) {
  const std::vector<MatrixEstimate> matrices = {Estimate(Role::kWq, 100), Estimate(Role::kWv, 100),
                                                Estimate(Role::kGate, 100),
                                                Estimate(Role::kDown, 100)};
  const model::Config config = OneLayer(false);
  const auto choose = [&](double bits) { return ChooseWeightFormats(config, matrices, bits); };
  EXPECT_THAT(choose(kW3Bits), ElementsAre(kW3, kW3, kW3, kW3));
  EXPECT_THAT(choose(kW3Bits + 0.74), ElementsAre(kW3, kW3, kW3, kW3));
  EXPECT_THAT(choose(kW3Bits + 0.75), ElementsAre(kW3, kW6, kW3, kW3));
  EXPECT_THAT(choose(kW3Bits + 1.50), ElementsAre(kW3, kW6, kW3, kW6));
  EXPECT_THAT(choose(kW3Bits + 2.25), ElementsAre(kW3, kW6, kW6, kW6));
  EXPECT_THAT(choose(kW6Bits), ElementsAre(kW6, kW6, kW6, kW6));
}

TEST(ChooseWeightFormatsTest, AMeasuredErrorOutweighsTheRole) {
  const std::vector<MatrixEstimate> matrices = {Estimate(Role::kWq, 100, 0.2),
                                                Estimate(Role::kWv, 100)};
  EXPECT_THAT(ChooseWeightFormats(OneLayer(false), matrices, kW3Bits + 1.5), ElementsAre(kW6, kW3));
}

TEST(ChooseWeightFormatsTest, WhatDoesNotFitLeavesRoomForSmallerOnes) {
  const std::vector<MatrixEstimate> matrices = {Estimate(Role::kHead, 900),
                                                Estimate(Role::kGate, 100)};
  EXPECT_THAT(ChooseWeightFormats(OneLayer(false), matrices, kW3Bits + 1.5), ElementsAre(kW3, kW6));
}

TEST(ChooseWeightFormatsTest, AnEmbeddingCountsAsMuchAsTheHeadThatItIs) {
  const std::vector<MatrixEstimate> matrices = {Estimate(Role::kTokenEmbedding, 100),
                                                Estimate(Role::kGate, 100)};
  EXPECT_THAT(ChooseWeightFormats(OneLayer(true), matrices, kW3Bits + 1.5), ElementsAre(kW6, kW3));
  EXPECT_THAT(ChooseWeightFormats(OneLayer(false), matrices, kW3Bits + 1.5), ElementsAre(kW3, kW6));
}

TEST(ChooseWeightFormatsTest, SixBitsMustHelp) {
  const std::vector<MatrixEstimate> matrices = {{Role::kWv, 0, {1, 100}, 0.0, 0.0}};
  EXPECT_THAT(ChooseWeightFormats(OneLayer(false), matrices, kW6Bits), ElementsAre(kW3));
}

TEST(DefaultBitsTest, DependOnTheSize) {
  EXPECT_EQ(DefaultBits(999'999'999), 4.5);
  EXPECT_EQ(DefaultBits(1'000'000'000), 3.49);
}

TEST(ChooseInputFormatsTest, WithoutCalibrationOnlyDownIsWide) {
  EXPECT_THAT(ChooseInputFormats(OneLayer(false), nullptr, {}),
              ElementsAre(kA8, kA8, kA8, kA16, kA8));
}

TEST(ChooseInputFormatsTest, ATwentyFifthOfTheReadersThreeBitErrorIsTheLimit) {
  const std::vector<MatrixEstimate> matrices = {Estimate(Role::kTokenEmbedding, 1, 9.0),
                                                Estimate(Role::kWq, 1, 0.01),
                                                Estimate(Role::kWk, 1, 0.03),
                                                Estimate(Role::kWv, 1, 0.02),
                                                Estimate(Role::kWo, 1),
                                                Estimate(Role::kGate, 1),
                                                Estimate(Role::kUp, 1),
                                                Estimate(Role::kDown, 1),
                                                Estimate(Role::kHead, 1)};
  Calibration calibration;
  for (const double error : {0.00081, 0.00079, 0.00081, 0.00079}) {
    calibration.sites.push_back({{}, error, 0.0});
  }
  calibration.head = {{}, 0.00081, 0.0};
  EXPECT_THAT(ChooseInputFormats(OneLayer(false), &calibration, matrices),
              ElementsAre(kA16, kA8, kA16, kA8, kA16));
  // A tied embedding is the reader of the head's input.
  EXPECT_THAT(ChooseInputFormats(OneLayer(true), &calibration, std::span(matrices).first(8)),
              ElementsAre(kA16, kA8, kA16, kA8, kA8));
}

TEST(ChooseInputFormatsTest, LayersAreJudgedApart) {
  model::Config config = OneLayer(false);
  config.n_layers = 2;
  std::vector<MatrixEstimate> matrices = {Estimate(Role::kWo, 1), Estimate(Role::kWo, 1)};
  matrices[1].layer = 1;
  Calibration calibration;
  calibration.sites.resize(8);
  calibration.sites[5].a8_error = 0.001;
  EXPECT_THAT(ChooseInputFormats(config, &calibration, matrices),
              ElementsAre(kA8, kA8, kA8, kA8, kA8, kA16, kA8, kA8, kA8));
}

}  // namespace
}  // namespace etch::quantize
