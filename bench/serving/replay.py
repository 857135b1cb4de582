#!/usr/bin/env python3
"""Replays requests over many adapters against `etch serve` under a budget, and prints what it took.

Adapters are asked for by a Zipf distribution (the k-th most popular with weight 1/k^S), by several
clients at once. The server is started by this program, with a budget for a stated number of
adapters beside the contexts:

    bench/serving/replay.py --etch build/release/src/cli/etch --image stories.etch \\
        --adapters folder --resident 50 --requests 2000

    bench/serving/replay.py … --make 2000     makes the adapters first (shape of stories260K)

Printed: requests, failures, share that found its adapter in memory, seconds to start, time to an
answer with and without a swap.
"""

import argparse
import http.client
import json
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def make_adapters(folder, count, rank):
    """Ten by tools/make_adapter.py, and copies of these: their number and size matter here."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = []
    for seed in range(10):
        out = folder / f"client{seed:05d}"
        subprocess.run([sys.executable, ROOT / "tools/make_adapter.py", "--out", out, "--shape",
                        "stories260k", "--rank", str(rank), "--seed", str(seed)], check=True,
                       capture_output=True)
        seeds.append([(path.name, path.read_bytes()) for path in out.iterdir()])
    for index in range(10, count):
        out = folder / f"client{index:05d}"
        out.mkdir(exist_ok=True)
        for name, data in seeds[index % 10]:
            (out / name).write_bytes(data)


def call(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--etch", default=ROOT / "build/release/src/cli/etch")
    parser.add_argument("--image", required=True)
    parser.add_argument("--adapters", type=pathlib.Path, required=True)
    parser.add_argument("--make", type=int, default=0, help="adapters to make in the folder")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--resident", type=int, default=50, help="adapters that the budget holds")
    parser.add_argument("--context-bytes", type=int, default=4 << 20, help="budget beside them")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--exponent", type=float, default=1.0, help="of the Zipf distribution")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.make:
        make_adapters(options.adapters, options.make, options.rank)

    def start(*more):
        begin = time.monotonic()
        server = subprocess.Popen(
            [options.etch, "serve", options.image, "--adapters", options.adapters, "--port", "0",
             "--json", "--prefix-cache", "0", "--parallel", str(options.clients), *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = server.stdout.readline()
        if not line:
            raise SystemExit(server.stderr.read())
        ready = json.loads(line)
        return server, int(re.search(r":(\d+)$", ready["url"]).group(1)), ready, \
            time.monotonic() - begin

    server, port, ready, _ = start()
    names = ready["adapters"]
    call(port, "POST", "/v1/completions", {"model": names[0], "prompt": "Once", "max_tokens": 1})
    size = call(port, "GET", f"/v1/models/{names[0]}")[1]["adapter"]["size_bytes"]
    server.terminate()
    server.wait()

    budget = size * options.resident + options.context_bytes
    server, port, ready, start_s = start("--sram", str(budget))
    source = random.Random(options.seed)
    order = names[:]
    source.shuffle(order)
    weights = [1 / (rank + 1) ** options.exponent for rank in range(len(order))]
    work = source.choices(order, weights, k=options.requests)
    lock = threading.Lock()
    hits, misses, failures = [], [], []

    def client():
        while True:
            with lock:
                if not work:
                    return
                name = work.pop()
            resident = call(port, "GET", f"/v1/models/{name}")[1]["adapter"]["resident"]
            begin = time.monotonic()
            status, answer = call(port, "POST", "/v1/completions",
                                  {"model": name, "prompt": "Once upon a time",
                                   "max_tokens": options.tokens, "temperature": 0})
            seconds = time.monotonic() - begin
            with lock:
                if status != 200:
                    failures.append(answer)
                (hits if resident else misses).append(seconds)

    begin = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.monotonic() - begin
    resident = sum(model["adapter"]["resident"]
                   for model in call(port, "GET", "/v1/models")[1]["data"][1:])
    rss = int(re.search(r"VmRSS:\s+(\d+)",
                        pathlib.Path(f"/proc/{server.pid}/status").read_text()).group(1)) / 1024
    server.terminate()
    lines = server.communicate()[1].splitlines()
    warnings = [line for line in lines if "exceed the budget" in line]
    result = {
        "adapters on disk": len(names), "bytes of one": size, "budget": budget,
        "start, s": round(start_s, 3), "requests": options.requests, "failures": len(failures),
        "hit rate": round(len(hits) / options.requests, 3),
        "requests/s": round(options.requests / wall_s, 1),
        "hit, ms, median / p99":
            f"{percentile(hits, .5) * 1e3:.1f} / {percentile(hits, .99) * 1e3:.1f}",
        "swap, ms, median / p99":
            f"{percentile(misses, .5) * 1e3:.1f} / {percentile(misses, .99) * 1e3:.1f}",
        "resident in the end": resident, "RSS, MiB": round(rss, 1),
        "warnings": len(warnings)}
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"| {key:<24} | {value!s:>18} |")
    for failure in failures[:3]:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
