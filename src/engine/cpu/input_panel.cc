#include "engine/cpu/input_panel.h"

#include <cstring>

#include "base/error.h"

namespace etch::engine {

using numerics::ActivationFormat;
using numerics::kBlock;

void InputPanel::Reset(ActivationFormat format, int64_t width, int64_t columns, int point) {
  point_ = point;
  format_ = format;
  width_ = width;
  groups_ = (width + kBlock - 1) / kBlock;
  columns_ = columns;
  records_.Grow(columns * groups_ * record_bytes());
  max_shifts_.resize(static_cast<size_t>(columns));
}

void InputPanel::CopyColumn(const InputPanel& source, int64_t from, int64_t to) {
  ETCH_DCHECK(source.format_ == format_ && source.width_ == width_ && source.point_ == point_);
  const std::byte* read = source.Record(from, 0);
  std::byte* write = Record(to, 0);
  const int64_t read_stride = source.RecordStride(from);
  const int64_t write_stride = RecordStride(to);
  const auto copy = [&](auto size) {  // a constant, or each record is a call
    for (int64_t group = 0; group < groups_; ++group) {
      std::memcpy(write + group * write_stride, read + group * read_stride, size());
    }
  };
  if (format_ == ActivationFormat::kA8) {
    copy([] { return size_t{RecordBytes(ActivationFormat::kA8)}; });
  } else {
    copy([] { return size_t{RecordBytes(ActivationFormat::kA16)}; });
  }
  SetMaxShift(to, source.max_shift(from));
}

void PackColumn(const numerics::Activation& input, int64_t column, InputPanel& panel) {
  ETCH_DCHECK(input.format == panel.format() && input.blocks() == panel.groups() &&
              input.point == panel.point());
  const bool wide = input.format == ActivationFormat::kA16;
  for (int64_t group = 0; group < panel.groups(); ++group) {
    std::byte* record = panel.Record(column, group);
    GroupTerms terms;
    for (int64_t index = 0; index < kBlock; ++index) {
      const int code = input.codes[static_cast<size_t>(group * kBlock + index)];
      const int high = (code + 128) >> 8;
      terms.bias -= 32 * code;
      if (wide) {
        record[index] = static_cast<std::byte>(code - 256 * high);
        record[kBlock + index] = static_cast<std::byte>(high);
      } else {
        record[index] = static_cast<std::byte>(code);
      }
    }
    terms.shift = input.max_shift - input.shifts[static_cast<size_t>(group)] + (wide ? 8 : 0);
    terms.half = (1 << terms.shift) >> 1;
    std::memcpy(record + (wide ? 64 : 32), &terms, sizeof terms);
  }
  panel.SetMaxShift(column, input.max_shift);
}

}  // namespace etch::engine
