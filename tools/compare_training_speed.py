#!/usr/bin/env python3
"""Steps of `etch tune` beside the same steps in PyTorch, timed in turns in one run.

    tools/compare_training_speed.py --etch build/release/src/cli/etch [--shape llama-3.2-1b]

A synthetic base of the shape, an adapter of rank 16 on all seven linear layers, one row of 512
tokens a step, every token trained, the same number of threads. Etch reads its packed base and
unpacks it a layer at a time; PyTorch has the same weights in float32 in memory. Prints every step
and the ratio of the medians; fails when PyTorch is faster.

Needs Debian's python3-torch (run it with /usr/bin/python3), and 15 GB of memory for the 1B shape.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from compare_training import Llama, export

RANK = 16
LENGTH = 512


def first_rows(etch, image, rows):
    """Tokens of the rows, as Etch reads them."""
    shown = json.loads(subprocess.run(
        [etch, "tune", image, "--data", rows, "--validation", "0", "--check", "--json",
         "--train-on", "all", "--length", str(LENGTH), "--preview", "1000"],
        check=True, capture_output=True).stdout)
    return shown["rows"]


def etch_steps(options, image, rows, out):
    subprocess.run(
        [options.etch, "tune", image, "--data", rows, "--validation", "0", "--train-on", "all",
         "--length", str(LENGTH), "-o", out, "--rank", str(RANK), "--max-steps",
         str(options.steps), "--batch", "1", "--recompute", "off", "--threads",
         str(options.threads), "--restart", "--json"], check=True, stdout=subprocess.DEVNULL)
    log = [json.loads(line) for line in open(str(out) + ".run/log.jsonl", encoding="utf-8")]
    return [(entry["seconds"], entry["tokens"]) for entry in log if "loss" in entry]


def torch_steps(options, model, optimizer, rows):
    steps = []
    for step in range(options.steps):
        row = rows[step % len(rows)]
        begin = time.monotonic()
        optimizer.zero_grad()
        loss = model.loss_sum(row["tokens"], row["trained"]) / sum(row["trained"][1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps.append((time.monotonic() - begin, len(row["tokens"])))
    return steps


def compare(options, folder):
    image = Path(folder) / "base.etch"
    subprocess.run([options.etch, "compile", "--synthetic", options.shape, "-o", image, "-q"],
                   check=True)
    rows_path = Path(folder) / "rows.jsonl"
    with open(rows_path, "w", encoding="utf-8") as out:
        for index in range(16):
            text = " ".join(f"{index} and {number}" for number in range(1000))
            out.write(json.dumps({"text": text}) + "\n")
    rows = [row for row in first_rows(options.etch, image, rows_path)
            if len(row["tokens"]) == LENGTH]
    torch.set_num_threads(options.threads)
    model = Llama(*export(options.etch, image, folder), rank=RANK, alpha=32,
                  start=lambda _, rank, cols: (2 * torch.rand(rank, cols) - 1) / cols ** 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    times = {"etch": [], "torch": []}
    for turn in range(options.turns):
        for name, run in [
                ("etch", lambda: etch_steps(options, image, rows_path, Path(folder) / "adapter")),
                ("torch", lambda: torch_steps(options, model, optimizer, rows))]:
            for seconds, tokens in run():
                times[name].append(seconds / tokens)
                print(f"turn {turn + 1}  {name:5}  {seconds:6.2f} s, {tokens / seconds:.1f} "
                      "tokens/s", flush=True)
    ratio = statistics.median(times["torch"]) / statistics.median(times["etch"])
    print(f"{options.shape}, rank {RANK}, {LENGTH} tokens a step, {options.threads} threads: "
          f"etch {1 / statistics.median(times['etch']):.1f} tokens/s, "
          f"PyTorch {torch.__version__} {1 / statistics.median(times['torch']):.1f} tokens/s; "
          f"etch is {ratio:.2f} times as fast")
    return 0 if ratio >= 1.0 else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--etch", default="build/release/src/cli/etch")
    parser.add_argument("--shape", default="llama-3.2-1b")
    parser.add_argument("--steps", type=int, default=2, help="a turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, folder)


if __name__ == "__main__":
    sys.exit(main())
