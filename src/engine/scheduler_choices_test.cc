// Parallel choices of one request: the prompt is read once, and the texts are those of requests
// that read it themselves.

#include "engine/scheduler_fixture_test.h"

namespace etch::engine {
namespace {

using test::Outcome;

class SchedulerChoicesTest : public test::SchedulerFixture {
 protected:
  SchedulerChoicesTest() : SchedulerFixture(256) {}

  static Request MakeChoice(uint32_t stream, int64_t prompt = 100) {
    Request request = MakeRequest(Prompt(prompt), 12, 4);
    request.stream = stream;
    return request;
  }
  // An on_token that waits for the promise.
  static std::function<bool(const TokenEvent&)> Behind(std::promise<void>& promise) {
    return [gate = promise.get_future().share()](const TokenEvent&) {
      gate.wait();
      return true;
    };
  }
  // Submits `count` choices that follow the first; their outcomes.
  std::vector<Outcome> Run(Scheduler& scheduler, uint32_t count, const Request& like,
                           bool follow = true) {
    std::promise<void> all_there;  // the first says nothing before: it cannot end too soon
    std::vector<Submitted> submitted;
    for (uint32_t stream = 0; stream < count; ++stream) {
      Request request = like;
      request.stream = stream;
      request.leader = stream == 0 || !follow ? 0 : submitted[0].id;
      if (stream == 0) {
        request.on_token = Behind(all_there);
      }
      submitted.push_back(Submit(scheduler, std::move(request)));
    }
    all_there.set_value();
    std::vector<Outcome> outcomes;
    for (Submitted& one : submitted) {
      outcomes.push_back(one.outcome.get());
    }
    EXPECT_TRUE(scheduler.Drain(5.0));
    return outcomes;
  }
  static std::vector<std::vector<TokenId>> Texts(const std::vector<Outcome>& outcomes) {
    std::vector<std::vector<TokenId>> texts;
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.reason, FinishReason::kLength);
      texts.push_back(outcome.tokens);
    }
    return texts;
  }
};

TEST_F(SchedulerChoicesTest, ThePromptIsReadOnceAndTheTextsAreTheSame) {
  const auto adapter = test::RandomAdapter(test::OddConfig(), 8, 22);
  for (const bool adapted : {false, true}) {
    Request like = MakeChoice(0);
    if (adapted) {
      like.adapters = {{adapter}};
    }
    std::vector<std::vector<TokenId>> apart;
    {
      Scheduler scheduler(*engine_, {8, 16, 64});
      apart = Texts(Run(scheduler, 4, like, false));
      EXPECT_EQ(scheduler.status().copied_tokens, 0);
    }
    EXPECT_NE(apart[0], apart[1]);
    for (const int64_t chunk : {int64_t{7}, int64_t{64}, int64_t{512}}) {
      Scheduler scheduler(*engine_, {8, 16, chunk});
      EXPECT_EQ(Texts(Run(scheduler, 4, like)), apart) << chunk;
      EXPECT_EQ(scheduler.status().copied_tokens, 3 * 99) << chunk;
    }
  }
}

TEST_F(SchedulerChoicesTest, FewSeatsAndAnEndedLeaderChangeNothing) {
  std::vector<std::vector<TokenId>> apart;
  {
    Scheduler scheduler(*engine_, {8, 16, 64});
    apart = Texts(Run(scheduler, 5, MakeChoice(0), false));
  }
  for (const int64_t seats : {1, 2, 3}) {
    SchedulerOptions options;
    options.max_running = seats;
    options.prefix_cache_bytes = seats == 2 ? 0 : 1 << 20;
    Scheduler scheduler(*engine_, options);
    EXPECT_EQ(Texts(Run(scheduler, 5, MakeChoice(0))), apart) << seats;
  }
  // A leader that ends with its first token leaves nobody waiting.
  Request one = MakeChoice(0);
  one.max_tokens = 1;
  Scheduler scheduler(*engine_, {8, 16, 64});
  const auto texts = Texts(Run(scheduler, 3, one));
  for (size_t index = 0; index < texts.size(); ++index) {
    EXPECT_EQ(texts[index].front(), apart[index].front()) << index;
  }
}

TEST_F(SchedulerChoicesTest, NothingIsCopiedThatIsNotTheSame) {
  const auto copied = [&](const std::function<void(Request&)>& change) {
    Scheduler scheduler(*engine_, {8, 16, 64});
    std::promise<void> both_there;
    Request leader = MakeChoice(0);
    leader.on_token = Behind(both_there);
    Submitted first = Submit(scheduler, std::move(leader));
    Request second = MakeChoice(1);
    second.leader = first.id;
    change(second);
    Request alone = second;
    alone.leader = 0;
    Submitted follower = Submit(scheduler, std::move(second));
    both_there.set_value();
    const Outcome outcome = follower.outcome.get();
    first.outcome.get();
    EXPECT_TRUE(scheduler.Drain(5.0));
    const int64_t tokens = scheduler.status().copied_tokens;
    Scheduler other(*engine_, {8, 16, 64});
    EXPECT_EQ(outcome.tokens, Submit(other, std::move(alone)).outcome.get().tokens);
    return tokens;
  };
  EXPECT_EQ(copied([](Request&) {}), 99);
  EXPECT_EQ(copied([](Request& request) { request.prompt[40] = 1; }), 40);
  EXPECT_EQ(copied([](Request& request) { request.prompt[10] = 1; }), 0);
  EXPECT_EQ(copied([](Request& request) { request.salt = "other"; }), 0);
  EXPECT_EQ(copied([](Request& request) { request.leader = 99; }), 0);
  EXPECT_EQ(copied([](Request& request) {
              request.adapters = {{test::RandomAdapter(test::OddConfig(), 8, 22)}};
            }),
            0);
}

TEST_F(SchedulerChoicesTest, ALeaderThatIsCancelledLeavesNobodyWaiting) {
  Scheduler scheduler(*engine_, {8, 16, 1});  // a hundred turns for the prompt
  Submitted first = Submit(scheduler, MakeChoice(0));
  Request second = MakeChoice(1);
  second.leader = first.id;
  Submitted follower = Submit(scheduler, std::move(second));
  scheduler.Cancel(first.id);
  EXPECT_EQ(first.outcome.get().reason, FinishReason::kCancelled);
  EXPECT_EQ(follower.outcome.get().tokens.size(), 12U);
}

}  // namespace
}  // namespace etch::engine
