#pragma once

// What this machine can do at most, measured in the present run: how many bytes a second its cores
// can read from memory, and how many 8-bit multiplies and adds a second they can do in registers.
// Every figure of `etch bench` and of the kernel benches is a fraction of one of these two.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace etch::engine {

struct Limits {
  double read_gb_s = 0.0;   // 10^9 bytes read a second, all threads together
  double int8_gop_s = 0.0;  // 10^9 multiplies and adds of 8-bit values a second, all threads
  std::string isa;          // instruction set of the loops: "generic", "avx2", "avx512"
  int threads = 0;          // that took part; fewer than asked for when the system refuses more
  uint64_t read_bytes = 0;  // size of the memory that was read over
};

// The read bandwidth of this moment, for measuring something else against it step by step: on a
// machine that is shared, memory may be twice as fast a second later.
class ReadProbe {
 public:
  // Keeps memory of up to 512 MiB for as long as it lives. 0 threads: one for each processor.
  explicit ReadProbe(int threads);
  ~ReadProbe();
  ReadProbe(const ReadProbe&) = delete;
  ReadProbe& operator=(const ReadProbe&) = delete;

  // One pass of all threads over the memory: 10^9 bytes a second. 0 without the memory.
  double Measure();
  uint64_t size_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Measures both on `threads` threads (0: one for each processor) with the best instruction set of
// this machine, each as the best of several passes, in under 3 s together. Takes 1 GiB of memory
// for a moment, less where a quarter of what is free is less. Without that memory read_gb_s is 0.
Limits MeasureLimits(int threads);

}  // namespace etch::engine
