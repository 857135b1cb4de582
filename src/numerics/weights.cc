#include "numerics/weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace etch::numerics {
namespace {

uint8_t ByteAt(const std::byte* data, int64_t offset) {
  return std::to_integer<uint8_t>(data[offset]);
}

void OrByte(std::span<std::byte> tile, int64_t offset, int value) {
  tile[static_cast<size_t>(offset)] |= static_cast<std::byte>(value);
}

const std::byte* TileOf(const WeightView& view, int64_t row) {
  return view.data + row / kTileRows * TileBytes(view.format, view.cols);
}

// Offset of byte (row, column) inside a 64-byte plane or vector.
int64_t LaneByte(int64_t row_in_tile, int64_t column) { return 4 * row_in_tile + column % 4; }

int8_t UnpackW3Code(const std::byte* codes, int64_t vector, int64_t lane) {
  const int plane0 = ByteAt(codes, lane);
  const int plane1 = ByteAt(codes, 64 + lane);
  const int plane2 = ByteAt(codes, 128 + lane);
  switch (vector) {
    case 0:
      return static_cast<int8_t>(plane0 & 7);
    case 1:
      return static_cast<int8_t>((plane0 >> 3) & 7);
    case 2:
      return static_cast<int8_t>(plane1 & 7);
    case 3:
      return static_cast<int8_t>((plane1 >> 3) & 7);
    case 4:
      return static_cast<int8_t>(plane2 & 7);
    case 5:
      return static_cast<int8_t>((plane2 >> 3) & 7);
    case 6:
      return static_cast<int8_t>((plane0 >> 6) | ((plane2 >> 4) & 4));
    default:
      return static_cast<int8_t>((plane1 >> 6) | ((plane2 >> 5) & 4));
  }
}

void PackW3Code(std::span<std::byte> tile, int64_t codes, int64_t vector, int64_t lane, int code) {
  if (vector < 6) {
    OrByte(tile, codes + vector / 2 * 64 + lane, code << (3 * (vector % 2)));
    return;
  }
  const int64_t which = vector - 6;
  OrByte(tile, codes + which * 64 + lane, (code & 3) << 6);
  OrByte(tile, codes + 128 + lane, (code >> 2) << (6 + which));
}

// A nibble of four planes: vectors 0…3 low, 4…7 high. The codes of W4F and the low half of W6's.
int UnpackNibble(const std::byte* codes, int64_t vector, int64_t lane) {
  return (ByteAt(codes, vector % 4 * 64 + lane) >> (4 * (vector / 4))) & 15;
}

void PackNibble(std::span<std::byte> tile, int64_t codes, int64_t vector, int64_t lane, int code) {
  OrByte(tile, codes + vector % 4 * 64 + lane, (code & 15) << (4 * (vector / 4)));
}

int8_t UnpackW6Code(const std::byte* codes, int64_t vector, int64_t lane) {
  const int high = (ByteAt(codes, 256 + vector / 4 * 64 + lane) >> (2 * (vector % 4))) & 3;
  return static_cast<int8_t>(UnpackNibble(codes, vector, lane) | (high << 4));
}

void PackW6Code(std::span<std::byte> tile, int64_t codes, int64_t vector, int64_t lane, int code) {
  PackNibble(tile, codes, vector, lane, code);
  OrByte(tile, codes + 256 + vector / 4 * 64 + lane, (code >> 4) << (2 * (vector % 4)));
}

int8_t UnpackCode(WeightFormat format, const std::byte* codes, int64_t vector, int64_t lane) {
  switch (format) {
    case WeightFormat::kW3:
      return UnpackW3Code(codes, vector, lane);
    case WeightFormat::kW6:
      return UnpackW6Code(codes, vector, lane);
    case WeightFormat::kW4F:
      return static_cast<int8_t>(UnpackNibble(codes, vector, lane));
    default:
      return static_cast<int8_t>(ByteAt(codes, vector * 64 + lane));
  }
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t magnitude = half & 0x7fffU;
  if (magnitude >= 0x7c00U) {
    return std::bit_cast<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
  }
  if (magnitude >= 0x400U) {
    return std::bit_cast<float>(sign | ((magnitude << 13) + (112U << 23)));
  }
  const float value = static_cast<float>(magnitude) * 0x1p-24F;
  return sign != 0 ? -value : value;
}

}  // namespace

