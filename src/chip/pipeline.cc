#include "chip/pipeline.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace etch::chip {
namespace {

// What a stage takes for a token, but for attention, which depends on the position.
struct StageCost {
  int64_t shared[2] = {0, 0};  // without and with an adapter: once a batch (products of matrices)
  int64_t each[2] = {0, 0};    // once a token
  int64_t wanted = 0;          // more for a token after which one is drawn
  int64_t attends = 0;         // attention steps
};

std::vector<StageCost> Costs(const plan::HardwarePlan& plan, const plan::Step*& attend) {
  constexpr int64_t kStep = 3;   // reading the program
  constexpr int64_t kToken = 3;  // fetching the token; one more to hand the next out
  std::vector<StageCost> stages(static_cast<size_t>(plan.fabric.choices.stages));
  for (StageCost& stage : stages) {
    stage.each[0] = stage.each[1] = 0;
  }
  for (const plan::Step& step : plan.steps) {
    StageCost& stage = stages[static_cast<size_t>(plan::StageOf(plan.fabric, step.layer))];
    stage.each[0] += kStep;
    stage.each[1] += kStep;
    if (step.operation == plan::Operation::kAttend) {
      ++stage.attends;
      attend = &step;
      continue;
    }
    const int64_t cycles = plan::StepCycles(plan, step, 0);
    if (step.wanted_only) {
      stage.wanted += cycles;
      continue;
    }
    const bool matrix = step.operation == plan::Operation::kBase ||
                        step.operation == plan::Operation::kAdapter;
    int64_t* const sums = matrix ? stage.shared : stage.each;
    sums[1] += cycles;
    if (!step.adapter_only) {
      sums[0] += cycles;
    }
  }
  stages.front().each[0] += kToken;
  stages.front().each[1] += kToken;
  stages.back().wanted += 1;
  return stages;
}

// A token, or a batch of a prompt's, that arrives at a stage.
struct Arrival {
  int64_t time = 0;
  int64_t order = 0;
  int64_t user = 0;
  int64_t position = 0;
  int64_t tokens = 1;
  int64_t stage = 0;

  bool operator>(const Arrival& other) const {
    return std::tie(time, order) > std::tie(other.time, other.order);
  }
};

struct User {
  int64_t first = 0;  // when its first token was drawn
  int64_t last = 0;
  int64_t drawn = 0;
};

class Simulator {
 public:
  Simulator(const plan::HardwarePlan& plan, const PipelineOptions& options, const Load& load)
      : plan_(plan), options_(options), load_(load), costs_(Costs(plan, attend_)) {}

  PipelineResult Run() {
    users_.resize(static_cast<size_t>(load_.users));
    free_.assign(costs_.size(), 0);
    work_.assign(costs_.size(), 0);
    for (int64_t user = 0; user < load_.users; ++user) {
      Issue(user, 0, plan::kStartCycles + (user + 1) * load_.swap_cycles);
    }
    while (!arrivals_.empty()) {
      const Arrival arrival = arrivals_.top();
      arrivals_.pop();
      Serve(arrival);
    }
    return Summary();
  }

 private:
  // The token at `position`, with those of the prompt behind it that go in the same batch.
  void Issue(int64_t user, int64_t position, int64_t time) {
    Arrival arrival;
    arrival.time = time;
    arrival.order = ++issued_;
    arrival.user = user;
    arrival.position = position;
    arrival.tokens =
        std::clamp<int64_t>(load_.prompt - position, 1, std::max<int64_t>(1, options_.prompt_batch));
    arrivals_.push(arrival);
  }

  int64_t Service(const Arrival& arrival) const {
    const StageCost& cost = costs_[static_cast<size_t>(arrival.stage)];
    const auto adapter = static_cast<size_t>(load_.adapter);
    int64_t cycles = cost.shared[adapter] + cost.each[adapter] * arrival.tokens;
    if (cost.attends > 0) {
      for (int64_t token = 0; token < arrival.tokens; ++token) {
        cycles += cost.attends * plan::StepCycles(plan_, *attend_, arrival.position + token);
      }
    }
    const int64_t last = arrival.position + arrival.tokens - 1;
    return cycles + (last >= load_.prompt - 1 ? cost.wanted : 0);
  }

  bool CrossesChips(int64_t from, int64_t to) const {
    const int64_t stages = std::ssize(costs_);
    return from * options_.chips / stages != to * options_.chips / stages;
  }

  void Serve(Arrival arrival) {
    const auto stage = static_cast<size_t>(arrival.stage);
    const int64_t cycles = Service(arrival);
    const int64_t end = std::max(arrival.time, free_[stage]) + cycles;
    free_[stage] = end;
    work_[stage] += cycles;
    const int64_t next = arrival.position + arrival.tokens;
    if (arrival.stage == 0 && next < load_.prompt) {
      Issue(arrival.user, next, end);
    }
    const int64_t stages = std::ssize(costs_);
    if (arrival.stage + 1 < stages) {
      const bool crosses = CrossesChips(arrival.stage, arrival.stage + 1);
      ++arrival.stage;
      arrival.time = end + (crosses ? options_.link_cycles : 0);
      arrival.order = ++issued_;
      arrivals_.push(arrival);
      return;
    }
    if (next < load_.prompt) {
      return;
    }
    User& user = users_[static_cast<size_t>(arrival.user)];
    user.last = end;
    user.first = user.drawn == 0 ? end : user.first;
    if (++user.drawn < load_.output) {
      Issue(arrival.user, next, end + (options_.chips > 1 ? options_.link_cycles : 0));
    }
  }

  PipelineResult Summary() const {
    PipelineResult result;
    int64_t first_drawn = users_.front().first;
    double between = 0.0;
    for (const User& user : users_) {
      result.cycles = std::max(result.cycles, user.last);
      first_drawn = std::min(first_drawn, user.first);
      result.first_token_cycles += static_cast<double>(user.first);
      between += static_cast<double>(user.last - user.first);
    }
    const auto users = static_cast<double>(load_.users);
    result.first_token_cycles /= users;
    result.prompt_cycles_per_token =
        static_cast<double>(users_.front().first - load_.swap_cycles) /
        static_cast<double>(load_.prompt);
    if (load_.output > 1) {
      result.cycles_per_token = between / users / static_cast<double>(load_.output - 1);
      result.tokens_per_cycle =
          (users * static_cast<double>(load_.output) - 1.0) /
          static_cast<double>(std::max<int64_t>(1, result.cycles - first_drawn));
    }
    for (const int64_t work : work_) {
      result.busy.push_back(static_cast<double>(work) / static_cast<double>(result.cycles));
    }
    return result;
  }

  const plan::HardwarePlan& plan_;
  const PipelineOptions& options_;
  const Load& load_;
  const plan::Step* attend_ = nullptr;
  std::vector<StageCost> costs_;
  std::vector<User> users_;
  std::vector<int64_t> free_;
  std::vector<int64_t> work_;
  int64_t issued_ = 0;
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> arrivals_;
};

}  // namespace

PipelineResult Simulate(const plan::HardwarePlan& plan, const PipelineOptions& options,
                        const Load& load) {
  return Simulator(plan, options, load).Run();
}

}  // namespace etch::chip
