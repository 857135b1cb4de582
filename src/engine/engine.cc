#include "engine/engine.h"

#include <algorithm>

#include "engine/backend.h"

namespace etch::engine {
namespace {

// One pass over the base serves at most this many columns; longer prompts take several.
constexpr int64_t kMaxColumns = 256;
constexpr int64_t kDefaultContext = 4096;

int64_t W8Bytes(int64_t rows, int64_t cols) {
  return numerics::WeightBytes(numerics::WeightFormat::kW8, rows, cols);
}

// Only the twin reads the float parts, which are four times as large as the W8 parts.
Status CheckAdapter(const model::Config& config, bool needs_floats, const ActiveAdapter& adapter) {
  const AdapterWeights& weights = *adapter.weights;
  if (weights.n_layers != config.n_layers) {
    return Fail(ErrorCode::kMismatch, "adapter \"{}\" has {} layers, the model {}", weights.name,
                weights.n_layers, config.n_layers);
  }
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const model::Role role : model::kBlockLinears) {
      const AdapterLinear& linear = weights.Linear(layer, role);
      const auto [rows, cols] = model::TensorShape(config, role);
      if (linear.rank == 0) {
        continue;
      }
      const bool codes_fit = std::ssize(linear.a) == W8Bytes(linear.rank, cols) &&
                             std::ssize(linear.b) == W8Bytes(rows, linear.rank);
      const bool floats_fit = std::ssize(linear.a_float) == linear.rank * cols &&
                              std::ssize(linear.b_float) == rows * linear.rank;
      if (!codes_fit || (needs_floats && !floats_fit)) {
        return Fail(ErrorCode::kMismatch, "adapter \"{}\": {} was lowered for another shape",
                    weights.name, model::TensorName(role, layer));
      }
    }
  }
  return {};
}

}  // namespace

Result<BackendKind> ParseBackend(std::string_view name) {
  for (const BackendKind kind : {BackendKind::kCpu, BackendKind::kReference, BackendKind::kFloat}) {
    if (name == BackendName(kind)) {
      return kind;
    }
  }
  return Fail(ErrorCode::kInvalidArgument, "no backend \"{}\"; there are cpu, reference and float",
              name);
}

std::string_view BackendName(BackendKind kind) {
  switch (kind) {
    case BackendKind::kCpu:
      return "cpu";
    case BackendKind::kReference:
      return "reference";
    case BackendKind::kFloat:
      return "float";
  }
  return "";
}

Session::~Session() = default;

std::span<const int32_t> Session::logits(int64_t row) const {
  ETCH_CHECK(row >= 0 && row < logit_rows_, "row {} of {}", row, logit_rows_);
  return std::span(logits_).subspan(static_cast<size_t>(row * vocab_size_),
                                    static_cast<size_t>(vocab_size_));
}

std::span<const int32_t> Session::hidden(int64_t row) const {
  ETCH_CHECK(row >= 0 && row < logit_rows_, "row {} of {}", row, logit_rows_);
  const size_t width = hidden_.size() / static_cast<size_t>(logit_rows_);
  return std::span(hidden_).subspan(static_cast<size_t>(row) * width, width);
}

void Session::Truncate(int64_t position) {
  ETCH_CHECK(position >= 0 && position <= position_, "{} of {}", position, position_);
  position_ = position;
}

Status Session::RepeatTo(int64_t position) {
  if (position < position_ || position_ == 0) {
    return Fail(ErrorCode::kInvalidArgument, "cannot repeat {} tokens to be {}", position_,
                position);
  }
  if (position > context_) {
    return Fail(ErrorCode::kContextExceeded, "cannot repeat to {}: the context is {} tokens",
                position, context_);
  }
  state_->Repeat(position_, position);
  position_ = position;
  return {};
}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const image::Image& image,
                                               const EngineOptions& options) {
  const model::Config& config = image.config();
  if (image.is_source() && options.backend != BackendKind::kFloat) {
    return Fail(ErrorCode::kUnsupported,
                "{}: holds the original weights (--recipe source), which only --backend float runs",
                image.path().string());
  }
  if (options.context < 0 || options.context > config.context) {
    return Fail(ErrorCode::kInvalidArgument, "context {} is not in 1 to {}, the model's own",
                options.context, config.context);
  }
  std::unique_ptr<Backend> backend;
  switch (options.backend) {
    case BackendKind::kReference:
      backend = MakeReferenceBackend(image);
      break;
    case BackendKind::kFloat:
      backend = MakeFloatBackend(image, options.threads);
      break;
    case BackendKind::kCpu: {
      ETCH_ASSIGN_OR_RETURN(backend, MakeCpuBackend(image, options.threads, options.isa));
      break;
    }
  }
  return Over(image, std::move(backend), std::string(BackendName(options.backend)), options);
}

