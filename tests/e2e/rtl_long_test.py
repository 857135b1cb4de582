"""Chips in Verilator beside the engine, for minutes: `./check --all`."""

import unittest

from program import DATA, SOURCE, Case, chip_report, etch, make_adapter, need_data

MODEL = "models/stories260K.gguf"


class LongRuns(Case):
    def setUp(self):
        super().setUp()
        need_data(MODEL)
        self.image = self.folder / "model.etch"
        etch("compile", DATA / MODEL, "-o", self.image)

    def test_ten_prompts_two_thousand_tokens(self):
        make_adapter(self.folder / "a", 1, "--rank", "8")
        make_adapter(self.folder / "b", 2, "--rank", "16")
        prompts = ["Once upon a time", "The dog", "Lily", "One day a boy", "She said",
                   "They went to the park", "A big red ball", "Mom", "In the", "Tom was sad"]
        report = chip_report(
            self, self.image, "-o", self.folder / "chip", "--verify", "--tokens", 2000,
            "--adapter", self.folder / "a", "--adapter", self.folder / "b",
            *[word for prompt in prompts for word in ("-p", prompt)])
        self.assertEqual(report["tokens"], 2000)

    def test_the_bundled_model(self):
        bundled = SOURCE / "examples/bundled"
        image = self.folder / "bundled.etch"
        etch("compile", bundled / "base", "-o", image)
        report = chip_report(
            self, image, "-o", self.folder / "chip", "--lanes", 256, "--verify", "--tokens", 100,
            "--adapter", bundled / "adapters/honeyoak", "--adapter", bundled / "adapters/larkmead",
            "-p", "When do you open?", "-p", "What does a loaf cost?")
        self.assertEqual(report["tokens"], 100)

    def test_a_layer_of_the_8b_shape(self):
        image = self.folder / "layer.etch"
        etch("compile", "--synthetic", "llama-3.1-8b-layer", "-o", image)
        report = chip_report(
            self, image, "-o", self.folder / "chip", "--lanes", 512, "--context", 32,
            "--adapter-rank", 0, "--adapter-slots", 0, "--verify", "--vectors", "--tokens", 1, "-p",
            "A")
        self.assertEqual(report["tokens"], 1)
        self.assertGreater(report["vectors"], 21)

    def test_lanes_and_contexts(self):
        make_adapter(self.folder / "a", 1, "--rank", "16")
        cycles = {}
        for lanes in (16, 64, 256):
            for context in (64, 512):
                report = chip_report(
                    self, self.image, "-o", self.folder / "chip", "--lanes", lanes, "--context",
                    context, "--verify", "--tokens", 20, "-p", "Once upon a time",
                    "--adapter", self.folder / "a")
                self.assertEqual({run["adapter"] for run in report["runs"]}, {False, True})
                cycles[lanes, context] = report["cycles_per_token"]
        self.assertGreater(cycles[16, 64], cycles[64, 64])
        self.assertGreater(cycles[64, 64], cycles[256, 64])


if __name__ == "__main__":
    unittest.main()
