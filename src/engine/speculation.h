#pragma once

// Whether to draft, and how far: drafted tokens are verified in the pass that would run anyway, and
// pay when the columns they add cost less than the tokens they bring. Both sides are measured as
// the text goes. Decisions may follow the clock because the text never depends on them.

#include <array>
#include <cstdint>

#include "engine/prompt_lookup.h"

namespace etch::engine {

enum class Speculation {
  kOff,
  kAuto,    // where it pays, on the cpu backend; never on the others
  kAlways,  // whatever is found, whatever it costs: for tests and measurements
};

constexpr int64_t kMaxDraft = 8;

// Seconds of a pass by its columns, as measured on this machine for this image and batch.
class PassCost {
 public:
  static constexpr int64_t kMaxColumns = 64;      // of a pass that is measured or drafted for
  static constexpr int64_t kProbeInterval = 256;  // passes between two probes

  // A pass over single tokens and drafts, without prompts.
  void Record(int64_t columns, double seconds);
  // Estimate for a pass of `columns`: as measured, else on the line through its measured
  // neighbours. While one size is known, proportional to it: nothing is gained until it is seen. 0
  // while nothing is known.
  double Seconds(int64_t columns) const;
  // Whether what drafts cost should be looked at again; StartProbe says with how many.
  bool ProbeIsDue() const;
  int64_t StartProbe();

 private:
  struct Point {
    double seconds = 0.0;  // running mean; 0 while there is none
    int64_t count = 0;
    int64_t last = 0;  // pass in which it was measured
  };
  std::array<Point, kMaxColumns + 1> points_;  // by columns
  int64_t passes_ = 0;
  int64_t last_probe_ = -kProbeInterval;
  int64_t probes_ = 0;
};

// How often a drafted token was the one drawn, by the tokens that agreed before it; of one
// sequence.
class Acceptance {
 public:
  void Observe(int64_t match, bool accepted);
  double Probability(int64_t match) const { return share_[Index(match)]; }
  // Tokens that a draft of `length` brings beyond the one that any pass brings.
  double Expected(int64_t match, int64_t length) const;

 private:
  static constexpr size_t kClasses = PromptLookup::kMatchCap - PromptLookup::kShortest + 1;
  static size_t Index(int64_t match);

  // Where nothing is known yet, a long match is likelier to go on than a short one.
  std::array<double, kClasses> share_ = {0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8};
  std::array<int64_t, kClasses> count_ = {};
};

// A pass that is being put together, with one column for each sequence at first.
struct PassPlan {
  int64_t sequences = 0;
  int64_t columns = 0;
  double tokens = 0.0;  // expected to be drawn from it
};

// How many of `most` proposed tokens to draft after `match` agreeing ones; the most tokens a second
// over all sequences of the pass. Adds them to `plan`.
int64_t ChooseDraft(Speculation speculation, PassCost& cost, const Acceptance& acceptance,
                    int64_t match, int64_t most, PassPlan& plan);

}  // namespace etch::engine
