#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "engine/scheduler_fixture_test.h"

namespace etch::engine {
namespace {

using test::Outcome;

class SchedulerTest : public test::SchedulerFixture {
 protected:
  SchedulerTest() : SchedulerFixture(64) {}
};

TEST_F(SchedulerTest, TheTextOfARequestDoesNotDependOnTheOthers) {
  const auto adapter = test::RandomAdapter(test::OddConfig(), 8, 22);
  const auto request = [&](uint64_t index) {
    Request made =
        MakeRequest(std::vector<TokenId>(1 + index * 5, static_cast<TokenId>(index)), 20, index);
    if (index % 2 == 1) {
      made.adapters = {{adapter}};
    }
    return made;
  };
  std::vector<Outcome> alone;
  for (uint64_t index = 0; index < 6; ++index) {
    Scheduler scheduler(*engine_, {1, 16, 64});
    alone.push_back(Start(scheduler, request(index)).get());
    EXPECT_EQ(alone.back().reason, FinishReason::kLength);
    EXPECT_EQ(alone.back().tokens.size(), 20U);
  }
  Scheduler scheduler(*engine_, {4, 16, 3});
  std::vector<std::future<Outcome>> together;
  for (uint64_t index = 0; index < 6; ++index) {
    together.push_back(Start(scheduler, request(index)));
  }
  for (size_t index = 0; index < together.size(); ++index) {
    EXPECT_EQ(together[index].get().tokens, alone[index].tokens) << index;
  }
}

TEST_F(SchedulerTest, TurnsAreFair) {
  Scheduler scheduler(*engine_, {2, 16, 64, Speculation::kOff});  // one token a turn
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::future<Outcome>> outcomes;
  for (int who = 0; who < 2; ++who) {
    Request request = MakeRequest({1}, 30, 1);
    request.on_token = [&, who](const TokenEvent&) {
      const std::lock_guard lock(mutex);
      order.push_back(who);
      return true;
    };
    outcomes.push_back(Start(scheduler, std::move(request)));
  }
  for (auto& outcome : outcomes) {
    outcome.get();
  }
  // Once both run, they alternate.
  const auto second = std::find(order.begin(), order.end(), 1) - order.begin();
  for (std::ptrdiff_t at = second; at + 1 < std::ssize(order) && at < 30; ++at) {
    EXPECT_NE(order[static_cast<size_t>(at)], order[static_cast<size_t>(at + 1)]);
  }
}

TEST_F(SchedulerTest, EndsAtAnEndTokenAtTheContextAndWhenToldTo) {
  Scheduler scheduler(*engine_, {});
  const Outcome free_run = Start(scheduler, MakeRequest({1, 2}, 1000, 5)).get();
  EXPECT_EQ(free_run.reason, FinishReason::kLength);
  EXPECT_EQ(free_run.tokens.size(), 63U);  // context 64, prompt 2, and the token behind the last

  Request ending = MakeRequest({1, 2}, 1000, 5);
  ending.end_tokens = {free_run.tokens[7]};
  const auto first = std::find(free_run.tokens.begin(), free_run.tokens.end(), free_run.tokens[7]);
  const Outcome ended = Start(scheduler, std::move(ending)).get();
  EXPECT_EQ(ended.reason, FinishReason::kStop);
  EXPECT_EQ(ended.tokens, std::vector<TokenId>(free_run.tokens.begin(), first));

  Request stopped = MakeRequest({1, 2}, 1000, 5);
  auto count = std::make_shared<int>(0);
  stopped.on_token = [count](const TokenEvent&) { return ++*count < 3; };
  EXPECT_EQ(Start(scheduler, std::move(stopped)).get().tokens.size(), 3U);
}

TEST_F(SchedulerTest, SpeculationChangesNothingButTheTime) {
  const auto adapter = test::RandomAdapter(test::OddConfig(), 8, 23);
  std::vector<std::vector<Outcome>> runs;
  std::vector<SpeculationCounts> counts;
  for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways}) {
    Scheduler scheduler(*engine_, {4, 32, 9, speculation});
    std::vector<std::future<Outcome>> started;
    for (uint64_t index = 0; index < 12; ++index) {
      Request request = MakeRequest(std::vector<TokenId>(1 + index, static_cast<TokenId>(index)),
                                    static_cast<int64_t>(20 + 11 * index), index);
      request.context = 80 + static_cast<int64_t>(index);
      if (index % 3 != 0) {
        request.sampling = numerics::ToConfig({});  // greedy
      }
      if (index % 2 == 0) {
        request.adapters = {{adapter}};
      }
      if (index % 4 == 1) {
        request.end_tokens = {3, 9, 27, 54};
      }
      if (index % 4 == 2) {
        auto left = std::make_shared<int>(7 + static_cast<int>(index));
        request.on_token = [left](const TokenEvent&) { return --*left > 0; };
      }
      started.push_back(Start(scheduler, std::move(request)));
    }
    std::vector<Outcome>& outcomes = runs.emplace_back();
    for (auto& outcome : started) {
      outcomes.push_back(outcome.get());
    }
    EXPECT_TRUE(scheduler.Drain(5.0));
    counts.push_back(scheduler.status().speculation);
  }
  for (size_t index = 0; index < runs[0].size(); ++index) {
    EXPECT_EQ(runs[1][index].tokens, runs[0][index].tokens) << index;
    EXPECT_EQ(runs[1][index].reason, runs[0][index].reason) << index;
  }
  EXPECT_EQ(counts[0].drafted, 0);
  EXPECT_GT(counts[1].accepted, 50);
  EXPECT_GE(counts[1].drafted, counts[1].accepted);
}

