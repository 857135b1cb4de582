"""One program for every x86-64: what it chooses on older processors, and that it runs there.

QEMU's user mode runs the very program that was built, on processors that this machine is not: an
instruction that the chosen one lacks ends it with SIGILL."""

import json
import os
import platform
import shutil
import subprocess
import sys
import unittest

from program import ETCH, Case, etch, make_tiny_model

QEMU = "qemu-x86_64"
# QEMU's names: AVX2 but no AVX-512; nothing that is not in every x86-64 (and SSE3).
PROCESSORS = {"Haswell": ["avx2", "generic"], "qemu64": ["generic"]}


def need_qemu():
    """Skips with a loud line when QEMU is missing; fails in CI."""
    if platform.machine() != "x86_64":
        raise unittest.SkipTest("not an x86-64")
    if shutil.which(QEMU):
        return
    if os.environ.get("CI"):
        raise AssertionError(f"{QEMU} missing (tools/setup_debian.sh installs it)")
    print(f"*** SKIPPED, {QEMU} missing (tools/setup_debian.sh installs it) ***", file=sys.stderr)
    raise unittest.SkipTest(f"{QEMU} missing")


def on(processor, *arguments):
    """Runs the program on another processor."""
    # QEMU says on standard error which features of the processor it does not emulate.
    return subprocess.run([QEMU, "-cpu", processor, ETCH, *map(str, arguments)],
                          capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


class Processors(Case):
    def setUp(self):
        need_qemu()
        super().setUp()

    def test_the_best_set_is_chosen(self):
        for processor, sets in PROCESSORS.items():
            done = on(processor, "info", "--json")
            self.assertEqual(done.returncode, 0, f"{processor}: {done.stderr}")
            self.assertEqual(json.loads(done.stdout)["isa"], sets, processor)

    def test_a_model_runs_and_says_the_same(self):
        make_tiny_model(self.folder / "tiny")
        image = self.folder / "tiny.etch"
        etch("compile", self.folder / "tiny", "-o", image)
        run = ["run", image, "-p", "Once upon a time", "-n", "8", "--raw", "--seed", "5", "-t", "2"]
        expected = etch(*run).stdout
        for processor, sets in PROCESSORS.items():
            for options in ([], *(["--isa", name] for name in sets)):
                done = on(processor, *run, *options)
                self.assertEqual(done.returncode, 0, f"{processor} {options}: {done.stderr}")
                self.assertEqual(done.stdout, expected, f"{processor} {options}")

    def test_a_set_that_the_processor_lacks_is_refused(self):
        make_tiny_model(self.folder / "tiny")
        image = self.folder / "tiny.etch"
        etch("compile", self.folder / "tiny", "-o", image)
        done = on("qemu64", "run", image, "-p", "a", "-n", "1", "--isa", "avx2")
        self.assertEqual(done.returncode, 1)
        self.assertIn('no instruction set "avx2" here; there are generic', done.stderr)

    def test_an_instruction_too_new_is_caught(self):
        """The emulation itself: AVX2 on a processor without it must not pass."""
        compiler = shutil.which("c++") or shutil.which("g++")
        if compiler is None:
            self.skipTest("no compiler")
        source = self.folder / "new.cc"
        source.write_text("int main() { asm volatile(\"vpaddd %ymm0, %ymm0, %ymm0\"); }\n")
        program = self.folder / "new"
        subprocess.run([compiler, source, "-o", program], check=True)
        for processor, code in (("Haswell", 0), ("qemu64", -4)):
            done = subprocess.run([QEMU, "-cpu", processor, program], capture_output=True,
                                  timeout=60)
            self.assertEqual(done.returncode, code, processor)


if __name__ == "__main__":
    unittest.main()
