#include "rtl/readme.h"

#include <fmt/format.h>

#include <map>

#include "base/bytes.h"
#include "base/html.h"

namespace etch::rtl {
namespace {

using plan::HardwarePlan;
using plan::Operation;
using plan::Step;

std::string BitsText(int64_t bits) { return HumanBytes(static_cast<double>(bits) / 8.0); }

struct Memories {
  int64_t rom_bits = 0;
  int64_t cache_bits = 0;
  int64_t adapter_bits = 0;
  int64_t work_bits = 0;
};

Memories SizesOf(const HardwarePlan& plan) {
  const plan::Fabric& fabric = plan.fabric;
  const plan::Choices& choices = fabric.choices;
  const model::Config& config = fabric.config;
  const int64_t blocks = (config.head_dim + 31) / 32;
  Memories sizes;
  sizes.rom_bits = plan.code_words * 3 * choices.lanes + plan.param_words * 6 * choices.lanes +
                   plan.row_words * 24 + plan.gain_words * 24;
  sizes.cache_bits = choices.sessions * config.n_layers * choices.context * config.n_kv_heads *
                     (config.head_dim * (14 + 8) + blocks * 2 * 5);
  sizes.adapter_bits = choices.adapter_slots * (fabric.slot_words * 256 + fabric.slot_rows * 24);
  sizes.work_bits = fabric.work_words * 32;
  return sizes;
}

std::string StepRow(const HardwarePlan& plan, const Step& step) {
  std::string what;
  if (step.operation == Operation::kBase) {
    what = fmt::format("{} rows, {} columns, {}, {}", step.n, 32 * step.groups,
                       step.w6 ? "W6" : "W3", step.a16 ? "A16" : "A8");
  } else if (step.operation == Operation::kAdapter) {
    what = fmt::format("{} rows, {} columns, W8", step.n, 32 * step.groups);
  } else if (step.operation == Operation::kQuantise) {
    constexpr std::string_view kFormats[] = {"A8", "A16", "A14"};
    what = fmt::format("{} channels into {}", step.n, kFormats[static_cast<size_t>(step.format)]);
  }
  return fmt::format("| {} | {} | {} | {}{} |\n", step.name, plan::OperationName(step.operation),
                     plan::StepCycles(plan, step, 0), what,
                     step.adapter_only  ? " (with an adapter)"
                     : step.wanted_only ? " (where a token is wanted)"
                                        : "");
}

std::string ScheduleText(const HardwarePlan& plan) {
  const int64_t last = plan.fabric.choices.context - 1;
  std::map<Operation, int64_t> base;
  std::map<Operation, int64_t> adapter;
  for (const Step& step : plan.steps) {
    if (step.operation == Operation::kEnd) {
      break;
    }
    (step.adapter_only ? adapter : base)[step.operation] += plan::StepCycles(plan, step, 0);
  }
  std::string text = fmt::format(
      "## What a token does when\n\n"
      "One unit works at a time. Between two steps lie 3 cycles, and 4 around the token. At 1 "
      "GHz:\n\n"
      "| | cycles | tokens/s |\n|---|---|---|\n");
  const auto add_row = [&](std::string_view what, int64_t position, bool with_adapter) {
    const int64_t cycles = plan::TokenCycles(plan, position, with_adapter, true);
    text += fmt::format("| {} | {} | {:.0f} |\n", what, cycles, 1e9 / static_cast<double>(cycles));
  };
  add_row("first token of a context", 0, false);
  add_row("last token of a context", last, false);
  if (plan.fabric.rank > 0) {
    add_row("first token, with an adapter", 0, true);
    add_row("last token, with an adapter", last, true);
  }
  text +=
      "\nCycles of the first token by unit:\n\n| unit | base | more with an adapter "
      "|\n|---|---|---|\n";
  for (const auto& [operation, cycles] : base) {
    const auto found = adapter.find(operation);
    text += fmt::format("| {} | {} | {} |\n", plan::OperationName(operation), cycles,
                        found == adapter.end() ? 0 : found->second);
  }
  if (!base.contains(Operation::kAdapter) && adapter.contains(Operation::kAdapter)) {
    text += fmt::format("| adapter | 0 | {} |\n", adapter.at(Operation::kAdapter));
  }
  text +=
      "\nThe steps, with those of the first layer for all layers:\n\n"
      "| step | unit | cycles | |\n|---|---|---|---|\n";
  for (const Step& step : plan.steps) {
    const bool is_later_layer =
        (step.name.starts_with("layer ") && !step.name.starts_with("layer 0,")) ||
        (step.name.starts_with("blk.") && !step.name.starts_with("blk.0."));
    if (!is_later_layer && step.operation != Operation::kEnd) {
      text += StepRow(plan, step);
    }
  }
  return text;
}

}  // namespace

std::string ReadmeText(const image::Image& image, const HardwarePlan& plan) {
  const plan::Choices& choices = plan.fabric.choices;
  const Memories sizes = SizesOf(plan);
  std::string text = fmt::format(
      "# {} as a chip\n\n"
      "![units and memories](diagram.svg)\n\n"
      "{} lanes; {} session{} of {} tokens; {}.\n\n"
      "| | |\n|---|---|\n"
      "| `fabric/` | SystemVerilog that depends on the shape of the model only; the chip is "
      "`etch_top` |\n"
      "| `masks/` | the model: `etch_masks.sv` and what its memories hold, for `$readmemh` |\n"
      "| `sim/` | a program around the verilated chip, and its build |\n"
      "| `INTERFACE.md` | how the units work together, the registers and streams of the host port "
      "|\n"
      "| `chip.json` | the choices, and of which image it is |\n\n",
      image.name(), choices.lanes, choices.sessions, choices.sessions == 1 ? "" : "s",
      choices.context,
      choices.adapter_slots == 0
          ? std::string("no adapters")
          : fmt::format("{} adapter{} of rank up to {}", choices.adapter_slots,
                        choices.adapter_slots == 1 ? "" : "s", plan.fabric.rank));
  text +=
      "To follow a token: `etch_sequencer` reads the program (`masks/step.hex`) step by step and "
      "starts one unit after the other; `etch_chip` shows what each is connected to. Simulators "
      "read "
      "`masks/*.hex` beneath the folder that they run in, which is this one:\n\n"
      "```\n"
      "verilator --lint-only -Wall -Ifabric --top-module etch_top fabric/etch_*.sv "
      "masks/etch_masks.sv\n"
      "iverilog -g2012 -Ifabric -s etch_top -o chip.vvp fabric/etch_*.sv masks/etch_masks.sv\n"
      "yosys -p 'read_verilog -sv -Ifabric fabric/etch_*.sv masks/etch_masks.sv; hierarchy -top "
      "etch_top'\n"
      "```\n\n";
  text += fmt::format(
      "## Memories\n\n"
      "| | size |\n|---|---|\n"
      "| ROM: weights, scales, gains | {} |\n"
      "| SRAM: keys and values of {} session{} | {} |\n"
      "| SRAM: adapters | {} |\n"
      "| SRAM: work memory | {} |\n\n",
      BitsText(sizes.rom_bits), choices.sessions, choices.sessions == 1 ? "" : "s",
      BitsText(sizes.cache_bits), BitsText(sizes.adapter_bits), BitsText(sizes.work_bits));
  return text + ScheduleText(plan);
}

std::string DiagramSvg(const image::Image& image, const HardwarePlan& plan) {
  const plan::Fabric& fabric = plan.fabric;
  const Memories sizes = SizesOf(plan);
  std::string boxes;
  const auto box = [&](int x, int y, int width, std::string_view kind, std::string_view title,
                       const std::string& detail) {
    boxes += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"46\" rx=\"4\" class=\"{}\"/>"
        "<text x=\"{}\" y=\"{}\" class=\"title\">{}</text>"
        "<text x=\"{}\" y=\"{}\" class=\"detail\">{}</text>\n",
        x, y, width, kind, x + width / 2, y + 19, EscapeHtml(title), x + width / 2, y + 36,
        EscapeHtml(detail));
  };
  const auto arrow = [&](int x1, int y1, int x2, int y2) {
    boxes += fmt::format("<path d=\"M{} {} L{} {}\" class=\"arrow\"/>\n", x1, y1, x2, y2);
  };
  box(20, 50, 170, "unit", "host port", "AXI4-Lite, AXI4-Stream");
  box(210, 50, 170, "soft", "prompt", fmt::format("{} tokens", fabric.choices.context));
  box(400, 50, 170, "unit", "sequencer", "one step after another");
  box(590, 50, 190, "mask", "program", fmt::format("{} steps", plan.steps.size()));
  arrow(190, 73, 208, 73);
  arrow(380, 73, 398, 73);
  arrow(590, 73, 572, 73);
  box(20, 150, 760, "soft", "work memory",
      fmt::format("{} words of 32 bits: residual stream, q k v, gate, up", fabric.work_words));
  arrow(485, 96, 485, 148);
  const std::pair<std::string_view, std::string> units[] = {
      {"embedding", "a row of the base"},   {"norm", "RMSNorm, gains"},
      {"quantise", "blocks of 32, SwiGLU"}, {"rotation", "RoPE"},
      {"residual", "saturating sum"},
  };
  int x = 20;
  for (const auto& [title, detail] : units) {
    box(x, 240, 140, "unit", title, detail);
    arrow(x + 60, 196, x + 60, 238);
    arrow(x + 80, 238, x + 80, 198);
    x += 155;
  }
  box(240, 330, 320, "soft", "codes of the input",
      fmt::format("{} of 16 bits", fabric.input_words));
  arrow(400, 286, 400, 328);
  box(20, 420, 240, "unit", "base",
      fmt::format("{} lanes: multiply, select, add", fabric.choices.lanes));
  box(280, 420, 240, "unit", "attention",
      fmt::format("{} heads of {}", fabric.config.n_heads, fabric.config.head_dim));
  box(540, 420, 240, "unit", "adapter", "32 lanes: multiply, add");
  arrow(300, 376, 160, 418);
  arrow(400, 376, 400, 418);
  arrow(500, 376, 640, 418);
  box(20, 500, 240, "mask", "weights", BitsText(sizes.rom_bits));
  box(280, 500, 240, "soft", "keys and values", BitsText(sizes.cache_bits));
  box(540, 500, 240, "soft", "adapters", BitsText(sizes.adapter_bits));
  arrow(140, 500, 140, 468);
  arrow(400, 500, 400, 468);
  arrow(660, 500, 660, 468);
  box(20, 580, 240, "unit", "sampler", "the best eight, Philox");
  boxes += "<path d=\"M260 443 L270 443 L270 603 L262 603\" class=\"arrow\"/>\n";
  boxes += "<path d=\"M20 603 L8 603 L8 73 L18 73\" class=\"arrow\"/>\n";
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 650\" "
      "font-family=\"sans-serif\">\n"
      "<style>rect{{stroke:#333}}.unit{{fill:#dbeafe}}.soft{{fill:#dcfce7}}.mask{{fill:#fde68a}}"
      ".title{{font-size:14px;text-anchor:middle;font-weight:bold}}"
      ".detail{{font-size:11px;text-anchor:middle}}"
      ".arrow{{stroke:#333;fill:none;marker-end:url(#tip)}}</style>\n"
      "<defs><marker id=\"tip\" markerWidth=\"7\" markerHeight=\"7\" refX=\"6\" refY=\"3.5\" "
      "orient=\"auto\"><path d=\"M0 0 L7 3.5 L0 7 z\"/></marker></defs>\n"
      "<rect width=\"800\" height=\"650\" fill=\"white\" stroke=\"none\"/>\n"
      "<text x=\"20\" y=\"28\" class=\"name\" font-size=\"16\">{} — blue: units; yellow: masks; "
      "green: memories that stay soft</text>\n"
      "{}</svg>\n",
      EscapeHtml(image.name()), boxes);
}

}  // namespace etch::rtl
