#!/usr/bin/env python3
"""Fifteen tenants with an adapter each replay a trace: beside the base alone, and llama.cpp.

    bench/serving/trace.py --shape llama-3.2-1b --trace AzureLLMInferenceTrace_conv.csv
    bench/serving/trace.py --base examples/bundled/base --trace … --requests 600
    bench/serving/trace.py … --llama-server build/bin/llama-server

Rows of the trace (ContextTokens, GeneratedTokens) become requests in the trace's order: lengths
times --context over the 99th percentile of their sum, row k for tenant k modulo --tenants. A
tenant's prompts begin with a system prompt of its own. Prompts are token ids and the end of text is
ignored, so lengths are those of the trace. The loop is closed: --in-flight requests at once, the
next when one ends, which saturates the server without a queue that grows.

Modes take turns, A B C A B C, each with a server of its own; figures are medians of the rounds,
ratios medians of the ratios within a round. Every round is appended to
bench/results/serving-CPU-DATE.csv.
See docs/serving.md.
"""

import argparse
import csv
import datetime
import http.client
import importlib.machinery
import importlib.util
import json
import math
import os
import pathlib
import platform
import random
import re
import subprocess
import sys
import time

import load

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAKE_GGUF = ROOT / "bench/peers/make_gguf.py"
COLUMNS = ["date", "cpu", "model", "version", "tenants", "in_flight", "context", "requests", "mode",
           "round", "others", "client", "server", "figure", "unit", "value"]
BUSY = 0.05  # of the processors' time, taken by others: from here on the table says so
FIRST_TOKEN = 300  # bytes and control tokens stand below in the vocabularies used here


class Mode:
    """One way to serve the load: name in the table, engine, whether requests name adapters."""

    def __init__(self, name, engine, adapters, cache=False):
        self.name = name
        self.engine = engine
        self.adapters = adapters
        self.cache = cache


MODES = {
    "base": Mode("etch, base", "etch", False),
    "adapters": Mode("etch, adapters", "etch", True),
    "base-cache": Mode("etch, base, prefix cache", "etch", False, cache=True),
    "adapters-cache": Mode("etch, adapters, prefix cache", "etch", True, cache=True),
    "llama-q4-base": Mode("llama.cpp Q4_0, base", "Q4_0", False),
    "llama-q4": Mode("llama.cpp Q4_0, adapters", "Q4_0", True),
    "llama-q3-base": Mode("llama.cpp Q3_K_S, base", "Q3_K_S", False),
    "llama-q3": Mode("llama.cpp Q3_K_S, adapters", "Q3_K_S", True),
}
# Of the first to the second.
RATIOS = [("adapters", "base"), ("adapters-cache", "base-cache"), ("adapters", "llama-q4"),
          ("adapters", "llama-q3"), ("llama-q4", "llama-q4-base"), ("llama-q3", "llama-q3-base"),
          ("base", "llama-q4-base"), ("base", "llama-q3-base")]


def say(text):
    print(text, file=sys.stderr, flush=True)


def peers():
    """bench/peers/run, whose name is no module's: the name of the processor, the version."""
    loader = importlib.machinery.SourceFileLoader("peers", str(ROOT / "bench/peers/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("peers", loader))
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = keep
    return module


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shape", help="seeded weights of this shape (`etch compile --synthetic`)")
    what.add_argument("--base", type=pathlib.Path, help="folder or GGUF file of a Llama model")
    parser.add_argument("--trace", type=pathlib.Path, required=True, help="CSV of the Azure trace")
    parser.add_argument("--etch", type=pathlib.Path, default=ROOT / "build/release/src/cli/etch")
    parser.add_argument("--llama-server", type=pathlib.Path, help="llama.cpp's server; else none")
    parser.add_argument("--modes", help=f"of {', '.join(MODES)}, by commas; default: all that can")
    parser.add_argument("--tenants", type=int, default=15)
    parser.add_argument("--in-flight", type=int, default=15)
    parser.add_argument("--requests", type=int, default=60, help="rows of the trace")
    parser.add_argument("--seconds", type=float, default=120, help="most that a turn takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--system", type=int, default=32, help="tokens of each system prompt")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--speculate", default="off", help="of `etch serve`; llama.cpp does not")
    parser.add_argument("--etch-options", default="", help="more options for `etch serve`")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "out/serving")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results")
    parser.add_argument("--json", action="store_true", help="the rounds as JSON, no CSV")
    options = parser.parse_args()
    known = [name for name, mode in MODES.items() if mode.engine == "etch" or options.llama_server]
    options.modes = options.modes.split(",") if options.modes else known
    for name in options.modes:
        if name not in known:
            parser.error(f"no mode {name}; there are {', '.join(known)}")
    if min(options.tenants, options.in_flight, options.requests, options.rounds) < 1:
        parser.error("--tenants, --in-flight, --requests and --rounds are 1 or more")
    return options


# --- what is served ------------------------------------------------------------------------------

def run(command, what):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"trace: {what} failed with {done.returncode}")
    return done.stdout


