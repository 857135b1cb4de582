#!/usr/bin/env python3
"""Writes GGUF models and LoRA adapters of seeded random weights in a true shape.

Speed depends on shapes and formats, not on what the weights say, so that engines can be compared
without a published model:

    bench/peers/make_gguf.py model --shape llama-3.1-8b --mix Q3_K_S --out out/peers/q3ks.gguf
    bench/peers/make_gguf.py adapter --shape llama-3.1-8b --seed 7 --out out/peers/lora7.gguf
    bench/peers/make_gguf.py model --mix Q4_0 --out tiny.gguf \\
        --shape dim=256,ffn_dim=512,n_layers=2,n_heads=4,n_kv_heads=2,vocab_size=512

Blocks are written directly: random bytes are valid codes and group scales of every format here, and
only the half-precision scales of a block are then set, to a constant with a random sign. The
constant follows from the variance of the random codes and gives every matrix a standard deviation
of 1 / sqrt(columns), as `etch compile --synthetic` does: layers then keep the size of what passes
through. The random sign makes the mean of a row vanish, which would otherwise grow from layer to
layer. The types of the tensors are those that llama.cpp's quantize gives for a mix without an
importance matrix (llama-quant.cpp, llama_tensor_get_type).

Standard library only. The same arguments give the same bytes. A model of 3.7 GB takes under a
minute.
"""

import argparse
import math
import os
import pathlib
import random
import struct
import sys

ALIGNMENT = 32
CHUNK_BYTES = 4 << 20
ARRAY, STRING, FLOAT32, UINT32, INT32, BOOL = 9, 8, 6, 4, 5, 7

# Llama 3's RoPE scaling as (factor, original context); the file states it as a table of divisors.
SHAPES = {
    "llama-3.1-8b": {"dim": 4096, "ffn_dim": 14336, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
                     "vocab_size": 128256, "context": 131072, "rope_theta": 500000.0,
                     "rope_factor": 8, "tied": 0},
    "llama-3.2-3b": {"dim": 3072, "ffn_dim": 8192, "n_layers": 28, "n_heads": 24, "n_kv_heads": 8,
                     "vocab_size": 128256, "context": 131072, "rope_theta": 500000.0,
                     "rope_factor": 32, "tied": 1},
    "llama-3.2-1b": {"dim": 2048, "ffn_dim": 8192, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8,
                     "vocab_size": 128256, "context": 131072, "rope_theta": 500000.0,
                     "rope_factor": 32, "tied": 1},
    "smollm-135m": {"dim": 576, "ffn_dim": 1536, "n_layers": 30, "n_heads": 9, "n_kv_heads": 3,
                    "vocab_size": 49152, "context": 2048, "rope_theta": 10000.0, "rope_factor": 0,
                    "tied": 1},
    "stories260k": {"dim": 64, "ffn_dim": 172, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4,
                    "vocab_size": 512, "context": 512, "rope_theta": 10000.0, "rope_factor": 0,
                    "tied": 1},
}
REQUIRED = ["dim", "ffn_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size"]
DEFAULTS = {"context": 2048, "rope_theta": 10000.0, "rope_factor": 0, "tied": 0}


class Format:
    """A block format: its number in GGUF, its size, where its half-precision scales lie as
    (offset, factor) pairs, and the standard deviation of its values at scale 1."""

    def __init__(self, code, values, size, scales, deviation):
        self.code = code
        self.values = values
        self.size = size
        self.scales = scales
        self.deviation = deviation


def with_minimum(scales, codes):
    """(deviation, minimum) of values scale·code - minimum·m, where scale and m are equally likely
    integers below `scales`, code one below `codes`, and the minimum makes the mean vanish."""
    def mean(count):
        return (count - 1) / 2

    def square(count):
        return (count - 1) * (2 * count - 1) / 6

    minimum = mean(codes)
    variance = square(scales) * square(codes) - (mean(scales) * mean(codes)) ** 2
    variance += minimum ** 2 * (square(scales) - mean(scales) ** 2)
    return math.sqrt(variance), minimum


def signed(count):
    """Root of the mean square of the integers from -count/2 to count/2 - 1."""
    return math.sqrt((count ** 2 - 1) / 12 + 0.25)


def root_mean_square(values):
    return math.sqrt(sum(value * value for value in values) / len(values))


IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
Q2K, Q4K, Q5K = with_minimum(16, 4), with_minimum(64, 16), with_minimum(64, 32)
FORMATS = {
    "Q4_0": Format(2, 32, 18, [(0, 1)], signed(16)),
    "Q5_0": Format(6, 32, 22, [(0, 1)], signed(32)),
    "Q5_1": Format(7, 32, 24, [(0, 1), (2, -15.5)], math.sqrt((32 ** 2 - 1) / 12)),
    "Q8_0": Format(8, 32, 34, [(0, 1)], signed(256)),
    "Q2_K": Format(10, 256, 84, [(80, 1), (82, Q2K[1])], Q2K[0]),
    "Q3_K": Format(11, 256, 110, [(108, 1)], signed(64) * signed(8)),
    "Q4_K": Format(12, 256, 144, [(0, 1), (2, Q4K[1])], Q4K[0]),
    "Q5_K": Format(13, 256, 176, [(0, 1), (2, Q5K[1])], Q5K[0]),
    "Q6_K": Format(14, 256, 210, [(208, 1)], signed(256) * signed(64)),
    "IQ4_NL": Format(20, 32, 18, [(0, 1)], root_mean_square(IQ4_VALUES)),
}
F32, F16 = 0, 1
# What quantize takes where a row is no whole number of blocks of 256.
FALLBACK = {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def takes_more_bits(layer, n_layers):
    """llama.cpp's use_more_bits: the first and last eighth of the layers, of the others a third."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def mix_q2_k(tensor, _layer, shape):
    if tensor == "attn_v":
        return "Q4_K" if shape["n_heads"] // shape["n_kv_heads"] >= 4 else "Q3_K"
    return "Q3_K" if tensor in ("ffn_down", "attn_output") else "Q2_K"


def mix_q3_k_s(_tensor, _layer, _shape):
    return "Q3_K"


def mix_q3_k_m(tensor, layer, shape):
    if tensor == "attn_v":
        return "Q5_K" if layer < 2 else "Q4_K"
    if tensor == "ffn_down":
        return "Q5_K" if layer < shape["n_layers"] // 16 else "Q4_K"
    return "Q4_K" if tensor == "attn_output" else "Q3_K"


def mix_q4_0(_tensor, _layer, _shape):
    return "Q4_0"


def mix_q4_k_m(tensor, layer, shape):
    more = tensor in ("attn_v", "ffn_down") and takes_more_bits(layer, shape["n_layers"])
    return "Q6_K" if more else "Q4_K"


# Name: (choice of a block's types, number of the mix in general.file_type).
MIXES = {"Q2_K": (mix_q2_k, 10), "Q3_K_S": (mix_q3_k_s, 11), "Q3_K_M": (mix_q3_k_m, 12),
         "Q4_0": (mix_q4_0, 2), "Q4_K_M": (mix_q4_k_m, 15)}


def parse_shape(text):
    """A preset's name, or `field=number` pairs."""
    if text in SHAPES:
        return {**SHAPES[text], "name": text}
    shape = dict(DEFAULTS)
    for part in text.split(","):
        field, equals, number = part.partition("=")
        if field not in REQUIRED and field not in DEFAULTS or not equals or not number.isdigit():
            raise SystemExit(f"make_gguf: shape \"{text}\" is neither one of {', '.join(SHAPES)} "
                             f"nor {'=N,'.join(REQUIRED)}=N")
        shape[field] = int(number)
    missing = [field for field in REQUIRED if not shape.get(field)]
    if missing or shape["dim"] % shape["n_heads"] or shape["n_heads"] % shape["n_kv_heads"]:
        lack = ", ".join(missing) or "whole heads"
        raise SystemExit(f"make_gguf: shape \"{text}\" lacks {lack}")
    if shape["vocab_size"] < 260:
        raise SystemExit("make_gguf: vocab_size must be 260 or more: 256 bytes and four tokens")
    return {**shape, "name": "random"}


def linears(shape):
    """Name to (rows, columns): outputs, inputs."""
    keys = shape["dim"] // shape["n_heads"] * shape["n_kv_heads"]
    dim, ffn_dim = shape["dim"], shape["ffn_dim"]
    return {"attn_q": (dim, dim), "attn_k": (keys, dim), "attn_v": (keys, dim),
            "attn_output": (dim, dim), "ffn_gate": (ffn_dim, dim), "ffn_up": (ffn_dim, dim),
            "ffn_down": (dim, ffn_dim)}


def half(value):
    return struct.pack("<e", value)


def random_halves(source, count, deviation):
    """Half-precision numbers of both signs in one binade, their mean square near the deviation's:
    the two bits below the exponent and the low byte are random."""
    # A uniform number of [1, 2) has the mean square 7/3.
    exponent = round(math.log2(deviation / math.sqrt(7 / 3))) + 15
    table = bytes((code & 0x83) | exponent << 2 for code in range(256))
    data = bytearray(source.randbytes(2 * count))
    data[1::2] = data[1::2].translate(table)
    return data


def random_blocks(source, layout, count, deviation):
    data = bytearray(source.randbytes(count * layout.size))
    signs = source.randbytes(count)
    for offset, factor in layout.scales:
        low, high = half(deviation / layout.deviation * factor)
        data[offset::layout.size] = bytes([low]) * count
        data[offset + 1::layout.size] = signs.translate(
            bytes(high ^ (code & 0x80) for code in range(256)))
    return data


class Tensor:
    """A tensor to be written: `dims` in GGUF's order (columns first), and its bytes in pieces."""

    def __init__(self, name, dims, kind, deviation=None, values=None):
        self.name = name
        self.dims = dims
        self.kind = kind
        self.deviation = deviation
        self.values = values
        count = math.prod(dims)
        if kind in FORMATS:
            self.code = FORMATS[kind].code
            self.size = count // FORMATS[kind].values * FORMATS[kind].size
        else:
            self.code = F16 if kind == "F16" else F32
            self.size = count * (2 if kind == "F16" else 4)

    def pieces(self, source):
        if self.values is not None:
            yield struct.pack(f"<{len(self.values)}f", *self.values)
            return
        layout = FORMATS.get(self.kind)
        unit = layout.size if layout else 2
        remaining = self.size // unit
        while remaining > 0:
            count = min(remaining, CHUNK_BYTES // unit)
            if layout:
                yield random_blocks(source, layout, count, self.deviation)
            else:
                yield random_halves(source, count, self.deviation)
            remaining -= count


def matrix(name, rows, cols, kind):
    if cols % 256 != 0:
        kind = FALLBACK.get(kind, kind)
    if cols % 32 != 0:
        kind = "F16"
    return Tensor(name + ".weight", [cols, rows], kind, 1 / math.sqrt(cols))


def rope_divisors(shape):
    """Llama 3's scaling: long wavelengths are stretched by the factor, short ones are not, those
    between are interpolated."""
    head_dim = shape["dim"] // shape["n_heads"]
    low, high, original = 1.0, 4.0, 8192.0
    divisors = []
    for pair in range(head_dim // 2):
        wavelength = 2 * math.pi * shape["rope_theta"] ** (2 * pair / head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(float(shape["rope_factor"]))
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / shape["rope_factor"] + smooth))
    return divisors


def model_tensors(shape, mix):
    choose = MIXES[mix][0]
    head_kind = "Q6_K"
    body_kind = choose("token_embd", 0, shape)
    ones = [1.0] * shape["dim"]
    tensors = [matrix("token_embd", shape["vocab_size"], shape["dim"],
                      head_kind if shape["tied"] else body_kind)]
    if shape["rope_factor"]:
        divisors = rope_divisors(shape)
        tensors.append(Tensor("rope_freqs.weight", [len(divisors)], "F32", values=divisors))
    for layer in range(shape["n_layers"]):
        prefix = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            tensors.append(Tensor(f"{prefix}{norm}.weight", [len(ones)], "F32", values=ones))
        for name, (rows, cols) in linears(shape).items():
            tensors.append(matrix(prefix + name, rows, cols, choose(name, layer, shape)))
    tensors.append(Tensor("output_norm.weight", [len(ones)], "F32", values=ones))
    if not shape["tied"]:
        tensors.append(matrix("output", shape["vocab_size"], shape["dim"], head_kind))
    return tensors


def adapter_tensors(shape, rank, scale):
    """A and B as convert_lora_to_gguf writes them, half precision. With alpha / rank = 1 and B of
    deviation scale / sqrt(rank) the change of a layer's output is `scale` of that output."""
    tensors = []
    for layer in range(shape["n_layers"]):
        for name, (rows, cols) in linears(shape).items():
            prefix = f"blk.{layer}.{name}.weight.lora_"
            tensors.append(Tensor(prefix + "a", [cols, rank], "F16", 1 / math.sqrt(cols)))
            tensors.append(Tensor(prefix + "b", [rank, rows], "F16", scale / math.sqrt(rank)))
    return tensors


def byte_alphabet():
    """GPT-2's spelling of the bytes: those that are no visible Latin-1 character are moved up."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(moved)) for byte in range(256)]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    if kind == STRING:
        return text(key) + struct.pack("<I", kind) + text(value)
    letter = {FLOAT32: "f", UINT32: "I", BOOL: "?"}[kind]
    return text(key) + struct.pack(f"<I{letter}", kind, value)


def array_entry(key, kind, values):
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    if kind == STRING:
        return head + b"".join(map(text, values))
    return head + struct.pack(f"<{len(values)}i", *values)


def vocabulary_entries(shape):
    """The single bytes, <|bos|>, <|eos|>, one merge, then numbered words."""
    tokens = [*byte_alphabet(), "<|bos|>", "<|eos|>", "Ġw"]
    types = [1] * 256 + [3, 3, 1]  # 1 normal, 3 control
    for token in range(len(tokens), shape["vocab_size"]):
        tokens.append(f"Ġw{token}")
        types.append(1)
    return [entry("tokenizer.ggml.model", STRING, "gpt2"),
            entry("tokenizer.ggml.pre", STRING, "llama-bpe"),
            array_entry("tokenizer.ggml.tokens", STRING, tokens),
            array_entry("tokenizer.ggml.token_type", INT32, types),
            array_entry("tokenizer.ggml.merges", STRING, ["Ġ w"]),
            entry("tokenizer.ggml.bos_token_id", UINT32, 256),
            entry("tokenizer.ggml.eos_token_id", UINT32, 257),
            entry("tokenizer.ggml.add_bos_token", BOOL, True)]


def model_entries(shape, mix):
    head_dim = shape["dim"] // shape["n_heads"]
    numbers = {"block_count": shape["n_layers"], "context_length": shape["context"],
               "embedding_length": shape["dim"], "feed_forward_length": shape["ffn_dim"],
               "attention.head_count": shape["n_heads"],
               "attention.head_count_kv": shape["n_kv_heads"],
               "rope.dimension_count": head_dim, "vocab_size": shape["vocab_size"]}
    return [entry("general.architecture", STRING, "llama"),
            entry("general.name", STRING, f"{shape['name']} {mix}, random weights"),
            entry("general.file_type", UINT32, MIXES[mix][1]),
            entry("general.quantization_version", UINT32, 2),
            *(entry(f"llama.{key}", UINT32, number) for key, number in numbers.items()),
            entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
            entry("llama.rope.freq_base", FLOAT32, shape["rope_theta"]),
            *vocabulary_entries(shape)]


def adapter_entries(rank):
    return [entry("general.architecture", STRING, "llama"),
            entry("general.type", STRING, "adapter"),
            entry("general.file_type", UINT32, F16),
            entry("adapter.type", STRING, "lora"),
            entry("adapter.lora.alpha", FLOAT32, float(rank))]


def write_gguf(path, entries, tensors, seed):
    """The file appears under its name only when it is complete."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries)
    offset = 0
    infos = []
    for tensor in tensors:
        infos.append(text(tensor.name) + struct.pack(
            f"<I{len(tensor.dims)}QIQ", len(tensor.dims), *tensor.dims, tensor.code, offset))
        offset += tensor.size + -tensor.size % ALIGNMENT
    header += b"".join(infos)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as out:
            out.write(header + bytes(-len(header) % ALIGNMENT))
            for index, tensor in enumerate(tensors):
                # A generator a tensor: any tensor can be made without those before it.
                source = random.Random(f"{seed} {index} {tensor.name}")
                for piece in tensor.pieces(source):
                    out.write(piece)
                out.write(bytes(-tensor.size % ALIGNMENT))
        os.replace(unfinished, path)
    except OSError as error:
        raise SystemExit(f"make_gguf: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("model", "adapter"):
        command = commands.add_parser(name)
        command.add_argument("--shape", required=True, help="a preset, or field=number pairs")
        command.add_argument("--out", required=True, type=pathlib.Path, help="the file to write")
        command.add_argument("--seed", type=int, default=1)
        if name == "model":
            command.add_argument("--mix", choices=MIXES, default="Q3_K_S")
        else:
            command.add_argument("--rank", type=int, default=16)
            command.add_argument("--scale", type=float, default=0.5,
                                 help="size of the change beside the layer's own output")
    arguments = parser.parse_args()
    shape = parse_shape(arguments.shape)
    if arguments.command == "model":
        entries = model_entries(shape, arguments.mix)
        tensors = model_tensors(shape, arguments.mix)
    else:
        if arguments.rank < 1 or not arguments.scale > 0:
            raise SystemExit("make_gguf: --rank and --scale must be positive")
        entries = adapter_entries(arguments.rank)
        tensors = adapter_tensors(shape, arguments.rank, arguments.scale)
    write_gguf(arguments.out, entries, tensors, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
