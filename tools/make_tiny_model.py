#!/usr/bin/env python3
"""Writes a small Llama with random weights as a Hugging Face directory.

Tests and the demo need a model that is complete (config, weights, tokenizer, chat template), small,
free and the same on every machine. This makes one out of a seed, with the standard library only:

    tools/make_tiny_model.py --out build/tiny            2 layers, width 64, a vocabulary of 310
    tools/make_tiny_model.py --out build/tiny --seed 7 --dim 96 --heads 6 --kv-heads 2 --tied

The same arguments give the same bytes: random numbers are sums of integers from Python's Mersenne
Twister, and the only inexact operations are those that IEEE 754 rounds in one way (no sine, no
logarithm). The text of such a model is noise; its shapes, names and files are those of Llama 3.
"""

import argparse
import array
import json
import math
import pathlib
import random
import re
import sys

# The text from which the merges are learned, and the way it is cut into pieces: both only for
# learning. The tokenizer itself carries PATTERN.
SAMPLE = """
Once upon a time there was a little girl who lived in a house near the sea. One day she went to
the shore and found a small boat. "Where do you come from?" she asked. The boat said nothing, but
the wind and the waves told her that there was an island, and that on the island there was a tree.
She wanted to see the tree, so she asked her mother and her father, and they all went there
together. They were happy, and when the sun went down they went home and told the story to their
friends.
"""
SAMPLE_PIECE = re.compile(r" ?[A-Za-z]+|\s+|[^A-Za-z\s]+")
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
           r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

BOS = "<|begin_of_text|>"
EOS = "<|end_of_text|>"
HEADER = "<|start_header_id|>"
HEADER_END = "<|end_header_id|>"
EOT = "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"
SPECIAL = [BOS, EOS, HEADER, HEADER_END, EOT, PADDING]

CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- endif %}")


def byte_alphabet():
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


def learn_merges(count):
    """The `count` most frequent pairs of SAMPLE, one after the other; ties go to the lower pair."""
    letters = byte_alphabet()
    pieces = [[letters[byte] for byte in piece.encode()] for piece in SAMPLE_PIECE.findall(SAMPLE)]
    merges = []
    while len(merges) < count:
        frequency = {}
        for piece in pieces:
            for pair in zip(piece, piece[1:]):
                frequency[pair] = frequency.get(pair, 0) + 1
        if not frequency:
            sys.exit(f"make_tiny_model: the sample has only {len(merges)} pairs to merge")
        best = min(frequency, key=lambda pair: (-frequency[pair], pair))
        merges.append(best)
        pieces = [merge_pair(piece, best) for piece in pieces]
    return merges


def merge_pair(piece, pair):
    """`piece` with `pair` joined wherever it stands, from left to right."""
    merged = []
    index = 0
    while index < len(piece):
        width = 2 if tuple(piece[index:index + 2]) == pair else 1
        merged.append("".join(piece[index:index + width]))
        index += width
    return merged


