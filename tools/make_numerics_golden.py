#!/usr/bin/env python3
"""Writes the golden vectors of the numeric contract: tests/golden/numerics/*.txt.

    tools/make_numerics_golden.py            rewrites the files
    tools/make_numerics_golden.py --check    ends with 1 if a file differs from what it would write

The arithmetic is that of numeric_contract.py, which shares no code with src/numerics. Inputs come
from a seeded generator, so that the files are the same on every machine.
"""

import random
import sys
from decimal import Decimal
from pathlib import Path

from numeric_contract import (
    EXP2, LEVELS, LN2, MAX32, MAX_CODE, POINT, ROLES, RSQRT, SIGMOID, Matrix, accumulate,
    angle_row, attend, compose, embed, exp2_negative, forward, gains_of, multiply, norm_epsilon,
    norm_gain, philox, quantize_block, quantize_head, quantize_vector, reciprocal_root, rms_norm,
    rotate_head, sample, score_scale, sigmoid, swiglu, to_fixed)

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "numerics"


def random_matrix(rng, weight_format, rows, cols, exponent):
    matrix = Matrix(weight_format, rows, cols)
    for row in range(rows):
        for column in range(cols):
            matrix.codes[row][column] = {
                "W3": lambda: rng.randrange(8),
                "W6": lambda: rng.randrange(64),
                "W8": lambda: rng.randrange(-127, 128),
                "W4F": lambda: rng.randrange(16),
            }[weight_format]()
        for group in range(matrix.groups):
            if weight_format == "W3":
                matrix.scales[row][group] = rng.randrange(-16, 16)
                matrix.tables[row][group] = rng.randrange(2)
            elif weight_format == "W6":
                matrix.scales[row][group] = rng.randrange(64)
            elif weight_format == "W4F":
                matrix.halvings[row][group] = rng.randrange(16)
        matrix.row_scales[row] = (rng.randrange(1 << 15, 1 << 16), exponent)
    return matrix


# The formats of the roles of two layers, of the embedding and of the head.
THREE_BITS = {"layers": [["W3", "W3", "W6", "W3", "W3", "W3", "W6"],
                         ["W3", "W6", "W3", "W6", "W3", "W6", "W3"]],
              "embedding": "W6", "head": "W3"}
FLOATS = {"layers": [["W4F"] * 7, ["W4F", "W3", "W4F", "W6", "W4F", "W4F", "W4F"]],
          "embedding": "W4F", "head": "W4F"}


def make_model(rng, recipe):
    config = {"dim": 40, "ffn_dim": 52, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2,
              "head_dim": 36, "vocab_size": 37, "context": 64, "theta": 10000, "scaling": "none",
              "eps": "1e-5"}
    dim, ffn = config["dim"], config["ffn_dim"]
    q_dim = config["n_heads"] * config["head_dim"]
    kv_dim = config["n_kv_heads"] * config["head_dim"]
    shapes = {"attn_q": (q_dim, dim), "attn_k": (kv_dim, dim), "attn_v": (kv_dim, dim),
              "attn_output": (dim, q_dim), "ffn_gate": (ffn, dim), "ffn_up": (ffn, dim),
              "ffn_down": (dim, ffn)}
    formats = [dict(zip(ROLES, layer)) for layer in recipe["layers"]]
    model = {"config": config, "shapes": shapes, "layers": []}
    exponents = {"W3": -25, "W6": -27, "W4F": -18}
    for layer in range(config["n_layers"]):
        tensors = {}
        for role in ROLES:
            weight_format = formats[layer][role]
            tensors[role] = random_matrix(rng, weight_format, *shapes[role],
                                          exponents[weight_format])
        gains = {norm: [rng.randrange(-64, 512) for _ in range(dim)]
                 for norm in ["attn_norm", "ffn_norm"]}
        model["layers"].append({"tensors": tensors, "gains": gains})
    model["layers"][0]["gains"]["ffn_norm"][3] = 0
    model["embedding"] = random_matrix(rng, recipe["embedding"], config["vocab_size"], dim,
                                       -25 if recipe["embedding"] == "W6" else -16)
    model["head"] = random_matrix(rng, recipe["head"], config["vocab_size"], dim,
                                  exponents[recipe["head"]])
    model["final_gains"] = [rng.randrange(1, 512) for _ in range(dim)]
    model["inputs"] = [["A8", "A16", "A8", "A16"], ["A16", "A8", "A16", "A8"]]
    model["head_input"] = "A8"
    return model


