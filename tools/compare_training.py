#!/usr/bin/env python3
"""Twenty steps of `etch tune` beside the same twenty steps in PyTorch.

    tools/compare_training.py --etch build/release/src/cli/etch IMAGE ROWS.jsonl [--steps 20]

The model, the rows' order, the start of the adapter, loss, gradients, clipping and AdamW are
written here once more, in PyTorch's own terms, from their papers; the base's weights come from
`etch export --type f32`. Prints both losses a step and fails when they differ by more than float
sums may.

Needs Debian's python3-torch (run it with /usr/bin/python3).
"""

import argparse
import json
import math
import mmap
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

LINEARS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
MASK = (1 << 64) - 1
MIX_STEP = 0x9E3779B97F4A7C15


def mix(value):
    """SplitMix64."""
    value = (value + MIX_STEP) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def random_at(seed, stream, index):
    return mix(mix(mix(seed) ^ stream) ^ index)


def start_of_a(seed, stream, rank, cols):
    """Uniform in ±1/sqrt(cols), 24 bits, as Etch draws it."""
    values = [(random_at(seed, stream, index) >> 40) * 2.0 ** -24 for index in range(rank * cols)]
    uniform = torch.tensor(values, dtype=torch.float32)
    bound = torch.tensor(1.0) / torch.sqrt(torch.tensor(float(cols)))
    return (bound * (2.0 * uniform - 1.0)).reshape(rank, cols)


def read_gguf(path):
    """Metadata and float32 tensors of a GGUF file (version 3)."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    at = 8

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text():
        nonlocal at
        size = take("Q")
        at += size
        return data[at - size:at].decode("utf-8", "replace")

    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
               12: "d"}

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return take(scalars[kind])

    n_tensors, n_keys = take("QQ")
    metadata = {}
    for _ in range(n_keys):
        key = text()
        metadata[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name = text()
        dims = [take("Q") for _ in range(take("I"))]
        infos.append((name, dims, take("I"), take("Q")))
    align = metadata.get("general.alignment", 32)
    base = (at + align - 1) // align * align
    tensors = {}
    for name, dims, kind, offset in infos:
        if kind != 0:
            raise SystemExit(f"{path}: {name} is not float32; export with --type f32")
        count = math.prod(dims)
        tensors[name] = torch.frombuffer(data, dtype=torch.float32, count=count,
                                         offset=base + offset).reshape(dims[::-1])
    return metadata, tensors


class Llama:
    """Llama with LoRA on every linear layer of a block, rows end to end."""

    def __init__(self, metadata, tensors, rank, alpha, start):
        """`start(stream, rank, cols)` draws A of the linear layer of that stream."""
        self.tensors = tensors
        key = lambda name: metadata["llama." + name]
        self.layers = key("block_count")
        self.heads = key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv")
        self.eps = key("attention.layer_norm_rms_epsilon")
        self.head_dim = tensors["blk.0.attn_q.weight"].shape[0] // self.heads
        theta = key("rope.freq_base")
        self.frequencies = theta ** (-torch.arange(0, self.head_dim, 2, dtype=torch.float64)
                                     / self.head_dim)
        self.scaling = alpha / rank
        self.pairs = {}
        stream = 0
        for layer in range(self.layers):
            for linear in LINEARS:
                name = f"blk.{layer}.{linear}"
                rows, cols = tensors[name + ".weight"].shape
                a = start(stream, rank, cols).requires_grad_()
                b = torch.zeros(rows, rank).requires_grad_()
                self.pairs[name] = (a, b)
                stream += 2

    def parameters(self):
        return [matrix for pair in self.pairs.values() for matrix in pair]

    def linear(self, name, x):
        a, b = self.pairs[name]
        return x @ self.tensors[name + ".weight"].T + self.scaling * (x @ a.T) @ b.T

    def norm(self, name, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.tensors[
            name + ".weight"]

    def rotate(self, x, positions):
        """Neighbouring pairs, as GGUF's llama has them."""
        angles = (positions[:, None].double() * self.frequencies[None]).float()
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)

    def logits(self, tokens):
        x = self.tensors["token_embd.weight"][tokens]
        count = len(tokens)
        positions = torch.arange(count)
        mask = torch.full((count, count), float("-inf")).triu(1)
        group = self.heads // self.kv_heads
        for layer in range(self.layers):
            name = f"blk.{layer}."
            h = self.norm(name + "attn_norm", x)
            q = self.linear(name + "attn_q", h).reshape(count, self.heads, self.head_dim)
            k = self.linear(name + "attn_k", h).reshape(count, self.kv_heads, self.head_dim)
            v = self.linear(name + "attn_v", h).reshape(count, self.kv_heads, self.head_dim)
            q, k = self.rotate(q, positions), self.rotate(k, positions)
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(self.head_dim) + mask
            out = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(count, -1)
            x = x + self.linear(name + "attn_output", out)
            h = self.norm(name + "ffn_norm", x)
            gate = torch.nn.functional.silu(self.linear(name + "ffn_gate", h))
            x = x + self.linear(name + "ffn_down", gate * self.linear(name + "ffn_up", h))
        head = self.tensors.get("output.weight", self.tensors["token_embd.weight"])
        return self.norm("output_norm", x) @ head.T

    def loss_sum(self, tokens, trained):
        tokens = torch.tensor(tokens)
        wanted = torch.tensor(trained[1:], dtype=torch.bool)
        if not wanted.any():
            return torch.zeros(())
        logits = self.logits(tokens)[:-1][wanted]
        return torch.nn.functional.cross_entropy(logits, tokens[1:][wanted], reduction="sum")


