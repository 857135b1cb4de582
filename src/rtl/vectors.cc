// What is compared, and where it is seen. Units hand vectors on in work memory, or as codes on
// their way into the input, the query buffer and the caches. The simulation tells every word and
// every code that is written there, and which step of the program writes it. The reference backend
// tells its vectors in the order of the contract, which is the order of the plan's steps; both
// lists are paired once a token. A step must write each element of its vector once and nothing
// else.
//
// Reading the memories between steps instead would not see a word that is written to a wrong place
// and then overwritten, nor the codes inside the attention. Running the plan's steps on the
// functions of numerics/ would be a second forward pass, and would share the plan's errors.

#include "rtl/vectors.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/backend.h"
#include "numerics/activation.h"

namespace etch::rtl {
namespace {

using engine::VectorKind;
using plan::CodeTarget;
using plan::Operation;
using plan::Step;

// What the reference calls the vector that a step makes; none for angles, tokens and the end.
std::optional<VectorKind> KindOf(const Step& step) {
  switch (step.operation) {
    case Operation::kEmbed:
      return VectorKind::kEmbedding;
    case Operation::kNorm:
      return VectorKind::kNorm;
    case Operation::kQuantise:
      return step.per_head                       ? VectorKind::kHeads
             : step.target == CodeTarget::kInner ? VectorKind::kAdapterInner
                                                 : VectorKind::kInput;
    case Operation::kBase:
      return step.to_logits ? VectorKind::kLogits : VectorKind::kLinear;
    case Operation::kAdapter:
      return step.from_inner ? VectorKind::kAdapterB : VectorKind::kAdapterA;
    case Operation::kRope:
      return VectorKind::kRotated;
    case Operation::kAttend:
      return VectorKind::kAttended;
    case Operation::kResidual:
      return VectorKind::kResidual;
    case Operation::kEnd:
    case Operation::kAngles:
    case Operation::kSample:
      break;
  }
  return std::nullopt;
}

// Where the step's first word goes.
int64_t FirstWord(const Step& step) {
  const bool in_place =
      step.operation == Operation::kRope || step.operation == Operation::kResidual;
  return in_place ? step.a : step.d;
}

}  // namespace

VectorCheck::VectorCheck(const plan::HardwarePlan& plan, std::span<const engine::TokenId> prompt,
                         bool with_adapter)
    : plan_(plan), prompt_(prompt.begin(), prompt.end()), with_adapter_(with_adapter) {}

Result<std::unique_ptr<VectorCheck>> VectorCheck::Create(
    const image::Image& image, const plan::HardwarePlan& plan,
    std::span<const engine::TokenId> prompt,
    const std::shared_ptr<const engine::AdapterWeights>& adapter) {
  std::unique_ptr<VectorCheck> check(new VectorCheck(plan, prompt, adapter != nullptr));
  auto* made = &check->made_;
  check->reference_ =
      engine::Engine::Over(image,
                           engine::MakeReferenceBackend(
                               image,
                               [made](const engine::ObservedVector& vector) {
                                 made->push_back({vector.kind,
                                                  {vector.values.begin(), vector.values.end()},
                                                  {vector.shifts.begin(), vector.shifts.end()}});
                               }),
                           "reference", {});
  engine::SessionOptions options;
  options.context = plan.fabric.choices.context;
  if (adapter) {
    options.adapters.push_back({adapter});
  }
  ETCH_ASSIGN_OR_RETURN(check->session_, check->reference_->NewSession(options));
  return check;
}

bool VectorCheck::IsLeftOut(const Step& step) const {
  return (step.adapter_only && !with_adapter_) || (step.wanted_only && !wanted_);
}

int64_t VectorCheck::NextStep(int64_t step) const {
  do {
    ++step;
  } while (IsLeftOut(plan_.steps[static_cast<size_t>(step)]));
  return step;
}

std::string VectorCheck::Where() const {
  const Step& step = plan_.steps[static_cast<size_t>(step_)];
  return fmt::format("token {}, layer {}, step {} ({})", token_, step.layer, step_, step.name);
}

void VectorCheck::Note(std::string what) {
  ++report_.mismatches;
  if (report_.first_mismatch.empty()) {
    report_.first_mismatch = std::move(what);
  }
}

Status VectorCheck::Take(const Observation& observed) {
  if (observed.kind == Observation::Kind::kStep) {
    return BeginStep(observed.index, observed.value);
  }
  if (step_ < 0) {
    Note(fmt::format("before the first step, a word at {}", observed.index));
    return {};
  }
  const Step& step = plan_.steps[static_cast<size_t>(step_)];
  const bool in_memory = observed.kind == Observation::Kind::kWord && !step.to_logits;
  Put(observed.kind == Observation::Kind::kShift ? shifts_ : words_,
      observed.kind == Observation::Kind::kShift ? "shift" : "element",
      observed.index - (in_memory ? FirstWord(step) : 0), observed.value);
  return {};
}

void VectorCheck::Put(Found& found, std::string_view what, int64_t index, int32_t value) {
  if (index < 0 || index >= std::ssize(found)) {
    Note(fmt::format("{}: {} {} is written, of {}", Where(), what, index, found.size()));
  } else if (found[static_cast<size_t>(index)]) {
    Note(fmt::format("{}: {} {} is written twice", Where(), what, index));
  } else {
    found[static_cast<size_t>(index)] = value;
  }
}

Status VectorCheck::BeginStep(int64_t step, engine::TokenId token) {
  EndStep();
  const int64_t steps = std::ssize(plan_.steps);
  const bool is_token = step_ < 0 || NextStep(step_) == steps - 1;
  const int64_t right = is_token ? 0 : NextStep(step_);
  if (step != right) {
    Note(fmt::format("token {}: the chip goes to step {} instead of {} ({})",
                     is_token ? token_ + 1 : token_, step, right,
                     plan_.steps[static_cast<size_t>(right)].name));
  }
  if (is_token) {
    ETCH_TRY(BeginToken(token));
  }
  // Where the number is none of the program's, which has been noted, the plan's step is looked at.
  step_ = step >= 0 && step < steps - 1 ? step : right;
  const Right& vector = right_[static_cast<size_t>(step_)];
  words_.assign(vector.values.size(), std::nullopt);
  shifts_.assign(vector.shifts.size(), std::nullopt);
  return {};
}

Status VectorCheck::BeginToken(engine::TokenId token) {
  ++token_;
  wanted_ = token_ + 1 >= std::ssize(prompt_);
  if (token_ < std::ssize(prompt_) && token != prompt_[static_cast<size_t>(token_)]) {
    Note(fmt::format("token {}: the chip works on {}, the prompt's is {}", token_, token,
                     prompt_[static_cast<size_t>(token_)]));
  }
  made_.clear();
  const engine::LogitsWanted logits =
      wanted_ ? engine::LogitsWanted::kLast : engine::LogitsWanted::kNone;
  const engine::Step step{session_.get(), {&token, 1}, logits};
  ETCH_TRY(reference_->Forward({&step, 1}));
  Pair();
  return {};
}

void VectorCheck::Pair() {
  right_.assign(plan_.steps.size(), {});
  auto next = made_.begin();
  for (size_t at = 0; at < plan_.steps.size(); ++at) {
    const Step& step = plan_.steps[at];
    const std::optional<VectorKind> kind = KindOf(step);
    if (!kind || IsLeftOut(step)) {
      continue;
    }
    Right& right = right_[at];
    const auto n = static_cast<size_t>(step.n);
    if (step.adapter_only && (next == made_.end() || next->kind != kind)) {
      // The adapter has nothing for this linear layer: the chip multiplies zeros.
      right = *kind == VectorKind::kAdapterB ? right_[at - 3] : Right{};
      right.kind = kind;
      right.values.resize(n);
    } else {
      ETCH_CHECK(next != made_.end() && next->kind == kind, "step {} ({}): no such vector", at,
                 step.name);
      right = std::move(*next++);
    }
    if (*kind == VectorKind::kAdapterA || *kind == VectorKind::kAdapterInner) {
      // The chip's rank may be larger than the adapter's; its further rows are zeros.
      right.values.resize(n);
    }
    if (*kind == VectorKind::kAdapterInner) {
      const int largest = right.shifts.empty() ? 0 : *std::ranges::max_element(right.shifts);
      right.shifts.resize(n / static_cast<size_t>(numerics::kBlock),
                          static_cast<uint8_t>(std::max(0, largest - numerics::kMaxShiftSpread)));
    }
  }
  ETCH_CHECK(next == made_.end(), "the reference makes a vector that no step of the plan does");
}

void VectorCheck::Compare(const Found& found, std::string_view what, auto right) {
  for (size_t index = 0; index < found.size(); ++index) {
    ++report_.elements;
    const auto expected = static_cast<int32_t>(right[index]);
    if (!found[index]) {
      Note(fmt::format("{}: {} {} is never written, the engine's {}", Where(), what, index,
                       expected));
    } else if (*found[index] != expected) {
      Note(fmt::format("{}: {} {} is {}, the engine's {}", Where(), what, index, *found[index],
                       expected));
    }
  }
}

void VectorCheck::EndStep() {
  if (step_ < 0 || !right_[static_cast<size_t>(step_)].kind) {
    return;
  }
  const Right& right = right_[static_cast<size_t>(step_)];
  ++report_.vectors;
  Compare(words_, "element", std::span(right.values));
  Compare(shifts_, "shift", std::span(right.shifts));
}

VectorReport VectorCheck::Finish() {
  EndStep();
  if (step_ >= 0 && NextStep(step_) != std::ssize(plan_.steps) - 1) {
    Note(fmt::format("token {}: the chip ends behind step {}", token_, step_));
  }
  step_ = -1;
  return report_;
}

}  // namespace etch::rtl
