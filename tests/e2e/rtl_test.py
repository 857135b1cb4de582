"""etch rtl: chips in Verilator beside the engine, and behind etch run and etch serve."""

import json
import unittest
import urllib.request

from program import (DATA, WORK, Case, Server, chip_report, etch, etch_json, make_adapter,
                     need_data)

MODEL = "models/stories260K.gguf"
IMAGE = WORK / "rtl-stories260k.etch"
CHIP = WORK / "rtl-chip"


def setUpModule():
    need_data(MODEL)
    etch("compile", DATA / MODEL, "-o", IMAGE)


class Chips(Case):
    def test_1_tokens_logits_and_cycles_are_the_engines_and_the_plans(self):
        make_adapter(self.folder / "a", 1, "--rank", "8")
        make_adapter(self.folder / "b", 2, "--rank", "16")
        report = chip_report(
            self, IMAGE, "-o", CHIP, "--sessions", 2, "--verify", "--vectors", "--tokens", 120,
            "--adapter", self.folder / "a", "--adapter", self.folder / "b")
        self.assertEqual(report["tokens"], 120)
        self.assertEqual(report["logits"], 120 * 512)
        self.assertGreater(report["audited_weights"], 250_000)
        # 21 a layer, with an adapter 3 more for each of its seven linear layers.
        with_adapter = sum(run["prompt_tokens"] + run["tokens"] - 1
                           for run in report["runs"] if run["adapter"])
        self.assertEqual(report["vectors"], report["positions"] * (1 + 5 * 21) +
                         with_adapter * 5 * 7 * 3 + 120 * 3)
        self.assertGreater(report["vector_elements"], 3000 * report["positions"])

    def test_2_the_chip_runs_behind_etch_run_and_etch_serve(self):
        options = ["-p", "Once upon a time", "-n", 20, "--greedy"]
        make_adapter(self.folder / "a", 3, "--rank", "8")
        for more in ([], ["--adapter", f"{self.folder}/a=0.5"]):
            right = etch_json("run", IMAGE, *options, *more)
            found = etch_json("run", IMAGE, *options, *more, "--backend", "rtl", "--chip", CHIP)
            self.assertEqual(found["tokens"], right["tokens"])
            self.assertEqual(found["backend"], "rtl")
        message = self.error("run", IMAGE, *options, "--backend", "rtl", "--chip", CHIP,
                             "--context", 513)
        self.assertIn("513", message)
        self.assertIn("--chip is for --backend rtl",
                      self.error("run", IMAGE, *options, "--chip", CHIP))
        other = self.folder / "other.etch"
        etch("compile", "--synthetic", "stories260k", "-o", other)
        self.assertIn("another image",
                      self.error("run", other, *options, "--backend", "rtl", "--chip", CHIP))
        body = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
        answers = []
        for backend in ([], ["--backend", "rtl", "--chip", CHIP]):
            with Server(IMAGE, *backend) as server:
                request = urllib.request.Request(
                    server.url + "/v1/completions", json.dumps(body).encode(),
                    {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as answer:
                    answers.append(json.load(answer)["choices"][0]["text"])
        self.assertEqual(answers[0], answers[1])

    def test_two_models_of_one_shape_have_one_fabric(self):
        other = self.folder / "other.etch"
        etch("compile", "--synthetic", "stories260k", "-o", other)
        one = etch_json("rtl", IMAGE, "-o", self.folder / "one")
        two = etch_json("rtl", other, "-o", self.folder / "two")
        self.assertEqual(one["fabric_sha256"], two["fabric_sha256"])
        self.assertNotEqual(one["masks_sha256"], two["masks_sha256"])
        names = sorted(path.name for path in (self.folder / "one/fabric").iterdir())
        others = sorted(path.name for path in (self.folder / "two/fabric").iterdir())
        self.assertEqual(names, others)
        for name in names:
            self.assertEqual((self.folder / "one/fabric" / name).read_bytes(),
                             (self.folder / "two/fabric" / name).read_bytes(), name)

    def test_what_does_not_fit_is_refused_before_anything_is_written(self):
        before = self.files()
        out = self.folder / "chip"
        for options, words in [(["--lanes", 100], "power of two"),
                               (["--context", 100000], "the model's is"),
                               (["--adapter-rank", 65], "rank 65"),
                               (["--sessions", 0], "0 sessions")]:
            self.assertIn(words, self.error("rtl", IMAGE, "-o", out, *options, "--json"))
            self.assertEqual(self.files(), before)
        floats = self.folder / "floats.etch"
        etch("compile", DATA / MODEL, "-o", floats, "--recipe", "w4f")
        self.assertIn("W4F", self.error("rtl", floats, "-o", out, "--json"))
        self.assertFalse(out.exists())
        make_adapter(self.folder / "wide", 1, "--rank", "40")
        message = self.error("rtl", IMAGE, "-o", out, "--verify", "--tokens", 4, "--adapter",
                             self.folder / "wide", "--json")
        self.assertIn("rank 40", message)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main()
