#include "export/merged_weights.h"

#include <gtest/gtest.h>

#include "engine/random_model_test.h"
#include "export/tiny_vocabulary_test.h"

namespace etch::exporting {
namespace {

using engine::test::OddConfig;
using engine::test::RandomAdapter;
using engine::test::RandomImage;
using model::Role;

TEST(MergedWeights, AreTheBaseAndTheSumOfProducts) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto first = RandomAdapter(OddConfig(), 3, 2);
  const auto second = RandomAdapter(OddConfig(), 5, 3);
  const auto merged = MergedWeights::Create(*image, {{first, 1 << 16}, {second, -(1 << 15)}});
  ASSERT_TRUE(merged);
  EXPECT_TRUE(merged->IsAdapted(Role::kWq, 1));
  EXPECT_FALSE(merged->IsAdapted(Role::kGate, 1));
  EXPECT_FALSE(merged->IsAdapted(Role::kTokenEmbedding, 0));
  const model::Shape shape = model::TensorShape(OddConfig(), Role::kDown);
  std::vector<float> base(static_cast<size_t>(shape.cols));
  std::vector<float> found(base.size());
  for (const int64_t row : {int64_t{0}, shape.rows - 1}) {
    numerics::DequantizeRow(image->Weights(Role::kDown, 1), row, base);
    merged->ReadRow(Role::kDown, 1, row, found);
    for (size_t col = 0; col < base.size(); ++col) {
      auto expected = static_cast<double>(base[col]);
      for (const auto& [adapter, weight] : {std::pair(first, 1.0), std::pair(second, -0.5)}) {
        const engine::AdapterLinear& linear = adapter->Linear(1, Role::kDown);
        for (int64_t rank = 0; rank < linear.rank; ++rank) {
          expected +=
              weight *
              static_cast<double>(linear.b_float[static_cast<size_t>(row * linear.rank + rank)]) *
              static_cast<double>(linear.a_float[static_cast<size_t>(rank) * base.size() + col]);
        }
      }
      EXPECT_NEAR(static_cast<double>(found[col]), expected, 1e-6 * (1.0 + std::abs(expected)));
    }
  }
}

TEST(MergedWeights, ReadWholeTensorsTheSameOnAnyNumberOfThreads) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto merged = MergedWeights::Create(*image, {{RandomAdapter(OddConfig(), 4, 2)}});
  ASSERT_TRUE(merged);
  ThreadPool one(1);
  ThreadPool three(3);
  for (const TensorId& id : TensorsOf(OddConfig())) {
    std::vector<float> left(static_cast<size_t>(model::TensorShape(OddConfig(), id.role).size()));
    std::vector<float> right(left.size());
    merged->Read(id.role, id.layer, one, left);
    merged->Read(id.role, id.layer, three, right);
    EXPECT_EQ(left, right) << model::TensorName(id.role, id.layer);
  }
}

TEST(MergedWeights, RefuseAnAdapterOfAnotherShape) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto other = RandomAdapter(engine::test::WideHeadConfig(), 4, 2);
  EXPECT_EQ(testing::ErrorOf(MergedWeights::Create(*image, {{other}})),
            "mismatch: adapter random-2 was made for a model of another shape than random");
  model::Config wide = OddConfig();
  wide.ffn_dim = 64;
  EXPECT_FALSE(MergedWeights::Create(*image, {{RandomAdapter(wide, 4, 2)}}));
}

TEST(MergedWeights, TensorsAreThoseOfTheModel) {
  model::Config config = OddConfig();
  EXPECT_EQ(TensorsOf(config).size(), 3U + 9U * 2U);
  config.tied_embeddings = true;
  EXPECT_EQ(TensorsOf(config).size(), 2U + 9U * 2U);
}

}  // namespace
}  // namespace etch::exporting
