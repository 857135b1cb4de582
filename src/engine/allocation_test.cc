#include <gtest/gtest.h>

#include "engine/allocation_counter_test.h"
#include "engine/engine.h"
#include "engine/generator.h"
#include "engine/random_model_test.h"

namespace etch::engine {
namespace {

TEST(Allocation, ADecodedTokenTakesNoneFromTheHeap) {
  const model::Config config = test::OddConfig();
  const auto image = test::RandomImage(config, 21);
  EngineOptions options;
  options.threads = 2;
  auto engine = Engine::Create(*image, options);
  ASSERT_TRUE(engine);
  std::vector<Generator> generators;
  std::vector<Generator*> pointers;
  generators.reserve(3);
  for (const int64_t rank : {0, 16, 40}) {
    std::vector<ActiveAdapter> adapters;
    if (rank > 0) {
      adapters.push_back({test::RandomAdapter(config, rank, 5)});
    }
    auto session = (*engine)->NewSession({0, adapters});
    ASSERT_TRUE(session);
    generators.emplace_back(**engine, std::move(*session),
                            GeneratorOptions{{}, 0, Speculation::kOff});
    generators.back().Begin({1, 2, 3}, 40);
    pointers.push_back(&generators.back());
  }
  PassRunner passes(**engine);
  const auto pass = [&] {
    ASSERT_TRUE(passes.Run(pointers));
    for (Generator& generator : generators) {
      ASSERT_TRUE(generator.Draw());
    }
  };
  for (int warm = 0; warm < 4; ++warm) {
    pass();
  }
  const int64_t before = test::Allocations();
  ASSERT_GT(before, 0);
  for (int token = 0; token < 16; ++token) {
    pass();
  }
  EXPECT_EQ(test::Allocations() - before, 0);
}

}  // namespace
}  // namespace etch::engine
