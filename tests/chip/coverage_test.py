"""What the faults at the chip's port reach of the fabric: every line and branch, and every bit of
every register toggles, but for those that docs/chip-coverage.md names.

ETCH_CHIP_FAULTS names the program of the faults; ETCH_SOURCE the project. `--print` prints the
tables of what is not reached.
"""

import collections
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("ETCH_SOURCE", pathlib.Path(__file__).parents[2]))
REPORT = SOURCE / "docs/chip-coverage.md"
POINT = re.compile(r"C '(.*)' (\d+)$")
# What is assigned at a clock's edge.
REGISTER = re.compile(r"(?:^|[;):]|\belse|\bbegin)\s*(\w+)(?:\[[^\]=]*\])*\s*<=", re.M)
# A module in another.
INSTANCE = re.compile(r"^ *(etch_\w+) #\([^;]*?\n? *\) (\w+) \(", re.M)


def measure():
    """How often each point was reached, in all modules and all chips: (file, line, column, branch);
    and whether each bit of a register rose and fell: (file, bit)."""
    counts, toggles = collections.Counter(), collections.Counter()
    sources = {path.name: re.sub(r"//.*", "", path.read_text())
               for path in (SOURCE / "src/rtl/fabric").glob("*.sv")}
    registers = {name: set(REGISTER.findall(text)) for name, text in sources.items()}
    instances = {"etch_top": "etch_top.sv", "chip": "etch_chip.sv", "masks": "etch_masks.sv"}
    for text in sources.values():
        instances |= {name: f"{module}.sv" for module, name in INSTANCE.findall(text)}
    with tempfile.TemporaryDirectory() as folder:
        with open(pathlib.Path(folder, "registers.vlt"), "w", encoding="utf-8") as out:
            out.write("`verilator_config\n")
            for name, found in registers.items():
                for register in sorted(found):
                    out.write(f'public_flat_rd -module "{name[:-3]}" -var "{register}"\n')
        environment = os.environ | {"ETCH_CHIP_COVERAGE": folder, "TMPDIR": folder}
        subprocess.run([os.environ["ETCH_CHIP_FAULTS"]], check=True, env=environment,
                       stdout=sys.stderr)
        for path in pathlib.Path(folder).glob("*.dat"):
            for line in path.read_text(errors="replace").splitlines():
                if match := POINT.match(line):
                    fields = dict(part.split("\x02", 1) for part in match[1].split("\x01")[1:])
                    name = pathlib.Path(fields["f"]).name
                    key = (name, int(fields["l"]), int(fields["n"]), fields["o"])
                    counts[key] += int(match[2])
        for path in pathlib.Path(folder).glob("*.toggles"):
            for line in path.read_text().splitlines():
                name, bits, elements, toggled = line.split()
                *scope, register = name.split(".")
                file = next(instances[part] for part in reversed(scope) if part in instances)
                if register in registers.get(file, ()):
                    for bit in seen(register, int(bits), int(elements), bytes.fromhex(toggled)):
                        toggles[file, bit[0]] += bit[1]
    return counts, toggles


def seen(register, bits, elements, toggled):
    """(name, toggled) of the bits of a variable as Verilator keeps it: elements of whole bytes."""
    each = len(toggled) // elements
    for element in range(elements):
        word = int.from_bytes(toggled[element * each:(element + 1) * each], "little")
        name = f"{register}[{element}]" if elements > 1 else register
        for bit in range(bits):
            yield f"{name}[{bit}]" if bits > 1 else name, word >> bit & 1


def ranges(bits):
    """Names of bits as names with ranges: a[3], a[2], a[0] -> a[3:2], a[0]."""
    found = collections.defaultdict(list)
    for bit in bits:
        match = re.fullmatch(r"(.*)\[(\d+)\]", bit)
        if match:
            found[match[1]].append(int(match[2]))
        else:
            found[bit] = []
    texts = []
    for name, numbers in sorted(found.items()):
        if not numbers:
            texts.append(name)
        while numbers:
            high = low = max(numbers)
            while low - 1 in numbers:
                low -= 1
            numbers = [number for number in numbers if number < low]
            texts.append(f"{name}[{high}]" if high == low else f"{name}[{high}:{low}]")
    return texts


def quiet(toggles):
    """(file, bits) of registers that never toggle."""
    return {(name, text) for name in {name for name, _ in toggles}
            for text in ranges(bit for (at, bit), count in toggles.items()
                               if at == name and count == 0)}


def describe(point):
    """(file, what) of a point, free of line numbers."""
    name, line, _, branch = point
    text = (SOURCE / "src/rtl/fabric" / name).read_text().splitlines()[line - 1].strip()
    text = text.replace("|", "\\|")
    return name, ("else of " if branch == "else" else "") + f"`{text}`"


class Coverage(unittest.TestCase):
    def setUp(self):
        self.counts, self.toggles = measure()
        self.lines, self.bits = REPORT.read_text().split("\n## Toggles\n")

    def test_everything_is_reached(self):
        counts = self.counts
        own = {point: count for point, count in counts.items() if point[0].startswith("etch_")
               and point[0] not in ("etch_masks.sv", "etch_top.sv")}
        modules = {path.name for path in (SOURCE / "src/rtl/fabric").glob("*.sv")
                   if "always" in path.read_text()}
        self.assertEqual(modules - {point[0] for point in own}, set(), "modules without a point")
        known = {tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:3])
                 for row in self.lines.splitlines() if row.startswith("| etch_")}
        missing = {describe(point) for point, count in own.items() if count == 0}
        self.assertEqual(missing - known, set(), "not reached")
        self.assertEqual(known - missing, set(), "reached, though the report says otherwise")
        self.registers_toggle()

    def registers_toggle(self):
        modules = {path.name for path in (SOURCE / "src/rtl/fabric").glob("*.sv")
                   if "always_ff" in path.read_text()}
        self.assertEqual(modules - {name for name, _ in self.toggles}, set(), "without a register")
        known = set()
        for row in self.bits.splitlines():
            if row.startswith("| etch_"):
                name, bits = (cell.strip() for cell in row.split("|")[1:3])
                known |= {(name, text) for text in re.findall("`([^`]+)`", bits)}
        found = quiet(self.toggles)
        self.assertEqual(found - known, set(), "bits of registers that never toggle")
        self.assertEqual(known - found, set(), "bits that toggle, though the report says otherwise")


def main():
    if "--print" not in sys.argv:
        unittest.main()
    counts, toggles = measure()
    reached = collections.Counter()
    points = collections.Counter()
    for point, count in counts.items():
        points[point[0]] += 1
        reached[point[0]] += count > 0
    for name in sorted(points):
        print(f"{name}: {reached[name]} of {points[name]}")
    for point in sorted(point for point, count in counts.items() if count == 0):
        print("| {} | {} | |".format(*describe(point)))
    print(f"{sum(count > 0 for count in toggles.values())} of {len(toggles)} bits toggle")
    for name, bits in itertools.groupby(sorted(quiet(toggles)), lambda pair: pair[0]):
        print(f"| {name} | {', '.join(f'`{bit}`' for _, bit in bits)} | |")


if __name__ == "__main__":
    main()
