#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "ingest/tiny_model_test.h"

namespace etch::ingest {
namespace {

using model::Role;

TEST(SyntheticModel, ValuesDependOnSeedRoleLayerAndPlaceOnly) {
  const auto first = testing::TinyModel();
  const auto second = MakeSyntheticModel(testing::TinyConfig(), 7, "again");
  // Backwards, to show that the order of reading does not matter.
  std::vector<TensorKey> keys = RequiredTensors(first->config());
  testing::Weights weights;
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    weights.emplace(*key, testing::ReadTensor(*second, *key));
  }
  EXPECT_EQ(weights, testing::ReadWeights(*first));
  const auto other = MakeSyntheticModel(testing::TinyConfig(), 8, "other");
  std::set<std::vector<float>> distinct;
  size_t linears = 0;
  for (const auto& [key, values] : weights) {
    if (!model::IsNorm(key.first)) {
      EXPECT_NE(values, testing::ReadTensor(*other, key));
      distinct.insert(values);
      ++linears;
    }
  }
  EXPECT_EQ(distinct.size(), linears);
  EXPECT_EQ(first->Tensors().size(), keys.size());
  EXPECT_EQ(first->format(), "synthetic");
  EXPECT_EQ(second->name(), "again");
  EXPECT_TRUE(first->files().empty());
}

TEST(SyntheticModel, LinearsAreBellShapedAndNormsAreOne) {
  model::Config config = model::PresetConfig("llama-3.2-1b").value();
  const auto source = MakeSyntheticModel(config, 1, "1b");
  const std::vector<float> values = testing::ReadTensor(*source, {Role::kWq, 3});
  double sum = 0.0;
  double squares = 0.0;
  double fourths = 0.0;
  const double deviation = 1.0 / std::sqrt(2048.0);
  for (const float value : values) {
    const double scaled = static_cast<double>(value) / deviation;
    sum += scaled;
    squares += scaled * scaled;
    fourths += scaled * scaled * scaled * scaled;
  }
  const auto count = static_cast<double>(values.size());
  const double error = 5.0 / std::sqrt(count);
  EXPECT_NEAR(sum / count, 0.0, error);
  EXPECT_NEAR(squares / count, 1.0, 2.0 * error);
  EXPECT_NEAR(fourths / count, 2.7, 10.0 * error);  // four uniforms: 3 - 6/5/4
  // Neighbours are not related, along rows and along columns.
  for (const size_t distance : {size_t{1}, size_t{4}, size_t{2048}, size_t{65536}}) {
    double products = 0.0;
    for (size_t index = distance; index < values.size(); ++index) {
      products +=
          static_cast<double>(values[index]) * static_cast<double>(values[index - distance]);
    }
    EXPECT_NEAR(products / count / (deviation * deviation), 0.0, error) << distance;
  }
  for (const float value : testing::ReadTensor(*source, {Role::kFfnNorm, 0})) {
    EXPECT_EQ(value, 1.0F);
  }
}

TEST(SyntheticModel, VocabularyHasBytesAndNumberedTokens) {
  const auto source = testing::TinyModel();
  ASSERT_EQ(source->vocabulary().tokens.size(), 264U);
  EXPECT_EQ(source->vocabulary().tokens[65].text, "A");
  EXPECT_EQ(source->vocabulary().bos, 256);
  EXPECT_EQ(source->vocabulary().eos, 257);
  EXPECT_EQ(source->vocabulary().tokens[263].text, " w263");
  EXPECT_EQ(source->vocabulary().end_of_generation, std::vector<model::TokenId>{257});
  model::Config config = testing::TinyConfig();
  config.vocab_size = 100;
  EXPECT_EQ(MakeSyntheticModel(config, 1, "x")->vocabulary().bos, model::kNoToken);
}

}  // namespace
}  // namespace etch::ingest
