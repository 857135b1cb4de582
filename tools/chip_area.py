#!/usr/bin/env python3
"""Synthesises a chip that `etch rtl` wrote, unit by unit, and prints its cell area.

    etch rtl model.etch -o chip
    tools/chip_area.py chip --liberty asap7_rvt_tt_merged_mini.lib
    tools/chip_area.py chip --liberty asap7_rvt_tt_merged_mini.lib --parts lane,rom --json area.json

Needs Yosys and one liberty file of ASAP7 (RVT), all its cells merged. Each unit is synthesised by
itself with the parameters that it has in the chip. Memories of 1,024 bits and more are counted in
bits, smaller ones are flip-flops. Adders are ripple chains of full-adder cells, enables of
registers are clock gates. Areas are those of the cells, without placement, routing and clock tree;
that they run at some clock is not checked.

Parts: units (the table), lane (a lane of etch_base: the difference of 32 and 64 lanes), lane8 (the
same for inputs of 8 bits and weights of 3 only), rom (random 3-bit weights as logic).
"""

import argparse
import concurrent.futures
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

PARTS = ("units", "lane", "lane8", "rom")
# Counted with the unit that holds them.
INLINED = ("etch_bank", "etch_matrix_control", "etch_ram", "etch_row_scale", "etch_row_sums")
SMALLEST_MEMORY = 1024  # bits

# Full adders have inverted outputs: every other place of a chain works on inverted inputs.
ADDERS = r"""
(* techmap_celltype = "$alu" *)
module etch_map_alu (A, B, CI, BI, X, Y, CO);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  input CI, BI;
  output [Y_WIDTH-1:0] X, Y, CO;
  wire _TECHMAP_FAIL_ = A_WIDTH == 0 || B_WIDTH == 0 || Y_WIDTH == 0;
  wire [Y_WIDTH-1:0] a, b, inverted_b;
  wire [Y_WIDTH:0] carry;
  \$pos #(.A_SIGNED(A_SIGNED), .A_WIDTH(A_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_a (.A(A), .Y(a));
  \$pos #(.A_SIGNED(B_SIGNED), .A_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_b (.A(B), .Y(b));
  assign inverted_b = BI ? ~b : b;
  assign X = a ^ inverted_b;
  assign carry[0] = CI;
  genvar i;
  generate
    for (i = 0; i < Y_WIDTH; i = i + 1) begin : bits
      wire sum;
      if (i % 2 == 0) begin
        FAx1_ASAP7_75t_R fa (.A(a[i]), .B(inverted_b[i]), .CI(carry[i]), .CON(carry[i+1]),
                             .SN(sum));
        assign Y[i] = ~sum;
        assign CO[i] = ~carry[i+1];
      end else begin
        FAx1_ASAP7_75t_R fa (.A(~a[i]), .B(~inverted_b[i]), .CI(carry[i]), .CON(carry[i+1]),
                             .SN(Y[i]));
        assign CO[i] = carry[i+1];
      end
    end
  endgenerate
endmodule

(* techmap_celltype = "$fa" *)
module etch_map_fa (A, B, C, X, Y);
  parameter WIDTH = 1;
  input [WIDTH-1:0] A, B, C;
  output [WIDTH-1:0] X, Y;
  genvar i;
  generate
    for (i = 0; i < WIDTH; i = i + 1) begin : bits
      wire carry, sum;
      FAx1_ASAP7_75t_R fa (.A(A[i]), .B(B[i]), .CI(C[i]), .CON(carry), .SN(sum));
      assign X[i] = ~carry;
      assign Y[i] = ~sum;
    end
  endgenerate
endmodule
"""

CLOCK_GATES = r"""
(* techmap_celltype = "$dffe" *)
module etch_map_dffe (CLK, EN, D, Q);
  parameter WIDTH = 1;
  parameter CLK_POLARITY = 1;
  parameter EN_POLARITY = 1;
  input CLK, EN;
  input [WIDTH-1:0] D;
  output [WIDTH-1:0] Q;
  wire _TECHMAP_FAIL_ = WIDTH < 4 || !CLK_POLARITY;
  wire gated;
  ICGx1_ASAP7_75t_R gate (.CLK(CLK), .ENA(EN_POLARITY ? EN : ~EN), .SE(1'b0), .GCLK(gated));
  \$dff #(.WIDTH(WIDTH), .CLK_POLARITY(1)) registers (.CLK(gated), .D(D), .Q(Q));
endmodule
"""

# Yosys' own script for a liberty file takes minutes where this takes seconds.
ABC = ("+strash;&get,-n;&dc2;&nf,-a,10;&put;topo;buffer,-c,-N,16;topo;upsize,-D,900;"
       "dnsize,-D,900;stime")