std::string_view FormatName(WeightFormat format) {
  switch (format) {
    case WeightFormat::kW3:
      return "W3";
    case WeightFormat::kW6:
      return "W6";
    case WeightFormat::kW8:
      return "W8";
    case WeightFormat::kW4F:
      return "W4F";
    case WeightFormat::kF32:
      return "F32";
    case WeightFormat::kF16:
      return "F16";
    case WeightFormat::kBF16:
      return "BF16";
  }
  return "?";
}

Status Validate(const LevelTables& tables) {
  for (const auto& table : tables.levels) {
    for (const int8_t level : table) {
      if (level < -31 || level > 31) {
        return Fail(ErrorCode::kMalformed, "W3 level {} is outside -31 to 31", level);
      }
    }
  }
  return {};
}

int64_t WeightBytes(WeightFormat format, int64_t rows, int64_t cols) {
  if (IsTiled(format)) {
    const int64_t missing = GroupCount(cols) * kGroup - StoredColumns(format, cols);
    return TileCount(rows) * TileBytes(format, cols) + missing * GroupCodeBytes(format) / kGroup;
  }
  return rows * cols * (format == WeightFormat::kF32 ? 4 : 2);
}

Scale16 RowScale(const WeightView& view, int64_t row) {
  const std::byte* tile = TileOf(view, row);
  const int64_t lane = row % kTileRows;
  Scale16 scale;
  std::memcpy(&scale.mantissa, tile + 2 * lane, sizeof scale.mantissa);
  scale.exponent = static_cast<int8_t>(ByteAt(tile, 32 + lane));
  return scale;
}

RowGroup UnpackGroup(const WeightView& view, int64_t row, int64_t group) {
  const std::byte* tile = TileOf(view, row);
  const int64_t lane_row = row % kTileRows;
  const std::byte* params = tile + kTileHeaderBytes + group * GroupParamBytes(view.format);
  const std::byte* codes = tile + kTileHeaderBytes + ParamBytes(view.format, view.cols) +
                           group * GroupCodeBytes(view.format);
  RowGroup out;
  const int64_t stored = std::min(kGroup, StoredColumns(view.format, view.cols) - group * kGroup);
  for (int64_t column = 0; column < stored; ++column) {
    out.codes[static_cast<size_t>(column)] =
        UnpackCode(view.format, codes, column / 4, LaneByte(lane_row, column));
  }
  const auto nibble = [&](int64_t offset) {
    return (ByteAt(params, offset + lane_row % 8) >> (4 * (lane_row / 8))) & 15;
  };
  const auto bit = [&](int64_t offset) {
    return (ByteAt(params, offset + lane_row / 8) >> (lane_row % 8)) & 1;
  };
  if (view.format == WeightFormat::kW3) {
    out.table = static_cast<uint8_t>(bit(0));
    out.scale = static_cast<int8_t>((nibble(4) | (bit(2) << 4)) - 16);
  } else if (view.format == WeightFormat::kW6) {
    const int high = (ByteAt(params, 8 + lane_row % 4) >> (2 * (lane_row / 4))) & 3;
    out.scale = static_cast<int8_t>(nibble(0) | (high << 4));
  } else if (view.format == WeightFormat::kW4F) {
    out.halvings = static_cast<uint8_t>(nibble(0));
  }
  return out;
}

std::array<int8_t, kGroup> Levels(const WeightView& view, const RowGroup& group) {
  std::array<int8_t, kGroup> levels = group.codes;
  for (int8_t& level : levels) {
    if (view.format == WeightFormat::kW3) {
      level = view.levels->levels[group.table][static_cast<size_t>(level)];
    } else if (view.format == WeightFormat::kW6) {
      level = static_cast<int8_t>(level - 32);
    } else if (view.format == WeightFormat::kW4F) {
      level = kFloatLevels[static_cast<size_t>(level)];
    }
  }
  return levels;
}

