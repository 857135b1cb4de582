"""The numeric contract in unbounded integers: what make_numerics_golden.py writes vectors with.

Written from docs/numeric-contract.md, sharing no code with src/numerics, so that an overflow or a
misread clause on either side shows as a difference. Function tables come from decimal arithmetic
with 60 digits. Standard library only; the section numbers are those of the contract.
"""

import decimal
from decimal import Decimal

decimal.getcontext().prec = 60

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
    mantissa = int(real * Decimal(2) ** -exponent + Decimal("0.5"))
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
    return {"format": input_format, "point": point, "max_shift": max_shift, "shifts": shifts,
            "codes": codes}


def quantize_head(values, max_code):
    codes, shifts = [], []
    for begin in range(0, len(values), BLOCK):
        block, shift = quantize_block(values[begin:begin + BLOCK], max_code)
        codes += block
        shifts.append(shift)
    return codes, shifts


# ---- §5 weights

def float_level(code):
    """Twice the value of an E2M1 float: a sign, two bits of exponent, one of mantissa."""
    exponent, mantissa = code >> 1 & 3, code & 1
    magnitude = (2 + mantissa) << (exponent - 1) if exponent else mantissa
    return -magnitude if code & 8 else magnitude


class Matrix:
    """Raw codes (rows of whole groups of 32), group scales, tables, row scales; pack() packs."""

    def __init__(self, weight_format, rows, cols):
        self.format, self.rows, self.cols = weight_format, rows, cols
        self.groups = (cols + 31) // 32
        self.codes = [[0] * (32 * self.groups) for _ in range(rows)]
        self.scales = [[1] * self.groups for _ in range(rows)]
        self.tables = [[0] * self.groups for _ in range(rows)]
        self.halvings = [[0] * self.groups for _ in range(rows)]
        self.row_scales = [(0, 0)] * rows

    def level(self, row, column):
        code = self.codes[row][column]
        if self.format == "W3":
            return LEVELS[self.tables[row][column // 32]][code]
        if self.format == "W4F":
            return float_level(code)
        return code - 32 if self.format == "W6" else code

    def group_param_bytes(self):
        return {"W3": 12, "W6": 12, "W8": 0, "W4F": 8}[self.format]

    def param_bytes(self):
        return (self.group_param_bytes() * self.groups + 63) // 64 * 64

    def missing_bytes(self):
        """Of the last group of W8, when its first half holds all of its columns."""
        return 256 if self.format == "W8" and (self.cols - 1) % 32 < 16 else 0

    def pack_tile(self, first_row):
        code_bytes = {"W3": 192, "W6": 384, "W8": 512, "W4F": 256}[self.format]
        whole = 64 + self.param_bytes() + code_bytes * self.groups
        tile = bytearray(whole)
        for lane in range(min(16, self.rows - first_row)):
            row = first_row + lane
            mantissa, exponent = self.row_scales[row]
            tile[2 * lane:2 * lane + 2] = mantissa.to_bytes(2, "little")
            tile[32 + lane] = exponent & 255
            for group in range(self.groups):
                self.pack_parameters(tile, 64 + self.group_param_bytes() * group, lane, row,
                                     group)
                begin = 64 + self.param_bytes() + code_bytes * group
                for column in range(32):
                    code = self.codes[row][32 * group + column]
                    self.pack_code(tile, begin, column // 4, 4 * lane + column % 4, code)
        return bytes(tile[:whole - self.missing_bytes()])

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
        elif self.format == "W4F":
            tile[begin + lane % 8] |= self.halvings[row][group] << (0 if lane < 8 else 4)

    def pack_code(self, tile, begin, vector, byte, code):
        if self.format == "W8":
            tile[begin + 64 * vector + byte] = code & 255
        elif self.format == "W4F":
            tile[begin + 64 * (vector % 4) + byte] |= code if vector < 4 else code << 4
        elif self.format == "W6":
            tile[begin + 64 * (vector % 4) + byte] |= (code & 15) << (4 if vector >= 4 else 0)
            tile[begin + 256 + 64 * (vector // 4) + byte] |= (code >> 4) << (2 * (vector % 4))
        elif vector < 6:
            tile[begin + 64 * (vector // 2) + byte] |= code << (3 if vector % 2 else 0)
        else:
            tile[begin + 64 * (vector - 6) + byte] |= (code & 3) << 6
            tile[begin + 128 + byte] |= (code >> 2) << vector

    def pack(self):
        tiles = [self.pack_tile(row) for row in range(0, self.rows, 16)]
        return b"".join(tiles) + bytes(self.missing_bytes())


# ---- §6 dot product

def base_shift(weight_format, input_format):
    return (2 if weight_format == "W6" else 0) + (8 if input_format == "A16" else 0)


def guard_bits(weight_format):
    return 5 if weight_format == "W4F" else 0


def accumulate(matrix, row, x):
    base = base_shift(matrix.format, x["format"])
    total = 0
    for group in range(matrix.groups):
        products = sum(matrix.level(row, column) * x["codes"][column]
                       for column in range(32 * group, 32 * group + 32))
        scale = 1 if matrix.format == "W8" else matrix.scales[row][group]
        shift = base + x["max_shift"] - x["shifts"][group] + matrix.halvings[row][group]
        total += scale_by(products * scale << guard_bits(matrix.format), -shift)
    assert abs(total) < 2**31
    return total


def multiply(matrix, x):
    base = base_shift(matrix.format, x["format"])
    out = []
    for row in range(matrix.rows):
        mantissa, exponent = matrix.row_scales[row]
        shift = exponent + x["max_shift"] + base - guard_bits(matrix.format) - x["point"] + POINT
        out.append(saturate(scale_by(accumulate(matrix, row, x) * mantissa, shift)))
    return out


def embed(matrix, row):
    mantissa, exponent = matrix.row_scales[row]
    out = []
    for column in range(matrix.cols):
        scale = 1 if matrix.format == "W8" else matrix.scales[row][column // 32]
        value = matrix.level(row, column) * scale * mantissa
        out.append(saturate(scale_by(value, exponent - matrix.halvings[row][column // 32] + POINT)))
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
    return {"scores": scores, "weight": total, "sums": sums, "value_shifts": value_shifts,
            "out": out}


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
    low = 0xFFFFFFFF
    key = [config["seed"] & low, config["seed"] >> 32]
    random_words = philox([step & low, step >> 32, stream, 0], key)
    draw = random_words[1] << 32 | random_words[0]
    target = draw * sum(weight for _, _, weight in kept) >> 64
    for _, token, weight in kept:
        if target < weight:
            return token
        target -= weight
    raise AssertionError("the draw lies beyond the total")


# ---- §13 the whole model

ROLES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


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

    def norm(vector, gains):
        return rms_norm(vector, gains_of(model, gains), epsilon)

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

            normed = quantize_vector(norm(x, parts["gains"]["attn_norm"]), inputs[0])
            q, k, v = (apply(role, normed) for role in ROLES[:3])
            q = [value for head in heads(q) for value in rotate_head(rotations, head)]
            k = [value for head in heads(k) for value in rotate_head(rotations, head)]
            for kv_head, (key, value) in enumerate(zip(heads(k), heads(v))):
                caches[layer][kv_head][0].append(quantize_head(key, MAX_CODE["A14"]))
                caches[layer][kv_head][1].append(quantize_head(value, MAX_CODE["A8"]))
            attended = []
            for head, query in enumerate(heads(q)):
                keys, values = caches[layer][head // (config["n_heads"] // config["n_kv_heads"])]
                query = quantize_head(query, MAX_CODE["A14"])
                attended += attend(query, keys, values, scale)["out"]
            delta = apply("attn_output", quantize_vector(attended, inputs[1]))
            x = [saturate(one + two) for one, two in zip(x, delta)]
            steps += [(f"blk.{layer}.q", q), (f"blk.{layer}.k", k), (f"blk.{layer}.v", v),
                      (f"blk.{layer}.attended", attended), (f"blk.{layer}.residual_attention", x)]
            normed = quantize_vector(norm(x, parts["gains"]["ffn_norm"]), inputs[2])
            gate, up = apply("ffn_gate", normed), apply("ffn_up", normed)
            products = [swiglu(one, two) for one, two in zip(gate, up)]
            delta = apply("ffn_down", quantize_vector(products, inputs[3], 32))
            x = [saturate(one + two) for one, two in zip(x, delta)]
            steps.append((f"blk.{layer}.residual_ffn", x))
        final = quantize_vector(norm(x, model["final_gains"]), model["head_input"])
        steps.append(("logits", multiply(model["head"], final)))
        trace.append(steps)
    return trace
