"""The fabric's units in Icarus: every unit's test program records what its ports say in Verilator
cycle by cycle, and Icarus, driven with the same inputs, must say the same.

    icarus_test.py LABEL=PROGRAM...

An output that Icarus does not know (x) is wrong but for those of DONT_CARE, which mean something
only while another port says so. Cycles of reset are not compared: registers begin unknown.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
FABRIC = SOURCE / "src/rtl/fabric"
PROGRAMS = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)

# Module and output to when it means something. Only an x is excused, never another value.
DONT_CARE = {
    ("etch_host", "bresp"): "found_bvalid",
    ("etch_host", "rdata"): "found_rvalid",
    ("etch_host", "rresp"): "found_rvalid",
    ("etch_host", "m_tdata"): "found_m_tvalid",
    ("etch_host", "m_tuser"): "found_m_tvalid",
    ("etch_host", "m_tlast"): "found_m_tvalid",
    ("etch_host", "load_target"): "found_load_valid",
    ("etch_host", "load_address"): "found_load_valid",
    ("etch_host", "load_data"): "found_load_valid",
    ("etch_quantise", "max_shift"): "found_done",
    ("etch_sampler", "exp2_addr"): "unit.held[unit.candidate]",  # else its weight is not used
    ("etch_sampler", "token"): "found_done",
}


def need_icarus():
    """Skips with a loud line without it; fails in CI."""
    if shutil.which("iverilog") and shutil.which("vvp"):
        return
    if os.environ.get("CI"):
        raise AssertionError("iverilog is missing")
    print("*** SKIPPED, iverilog is missing ***", file=sys.stderr)
    raise unittest.SkipTest("iverilog is missing")


class Recording:
    """Module, parameters, ports as (direction, name, bits), and vectors, of a file."""

    def __init__(self, path):
        self.path = path
        head = []
        self.cycles = 0
        with open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith("// "):
                    head.append(line.split()[1:])
                else:
                    self.cycles += 1
        self.module, *parameters = head[0]
        self.parameters = [text.removeprefix("-G").split("=") for text in parameters]
        self.ports = [(direction, name, int(bits)) for direction, name, bits in head[1:]]

    def width(self):
        return sum(4 * ((bits + 3) // 4) for _, _, bits in self.ports)

    def bench(self):
        """A module that plays any recording of the unit with these ports."""
        wires, links, checks = [], [], []
        at = self.width()
        for direction, name, bits in self.ports:
            at -= 4 * ((bits + 3) // 4)
            said = f"vector[{at + bits - 1}:{at}]"
            if name == "clk":
                links.append(".clk(clk)")
            elif direction == "input":
                links.append(f".{name}({said})")
                if name == "rst":
                    wires.append(f"  wire in_reset = vector[{at}];")
            else:
                wires.append(f"  wire [{bits - 1}:0] found_{name};")
                links.append(f".{name}(found_{name})")
                matters = DONT_CARE.get((self.module, name))
                excused = "1'b0" if matters is None else f"(^found_{name} === 1'bx && !({matters}))"
                checks.append(f"""      if (found_{name} !== {said} && !{excused}) begin
        wrong = wrong + 1;
        if (wrong <= 5) $display("cycle %0d: {name} is %h, Verilator says %h", index,
                                 found_{name}, {said});
      end""")
        if not any(wire.startswith("  wire in_reset") for wire in wires):
            wires.append("  wire in_reset = 1'b0;")
        parameters = ", ".join(f".{name}({value})" for name, value in self.parameters)
        newline = "\n"
        return f"""module replay;
  reg clk;
  reg [{self.width() - 1}:0] vectors [0:4095];
  reg [{self.width() - 1}:0] vector;
  reg [8*256-1:0] path;
  integer index, cycles, wrong;
{newline.join(wires)}
  {self.module} #({parameters}) unit (
      {f",{newline}      ".join(links)});
  initial begin
    if (!$value$plusargs("vectors=%s", path) || !$value$plusargs("cycles=%d", cycles)) $finish;
    $readmemh(path, vectors, 0, cycles - 1);
    clk = 0;
    wrong = 0;
    for (index = 0; index < cycles; index = index + 1) begin
      vector = vectors[index];
      #1;
      if (!in_reset) begin
{newline.join(checks)}
      end
      clk = 1;
      #1 clk = 0;
    end
    $display("played %0d cycles, %0d wrong", index, wrong);
  end
endmodule
"""


class Icarus(unittest.TestCase):
    def setUp(self):
        need_icarus()
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)

    def record(self, label):
        environment = {**os.environ, "ETCH_RECORD": str(self.folder)}
        done = subprocess.run([PROGRAMS[label]], capture_output=True, text=True, env=environment,
                              timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        recordings = [Recording(path) for path in sorted(self.folder.glob(f"{label}-*.hex"))]
        self.assertTrue(recordings)
        return recordings

    def build(self, recording, label):
        bench = self.folder / f"{label}.sv"
        bench.write_text(recording.bench())
        done = subprocess.run(
            ["iverilog", "-g2012", f"-I{FABRIC}", f"-y{FABRIC}", "-Y.sv", "-s", "replay", "-o",
             self.folder / f"{label}.vvp", bench, FABRIC / f"{recording.module}.sv"],
            capture_output=True, text=True, timeout=120)
        said = [line for line in (done.stdout + done.stderr).splitlines()
                if "sorry: constant selects" not in line]
        self.assertEqual((done.returncode, said), (0, []))

    def play(self, recording, label):
        done = subprocess.run(
            ["vvp", "-n", self.folder / f"{label}.vvp", f"+vectors={recording.path}",
             f"+cycles={recording.cycles}"], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_units(self):
        self.assertGreater(len(PROGRAMS), 10)
        for label in PROGRAMS:
            with self.subTest(label):
                recordings = self.record(label)
                self.build(recordings[0], label)
                cycles = 0
                for recording in recordings:
                    said = self.play(recording, label)
                    self.assertEqual(said, f"played {recording.cycles} cycles, 0 wrong\n")
                    cycles += recording.cycles
                self.assertGreater(cycles, 50)
                print(f"{label}: {cycles} cycles", file=sys.stderr)

    def test_another_output_is_found(self):
        recording = self.record("residual")[0]
        self.build(recording, "residual")
        lines = recording.path.read_text().splitlines()
        # The highest digit of the last cycle in which the unit writes, of w_data.
        names = [name for _, name, _ in recording.ports]
        digits = [(bits + 3) // 4 for _, _, bits in recording.ports]
        at = {name: sum(digits[:index]) for index, name in enumerate(names)}
        for index in reversed(range(len(lines))):
            line = lines[index]
            if not line.startswith("//") and line[at["w_en"]] == "1":
                digit = format(int(line[at["w_data"]], 16) ^ 8, "x")
                lines[index] = line[:at["w_data"]] + digit + line[at["w_data"] + 1:]
                break
        recording.path.write_text("\n".join(lines) + "\n")
        said = self.play(recording, "residual")
        self.assertIn("w_data is ", said)
        self.assertTrue(said.endswith("cycles, 1 wrong\n"), said)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
