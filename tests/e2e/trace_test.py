"""The replay of a trace: every request is answered to its length, with and without adapters."""

import csv
import json
import subprocess
import sys
import unittest

from program import DATA, ETCH, SOURCE, Case, need_data

LENGTHS = [(40, 5), (9, 1), (300, 20), (120, 8), (5000, 300)]
COUNT = 20


class Trace(Case):
    def run_trace(self, *options):
        need_data("models/stories260K.gguf")
        trace = self.folder / "trace.csv"
        with open(trace, "w", newline="", encoding="utf-8") as out:
            rows = [("t", *LENGTHS[index % len(LENGTHS)]) for index in range(COUNT)]
            csv.writer(out).writerows([("TIMESTAMP", "ContextTokens", "GeneratedTokens"), *rows])
        return subprocess.run(
            [sys.executable, SOURCE / "bench/serving/trace.py", "--etch", ETCH, "--base",
             DATA / "models/stories260K.gguf", "--trace", trace, "--tenants", "3", "--in-flight",
             "3", "--requests", str(COUNT), "--rounds", "1", "--context", "256", "--system", "24",
             "--cache", self.folder / "files", "--results", self.folder, *options],
            capture_output=True, text=True, timeout=120)

    def test_every_request_is_answered_to_its_length(self):
        done = self.run_trace("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        modes = json.loads(done.stdout)
        self.assertEqual(list(modes), ["base", "adapters", "base-cache", "adapters-cache"])
        # Scaled to the longest row: (prompt + answer) of 5300 becomes 256.
        scale = 256 / 5300
        answers = sum(max(1, int(answer * scale)) for _, answer in LENGTHS) * COUNT // len(LENGTHS)
        for name, (figures,) in modes.items():
            self.assertEqual(figures["finished"], COUNT, name)
            self.assertEqual(figures["failures"], 0, name)
            self.assertAlmostEqual(figures["answers"] * figures["seconds"], answers, 3, name)
            self.assertGreater(figures["first token, p99"], 0, name)
        self.assertEqual(modes["adapters"][0]["prompt cached"], 0)
        self.assertGreater(modes["adapters-cache"][0]["prompt cached"], 0)

    def test_the_table_has_ratios_and_the_csv_every_round(self):
        done = self.run_trace("--modes", "base,adapters")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| etch, adapters / etch, base |", done.stdout)
        path, = self.folder.glob("serving-*.csv")
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual({row["mode"] for row in rows}, {"base", "adapters"})
        self.assertEqual({row["figure"] for row in rows} & {"all tokens", "failures"},
                         {"all tokens", "failures"})

    def test_a_mode_that_is_not_there_is_refused(self):
        done = self.run_trace("--modes", "llama-q4")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no mode llama-q4", done.stderr)


if __name__ == "__main__":
    unittest.main()
