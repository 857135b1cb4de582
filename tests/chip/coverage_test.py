"""What the faults at the chip's port reach of the fabric: every line and branch, but for those that
docs/chip-coverage.md names.

ETCH_CHIP_FAULTS names the program of the faults; ETCH_SOURCE the project. `--print` prints the
table of what is not reached.
"""

import collections
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


def measure():
    """(file, line, column, branch) -> how often it was reached, in all modules and all chips."""
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
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
    return counts


def describe(point):
    """(file, what) of a point, free of line numbers."""
    name, line, _, branch = point
    text = (SOURCE / "src/rtl/fabric" / name).read_text().splitlines()[line - 1].strip()
    text = text.replace("|", "\\|")
    return name, ("else of " if branch == "else" else "") + f"`{text}`"


class Coverage(unittest.TestCase):
    def test_everything_is_reached(self):
        counts = measure()
        own = {point: count for point, count in counts.items() if point[0].startswith("etch_")
               and point[0] not in ("etch_masks.sv", "etch_top.sv")}
        modules = {path.name for path in (SOURCE / "src/rtl/fabric").glob("*.sv")
                   if "always" in path.read_text()}
        self.assertEqual(modules - {point[0] for point in own}, set(), "modules without a point")
        known = {tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:3])
                 for row in REPORT.read_text().splitlines() if row.startswith("| etch_")}
        missing = {describe(point) for point, count in own.items() if count == 0}
        self.assertEqual(missing - known, set(), "not reached")
        self.assertEqual(known - missing, set(), "reached, though the report says otherwise")


def main():
    if "--print" not in sys.argv:
        unittest.main()
    counts = measure()
    reached = collections.Counter()
    points = collections.Counter()
    for point, count in counts.items():
        points[point[0]] += 1
        reached[point[0]] += count > 0
    for name in sorted(points):
        print(f"{name}: {reached[name]} of {points[name]}")
    for point in sorted(point for point, count in counts.items() if count == 0):
        print("| {} | {} | |".format(*describe(point)))


if __name__ == "__main__":
    main()
