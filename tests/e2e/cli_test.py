"""The commands as users call them, on stories260K."""

import json
import shutil
import subprocess
import sys
import unittest

import program
from program import DATA, Case, etch, etch_json, make_adapter, make_tiny_model, need_data


class CommandLine(Case):
    def setUp(self):
        need_data("models/stories260K.gguf", "text/tinystories_sample.txt")
        super().setUp()
        self.image = self.folder / "model.etch"

    def compile(self, *options):
        return etch_json("compile", DATA / "models/stories260K.gguf", "-o", self.image, *options)

    def test_compile_says_what_it_made_and_repeats_itself(self):
        report = self.compile("-t", "1")
        self.assertGreater(report["parameters"], 260_000)
        self.assertEqual(report["bytes"], self.image.stat().st_size)
        self.assertEqual(len(report["tensors"]), 5 * 7 + 1)
        self.assertAlmostEqual(sum(tensor["share"] for tensor in report["tensors"]), 1, places=6)
        first = self.image.read_bytes()
        self.compile("-t", "2")
        self.assertEqual(self.image.read_bytes(), first)
        self.assertEqual(self.files(), ["model.etch"])

    def test_every_source_format_runs(self):
        golden = (DATA / "models/golden/stories260K_greedy_200.txt").read_text().rstrip("\n")
        for name in ("stories260K.gguf", "stories260K.bin", "stories260K_v1.bin"):
            etch("compile", DATA / "models" / name, "-o", self.image, "--recipe", "source")
            text = etch("run", self.image, "-p", "", "-n", "200", "--greedy", "--raw",
                        "--backend", "float").stdout
            self.assertEqual(text.rstrip("\n"), golden, name)

    def test_run_is_the_same_everywhere(self):
        self.compile()
        make_adapter(self.folder / "a", 1)
        for options in ([], ["--adapter", self.folder / "a"],
                        ["--adapter", f"{self.folder / 'a'}=0.5"]):
            outputs = {
                etch("run", self.image, "-p", "Lily went", "-n", "60", "--raw", "--seed", "7",
                     *how, *options).stdout
                for how in (["--backend", "reference"], ["-t", "1"], ["-t", "2"],
                            ["--isa", "generic"])}
            self.assertEqual(len(outputs), 1, outputs)
            self.assertTrue(outputs.pop().startswith("Lily went"))

    def test_run_json_has_one_object(self):
        self.compile()
        answer = etch_json("run", self.image, "-p", "Once", "-n", "5", "--greedy")
        self.assertEqual(answer["finish_reason"], "length")
        self.assertEqual(len(answer["tokens"]), 5)
        self.assertEqual(answer["completion_tokens"], 5)

    def test_speculation_changes_nothing_but_the_counts(self):
        self.compile()
        story = "Once upon a time, there was a little girl named Lily. She had a red ball. "
        make_adapter(self.folder / "a", 1)
        accepted = 0
        for options in (["--greedy"], ["--seed", "3"], ["--seed", "4", "--temperature", "0.3"],
                        ["--greedy", "--adapter", self.folder / "a"],
                        ["--greedy", "--stop", "ball"], ["--greedy", "--context", "160"]):
            answers = [etch_json("run", self.image, "-p", 3 * story, "-n", "120", "--raw",
                                 "--speculate", how, *options) for how in ("off", "always", "auto")]
            for answer in answers[1:]:
                for field in ("text", "tokens", "finish_reason", "completion_tokens"):
                    self.assertEqual(answer[field], answers[0][field], options)
            self.assertEqual(answers[0]["drafted"], 0)
            self.assertGreaterEqual(answers[1]["drafted"], answers[1]["accepted"])
            accepted += answers[1]["accepted"]
        self.assertGreater(accepted, 20)

    def test_speculation_in_a_chat_and_its_mistakes(self):
        self.compile()
        story = "Lily had a red ball. Lily had a red ball. Lily had a red"
        texts = {subprocess.run(
            [program.ETCH, "run", self.image, "-n", "40", "--greedy", "--speculate", how],
            input=f"{story}\nTom\n{story}\n", capture_output=True, text=True, check=True).stdout
            for how in ("off", "always", "auto")}
        self.assertEqual(len(texts), 1, texts)
        self.assertIn("--speculate", etch("run", self.image, "-p", "x", "--speculate", "often",
                                          code=2).stderr)

    def test_stop_strings_end_the_answer(self):
        self.compile()
        text = etch("run", self.image, "-p", "Once upon a time", "-n", "200", "--greedy", "--raw",
                    "--stop", ". ").stdout
        self.assertNotIn(". ", text)

    def test_inspect_shows_images_and_models(self):
        self.compile()
        shown = etch_json("inspect", self.image, "--tensors")
        self.assertEqual(shown["kind"], "image")
        self.assertEqual(shown["config"]["layers"], 5)
        self.assertEqual(shown["provenance"]["source"]["files"][0]["name"], "stories260K.gguf")
        self.assertIn("bits a weight", etch("inspect", self.image, "--tensors").stdout)
        shown = etch_json("inspect", DATA / "models/stories260K.gguf", "--tensors")
        self.assertEqual(shown["kind"], "model")
        self.assertIn("GGUF", etch("inspect", DATA / "models/stories260K.gguf").stdout)

    def test_eval_tells_weights_from_arithmetic(self):
        self.compile()
        source = self.folder / "source.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", source, "--recipe", "source")
        text = ["--text", DATA / "text/tinystories_sample.txt", "--max-tokens", "2000"]
        weights = etch_json("eval", self.image, "--backend", "float", "--against", source, *text)
        arithmetic = etch_json("eval", self.image, "--against", self.image, *text)
        self.assertEqual(weights["tokens"], arithmetic["tokens"])
        self.assertLess(arithmetic["kl"], weights["kl"] / 20)
        self.assertGreater(arithmetic["top1"], weights["top1"])
        self.assertIsNone(etch_json("eval", source, "--backend", "float", *text)["kl"])

    def test_four_bit_floats_run_the_same_on_every_backend(self):
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--recipe", "w4f")
        shown = etch_json("inspect", self.image, "--tensors")
        self.assertEqual({tensor["format"] for tensor in shown["tensors"]}, {"W4F"})
        question = ["-p", "Once upon a time", "-n", "40", "--greedy", "--raw"]
        answers = {etch("run", self.image, *question, "--backend", backend).stdout
                   for backend in ("cpu", "reference")}
        self.assertEqual(len(answers), 1)
        text = ["--text", DATA / "text/tinystories_sample.txt", "--max-tokens", "1000"]
        arithmetic = etch_json("eval", self.image, "--against", self.image, *text)
        self.assertLess(arithmetic["kl"], 0.005)

    def test_standalone_is_the_model(self):
        program_file = self.folder / "stories"
        etch("compile", DATA / "models/stories260K.gguf", "-o", program_file, "--standalone")
        self.compile()
        question = ["-p", "Once", "-n", "20", "--greedy", "--raw"]
        alone = subprocess.run([program_file, "run", *question], capture_output=True, text=True)
        self.assertEqual(alone.returncode, 0, alone.stderr)
        self.assertEqual(alone.stdout, etch("run", self.image, *question).stdout)
        self.assertEqual(self.files(), ["model.etch", "stories"])

    def test_adapters_convert_and_run_the_same(self):
        self.compile()
        make_adapter(self.folder / "a", 3, "--rank", "16")
        etch("adapter", "export", self.image, self.folder / "a", "-o", self.folder / "a.gguf",
             "--to", "gguf")
        etch("adapter", "import", self.image, self.folder / "a.gguf", "-o", self.folder / "in")
        self.assertEqual(
            etch_json("adapter", "verify", self.image, self.folder / "a.gguf")["rank"], 16)
        outputs = [etch("run", self.image, "-p", "Once", "-n", "40", "--greedy", "--raw",
                        "--adapter", path).stdout
                   for path in (self.folder / "a", self.folder / "a.gguf",
                                self.folder / "in" / "a")]
        self.assertEqual(len(set(outputs)), 1)
        self.assertNotEqual(outputs[0], etch("run", self.image, "-p", "Once", "-n", "40",
                                             "--greedy", "--raw").stdout)

    def test_a_hugging_face_directory_with_a_chat_template(self):
        make_tiny_model(self.folder / "tiny")
        etch("compile", self.folder / "tiny", "-o", self.image)
        answer = etch_json("run", self.image, "-p", "Hello", "-n", "5", "--greedy")
        raw = etch_json("run", self.image, "-p", "Hello", "-n", "5", "--greedy", "--raw")
        self.assertGreater(answer["prompt_tokens"], raw["prompt_tokens"])

    def test_info_help_and_completion(self):
        self.assertIn("generic", etch_json("info")["isa"])
        for command in ("compile", "inspect", "run", "serve", "eval", "adapter", "export", "bench"):
            self.assertIn(command, etch("--help").stdout)
            self.assertIn("etch " + command, etch(command, "--help").stdout)
        script = etch("completion", "bash").stdout
        wanted = (f"{script}\nCOMP_WORDS=(etch adapter ver); COMP_CWORD=2; _etch; "
                  "echo ${COMPREPLY[@]}")
        done = subprocess.run(["bash", "-c", wanted], capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "verify", done.stderr)
        if shutil.which("zsh"):
            subprocess.run(["zsh", "-n"], input=etch("completion", "zsh").stdout, text=True,
                           check=True)


if __name__ == "__main__":
    sys.exit(unittest.main())
