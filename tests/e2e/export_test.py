"""What etch export and etch adapter export write, run by Etch and by stock llama.cpp."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from program import (DATA, ETCH, SOURCE, Case, etch, etch_json, make_adapter, make_tiny_model,
                     need_data)

PEERS = SOURCE / "bench/peers"
PROMPT = "Once upon a time"
TOKENS = 64


def need_llama_cpp():
    if not shutil.which("node") or not (PEERS / "node_modules/@node-llama-cpp").exists():
        print("*** SKIPPED, llama.cpp missing: npm ci --prefix bench/peers ***", file=sys.stderr)
        raise unittest.SkipTest("llama.cpp missing")


def llama_cpp(model, prompt, *options):
    done = subprocess.run(["node", PEERS / "greedy.mjs", model, "--prompt", prompt, *options],
                          capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise AssertionError(f"{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def gap_of(report):
    """How far two logits may have moved against each other, with llama.cpp's F16 activations."""
    return 2 * report["parity"]["max_difference"] + 0.01


def twin(image, prompt, *options):
    return etch_json("run", image, "-p", prompt, "-n", TOKENS, "--greedy", "--raw",
                     "--backend", "float", *options)


class Exported(Case):
    def setUp(self):
        super().setUp()
        need_data("models/stories260K.gguf")
        self.image = self.folder / "model.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image)

    def path(self, name):
        return self.folder / name

    def adapter(self, name, seed, *options):
        make_adapter(self.path(name), seed, "--rank", "8", *options)
        return self.path(name)

    def expect_same(self, name, model, expected, *options, prompt=PROMPT, allowed=0.0):
        """llama.cpp's greedy tokens are Etch's. Where two tokens are as good as equal, which the
        rounding of the file decides, the gap between them is printed; `allowed` bounds it."""
        found = llama_cpp(model, prompt, "--tokens", str(TOKENS), *options)
        self.assertEqual(len(found["prompt"]), expected["prompt_tokens"])
        # Where llama.cpp stops, so does Etch.
        wanted = expected["tokens"][:TOKENS]
        if found["tokens"] == wanted[:len(found["tokens"])]:
            self.assertGreaterEqual(len(found["tokens"]), len(wanted) - 1, name)
            return
        followed = llama_cpp(model, prompt, "--follow", ",".join(map(str, wanted)), *options)
        place = next(index for index, step in enumerate(followed["steps"])
                     if step["token"] != wanted[index])
        gap = followed["steps"][place]["gap"]
        print(f"*** {name}: token {place} differs, llama.cpp prefers its own by {gap:.2g} nats ***",
              file=sys.stderr)
        self.assertLessEqual(gap, allowed, name)


class OnLlamaCpp(Exported):
    def setUp(self):
        need_llama_cpp()
        super().setUp()

    def test_the_base_answers_as_the_twin(self):
        expected = twin(self.image, PROMPT)
        self.assertEqual(expected["completion_tokens"], TOKENS)
        for kind in ("f32", "f16", "q8_0", "bf16"):
            report = etch_json("export", self.image, "-o", self.path("x.gguf"), "--type", kind)
            self.expect_same(f"base {kind}", self.path("x.gguf"), expected,
                             allowed=gap_of(report))

    def test_an_adapter_answers_as_the_twin_beside_the_base_and_merged(self):
        etch("export", self.image, "-o", self.path("base.gguf"), "--type", "f16")
        for seed, scale in ((1, "0.1"), (2, "0.2"), (3, "0.5")):
            adapter = self.adapter(f"a{seed}", seed, "--scale", scale)
            expected = twin(self.image, PROMPT, "--adapter", adapter)
            etch("adapter", "export", self.image, adapter, "-o", self.path("a.gguf"), "--to",
                 "gguf")
            report = etch_json("export", self.image, "--adapter", adapter, "-o",
                               self.path("merged.gguf"), "--type", "f16")
            allowed = gap_of(report)
            self.expect_same(f"adapter {seed}", self.path("base.gguf"), expected, "--lora",
                             self.path("a.gguf"), allowed=allowed)
            self.expect_same(f"merged {seed}", self.path("merged.gguf"), expected, allowed=allowed)

    def test_trained_adapters_of_the_bundled_base(self):
        bundled = SOURCE / "examples/bundled"
        etch("compile", bundled / "base", "-o", self.image)
        etch("export", self.image, "-o", self.path("base.gguf"), "--type", "f16")
        for client in ("honeyoak", "spokewell", "larkmead"):
            adapter = bundled / "adapters" / client
            etch("adapter", "export", self.image, adapter, "-o", self.path("a.gguf"), "--to",
                 "gguf")
            report = etch_json("export", self.image, "--adapter", adapter, "-o",
                               self.path("merged.gguf"), "--type", "f16")
            rounded = etch_json("export", self.image, "--adapter", adapter, "-o",
                                self.path("q8.gguf"), "--type", "q8_0")
            for prompt in ("We open at", "You can park", "Our best seller is"):
                expected = twin(self.image, prompt, "--adapter", adapter)
                self.expect_same(f"{client} {prompt}", self.path("base.gguf"), expected,
                                 "--lora", self.path("a.gguf"), prompt=prompt,
                                 allowed=gap_of(report))
                self.expect_same(f"{client} {prompt} merged", self.path("merged.gguf"), expected,
                                 prompt=prompt, allowed=gap_of(report))
                self.expect_same(f"{client} {prompt} Q8_0", self.path("q8.gguf"), expected,
                                 prompt=prompt, allowed=gap_of(rounded))

    def test_stacked_adapters_with_weights(self):
        first = self.adapter("a", 5, "--scale", "0.2")
        second = self.adapter("b", 6, "--scale", "0.2")
        expected = twin(self.image, PROMPT, "--adapter", f"{first}=0.5", "--adapter", second)
        report = etch_json("export", self.image, "--adapter", f"{first}=0.5", "--adapter", second,
                           "-o", self.path("merged.gguf"))
        etch("export", self.image, "-o", self.path("base.gguf"))
        for name in ("a", "b"):
            etch("adapter", "export", self.image, self.path(name), "-o", self.path(name + ".gguf"),
                 "--to", "gguf")
        allowed = gap_of(report)
        self.expect_same("merged", self.path("merged.gguf"), expected, allowed=allowed)
        self.expect_same("two files", self.path("base.gguf"), expected, "--lora",
                         f"{self.path('a.gguf')}=0.5", "--lora", self.path("b.gguf"),
                         allowed=allowed)

    def test_a_byte_level_model_with_a_chat_template(self):
        make_tiny_model(self.path("tiny"))
        etch("compile", self.path("tiny"), "-o", self.image)
        prompt = "Hello there, it's 1984!  Gr\u00fc\u00dfe \u4f60\u597d\n\n(done)"
        expected = twin(self.image, prompt)
        etch("export", self.image, "-o", self.path("x.gguf"), "--type", "f32")
        self.expect_same("tiny", self.path("x.gguf"), expected, prompt=prompt, allowed=0.01)


