#pragma once

// The inputs of a linear layer as the kernels read them: columns side by side, group by group, with
// all that a group's product needs in one record, so that a kernel reads one stream front to back.
//
//   record (A8)    0  32 codes, int8                         48 bytes
//                 32  bias   int32  -32 · Σ codes: what 32 added to every level costs
//                 36  half   int32  2^shift / 2, the rounding of the group's sum (0 for shift 0)
//                 40  shift  int32  E - e_g, plus 8 for A16 (docs/numeric-contract.md §6)
//                 44  zero
//   record (A16)   0  32 low planes, 32  32 high planes, 64  bias …         80 bytes
//
// Columns come in blocks of kBlockColumns (the last may be narrower); within a block the records of
// one group stand together: (block, group, column of the block). A kernel unpacks a group of
// weights once a block; its sums of a block, 128 bytes a column, just fit a first-level cache.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "numerics/activation.h"
#include "numerics/fixed_point.h"

namespace etch::engine {

inline constexpr int64_t kBlockColumns = 256;

struct GroupTerms {
  int32_t bias = 0;
  int32_t half = 0;
  int32_t shift = 0;
  int32_t zero = 0;
};

constexpr int64_t RecordBytes(numerics::ActivationFormat format) {
  return (format == numerics::ActivationFormat::kA8 ? 32 : 64) +
         static_cast<int64_t>(sizeof(GroupTerms));
}

class InputPanel {
 public:
  // Room for `columns` columns of `width` channels, of vectors with `point` fraction bits; what the
  // panel held is lost. Memory is kept. Columns may then be written by different threads.
  void Reset(numerics::ActivationFormat format, int64_t width, int64_t columns,
             int point = numerics::kPoint);

  numerics::ActivationFormat format() const { return format_; }
  int64_t width() const { return width_; }
  int64_t groups() const { return groups_; }
  int64_t columns() const { return columns_; }
  int64_t record_bytes() const { return RecordBytes(format_); }

  // One block of columns.
  int64_t blocks() const { return (columns_ + kBlockColumns - 1) / kBlockColumns; }
  int64_t BlockWidth(int64_t block) const {
    return std::min(kBlockColumns, columns_ - block * kBlockColumns);
  }
  const std::byte* Block(int64_t block) const {
    return records_.data() + block * kBlockColumns * groups_ * record_bytes();
  }

  // The record of one group of a column; the next group's is RecordStride(column) bytes further.
  std::byte* Record(int64_t column, int64_t group) {
    return const_cast<std::byte*>(std::as_const(*this).Record(column, group));
  }
  const std::byte* Record(int64_t column, int64_t group) const {
    const int64_t block = column / kBlockColumns;
    return Block(block) + (group * BlockWidth(block) + column % kBlockColumns) * record_bytes();
  }
  int64_t RecordStride(int64_t column) const {
    return BlockWidth(column / kBlockColumns) * record_bytes();
  }

  // Of each column: the largest block shift E, and the fraction bits of what was quantised.
  int max_shift(int64_t column) const { return max_shifts_[static_cast<size_t>(column)]; }
  int point() const { return point_; }
  void SetMaxShift(int64_t column, int shift) {
    max_shifts_[static_cast<size_t>(column)] = static_cast<uint8_t>(shift);
  }

  // A copy of column `from` of `source`, as column `to` of this one. Same format and width.
  void CopyColumn(const InputPanel& source, int64_t from, int64_t to);

 private:
  numerics::ActivationFormat format_ = numerics::ActivationFormat::kA8;
  int64_t width_ = 0;
  int64_t groups_ = 0;
  int64_t columns_ = 0;
  int point_ = 0;
  AlignedBuffer records_;
  std::vector<uint8_t> max_shifts_;
};

// Writes one column of a panel from a contract's Activation. The fast paths (`quantize` of
// KernelSet) write the same bytes directly; tests hold them to this.
void PackColumn(const numerics::Activation& input, int64_t column, InputPanel& panel);

}  // namespace etch::engine
