#!/usr/bin/env python3
"""Writes a LoRA adapter with random weights as a PEFT directory.

Tests and the demo need adapters that fit a model and change its text visibly. This makes one out of
a seed, with the standard library only:

    tools/make_adapter.py --out build/pirate --shape stories260k --seed 1
    tools/make_adapter.py --out build/poet --shape stories260k --rank 8 --modules q_proj,v_proj
    tools/make_adapter.py --out build/tiny-a --model build/tiny
    tools/make_adapter.py --out build/x --shape dim=64,ffn_dim=172,n_layers=5,n_heads=8,n_kv_heads=4

--scale is how large an adapted layer's change is beside its own output, for weights of the usual
size (standard deviation 1/sqrt(inputs)) and an input of any size. The same arguments give the same
bytes: random numbers are sums of integers from Python's Mersenne Twister, and the only inexact
operations are those that IEEE 754 rounds in one way (no sine, no logarithm).
"""

import argparse
import array
import json
import math
import pathlib
import random
import struct
import sys

SHAPES = {
    "stories260k": {"dim": 64, "ffn_dim": 172, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4},
    "smollm-135m": {"dim": 576, "ffn_dim": 1536, "n_layers": 30, "n_heads": 9, "n_kv_heads": 3},
    "llama-3.2-1b": {"dim": 2048, "ffn_dim": 8192, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8},
    "llama-3.2-3b": {"dim": 3072, "ffn_dim": 8192, "n_layers": 28, "n_heads": 24, "n_kv_heads": 8},
    "llama-3.1-8b": {"dim": 4096, "ffn_dim": 14336, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8},
}
FIELDS = ["dim", "ffn_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim"]
CONFIG_FIELDS = {"dim": "hidden_size", "ffn_dim": "intermediate_size",
                 "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
                 "n_kv_heads": "num_key_value_heads", "head_dim": "head_dim"}
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
# A sum of four 16-bit integers, its mean taken off, has this standard deviation.
SUM_DEVIATION = math.sqrt(4 * (65536 ** 2 - 1) / 12)


def parse_shape(text):
    """A preset's name, or `field=number` pairs."""
    if text in SHAPES:
        shape = dict(SHAPES[text])
    else:
        shape = {}
        for part in text.split(","):
            field, equals, number = part.partition("=")
            if field not in FIELDS or not equals or not number.isdigit() or int(number) == 0:
                raise SystemExit(f"make_adapter: shape \"{text}\" is neither one of "
                                 f"{', '.join(SHAPES)} nor {'=N,'.join(FIELDS)}=N")
            shape[field] = int(number)
    return complete(shape, f"shape \"{text}\"")


def read_shape(folder):
    """The shape that the config.json of a Hugging Face directory states."""
    path = pathlib.Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"make_adapter: {path}: {error}") from error
    shape = {field: config[name] for field, name in CONFIG_FIELDS.items() if config.get(name)}
    return complete(shape, str(path))


def complete(shape, what):
    shape.setdefault("n_kv_heads", shape.get("n_heads", 0))
    if "n_heads" in shape and "dim" in shape:
        shape.setdefault("head_dim", shape["dim"] // shape["n_heads"])
    missing = [field for field in FIELDS if not shape.get(field)]
    if missing:
        raise SystemExit(f"make_adapter: {what} lacks {', '.join(missing)}")
    return shape


def module_shape(shape, module):
    """(rows, columns) of a linear layer: outputs, inputs."""
    queries = shape["n_heads"] * shape["head_dim"]
    keys = shape["n_kv_heads"] * shape["head_dim"]
    return {"self_attn.q_proj": (queries, shape["dim"]),
            "self_attn.k_proj": (keys, shape["dim"]),
            "self_attn.v_proj": (keys, shape["dim"]),
            "self_attn.o_proj": (shape["dim"], queries),
            "mlp.gate_proj": (shape["ffn_dim"], shape["dim"]),
            "mlp.up_proj": (shape["ffn_dim"], shape["dim"]),
            "mlp.down_proj": (shape["dim"], shape["ffn_dim"])}[module]


def choose_modules(text):
    if text == "all-linear":
        return MODULES
    wanted = text.split(",")
    known = {module.split(".")[1]: module for module in MODULES}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"make_adapter: no module \"{name}\"; there are {', '.join(known)}")
    return [module for module in MODULES if module.split(".")[1] in wanted]


def random_values(source, count, deviation):
    factor = deviation / SUM_DEVIATION
    values = array.array("f")
    for _ in range(count):
        bits = source.getrandbits(64)
        total = (bits & 65535) + (bits >> 16 & 65535) + (bits >> 32 & 65535) + (bits >> 48)
        values.append((total - 2 * 65535) * factor)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def make_tensors(shape, modules, rank, scaling, scale, seed):
    """Names, shapes and bytes. Var(s·B·A·x) = s²·rank·b²·a²·cols·Var(x); the base's output has
    Var(x), so a = 1/sqrt(cols) and b = scale / (s·sqrt(rank))."""
    source = random.Random(seed)
    tensors = []
    for layer in range(shape["n_layers"]):
        for module in modules:
            rows, cols = module_shape(shape, module)
            name = f"base_model.model.model.layers.{layer}.{module}.lora_"
            tensors.append((name + "A.weight", [rank, cols],
                            random_values(source, rank * cols, 1 / math.sqrt(cols))))
            tensors.append((name + "B.weight", [rows, rank],
                            random_values(
                                source, rows * rank, scale / (scaling * math.sqrt(rank)))))
    return sorted(tensors)


def safetensors(tensors):
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dims, data in tensors:
        header[name] = {"dtype": "F32", "shape": dims, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(data for _, _, data in tensors)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the directory to write")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--shape", help="a preset, or field=number pairs")
    target.add_argument("--model", help="a Hugging Face directory whose config.json has the shape")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, help="twice the rank when absent")
    parser.add_argument("--scale", type=float, default=0.5,
                        help="size of the change beside the layer's own output (default 0.5)")
    parser.add_argument("--modules", default="all-linear", help="all-linear, or q_proj,v_proj,…")
    parser.add_argument("--base", default="random", help="base_model_name_or_path to state")
    arguments = parser.parse_args()
    shape = parse_shape(arguments.shape) if arguments.shape else read_shape(arguments.model)
    modules = choose_modules(arguments.modules)
    rank = arguments.rank
    alpha = 2 * rank if arguments.alpha is None else arguments.alpha
    if rank < 1 or alpha < 1:
        raise SystemExit("make_adapter: --rank and --alpha must be positive")
    tensors = make_tensors(shape, modules, rank, alpha / rank, arguments.scale, arguments.seed)
    config = {"base_model_name_or_path": arguments.base, "bias": "none", "fan_in_fan_out": False,
              "inference_mode": True, "init_lora_weights": True, "lora_alpha": alpha,
              "lora_dropout": 0.0, "peft_type": "LORA", "r": rank,
              "target_modules": [module.split(".")[1] for module in modules],
              "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": False}
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "adapter_model.safetensors").write_bytes(safetensors(tensors))
        (arguments.out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n",
                                                           encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"make_adapter: {error}") from error


if __name__ == "__main__":
    main()