def gguf_shape(options, config):
    """The shape as bench/peers/make_gguf.py takes it: of a preset, or as the image has it."""
    if options.shape:
        return options.shape
    names = {"dim": "dim", "ffn_dim": "ffn_dim", "n_layers": "layers", "n_heads": "heads",
             "n_kv_heads": "kv_heads", "vocab_size": "vocabulary", "context": "context",
             "tied": "tied_embeddings"}
    return ",".join(f"{field}={int(config[name])}" for field, name in names.items())


class Files:
    """What the servers load: made where it is missing, kept in --cache."""

    def __init__(self, options):
        name = options.shape or options.base.resolve().parent.name + "-" + options.base.stem
        options.cache.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.image = options.cache / f"{name}.etch"
        if not self.image.exists():
            say(f"making {self.image}")
            source = ["--synthetic", options.shape] if options.shape else [options.base]
            run([options.etch, "compile", *source, "-o", self.image, "--quiet"], "etch compile")
        config = json.loads(run([options.etch, "inspect", self.image, "--json"],
                                "etch inspect"))["config"]
        shape = gguf_shape(options, config)
        self.vocab_size = config["vocabulary"]
        self.adapters = []
        folder = options.cache / f"{name}-rank{options.rank}"
        for number in range(options.tenants):
            path = folder / f"tenant{number:02d}.gguf"
            if not path.exists():
                run([MAKE_GGUF, "adapter", "--shape", shape, "--rank", options.rank, "--seed",
                     number + 1, "--out", path], "make_gguf.py adapter")
            self.adapters.append(path)
        self.folder = folder
        self.models = {}
        for mix in {MODES[mode].engine for mode in options.modes} - {"etch"}:
            self.models[mix] = options.cache / f"{name}-{mix}.gguf"
            if not self.models[mix].exists():
                say(f"making {self.models[mix]}")
                run([MAKE_GGUF, "model", "--shape", shape, "--mix", mix, "--out",
                     self.models[mix]], "make_gguf.py model")


def make_tenants(options, files):
    """A file of tenants, each with its adapter; their keys."""
    database = options.cache / "tenants.db"
    for path in options.cache.glob("tenants.db*"):
        path.unlink()
    keys = []
    for path in files.adapters:
        keys.append(json.loads(run(
            [options.etch, "tenant", "add", path.stem, "--db", database, "--adapter", path.stem,
             "--base", "--json"], "etch tenant add"))["key"])
    return database, keys


# --- what is asked -------------------------------------------------------------------------------

def read_trace(options):
    """(tokens of the prompt, tokens of the answer) of the first rows, scaled to the context."""
    with open(options.trace, newline="", encoding="utf-8") as file:
        rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"]))
                for row in csv.DictReader(file)]
    factor = options.context / load.percentile([sum(row) for row in rows], .99)
    lengths = []
    for prompt, answer in rows[:options.requests]:
        # The hundredth that is longer than the context is cut to it, both parts alike.
        scale = min(factor, options.context / (prompt + answer))
        answer = max(1, math.floor(answer * scale))
        lengths.append((max(1, min(math.floor(prompt * scale), options.context - answer)), answer))
    return lengths