LANE8 = """
module etch_lane8 #(parameter int LANES = 16) (
    input  logic               clk, rst, start, point32, to_logits, drain_hold,
    input  logic [31:0]        code_base, param_base, row_base,
    input  logic [15:0]        rows, dst,
    input  logic [9:0]         groups,
    input  logic [5:0]         max_shift, input_shift,
    output logic               done, w_en, logit_valid,
    input  logic [95:0]        levels,
    input  logic [3*LANES-1:0] code_word,
    input  logic [6*LANES-1:0] param_word,
    input  logic [23:0]        row_scale,
    input  logic [7:0]         input_code,
    output logic [31:0]        code_addr, param_addr, row_addr, w_data, logit,
    output logic [15:0]        input_addr, w_addr, logit_id,
    output logic [9:0]         shift_addr
);
  etch_base #(.AW(16), .LANES(LANES)) base (
      .clk, .rst, .start, .code_base, .param_base, .row_base, .rows, .groups, .w6(1'b0),
      .a16(1'b0), .point32, .max_shift, .dst, .to_logits, .done, .levels, .code_addr, .code_word,
      .param_addr, .param_word, .row_addr, .row_scale, .input_addr,
      .input_code({{8{input_code[7]}}, input_code}), .shift_addr, .input_shift, .w_en, .w_addr,
      .w_data, .drain_hold, .logit_valid, .logit_id, .logit);
endmodule
"""


def say(text):
    print(f"chip_area: {text}", file=sys.stderr)


class Synthesis:
    """Yosys runs in a folder of their own."""

    def __init__(self, folder, chip, liberty):
        self.folder = folder
        self.fabric = chip / "fabric"
        self.masks = chip
        self.liberty = liberty
        (folder / "adders.v").write_text(ADDERS)
        (folder / "gates.v").write_text(CLOCK_GATES)

    def run(self, name, script, where=None):
        """Returns what Yosys says when asked to say nothing but errors."""
        path = self.folder / f"{name}.ys"
        path.write_text(script)
        done = subprocess.run(["yosys", "-q", "-l", self.folder / f"{name}.log", path],
                              cwd=where or self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"chip_area: {name}: yosys failed:\n{done.stderr[-2000:]}")

    def prepare(self):
        """From processes to words, in all modules; memories stay whole."""
        return ("proc; flatten; opt -full; wreduce; peepopt; opt_clean; alumacc; opt; "
                "memory -nomap; opt -full\n")

    def memories(self, path):
        """Module to the bits of its memories, and the names of those that are too small for one."""
        found = {}
        for module, content in json.loads(path.read_text())["modules"].items():
            large, small = [], []
            for name, cell in content["cells"].items():
                if not cell["type"].startswith("$mem"):
                    continue
                number = {key: int(str(value), 2) for key, value in cell["parameters"].items()
                          if key in ("SIZE", "WIDTH", "RD_PORTS", "RD_CLK_ENABLE", "WR_PORTS")}
                bits = number["SIZE"] * number["WIDTH"]
                clocked = number["RD_CLK_ENABLE"] == (1 << number["RD_PORTS"]) - 1
                if bits >= SMALLEST_MEMORY and clocked:
                    large.append(bits)
                else:
                    small.append(name)
            found[module] = (sum(large), small)
        return found

    def map_cells(self, name, module, begin, small):
        """Maps one module to cells; returns their number, area and flip-flops."""
        select = "".join(f"memory_map {module}/{memory}\n" for memory in small)
        statistics = self.folder / f"{name}.stat"
        self.run(name, begin + select + f"""
opt -full
techmap -map gates.v
opt_clean
techmap -map adders.v t:$alu
maccmap
techmap -map adders.v
techmap
opt -fast
opt_clean
dfflibmap -liberty {self.liberty}
abc -liberty {self.liberty} -script "{ABC}"
opt_clean -purge
tee -o {statistics} stat -liberty {self.liberty}
""")
        text = statistics.read_text()
        cells = {cell: int(count) for cell, count in
                 re.findall(r"^ +(\w+_ASAP7_\w+) +(\d+)$", text, re.M)}
        area = re.findall(r"Chip area for .*: ([\d.]+)", text)
        return {"cells": sum(cells.values()), "area_um2": float(area[-1]) if area else 0.0,
                "flip_flop_bits": sum(count for cell, count in cells.items()
                                      if cell.startswith("DFF"))}

    def units(self, pool):
        """The rows of the table."""
        say("elaborating the chip")
        kept = " ".join(f"=*{name}*" for name in INLINED)
        self.run("chip", f"""
read_verilog -sv -Ifabric fabric/*.sv masks/etch_masks.sv
hierarchy -top etch_top -check
select -set inlined {kept}
setattr -mod -set keep_hierarchy 1 =*etch_* @inlined %d
{self.prepare()}
hierarchy -top etch_top
write_ilang {self.folder}/chip.il
write_json {self.folder}/chip.json
""", self.masks)
        jobs = {}
        for module, (bits, small) in self.memories(self.folder / "chip.json").items():
            unit = re.search(r"etch_\w+", module).group(0)
            if unit == "etch_top":
                continue
            escaped = module if module.startswith("$") else "\\" + module
            begin = (f"read_ilang chip.il\nselect -set unit {escaped}\n"
                     "blackbox =* @unit %d\nselect @unit\n")
            jobs[unit] = (bits, pool.submit(self.map_cells, unit, escaped, begin, small))
        rows = []
        for unit, (bits, job) in jobs.items():
            rows.append({"block": unit, **job.result(), "memory_bits": bits})
            say(f"{unit}: {rows[-1]['area_um2']:.0f} um2")
        return sorted(rows, key=lambda row: row["block"])

    def lane(self, pool, name, top, memory_bits, extra=""):
        """A lane is what a bank of 32 more adds, over 32; its memories are counted in bits."""
        (self.folder / f"{name}.sv").write_text(extra)
        jobs = [pool.submit(self.map_cells, f"{name}_{lanes}", top, f"""
read_verilog -sv {self.fabric}/etch_base.sv {self.fabric}/etch_bank.sv
read_verilog -sv {self.fabric}/etch_matrix_control.sv
read_verilog -sv -I{self.fabric} {self.fabric}/etch_row_scale.sv {self.fabric}/etch_row_sums.sv
read_verilog -sv {self.fabric}/etch_ram.sv {name}.sv
chparam -set LANES {lanes} {top}
hierarchy -top {top} -check
blackbox =*etch_ram*
{self.prepare()}
memory_map
""", []) for lanes in (32, 64)]
        few, many = (job.result() for job in jobs)
        return {**{key: (many[key] - few[key]) / 32 for key in few}, "memory_bits": memory_bits}

    def rom(self, words=512, weights=64, seed=1):
        """Gaussian weights, rounded to -4 ... 3 at the step of least error, as logic."""
        noise = random.Random(seed)
        lines = []
        for _ in range(words):
            word = 0
            for _ in range(weights):
                word = word << 3 | max(-4, min(3, round(noise.gauss(0, 1) / 0.605))) & 7
            lines.append(f"{word:0{weights * 3 // 4}x}\n")
        (self.folder / "rom.hex").write_text("".join(lines))
        (self.folder / "rom.sv").write_text(f"""
module rom (input logic [{(words - 1).bit_length() - 1}:0] address,
            output logic [{3 * weights - 1}:0] word);
  logic [{3 * weights - 1}:0] words[0:{words - 1}];
  initial $readmemh("rom.hex", words);
  assign word = words[address];
endmodule
""")
        made = self.map_cells("rom", "rom", "read_verilog -sv rom.sv\nhierarchy -top rom\nproc\n"
                              "opt\nmemory -nomap\nmemory_map\n", [])
        return {"words": words, "weights": weights, "cells": made["cells"],
                "area_um2": made["area_um2"],
                "um2_per_weight": made["area_um2"] / (words * weights)}


