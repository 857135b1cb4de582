#include "rtl/matrix_rom.h"

#include "base/error.h"

namespace etch::rtl {
namespace {

using numerics::GroupCount;
using numerics::kGroup;
using numerics::RowGroup;
using numerics::WeightFormat;
using numerics::WeightView;

int64_t Tiles(int64_t rows, int64_t lanes) { return (rows + lanes - 1) / lanes; }

void AppendRowScales(const WeightView& view, int64_t lanes, Rom& rows) {
  const int64_t first = rows.Grow(Tiles(view.rows, lanes) * lanes);
  for (int64_t row = 0; row < view.rows; ++row) {
    const numerics::Scale16 scale = numerics::RowScale(view, row);
    rows.Put(first + row, 0, scale.mantissa, 16);
    rows.Put(first + row, 16, static_cast<uint8_t>(scale.exponent), 8);
  }
}

}  // namespace

void AppendMatrix(const WeightView& view, int64_t lanes, BaseRoms& roms) {
  ETCH_CHECK(view.format == WeightFormat::kW3 || view.format == WeightFormat::kW6);
  const bool w6 = view.format == WeightFormat::kW6;
  const int64_t planes = w6 ? 2 : 1;
  const int64_t groups = GroupCount(view.cols);
  const int64_t first_code = roms.codes.Grow(Tiles(view.rows, lanes) * groups * kGroup * planes);
  const int64_t first_param = roms.params.Grow(Tiles(view.rows, lanes) * groups);
  for (int64_t row = 0; row < view.rows; ++row) {
    const int64_t lane = row % lanes;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t at = row / lanes * groups + group;
      const RowGroup values = numerics::UnpackGroup(view, row, group);
      const auto scale = static_cast<uint8_t>(values.scale);
      roms.params.Put(first_param + at, 6 * lane,
                      w6 ? scale : (scale & 31U) | (uint32_t{values.table} << 5), 6);
      for (int64_t column = 0; column < kGroup; ++column) {
        const auto code = static_cast<uint8_t>(values.codes[static_cast<size_t>(column)]);
        const int64_t word = first_code + (at * kGroup + column) * planes;
        if (w6) {
          roms.codes.Put(word, 3 * lane, code >> 3, 3);
          roms.codes.Put(word + 1, 3 * lane, code & 7U, 3);
        } else {
          roms.codes.Put(word, 3 * lane, code, 3);
        }
      }
    }
  }
  AppendRowScales(view, lanes, roms.rows);
}

void AppendAdapterMatrix(const WeightView& view, AdapterRoms& roms) {
  ETCH_CHECK(view.format == WeightFormat::kW8);
  const int64_t groups = GroupCount(view.cols);
  const int64_t first = roms.codes.Grow(Tiles(view.rows, kAdapterLanes) * groups * kGroup);
  for (int64_t row = 0; row < view.rows; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const RowGroup values = numerics::UnpackGroup(view, row, group);
      for (int64_t column = 0; column < kGroup; ++column) {
        const int64_t word = first + (row / kAdapterLanes * groups + group) * kGroup + column;
        roms.codes.Put(word, 8 * (row % kAdapterLanes),
                       static_cast<uint8_t>(values.codes[static_cast<size_t>(column)]), 8);
      }
    }
  }
  AppendRowScales(view, kAdapterLanes, roms.rows);
}

}  // namespace etch::rtl
