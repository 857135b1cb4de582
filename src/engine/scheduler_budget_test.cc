// Requests under a budget: who waits, who is refused, who shares, and that the text stays the same.

#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include "engine/scheduler_fixture_test.h"

namespace etch::engine {
namespace {

using test::Outcome;

// An adapter that arrives when the test says so.
class SlowSource : public AdapterSource {
 public:
  SlowSource(Budget& budget, std::shared_ptr<const AdapterWeights> weights)
      : budget_(budget), state_(std::make_shared<State>()) {
    state_->weights = std::move(weights);
  }
  int64_t size_bytes() const override { return 1000; }
  std::shared_ptr<const AdapterClaim> Claim() override {
    auto reservation = budget_.Reserve(size_bytes(), Budget::Use::kAdapter);
    if (!reservation) {
      return nullptr;
    }
    auto claim = std::make_shared<OneClaim>();
    claim->reservation = std::move(*reservation);
    claim->state = state_;
    claimed.fetch_add(1);
    return claim;
  }
  void Arrive() {
    state_->arrived = true;
    budget_.Notify();
  }
  void Break() {
    state_->broken = true;
    budget_.Notify();
  }
  std::atomic<int> claimed = 0;

 private:
  struct State {
    std::shared_ptr<const AdapterWeights> weights;
    std::atomic<bool> arrived = false;
    std::atomic<bool> broken = false;
  };
  struct OneClaim : AdapterClaim {
    Budget::Reservation reservation;
    std::shared_ptr<State> state;
    Result<const AdapterWeights*> Weights() const override {
      if (state->broken) {
        return Fail(ErrorCode::kMalformed, "broken adapter");
      }
      return state->arrived ? state->weights.get() : nullptr;
    }
  };
  Budget& budget_;
  std::shared_ptr<State> state_;
};

class SchedulerBudgetTest : public test::SchedulerFixture {
 protected:
  SchedulerBudgetTest() : SchedulerFixture(256) {}

