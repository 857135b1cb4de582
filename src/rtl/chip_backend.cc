#include "rtl/chip_backend.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace etch::rtl {
namespace {

using engine::ActiveAdapter;
using engine::Column;

// Which of the chip's sessions are taken; shared with the states, which may outlive the backend.
struct Seats {
  std::mutex mutex;
  std::vector<bool> taken;
};

struct ChipState : engine::SessionState {
  ChipState(std::shared_ptr<Seats> from, int64_t at) : seats(std::move(from)), seat(at) {}
  ~ChipState() override {
    const std::lock_guard lock(seats->mutex);
    seats->taken[static_cast<size_t>(seat)] = false;
  }
  // The chip's own memory of the context stays as it is: for measuring, any content will do.
  void Repeat(int64_t /*period*/, int64_t /*end*/) override {}

  std::shared_ptr<Seats> seats;
  int64_t seat;
};

class ChipBackend : public engine::Backend {
 public:
  ChipBackend(const image::Image& image, const plan::HardwarePlan& plan, Simulation simulation)
      : image_(image),
        plan_(plan),
        simulation_(std::move(simulation)),
        seats_(std::make_shared<Seats>()),
        slots_(static_cast<size_t>(plan.fabric.choices.adapter_slots)) {
    seats_->taken.resize(static_cast<size_t>(plan.fabric.choices.sessions));
  }

  Result<std::unique_ptr<engine::SessionState>> NewState(int64_t context) const override {
    const plan::Choices& choices = plan_.fabric.choices;
    if (context > choices.context) {
      return Fail(ErrorCode::kNoSpace, "a context of {}: the chip's sessions have {}", context,
                  choices.context);
    }
    const std::lock_guard lock(seats_->mutex);
    const auto free = std::ranges::find(seats_->taken, false);
    if (free == seats_->taken.end()) {
      return Fail(ErrorCode::kNoSpace, "all {} sessions of the chip are taken", choices.sessions);
    }
    *free = true;
    return std::make_unique<ChipState>(seats_, free - seats_->taken.begin());
  }

  Status Forward(std::span<const Column> columns, const engine::Interrupted& interrupted) override {
    while (!columns.empty()) {
      if (interrupted && interrupted()) {
        return Fail(ErrorCode::kCancelled, "interrupted");
      }
      // Up to the first token whose logits are wanted.
      size_t count = 1;
      while (columns[count - 1].logits.empty() && count < columns.size() &&
             columns[count].state == columns.front().state) {
        ++count;
      }
      ETCH_TRY(Run(columns.first(count)));
      columns = columns.subspan(count);
    }
    return {};
  }

  int64_t kv_bytes_per_token() const override {
    const model::Config& config = image_.config();
    constexpr int64_t kBits = 14 + 8;  // of a key's code and a value's
    return config.n_layers * config.kv_dim() * kBits / 8;
  }
  std::string isa() const override { return "verilator"; }

 private:
  struct Slot {
    std::shared_ptr<const engine::AdapterWeights> weights;
    int64_t used = 0;  // number of the run
  };

  Status Run(std::span<const Column> columns) {
    ChipRequest request;
    for (const Column& column : columns) {
      request.prompt.push_back(column.token);
    }
    request.position = columns.front().position;
    request.session = static_cast<const ChipState&>(*columns.front().state).seat;
    const std::span<int32_t> logits = columns.back().logits;
    request.logits = !logits.empty();
    request.max_tokens = request.logits ? 1 : 0;
    if (!columns.front().adapters.empty()) {
      ETCH_ASSIGN_OR_RETURN(request.adapter, SlotOf(columns.front().adapters));
      request.adapter_weight = columns.front().adapters.front().weight_q16;
    }
    ETCH_ASSIGN_OR_RETURN(const ChipResult result, simulation_.Run(request));
    if (result.logits.size() != logits.size()) {
      return Fail(ErrorCode::kIo, "the chip gave {} logits instead of {}", result.logits.size(),
                  logits.size());
    }
    std::ranges::copy(result.logits, logits.begin());
    return {};
  }

  Result<int64_t> SlotOf(std::span<const ActiveAdapter> adapters) {
    if (adapters.size() > 1) {
      return Fail(ErrorCode::kUnsupported,
                  "{} adapters in one session; the chip runs one at a time", adapters.size());
    }
    if (slots_.empty()) {
      return Fail(ErrorCode::kUnsupported, "adapter \"{}\": this chip has no adapter memory",
                  adapters.front().weights->name);
    }
    auto slot = std::ranges::find(slots_, adapters.front().weights, &Slot::weights);
    if (slot == slots_.end()) {
      slot = std::ranges::min_element(slots_, {}, &Slot::used);
      slot->weights = nullptr;
      ETCH_TRY(simulation_.LoadAdapter(slot - slots_.begin(), *adapters.front().weights));
      slot->weights = adapters.front().weights;
    }
    slot->used = ++runs_;
    return slot - slots_.begin();
  }

  const image::Image& image_;
  const plan::HardwarePlan& plan_;
  Simulation simulation_;
  std::shared_ptr<Seats> seats_;
  std::vector<Slot> slots_;
  int64_t runs_ = 0;
};

}  // namespace

std::unique_ptr<engine::Backend> MakeChipBackend(const image::Image& image,
                                                 const plan::HardwarePlan& plan,
                                                 Simulation simulation) {
  return std::make_unique<ChipBackend>(image, plan, std::move(simulation));
}

}  // namespace etch::rtl
