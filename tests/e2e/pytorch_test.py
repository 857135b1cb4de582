"""Training beside PyTorch: needs Debian's python3-torch, and runs under `./check --all`."""

import json
import os
import subprocess
import unittest

from program import DATA, ETCH, SOURCE, Case, etch, need_data

PYTHON = "/usr/bin/python3"  # the one that Debian's packages are for


class PyTorch(Case):
    def test_twenty_steps_agree(self):
        need_data("models/stories260K.gguf")
        if subprocess.run([PYTHON, "-c", "import torch"], capture_output=True).returncode != 0:
            if os.environ.get("CI"):
                raise AssertionError("python3-torch is missing")
            raise unittest.SkipTest("*** SKIPPED, no python3-torch ***")
        image = self.folder / "model.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", image)
        rows = self.folder / "rows.jsonl"
        with open(rows, "w", encoding="utf-8") as out:
            for index in range(40):
                out.write(json.dumps({"prompt": f"Once upon a time, child {index} said:",
                                      "completion": f" I have {index % 7} balls."}) + "\n")
        done = subprocess.run([PYTHON, SOURCE / "tools/compare_training.py", "--etch", ETCH,
                               image, rows], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        print(done.stdout)


if __name__ == "__main__":
    unittest.main()
