"""The comparison with llama.cpp: the files that it makes, and what its runner makes of figures."""

import csv
import json
import math
import shutil
import statistics
import struct
import subprocess
import sys
import unittest

from program import ETCH, SOURCE, Case, etch, etch_json

PEERS = SOURCE / "bench/peers"
SHAPE = "dim=256,ffn_dim=512,n_layers=2,n_heads=8,n_kv_heads=2,vocab_size=512,rope_factor=8"
MIXES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q4_0", "Q4_K_M"]


def make(kind, out, *options, shape=SHAPE):
    subprocess.run([sys.executable, PEERS / "make_gguf.py", kind, "--shape", shape, "--out", out,
                    *options], check=True, capture_output=True)
    return out


def tensors_of(path):
    """Name to (number of the type, place in the file) of a GGUF file."""
    data = path.read_bytes()
    tensors, entries = struct.unpack_from("<QQ", data, 8)
    place = 24

    def take(form):
        nonlocal place
        value, = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return value

    def take_text():
        nonlocal place
        size = take("Q")
        place += size
        return data[place - size:place].decode()

    def take_value(kind):
        if kind == 9:
            kind = take("I")
            for _ in range(take("Q")):
                take_value(kind)
        elif kind == 8:
            take_text()
        else:
            take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    for _ in range(entries):
        take_text()
        take_value(take("I"))
    found = {}
    for _ in range(tensors):
        name = take_text()
        for _ in range(take("I")):
            take("Q")
        found[name.removesuffix(".weight")] = (take("I"), take("Q"))
    start = place + -place % 32
    return {name: (kind, start + offset) for name, (kind, offset) in found.items()}


class GeneratedFiles(Case):
    def test_models_of_every_mix_are_read_and_answer(self):
        for mix in MIXES:
            model = make("model", self.folder / "model.gguf", "--mix", mix)
            shown = etch_json("inspect", model)
            self.assertEqual(shown["config"]["dim"], 256, mix)
            self.assertEqual(shown["config"]["vocabulary"], 512, mix)
            image = self.folder / "model.etch"
            etch("compile", model, "-o", image, "--recipe", "source")
            answer = etch_json("run", image, "-p", "ab", "-n", "8", "--backend", "float",
                               "--greedy", "--raw")
            self.assertGreater(answer["completion_tokens"], 0, mix)

    def test_mixes_have_the_tensor_types_of_llama_cpp(self):
        def types(mix, *names):
            found = tensors_of(make("model", self.folder / "model.gguf", "--mix", mix))
            self.assertEqual(found["output"][0], 14, mix)
            return [found[name][0] for name in names]

        names = ("token_embd", "blk.0.attn_q", "blk.0.attn_v", "blk.0.attn_output",
                 "blk.0.ffn_up", "blk.0.ffn_down")
        self.assertEqual(types("Q3_K_S", *names), [11] * 6)
        self.assertEqual(types("Q2_K", *names), [10, 10, 12, 11, 10, 11])
        self.assertEqual(types("Q3_K_M", *names), [11, 11, 13, 12, 11, 12])
        self.assertEqual(types("Q4_0", *names), [2] * 6)
        self.assertEqual(types("Q4_K_M", *names), [12, 12, 12, 12, 12, 12])
        self.assertEqual(types("Q4_K_M", "blk.1.attn_v", "blk.1.ffn_down"), [14, 14])

    def test_the_same_seed_gives_the_same_bytes(self):
        first = make("model", self.folder / "a.gguf", "--seed", "5").read_bytes()
        self.assertEqual(make("model", self.folder / "b.gguf", "--seed", "5").read_bytes(), first)
        self.assertNotEqual(make("model", self.folder / "b.gguf", "--seed", "6").read_bytes(),
                            first)
        self.assertEqual(self.files(), ["a.gguf", "b.gguf"])

    def test_weights_have_the_deviation_that_keeps_activations(self):
        model = make("model", self.folder / "model.gguf", "--mix", "Q4_0")
        data = model.read_bytes()
        _, begin = tensors_of(model)["blk.0.ffn_up"]
        values = []
        for block in range(begin, begin + 18 * 2048, 18):
            scale, = struct.unpack_from("<e", data, block)
            for code in data[block + 2:block + 18]:
                values += [scale * ((code & 15) - 8), scale * ((code >> 4) - 8)]
        self.assertAlmostEqual(statistics.pstdev(values) * math.sqrt(256), 1, delta=0.02)
        self.assertAlmostEqual(statistics.fmean(values), 0, delta=0.002)

    def test_rows_that_no_block_fits_fall_back(self):
        found = tensors_of(make("model", self.folder / "model.gguf", shape="stories260k"))
        self.assertEqual(found["blk.0.attn_q"][0], 20)   # IQ4_NL: rows of 64
        self.assertEqual(found["blk.0.ffn_down"][0], 1)  # F16: rows of 172
        self.assertEqual(found["token_embd"][0], 8)      # Q8_0 in place of Q6_K
        self.assertNotIn("output", found)

    def test_adapters_change_the_answer(self):
        adapter = make("adapter", self.folder / "a.gguf", "--seed", "3")
        kind, place = tensors_of(adapter)["blk.1.ffn_down.weight.lora_a"]
        self.assertEqual(kind, 1)
        halves = struct.unpack_from("<8192e", adapter.read_bytes(), place)
        self.assertAlmostEqual(statistics.pstdev(halves) * math.sqrt(512), 1, delta=0.42)
        image = self.folder / "model.etch"
        etch("compile", make("model", self.folder / "model.gguf"), "-o", image)
        outputs = {
            etch("run", image, "-p", "ab", "-n", "12", "--greedy", "--raw", *options).stdout
            for options in ([], ["--adapter", adapter])}
        self.assertEqual(len(outputs), 2, outputs)

    def test_impossible_shapes_are_refused(self):
        for shape in ("llama-9", "dim=256", SHAPE.replace("vocab_size=512", "vocab_size=100")):
            done = subprocess.run(
                [sys.executable, PEERS / "make_gguf.py", "model", "--shape", shape, "--out",
                 self.folder / "x.gguf"], capture_output=True, text=True, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, r"^make_gguf: ")
        self.assertEqual(self.files(), [])


