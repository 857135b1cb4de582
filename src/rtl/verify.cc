#include "rtl/verify.h"

#include <fmt/format.h>

#include <chrono>

#include "rtl/vectors.h"

namespace etch::rtl {
namespace {

void Note(VerifyReport& report, std::string what) {
  ++report.mismatches;
  if (report.first_mismatch.empty()) {
    report.first_mismatch = std::move(what);
  }
}

ChipRequest RequestOf(const VerifyCase& test) {
  ChipRequest request;
  request.prompt.assign(test.prompt.begin(), test.prompt.end());
  request.max_tokens = test.tokens;
  request.logits = true;
  request.adapter = test.adapter ? test.slot : -1;
  if (!test.sampling.greedy) {
    request.inverse_temperature = static_cast<uint32_t>(test.sampling.inverse_temperature);
    request.top_k = static_cast<uint32_t>(test.sampling.top_k);
    request.top_p = test.sampling.top_p;
    request.min_p = test.sampling.min_p;
    request.seed = test.sampling.seed;
  }
  return request;
}

}  // namespace

Status VerifyOne(Simulation& simulation, engine::Engine& engine, const plan::HardwarePlan& plan,
                 const VerifyCase& test, VerifyReport& report, bool vectors) {
  if (test.adapter) {
    ETCH_TRY(simulation.LoadAdapter(test.slot, *test.adapter));
  }
  const auto begin = std::chrono::steady_clock::now();
  RunObserver observer;
  std::unique_ptr<VectorCheck> check;
  if (vectors) {
    ETCH_ASSIGN_OR_RETURN(check,
                          VectorCheck::Create(engine.image(), plan, test.prompt, test.adapter));
    observer = [&](const Observation& observed) { return check->Take(observed); };
  }
  ETCH_ASSIGN_OR_RETURN(const ChipResult chip, simulation.Run(RequestOf(test), observer));
  if (check) {
    const VectorReport found = check->Finish();
    report.vectors += found.vectors;
    report.vector_elements += found.elements;
    report.vector_mismatches += found.mismatches;
    if (report.first_mismatch.empty()) {
      report.first_mismatch = found.first_mismatch;
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report.seconds += seconds.count();
  report.cycles += chip.cycles;

  engine::SessionOptions options;
  options.context = plan.fabric.choices.context;
  if (test.adapter) {
    options.adapters.push_back({test.adapter});
  }
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Session> session, engine.NewSession(options));
  report.planned_cycles += plan::kStartCycles;
  std::vector<engine::TokenId> next = test.prompt;
  const int64_t vocabulary = plan.fabric.config.vocab_size;
  for (int64_t index = 0; index < test.tokens; ++index) {
    const bool with_adapter = test.adapter != nullptr;
    for (size_t token = 0; token < next.size(); ++token) {
      const int64_t position = session->position() + static_cast<int64_t>(token);
      ++report.positions;
      report.planned_cycles +=
          plan::TokenCycles(plan, position, with_adapter, token + 1 == next.size());
    }
    const engine::Step step{session.get(), next};
    ETCH_TRY(engine.Forward({&step, 1}));
    const std::span<const int32_t> logits = session->logits();
    if (std::ssize(chip.logits) < (index + 1) * vocabulary || std::ssize(chip.tokens) <= index) {
      Note(report, fmt::format("token {}: the chip gave {} tokens and {} logits", index,
                               chip.tokens.size(), chip.logits.size()));
      return {};
    }
    for (int64_t id = 0; id < vocabulary; ++id) {
      const int32_t found = chip.logits[static_cast<size_t>(index * vocabulary + id)];
      ++report.logits;
      if (found != logits[static_cast<size_t>(id)]) {
        Note(report, fmt::format("token {}: the logit of id {} is {}, the engine's {}", index, id,
                                 found, logits[static_cast<size_t>(id)]));
      }
    }
    const engine::TokenId token =
        test.sampling.greedy ? numerics::Greedy(logits)
                             : numerics::Sample(logits, test.sampling, static_cast<uint64_t>(index),
                                                0, engine.image().tables());
    ++report.tokens;
    const int32_t found = chip.tokens[static_cast<size_t>(index)];
    if (found != token) {
      Note(report, fmt::format("token {} is {}, the engine's {}", index, found, token));
    }
    next = {found};
  }
  return {};
}

}  // namespace etch::rtl
