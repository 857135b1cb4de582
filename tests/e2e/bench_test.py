"""`etch bench` on small models: every row is there and its figures agree with each other."""

import csv
import json
import signal
import subprocess
import time
import unittest

from program import ETCH, Case, etch, etch_json, make_adapter, make_tiny_model

TOP = {"machine", "model", "image_bytes", "backend", "isa", "threads", "limits", "decode",
       "prefill", "left_out", "us_per_phase", "load_s", "rss_mb", "image_pss_mb", "interrupted"}
DECODE = {"context", "batch", "adapters", "tokens_per_s", "best_tokens_per_s", "gb_s", "gop_s",
          "fraction", "read_limit_gb_s", "fraction_read", "fraction_int8", "steps"}
PREFILL = {"tokens", "tokens_per_s", "best_tokens_per_s", "gop_s", "fraction", "steps"}
QUICK = ["--quick", "--seconds", "0.2"]


def linears(config):
    """(rows, columns) of the seven linear layers of a block."""
    queries = config["heads"] * config["head_dim"]
    keys = config["kv_heads"] * config["head_dim"]
    dim, ffn = config["dim"], config["ffn_dim"]
    return [(queries, dim), (keys, dim), (keys, dim), (dim, queries), (ffn, dim), (ffn, dim),
            (dim, ffn)]


