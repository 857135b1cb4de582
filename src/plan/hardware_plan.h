#pragma once

// What a chip for an image is made of, and what it does when: sizes of its memories, where
// everything lies in them, and the steps of a token. Data only; rtl/ prints it and fills the
// memories, the chip model counts it. docs/chip.md describes the units.

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "image/image.h"
#include "model/config.h"
#include "model/tensors.h"

namespace etch::plan {

// What an architect chooses; everything else follows from the model.
struct Choices {
  int64_t lanes = 64;         // weights of the base that are worked on in a cycle; a power of two
  int64_t context = 0;        // tokens of a session; 0: the model's, at most 512
  int64_t sessions = 1;       // users whose context is on the chip
  int64_t adapter_rank = 16;  // largest rank of an adapter; 0: a chip without adapters
  int64_t adapter_slots = 2;  // adapters that are on the chip

  // What the chip model can choose beyond that; the fabric that rtl/ prints has 1 of each, and 32
  // lanes for adapters.
  int64_t splits = 1;           // most lanes that share a row; their sums meet in a tree
  int64_t vector_width = 1;     // elements a cycle of the units that work on vectors
  int64_t attention_width = 1;  // blocks of 32 codes a cycle, over heads first, then over keys
  int64_t adapter_lanes = 32;   // weights of an adapter that are worked on in a cycle
  int64_t stages = 1;           // layers in flight: equal runs of layers with units of their own

  bool operator==(const Choices&) const = default;
};

// What a plan needs of a model: its sizes, and which matrices and inputs are of the wide formats.
struct ModelShape {
  model::Config config;
  std::set<std::pair<model::Role, int64_t>> w6;        // (role, layer); the others are W3
  std::set<std::pair<model::InputSite, int64_t>> a16;  // (site, layer); the others are A8
};

// kUnsupported for W4F weights and source images.
Result<ModelShape> ShapeOf(const image::Image& image);

// What depends on the shape and the choices, never on weights: the parameters of the fabric.
struct Fabric {
  model::Config config;
  Choices choices;           // all set
  int64_t rank = 0;          // of the adapter memory: adapter_rank as whole groups of 32
  int64_t work_words = 0;    // of 32 bits
  int64_t input_words = 0;   // codes of the longest input
  int64_t address_bits = 0;  // of work memory, and of every count
  int64_t id_bits = 0;       // of a token id
  int64_t slot_words = 0;    // of 32 codes: an adapter in its memory
  int64_t slot_rows = 0;     // row scales of an adapter
};

// Where vectors lie in work memory.
struct WorkMap {
  int64_t x = 0;  // the residual stream
  int64_t normed = 0;
  int64_t q = 0;
  int64_t k = 0;
  int64_t v = 0;
  int64_t attended = 0;
  int64_t gate = 0;
  int64_t up = 0;
  int64_t y = 0;      // what a layer adds
  int64_t inner = 0;  // an adapter's A · x
};

// A matrix of the base in ROM.
struct MatrixPlace {
  model::Role role = model::Role::kWq;
  int64_t layer = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  bool w6 = false;
  int64_t code_base = 0;   // words of 3 bits a lane
  int64_t param_base = 0;  // words of 6 bits a lane
  int64_t row_base = 0;    // row scales

  int64_t groups() const;
  int64_t tiles(int64_t lanes) const;
  int64_t code_words(int64_t lanes) const;
  // In the mask, without what fills up a word of all lanes.
  int64_t code_bits() const;
  int64_t param_bits() const;
  int64_t row_scale_bits() const;
};

// The two matrices of an adapter for one linear layer, from the beginning of its slot.
struct AdapterPlace {
  model::Role role = model::Role::kWq;
  int64_t layer = 0;
  int64_t a_words = 0;  // first word of A
  int64_t a_rows = 0;   // first row scale of A
  int64_t b_words = 0;
  int64_t b_rows = 0;
};

// The numbers are those of the program's words.
enum class Operation : uint8_t {
  kEnd = 0,
  kEmbed = 1,
  kAngles = 2,
  kNorm = 3,
  kQuantise = 4,
  kBase = 5,
  kAdapter = 6,
  kRope = 7,
  kAttend = 8,
  kResidual = 9,
  kSample = 10,
};
std::string_view OperationName(Operation operation);

enum class CodeTarget : uint8_t { kInput = 0, kInner = 1, kQueries = 2, kKeys = 3, kValues = 4 };
enum class CodeFormat : uint8_t { kA8 = 0, kA16 = 1, kA14 = 2 };

// One use of a unit. Fields that an operation does not name are 0.
struct Step {
  Operation operation = Operation::kEnd;
  std::string name;           // "layer 3, wq": for people
  int64_t layer = 0;          // the embedding counts as the first layer's, the head as the last's
  bool adapter_only = false;  // left out without an adapter
  bool wanted_only = false;   // left out where no token is wanted
  bool w6 = false;
  bool a16 = false;
  bool product = false;  // quantise: of gate and up; base, adapter: the input has point 32
  bool per_head = false;
  CodeFormat format = CodeFormat::kA8;
  CodeTarget target = CodeTarget::kInput;
  bool to_logits = false;
  bool from_inner = false;
  bool add = false;
  int64_t a = 0;
  int64_t b = 0;
  int64_t d = 0;
  int64_t n = 0;
  int64_t groups = 0;
  int64_t x = 0;
  int64_t y = 0;
  int64_t z = 0;
};

struct HardwarePlan {
  Fabric fabric;
  WorkMap map;
  std::vector<MatrixPlace> matrices;  // in the order of ROM; a tied head is the embedding
  std::vector<AdapterPlace> adapter;
  std::vector<Step> steps;  // of a token; the last is kEnd
  int64_t code_words = 0;
  int64_t param_words = 0;
  int64_t row_words = 0;
  int64_t gain_words = 0;
};

// kInvalidArgument naming the choice that cannot be built, or that the model does not fit.
Result<HardwarePlan> MakePlan(const ModelShape& shape, const Choices& choices);
// The same for the model of an image; kUnsupported as from ShapeOf.
Result<HardwarePlan> MakePlan(const image::Image& image, const Choices& choices);

// Lanes that share a row of a matrix of so many rows and groups: those that are left over when
// every row has one, as a power of two, at most `splits` and one a group.
int64_t Segments(int64_t rows, int64_t groups, int64_t lanes, int64_t splits);

// The stage, from 0, that `layer` belongs to.
int64_t StageOf(const Fabric& fabric, int64_t layer);

// Steps that a lane of the base takes for a weight: one a plane of its code and byte of its input.
int64_t ColumnSteps(const Step& step);

// Cycles of a step at `position`, from its start to its end, as the fabric's modules state them.
int64_t StepCycles(const HardwarePlan& plan, const Step& step, int64_t position);

// Cycles from a start to its first token.
inline constexpr int64_t kStartCycles = 1;

// Cycles of a token of the prompt (`wanted` false) or one after which a token is drawn, from the
// cycle in which it begins to that in which the next can.
int64_t TokenCycles(const HardwarePlan& plan, int64_t position, bool with_adapter, bool wanted);

}  // namespace etch::plan
