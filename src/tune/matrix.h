#pragma once

// Products of float matrices on a thread pool. Matrices are row-major; a stride is the number of
// elements from one row to the next.
//
// The bits of a result depend on the operands only, not on the number of threads: the result is cut
// into blocks of a fixed size, and each block is one call of a single-threaded BLAS.

#include <cstdint>

#include "base/thread_pool.h"

namespace etch::tune {

struct ConstMatrix {
  const float* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;  // read as the transpose of what lies in memory
};

struct Matrix {
  float* data = nullptr;
  int64_t stride = 0;
};

// c (rows, cols) = scale · a (rows, inner) · b (inner, cols) + keep · c. On the calling thread.
void MultiplyHere(int64_t rows, int64_t cols, int64_t inner, float scale, ConstMatrix a,
                  ConstMatrix b, float keep, Matrix c);

// The same by all threads of the pool.
void Multiply(ThreadPool& pool, int64_t rows, int64_t cols, int64_t inner, float scale,
              ConstMatrix a, ConstMatrix b, float keep, Matrix c);

// What the machine reaches in Multiply on large matrices, 10^9 operations a second (a multiply or
// an addition is one): the best of a few products of 1536. Takes a few tenths of a second.
double MeasureMatrixPeak(ThreadPool& pool);

}  // namespace etch::tune
