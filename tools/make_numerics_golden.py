#!/usr/bin/env python3
"""Writes the golden vectors of the numeric contract: tests/golden/numerics/*.txt.

    tools/make_numerics_golden.py            rewrites the files
    tools/make_numerics_golden.py --check    ends with 1 if a file differs from what it would write

The arithmetic below is written from docs/numeric-contract.md with Python's unbounded integers and shares no code
with src/numerics, so that an overflow or a misread clause on either side shows as a difference. Function
tables come from decimal arithmetic with 60 digits. Standard library only; the section numbers are those of
the contract.
"""

import decimal
import random
import sys
from decimal import Decimal
from pathlib import Path

decimal.getcontext().prec = 60
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "numerics"

POINT = 16
MAX32 = 2**31 - 1
BLOCK = 32
MAX_CODE = {"A8": 127, "A16": 127 * 256 + 127, "A14": 8191}
LEVELS = [[-31, -20, -12, -6, 0, 6, 13, 22], [-29, -17, -10, -3, 2, 8, 16, 26]]


# ---- §2 rounding and saturation

def saturate(value):
    return max(-MAX32, min(MAX32, value))


def scale_by(value, exponent):
    """round(value * 2^exponent): nearest, ties up."""
    if exponent >= 0:
        return value << exponent
    return (value + (1 << (-exponent - 1))) >> -exponent


def to_fixed(real, bits):
    """The nearest integer to real * 2^bits, for a Decimal."""
    return int((real * 2**bits).to_integral_value(rounding=decimal.ROUND_HALF_UP))


def split_scale(real, bits):
    """(mantissa, exponent) of a real > 0 with a mantissa of exactly `bits` bits."""
    exponent = 0
    while real * Decimal(2) ** -exponent >= 2**bits:
        exponent += 1
    while real * Decimal(2) ** -exponent < 2 ** (bits - 1):
        exponent -= 1
    mantissa = to_fixed(real, -exponent) if exponent < 0 else int(real / 2**exponent + Decimal("0.5"))
    if mantissa == 2**bits:
        return mantissa // 2, exponent + 1
    return mantissa, exponent


# ---- §3 tables

def arctangent_of_inverse(number):
    total, power, divisor, sign = Decimal(0), Decimal(1) / number, 1, 1
    while power > Decimal(10) ** -65:
        total += sign * power / divisor
        power /= number * number
        divisor += 2
        sign = -sign
    return total


PI = 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))
LN2 = Decimal(2).ln()


def cosine_and_sine(angle):
    angle = angle % (2 * PI)
    cosine, sine, term, order = Decimal(0), Decimal(0), Decimal(1), 0
    while order < 20 or abs(term) > Decimal(10) ** -55:
        if order % 2 == 0:
            cosine += term if order % 4 == 0 else -term
        else:
            sine += term if order % 4 == 1 else -term
        order += 1
        term = term * angle / order
    return cosine, sine


EXP2 = [to_fixed((-Decimal(i) / 64 * LN2).exp(), 24) for i in range(65)]
SIGMOID = [to_fixed(1 / (1 + (-(Decimal(i) / 16 - 16)).exp()), 16) for i in range(513)]
SIGMOID[0], SIGMOID[512] = 0, 1 << 16
RSQRT = [to_fixed(1 / (1 + (Decimal(i) + Decimal("0.5")) / 64).sqrt(), 30) for i in range(192)]