def make_adapter(rng, model):
    """Rank 5, on some of the linear layers."""
    adapter = {}
    for layer, role in [(0, "attn_v"), (0, "ffn_down"), (1, "attn_k"), (1, "attn_output"),
                        (1, "ffn_gate")]:
        rows, cols = model["shapes"][role]
        adapter[layer, role] = (random_matrix(rng, "W8", 5, cols, -25),
                                random_matrix(rng, "W8", rows, 5, -25))
    return adapter


class GoldenFile:
    """`key value value …` lines; a line `case NAME` opens a case."""

    def __init__(self, title):
        self.lines = [f"# {title}",
                      "# Written by tools/make_numerics_golden.py; README.md explains the format."]

    def case(self, name):
        self.lines += ["", f"case {name}"]

    def put(self, key, *values):
        flat = []
        for value in values:
            if isinstance(value, (list, tuple)):
                for item in value:
                    flat += item if isinstance(item, (list, tuple)) else [item]
            else:
                flat.append(value.hex() if isinstance(value, bytes) else value)
        self.lines.append(" ".join([key] + [str(value) for value in flat]))

    def text(self):
        return "\n".join(self.lines) + "\n"


def wide(rng, bits):
    """A random integer with a random number of bits, so that small and large both occur."""
    value = rng.getrandbits(rng.randrange(bits + 1))
    return -value if rng.randrange(2) else value


def tables_file():
    out = GoldenFile("Function tables and rotary angles, from decimals (contract, section 3)")
    out.case("functions")
    out.put("exp2", EXP2)
    out.put("sigmoid", SIGMOID)
    out.put("rsqrt", RSQRT)
    plain = {"head_dim": 8, "theta": 10000, "scaling": "none", "context": 512}
    linear_scaled = dict(plain, scaling="linear", factor=4, context=1024)
    llama = {"head_dim": 128, "theta": 500000, "scaling": "llama3", "factor": 8, "low": 1,
             "high": 4, "original": 8192, "context": 131072}
    for name, config, rows in [("plain", plain, [0, 1, 2, 77, 255, 256]),
                               ("linear", linear_scaled, [1, 255, 768]),
                               ("llama3", llama, [1, 255, 256, 65536, 130816])]:
        for row in rows:
            out.case(f"angles-{name}-{row}")
            out.put("config", [config["head_dim"], config["theta"], config["context"]])
            out.put("scaling", [config["scaling"], config.get("factor", 1), config.get("low", 1),
                                config.get("high", 4), config.get("original", 8192)])
            out.put("position", row)
            out.put("rotations", angle_row(config, row))
    for head_dim in [8, 36, 64, 80, 128, 256]:
        out.case(f"score-scale-{head_dim}")
        out.put("head_dim", head_dim)
        out.put("scale", score_scale(head_dim))
    return out


def activation_file(rng):
    out = GoldenFile("Activation formats (contract, section 4)")
    vectors = [("small", [3, -1, 0, 2]), ("zeros", [0] * 70),
               ("extremes", [MAX32, -MAX32, 1, -1, 0] * 20),
               ("outlier", [1] * 31 + [1 << 30] + [1] * 32 + [200] * 33),
               ("edges", [127, -127, 128, -128, 254, 255, 256, 32639, 32640, -32640, 32767, 65278,
                          65279])]
    vectors += [(f"random-{bits}", [wide(rng, bits) for _ in range(rng.choice([31, 64, 97, 172]))])
                for bits in [8, 16, 24, 31]]
    for name, values in vectors:
        for input_format in ["A8", "A16"]:
            x = quantize_vector(values, input_format)
            out.case(f"{name}-{input_format}")
            out.put("format", input_format)
            out.put("point", POINT)
            out.put("values", values)
            out.put("shifts", x["shifts"])
            out.put("codes", x["codes"])
    products = [wide(rng, 62) for _ in range(75)] + [(2**31 - 1) ** 2, -((2**31 - 1) ** 2)]
    for input_format in ["A8", "A16"]:
        x = quantize_vector(products, input_format, 32)
        out.case(f"products-{input_format}")
        out.put("format", input_format)
        out.put("point", 32)
        out.put("values", products)
        out.put("shifts", x["shifts"])
        out.put("codes", x["codes"])
    for name in ["A8", "A14"]:
        for bits in [5, 18, 31]:
            values = [wide(rng, bits) for _ in range(rng.randrange(1, 33))]
            codes, shift = quantize_block(values, MAX_CODE[name])
            out.case(f"block-{name}-{bits}")
            out.put("max_code", MAX_CODE[name])
            out.put("values", values)
            out.put("shift", shift)
            out.put("codes", codes)
    return out


