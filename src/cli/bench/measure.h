#pragma once

// The measuring part of `etch bench`: which rows there are, how each is run, what it costs in bytes
// and operations. report.h prints the result.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/loaded_model.h"
#include "engine/limits.h"

namespace etch::cli {

struct BenchOptions {
  RunOptions model;
  std::vector<int64_t> contexts;  // of the decode rows with batch 1; empty: 0, 1k, 4k and 16k, as
                                  // far as the model's context allows
  double seconds = 5.0;           // budget of a row
  bool quick = false;
  bool json = false;
  std::string csv;  // file to append the rows to; empty: none
};

// One row. Decode: one token for each of `batch` sessions a step, each after `context` tokens; the
// first `adapters` sessions run an adapter of their own each (batch 1: the one session runs them
// all). Prefill: `tokens` tokens of one empty session a step, logits of the last.
struct RowPlan {
  bool is_prefill = false;
  int64_t context = 0;
  int64_t batch = 1;
  int64_t adapters = 0;
  int64_t tokens = 0;  // prefill only

  int64_t TokensPerStep() const { return is_prefill ? tokens : batch; }
  std::string Name() const;  // "decode, context 4096", "prefill of 512"
};

struct Row {
  RowPlan plan;
  int64_t steps = 0;
  double median_s = 0.0;    // of one step
  double best_s = 0.0;      // the shortest step
  double bytes = 0.0;       // that one step must read: weights, context memory, adapters
  double operations = 0.0;  // multiplies and adds of one step over weights; attention is not in it
  // Decode with batch 1: each step against the read bandwidth measured just before and after it;
  // medians over the steps. 0 in other rows.
  double read_limit_gb_s = 0.0;
  double fraction_read = 0.0;

  double TokensPerSecond() const { return static_cast<double>(plan.TokensPerStep()) / median_s; }
  double BestTokensPerSecond() const { return static_cast<double>(plan.TokensPerStep()) / best_s; }
  double GbPerSecond() const { return bytes / median_s / 1e9; }
  double GopPerSecond() const { return operations / median_s / 1e9; }
};

struct RowLeftOut {
  RowPlan plan;
  std::string why;
};

struct BenchReport {
  std::string machine;
  std::string model;
  uint64_t image_bytes = 0;
  engine::EngineInfo engine;
  double load_s = 0.0;  // opening and verifying the image, tokenizer, adapters of --adapter
  uint64_t rss_bytes = 0;
  uint64_t image_pss_bytes = 0;
  engine::Limits before;
  engine::Limits after;
  double best_probe_gb_s = 0.0;  // the fastest pass between steps
  std::vector<Row> rows;
  std::vector<RowLeftOut> left_out;
  bool interrupted = false;

  // The largest of all measurements of the run.
  double ReadLimit() const;
  double Int8Limit() const;
  double FractionRead(const Row& row) const;
  double FractionInt8(const Row& row) const;
  // Decode with batch 1: of the read bandwidth. Prefill: of the int8 peak. Batches: the larger of
  // the two, which is that of the limit that binds.
  double Fraction(const Row& row) const;
  // Microseconds of a parallel loop of a decoded token, from the row with batch 1, context 0 and no
  // adapter. 0 when there is none or the backend does not say how many loops a token has.
  double MicrosecondsPerPhase() const;
};

// Opens the image and measures. An interruption (Ctrl-C) ends the rows early: the report then holds
// what has been measured. kInvalidArgument for a context that the model does not have.
Result<BenchReport> RunBench(const BenchOptions& options);

}  // namespace etch::cli
