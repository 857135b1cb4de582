#pragma once

// The float twin over weights that are read as they are needed: a file of any size is run with one
// matrix of it in memory.

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "model/config.h"
#include "model/tensors.h"
#include "model/vocabulary.h"

namespace etch::exporting {

// Fills `out` with a tensor's TensorShape() values in Etch's row order.
using ReadTensor = std::function<Status(model::Role role, int64_t layer, std::span<float> out)>;

// Logits (tokens.size(), vocab_size) after each of `tokens`, which begin a sequence. The arithmetic
// is that of the float backend, bit for bit before its rounding of the logits. `phase` is what
// `progress` shows; kCancelled when it asks for a stop.
Result<std::vector<float>> TwinLogits(const model::Config& config, const ReadTensor& read,
                                      std::span<const model::TokenId> tokens, ThreadPool& pool,
                                      std::string_view phase, const ProgressFn& progress);

}  // namespace etch::exporting