def linear_file(rng, float_rng):
    """W4F, the younger format, has a generator of its own: the other cases stay as they were."""
    out = GoldenFile("Weight tiles, dot products and embedding rows (contract, sections 5 and 6)")
    put_linear_cases(out, rng, [("W3", -24), ("W6", -26), ("W8", -22)], ["W3"])
    put_linear_cases(out, float_rng, [("W4F", -17)], ["W4F"])
    return out


def put_linear_cases(out, rng, formats, wide_formats):
    for weight_format, exponent in formats:
        for rows, cols in [(5, 64), (17, 172)] + ([(3, 576)] if weight_format in wide_formats
                                                  else []):
            matrix = random_matrix(rng, weight_format, rows, cols, exponent)
            matrix.row_scales[0] = (65535, 127)
            matrix.row_scales[1] = (1, -128)
            matrix.row_scales[2] = (0, 0)
            out.case(f"{weight_format}-{rows}x{cols}")
            out.put("shape", [weight_format, rows, cols])
            for row in range(rows):
                out.put("row", matrix.row_scales[row])
                out.put("scales", matrix.scales[row])
                out.put("tables", matrix.tables[row])
                if weight_format == "W4F":
                    out.put("halvings", matrix.halvings[row])
                out.put("codes", bytes(code & 255 for code in matrix.codes[row]))
            out.put("tiles", matrix.pack())
            for input_format in ["A8", "A16"]:
                values = [wide(rng, rng.choice([10, 20, 26])) for _ in range(cols)]
                x = quantize_vector(values, input_format)
                out.put("input", [input_format] + values)
                out.put("acc", [accumulate(matrix, row, x) for row in range(rows)])
                out.put("y", multiply(matrix, x))
            if cols < 500:
                last = rows - 1
                out.put("embed", [last] + embed(matrix, last))


def norm_file(rng):
    out = GoldenFile("RMSNorm (contract, section 7)")
    out.case("rsqrt")
    values = [1, 2, 3, 4, 15, 16, 17, 2**30, 2**59 - 1, 2**60, 2**60 + 2**46]
    values += [max(1, abs(wide(rng, 60))) for _ in range(60)]
    out.put("values", values)
    out.put("mantissas", [reciprocal_root(value)[0] for value in values])
    out.put("exponents", [reciprocal_root(value)[1] for value in values])
    for name, dim, bits, eps in [("ordinary", 64, 18, "1e-5"), ("wide", 172, 31, "1e-6"),
                                 ("large-epsilon", 64, 25, "1"), ("tiny", 40, 3, "1e-5"),
                                 ("no-epsilon", 40, 2, "0"), ("one", 1, 31, "1e-5")]:
        x = [wide(rng, bits) for _ in range(dim)]
        gains = [Decimal(rng.randrange(-512, 5000)) / 256 for _ in range(dim)]
        pairs = [norm_gain(gain, dim) for gain in gains]
        epsilon = norm_epsilon(eps, dim)
        out.case(name)
        out.put("x", x)
        out.put("eps", eps)
        out.put("epsilon", epsilon)
        out.put("gain_256ths", [int(gain * 256) for gain in gains])
        out.put("gains", pairs)
        out.put("y", rms_norm(x, pairs, epsilon))
    out.case("zero")
    out.put("x", [0] * 8)
    out.put("eps", "0")
    out.put("epsilon", 0)
    out.put("gain_256ths", [256] * 8)
    out.put("gains", [norm_gain(Decimal(1), 8)] * 8)
    out.put("y", [0] * 8)
    return out


