#pragma once

// The engine: two nouns. An Engine is an image ready to run on one backend; a Session is one
// sequence with its context memory and its adapters. Callers see token ids and logits, never a
// tensor.
//
//   auto engine = Engine::Create(image, {});
//   auto session = (*engine)->NewSession({});
//   Step step{session->get(), prompt};
//   (*engine)->Forward({&step, 1});
//   TokenId next = numerics::Greedy((*session)->logits());

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/adapter_weights.h"
#include "image/image.h"
#include "model/vocabulary.h"

namespace etch::engine {

using model::TokenId;

enum class BackendKind {
  kCpu,        // threaded integer engine: the one to use
  kReference,  // the contract as written, one thread, slow: the truth that the others are tested
               // against
  kFloat,      // the floating-point twin, over the image's weights dequantised or original
};
Result<BackendKind> ParseBackend(std::string_view name);
std::string_view BackendName(BackendKind kind);

struct EngineOptions {
  BackendKind backend = BackendKind::kCpu;
  int threads = 0;  // 0: one for each processor
  std::string isa;  // instruction set of the cpu backend by name; empty: the best the machine has
  int64_t context = 0;  // default length of a session's context; 0: the model's, at most 4096
  // Asked a few times during a pass; true makes Forward give up with kCancelled. May be empty.
  std::function<bool()> interrupted = nullptr;
};

class Session;

struct SessionOptions {
  int64_t context = 0;  // tokens; 0: the engine's default
  std::vector<ActiveAdapter> adapters;
  // A session of the same engine to begin as a copy of, and how many of its first tokens. It was
  // made under the same adapters: that is for the caller to know.
  const Session* prefix = nullptr;
  int64_t prefix_tokens = 0;
};

class Backend;
struct Column;
struct SessionState;  // defined by the backend

class Session {
 public:
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int64_t position() const { return position_; }  // tokens in the context
  int64_t context() const { return context_; }
  std::span<const ActiveAdapter> adapters() const { return adapters_; }

  // Logits of the last Forward: row 0 … rows-1 of vocab_size values each, R32 (16 fraction bits).
  // The float backend rounds its own to the same format.
  std::span<const int32_t> logits(int64_t row = 0) const;
  int64_t logit_rows() const { return logit_rows_; }
  // What the final norm gave for that row, dim values of R32; empty unless Step::hidden asked.
  std::span<const int32_t> hidden(int64_t row = 0) const;

  // Forgets every token from `position` on.
  void Truncate(int64_t position);

  // For measuring only: goes on to `position` with the keys and values of the tokens so far, over
  // and over. What is then computed is as much work as after that many real tokens, and
  // meaningless. kInvalidArgument when `position` is behind or there is no token yet,
  // kContextExceeded when it is beyond the context.
  Status RepeatTo(int64_t position);

 private:
  friend class Engine;
  Session() = default;

  int64_t position_ = 0;
  int64_t context_ = 0;
  std::vector<ActiveAdapter> adapters_;
  std::unique_ptr<SessionState> state_;
  std::vector<int32_t> logits_;
  int64_t logit_rows_ = 0;
  int64_t vocab_size_ = 0;
  std::vector<int32_t> hidden_;  // (logit_rows_, dim), or empty
};

enum class LogitsWanted { kNone, kLast, kAll };

// Tokens to append to a session in one pass.
struct Step {
  Session* session = nullptr;
  std::span<const TokenId> tokens;
  LogitsWanted logits = LogitsWanted::kLast;
  bool hidden = false;  // Session::hidden of the rows that have logits
};

struct EngineInfo {
  std::string backend;
  std::string isa;
  int threads = 1;
  int64_t context = 0;  // default of a session
  int64_t kv_bytes_per_token = 0;
  int64_t phases_per_token = 0;  // parallel loops of a decoded token that wait for each other; 0:
                                 // the backend does not say
  bool copies_contexts = false;  // SessionOptions::prefix can be used, and gives the same bits as
                                 // reading the tokens
  bool gives_hidden = false;     // Step::hidden can be asked for
};

class Engine {
 public:
  // `image` must outlive the engine. kUnsupported for a source image on an integer backend.
  static Result<std::unique_ptr<Engine>> Create(const image::Image& image,
                                                const EngineOptions& options);
  // An engine over a backend of someone else's, which it calls `name`; of the options, context and
  // interrupted count.
  static std::unique_ptr<Engine> Over(const image::Image& image, std::unique_ptr<Backend> backend,
                                      std::string name, const EngineOptions& options);
  ~Engine();

  // kInvalidArgument when the context is longer than the model's; kNoSpace when its memory cannot
  // be had; kMismatch for an adapter that was lowered for another shape; kUnsupported for a prefix
  // on a backend that cannot copy. Thread-safe, but not beside a Forward of the prefix.
  Result<std::unique_ptr<Session>> NewSession(const SessionOptions& options) const;

  // Appends each step's tokens to its session, in one pass over the base for all of them; sessions
  // must differ. Checked before anything is computed: kContextExceeded when a context would
  // overflow, kInvalidArgument for a token outside of the vocabulary. kCancelled when interrupted:
  // the sessions stand where they stood, without logits. kUnsupported for hidden states of a
  // backend that gives none. The result of a step does not depend on the other steps, nor on how
  // its tokens are cut into calls. One caller at a time.
  Status Forward(std::span<const Step> steps);

  const EngineInfo& info() const { return info_; }
  const image::Image& image() const { return *image_; }

 private:
  Engine() = default;

  // Columns for the tokens of a step, behind those of the steps before it.
  void AddColumns(const Step& step);

  const image::Image* image_ = nullptr;
  std::unique_ptr<Backend> backend_;
  EngineInfo info_;
  std::function<bool()> interrupted_;
  std::vector<Column> columns_;  // of the present pass; memory is kept
};

}  // namespace etch::engine
