#pragma once

// The options of `etch tune`, for adapters and for bases from scratch.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tune/optimizer.h"
#include "tune/trained_model.h"
#include "tune/trainer.h"

namespace etch::cli {

struct TuneOptions {
  std::string image;         // of an adapter
  std::string from_scratch;  // configuration of a new base
  std::vector<std::string> data;
  std::string validation;  // a file, or a share of the rows
  std::string out;
  // Data.
  std::string schema;
  std::string train_on;  // empty: completions, or as the configuration says
  std::string long_rows = "refuse";
  int64_t length = 0;   // 0: the model's context, at most 2048
  int64_t preview = 0;  // rows
  bool check_only = false;
  // The adapter.
  tune::LoraSettings lora;
  std::string targets = "all";
  // The run.
  tune::TrainerSettings trainer;
  std::string schedule = "cosine";
  std::string recompute = "auto";
  int threads = 0;
  bool resume = false;
  bool restart = false;
  int64_t score_rows = 64;
  bool json = false;
};

}  // namespace etch::cli