  int64_t Bytes(int64_t tokens) const { return tokens * engine_->info().kv_bytes_per_token; }
  static Request MakeRequest(int64_t prompt, int64_t max_tokens, uint64_t seed = 1) {
    return SchedulerFixture::MakeRequest(Prompt(prompt), max_tokens, seed);
  }
};

TEST_F(SchedulerBudgetTest, RefusesWhatCanNeverFitAndSaysWhatThereIs) {
  Budget budget(Bytes(64));
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  EXPECT_EQ(Start(scheduler, MakeRequest(10, 55)).get().tokens.size(), 55U);  // 64 tokens
  const auto refused = scheduler.Submit(MakeRequest(10, 56));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  EXPECT_NE(refused.error().message.find("context of 80 tokens"), std::string::npos);
  EXPECT_NE(refused.error().message.find("ask for fewer tokens"), std::string::npos);
}

TEST_F(SchedulerBudgetTest, RunsNoMoreAtOnceThanFit) {
  Budget budget(Bytes(64));
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  std::mutex mutex;
  int64_t most_bytes = 0;
  int64_t most_running = 0;
  std::vector<std::future<Outcome>> outcomes;
  for (uint64_t index = 0; index < 12; ++index) {
    Request request = MakeRequest(3, 30, index);  // 32 tokens: two fit
    request.on_token = [&](const TokenEvent&) {
      const std::lock_guard lock(mutex);
      most_bytes = std::max(most_bytes, budget.used_bytes());
      most_running = std::max(most_running, scheduler.status().running);
      return true;
    };
    outcomes.push_back(Start(scheduler, std::move(request)));
  }
  std::vector<std::vector<TokenId>> texts;
  for (std::future<Outcome>& outcome : outcomes) {
    texts.push_back(outcome.get().tokens);
  }
  EXPECT_EQ(most_bytes, Bytes(64));
  EXPECT_LE(most_running, 3);  // two, and one that ends
  EXPECT_TRUE(scheduler.Drain(5.0));
  EXPECT_EQ(budget.used_bytes(), 0);
  // An engine has one scheduler at work.
  for (uint64_t index = 0; index < 12; ++index) {
    Scheduler alone(*engine_, {});
    EXPECT_EQ(texts[index], Start(alone, MakeRequest(3, 30, index)).get().tokens);
  }
}

TEST_F(SchedulerBudgetTest, ALargeRequestIsNotOvertakenByOthersOfItsClient) {
  Budget budget(Bytes(64));
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  std::mutex mutex;
  std::string order;
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  std::vector<std::future<Outcome>> outcomes;
  const auto submit = [&](char name, int64_t max_tokens) {
    Request request = MakeRequest(3, max_tokens);
    auto first = std::make_shared<bool>(true);
    request.on_token = [&, gate, name, first](const TokenEvent&) {
      if (std::exchange(*first, false)) {
        gate.wait();
        const std::lock_guard lock(mutex);
        order += name;
      }
      return true;
    };
    outcomes.push_back(Start(scheduler, std::move(request)));
  };
  submit('a', 30);
  submit('L', 60);  // all of the budget
  submit('b', 10);
  submit('c', 10);
  go.set_value();
  for (auto& outcome : outcomes) {
    EXPECT_EQ(outcome.get().reason, FinishReason::kLength);
  }
  EXPECT_EQ(order, "aLbc");
}

TEST_F(SchedulerBudgetTest, AFloodOfOneClientDoesNotStarveAnother) {
  Scheduler scheduler(*engine_, {1, 64, 64});
  std::mutex mutex;
  std::string order;
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  std::vector<std::future<Outcome>> outcomes;
  const auto submit = [&](const std::string& client) {
    Request request = MakeRequest(2, 2);
    request.client = client;
    auto first = std::make_shared<bool>(true);
    request.on_token = [&, gate, client, first](const TokenEvent&) {
      if (std::exchange(*first, false)) {
        gate.wait();
        const std::lock_guard lock(mutex);
        order += client;
      }
      return true;
    };
    outcomes.push_back(Start(scheduler, std::move(request)));
  };
  for (int index = 0; index < 30; ++index) {
    submit("f");
  }
  submit("q");
  submit("r");
  go.set_value();
  for (auto& outcome : outcomes) {
    outcome.get();
  }
  EXPECT_LE(order.find('q'), 3U) << order;
  EXPECT_LE(order.find('r'), 4U) << order;
}

TEST_F(SchedulerBudgetTest, OthersGoOnWhileAnAdapterArrives) {
  Budget budget(Bytes(256));
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  const auto weights = test::RandomAdapter(test::OddConfig(), 8, 22);
  const auto source = std::make_shared<SlowSource>(budget, weights);
  Request request = MakeRequest(4, 10);
  request.requested = {{source}};
  auto adapted = Start(scheduler, std::move(request));
  EXPECT_EQ(Start(scheduler, MakeRequest(4, 10)).get().tokens.size(), 10U);
  EXPECT_EQ(adapted.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(scheduler.status().loading, 1);
  source->Arrive();
  Request direct = MakeRequest(4, 10);
  direct.adapters = {{weights}};
  EXPECT_EQ(adapted.get().tokens, Start(scheduler, std::move(direct)).get().tokens);
  EXPECT_TRUE(scheduler.Drain(5.0));
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_EQ(source->claimed, 1);
}

TEST_F(SchedulerBudgetTest, AnAdapterThatFailsFailsItsRequestOnly) {
  Budget budget;
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  const auto source =
      std::make_shared<SlowSource>(budget, test::RandomAdapter(test::OddConfig(), 8, 22));
  Request request = MakeRequest(4, 10);
  request.requested = {{source}};
  auto adapted = Start(scheduler, std::move(request));
  source->Break();
  EXPECT_EQ(adapted.get().error, "broken adapter");
  EXPECT_EQ(Start(scheduler, MakeRequest(4, 10)).get().reason, FinishReason::kLength);
}

TEST_F(SchedulerBudgetTest, CancelFreesWhatWaitsForItsAdapter) {
  Budget budget;
  SchedulerOptions options;
  options.budget = &budget;
  Scheduler scheduler(*engine_, options);
  const auto source =
      std::make_shared<SlowSource>(budget, test::RandomAdapter(test::OddConfig(), 8, 22));
  Request request = MakeRequest(4, 10);
  request.requested = {{source}};
  auto adapted = Start(scheduler, std::move(request));
  scheduler.Cancel(1);
  EXPECT_EQ(adapted.get().reason, FinishReason::kCancelled);
  EXPECT_TRUE(scheduler.Drain(5.0));
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST_F(SchedulerBudgetTest, RefusesWhatStopsFittingWhileItWaits) {
  Budget budget(Bytes(64));
  SchedulerOptions options;
  options.budget = &budget;
  auto held = budget.Reserve(Bytes(40), Budget::Use::kAdapter);  // by nobody who gives it back
  Scheduler scheduler(*engine_, options);
  const Outcome outcome = Start(scheduler, MakeRequest(10, 30)).get();
  EXPECT_EQ(outcome.reason, FinishReason::kFailed);
  EXPECT_NE(outcome.error.find("too little of the budget"), std::string::npos);
  auto waiting = Start(scheduler, MakeRequest(10, 30));
  held.reset();
  EXPECT_EQ(waiting.get().reason, FinishReason::kLength);
}

// A conversation: each request begins with the text of the last.
TEST_F(SchedulerBudgetTest, AConversationIsTheSameWithAndWithoutKeptContexts) {
  auto adapter = std::make_shared<AdapterWeights>(*test::RandomAdapter(test::OddConfig(), 8, 3));
  adapter->identity = {11, 12};
  std::vector<std::vector<TokenId>> texts;
  for (const int64_t cache_bytes : {int64_t{0}, int64_t{1} << 30}) {
    SchedulerOptions options;
    options.prefix_cache_bytes = cache_bytes;
    options.speculation = cache_bytes > 0 ? Speculation::kAlways : Speculation::kOff;
    Scheduler scheduler(*engine_, options);
    std::vector<TokenId>& text = texts.emplace_back(MakeRequest(20, 1).prompt);
    for (uint64_t turn = 0; turn < 5; ++turn) {
      Request request = MakeRequest(1, 25, turn);
      request.prompt = text;
      request.adapters = {{adapter}};
      const auto read = std::ssize(text);
      const Outcome outcome = Start(scheduler, std::move(request)).get();
      // The last drawn token was not read; what stands before it was.
      EXPECT_EQ(outcome.cached_tokens, cache_bytes == 0 || turn == 0 ? 0 : read - 2);
      text.insert(text.end(), outcome.tokens.begin(), outcome.tokens.end());
      text.push_back(7);
    }
    EXPECT_EQ(scheduler.status().prefixes.hits, cache_bytes == 0 ? 0 : 4);
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST_F(SchedulerBudgetTest, ContextsAreKeptPerSaltAndAdapter) {
  SchedulerOptions options;
  options.prefix_cache_bytes = 1 << 30;
  Scheduler scheduler(*engine_, options);
  auto adapter = std::make_shared<AdapterWeights>(*test::RandomAdapter(test::OddConfig(), 8, 3));
  adapter->identity = {11, 12};
  const auto cached = [&](const std::string& salt, bool adapted) {
    Request request = MakeRequest(40, 4);
    request.salt = salt;
    if (adapted) {
      // Another object of the same content, as after an eviction.
      request.adapters = {{std::make_shared<AdapterWeights>(*adapter)}};
    }
    return Start(scheduler, std::move(request)).get().cached_tokens;
  };
  EXPECT_EQ(cached("a", false), 0);
  EXPECT_EQ(cached("a", false), 39);
  EXPECT_EQ(cached("b", false), 0);
  EXPECT_EQ(cached("", false), 0);
  EXPECT_EQ(cached("a", true), 0);
  EXPECT_EQ(cached("a", true), 39);
  EXPECT_EQ(cached("b", true), 0);
}

TEST_F(SchedulerBudgetTest, KeptContextsMakeRoomForRequests) {
  Budget budget(Bytes(128));
  SchedulerOptions options;
  options.budget = &budget;
  options.prefix_cache_bytes = 1 << 30;
  Scheduler scheduler(*engine_, options);
  for (uint64_t index = 0; index < 8; ++index) {
    Request request = MakeRequest(40, 8, index);
    request.salt = std::string(1, static_cast<char>('a' + index));
    EXPECT_EQ(Start(scheduler, std::move(request)).get().reason, FinishReason::kLength);
  }
  EXPECT_EQ(scheduler.status().prefixes.entries, 2);
  EXPECT_EQ(Start(scheduler, MakeRequest(60, 60)).get().reason, FinishReason::kLength);
  EXPECT_TRUE(scheduler.Drain(5.0));
  EXPECT_EQ(budget.used_bytes(), budget.used_bytes(Budget::Use::kPrefix));
}

}  // namespace
}  // namespace etch::engine
