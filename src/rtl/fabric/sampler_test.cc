#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "Vetch_sampler.h"
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

  const numerics::FunctionTables tables_ = numerics::BuildFunctionTables();
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
