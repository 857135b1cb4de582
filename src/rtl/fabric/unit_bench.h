#pragma once

// What tests of single units of the fabric share: a clock, and memories that answer a cycle after
// they are asked, as the chip's do.

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "rtl/fabric/unit_recorder.h"

namespace etch::rtl::test {

template <class Unit>
class UnitBench {
 public:
  explicit UnitBench(size_t work_words) : work(work_words) {
    unit.clk = 0;
    unit.start = 0;
    unit.rst = 1;
    Tick();
    unit.rst = 0;
    Tick();
  }

  // Reads what the unit asks of its memories in this cycle, and answers in the next; called with
  // the outputs of the cycle, returns what sets the inputs of the next.
  using Answer = std::function<void()>;
  std::function<Answer()> memories = [] { return [] {}; };

  // One cycle. What is set before it is seen by the unit in it.
  void Tick() {
    unit.eval();
    recorder_.Record(unit);
    const Answer answer = memories();
    unit.clk = 1;
    unit.eval();
    answer();
    unit.clk = 0;
    unit.eval();
  }

  // Starts the unit, whose operands are set; the cycles that it took.
  int64_t Run(int64_t limit = 10'000'000) {
    unit.start = 1;
    for (int64_t cycles = 0; cycles <= limit; ++cycles) {
      unit.eval();
      if (unit.done) {
        unit.start = 0;
        Tick();
        return cycles;
      }
      Tick();
      unit.start = 0;
    }
    throw std::runtime_error("the unit is never done");
  }

  Unit unit;
  std::vector<int32_t> work;

 private:
  UnitRecorder recorder_;
};

}  // namespace etch::rtl::test
