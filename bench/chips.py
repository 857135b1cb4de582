#!/usr/bin/env python3
"""Chips in simulation: builds, verifies and times them, and appends a row each to a CSV.

    bench/chips.py --etch build/release/src/cli/etch --csv bench/results/chips-MACHINE.csv

stories260K with three numbers of lanes and two contexts, with and without adapters; the bundled
base; with --layer also one full layer of the Llama 3.1 8B shape. Every chip must equal the engine
and its plan, or the run ends there. Simulations run on one core.
"""

import argparse
import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ETCH_DATA", ROOT.parent / "shared/data"))
COLUMNS = ["date", "machine", "model", "lanes", "context", "adapters", "build_s", "tokens",
           "positions", "cycles_per_token", "planned_cycles_per_token", "first_token_cycles",
           "tokens_per_s_at_1_ghz", "simulated_tokens_per_s"]


def machine():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def measure(options, folder, image, lanes, tokens, *more, adapters=()):
    command = [options.etch, "rtl", image, "-o", folder / "chip", "--lanes", str(lanes),
               "--verify", "--tokens", str(tokens), "--json", *more]
    for adapter in adapters:
        command += ["--adapter", adapter]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"chips: {done.stderr or done.stdout}")
    report = json.loads(done.stdout)
    choices = json.loads((folder / "chip/chip.json").read_text(encoding="utf-8"))
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
            "machine": machine(), "lanes": lanes, "context": choices["context"],
            "adapters": len(adapters), "build_s": round(report["build_s"], 1),
            "tokens": report["tokens"], "positions": report["positions"],
            "cycles_per_token": round(report["cycles_per_token"], 1),
            "planned_cycles_per_token": round(report["planned_cycles_per_token"], 1),
            "first_token_cycles": report["first_token_cycles"],
            "tokens_per_s_at_1_ghz": round(1e9 / report["cycles_per_token"]),
            "simulated_tokens_per_s": round(report["tokens_per_s"], 2)}


def rows(options, folder):
    def compile_image(name, *source):
        image = folder / name
        subprocess.run([options.etch, "compile", *source, "-o", image, "-q"], check=True)
        return image

    stories = compile_image("stories260k.etch", DATA / "models/stories260K.gguf")
    adapter = folder / "adapter"
    subprocess.run([sys.executable, ROOT / "tools/make_adapter.py", "--out", adapter, "--shape",
                    "stories260k", "--seed", "1", "--rank", "8"], check=True, capture_output=True)
    prompt = ["-p", "Once upon a time"]
    for lanes in (16, 64, 256):
        for context in (64, 512):
            yield "stories260k", measure(options, folder, stories, lanes, 50, "--context",
                                         str(context), *prompt)
    yield "stories260k", measure(options, folder, stories, 64, 100, *prompt, adapters=[adapter])
    bundled = ROOT / "examples/bundled"
    base = compile_image("bundled.etch", bundled / "base")
    yield "bundled", measure(options, folder, base, 256, 40, "-p", "When do you open?")
    yield "bundled", measure(options, folder, base, 256, 40, "-p", "When do you open?",
                             adapters=[bundled / "adapters/honeyoak"])
    if options.layer:
        layer = compile_image("layer.etch", "--synthetic", "llama-3.1-8b-layer")
        yield "llama-3.1-8b-layer", measure(options, folder, layer, 512, 1, "--context", "32",
                                            "--adapter-rank", "0", "--adapter-slots", "0", "-p",
                                            "A")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--etch", default=ROOT / "build/release/src/cli/etch")
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--layer", action="store_true", help="also a layer of 218 million weights")
    options = parser.parse_args()
    is_new = not options.csv.exists()
    with tempfile.TemporaryDirectory() as name, open(options.csv, "a", encoding="utf-8",
                                                     newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for model, row in rows(options, Path(name)):
            writer.writerow({"model": model, **row})
            out.flush()
            print(f"{model}: {row['lanes']} lanes, context {row['context']}, {row['adapters']} "
                  f"adapters: {row['cycles_per_token']} cycles a token as planned, "
                  f"{row['simulated_tokens_per_s']} tokens/s simulated, built in "
                  f"{row['build_s']} s", flush=True)


if __name__ == "__main__":
    main()