def make_requests(options, files, keys, mode):
    source = random.Random(1)

    def draw(count):
        return [source.randrange(min(FIRST_TOKEN, files.vocab_size // 2), files.vocab_size)
                for _ in range(count)]

    systems = [draw(options.system) for _ in range(options.tenants)]
    exchanges = []
    for index, (prompt, answer) in enumerate(read_trace(options)):
        tenant = index % options.tenants
        # At least half of a short prompt is its own.
        begin = systems[tenant][:prompt // 2]
        exchanges.append(make_request(files, keys, mode, tenant,
                                      begin + draw(prompt - len(begin)), answer))
    return exchanges


def make_request(files, keys, mode, tenant, prompt, answer):
    body = {"prompt": prompt, "max_tokens": answer, "ignore_eos": True, "stream": True,
            "temperature": 0, "stream_options": {"include_usage": True}}
    if mode.engine != "etch":
        body["cache_prompt"] = mode.cache
        if mode.adapters:
            body["lora"] = [{"id": tenant, "scale": 1.0}]
    elif mode.adapters:
        body["model"] = files.adapters[tenant].stem
    return load.Exchange(body, keys[tenant], len(prompt))


# --- a turn --------------------------------------------------------------------------------------

def start_etch(options, files, mode, database):
    command = [options.etch, "serve", files.image, "--adapters", files.folder, "--tenants",
               database, "--port", "0", "--json", "--parallel", options.in_flight, "--threads",
               options.threads, "--context", options.context, "--speculate", options.speculate,
               *options.etch_options.split()]
    if not mode.cache:
        command += ["--prefix-cache", "0"]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    if not line:
        raise SystemExit("trace: etch serve did not start")
    return server, int(re.search(r":(\d+)/?", json.loads(line)["url"]).group(1))


def free_port():
    with load.socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_llama(options, files, mode):
    port = free_port()
    command = [options.llama_server, "-m", files.models[mode.engine], "--port", port, "--host",
               "127.0.0.1", "-t", options.threads, "-tb", options.threads, "-np",
               options.in_flight, "-c", options.in_flight * options.context, "--no-kv-unified",
               "--cont-batching", "--no-ui", "--cache-ram", "0"]
    if mode.adapters:
        command += ["--lora", ",".join(map(str, files.adapters)), "--lora-init-without-apply"]
    log = open(options.cache / "llama-server.log", "w", encoding="utf-8")
    server = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    log.close()
    for _ in range(1200):
        if server.poll() is not None:
            raise SystemExit(f"trace: llama-server did not start; see {log.name}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return server, port
        except OSError:
            pass
        time.sleep(0.1)
    server.terminate()
    raise SystemExit("trace: llama-server was not ready within two minutes")


def take_turn(options, files, mode, database, keys):
    """Figures of one mode: name to (unit, value), and the shares of the processors."""
    if mode.engine == "etch":
        server, port = start_etch(options, files, mode, database)
    else:
        server, port = start_llama(options, files, mode)
    try:
        # Adapters come into memory, the server's own memory is touched.
        warm = [make_request(files, keys, mode, tenant, [FIRST_TOKEN - 1] * 4, 2)
                for tenant in range(options.tenants)]
        load.run_closed_loop(port, warm, options.in_flight, 600)
        exchanges = make_requests(options, files, keys, mode)
        watch = load.Processors([server])
        passed, sent = load.run_closed_loop(port, exchanges, options.in_flight, options.seconds)
        *shares, served_s = watch.shares()
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    failures = [exchange.failure for exchange in warm + sent if exchange.failure]
    for failure in failures[:3]:
        say(f"failure: {failure}")
    return figures_of(passed, served_s, sent, len(failures)), shares


def figures_of(passed, served_s, sent, failures):
    begun = [exchange for exchange in sent if exchange.times]
    first = [exchange.times[0] - exchange.sent_s for exchange in begun]
    gaps = [gap for exchange in begun for gap in exchange.gaps()]
    answers = sum(exchange.tokens for exchange in sent)
    prompts = sum(exchange.prompt_tokens for exchange in begun)
    cached = sum(exchange.cached_tokens for exchange in begun)
    return {"all tokens": ("tokens/s", (prompts + answers) / passed),
            "answers": ("tokens/s", answers / passed),
            "a processor second": ("tokens", (prompts + answers) / max(served_s, 1e-3)),
            "first token, median": ("ms", 1e3 * load.median(first)),
            "first token, p99": ("ms", 1e3 * load.percentile(first, .99)),
            "between, median": ("ms", 1e3 * load.median(gaps)),
            "between, p99": ("ms", 1e3 * load.percentile(gaps, .99)),
            "finished": ("requests", sum(exchange.is_whole for exchange in sent)),
            "prompt cached": ("share", cached / prompts if prompts else 0.0),
            "seconds": ("s", passed), "failures": ("requests", failures)}


# --- what is said about it -----------------------------------------------------------------------

def table(options, turns):
    """Lines: a row a mode, then the ratios of tokens/s within the rounds."""
    lines = ["| mode | tokens/s, all | of answers | first token, ms: median / p99 | between, ms: "
             "median / p99 | finished | cached | others |", "|---" * 8 + "|"]
    for name in options.modes:
        rounds = turns[name]

        def middle(figure, rounds=rounds):
            return load.median([figures[figure][1] for figures, _ in rounds])

        others = load.median([shares[2] for _, shares in rounds])
        lines.append(
            f"| {MODES[name].name} | {middle('all tokens'):.1f} | {middle('answers'):.1f} "
            f"| {middle('first token, median'):.0f} / {middle('first token, p99'):.0f} "
            f"| {middle('between, median'):.1f} / {middle('between, p99'):.1f} "
            f"| {middle('finished'):.0f} | {middle('prompt cached'):.0%} | {others:.0%} |")
    lines += ["", "| ratio | tokens/s: median | of the rounds | tokens a processor second: median "
              "| of the rounds |", "|---" * 5 + "|"]
    for over, under in RATIOS:
        if over not in turns or under not in turns:
            continue
        line = f"| {MODES[over].name} / {MODES[under].name} |"
        for figure in ("all tokens", "a processor second"):
            ratios = [mine[figure][1] / other[figure][1]
                      for (mine, _), (other, _) in zip(turns[over], turns[under])
                      if other[figure][1] > 0]
            line += f" {load.median(ratios):.2f} | " + " ".join(f"{r:.2f}" for r in ratios) + " |"
        lines.append(line)
    return lines


def append_csv(options, tools, files, turns, version):
    date = datetime.date.today().isoformat()
    cpu = tools.cpu_name()
    slug = re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")
    path = options.results / f"serving-{slug}-{date}.csv"
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for name, rounds in turns.items():
            for number, (figures, (client, server, others)) in enumerate(rounds, 1):
                for figure, (unit, value) in figures.items():
                    writer.writerow([date, cpu, files.name, version, options.tenants,
                                     options.in_flight, options.context, options.requests, name,
                                     number, f"{others:.3f}", f"{client:.3f}", f"{server:.3f}",
                                     figure, unit, f"{value:.6g}"])
    return path


def main():
    options = parse_arguments()
    options.etch = options.etch.resolve()
    if not options.etch.exists():
        raise SystemExit(f"trace: no program {options.etch}; build it or give --etch")
    files = Files(options)
    database, keys = make_tenants(options, files)
    lengths = read_trace(options)
    turns = {name: [] for name in options.modes}
    for number in range(options.rounds):
        for name in options.modes:
            say(f"round {number + 1} of {options.rounds}: {MODES[name].name}")
            turns[name].append(take_turn(options, files, MODES[name], database, keys))
    failures = sum(figures["failures"][1] for rounds in turns.values() for figures, _ in rounds)
    if options.json:
        print(json.dumps({name: [{figure: value for figure, (_, value) in figures.items()}
                                 for figures, _ in rounds] for name, rounds in turns.items()}))
        return 1 if failures else 0

    tools = peers()
    client = load.median([shares[0] for rounds in turns.values() for _, shares in rounds])
    print(f"{tools.cpu_name()}, {options.threads} threads, {platform.system()} "
          f"{platform.release()}, {datetime.date.today().isoformat()}")
    print(f"{files.name}: {options.tenants} tenants, {options.in_flight} in flight, context "
          f"{options.context}, {len(lengths)} requests of {sum(p for p, _ in lengths)} prompt and "
          f"{sum(a for _, a in lengths)} answer tokens, {options.rounds} rounds")
    print(f"the client took {client:.1%} of the processors (median)\n")
    print("\n".join(table(options, turns)))
    busiest = max(shares[2] for rounds in turns.values() for _, shares in rounds)
    if busiest > BUSY:
        print(f"\nNOT TO BE QUOTED: other programs took up to {busiest:.0%} of the processors")
    print(f"\nevery round: {append_csv(options, tools, files, turns, tools.etch_version(options))}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