class Runner(Case):
    PEER = {"version": "7", "load_s": 1.0, "rss_mb": 1.0,
            "decode": [{"context": 0, "batch": 1, "adapters": 0, "tokens_per_s": 1e-3},
                       {"context": 0, "batch": 9, "adapters": 8, "tokens_per_s": 2.0}],
            "prefill": [{"tokens": 16, "tokens_per_s": 1e-3}]}

    def run_it(self, *options):
        peer = self.folder / "peer.json"
        peer.write_text(json.dumps(self.PEER))
        return subprocess.run(
            [PEERS / "run", "--shape", "stories260k", "--etch", ETCH, "--cache",
             self.folder / "cache", "--results", self.folder / "results", "--prompt", "16",
             "--seconds", "0.1", "--adapters", "1", "--peer-cmd",
             f"test -f $PEER_MODEL && test -f $PEER_ADAPTERS && cat {peer}", *options],
            capture_output=True, text=True, check=False)

    def test_both_sides_stand_in_the_table_and_in_the_csv(self):
        done = self.run_it("--rounds", "2", "--peer-name", "other")
        self.assertEqual(done.returncode, 0, done.stderr)
        order = [line.split(": ")[1] for line in done.stderr.splitlines() if "round" in line]
        self.assertEqual(order, ["etch", "other"] * 2)
        table, = (self.folder / "results").iterdir()
        with open(table, newline="", encoding="utf-8") as rows:
            found = list(csv.DictReader(rows))
        ours = {(row["round"], row["figure"]): float(row["value"]) for row in found
                if row["engine"] == "etch"}
        theirs = [row for row in found if row["engine"] == "other"]
        self.assertEqual({row["version"] for row in theirs}, {"7"})
        self.assertEqual(len(theirs), 2 * 5)
        self.assertIn(("2", "decode, one adapter"), ours)
        self.assertTrue(all(0 <= float(row["others"]) <= 1 for row in found))
        # The ratio of the table is that of the figures in the CSV.
        line, = (line for line in done.stdout.splitlines() if line.startswith("decode  "))
        pairs = [ours[(number, "decode")] / 1e-3 for number in ("1", "2")]
        self.assertAlmostEqual(float(line.split()[4]) / statistics.median(pairs), 1, places=3)
        # What only one side has is shown without a ratio.
        line, = (line for line in done.stdout.splitlines() if line.startswith("batch 9, 8"))
        self.assertEqual(line.split()[-2:], ["2.00", "-"])

    def test_other_programs_are_counted(self):
        # A process of this test, not of the runner, spins beside a peer that sleeps.
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
            try:
                done = self.run_it("--rounds", "1", "--peer-cmd",
                                   f"sleep 2; cat {self.folder / 'peer.json'}")
            finally:
                spinning.kill()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("NOT TO BE QUOTED", done.stdout)

    def test_a_peer_that_fails_ends_the_run(self):
        done = self.run_it("--peer-cmd", "exit 3")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("peers: peer failed with 3", done.stderr)
        done = self.run_it("--peer-cmd", "echo no JSON")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("did not print one JSON object", done.stderr)
        self.assertFalse((self.folder / "results").exists())


@unittest.skipUnless(shutil.which("node") and (PEERS / "node_modules").exists(),
                     "llama.cpp is not installed: npm ci --prefix bench/peers")
class LlamaCpp(Case):
    def measure(self, model, *options):
        done = subprocess.run(["node", PEERS / "llama_cpp.mjs", model, "--seconds", "0", "--prompt",
                               "32", "--batch", "4", *options],
                              capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_models_of_every_mix_load_and_stay_finite(self):
        for mix in MIXES:
            model = make("model", self.folder / "model.gguf", "--mix", mix)
            result = self.measure(model, "--only", "decode")
            self.assertEqual(len(result["decode"]), 1, mix)
        model = make("model", self.folder / "model.gguf", shape="stories260k")
        self.assertEqual(self.measure(model, "--only", "prefill")["prefill"][0]["tokens"], 32)

    def test_all_figures_are_there(self):
        adapters = []
        for seed in ("1", "2", "3"):
            path = make("adapter", self.folder / f"{seed}.gguf", "--seed", seed)
            adapters += ["--adapter", path]
        result = self.measure(make("model", self.folder / "model.gguf"), "--context", "40",
                              *adapters)
        rows = {(row["context"], row["batch"], row["adapters"], row["shared"])
                for row in result["decode"]}
        self.assertEqual(rows, {(0, 1, 0, False), (40, 1, 0, False), (0, 1, 1, False),
                                (0, 4, 0, False), (0, 4, 1, True), (0, 4, 3, False)})
        self.assertTrue(all(row["tokens_per_s"] > 0 for row in result["decode"]))
        self.assertEqual(result["prefill"][0]["tokens"], 32)


if __name__ == "__main__":
    unittest.main()