TEST_F(SchedulerTest, CancelIsHeardBetweenAcceptedDrafts) {
  for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways}) {
    int64_t accepted = 0;
    for (size_t stop_after = 30; stop_after < 45; ++stop_after) {
      Scheduler scheduler(*engine_, {1, 16, 64, speculation});
      Request request = MakeRequest({1}, 1000, 1);
      request.sampling = numerics::ToConfig({});  // greedy: it repeats, drafts come through
      request.context = 320;
      auto seen = std::make_shared<size_t>(0);
      request.on_token = [&scheduler, seen, stop_after](const TokenEvent&) {
        if (++*seen == stop_after) {
          scheduler.Cancel(1);
        }
        return true;
      };
      const Outcome outcome = Start(scheduler, std::move(request)).get();
      EXPECT_EQ(outcome.reason, FinishReason::kCancelled);
      EXPECT_EQ(outcome.tokens.size(), stop_after);
      EXPECT_TRUE(scheduler.Drain(5.0));
      accepted += scheduler.status().speculation.accepted;
    }
    EXPECT_EQ(accepted > 0, speculation == Speculation::kAlways);
  }
}

TEST_F(SchedulerTest, CancelFreesAtTheNextTurn) {
  Scheduler scheduler(*engine_, {1, 16, 64});
  std::promise<void> running;
  std::promise<void> cancelled;  // the engine waits for it after its first token
  std::atomic<bool> seen = false;
  Request endless = MakeRequest({1}, 1000, 1);
  endless.context = 320;
  endless.on_token = [&](const TokenEvent&) {
    if (!seen.exchange(true)) {
      running.set_value();
      cancelled.get_future().wait();
    }
    return true;
  };
  auto outcome = Start(scheduler, std::move(endless));
  running.get_future().wait();
  auto waiting = Start(scheduler, MakeRequest({2}, 3, 2));
  scheduler.Cancel(1);
  cancelled.set_value();
  EXPECT_EQ(outcome.get().reason, FinishReason::kCancelled);
  EXPECT_EQ(waiting.get().reason, FinishReason::kLength);
  scheduler.Cancel(999);  // unknown ids are ignored
  EXPECT_TRUE(scheduler.Drain(5.0));
  EXPECT_EQ(scheduler.status().running, 0);
}

TEST_F(SchedulerTest, RefusesWhatCannotRun) {
  Scheduler scheduler(*engine_, {0, 0, 64});
  const auto code = [&](Request request) {
    const auto id = scheduler.Submit(std::move(request));
    EXPECT_FALSE(id);
    return id ? ErrorCode::kIo : id.error().code;
  };
  EXPECT_EQ(code(MakeRequest({}, 1, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(MakeRequest({1}, 0, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(MakeRequest({67}, 1, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(MakeRequest({-1}, 1, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(MakeRequest(std::vector<TokenId>(64, 1), 1, 1)), ErrorCode::kContextExceeded);
  Request longer = MakeRequest({1}, 1, 1);
  longer.context = 100000;
  EXPECT_EQ(code(std::move(longer)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(MakeRequest({1}, 1, 1)), ErrorCode::kUnavailable);  // no place in the queue
  EXPECT_TRUE(scheduler.Drain(1.0));
  EXPECT_EQ(code(MakeRequest({1}, 1, 1)), ErrorCode::kUnavailable);
}

TEST_F(SchedulerTest, FailsARequestWhoseSessionCannotBeMade) {
  Scheduler scheduler(*engine_, {});
  Request request = MakeRequest({1}, 1, 1);
  auto foreign = std::make_shared<AdapterWeights>();
  foreign->n_layers = 1000;
  request.adapters = {{foreign}};
  const Outcome outcome = Start(scheduler, std::move(request)).get();
  EXPECT_EQ(outcome.reason, FinishReason::kFailed);
  EXPECT_NE(outcome.error.find("1000 layers"), std::string::npos);
}

TEST_F(SchedulerTest, FailsARequestThatItsFilterLeavesNoToken) {
  Scheduler scheduler(*engine_, {});
  Request request = MakeRequest({1}, 10, 1);
  int drawn = 0;
  std::vector<uint64_t> mask(2, 0);
  request.filter.allowed = [&] {
    mask[0] = drawn < 3 ? uint64_t{1} << 7 : 0;
    return numerics::AllowedTokens(mask);
  };
  request.filter.accept = [&](TokenId token) { drawn += token == 7 ? 1 : 0; };
  const Outcome outcome = Start(scheduler, std::move(request)).get();
  EXPECT_EQ(outcome.reason, FinishReason::kFailed);
  EXPECT_NE(outcome.error.find("no token"), std::string::npos);
  EXPECT_EQ(drawn, 3);
}

TEST_F(SchedulerTest, StoppingCancelsWhatRuns) {
  std::future<Outcome> outcome;
  {
    Scheduler scheduler(*engine_, {1, 16, 64});
    Request request = MakeRequest({1}, 1000, 1);
    request.context = 320;
    outcome = Start(scheduler, std::move(request));
  }
  EXPECT_EQ(outcome.get().reason, FinishReason::kCancelled);
}

}  // namespace
}  // namespace etch::engine