def order_of(seed, epoch, count):
    """Etch's order of an epoch (Fisher and Yates over SplitMix64, without bias)."""
    order = list(range(count))
    state = mix(seed) ^ epoch
    for left in range(count, 1, -1):
        limit = MASK - MASK % left
        while True:
            value, state = mix(state), (state + MIX_STEP) & MASK
            if value < limit:
                break
        other = value % left
        order[left - 1], order[other] = order[other], order[left - 1]
    return order


def export(etch, image, folder):
    path = Path(folder) / "base.gguf"
    subprocess.run([etch, "export", image, "-o", path, "--type", "f32"], check=True,
                   stdout=subprocess.DEVNULL)
    return read_gguf(path)


def compare(options, folder):
    shown = json.loads(subprocess.run(
        [options.etch, "tune", options.image, "--data", options.rows, "--validation", "0",
         "--check", "--json", "--preview", "1000"], check=True, capture_output=True).stdout)
    rows = shown["rows"]
    assert len(rows) == shown["samples"], "at most 1000 rows"
    out = Path(folder) / "adapter"
    subprocess.run(
        [options.etch, "tune", options.image, "--data", options.rows, "--validation", "0",
         "-o", out, "--rank", "8", "--alpha", "16", "--max-steps", str(options.steps),
         "--batch", "4", "--lr", "0.005", "--schedule", "cosine", "--warmup", "0.1",
         "--weight-decay", "0.01", "--clip", "1", "--json"],
        check=True, stdout=subprocess.DEVNULL)
    log = [json.loads(line) for line in open(str(out) + ".run/log.jsonl", encoding="utf-8")]
    etch_losses = [entry["loss"] for entry in log if "loss" in entry]

    model = Llama(*export(options.etch, options.image, folder), rank=8, alpha=16,
                  start=lambda *shape: start_of_a(1, *shape))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=0.01)
    per_epoch = (len(rows) + 3) // 4
    rising = math.ceil(0.1 * options.steps)
    worst = 0.0
    print("step    etch        torch       difference")
    for step in range(options.steps):
        order = order_of(1, step // per_epoch, len(rows))
        begin = step % per_epoch * 4
        batch = [rows[index] for index in order[begin:begin + 4]]
        targets = sum(sum(row["trained"][1:]) for row in batch)
        optimizer.zero_grad()
        loss = sum(model.loss_sum(row["tokens"], row["trained"]) for row in batch) / targets
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if step < rising:
            rate = 0.005 * (step + 1) / (rising + 1)
        else:
            through = (step - rising) / (options.steps - rising)
            rate = 0.005 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * through)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        difference = abs(loss.item() - etch_losses[step]) / loss.item()
        worst = max(worst, difference)
        print(f"{step + 1:4}  {etch_losses[step]:.7f}  {loss.item():.7f}  {difference:.1e}")
    # Sums of some hundred terms in another order, carried through twenty steps.
    limit = 2e-4
    print(f"largest relative difference {worst:.1e}, allowed {limit:.0e}")
    return 0 if worst <= limit else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--etch", default="build/release/src/cli/etch")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("image")
    parser.add_argument("rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, folder)


if __name__ == "__main__":
    sys.exit(main())