def tokenizer_json(merges):
    letters = byte_alphabet()
    vocabulary = [letters[byte] for byte in sorted(letters, key=lambda byte: letters[byte])]
    vocabulary += [left + right for left, right in merges]
    ids = {token: index for index, token in enumerate(vocabulary)}
    special_ids = {token: len(vocabulary) + index for index, token in enumerate(SPECIAL)}
    bos = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second_bos = {"SpecialToken": {"id": BOS, "type_id": 1}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return special_ids, {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{
            "id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True
        } for token, index in special_ids.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated",
                 "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                 "use_regex": False},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, second_bos, second],
            "special_tokens": {BOS: {"id": BOS, "ids": [special_ids[BOS]], "tokens": [BOS]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": True, "vocab": ids,
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }


def bell(generator, count, deviation, mean=0.0):
    """`count` numbers around `mean`: sums of four 16-bit integers, nearly a normal curve."""
    whole = array.array("H", generator.randbytes(8 * count))
    if sys.byteorder == "big":
        whole.byteswap()
    # Variance of one uniform integer in [0, 65536) is (65536^2 - 1) / 12.
    scale = deviation / math.sqrt(4 * (65536.0 * 65536.0 - 1.0) / 12.0)
    middle = 2 * 65535
    numbers = array.array("f", bytes(4 * count))
    for index in range(count):
        start = 4 * index
        total = whole[start] + whole[start + 1] + whole[start + 2] + whole[start + 3]
        numbers[index] = mean + (total - middle) * scale
    return numbers


def tensors(options, vocabulary_size):
    """Yields (name, shape, deviation, mean) in the order of the file."""
    dim, ffn = options.dim, options.ffn_dim
    q_dim, kv_dim = options.heads * options.head_dim, options.kv_heads * options.head_dim
    # Logits spread over about four units, so that one token is usually a clear winner.
    sharp = 4.0 / math.sqrt(dim)
    if not options.tied:
        yield "lm_head.weight", (vocabulary_size, dim), sharp, 0.0
    yield "model.embed_tokens.weight", (vocabulary_size, dim), sharp if options.tied else 1.0, 0.0
    for layer in range(options.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (dim,), 0.1, 1.0
        yield prefix + "mlp.down_proj.weight", (dim, ffn), 1.0 / math.sqrt(ffn), 0.0
        yield prefix + "mlp.gate_proj.weight", (ffn, dim), 1.0 / math.sqrt(dim), 0.0
        yield prefix + "mlp.up_proj.weight", (ffn, dim), 1.0 / math.sqrt(dim), 0.0
        yield prefix + "post_attention_layernorm.weight", (dim,), 0.1, 1.0
        yield prefix + "self_attn.k_proj.weight", (kv_dim, dim), 1.0 / math.sqrt(dim), 0.0
        yield prefix + "self_attn.o_proj.weight", (dim, q_dim), 1.0 / math.sqrt(q_dim), 0.0
        yield prefix + "self_attn.q_proj.weight", (q_dim, dim), 1.0 / math.sqrt(dim), 0.0
        yield prefix + "self_attn.v_proj.weight", (kv_dim, dim), 1.0 / math.sqrt(dim), 0.0
    yield "model.norm.weight", (dim,), 0.1, 1.0


def write_safetensors(path, options, vocabulary_size):
    listing = list(tensors(options, vocabulary_size))
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, _, _ in listing:
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape, deviation, mean in listing:
            # One generator a tensor: a change to one shape leaves the numbers of the others alone.
            generator = random.Random(f"{options.seed}/{name}")
            numbers = bell(generator, math.prod(shape), deviation, mean)
            if sys.byteorder == "big":
                numbers.byteswap()
            out.write(numbers.tobytes())
    return offset // 4


def write_json(path, value):
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dim", type=int, default=64, help="width of the residual stream")
    parser.add_argument("--ffn-dim", type=int, default=172, help="width of the feed-forward part")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, help="dim / heads by default")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--merges", type=int, default=48, help="merges of the tokenizer")
    parser.add_argument("--tied", action="store_true", help="the head is the token embedding")
    options = parser.parse_args()
    if options.head_dim is None:
        options.head_dim = options.dim // options.heads if options.heads > 0 else 0
    if min(options.dim, options.ffn_dim, options.layers, options.heads, options.kv_heads,
           options.head_dim, options.context) < 1 or options.merges < 0:
        parser.error("every size is at least 1")
    if options.heads % options.kv_heads != 0:
        parser.error("--heads is a multiple of --kv-heads")
    if options.head_dim % 2 != 0:
        parser.error("--head-dim is even")
    return options


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    special_ids, tokenizer = tokenizer_json(learn_merges(options.merges))
    vocabulary_size = len(tokenizer["model"]["vocab"]) + len(special_ids)
    write_json(options.out / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": special_ids[BOS],
        "eos_token_id": [special_ids[EOS], special_ids[EOT]],
        "head_dim": options.head_dim,
        "hidden_act": "silu",
        "hidden_size": options.dim,
        "intermediate_size": options.ffn_dim,
        "max_position_embeddings": options.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": options.heads,
        "num_hidden_layers": options.layers,
        "num_key_value_heads": options.kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": options.tied,
        "torch_dtype": "float32",
        "vocab_size": vocabulary_size,
    })
    write_json(options.out / "generation_config.json", {
        "bos_token_id": special_ids[BOS],
        "eos_token_id": [special_ids[EOS], special_ids[EOT]],
    })
    write_json(options.out / "tokenizer.json", tokenizer)
    write_json(options.out / "tokenizer_config.json", {
        "bos_token": BOS,
        "chat_template": CHAT_TEMPLATE,
        "eos_token": EOT,
        "model_max_length": options.context,
        "pad_token": PADDING,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    count = write_safetensors(options.out / "model.safetensors", options, vocabulary_size)
    print(f"{options.out}: {count} random weights, {vocabulary_size} tokens, seed {options.seed}")


if __name__ == "__main__":
    main()