def rope_file(rng):
    out = GoldenFile("Rotary position embedding (contract, section 8)")
    config = {"head_dim": 16, "theta": 10000, "scaling": "none"}
    for position in [0, 1, 255, 256, 700, 131071]:
        high, low = angle_row(config, position // 256 * 256), angle_row(config, position % 256)
        rotations = [compose(one, two) for one, two in zip(high, low)]
        for bits in [18, 31]:
            head = [wide(rng, bits) for _ in range(16)]
            out.case(f"position-{position}-{bits}")
            out.put("high", high)
            out.put("low", low)
            out.put("rotations", rotations)
            out.put("head", head)
            out.put("rotated", rotate_head(rotations, head))
    out.case("saturation")
    out.put("high", [(1 << 30, 0)])
    one_radian = angle_row({"head_dim": 2, "theta": 1, "scaling": "none"}, 1)[0]
    rotation = compose((1 << 30, 0), one_radian)
    out.put("low", [one_radian])
    out.put("rotations", [rotation])
    out.put("head", [MAX32, MAX32])
    out.put("rotated", rotate_head([rotation], [MAX32, MAX32]))
    return out


def attention_file(rng):
    out = GoldenFile("Attention (contract, section 9)")
    out.case("exp2")
    distances = [0, 1, 511, 512, 1023, 1024, 65535, 65536, 25 * 65536, 25 * 65536 + 1, 26 * 65536,
                 2**32 - 2]
    distances += [rng.randrange(26 << 16) for _ in range(100)]
    out.put("distances", distances)
    out.put("weights", [exp2_negative(distance) for distance in distances])
    shapes = [("narrow", 8, 5, 17, 17), ("two-blocks", 36, 9, 18, 22), ("wide", 128, 7, 17, 31),
              ("sharp", 64, 6, 24, 16), ("extreme", 64, 4, 31, 31)]
    for name, head_dim, n_keys, bits, value_bits in shapes:
        scale = score_scale(head_dim)
        query = [wide(rng, bits) for _ in range(head_dim)]
        keys = [[wide(rng, bits) for _ in range(head_dim)] for _ in range(n_keys)]
        values = [[wide(rng, value_bits) for _ in range(head_dim)] for _ in range(n_keys)]
        if name == "extreme":
            query = [MAX32] * head_dim
            keys = [[MAX32 if key % 2 else -MAX32] * head_dim for key in range(n_keys)]
            values[0] = [MAX32] * head_dim
        result = attend(quantize_head(query, MAX_CODE["A14"]),
                        [quantize_head(key, MAX_CODE["A14"]) for key in keys],
                        [quantize_head(value, MAX_CODE["A8"]) for value in values], scale)
        out.case(name)
        out.put("head_dim", head_dim)
        out.put("score_scale", scale)
        out.put("query", query)
        for key, value in zip(keys, values):
            out.put("key", key)
            out.put("value", value)
        for key in ["scores", "value_shifts", "weight", "sums", "out"]:
            out.put(key, result[key])
    return out


def swiglu_file(rng):
    out = GoldenFile("SwiGLU (contract, section 10)")
    edges = [0, 1, -1, 4095, 4096, 16 * 65536, 16 * 65536 - 1, -16 * 65536, -16 * 65536 + 1, MAX32,
             -MAX32]
    gates = edges + [wide(rng, 21) for _ in range(100)] + [wide(rng, 31) for _ in range(20)]
    ups = [wide(rng, 31) for _ in gates]
    ups[9], ups[10] = MAX32, -MAX32
    out.case("swiglu")
    out.put("gate", gates)
    out.put("up", ups)
    out.put("sigmoid", [sigmoid(gate) for gate in gates])
    out.put("products", [swiglu(gate, up) for gate, up in zip(gates, ups)])
    return out


def sampler_file(rng):
    out = GoldenFile("Philox and the sampler (contract, section 12)")
    for _ in range(4):
        counter = [rng.getrandbits(32) for _ in range(4)]
        key = [rng.getrandbits(32) for _ in range(2)]
        out.case("philox")
        out.put("counter", counter)
        out.put("key", key)
        out.put("words", philox(counter, key))
    off = {"greedy": False, "inverse_temperature": to_fixed(1 / LN2, 16), "top_k": 0,
           "top_p": 1 << 16, "min_p": 0}
    configs = [("greedy", dict(off, greedy=True)), ("plain", off),
               ("hot", dict(off, inverse_temperature=30000)), ("top-k", dict(off, top_k=5)),
               ("top-p", dict(off, top_p=45000)), ("min-p", dict(off, min_p=9000)),
               ("all", dict(off, top_k=20, top_p=60000, min_p=3000, inverse_temperature=120000))]
    logits = [wide(rng, 18) for _ in range(80)]
    logits[50] = logits[20] = max(logits) + 5000
    for name, config in configs:
        config["seed"] = rng.getrandbits(64)
        steps = list(range(12)) + [2**32, 2**40 + 3]
        out.case(name)
        out.put("logits", logits)
        keys = ["inverse_temperature", "top_k", "top_p", "min_p", "seed"]
        out.put("config", [int(config["greedy"])] + [config[key] for key in keys])
        out.put("steps", steps)
        for stream in [0, 1]:
            out.put(f"tokens{stream}", [sample(logits, config, step, stream) for step in steps])
    return out


def put_matrix(out, name, matrix):
    out.put("tensor", [name, matrix.format, matrix.rows, matrix.cols, matrix.pack().hex()])


def forward_file(rng, recipe):
    out = GoldenFile("A two-layer model, without and with an adapter (contract, section 13)")
    model = make_model(rng, recipe)
    config = model["config"]
    tokens = [1, 36, 7, 7, 22]
    out.case("model")
    for key in ["dim", "ffn_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size",
                "context"]:
        out.put(key, config[key])
    out.put("rope_theta", config["theta"])
    out.put("norm_eps", config["eps"])
    out.put("norm_epsilon", norm_epsilon(config["eps"], config["dim"]))
    out.put("score_scale", score_scale(config["head_dim"]))
    out.put("levels", LEVELS)
    out.put("inputs", model["inputs"], model["head_input"])
    put_matrix(out, "token_embd", model["embedding"])
    put_matrix(out, "output", model["head"])
    norms = [("output_norm", model["final_gains"])]
    for layer, parts in enumerate(model["layers"]):
        norms += [(f"blk.{layer}.{name}", gains) for name, gains in parts["gains"].items()]
        for role in ROLES:
            put_matrix(out, f"blk.{layer}.{role}", parts["tensors"][role])
    for name, gains in norms:
        out.put("gain_256ths", [name] + gains)
        out.put("gains", [name], gains_of(model, gains))
    out.put("rope_high", angle_row(config, 0))
    for position in range(len(tokens)):
        out.put("rope_low", angle_row(config, position))
    out.put("tokens", tokens)
    adapter = make_adapter(rng, model)
    out.case("adapter")
    weight_q16 = 49152
    out.put("weight_q16", weight_q16)
    for (layer, role), (a, b) in adapter.items():
        put_matrix(out, f"blk.{layer}.{role}.a", a)
        put_matrix(out, f"blk.{layer}.{role}.b", b)
    for name, one in [("base", {}), ("adapted", adapter)]:
        for position, steps in enumerate(forward(model, one, weight_q16, tokens)):
            out.case(f"{name}-{position}")
            for key, values in steps:
                if name == "adapted" or key == "logits" or "residual" in key:
                    out.put(key, values)
    return out


def main():
    rng, float_rng = random.Random(20261124), random.Random(20261125)
    files = {"tables.txt": tables_file(), "activation.txt": activation_file(rng),
             "linear.txt": linear_file(rng, float_rng), "norm.txt": norm_file(rng),
             "rope.txt": rope_file(rng), "attention.txt": attention_file(rng),
             "swiglu.txt": swiglu_file(rng), "sampler.txt": sampler_file(rng),
             "forward.txt": forward_file(rng, THREE_BITS),
             "forward_w4f.txt": forward_file(float_rng, FLOATS)}
    stale = []
    for name, golden in files.items():
        path = FOLDER / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != golden.text():
                stale.append(name)
        else:
            path.write_text(golden.text(), encoding="utf-8")
    for name in stale:
        print(f"make_numerics_golden: {name} differs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
