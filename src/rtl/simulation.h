#pragma once

// A chip in simulation: a process around the verilated chip, spoken to through its host port.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "engine/adapter_weights.h"
#include "plan/hardware_plan.h"

namespace etch::rtl {

// Builds the simulation of the chip that WriteChip put into `folder` with Verilator and a C++
// compiler; `observed`: one whose runs can be observed. kUnsupported when there is no Verilator;
// kIo with the end of its output when it fails.
Status BuildSimulation(const std::filesystem::path& folder, bool observed = false);

// kInvalidArgument when the adapter's rank is above that of the chip's adapter memory.
Status CheckAdapter(const plan::Fabric& fabric, const engine::AdapterWeights& adapter);

// How a run chooses its tokens.
struct ChipRequest {
  std::vector<int32_t> prompt;  // at least one token
  int64_t position = 0;         // of its first token in the session's context
  int64_t session = 0;
  int64_t max_tokens = 0;
  bool logits = false;
  int64_t adapter = -1;  // slot, or none
  int32_t adapter_weight = 1 << 16;
  int32_t end_token = -1;
  uint32_t inverse_temperature = 0;
  uint32_t top_k = 1;
  uint32_t top_p = 1 << 16;
  uint32_t min_p = 0;
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t stream = 0;
};

struct ChipResult {
  std::vector<int32_t> tokens;
  std::vector<int32_t> logits;  // of each token, one behind the other
  int64_t cycles = 0;
};

// What a unit does in a cycle of a run, as the simulation sees it inside the chip.
struct Observation {
  enum class Kind : uint32_t {
    kStep = 0,   // a step of the plan begins: its number, and the token that is worked on
    kWord = 1,   // a word of work memory is written, or a logit made: address or id, and value
    kCode = 2,   // a code is made: its index in its vector, and value
    kShift = 3,  // a block of codes ends: its number in the vector, and its shift
  };
  Kind kind = Kind::kStep;
  int64_t index = 0;
  int32_t value = 0;
};
using RunObserver = std::function<Status(const Observation&)>;

// What the host writes into a slot of the adapter memory.
struct AdapterWords {
  std::vector<uint32_t> codes;  // from AdapterCodeAddress on
  std::vector<uint32_t> rows;   // row scales, from AdapterRowAddress on
};
// See CheckAdapter.
Result<AdapterWords> LayOutAdapter(const plan::HardwarePlan& plan,
                                   const engine::AdapterWeights& adapter);
uint32_t AdapterCodeAddress(const plan::Fabric& fabric, int64_t slot);
uint32_t AdapterRowAddress(const plan::Fabric& fabric, int64_t slot);

class Simulation {
 public:
  // Starts what BuildSimulation built. `plan` must be the folder's.
  static Result<Simulation> Start(const std::filesystem::path& folder,
                                  const plan::HardwarePlan& plan);
  Simulation(Simulation&&) noexcept;
  Simulation& operator=(Simulation&&) noexcept;
  ~Simulation();

  // Writes an adapter into a slot; see CheckAdapter.
  Status LoadAdapter(int64_t slot, const engine::AdapterWeights& adapter);

  // Runs a request to its end. kInvalidArgument with the chip's error code when it refuses. The
  // observer, where there is one, is told what every unit writes, in order; kUnsupported when the
  // simulation was not built for that. Its error ends the run, and the simulation with it.
  Result<ChipResult> Run(const ChipRequest& request, const RunObserver& observer = nullptr);

  // Single accesses of the host port: what is answered (0 okay, 2 an error).
  Result<uint32_t> Write(uint32_t address, uint32_t value);
  Result<uint32_t> Read(uint32_t address);

 private:
  struct Process;
  Simulation(std::unique_ptr<Process> process, const plan::HardwarePlan& plan);
  Status Stream(uint32_t target, uint32_t address, std::span<const uint32_t> words);
  Result<ChipResult> TakeResults(const RunObserver& observer);

  std::unique_ptr<Process> process_;
  const plan::HardwarePlan* plan_;
};

}  // namespace etch::rtl
