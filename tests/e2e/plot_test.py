"""bench/plot.py on rows made by hand: the picture shows each of them where it belongs."""

import subprocess
import sys
import unittest
import xml.etree.ElementTree as ElementTree

from program import SOURCE, Case

HEADER = ("date,etch,machine,isa,backend,threads,model,image_bytes,read_gb_s,int8_gop_s,kind,"
          "context,batch,adapters,tokens,steps,tokens_per_s,best_tokens_per_s,gb_s,gop_s,fraction,"
          "fraction_read,fraction_int8\n")
SVG = "{http://www.w3.org/2000/svg}"


def row(kind, context, batch, adapters, speed, fraction, model="m"):
    values = ["2026-01-01T00:00:00Z", "0.1.0", '"A, B & C"', "avx2", "cpu", 2, model, 1000, 10, 100,
              kind, context, batch, adapters, batch, 9, speed, speed, 1, 1, *3 * [fraction]]
    return ",".join(map(str, values)) + "\n"


class Plot(Case):
    def plot(self, text):
        (self.folder / "machine.csv").write_text(text)
        return subprocess.run([sys.executable, SOURCE / "bench/plot.py",
                               self.folder / "machine.csv"], capture_output=True, text=True)

    def lines(self, kind):
        tree = ElementTree.parse(self.folder / "machine.svg")
        return [[tuple(map(float, point.split(","))) for point in line.get("points").split()]
                for line in tree.iter(SVG + "polyline") if line.get("class") == kind]

    def test_speeds_and_limits(self):
        done = self.plot(HEADER + row("decode", 0, 1, 0, 1, 0.1)  # measured again below
                         + row("decode", 1024, 1, 0, 50, 0.5) + row("decode", 0, 1, 0, 100, 0.5)
                         + row("decode", 0, 16, 0, 150, 0.75) + row("decode", 0, 16, 15, 1, 0.75)
                         + row("prefill", 0, 1, 0, 9999, 0.5))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.files(), ["machine.csv", "machine.svg"])
        speeds, limits = self.lines("speed"), self.lines("limit")
        self.assertEqual([len(line) for line in speeds], [2, 2])
        # By context: 100 then 50, under limits of 200 and 100, on an axis that ends at 200.
        (x0, y100), (x1, y50) = speeds[0]
        self.assertLess(x0, x1)
        (_, limit200), (_, limit100) = limits[0]
        self.assertEqual(limit100, y100)
        self.assertAlmostEqual(y50 - y100, (y100 - limit200) / 2, delta=0.2)
        # By batch: 100 then 150, both under 200.
        self.assertGreater(speeds[1][0][1], speeds[1][1][1])
        self.assertEqual(limits[1][0][1], limits[1][1][1])
        words = [text.text for text in
                 ElementTree.parse(self.folder / "machine.svg").iter(SVG + "text")]
        self.assertIn("1k", words)
        self.assertIn("m, avx2, 2 threads", words)
        self.assertTrue(any("A, B & C" in word for word in words), words)

    def test_models_have_lines_of_their_own(self):
        done = self.plot(HEADER + row("decode", 0, 1, 0, 10, 0.5, "m")
                         + row("decode", 0, 1, 0, 20, 0, "n"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.lines("speed")), 4)

    def test_says_what_is_wrong(self):
        for text in ("", "a,b\n1,2\n", HEADER, HEADER + row("decode", 0, "x", 0, 1, 1)):
            done = self.plot(text)
            self.assertEqual(done.returncode, 1, text)
            self.assertRegex(done.stderr, r"^plot: .*machine.csv: ")
        self.assertEqual(self.files(), ["machine.csv"])


if __name__ == "__main__":
    unittest.main()
