#pragma once

// The configuration of a base from scratch: one JSON file with three parts.
//
//   "model"      Hugging Face's config.json
//   "tokenizer"  control_tokens, bos_token (may be missing), eos_token, chat_template (a file
//                beside the configuration, or missing)
//   "training"   tokens, batch_tokens, length, learning_rate, and, each with a default,
//                min_learning_rate, schedule, warmup_steps, weight_decay, beta1, beta2, clip_norm,
//                seed, train_on

#include <filesystem>
#include <string>

#include "base/error.h"
#include "model/config.h"
#include "tune/bpe_training.h"
#include "tune/trainer.h"

namespace etch::cli {

struct ScratchConfig {
  model::Config model;
  tune::BpeSettings tokenizer;
  tune::TrainerSettings trainer;
  int64_t length = 0;  // tokens of a sequence
  std::string train_on;
};

// kMalformed, naming the key, for what is missing, of the wrong type, or unknown.
Result<ScratchConfig> ReadScratchConfig(const std::filesystem::path& path);

}  // namespace etch::cli