class Files(Exported):
    def test_an_exported_base_compiles_again(self):
        report = etch_json("export", self.image, "-o", self.path("x.gguf"), "--type", "f32")
        self.assertEqual(report["parity"]["max_rounding"], 0)
        self.assertEqual(report["parity"]["same_top"], 64)
        again = self.path("again.etch")
        etch("compile", self.path("x.gguf"), "-o", again, "--recipe", "source")
        self.assertEqual(twin(again, PROMPT)["text"], twin(self.image, PROMPT)["text"])
        shown = etch("export", self.image, "-o", self.path("x.gguf"))
        self.assertRegex(shown.stdout, r"parity: 64 positions, max \|Δlogit\| [\d.e-]+ \(bound "
                                       r"[\d.e-]+\), top-1 \d+/64, weights within [\d.e-]+\n$")
        self.assertEqual(etch("export", self.image, "-o", self.path("x.gguf"), "-q").stdout, "")
        self.assertEqual(self.files(), ["again.etch", "model.etch", "x.gguf"])

    def test_a_bundle_is_an_adapter_with_everything_beside_it(self):
        adapter = self.adapter("a", 3)
        bundle = self.path("bundle")
        report = etch_json("adapter", "export", self.image, adapter, "-o", bundle, "--to", "bundle",
                           "--card-data", "Nothing but noise.", "--card-license", "MIT")
        self.assertEqual(report["parity"]["max_difference"], 0)
        self.assertEqual(sorted(path.name for path in bundle.iterdir()),
                         ["README.md", "adapter_config.json", "adapter_model.safetensors",
                          "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"])
        self.assertIn("Nothing but noise.", (bundle / "README.md").read_text())
        self.assertEqual(twin(self.image, PROMPT, "--adapter", bundle)["text"],
                         twin(self.image, PROMPT, "--adapter", adapter)["text"])
        for kind in ("peft", "gguf"):
            shown = etch("adapter", "export", self.image, adapter, "-o", self.path(kind), "--to",
                         kind)
            self.assertIn("A and B bit for bit", shown.stdout)

    def test_errors(self):
        out = self.path("x.gguf")
        self.assertIn("another", self.error("export", self.image, "-o", self.image))
        self.assertIn("no-such", self.error("export", self.image, "-o", out, "--adapter",
                                            "no-such"))
        self.assertIn("weight", self.error("export", self.image, "-o", out, "--adapter",
                                           f"{self.adapter('a', 1)}=99"))
        self.assertIn("cannot create", self.error("export", self.image, "-o", "/nowhere/x.gguf"))
        etch("export", self.image, "-o", out, "--type", "q3_k", code=2)
        self.assertEqual(self.files(), ["a", "model.etch"])

    def test_an_interrupted_export_leaves_nothing(self):
        etch("compile", "--synthetic", "smollm-135m", "-o", self.image)
        process = subprocess.Popen([ETCH, "export", self.image, "-o", self.path("x.gguf")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertTrue(re.search("interrupted", errors), errors)
        self.assertEqual(self.files(), ["model.etch"])


if __name__ == "__main__":
    sys.exit(unittest.main())