std::unique_ptr<Engine> Engine::Over(const image::Image& image, std::unique_ptr<Backend> backend,
                                     std::string name, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine());
  engine->image_ = &image;
  engine->interrupted_ = options.interrupted;
  engine->info_ = {
      std::move(name),
      backend->isa(),
      backend->threads(),
      options.context > 0 ? options.context : std::min(image.config().context, kDefaultContext),
      backend->kv_bytes_per_token(),
      backend->phases_per_token(),
      backend->copies_states(),
      backend->gives_hidden()};
  engine->backend_ = std::move(backend);
  return engine;
}

Result<std::unique_ptr<Session>> Engine::NewSession(const SessionOptions& options) const {
  const model::Config& config = image_->config();
  const int64_t context = options.context > 0 ? options.context : info_.context;
  if (options.context < 0 || context > config.context) {
    return Fail(ErrorCode::kInvalidArgument, "context {} is not in 1 to {}, the model's own",
                options.context, config.context);
  }
  for (const ActiveAdapter& adapter : options.adapters) {
    ETCH_TRY(CheckAdapter(config, info_.backend == BackendName(BackendKind::kFloat), adapter));
  }
  std::unique_ptr<Session> session(new Session());
  ETCH_ASSIGN_OR_RETURN(session->state_, backend_->NewState(context));
  if (options.prefix != nullptr) {
    ETCH_CHECK(options.prefix_tokens <= std::min(options.prefix->position_, context));
    if (!info_.copies_contexts) {
      return Fail(ErrorCode::kUnsupported, "the {} backend does not copy contexts", info_.backend);
    }
    session->state_->CopyFrom(*options.prefix->state_, options.prefix_tokens);
    session->position_ = options.prefix_tokens;
  }
  session->context_ = context;
  session->adapters_ = options.adapters;
  session->vocab_size_ = config.vocab_size;
  return session;
}

Status Engine::Forward(std::span<const Step> steps) {
  const int64_t vocabulary = image_->config().vocab_size;
  for (size_t index = 0; index < steps.size(); ++index) {
    const Step& step = steps[index];
    for (const Step& before : steps.first(index)) {
      ETCH_CHECK(step.session != before.session, "a session stands in two steps of one pass");
    }
    const auto count = static_cast<int64_t>(step.tokens.size());
    if (count > step.session->context_ - step.session->position_) {
      return Fail(ErrorCode::kContextExceeded,
                  "{} tokens after {} exceed the context of {}; start with a longer --context",
                  count, step.session->position_, step.session->context_);
    }
    if (step.hidden && !info_.gives_hidden) {
      return Fail(ErrorCode::kUnsupported, "the {} backend gives no hidden states", info_.backend);
    }
    for (const TokenId token : step.tokens) {
      if (token < 0 || token >= vocabulary) {
        return Fail(ErrorCode::kInvalidArgument, "token {} is outside of the vocabulary of {}",
                    token, vocabulary);
      }
    }
  }

  columns_.clear();
  for (const Step& step : steps) {
    AddColumns(step);
  }
  for (std::span<const Column> rest = columns_; !rest.empty();) {
    const size_t now = std::min(rest.size(), static_cast<size_t>(kMaxColumns));
    if (Status status = backend_->Forward(rest.first(now), interrupted_); !status) {
      for (const Step& step : steps) {
        step.session->logit_rows_ = 0;
      }
      return status;
    }
    rest = rest.subspan(now);
  }
  for (const Step& step : steps) {
    step.session->position_ += std::ssize(step.tokens);
  }
  return {};
}

void Engine::AddColumns(const Step& step) {
  Session& session = *step.session;
  const auto vocabulary = static_cast<size_t>(image_->config().vocab_size);
  const size_t count = step.tokens.size();
  const size_t wanted = step.logits == LogitsWanted::kNone || count == 0 ? 0
                        : step.logits == LogitsWanted::kLast             ? 1
                                                                         : count;
  session.logit_rows_ = static_cast<int64_t>(wanted);
  session.logits_.resize(wanted * vocabulary);
  const auto width = static_cast<size_t>(step.hidden ? image_->config().dim : 0);
  session.hidden_.resize(wanted * width);
  for (size_t index = 0; index < count; ++index) {
    Column column{session.state_.get(),
                  session.adapters_,
                  step.tokens[index],
                  session.position_ + static_cast<int64_t>(index),
                  {},
                  {}};
    if (index >= count - wanted) {
      const size_t row = index - (count - wanted);
      column.logits = std::span(session.logits_).subspan(row * vocabulary, vocabulary);
      column.hidden = std::span(session.hidden_).subspan(row * width, width);
    }
    columns_.push_back(column);
  }
}

}  // namespace etch::engine
