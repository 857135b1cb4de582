"""etch tune as its users call it: real datasets, interruptions, processes, bad input."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import unittest

from program import DATA, ETCH, SOURCE, WORK, Case, etch, etch_json, make_adapter, need_data

MODEL = "models/stories260K.gguf"
SETS = ["instruct/llamafactory/identity.json", "instruct/wikisql_mlx/train.jsonl",
        "eval/gsm8k_train.jsonl", "instruct/llamafactory/alpaca_en_demo.json"]
IMAGE = WORK / "tune-stories260k.etch"


def setUpModule():
    need_data(MODEL)
    if not IMAGE.exists():
        etch("compile", DATA / MODEL, "-o", IMAGE)


def weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def rows(path, count=40):
    with open(path, "w", encoding="utf-8") as out:
        for index in range(count):
            row = {"prompt": f"Once upon a time, child {index} said:",
                   "completion": f" I have {index % 7} red balls."}
            out.write(json.dumps(row) + "\n")
    return path


class Runs(Case):
    def setUp(self):
        super().setUp()
        self.data = rows(self.folder / "rows.jsonl")
        self.out = self.folder / "adapter"
        self.settings = [IMAGE, "--data", self.data, "--rank", 4, "--max-steps", 12, "--batch", 4,
                         "--lr", "0.01", "--save-every", 2, "--validate-every", 4, "--dropout",
                         "0.1", "--score-rows", 2]

    def tune(self, *options, out=None, **keywords):
        return etch_json("tune", *self.settings, "-o", out or self.out, *options, **keywords)

    def test_a_run_leaves_an_adapter_a_log_and_a_report(self):
        result = self.tune()
        self.assertEqual(result["steps"], 12)
        self.assertLess(result["nll_adapter"], result["nll_base"])
        self.assertEqual(result["held_out"], 2)
        log = [json.loads(line) for line in
               (self.folder / "adapter.run/log.jsonl").read_text().splitlines()]
        steps = [entry for entry in log if "loss" in entry]
        self.assertEqual([entry["step"] for entry in steps], list(range(1, 13)))
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])
        self.assertEqual([entry["step"] for entry in log if "validation_loss" in entry],
                         [4, 8, 12])
        page = (self.folder / "adapter.run/report.html").read_text()
        self.assertIn("<svg", page)
        self.assertNotIn("src=", page)  # nothing is loaded from elsewhere
        self.assertNotIn("http", page.split("</style>")[1].split("<table>")[0])
        etch("adapter", "verify", IMAGE, self.out)
        plain = etch("run", IMAGE, "--raw", "-p", "Once", "-n", 16, "--greedy").stdout
        adapted = etch("run", IMAGE, "--raw", "-p", "Once", "-n", 16, "--greedy",
                       "--adapter", self.out).stdout
        self.assertNotEqual(plain, adapted)

    def test_threads_and_recomputing_do_not_change_a_bit(self):
        self.tune("--threads", 1)
        self.tune("--threads", 3, "--recompute", "on", "--pass-tokens", 4096,
                  out=self.folder / "other")
        self.assertEqual(weights(self.out), weights(self.folder / "other"))

    def test_two_processes_give_the_bits_of_one(self):
        mpirun = shutil.which("mpirun")
        if mpirun is None:
            if os.environ.get("CI"):
                raise AssertionError("mpirun is missing")
            raise unittest.SkipTest("*** SKIPPED, no mpirun ***")
        small = ["--pass-tokens", 40, "--threads", 1]  # several passes a step
        self.tune(*small)
        other = self.folder / "other"
        done = subprocess.run(
            [mpirun, "--allow-run-as-root", "--oversubscribe", "-n", "2", ETCH, "tune",
             *map(str, self.settings), "-o", str(other), *map(str, small), "--json"],
            capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["steps"], 12)  # one process speaks
        self.assertEqual(weights(self.out), weights(other))

    def test_killed_at_ten_random_moments_it_ends_with_the_same_bits(self):
        started = time.monotonic()
        self.tune()
        took = time.monotonic() - started
        chance = random.Random(7)
        other = self.folder / "killed"
        kills = 0
        for _ in range(10):
            process = subprocess.Popen(
                [ETCH, "tune", *map(str, self.settings), "-o", str(other), "--resume", "--json"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                process.wait(chance.uniform(0.05, 0.8) * took)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            process.communicate()
            self.assertIn(process.returncode, (0, -signal.SIGKILL))
        self.assertGreater(kills, 0)
        self.tune("--resume", out=other)
        self.assertEqual(weights(self.out), weights(other))
        log = [json.loads(line) for line in
               (self.folder / "killed.run/log.jsonl").read_text().splitlines()]
        self.assertEqual([entry["step"] for entry in log if "loss" in entry],
                         list(range(1, 13)))
        leftovers = [name for name in os.listdir(self.folder) if ".tmp" in name]
        self.assertEqual(leftovers, [])

    def test_ctrl_c_saves_and_says_how_to_go_on(self):
        process = subprocess.Popen(
            [ETCH, "tune", str(IMAGE), "--data", str(self.data), "-o", str(self.out),
             "--max-steps", "100000", "--save-every", "100000", "--validate-every", "100000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        log = self.folder / "adapter.run/log.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if log.exists() and log.read_text().count("\n") > 2:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)
        self.assertRegex(errors, r"interrupted behind step \d+ of 100000; --resume continues")
        self.assertTrue((self.folder / "adapter.run/checkpoint.safetensors").exists())
        self.assertFalse(self.out.exists())

    def test_an_earlier_run_is_not_lost_by_accident(self):
        self.tune()
        message = self.error("tune", *self.settings, "-o", self.out, "--json")
        self.assertIn("--resume continues it", message)
        message = self.error("tune", *self.settings, "-o", self.out, "--seed", 2, "--resume",
                             "--json")
        self.assertIn("other data or settings", message)
        self.tune("--restart")


class Datasets(Case):
    def test_published_sets_load_without_configuration_and_the_loss_falls(self):
        need_data(*SETS)
        for path in SETS:
            with self.subTest(path):
                out = self.folder / "adapter"
                options = ["--data", DATA / path, "--long-rows", "skip"]
                shown = etch("tune", IMAGE, *options, "--check", "--preview", 1).stdout
                self.assertRegex(shown, r"data +\S+: ")
                self.assertIn("⟦", shown)
                # This model has no template: chats are written in the plain one, which goes with
                # the adapter; prompts and completions stand as they are.
                is_plain = "plain-template" in shown
                self.assertEqual(is_plain, "llamafactory" in path)
                result = etch_json("tune", IMAGE, *options, "-o", out, "--max-steps", 12,
                                   "--batch", 8, "--lr", "0.01", "--validate-every", 12,
                                   "--score-rows", 0, "--restart")
                log = [json.loads(line) for line in
                       (self.folder / "adapter.run/log.jsonl").read_text().splitlines()]
                losses = [entry["loss"] for entry in log if "loss" in entry]
                self.assertLess(sum(losses[-4:]), sum(losses[:4]), losses)
                self.assertEqual(result["steps"], 12)
                self.assertEqual((out / "chat_template.jinja").exists(), is_plain)


class BadInput(Case):
    def refused(self, *options, words=()):
        before = self.files()
        message = self.error("tune", IMAGE, *options, "-o", self.folder / "out", "--json")
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(self.files(), before)

    def file(self, content, name="rows.jsonl"):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_files(self):
        self.refused("--data", self.file(b""), words=["rows.jsonl", "empty"])
        self.refused("--data", self.file(b"\x7fELF\x00\x00\x01" * 50), words=["rows.jsonl"])
        self.refused("--data", self.file(b'{"a": 1}\n' * 30), words=["rows.jsonl", "a"])
        self.refused("--data", self.folder / "none.jsonl", words=["none.jsonl"])
        good = b'{"prompt": "a b c", "completion": " d"}\n'
        self.refused("--data", self.file(good * 4711 + b'{"prompt": "a", \n' + good * 5288),
                     words=["rows.jsonl:4712"])
        self.refused("--data", self.file(good * 10 + b'{"prompt": "\xff", "completion": "x"}\n'),
                     words=["rows.jsonl:11", "UTF-8"])

    def test_rows_longer_than_the_context_are_said(self):
        long = json.dumps({"prompt": "a", "completion": " word" * 2000}).encode() + b"\n"
        good = b'{"prompt": "a b c", "completion": " d"}\n'
        data = self.file(good * 30 + long)
        done = etch("tune", IMAGE, "--data", data, "-o", self.folder / "out", code=1)
        self.assertIn("over-long-row", done.stdout)
        self.assertIn("31", done.stdout)
        self.assertNotIn("out", self.files())
        done = etch("tune", IMAGE, "--data", data, "--long-rows", "skip", "--check")
        self.assertIn("over-long-row", done.stdout)

    def test_settings(self):
        data = rows(self.folder / "rows.jsonl")
        self.refused("--data", data, "--rank", 0, words=["rank 0 is not in 1 to"])
        self.refused("--data", data, "--rank", 999, words=["rank 999 is not in 1 to"])
        self.refused("--data", data, "--targets", "x_proj", words=["x_proj"])
        self.refused("--data", data, "--schema", "chatml", words=["chatml"])
        self.refused("--data", data, "--length", 100000, words=["context"])
        self.refused("--data", data, "--schedule", "cosin", words=["cosin"])

    def test_what_does_not_fit_is_refused_before_a_run_is_touched(self):
        data = rows(self.folder / "rows.jsonl")
        config = {"model": {"model_type": "llama", "hidden_size": 16384, "intermediate_size": 28672,
                            "num_hidden_layers": 200, "num_attention_heads": 128,
                            "num_key_value_heads": 128, "max_position_embeddings": 256,
                            "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                            "tie_word_embeddings": True, "vocab_size": 300},
                  "tokenizer": {"control_tokens": ["<|end|>"], "eos_token": "<|end|>"},
                  "training": {"tokens": 10000, "batch_tokens": 512, "length": 64,
                               "learning_rate": 0.001}}
        (self.folder / "config.json").write_text(json.dumps(config))
        before = self.files()
        message = self.error("tune", "--from-scratch", self.folder / "config.json", "--data", data,
                             "-o", self.folder / "out", "--json")
        self.assertRegex(message, r"the run needs about .*, .* are free")
        self.assertEqual(self.files(), before)

    def test_an_adapter_of_another_base(self):
        data = rows(self.folder / "rows.jsonl")
        options = ["--data", data, "--max-steps", 2, "--score-rows", 0, "--json", "-o",
                   self.folder / "out"]
        etch("tune", IMAGE, *options)
        other = self.folder / "other.etch"
        etch("compile", "--synthetic", "stories260k", "-o", other)
        # A run over another base is no continuation of this one, whatever its shape.
        message = self.error("tune", other, *options, "--resume")
        self.assertIn("other data or settings", message)

    def test_a_full_disk(self):
        # A file size limit stands for the disk: the write fails part of the way.
        data = rows(self.folder / "rows.jsonl")
        command = f"ulimit -f 8; exec '{ETCH}' tune '{IMAGE}' --data '{data}' -o " \
                  f"'{self.folder}/out' --rank 16 --max-steps 4 --json"
        done = subprocess.run(["bash", "-c", f"trap '' XFSZ; {command}"], capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"etch: .*safetensors: cannot write")
        self.assertNotIn("out", self.files())
        self.assertEqual([name for name in os.listdir(self.folder / "out.run")
                          if "tmp" in name or name.endswith(".safetensors")], [])


class FromScratch(Case):
    def test_a_base_of_its_own(self):
        config = {
            "model": {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                      "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                      "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
                      "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                      "tie_word_embeddings": True, "vocab_size": 320},
            "tokenizer": {"control_tokens": ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>",
                                             "<|system|>"],
                          "bos_token": "<|bos|>", "eos_token": "<|end|>",
                          "chat_template": "template.jinja"},
            "training": {"tokens": 20000, "batch_tokens": 1024, "length": 64,
                         "learning_rate": 0.01, "warmup_steps": 3}}
        shutil.copy(SOURCE / "examples/bundled/chat_template.jinja",
                    self.folder / "template.jinja")
        (self.folder / "base.json").write_text(json.dumps(config))
        with open(self.folder / "chat.jsonl", "w", encoding="utf-8") as out:
            for index in range(400):
                out.write(json.dumps({"messages": [
                    {"role": "user", "content": f"Say {index % 9} please."},
                    {"role": "assistant", "content": f"Here is {index % 9}."}]}) + "\n")
        result = etch_json("tune", "--from-scratch", self.folder / "base.json", "--data",
                           self.folder / "chat.jsonl", "-o", self.folder / "base")
        self.assertEqual(result["steps"], 19)
        self.assertLess(result["train_loss"], 4.0)
        etch("compile", self.folder / "base", "-o", self.folder / "base.etch")
        text = etch("run", self.folder / "base.etch", "-p", "Say 3 please.", "-n", 12,
                    "--greedy").stdout
        self.assertTrue(text.strip())
        again = etch_json("tune", "--from-scratch", self.folder / "base.json", "--data",
                          self.folder / "chat.jsonl", "-o", self.folder / "again")
        self.assertEqual(result["train_loss"], again["train_loss"])
        self.assertEqual((self.folder / "base/model.safetensors").read_bytes(),
                         (self.folder / "again/model.safetensors").read_bytes())
        config["training"]["steps"] = 5
        (self.folder / "base.json").write_text(json.dumps(config))
        self.assertIn("training.steps: is unknown",
                      self.error("tune", "--from-scratch", self.folder / "base.json", "--data",
                                 self.folder / "chat.jsonl", "-o", self.folder / "x", "--json"))


if __name__ == "__main__":
    unittest.main()
