#include "tune/matrix.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.h"

namespace etch::tune {
namespace {

// Large enough that packing the operands costs a few percent, small enough to give every thread
// work.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kBlockCols = 256;

CBLAS_TRANSPOSE TransposeOf(ConstMatrix matrix) {
  return matrix.transposed ? CblasTrans : CblasNoTrans;
}

// The part of a matrix that begins at (row, col) of what it is read as.
ConstMatrix From(ConstMatrix matrix, int64_t row, int64_t col) {
  const int64_t offset = matrix.transposed ? col * matrix.stride + row : row * matrix.stride + col;
  return {matrix.data + offset, matrix.stride, matrix.transposed};
}

}  // namespace

void MultiplyHere(int64_t rows, int64_t cols, int64_t inner, float scale, ConstMatrix a,
                  ConstMatrix b, float keep, Matrix c) {
  // OpenBLAS would split a product as it sees fit; this program's pool does the splitting.
  [[maybe_unused]] static const bool single_threaded = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  if (rows == 0 || cols == 0) {
    return;
  }
  cblas_sgemm(CblasRowMajor, TransposeOf(a), TransposeOf(b), static_cast<int>(rows),
              static_cast<int>(cols), static_cast<int>(inner), scale, a.data,
              static_cast<int>(a.stride), b.data, static_cast<int>(b.stride), keep, c.data,
              static_cast<int>(c.stride));
}

void Multiply(ThreadPool& pool, int64_t rows, int64_t cols, int64_t inner, float scale,
              ConstMatrix a, ConstMatrix b, float keep, Matrix c) {
  const int64_t down = (rows + kBlockRows - 1) / kBlockRows;
  const int64_t across = (cols + kBlockCols - 1) / kBlockCols;
  pool.ParallelFor(down * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block / across * kBlockRows;
      const int64_t col = block % across * kBlockCols;
      MultiplyHere(std::min(kBlockRows, rows - row), std::min(kBlockCols, cols - col), inner, scale,
                   From(a, row, 0), From(b, 0, col), keep,
                   {c.data + row * c.stride + col, c.stride});
    }
  });
}

double MeasureMatrixPeak(ThreadPool& pool) {
  constexpr int64_t kSize = 1536;
  constexpr int kRounds = 4;
  const std::vector<float> a(kSize * kSize, 1.0F);
  const std::vector<float> b(kSize * kSize, 0.5F);
  std::vector<float> c(kSize * kSize);
  double best = 0.0;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    Multiply(pool, kSize, kSize, kSize, 1.0F, {a.data(), kSize, false}, {b.data(), kSize, true},
             0.0F, {c.data(), kSize});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, 2e-9 * kSize * kSize * kSize / seconds.count());
  }
  return best;
}

}  // namespace etch::tune
