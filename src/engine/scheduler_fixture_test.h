#pragma once

// What the tests of the scheduler share: an engine over a random model, requests, their outcomes.

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/random_model_test.h"
#include "engine/scheduler.h"

namespace etch::engine::test {

struct Outcome {
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::kFailed;
  std::string error;
  int64_t cached_tokens = -1;  // -1: it never started
};

class SchedulerFixture : public ::testing::Test {
 protected:
  explicit SchedulerFixture(int64_t context) : context_(context) {}

  void SetUp() override {
    image_ = RandomImage(OddConfig(), 21);
    auto engine = Engine::Create(*image_, {BackendKind::kCpu, 2, "", context_});
    ASSERT_TRUE(engine);
    engine_ = std::move(*engine);
  }

  static Request MakeRequest(std::vector<TokenId> prompt, int64_t max_tokens, uint64_t seed) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling = numerics::ToConfig({1.0, 0, 1.0, 0.0, seed});
    return request;
  }
  // `length` tokens that do not repeat soon.
  static std::vector<TokenId> Prompt(int64_t length) {
    std::vector<TokenId> tokens;
    for (int64_t index = 0; index < length; ++index) {
      tokens.push_back(static_cast<TokenId>(index * 5 % 61));
    }
    return tokens;
  }

  struct Submitted {
    uint64_t id = 0;
    std::future<Outcome> outcome;
  };
  // Submits; the request's own on_token is asked too.
  static Submitted Submit(Scheduler& scheduler, Request request) {
    auto promise = std::make_shared<std::promise<Outcome>>();
    auto outcome = std::make_shared<Outcome>();
    request.on_start = [outcome](const RequestStart& start) {
      outcome->cached_tokens = start.cached_tokens;
    };
    request.on_token = [outcome, more = request.on_token](const TokenEvent& event) {
      outcome->tokens.push_back(event.token);
      return !more || more(event);
    };
    request.on_finish = [outcome, promise](FinishReason reason, const Error* error) {
      outcome->reason = reason;
      outcome->error = error != nullptr ? error->message : "";
      promise->set_value(*outcome);
    };
    std::future<Outcome> future = promise->get_future();
    const auto id = scheduler.Submit(std::move(request));
    EXPECT_TRUE(id) << (id ? "" : id.error().message);
    return {id.value_or(0), std::move(future)};
  }
  static std::future<Outcome> Start(Scheduler& scheduler, Request request) {
    return Submit(scheduler, std::move(request)).outcome;
  }

  const int64_t context_;
  std::unique_ptr<image::Image> image_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace etch::engine::test