def w8_bytes(rows, cols):
    """Half a group where that is enough, and then as many bytes again behind the last tile."""
    halves = -(-cols // 16)
    return -(-rows // 16) * (64 + halves * 256) + halves % 2 * 256


class Bench(Case):
    def tiny(self):
        make_tiny_model(self.folder / "tiny", "--context", "2048")
        etch("compile", self.folder / "tiny", "-o", self.folder / "tiny.etch")
        return self.folder / "tiny.etch"

    def stories(self):
        etch("compile", "--synthetic", "stories260k", "-o", self.folder / "stories.etch")
        return self.folder / "stories.etch"

    def check_figures(self, report):
        self.assertEqual(set(report), TOP)
        for name in ("read_gb_s", "int8_gop_s"):
            limits = report["limits"]
            self.assertGreaterEqual(limits[name],
                                    max(limits["before"][name], limits["after"][name]))
            self.assertGreater(limits[name], 0)
        for row in report["decode"]:
            self.assertEqual(set(row), DECODE)
            read, int8 = row["fraction_read"], row["fraction_int8"]
            if row["batch"] == 1:  # each step against the reads beside it; medians of their own
                self.assertGreater(row["read_limit_gb_s"], 0)
                self.assertLessEqual(row["read_limit_gb_s"], report["limits"]["read_gb_s"])
            else:
                self.assertEqual(row["read_limit_gb_s"], 0)
                self.assertAlmostEqual(read, row["gb_s"] / report["limits"]["read_gb_s"])
            self.assertAlmostEqual(int8, row["gop_s"] / report["limits"]["int8_gop_s"])
            self.assertEqual(row["fraction"], read if row["batch"] == 1 else max(read, int8))
        for row in report["prefill"]:
            self.assertEqual(set(row), PREFILL)
            self.assertAlmostEqual(row["fraction"],
                                   row["gop_s"] / report["limits"]["int8_gop_s"])
        for row in report["decode"] + report["prefill"]:
            self.assertGreater(row["fraction"], 0, row)
            # The model fits the caches, and others may disturb the reads beside it.
            self.assertLess(row["fraction"], 3, row)
            self.assertGreaterEqual(row["best_tokens_per_s"], row["tokens_per_s"])
            self.assertGreater(row["steps"], 0)
        for name in ("load_s", "rss_mb", "image_pss_mb"):
            self.assertGreater(report[name], 0, name)
        self.assertLess(report["image_pss_mb"], report["rss_mb"])

    def test_every_row_and_what_it_reads_and_computes(self):
        image = self.tiny()
        report = etch_json("bench", image, "--seconds", "0.2", "-t", "2")
        self.check_figures(report)
        rows = {(row["context"], row["batch"], row["adapters"]): row for row in report["decode"]}
        self.assertEqual(list(rows), [(0, 1, 0), (1024, 1, 0), (0, 2, 0), (0, 4, 0), (0, 8, 0),
                                      (0, 16, 0), (0, 1, 1), (0, 16, 15)])
        self.assertEqual([row["tokens"] for row in report["prefill"]], [128, 512])
        self.assertEqual((report["threads"], report["backend"]), (2, "cpu"))
        self.assertEqual(report["image_bytes"], image.stat().st_size)
        self.assertFalse(report["left_out"] or report["interrupted"])

        shown = etch_json("inspect", image, "--tensors")
        config = shown["config"]
        self.assertFalse(config["tied_embeddings"])
        weights = sum(tensor["bytes"] for tensor in shown["tensors"]
                      if tensor["name"] != "token_embd")
        # Keys of 2 bytes, values of 1 in channels padded to 16, two shifts for each block of 32.
        width = config["head_dim"]
        cache = config["layers"] * config["kv_heads"] * (
            2 * width + -(-width // 16) * 16 + 2 * -(-width // 32))
        adapter = config["layers"] * sum(w8_bytes(16, cols) + w8_bytes(rows, 16)
                                         for rows, cols in linears(config))
        block = config["layers"] * sum(rows * cols for rows, cols in linears(config))
        ranks = config["layers"] * sum(16 * (rows + cols) for rows, cols in linears(config))
        head = config["vocabulary"] * config["dim"]
        for (context, batch, adapters), row in rows.items():
            step = batch / row["tokens_per_s"]
            self.assertAlmostEqual(
                row["gb_s"] * 1e9 * step,
                weights + batch * (context + 1) * cache + adapters * adapter, delta=1)
            self.assertAlmostEqual(row["gop_s"] * 1e9 * step,
                                   2 * (batch * (block + head) + adapters * ranks), delta=1)
        for row in report["prefill"]:
            step = row["tokens"] / row["tokens_per_s"]
            self.assertAlmostEqual(row["gop_s"] * 1e9 * step, 2 * (row["tokens"] * block + head),
                                   delta=1)
        # A thousand tokens of context are work, and so are 16 sessions.
        self.assertLess(rows[1024, 1, 0]["best_tokens_per_s"], rows[0, 1, 0]["best_tokens_per_s"])
        self.assertLess(rows[0, 16, 0]["best_tokens_per_s"],
                        16 * rows[0, 1, 0]["best_tokens_per_s"])

    def test_quick_and_given_contexts(self):
        image = self.tiny()
        report = etch_json("bench", image, *QUICK, "-t", "1")
        self.check_figures(report)
        self.assertEqual([(row["context"], row["batch"], row["adapters"])
                          for row in report["decode"]], [(0, 1, 0), (0, 16, 0)])
        self.assertEqual([row["tokens"] for row in report["prefill"]], [512])
        # Filling a context may take six times this, on cores that other tests want too.
        report = etch_json("bench", image, "--context", "5,2047", "--seconds", "0.3")
        self.assertEqual([row["context"] for row in report["decode"] if row["batch"] == 1
                          and row["adapters"] == 0], [5, 2047])
        self.assertIn("--context 2048: the model's context is 2048",
                      self.error("bench", image, "--context", "0,2048"))

    def test_every_backend_and_given_adapters(self):
        image = self.stories()
        for seed in (1, 2):
            make_adapter(self.folder / f"a{seed}", seed)
        adapters = ["--adapter", self.folder / "a1", "--adapter", self.folder / "a2"]
        for backend in ("cpu", "reference", "float"):
            report = etch_json("bench", image, "--seconds", "0.5", "--backend", backend, *adapters)
            self.check_figures(report)
            rows = [(row["context"], row["batch"], row["adapters"]) for row in report["decode"]]
            self.assertIn((0, 1, 2), rows)
            self.assertIn((0, 16, 15), rows)
        etch_json("bench", image, "--seconds", "0.05", "--backend", "float")

    def test_a_row_that_takes_too_long_is_left_out(self):
        report = etch_json("bench", self.stories(), "--seconds", "0.01", "--backend", "reference")
        left_out = {row["row"]: row["why"] for row in report["left_out"]}
        self.assertIn("prefill of 512", left_out)
        self.assertIn("--seconds", left_out["prefill of 512"])
        self.assertNotIn(512, [row["tokens"] for row in report["prefill"]])
        self.assertIn((0, 1), [(row["context"], row["batch"]) for row in report["decode"]])

    def test_table_and_csv(self):
        image = self.stories()
        file = self.folder / "rows.csv"
        table = etch("bench", image, *QUICK, "--csv", file).stdout
        for words in ("read limit", "int8 limit", "decode", "prefill", "of read", "of int8", " %"):
            self.assertIn(words, table)
        report = etch_json("bench", image, *QUICK, "--csv", file)
        with open(file, newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        self.assertEqual([(row["kind"], row["batch"], row["tokens"]) for row in rows],
                         2 * [("decode", "1", "1"), ("decode", "16", "16"),
                              ("prefill", "1", "512")])
        for row, measured in zip(rows[3:], report["decode"] + report["prefill"]):
            self.assertEqual(row["machine"], report["machine"])
            self.assertAlmostEqual(float(row["tokens_per_s"]), measured["tokens_per_s"], places=3)
            self.assertAlmostEqual(float(row["fraction"]), measured["fraction"], places=4)
        other = self.folder / "other.csv"
        other.write_text("a,b\n1,2\n")
        self.assertIn("begins with another header", self.error("bench", image, "--csv", other))
        self.assertEqual(other.read_text(), "a,b\n1,2\n")
        self.assertIn("cannot be read", self.error("bench", image, "--csv", self.folder))

    def test_interruption_keeps_what_was_measured(self):
        image = self.stories()
        bench = subprocess.Popen([ETCH, "bench", image, "--seconds", "30", "--json"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(4)
        bench.send_signal(signal.SIGINT)
        out, errors = bench.communicate(timeout=60)
        self.assertEqual((bench.returncode, errors), (130, ""))
        report = json.loads(out)
        self.assertTrue(report["interrupted"])
        self.assertLess(len(report["decode"]) + len(report["prefill"]), 9)
        self.assertEqual(report["limits"]["before"], report["limits"]["after"])


if __name__ == "__main__":
    unittest.main()
