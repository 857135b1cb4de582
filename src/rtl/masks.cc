#include "rtl/masks.h"

#include <fmt/format.h>

#include <bit>

#include "rtl/matrix_rom.h"

namespace etch::rtl {
namespace {

using plan::HardwarePlan;

// A memory of the mask set: data in the cycle after its address.
struct MaskRom {
  std::string name;      // NAME_addr, and the file NAME.hex
  std::string data;      // the port of its data
  int64_t address_bits;  // of the port
  Rom rom;
};

uint64_t Low32(int64_t value) { return static_cast<uint32_t>(static_cast<int32_t>(value)); }

Rom Gains(const image::Image& image, const HardwarePlan& plan) {
  Rom rom(24);
  const auto add = [&](model::Role role, int64_t layer) {
    for (const numerics::Gain16& gain : image.Gains(role, layer)) {
      rom.Add(static_cast<uint16_t>(gain.mantissa) |
              (uint64_t{static_cast<uint8_t>(gain.exponent)} << 16));
    }
  };
  for (int64_t layer = 0; layer < plan.fabric.config.n_layers; ++layer) {
    add(model::Role::kAttentionNorm, layer);
    add(model::Role::kFfnNorm, layer);
  }
  add(model::Role::kFinalNorm, 0);
  return rom;
}

// Neighbours of a table side by side: entry i in the low half, entry i + 1 above.
template <class Table>
Rom Pairs(const Table& table, int64_t bits) {
  Rom rom(2 * bits);
  for (size_t index = 0; index + 1 < table.size(); ++index) {
    rom.Add(static_cast<uint64_t>(table[index]) |
            (static_cast<uint64_t>(table[index + 1]) << bits));
  }
  return rom;
}

Rom Rotations(std::span<const numerics::Rotation> rotations) {
  Rom rom(64);
  for (const numerics::Rotation& rotation : rotations) {
    rom.Add(Low32(rotation.cosine) | (Low32(rotation.sine) << 32));
  }
  return rom;
}

std::vector<MaskRom> MakeRoms(const image::Image& image, const HardwarePlan& plan) {
  BaseRoms base(plan.fabric.choices.lanes);
  for (const plan::MatrixPlace& place : plan.matrices) {
    AppendMatrix(image.Weights(place.role, place.layer), plan.fabric.choices.lanes, base);
  }
  Rom rsqrt(31);
  for (const int32_t entry : image.tables().rsqrt) {
    rsqrt.Add(static_cast<uint64_t>(entry));
  }
  std::vector<MaskRom> roms;
  roms.push_back({"step", "step_word", 12, MakeProgram(plan)});
  roms.push_back({"code", "code_word", 32, std::move(base.codes)});
  roms.push_back({"param", "param_word", 32, std::move(base.params)});
  roms.push_back({"row", "row_scale", 32, std::move(base.rows)});
  roms.push_back({"gain", "gain_data", 32, Gains(image, plan)});
  roms.push_back({"exp2", "exp2_pair", 6, Pairs(image.tables().exp2, 25)});
  roms.push_back({"sigmoid", "sigmoid_pair", 9, Pairs(image.tables().sigmoid, 17)});
  roms.push_back({"rsqrt", "rsqrt_data", 8, std::move(rsqrt)});
  roms.push_back({"high", "high_data", 24, Rotations(image.rope_high())});
  roms.push_back({"low", "low_data", 16, Rotations(image.rope_low())});
  return roms;
}

int64_t AddressBits(const MaskRom& rom) {
  return std::max<int64_t>(1, std::bit_width(static_cast<uint64_t>(rom.rom.size() - 1)));
}

std::string ModuleText(const image::Image& image, const std::vector<MaskRom>& roms) {
  std::string text = fmt::format(
      "// The masks of {}: all that differs from another model of its shape.\n"
      "// Each memory gives a word in the cycle after its address.\n"
      "module etch_masks (\n"
      "    input  logic clk,\n",
      image.name());
  for (const MaskRom& rom : roms) {
    text += fmt::format("    input  logic [{}:0] {}_addr,\n", rom.address_bits - 1, rom.name);
    text += fmt::format("    output logic [{}:0] {},\n", rom.rom.width() - 1, rom.data);
  }
  text +=
      "    output logic [95:0] levels,\n"
      "    output logic [46:0] epsilon,\n"
      "    output logic [15:0] score_mantissa,\n"
      "    output logic signed [7:0] score_exponent\n"
      ");\n";
  Rom levels(96);
  levels.Grow(1);
  for (size_t index = 0; index < 16; ++index) {
    levels.Put(0, static_cast<int64_t>(6 * index),
               static_cast<uint8_t>(image.levels().levels[index / 8][index % 8]), 6);
  }
  std::string digits = levels.ToHex();
  digits.pop_back();
  text += fmt::format("  assign levels = 96'h{};\n", digits);
  text += fmt::format("  assign epsilon = 47'd{};\n", image.norm_epsilon());
  text += fmt::format("  assign score_mantissa = 16'd{};\n", image.score_scale().mantissa);
  text += fmt::format("  assign score_exponent = 8'h{:02x};\n",
                      static_cast<uint8_t>(image.score_scale().exponent));
  std::string unused;
  for (const MaskRom& rom : roms) {
    const int64_t bits = AddressBits(rom);
    text += fmt::format("\n  logic [{}:0] {}_rom[0:{}];\n", rom.rom.width() - 1, rom.name,
                        rom.rom.size() - 1);
    text += fmt::format("  initial $readmemh(\"masks/{0}.hex\", {0}_rom);\n", rom.name);
    text += fmt::format("  always_ff @(posedge clk) {0} <= {1}_rom[{1}_addr[{2}:0]];\n", rom.data,
                        rom.name, bits - 1);
    if (bits < rom.address_bits) {
      unused += fmt::format(", {}_addr[{}:{}]", rom.name, rom.address_bits - 1, bits);
    }
  }
  text += fmt::format(
      "\n  // Address bits beyond the memories' sizes.\n"
      "  logic unused;\n  assign unused = &{{1'b0{}}};\nendmodule\n",
      unused);
  return text;
}

}  // namespace

Rom MakeProgram(const HardwarePlan& plan) {
  Rom rom(256);
  for (const plan::Step& step : plan.steps) {
    const int64_t word = rom.Grow(1);
    const auto put = [&](int64_t at, auto value, int64_t bits) {
      rom.Put(word, at, static_cast<uint64_t>(value), bits);
    };
    put(0, step.operation, 5);
    put(8, step.adapter_only, 1);
    put(9, step.wanted_only, 1);
    put(10, step.w6, 1);
    put(11, step.a16, 1);
    put(12, step.product, 1);
    put(13, step.per_head, 1);
    put(14, step.format, 2);
    put(16, step.target, 3);
    put(19, step.to_logits, 1);
    put(20, step.from_inner, 1);
    put(21, step.add, 1);
    put(32, step.a, 20);
    put(52, step.b, 20);
    put(72, step.d, 20);
    put(92, step.n, 20);
    put(112, step.groups, 10);
    put(128, step.x, 32);
    put(160, step.y, 32);
    put(192, step.z, 32);
  }
  return rom;
}

std::vector<MaskFile> MakeMasks(const image::Image& image, const HardwarePlan& plan) {
  const std::vector<MaskRom> roms = MakeRoms(image, plan);
  std::vector<MaskFile> files;
  files.push_back({"etch_masks.sv", ModuleText(image, roms)});
  for (const MaskRom& rom : roms) {
    files.push_back({rom.name + ".hex", rom.rom.ToHex()});
  }
  return files;
}

}  // namespace etch::rtl
