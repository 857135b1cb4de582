#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include <Vetch_sampler.h>
#include "numerics/attention.h"
#include "numerics/fixed_point.h"
#include "numerics/sampler.h"
#include "rtl/fabric/unit_bench.h"

namespace etch::rtl {
namespace {

constexpr int64_t kCycles = 73;

using Random = std::mt19937_64;

int64_t Between(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

class SamplerUnit : public testing::Test {
 protected:
  SamplerUnit() {
    bench_.memories = [this] {
      const size_t entry = bench_.unit.exp2_addr;
      return [this, pair = (static_cast<uint64_t>(tables_.exp2[entry + 1]) << 25) |
                           static_cast<uint64_t>(tables_.exp2[entry])] {
        bench_.unit.exp2_pair = pair;
      };
    };
    bench_.unit.clear = 0;
    bench_.unit.logit_valid = 0;
  }

  void Load(const std::vector<int32_t>& logits, Random& random) {
    auto& unit = bench_.unit;
    unit.clear = 1;
    bench_.Tick();
    unit.clear = 0;
    for (size_t id = 0; id < logits.size(); ++id) {
      while (random() % 4 == 0) {
        // What is not valid does not count.
        unit.logit = 0x7fffffff;
        bench_.Tick();
      }
      unit.logit_valid = 1;
      unit.logit = static_cast<uint32_t>(logits[id]);
      unit.logit_id = static_cast<uint32_t>(id) + first_id_;
      bench_.Tick();
      unit.logit_valid = 0;
    }
  }

  int32_t Choose(const numerics::SamplingConfig& config, uint64_t step, uint32_t stream) {
    auto& unit = bench_.unit;
    unit.inverse_temperature = static_cast<uint32_t>(config.inverse_temperature);
    unit.top_k = static_cast<uint8_t>(config.top_k);
    unit.top_p = config.top_p;
    unit.min_p = config.min_p;
    unit.seed = config.seed;
    unit.step = step;
    unit.stream = stream;
    EXPECT_EQ(bench_.Run(), kCycles);
    EXPECT_FALSE(unit.done);
    EXPECT_EQ(unit.exp2_addr, 0);
    return static_cast<int32_t>(unit.token - first_id_);
  }

  numerics::FunctionTables tables_ = numerics::BuildFunctionTables();
  test::UnitBench<Vetch_sampler> bench_{0};
  uint32_t first_id_ = 0;  // id of the first logit
};

std::vector<int32_t> RandomLogits(Random& random) {
  std::vector<int32_t> logits(
      static_cast<size_t>(random() % 2 == 0 ? Between(random, 1, 9) : Between(random, 10, 60)));
  // From all equal to as far apart as logits can be.
  const int64_t spread = (int64_t{1} << Between(random, 0, 32)) - 1;
  const int64_t middle = Between(random, -numerics::kMax32, numerics::kMax32);
  for (int32_t& logit : logits) {
    logit = static_cast<int32_t>(
        std::clamp<int64_t>(middle + Between(random, -spread / 2, spread - spread / 2),
                            -numerics::kMax32, numerics::kMax32));
  }
  const uint64_t order = random() % 8;
  if (order == 0) {
    std::sort(logits.begin(), logits.end());
  } else if (order == 1) {
    std::sort(logits.rbegin(), logits.rend());
  } else if (order == 2 && logits.size() > 1) {
    logits.front() = -numerics::kMax32;
    logits.back() = numerics::kMax32;
  }
  return logits;
}

// Settings at their ends and between them, more often where they matter.
numerics::SamplingConfig RandomConfig(Random& random, const std::vector<int32_t>& logits) {
  numerics::SamplingConfig config;
  config.greedy = false;
  const auto [least, largest] = std::minmax_element(logits.begin(), logits.end());
  const double spread = static_cast<double>(int64_t{*largest} - *least) + 1;
  switch (random() % 5) {
    case 0:
      config.inverse_temperature = random() % 2 == 0 ? 0xffffff : 9454846;
      break;
    case 1:
      config.inverse_temperature = static_cast<uint64_t>(Between(random, 0, 0xffffff));
      break;
    case 2:
      config.inverse_temperature = static_cast<uint64_t>(Between(random, 0, 2));
      break;
    default:  // distances of the whole list up to 2^0 ... 2^5
      config.inverse_temperature = static_cast<uint64_t>(std::clamp(
          0x1p32 / spread * static_cast<double>(1 << Between(random, 0, 5)), 1.0, 16777215.0));
  }
  config.top_k = random() % 2 == 0 ? 8 : Between(random, 1, 8);
  config.top_p = static_cast<uint32_t>(
      random() % 8 == 0 ? 1 : (random() % 2 == 0 ? 65536 : Between(random, 1, 65536)));
  config.min_p = static_cast<uint32_t>(
      random() % 2 == 0 ? 0 : (random() % 4 == 0 ? 65535 : Between(random, 0, 65535) >> 2));
  config.seed = random() % 8 == 0 ? random() % 3 - 1 : random();
  return config;
}

TEST_F(SamplerUnit, ChoosesWhatTheContractDoes) {
  Random random(7);
  std::vector<int64_t> places(8);  // how often the k-th best was chosen
  for (int list = 0; list < 6000; ++list) {
    const std::vector<int32_t> logits = RandomLogits(random);
    first_id_ =
        static_cast<uint32_t>(random() % 4 == 0 ? (1 << 20) - 60 : Between(random, 0, 1000));
    Load(logits, random);
    for (int draw = 0; draw < 6; ++draw) {
      const numerics::SamplingConfig config = RandomConfig(random, logits);
      const uint64_t step = random() % 4 == 0 ? random() : static_cast<uint64_t>(draw);
      const auto stream = static_cast<uint32_t>(random() % 4 == 0 ? random() : 0);
      const int32_t expected = numerics::Sample(logits, config, step, stream, tables_);
      ASSERT_EQ(Choose(config, step, stream), expected)
          << "list " << list << ", " << logits.size() << " logits, top_k " << config.top_k
          << ", top_p " << config.top_p << ", min_p " << config.min_p << ", inverse temperature "
          << config.inverse_temperature;
      const auto place = std::count_if(logits.begin(), logits.end(), [&](const int32_t& logit) {
        const int32_t chosen = logits[static_cast<size_t>(expected)];
        return logit > chosen ||
               (logit == chosen && &logit < &logits[static_cast<size_t>(expected)]);
      });
      ++places[static_cast<size_t>(place)];
    }
  }
  for (const int64_t times : places) {
    EXPECT_GT(times, 200);
  }
}

TEST_F(SamplerUnit, TopKOfOneIsGreedyWhateverTheRest) {
  Random random(11);
  for (int list = 0; list < 2000; ++list) {
    const std::vector<int32_t> logits = RandomLogits(random);
    Load(logits, random);
    numerics::SamplingConfig config = RandomConfig(random, logits);
    config.top_k = 1;
    ASSERT_EQ(Choose(config, random(), 0), numerics::Greedy(logits));
  }
}

TEST_F(SamplerUnit, ALongListOfTheSameOrNearlyTheSameLogits) {
  Random random(13);
  for (const int64_t spread : {0, 1, 2, 40}) {
    std::vector<int32_t> logits(3000);
    for (int32_t& logit : logits) {
      logit = static_cast<int32_t>(Between(random, 0, spread)) - 20;
    }
    Load(logits, random);
    for (uint64_t step = 0; step < 100; ++step) {
      numerics::SamplingConfig config;
      config.greedy = false;
      config.inverse_temperature = 94548;
      config.top_k = 8;
      config.seed = 5;
      ASSERT_EQ(Choose(config, step, 3), numerics::Sample(logits, config, step, 3, tables_));
    }
  }
}

// Ties of the limits, where "less" and "at most" differ: equal weights, and top_p and min_p at
// exact parts of them.
TEST_F(SamplerUnit, LimitsMetExactly) {
  Random random(17);
  for (size_t count = 1; count <= 8; ++count) {
    // Weights 2^24 of the first half, 2^23 of the rest.
    std::vector<int32_t> logits(count, 0);
    std::fill(logits.begin() + static_cast<int64_t>((count + 1) / 2), logits.end(), -65536);
    Load(logits, random);
    for (const uint32_t top_p : {1U, 8192U, 16384U, 32768U, 49152U, 65535U, 65536U}) {
      for (const uint32_t min_p : {0U, 32767U, 32768U, 32769U, 65535U}) {
        for (uint64_t step = 0; step < 20; ++step) {
          numerics::SamplingConfig config;
          config.greedy = false;
          config.inverse_temperature = 65536;
          config.top_k = 8;
          config.top_p = top_p;
          config.min_p = min_p;
          config.seed = 3;
          ASSERT_EQ(Choose(config, step, 0), numerics::Sample(logits, config, step, 0, tables_));
        }
      }
    }
  }
}

uint64_t DrawOf(uint64_t seed, uint64_t step) {
  const auto random =
      numerics::Philox({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0},
                       {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (uint64_t{random[1]} << 32) | random[0];
}

// A draw so high that the last token with any weight is chosen shows that weight's last bit: where
// it decides whether min_p keeps the token, and where it decides between 0 and 1.
TEST_F(SamplerUnit, WeightsToTheLastBit) {
  numerics::SamplingConfig config;
  config.greedy = false;
  config.inverse_temperature = 65536;
  config.top_k = 8;
  config.seed = 1;
  constexpr uint64_t kStep = 19351156;
  ASSERT_GT(DrawOf(config.seed, kStep), ~uint64_t{0} - (uint64_t{1} << 38));
  Random random(23);
  int cases = 0;
  const auto check = [&](int64_t distance) {
    const std::vector<int32_t> logits = {0, static_cast<int32_t>(-distance)};
    Load(logits, random);
    ASSERT_EQ(Choose(config, kStep, 0), numerics::Sample(logits, config, kStep, 0, tables_))
        << distance;
    ++cases;
  };
  for (int64_t distance = (24 << 16) + 65000; distance < (26 << 16) + 1000; distance += 7) {
    config.min_p = 0;
    check(distance);
  }
  check(25 << 16);
  check((25 << 16) + 1);
  for (int draw = 0; draw < 300'000; ++draw) {
    const int64_t distance = Between(random, 0, 17 << 16);
    const auto weight = static_cast<uint32_t>(numerics::Exp2Negative(distance, tables_));
    if ((weight + 1) % 256 <= 1 && weight < (1 << 24) - 1) {
      config.min_p = (weight + 1) / 256;
      check(distance);
    }
  }
  EXPECT_GT(cases, 10'000);
}

// Draws whose target is a running sum of weights, or one below it, and one whose low word decides.
TEST_F(SamplerUnit, TargetsAtTheEdgeOfAToken) {
  Random random(29);
  struct Case {
    uint64_t step;
    size_t count;
    uint64_t target;
  };
  constexpr uint64_t kWeight = 1 << 24;
  for (const Case& test : {Case{2454180, 8, 3 * kWeight}, Case{4427064, 8, 6 * kWeight},
                           Case{15368622, 8, 4 * kWeight - 1}, Case{38379636, 8, 3 * kWeight - 1},
                           Case{4272906421, 5, 2 * kWeight}}) {
    ASSERT_EQ(numerics::MultiplyHigh(DrawOf(1, test.step), test.count * kWeight), test.target);
    const std::vector<int32_t> logits(test.count, 5);
    Load(logits, random);
    numerics::SamplingConfig config;
    config.greedy = false;
    config.top_k = 8;
    config.seed = 1;
    EXPECT_EQ(Choose(config, test.step, 0), static_cast<int32_t>(test.target / kWeight));
    EXPECT_EQ(Choose(config, test.step, 0),
              numerics::Sample(logits, config, test.step, 0, tables_));
  }
}

// Weights that do not fall with the logit, as a damaged image's table gives them.
TEST_F(SamplerUnit, AnyTableThatAReaderAdmits) {
  Random random(31);
  for (int table = 0; table < 300; ++table) {
    const int bits = static_cast<int>(Between(random, 0, 24));
    for (int32_t& entry : tables_.exp2) {
      entry = static_cast<int32_t>(Between(random, 1, int64_t{1} << bits));
    }
    tables_.exp2[0] = 1 << 24;
    std::sort(tables_.exp2.rbegin(), tables_.exp2.rend());
    ASSERT_TRUE(numerics::Validate(tables_).has_value());
    for (int list = 0; list < 20; ++list) {
      std::vector<int32_t> logits(static_cast<size_t>(Between(random, 1, 8)));
      for (int32_t& logit : logits) {
        logit = static_cast<int32_t>(Between(random, 0, 8 << 16));
      }
      Load(logits, random);
      for (uint64_t step = 0; step < 5; ++step) {
        numerics::SamplingConfig config = RandomConfig(random, logits);
        config.inverse_temperature = 65536;
        ASSERT_EQ(Choose(config, step, 0), numerics::Sample(logits, config, step, 0, tables_));
      }
    }
  }
}

TEST_F(SamplerUnit, TheTokenStaysUntilTheNextStart) {
  Random random(19);
  Load({5, 9, 9}, random);
  numerics::SamplingConfig config;
  config.top_k = 1;
  EXPECT_EQ(Choose(config, 0, 0), 1);
  Load({7, 6, 4, 8}, random);
  EXPECT_EQ(bench_.unit.token, 1U);
  EXPECT_EQ(Choose(config, 0, 0), 3);
}

}  // namespace
}  // namespace etch::rtl
