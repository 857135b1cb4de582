#pragma once

// Random matrices and inputs, and memories as ports of a verilated unit, for tests of lanes.

#include <algorithm>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "numerics/activation.h"
#include "numerics/weights.h"
#include "rtl/rom.h"

namespace etch::rtl::test {

inline uint32_t WordOf(const Rom& rom, uint32_t word) {
  return word < rom.size() ? static_cast<uint32_t>(rom.Get(word, 0, rom.width())) : 0;
}

// A word of a memory as a wide or a narrow port; zeros beyond its end.
template <class Port>
void SetWord(const Rom& rom, uint32_t word, Port& port) {
  for (int64_t at = 0; at < rom.width(); at += 32) {
    const auto bits = std::min<int64_t>(32, rom.width() - at);
    const auto value = static_cast<uint32_t>(word < rom.size() ? rom.Get(word, at, bits) : 0);
    if constexpr (std::is_integral_v<Port>) {
      port = static_cast<Port>((at == 0 ? Port{} : port) | (Port{value} << at));
    } else {
      port[static_cast<size_t>(at / 32)] = value;
    }
  }
}

template <class Values>
auto At(const Values& values, size_t index) {
  return index < values.size() ? values[index] : typename Values::value_type{};
}

inline numerics::LevelTables RandomLevels(std::mt19937& random) {
  numerics::LevelTables tables{};
  std::uniform_int_distribution<int> level(-31, 31);
  for (auto& table : tables.levels) {
    for (int8_t& value : table) {
      value = static_cast<int8_t>(level(random));
    }
  }
  return tables;
}

// Sixteen levels of six bits.
template <class Port>
void SetLevels(const numerics::LevelTables& tables, Port& port) {
  Rom rom(96);
  rom.Grow(1);
  for (size_t index = 0; index < 16; ++index) {
    rom.Put(0, static_cast<int64_t>(6 * index),
            static_cast<uint8_t>(tables.levels[index / 8][index % 8]), 6);
  }
  SetWord(rom, 0, port);
}

// With `largest`, four rows in turn have codes and scales of either end in every column.
class RandomMatrix {
 public:
  RandomMatrix(numerics::WeightFormat format, int64_t rows, int64_t cols, std::mt19937& random,
               bool largest = false)
      : levels_(RandomLevels(random)), rows_(rows), cols_(cols), format_(format) {
    using numerics::WeightFormat;
    const int64_t tile_bytes = numerics::TileBytes(format, cols);
    bytes_.resize(static_cast<size_t>(numerics::WeightBytes(format, rows, cols)));
    if (largest) {
      for (auto& table : levels_.levels) {
        table.front() = -31;
        table.back() = 31;
      }
    }
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    for (int64_t row = 0; row < rows; ++row) {
      const std::span<std::byte> tile =
          std::span(bytes_).subspan(static_cast<size_t>(row / numerics::kTileRows * tile_bytes),
                                    static_cast<size_t>(tile_bytes));
      const int64_t in_tile = row % numerics::kTileRows;
      numerics::PackRowScale(
          tile, in_tile,
          {static_cast<uint16_t>(draw(32768, 65535)), static_cast<int8_t>(draw(-40, -10))});
      for (int64_t group = 0; group < numerics::GroupCount(cols); ++group) {
        numerics::RowGroup values;
        for (int8_t& code : values.codes) {
          code = static_cast<int8_t>(format == WeightFormat::kW3   ? draw(0, 7)
                                     : format == WeightFormat::kW6 ? draw(0, 63)
                                                                   : draw(-127, 127));
        }
        values.scale = static_cast<int8_t>(format == WeightFormat::kW3   ? draw(-16, 15)
                                           : format == WeightFormat::kW6 ? draw(0, 63)
                                                                         : 1);
        values.table = static_cast<uint8_t>(format == WeightFormat::kW3 ? draw(0, 1) : 0);
        if (largest) {
          const bool is_w3 = format == WeightFormat::kW3;
          const auto code = static_cast<int8_t>((row & 1) == 0 ? 0 : is_w3 ? 7 : 63);
          std::ranges::fill(values.codes, code);
          values.scale = static_cast<int8_t>((row & 2) == 0 ? (is_w3 ? -16 : 63) : 15);
        }
        numerics::PackGroup(format, cols, tile, in_tile, group, values);
      }
    }
  }

  const numerics::LevelTables& levels() const { return levels_; }
  numerics::WeightView view() const { return {format_, rows_, cols_, bytes_.data(), &levels_}; }

 private:
  numerics::LevelTables levels_;
  std::vector<std::byte> bytes_;
  int64_t rows_;
  int64_t cols_;
  numerics::WeightFormat format_;
};

// Blocks of very different sizes.
inline numerics::Activation RandomInput(numerics::ActivationFormat format, int64_t cols, int point,
                                        std::mt19937& random) {
  std::vector<int64_t> values;
  int bits = 20;
  for (int64_t index = 0; index < cols; ++index) {
    if (index % 32 == 0) {
      bits = std::uniform_int_distribution<int>(2, point == 32 ? 60 : 30)(random);
    }
    const auto limit = int64_t{1} << bits;
    values.push_back(std::uniform_int_distribution<int64_t>(-limit, limit)(random));
  }
  numerics::Activation input;
  numerics::QuantizeActivation(values, point, format, input);
  return input;
}

// Every code the largest of its format.
inline numerics::Activation LargestInput(numerics::ActivationFormat format, int64_t cols,
                                         bool negative) {
  const std::vector<int64_t> values(static_cast<size_t>(cols), negative ? -1'000'000 : 1'000'000);
  numerics::Activation input;
  numerics::QuantizeActivation(values, 16, format, input);
  std::ranges::fill(input.codes, static_cast<int16_t>(
                                     (negative ? -1 : 1) *
                                     (format == numerics::ActivationFormat::kA8 ? 127 : 32'639)));
  return input;
}

}  // namespace etch::rtl::test