void PackRowScale(std::span<std::byte> tile, int64_t row_in_tile, Scale16 scale) {
  std::memcpy(tile.data() + 2 * row_in_tile, &scale.mantissa, sizeof scale.mantissa);
  tile[static_cast<size_t>(32 + row_in_tile)] = static_cast<std::byte>(scale.exponent);
}

void PackGroup(WeightFormat format, int64_t cols, std::span<std::byte> tile, int64_t row_in_tile,
               int64_t group, const RowGroup& values) {
  const int64_t params = kTileHeaderBytes + group * GroupParamBytes(format);
  const int64_t codes =
      kTileHeaderBytes + ParamBytes(format, cols) + group * GroupCodeBytes(format);
  const int64_t stored = std::min(kGroup, StoredColumns(format, cols) - group * kGroup);
  for (int64_t column = 0; column < stored; ++column) {
    const int64_t vector = column / 4;
    const int64_t lane = LaneByte(row_in_tile, column);
    const int code = values.codes[static_cast<size_t>(column)];
    if (format == WeightFormat::kW3) {
      PackW3Code(tile, codes, vector, lane, code);
    } else if (format == WeightFormat::kW6) {
      PackW6Code(tile, codes, vector, lane, code);
    } else if (format == WeightFormat::kW4F) {
      PackNibble(tile, codes, vector, lane, code);
    } else {
      OrByte(tile, codes + vector * 64 + lane, code & 255);
    }
  }
  const auto put_nibble = [&](int64_t offset, int bits) {
    OrByte(tile, params + offset + row_in_tile % 8, (bits & 15) << (4 * (row_in_tile / 8)));
  };
  const auto put_bit = [&](int64_t offset, int bits) {
    OrByte(tile, params + offset + row_in_tile / 8, (bits & 1) << (row_in_tile % 8));
  };
  if (format == WeightFormat::kW3) {
    const int bits = values.scale + 16;
    put_bit(0, values.table);
    put_bit(2, bits >> 4);
    put_nibble(4, bits);
  } else if (format == WeightFormat::kW6) {
    put_nibble(0, values.scale);
    OrByte(tile, params + 8 + row_in_tile % 4, (values.scale >> 4) << (2 * (row_in_tile / 4)));
  } else if (format == WeightFormat::kW4F) {
    put_nibble(0, values.halvings);
  }
}

void DequantizeRow(const WeightView& view, int64_t row, std::span<float> out) {
  ETCH_DCHECK(static_cast<int64_t>(out.size()) == view.cols && row < view.rows);
  if (!IsTiled(view.format)) {
    const bool wide = view.format == WeightFormat::kF32;
    const std::byte* source = view.data + row * view.cols * (wide ? 4 : 2);
    for (size_t column = 0; column < out.size(); ++column) {
      if (wide) {
        std::memcpy(&out[column], source + 4 * column, 4);
        continue;
      }
      uint16_t bits = 0;
      std::memcpy(&bits, source + 2 * column, 2);
      out[column] = view.format == WeightFormat::kF16
                        ? HalfToFloat(bits)
                        : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
    }
    return;
  }
  const double row_scale = FromScale16(RowScale(view, row));
  for (int64_t group = 0; group < GroupCount(view.cols); ++group) {
    const RowGroup unpacked = UnpackGroup(view, row, group);
    const std::array<int8_t, kGroup> levels = Levels(view, unpacked);
    const double scale = std::ldexp(row_scale, -int{unpacked.halvings});
    const int64_t begin = group * kGroup;
    for (int64_t column = begin; column < std::min(begin + kGroup, view.cols); ++column) {
      const int level = levels[static_cast<size_t>(column - begin)] * unpacked.scale;
      out[static_cast<size_t>(column)] = static_cast<float>(level * scale);
    }
  }
}

}  // namespace etch::numerics
