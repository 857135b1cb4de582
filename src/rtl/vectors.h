#pragma once

// Every vector between the units of a chip in simulation beside the reference backend's: the first
// element that differs is named by token, layer and step.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/observer.h"
#include "plan/hardware_plan.h"
#include "rtl/simulation.h"

namespace etch::rtl {

struct VectorReport {
  int64_t vectors = 0;     // compared
  int64_t elements = 0;    // words, codes and shifts of them
  int64_t mismatches = 0;  // elements, and tokens and steps that are not those of the plan
  std::string first_mismatch;
};

// One run of a chip from an empty context: feed it what the run's observer is told. The reference
// goes along token by token, always with the chip's own token.
class VectorCheck {
 public:
  // `image` and `plan` outlive it. The errors of Engine::NewSession.
  static Result<std::unique_ptr<VectorCheck>> Create(
      const image::Image& image, const plan::HardwarePlan& plan,
      std::span<const engine::TokenId> prompt,
      const std::shared_ptr<const engine::AdapterWeights>& adapter);

  Status Take(const Observation& observed);
  // At the end of the run.
  VectorReport Finish();

 private:
  // A vector of the reference; without a kind, what a step that makes none has.
  struct Right {
    std::optional<engine::VectorKind> kind;
    std::vector<int32_t> values;
    std::vector<uint8_t> shifts;
  };
  using Found = std::vector<std::optional<int32_t>>;

  VectorCheck(const plan::HardwarePlan& plan, std::span<const engine::TokenId> prompt,
              bool with_adapter);

  bool IsLeftOut(const plan::Step& step) const;
  int64_t NextStep(int64_t step) const;
  Status BeginStep(int64_t step, engine::TokenId token);
  Status BeginToken(engine::TokenId token);
  // Gives every step of the plan its vector of `made_`.
  void Pair();
  void EndStep();
  void Put(Found& found, std::string_view what, int64_t index, int32_t value);
  void Compare(const Found& found, std::string_view what, auto right);
  void Note(std::string what);
  std::string Where() const;

  const plan::HardwarePlan& plan_;
  std::vector<engine::TokenId> prompt_;
  bool with_adapter_;
  std::unique_ptr<engine::Engine> reference_;
  std::unique_ptr<engine::Session> session_;
  std::vector<Right> made_;   // by the reference for the token, in its order
  std::vector<Right> right_;  // the same, by step of the plan
  int64_t token_ = -1;        // of the run, from 0
  bool wanted_ = false;
  int64_t step_ = -1;  // the chip's; -1 before the first
  Found words_;        // that the step wrote, or its codes
  Found shifts_;
  VectorReport report_;
};

}  // namespace etch::rtl