def rope_frequency(config, pair):
    exponent = Decimal(2 * pair) / config["head_dim"]
    frequency = (-exponent * Decimal(config["theta"]).ln()).exp()
    if config["scaling"] == "none":
        return frequency
    factor = Decimal(config["factor"])
    if config["scaling"] == "linear":
        return frequency / factor
    wavelength = 2 * PI / frequency
    original = Decimal(config["original"])
    low, high = Decimal(config["low"]), Decimal(config["high"])
    if wavelength < original / high:
        return frequency
    if wavelength > original / low:
        return frequency / factor
    smooth = (original / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency


def angle_row(config, position):
    row = []
    for pair in range(config["head_dim"] // 2):
        cosine, sine = cosine_and_sine(position * rope_frequency(config, pair))
        row.append((to_fixed(cosine, 30), to_fixed(sine, 30)))
    return row


# ---- §4 activations

def block_shift(largest, max_code):
    shift = 0
    while scale_by(largest, -shift) > max_code:
        shift += 1
    return shift


def quantize_block(values, max_code):
    shift = block_shift(max(abs(value) for value in values), max_code)
    return [scale_by(value, -shift) for value in values], shift


def quantize_vector(values, input_format, point=POINT):
    blocks = [values[begin:begin + BLOCK] for begin in range(0, len(values), BLOCK)]
    max_code = MAX_CODE[input_format]
    shifts = [block_shift(max(abs(value) for value in block), max_code) for block in blocks]
    max_shift = max(shifts)
    shifts = [max(shift, max_shift - 15) for shift in shifts]
    codes = []
    for block, shift in zip(blocks, shifts):
        padded = block + [0] * (BLOCK - len(block))
        codes += [scale_by(value, -shift) for value in padded]
    return {"format": input_format, "point": point, "max_shift": max_shift, "shifts": shifts, "codes": codes}


def quantize_head(values, max_code):
    codes, shifts = [], []
    for begin in range(0, len(values), BLOCK):
        block, shift = quantize_block(values[begin:begin + BLOCK], max_code)
        codes += block
        shifts.append(shift)
    return codes, shifts


# ---- §5 weights

class Matrix:
    """Raw codes (rows of whole groups of 32), group scales and tables, row scales; pack() gives the bytes."""

    def __init__(self, weight_format, rows, cols):
        self.format, self.rows, self.cols = weight_format, rows, cols
        self.groups = (cols + 31) // 32
        self.codes = [[0] * (32 * self.groups) for _ in range(rows)]
        self.scales = [[1] * self.groups for _ in range(rows)]
        self.tables = [[0] * self.groups for _ in range(rows)]
        self.row_scales = [(0, 0)] * rows

    def level(self, row, column):
        code = self.codes[row][column]
        if self.format == "W3":
            return LEVELS[self.tables[row][column // 32]][code]
        return code - 32 if self.format == "W6" else code

    def param_bytes(self):
        return 0 if self.format == "W8" else (12 * self.groups + 63) // 64 * 64

    def pack_tile(self, first_row):
        code_bytes = {"W3": 192, "W6": 384, "W8": 512}[self.format]
        tile = bytearray(64 + self.param_bytes() + code_bytes * self.groups)
        for lane in range(min(16, self.rows - first_row)):
            row = first_row + lane
            mantissa, exponent = self.row_scales[row]
            tile[2 * lane:2 * lane + 2] = mantissa.to_bytes(2, "little")
            tile[32 + lane] = exponent & 255
            for group in range(self.groups):
                self.pack_parameters(tile, 64 + 12 * group, lane, row, group)
                begin = 64 + self.param_bytes() + code_bytes * group
                for column in range(32):
                    code = self.codes[row][32 * group + column]
                    self.pack_code(tile, begin, column // 4, 4 * lane + column % 4, code)
        return bytes(tile)

    def pack_parameters(self, tile, begin, lane, row, group):
        scale = self.scales[row][group]
        if self.format == "W3":
            bits = scale + 16
            word = self.tables[row][group] << lane | (bits >> 4) << (16 + lane)
            for index in range(4):
                tile[begin + index] |= word >> (8 * index) & 255
            tile[begin + 4 + lane % 8] |= (bits & 15) << (4 * (lane // 8))
        elif self.format == "W6":
            tile[begin + lane % 8] |= (scale & 15) << (4 * (lane // 8))
            tile[begin + 8 + lane % 4] |= (scale >> 4) << (2 * (lane // 4))

    def pack_code(self, tile, begin, vector, byte, code):
        if self.format == "W8":
            tile[begin + 64 * vector + byte] = code & 255
        elif self.format == "W6":
            tile[begin + 64 * (vector % 4) + byte] |= (code & 15) << (4 if vector >= 4 else 0)
            tile[begin + 256 + 64 * (vector // 4) + byte] |= (code >> 4) << (2 * (vector % 4))
        elif vector < 6:
            tile[begin + 64 * (vector // 2) + byte] |= code << (3 if vector % 2 else 0)
        else:
            tile[begin + 64 * (vector - 6) + byte] |= (code & 3) << 6
            tile[begin + 128 + byte] |= (code >> 2) << vector

    def pack(self):
        return b"".join(self.pack_tile(row) for row in range(0, self.rows, 16))


def random_matrix(rng, weight_format, rows, cols, exponent):
    matrix = Matrix(weight_format, rows, cols)
    for row in range(rows):
        for column in range(cols):
            matrix.codes[row][column] = {
                "W3": lambda: rng.randrange(8),
                "W6": lambda: rng.randrange(64),
                "W8": lambda: rng.randrange(-127, 128),
            }[weight_format]()
        for group in range(matrix.groups):
            if weight_format == "W3":
                matrix.scales[row][group] = rng.randrange(-16, 16)
                matrix.tables[row][group] = rng.randrange(2)
            elif weight_format == "W6":
                matrix.scales[row][group] = rng.randrange(64)
        matrix.row_scales[row] = (rng.randrange(1 << 15, 1 << 16), exponent)
    return matrix


# ---- §6 dot product

def base_shift(weight_format, input_format):
    return (2 if weight_format == "W6" else 0) + (8 if input_format == "A16" else 0)


def accumulate(matrix, row, x):
    base = base_shift(matrix.format, x["format"])
    total = 0
    for group in range(matrix.groups):
        products = sum(matrix.level(row, column) * x["codes"][column]
                       for column in range(32 * group, 32 * group + 32))
        scale = 1 if matrix.format == "W8" else matrix.scales[row][group]
        total += scale_by(products * scale, -(base + x["max_shift"] - x["shifts"][group]))
    assert abs(total) < 2**31
    return total


def multiply(matrix, x):
    base = base_shift(matrix.format, x["format"])
    out = []
    for row in range(matrix.rows):
        mantissa, exponent = matrix.row_scales[row]
        shift = exponent + x["max_shift"] + base - x["point"] + POINT
        out.append(saturate(scale_by(accumulate(matrix, row, x) * mantissa, shift)))
    return out


def embed(matrix, row):
    mantissa, exponent = matrix.row_scales[row]
    out = []
    for column in range(matrix.cols):
        scale = 1 if matrix.format == "W8" else matrix.scales[row][column // 32]
        value = matrix.level(row, column) * scale * mantissa
        out.append(saturate(scale_by(value, exponent + POINT)))
    return out


# ---- §7 RMSNorm

def reciprocal_root(value):
    exponent = (value.bit_length() - 1) // 2
    m = value << 30 >> 2 * exponent
    start = RSQRT[(m >> 24) - 64]
    square = scale_by(start * start, -30)
    correction = (3 << 30) - scale_by(m * square, -30)
    return scale_by(start * correction, -31), exponent


def norm_epsilon(eps, dim):
    return to_fixed(Decimal(eps) * dim, 32)


def norm_gain(gain, dim):
    if gain == 0:
        return 0, 0
    mantissa, exponent = split_scale(abs(gain) * Decimal(dim).sqrt(), 15)
    return (mantissa if gain > 0 else -mantissa), exponent


def rms_norm(x, gains, epsilon):
    shift = max(0, max(abs(value) for value in x).bit_length() - 23)
    reduced = [scale_by(value, -shift) for value in x]
    squares = scale_by(epsilon, -2 * shift) + sum(value * value for value in reduced)
    if squares == 0:
        return [0] * len(x)
    mantissa, exponent = reciprocal_root(squares)
    out = []
    for value, (gain, gain_exponent) in zip(reduced, gains):
        unit = scale_by(value * mantissa, -exponent)
        out.append(saturate(scale_by(unit * gain, gain_exponent - 30 + POINT)))
    return out


# ---- §8 RoPE

def compose(high, low):
    return (scale_by(high[0] * low[0] - high[1] * low[1], -46),
            scale_by(high[1] * low[0] + high[0] * low[1], -46))


def rotate_head(rotations, head):
    out = []
    for pair, (cosine, sine) in enumerate(rotations):
        even, odd = head[2 * pair], head[2 * pair + 1]
        out.append(saturate(scale_by(even * cosine - odd * sine, -14)))
        out.append(saturate(scale_by(even * sine + odd * cosine, -14)))
    return out


# ---- §9 attention

def score_scale(head_dim):
    return split_scale(1 / LN2 / Decimal(head_dim).sqrt(), 16)


def score(query, key, scale):
    raw = 0
    for block in range(len(query[1])):
        channels = range(BLOCK * block, min(BLOCK * block + BLOCK, len(query[0])))
        dot = sum(query[0][channel] * key[0][channel] for channel in channels)
        assert abs(dot) < 2**31
        raw += scale_by(dot, query[1][block] + key[1][block] - 20)
    return saturate(scale_by(saturate(raw) * scale[0], scale[1] + 4))


def exp2_negative(distance):
    whole = distance >> 16
    if whole > 25:
        return 0
    entry, fraction = distance >> 10 & 63, distance & 1023
    value = EXP2[entry] - scale_by((EXP2[entry] - EXP2[entry + 1]) * fraction, -10)
    return scale_by(value, -whole)


def attend(query, keys, values, scale):
    scores = [score(query, key, scale) for key in keys]
    largest = max(scores)
    blocks = range(len(values[0][1]))
    value_shifts = [max(value[1][block] for value in values) for block in blocks]
    total, sums = 0, [0] * len(values[0][0])
    for one_score, (codes, shifts) in zip(scores, values):
        weight = exp2_negative(largest - one_score)
        total += weight
        for channel, code in enumerate(codes):
            block = channel // BLOCK
            sums[channel] += scale_by(weight, 6 - (value_shifts[block] - shifts[block])) * code
    align = 31 - total.bit_length()
    divisor = total << align if align >= 0 else total >> -align
    reciprocal = 2**60 // divisor
    out = []
    for channel, value in enumerate(sums):
        product = scale_by(value, align - 12) * reciprocal
        assert abs(product) < 2**62
        out.append(saturate(scale_by(product, value_shifts[channel // BLOCK] - 54)))
    return {"scores": scores, "weight": total, "sums": sums, "value_shifts": value_shifts, "out": out}


# ---- §10 SwiGLU

def sigmoid(x):
    if x <= -(16 << 16):
        return 0
    if x >= 16 << 16:
        return 1 << 16
    offset = x + (16 << 16)
    entry, fraction = offset >> 12, offset & 4095
    return SIGMOID[entry] + scale_by((SIGMOID[entry + 1] - SIGMOID[entry]) * fraction, -12)


def swiglu(gate, up):
    return scale_by(gate * sigmoid(gate), -16) * up


# ---- §12 sampler

def philox(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [product1 >> 32 ^ counter[1] ^ key[0], product1 & 0xFFFFFFFF,
                   product0 >> 32 ^ counter[3] ^ key[1], product0 & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def sample(logits, config, step, stream):
    if config["greedy"]:
        return min(range(len(logits)), key=lambda token: (-logits[token], token))
    largest = max(logits)
    candidates = []
    for token, logit in enumerate(logits):
        weight = exp2_negative((largest - logit) * config["inverse_temperature"] >> 16)
        if weight > 0:
            candidates.append((-logit, token, weight))
    candidates.sort()
    if config["top_k"] > 0:
        candidates = candidates[:config["top_k"]]
    wanted, total, kept = config["top_p"] * sum(weight for _, _, weight in candidates), 0, []
    for candidate in candidates:
        if kept and total << 16 >= wanted:
            break
        kept.append(candidate)
        total += candidate[2]
    floor = kept[0][2] * config["min_p"]
    kept = [candidate for candidate in kept if candidate[2] << 16 >= floor]
    seed = config["seed"]
    random_words = philox([step & 0xFFFFFFFF, step >> 32, stream, 0], [seed & 0xFFFFFFFF, seed >> 32])
    draw = random_words[1] << 32 | random_words[0]
    target = draw * sum(weight for _, _, weight in kept) >> 64
    for _, token, weight in kept:
        if target < weight:
            return token
        target -= weight
    raise AssertionError("the draw lies beyond the total")


# ---- §13 the whole model

ROLES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


def make_model(rng):
    config = {"dim": 40, "ffn_dim": 52, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 36,
              "vocab_size": 37, "context": 64, "theta": 10000, "scaling": "none", "eps": "1e-5"}
    dim, ffn = config["dim"], config["ffn_dim"]
    q_dim = config["n_heads"] * config["head_dim"]
    kv_dim = config["n_kv_heads"] * config["head_dim"]
    shapes = {"attn_q": (q_dim, dim), "attn_k": (kv_dim, dim), "attn_v": (kv_dim, dim),
              "attn_output": (dim, q_dim), "ffn_gate": (ffn, dim), "ffn_up": (ffn, dim),
              "ffn_down": (dim, ffn)}
    formats = [dict(zip(ROLES, ["W3", "W3", "W6", "W3", "W3", "W3", "W6"])),
               dict(zip(ROLES, ["W3", "W6", "W3", "W6", "W3", "W6", "W3"]))]
    model = {"config": config, "shapes": shapes, "layers": []}
    exponents = {"W3": -25, "W6": -27}
    for layer in range(config["n_layers"]):
        tensors = {role: random_matrix(rng, formats[layer][role], *shapes[role], exponents[formats[layer][role]])
                   for role in ROLES}
        gains = {norm: [rng.randrange(-64, 512) for _ in range(dim)] for norm in ["attn_norm", "ffn_norm"]}
        model["layers"].append({"tensors": tensors, "gains": gains})
    model["layers"][0]["gains"]["ffn_norm"][3] = 0
    model["embedding"] = random_matrix(rng, "W6", config["vocab_size"], dim, -25)
    model["head"] = random_matrix(rng, "W3", config["vocab_size"], dim, -25)
    model["final_gains"] = [rng.randrange(1, 512) for _ in range(dim)]
    model["inputs"] = [["A8", "A16", "A8", "A16"], ["A16", "A8", "A16", "A8"]]
    model["head_input"] = "A8"
    return model


def make_adapter(rng, model):
    """Rank 5 in matrices padded to 32, on some of the linear layers."""
    adapter = {}
    for layer, role in [(0, "attn_v"), (0, "ffn_down"), (1, "attn_k"), (1, "attn_output"), (1, "ffn_gate")]:
        rows, cols = model["shapes"][role]
        a = random_matrix(rng, "W8", 32, cols, -25)
        b = random_matrix(rng, "W8", rows, 32, -25)
        for row in range(5, 32):
            a.codes[row] = [0] * len(a.codes[row])
            a.row_scales[row] = (0, 0)
        for row in range(rows):
            b.codes[row][5:] = [0] * 27
        adapter[layer, role] = (a, b)
    return adapter


def linear(model, adapter, weight_q16, layer, role, x):
    out = multiply(model["layers"][layer]["tensors"][role], x)
    if (layer, role) in adapter:
        a, b = adapter[layer, role]
        delta = multiply(b, quantize_vector(multiply(a, x), "A8"))
        out = [saturate(base + scale_by(one * weight_q16, -16)) for base, one in zip(out, delta)]
    return out


def gains_of(model, gains):
    return [norm_gain(Decimal(gain) / 256, model["config"]["dim"]) for gain in gains]


def forward(model, adapter, weight_q16, tokens):
    config = model["config"]
    head_dim, dim = config["head_dim"], config["dim"]
    epsilon = norm_epsilon(config["eps"], dim)
    scale = score_scale(head_dim)
    caches = [[([], []) for _ in range(config["n_kv_heads"])] for _ in model["layers"]]
    trace, high = [], angle_row(config, 0)

    def heads(vector):
        return [vector[begin:begin + head_dim] for begin in range(0, len(vector), head_dim)]

    for position, token in enumerate(tokens):
        rotations = [compose(one, two) for one, two in zip(high, angle_row(config, position))]
        x = embed(model["embedding"], token)
        steps = [("embedding", x)]
        for layer, parts in enumerate(model["layers"]):
            inputs = model["inputs"][layer]

            def apply(role, vector):
                return linear(model, adapter, weight_q16, layer, role, vector)

            normed = quantize_vector(rms_norm(x, gains_of(model, parts["gains"]["attn_norm"]), epsilon), inputs[0])
            q, k, v = (apply(role, normed) for role in ROLES[:3])
            q = [value for head in heads(q) for value in rotate_head(rotations, head)]
            k = [value for head in heads(k) for value in rotate_head(rotations, head)]
            for kv_head, (key, value) in enumerate(zip(heads(k), heads(v))):
                caches[layer][kv_head][0].append(quantize_head(key, MAX_CODE["A14"]))
                caches[layer][kv_head][1].append(quantize_head(value, MAX_CODE["A8"]))
            attended = []
            for head, query in enumerate(heads(q)):
                keys, values = caches[layer][head // (config["n_heads"] // config["n_kv_heads"])]
                attended += attend(quantize_head(query, MAX_CODE["A14"]), keys, values, scale)["out"]
            delta = apply("attn_output", quantize_vector(attended, inputs[1]))
            x = [saturate(one + two) for one, two in zip(x, delta)]
            steps += [(f"blk.{layer}.q", q), (f"blk.{layer}.k", k), (f"blk.{layer}.v", v),
                      (f"blk.{layer}.attended", attended), (f"blk.{layer}.residual_attention", x)]
            normed = quantize_vector(rms_norm(x, gains_of(model, parts["gains"]["ffn_norm"]), epsilon), inputs[2])
            gate, up = apply("ffn_gate", normed), apply("ffn_up", normed)
            products = [swiglu(one, two) for one, two in zip(gate, up)]
            delta = apply("ffn_down", quantize_vector(products, inputs[3], 32))
            x = [saturate(one + two) for one, two in zip(x, delta)]
            steps.append((f"blk.{layer}.residual_ffn", x))
        final = rms_norm(x, gains_of(model, model["final_gains"]), epsilon)
        steps.append(("logits", multiply(model["head"], quantize_vector(final, model["head_input"]))))
        trace.append(steps)
    return trace


# ---- files

class GoldenFile:
    """`key value value …` lines; a line `case NAME` opens a case."""

    def __init__(self, title):
        self.lines = [f"# {title}", "# Written by tools/make_numerics_golden.py; README.md explains the format."]

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
    """A random integer whose number of bits is itself random, so that small and large both occur."""
    value = rng.getrandbits(rng.randrange(bits + 1))
    return -value if rng.randrange(2) else value


def tables_file():
    out = GoldenFile("Function tables and rotary angles, from 60-digit decimals (contract, section 3)")
    out.case("functions")
    out.put("exp2", EXP2)
    out.put("sigmoid", SIGMOID)
    out.put("rsqrt", RSQRT)
    plain = {"head_dim": 8, "theta": 10000, "scaling": "none", "context": 512}
    linear_scaled = dict(plain, scaling="linear", factor=4, context=1024)
    llama = {"head_dim": 128, "theta": 500000, "scaling": "llama3", "factor": 8, "low": 1, "high": 4,
             "original": 8192, "context": 131072}
    for name, config, rows in [("plain", plain, [0, 1, 2, 77, 255, 256]), ("linear", linear_scaled, [1, 255, 768]),
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
               ("edges", [127, -127, 128, -128, 254, 255, 256, 32639, 32640, -32640, 32767, 65278, 65279])]
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


def linear_file(rng):
    out = GoldenFile("Weight tiles, dot products and embedding rows (contract, sections 5 and 6)")
    for weight_format, exponent in [("W3", -24), ("W6", -26), ("W8", -22)]:
        for rows, cols in [(5, 64), (17, 172)] + ([(3, 576)] if weight_format == "W3" else []):
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
    return out


def norm_file(rng):
    out = GoldenFile("RMSNorm (contract, section 7)")
    out.case("rsqrt")
    values = [1, 2, 3, 4, 15, 16, 17, 2**30, 2**59 - 1, 2**60, 2**60 + 2**46]
    values += [max(1, abs(wide(rng, 60))) for _ in range(60)]
    out.put("values", values)
    out.put("mantissas", [reciprocal_root(value)[0] for value in values])
    out.put("exponents", [reciprocal_root(value)[1] for value in values])
    for name, dim, bits, eps in [("ordinary", 64, 18, "1e-5"), ("wide", 172, 31, "1e-6"), ("tiny", 40, 3, "1e-5"),
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
    out.put("low", angle_row({"head_dim": 2, "theta": 1, "scaling": "none"}, 1))
    rotation = compose((1 << 30, 0), angle_row({"head_dim": 2, "theta": 1, "scaling": "none"}, 1)[0])
    out.put("rotations", [rotation])
    out.put("head", [MAX32, MAX32])
    out.put("rotated", rotate_head([rotation], [MAX32, MAX32]))
    return out


def attention_file(rng):
    out = GoldenFile("Attention (contract, section 9)")
    out.case("exp2")
    distances = [0, 1, 511, 512, 1023, 1024, 65535, 65536, 25 * 65536, 25 * 65536 + 1, 26 * 65536, 2**32 - 2]
    distances += [rng.randrange(26 << 16) for _ in range(100)]
    out.put("distances", distances)
    out.put("weights", [exp2_negative(distance) for distance in distances])
    for name, head_dim, n_keys, bits, value_bits in [("narrow", 8, 5, 17, 17), ("two-blocks", 36, 9, 18, 22),
                                                     ("wide", 128, 7, 17, 31), ("sharp", 64, 6, 24, 16),
                                                     ("extreme", 64, 4, 31, 31)]:
        scale = score_scale(head_dim)
        query = [wide(rng, bits) for _ in range(head_dim)]
        keys = [[wide(rng, bits) for _ in range(head_dim)] for _ in range(n_keys)]
        values = [[wide(rng, value_bits) for _ in range(head_dim)] for _ in range(n_keys)]
        if name == "extreme":
            query, keys = [MAX32] * head_dim, [[MAX32 if n % 2 else -MAX32] * head_dim for n in range(n_keys)]
            values[0] = [MAX32] * head_dim
        result = attend(quantize_head(query, MAX_CODE["A14"]), [quantize_head(key, MAX_CODE["A14"]) for key in keys],
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
    edges = [0, 1, -1, 4095, 4096, 16 * 65536, 16 * 65536 - 1, -16 * 65536, -16 * 65536 + 1, MAX32, -MAX32]
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
        counter, key = [rng.getrandbits(32) for _ in range(4)], [rng.getrandbits(32) for _ in range(2)]
        out.case("philox")
        out.put("counter", counter)
        out.put("key", key)
        out.put("words", philox(counter, key))
    off = {"greedy": False, "inverse_temperature": to_fixed(1 / LN2, 16), "top_k": 0, "top_p": 1 << 16, "min_p": 0}
    configs = [("greedy", dict(off, greedy=True)), ("plain", off), ("hot", dict(off, inverse_temperature=30000)),
               ("top-k", dict(off, top_k=5)), ("top-p", dict(off, top_p=45000)), ("min-p", dict(off, min_p=9000)),
               ("all", dict(off, top_k=20, top_p=60000, min_p=3000, inverse_temperature=120000))]
    logits = [wide(rng, 18) for _ in range(80)]
    logits[50] = logits[20] = max(logits) + 5000
    for name, config in configs:
        config["seed"] = rng.getrandbits(64)
        steps = list(range(12)) + [2**32, 2**40 + 3]
        out.case(name)
        out.put("logits", logits)
        out.put("config", [int(config["greedy"])] + [config[key] for key in
                                                   ["inverse_temperature", "top_k", "top_p", "min_p", "seed"]])
        out.put("steps", steps)
        for stream in [0, 1]:
            out.put(f"tokens{stream}", [sample(logits, config, step, stream) for step in steps])
    return out


def put_matrix(out, name, matrix):
    out.put("tensor", [name, matrix.format, matrix.rows, matrix.cols, matrix.pack().hex()])


def forward_file(rng):
    out = GoldenFile("A forward pass of a two-layer model, without and with an adapter (contract, section 13)")
    model = make_model(rng)
    config = model["config"]
    tokens = [1, 36, 7, 7, 22]
    out.case("model")
    for key in ["dim", "ffn_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "context"]:
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
    rng = random.Random(20261124)
    files = {"tables.txt": tables_file(), "activation.txt": activation_file(rng), "linear.txt": linear_file(rng),
             "norm.txt": norm_file(rng), "rope.txt": rope_file(rng), "attention.txt": attention_file(rng),
             "swiglu.txt": swiglu_file(rng), "sampler.txt": sampler_file(rng), "forward.txt": forward_file(rng)}
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