def table(rows):
    """The units as a Markdown table, with their sum."""
    fields = ("cells", "area_um2", "flip_flop_bits", "memory_bits")
    lines = ["| block | cells | area, µm² | flip-flop bits | memory bits |",
             "|---|---:|---:|---:|---:|"]
    total = {field: sum(row[field] for row in rows) for field in fields}
    for row in [*rows, {"block": "all", **total}]:
        lines.append(f"| {row['block']} | " +
                     " | ".join(f"{row[field]:,.0f}" for field in fields) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chip", type=pathlib.Path, help="folder written by `etch rtl`")
    parser.add_argument("--liberty", type=pathlib.Path, required=True, help="the cells' library")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="Yosys runs at a time (default 2)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures here")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts: some of {','.join(PARTS)}")
    chip, liberty = arguments.chip.resolve(), arguments.liberty.resolve()
    for path in (chip / "fabric/etch_top.sv", chip / "masks/etch_masks.sv", liberty):
        if not path.is_file():
            raise SystemExit(f"chip_area: {path} is missing")
    try:
        version = subprocess.run(["yosys", "-V"], capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise SystemExit(f"chip_area: yosys: {error.strerror}") from error

    figures = {"yosys": version.split()[1], "liberty": liberty.name}
    with (tempfile.TemporaryDirectory() as folder,
          concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool):
        synthesis = Synthesis(pathlib.Path(folder), chip, liberty)
        if "units" in parts:
            figures["units"] = synthesis.units(pool)
            print(table(figures["units"]))
        if "lane" in parts:
            figures["lane"] = synthesis.lane(pool, "lane", "etch_base", 49 + 32)
            print(f"\nA lane of etch_base: {figures['lane']['area_um2']:.1f} µm²")
        if "lane8" in parts:
            figures["lane8"] = synthesis.lane(pool, "lane8", "etch_lane8", 32 + 32, LANE8)
            print(f"\nA lane for A8 and W3 only: {figures['lane8']['area_um2']:.1f} µm²")
        if "rom" in parts:
            figures["rom"] = synthesis.rom()
            print(f"\nROM as logic, {figures['rom']['words']} words of "
                  f"{figures['rom']['weights']} weights: "
                  f"{figures['rom']['um2_per_weight']:.4f} µm² a weight")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
