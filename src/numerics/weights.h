#pragma once

// Weight formats W3, W6, W8 and W4F and their one layout in memory and on disk.
// docs/numeric-contract.md §5.
//
// A matrix is cut into tiles of 16 rows; a tile is one contiguous stream, read front to back by a
// kernel in which each 32-bit lane owns a row:
//
//   header   64 bytes   16 row mantissas (u16), 16 row exponents (i8), 16 zero bytes
//   params   12 (W3, W6), 8 (W4F) or 0 (W8) bytes a group of 32 columns, padded to a multiple of 64
//   codes    192 (W3), 384 (W6), 512 (W8) or 256 (W4F) bytes a group
//
// Within a group, "vector" v in 0…7 is the 64 codes of columns 4v…4v+3; its byte 4*row + column%4
// belongs to `row`. Rows and columns beyond the matrix are padding: their row mantissa is 0 (rows)
// and the input is 0 (columns).
//
//   W3 codes: three 64-byte planes p0 p1 p2. Vectors 0…5 are bits 0-2 and 3-5 of p0, p1, p2 in
//   turn; vector 6 has its
//     low two bits in bits 6-7 of p0 and its third in bit 6 of p2; vector 7 likewise in p1 and bit
//     7 of p2.
//   W3 params: u16 table bits (bit r: row r), u16 bit 4 of each scale, 8 bytes of low scale nibbles
//   (byte i: row i low,
//     row i+8 high). scale = bits - 16, in -16…15.
//   W6 codes: four planes of low nibbles (plane v%4, low nibble for v < 4), two planes of high bit
//   pairs (plane v/4,
//     bits 2*(v%4)). weight level = code - 32.
//   W6 params: 8 bytes of low scale nibbles as above, 4 bytes of high bit pairs (byte i: rows i,
//   i+4, i+8, i+12).
//     scale in 0…63.
//   W8 codes: int8 in -127…127; no group scale.
//   W4F codes: four planes of nibbles (plane v%4, low nibble for v < 4). A code is an E2M1 float,
//   bit 3 the sign; weight level = twice its value.
//   W4F params: 8 bytes of nibbles as the low scale nibbles above. group scale = 2^-nibble.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "numerics/fixed_point.h"

namespace etch::numerics {

// Values are stored in images; never renumber. The last three only the float backend runs
// (`--recipe source`): plain rows, row by row.
enum class WeightFormat : uint8_t {
  kW3 = 1,
  kW6 = 2,
  kW8 = 3,
  kW4F = 4,
  kF32 = 16,
  kF16 = 17,
  kBF16 = 18
};

std::string_view FormatName(WeightFormat format);
constexpr bool IsTiled(WeightFormat format) { return format < WeightFormat::kF32; }

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kGroup = 32;  // columns that share the parameters; equals kBlock
inline constexpr int64_t kTileHeaderBytes = 64;

// The two tables of eight levels that W3 codes select from, each level in -31…31.
struct LevelTables {
  std::array<std::array<int8_t, 8>, 2> levels;
  bool operator==(const LevelTables&) const = default;
};
// Fitted by Lloyd's algorithm on trained weights (docs/numeric-contract.md §5 has the
// measurements).
inline constexpr LevelTables kDefaultLevels = {
    {{{{-31, -20, -12, -6, 0, 6, 13, 22}}, {{-29, -17, -10, -3, 2, 8, 16, 26}}}}};
// kMalformed when a level is outside -31…31.
Status Validate(const LevelTables& tables);

// The level of each W4F code: the sixteen values of E2M1, doubled. -0 is 0.
inline constexpr std::array<int8_t, 16> kFloatLevels = {0, 1,  2,  3,  4,  6,  8,  12,
                                                        0, -1, -2, -3, -4, -6, -8, -12};

// Sizes of the layout.
constexpr int64_t GroupCount(int64_t cols) { return (cols + kGroup - 1) / kGroup; }
constexpr int64_t TileCount(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
constexpr int64_t GroupCodeBytes(WeightFormat format) {
  return format == WeightFormat::kW3    ? 192
         : format == WeightFormat::kW6  ? 384
         : format == WeightFormat::kW4F ? 256
                                        : 512;
}
constexpr int64_t GroupParamBytes(WeightFormat format) {
  return format == WeightFormat::kW8 ? 0 : format == WeightFormat::kW4F ? 8 : 12;
}
constexpr int64_t ParamBytes(WeightFormat format, int64_t cols) {
  return (GroupCount(cols) * GroupParamBytes(format) + 63) / 64 * 64;
}
// Columns that have codes. W8, whose columns stand apart, keeps half a group where that is enough:
// adapters of rank 16 are common, and are as many bytes as they have weights.
constexpr int64_t StoredColumns(WeightFormat format, int64_t cols) {
  const int64_t unit = format == WeightFormat::kW8 ? kGroup / 2 : kGroup;
  return (cols + unit - 1) / unit * unit;
}
constexpr int64_t TileBytes(WeightFormat format, int64_t cols) {
  return kTileHeaderBytes + ParamBytes(format, cols) +
         StoredColumns(format, cols) * GroupCodeBytes(format) / kGroup;
}
// Bytes of a whole matrix, in any format. Behind half a group stand as many bytes again, once: a
// kernel may read whole groups, for what it reads too much meets inputs that are zero.
int64_t WeightBytes(WeightFormat format, int64_t rows, int64_t cols);

// A matrix in memory that someone else owns. `data` holds WeightBytes().
struct WeightView {
  WeightFormat format = WeightFormat::kW3;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  const LevelTables* levels = nullptr;  // W3 only
};

// One row of a group, unpacked: what the compiler packs and what the slow reference reads. The
// group scale is scale · 2^-halvings.
struct RowGroup {
  std::array<int8_t, kGroup> codes{};  // W3: 0…7; W6: 0…63; W8: -127…127; W4F: 0…15
  int8_t scale = 1;                    // W3: -16…15; W6: 0…63; W8, W4F: 1
  uint8_t table = 0;                   // W3: 0 or 1
  uint8_t halvings = 0;                // W4F: 0…15
};

// Reading. `row` < view.rows, `group` < GroupCount(view.cols).
Scale16 RowScale(const WeightView& view, int64_t row);
RowGroup UnpackGroup(const WeightView& view, int64_t row, int64_t group);
// The 32 integer levels of a group: table look-up for W3, code - 32 for W6, the code for W8,
// kFloatLevels for W4F.
std::array<int8_t, kGroup> Levels(const WeightView& view, const RowGroup& group);

// Writing one row into a tile of TileBytes(format, cols) zero-initialised bytes; row_in_tile in
// 0…15. Writing ors bits in: each (row, group) is packed once.
void PackRowScale(std::span<std::byte> tile, int64_t row_in_tile, Scale16 scale);
void PackGroup(WeightFormat format, int64_t cols, std::span<std::byte> tile, int64_t row_in_tile,
               int64_t group, const RowGroup& values);

// Dequantises row `row` into out[0, cols): level * group scale * row scale, or the plain value of a
// float format.
void DequantizeRow(const WeightView& view, int64_t row, std::span<float> out);

}  // namespace etch::numerics
