"""Bad input: each gives one clear error and exit 1, and leaves nothing behind."""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

from program import (DATA, ETCH, Case, etch, make_adapter, make_tiny_model, mount_small,
                     need_data)


def read_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + size]), raw[8 + size:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Faults(Case):
    def setUp(self):
        need_data("models/stories260K.gguf", "robustness/ollama_test.gguf")
        super().setUp()
        self.out = self.folder / "x.etch"

    def refused(self, source, *words):
        before = self.files()
        message = self.error("compile", source, "-o", self.out)
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(self.files(), before)
        return message

    def test_broken_gguf(self):
        self.refused(DATA / "robustness/ollama_test.gguf")
        whole = (DATA / "models/stories260K.gguf").read_bytes()
        path = self.folder / "broken.gguf"
        for size in (0, 3, 20, 1000, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            self.refused(path, "broken.gguf")
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
        self.refused(path, "broken.gguf")

    def test_unknown_architecture(self):
        path = self.folder / "other.gguf"
        whole = (DATA / "models/stories260K.gguf").read_bytes()
        key = b"general.architecture" + struct.pack("<IQ", 8, 5)
        self.assertIn(key + b"llama", whole)
        path.write_bytes(whole.replace(key + b"llama", key + b"mamba"))
        self.refused(path, "mamba")

    def test_broken_hugging_face_directories(self):
        make_tiny_model(self.folder / "tiny")
        weights = self.folder / "tiny/model.safetensors"
        header, data = read_safetensors(weights)
        name = "model.layers.1.mlp.up_proj.weight"
        entry = header[name]

        def broken(change, *words):
            changed = json.loads(json.dumps(header))
            changed_data = bytearray(data)
            change(changed, changed_data)
            write_safetensors(weights, changed, bytes(changed_data))
            self.refused(self.folder / "tiny", *words)

        begin = entry["data_offsets"][0]
        broken(lambda head, _: head.update({"other": head.pop(name)}), "up_proj")
        broken(lambda head, _: head[name].update(shape=entry["shape"][::-1]), "up_proj")
        broken(lambda head, _: head[name].update(dtype="F13"), "F13")
        broken(lambda head, _: head[name].update(data_offsets=[begin, begin + 4]))
        broken(lambda head, _: head[name].update(data_offsets=[1 << 62, (1 << 62) + 8]))
        broken(lambda _, raw: raw.extend(b"1234"))
        broken(lambda _, raw: raw.__delitem__(slice(len(raw) - 4, None)))
        nan = struct.pack("<f", float("nan"))
        broken(lambda _, raw: raw.__setitem__(slice(begin, begin + 4), nan), "up_proj")
        write_safetensors(weights, header, data)
        config = self.folder / "tiny/config.json"
        fields = json.loads(config.read_text())
        config.write_text(json.dumps({**fields, "architectures": ["MambaForCausalLM"],
                                      "model_type": "mamba"}))
        self.refused(self.folder / "tiny", "amba")
        config.write_text("{")
        self.refused(self.folder / "tiny", "config.json")

    def test_missing_files_and_wrong_usage(self):
        self.refused(self.folder / "nothing.gguf", "nothing.gguf")
        self.error("run", self.folder / "nothing.etch", "-p", "x")
        etch("compile", code=2)
        etch("frobnicate", code=2)
        etch("run", code=2)
        etch("compile", "--synthetic", "gpt-9", "-o", self.out, code=1)
        self.assertEqual(self.files(), [])

    def test_full_disk(self):
        small = mount_small(self, self.folder / "small", "64k")
        message = self.error("compile", DATA / "models/stories260K.gguf", "-o", small / "x.etch")
        self.assertIn("No space left", message)
        self.assertEqual(list(small.iterdir()), [])

    def test_interrupted_compile(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                [ETCH, "compile", "--synthetic", "llama-3.2-3b", "-o", self.out],
                stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, stderr)
            self.assertEqual(self.files(), [])

    def test_flipped_bits_are_found_and_named(self):
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.out)
        whole = bytearray(self.out.read_bytes())
        sections = json.loads(
            etch("inspect", self.out, "--tensors", "--json").stdout)
        self.assertTrue(sections)
        listing = etch("inspect", self.out, "--tensors").stdout.split("section", 1)[1]
        count = 0
        for line in listing.splitlines()[1:]:
            fields = line.split()
            if len(fields) != 4 or int(fields[2]) == 0:
                continue
            name, offset, size = fields[0], int(fields[1]), int(fields[2])
            at = offset + size // 2
            whole[at] ^= 0x10
            self.out.write_bytes(whole)
            self.assertIn(name, self.error("run", self.out, "-p", "x", "-n", "1"))
            whole[at] ^= 0x10
            count += 1
        self.assertGreater(count, 8)
        self.out.write_bytes(whole[:-1])
        self.error("run", self.out, "-p", "x", "-n", "1")

    def test_adapters_that_do_not_fit(self):
        need_data("lora/smollm135m-medical-100ep", "lora/qwen2.5-3b-law-r4",
                  "lora/mlx-qwen2.5-0.5b-r8")
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.out)

        def refused(path, *words):
            message = self.error("adapter", "verify", self.out, path)
            for word in words:
                self.assertIn(word, message)

        refused(DATA / "lora/smollm135m-medical-100ep", "layers.0.self_attn.q_proj.lora_A")
        refused(DATA / "lora/qwen2.5-3b-law-r4", "q_proj")
        refused(DATA / "lora/mlx-qwen2.5-0.5b-r8", "MLX")
        make_adapter(self.folder / "a", 1)
        config = self.folder / "a/adapter_config.json"
        fields = json.loads(config.read_text())
        for change, word in (({"use_dora": True}, "DoRA"),
                             ({"modules_to_save": ["lm_head"]}, "modules_to_save")):
            config.write_text(json.dumps({**fields, **change}))
            refused(self.folder / "a", word)
        config.write_text(json.dumps(fields))
        shutil.move(self.folder / "a/adapter_model.safetensors",
                    self.folder / "a/adapter_model.bin")
        refused(self.folder / "a", "pickle")

    def test_prompts_longer_than_the_context(self):
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.out)
        self.assertIn("context", self.error("run", self.out, "-p", "word " * 3000, "--raw"))
        self.assertIn("context", self.error("run", self.out, "-p", "x", "-c", "2049"))


if __name__ == "__main__":
    sys.exit(unittest.main())
