"""The chip that `etch rtl` writes, in the tools beside Verilator: Icarus runs it, Yosys reads it,
tools/chip_area.py measures it."""

import json
import math
import os
import shutil
import subprocess
import sys
import unittest
import urllib.request

from program import DATA, SOURCE, Case, Server, etch, etch_json, need_data

START = 1  # the token that an empty prompt of stories260K begins with


def need_tool(name):
    """Skips with a loud line when a tool is missing; fails in CI."""
    if shutil.which(name):
        return
    if os.environ.get("CI"):
        raise AssertionError(f"{name} is missing")
    print(f"*** SKIPPED, {name} is missing ***", file=sys.stderr)
    raise unittest.SkipTest(f"{name} is missing")


class ChipTools(Case):
    def setUp(self):
        super().setUp()
        need_data("models/stories260K.gguf")
        self.image = self.folder / "model.etch"
        self.chip = self.folder / "chip"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image)
        self.written = etch_json("rtl", self.image, "-o", self.chip)

    def sources(self):
        return [*sorted(self.chip.glob("fabric/*.sv")), self.chip / "masks/etch_masks.sv"]

    def run_tool(self, *command):
        """Runs a tool in the chip's folder, where its memories are found; returns what it says."""
        done = subprocess.run([*map(str, command)], cwd=self.chip, capture_output=True, text=True,
                              timeout=900, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])
        return done.stdout + done.stderr

    def simulate(self, prompt, tokens):
        """Tokens, the logits before each, and cycles of a run."""
        (self.chip / "prompt.hex").write_text("".join(f"{token:x}\n" for token in prompt))
        said = self.run_tool("vvp", self.chip / "bench.vvp", "+prompt=prompt.hex",
                             f"+length={len(prompt)}", f"+tokens={tokens}")
        drawn, logits, cycles = [], [[]], None
        for line in said.splitlines():
            kind, _, value = line.partition(" ")
            if kind == "logit":
                logits[-1].append(int(value))
            elif kind == "token":
                drawn.append(int(value))
                logits.append([])
            elif kind == "cycles":
                cycles = int(value)
            else:
                self.fail(line)
        self.assertEqual(logits.pop(), [])
        return drawn, logits, cycles

    def engine(self, tokens):
        """What the engine draws after an empty prompt, and before each token the logarithms of the
        twenty largest probabilities."""
        drawn = etch_json("run", self.image, "-p", "", "--raw", "--greedy", "-n", tokens)
        self.assertEqual(drawn["prompt_tokens"], 1)
        body = {"prompt": "", "temperature": 0, "max_tokens": tokens, "logprobs": 20}
        with Server(self.image) as server:
            request = urllib.request.Request(server.url + "/v1/completions",
                                             json.dumps(body).encode(),
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                choice = json.load(answer)["choices"][0]
        return drawn["tokens"], [sorted(each.values(), reverse=True)
                                 for each in choice["logprobs"]["top_logprobs"]]

    def test_icarus_gives_the_engines_tokens(self):
        need_tool("iverilog")
        # Few lanes: Icarus works on each in every cycle.
        self.written = etch_json("rtl", self.image, "-o", self.chip, "--lanes", 16)
        said = self.run_tool("iverilog", "-g2012", "-Wall", "-Ifabric", "-s", "chip_bench",
                             "-o", "bench.vvp", *self.sources(),
                             SOURCE / "tests/e2e/chip_bench.sv")
        # Icarus 11 says that it takes a whole vector where a part of it would do, and that the
        # fabric has no time scale.
        odd = [line for line in said.splitlines()
               if "sorry: constant selects" not in line and "timescale" not in line]
        self.assertEqual(odd, [])

        tokens, likeliest = self.engine(3)
        for length, count in ((1, 1), (2, 2)):
            drawn, logits, cycles = self.simulate([START, *tokens[:length - 1]], count)
            self.assertEqual(drawn, tokens[length - 1:length - 1 + count])
            for index, values in enumerate(logits):
                self.assertEqual(len(values), 512)
                self.assertEqual(values.index(max(values)), drawn[index])
                # One logit off by one moves its logarithm by 2^-16.
                total = math.log(math.fsum(math.exp(value / 65536) for value in values))
                largest = sorted(values, reverse=True)[:20]
                for value, expected in zip(largest, likeliest[length - 1 + index], strict=True):
                    self.assertAlmostEqual(value / 65536 - total, expected, delta=4e-6)
            if length == 1:  # a start takes a cycle
                self.assertEqual(cycles, 1 + self.written["first_token_cycles"])

    def test_yosys_reads_it(self):
        need_tool("yosys")
        said = self.run_tool("yosys", "-q", "-p",
                             "read_verilog -sv -Ifabric fabric/*.sv masks/etch_masks.sv; "
                             "hierarchy -top etch_top -check; proc; check -assert")
        odd = [line for line in said.splitlines() if "Replacing memory" not in line]
        self.assertEqual([line for line in odd if line.strip()], [])

    def test_area(self):
        need_tool("yosys")
        need_data("asap7/asap7_rvt_tt_merged_mini.lib")
        tool = SOURCE / "tools/chip_area.py"
        liberty = DATA / "asap7/asap7_rvt_tt_merged_mini.lib"
        said = self.run_tool(sys.executable, tool, self.chip, "--liberty", liberty, "--parts",
                             "rom", "--json", self.folder / "area.json")
        rom = json.loads((self.folder / "area.json").read_text())["rom"]
        self.assertIn(f"{rom['um2_per_weight']:.4f}", said)
        self.assertLess(rom["um2_per_weight"], 0.025)
        self.assertGreater(rom["um2_per_weight"], 0.02)
        done = subprocess.run([sys.executable, tool, self.folder, "--liberty", liberty],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^chip_area: .* is missing\n$")


if __name__ == "__main__":
    unittest.main()
