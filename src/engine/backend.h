#pragma once

// The seam of the backends. A backend turns columns (one token of one session each) into context
// entries and logits.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "engine/adapter_weights.h"
#include "engine/observer.h"
#include "image/image.h"
#include "model/vocabulary.h"

namespace etch::engine {

// A session's context memory, as its backend lays it out.
struct SessionState {
  virtual ~SessionState() = default;
  // For measuring only: the entries of tokens [period, end) become copies of those of [0, period),
  // over and over, in every layer. `period` ≥ 1, `end` is at most the context.
  virtual void Repeat(int64_t period, int64_t end) = 0;
  // Takes over the entries of the first `count` tokens of a state of the same backend, which may
  // be of another size. Called only where Backend::copies_states().
  virtual void CopyFrom(const SessionState& /*from*/, int64_t /*count*/) {}
};

// Asked now and then during a pass, by the thread that called; true: give the pass up. May be
// empty.
using Interrupted = std::function<bool()>;

// One token to run. Columns of one session come in order of position, without gaps.
struct Column {
  SessionState* state = nullptr;
  std::span<const ActiveAdapter> adapters;
  model::TokenId token = 0;
  int64_t position = 0;       // tokens before this one in its session
  std::span<int32_t> logits;  // vocab_size R32 values to fill; empty when not wanted
  // dim R32 values to fill with what the final norm gives to the head; only where logits are wanted
  // too and the backend gives_hidden().
  std::span<int32_t> hidden = {};
};

class Backend {
 public:
  virtual ~Backend() = default;

  // kNoSpace when the memory cannot be had.
  virtual Result<std::unique_ptr<SessionState>> NewState(int64_t context) const = 0;
  // Runs all columns in one pass over the base. Entries of the context beyond a column's position
  // are overwritten. kCancelled when it was interrupted: those entries and the logits then hold
  // nothing, as after any other error, which only a backend outside of this process has.
  virtual Status Forward(std::span<const Column> columns, const Interrupted& interrupted) = 0;
  virtual int64_t kv_bytes_per_token() const = 0;
  // Whether states can be copied, and going on from a copy gives the bits of having read the
  // tokens. That needs a result that does not depend on how tokens are cut into passes.
  virtual bool copies_states() const { return false; }
  // Whether Column::hidden is filled.
  virtual bool gives_hidden() const { return false; }
  virtual std::string isa() const { return "scalar"; }
  virtual int threads() const { return 1; }
  // Parallel loops of one decoded token that wait for each other, the base alone; 0 when the
  // backend does not say. `etch bench` divides the time of a token by it.
  virtual int64_t phases_per_token() const { return 0; }
};

// `observer`, where there is one, is told every vector of every token.
std::unique_ptr<Backend> MakeReferenceBackend(const image::Image& image,
                                              VectorObserver observer = nullptr);
std::unique_ptr<Backend> MakeFloatBackend(const image::Image& image, int threads);
// `isa` empty: the best this machine runs. kInvalidArgument for an unknown name or one this machine
// lacks.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const image::Image& image, int threads,
                                                std::string_view isa);

}  // namespace etch::engine
