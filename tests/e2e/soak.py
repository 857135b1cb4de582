#!/usr/bin/env python3
"""Mixed load on one server for as long as wanted, every answer checked.

    ETCH=build/asan/src/cli/etch tests/e2e/soak.py --seconds 3600 --rate 10

Several tenants, thirty adapters in a budget for eight, every surface, uploads and removals, clients
that leave, requests that are none, reloads (soak_load.py). A part of the answers is compared with
what another server, without budget, cache and speculation, has said before. Ctrl-C ends it with
the report so far; exit code 1 says that something was wrong. --keep DIRECTORY keeps what the server
wrote to standard error.

Memory is VmRSS: the figure of minute five, or of half the time, beside that of the end. Under the
sanitizers it grows with what they hold back, so --most-growth 0 (any) is meant for them; leaks are
their finding at the end.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import soak_load
from program import ETCH, SOURCE, WORK, Server, etch, etch_json, make_tiny_model
from soak_load import ADAPTERS, KINDS, Worker, Wrong, choices_of, expect

FINDINGS = re.compile(r"Sanitizer|runtime error|terminate called|ETCH_CHECK|check failed", re.I)


def make_model(folder):
    """A small chat model whose template shows tools, its image, and adapters for it."""
    model = folder / "tiny"
    make_tiny_model(model)
    config = model / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    settings["chat_template"] = settings["chat_template"].replace(
        "{%- for message", "{%- if tools %}{{- tools | tojson }}{%- endif %}{%- for message", 1)
    config.write_text(json.dumps(settings))
    image = folder / "tiny.etch"
    etch("compile", model, "-o", image, "--name", "tiny")
    (folder / "adapters").mkdir()
    for seed, name in enumerate(ADAPTERS, 1):
        subprocess.run([sys.executable, SOURCE / "tools/make_adapter.py", "--out",
                        folder / "adapters" / name, "--model", model, "--seed", str(seed),
                        "--scale", "1"], check=True, capture_output=True)
    return image


class Soak:
    MOVES = ("a10", "a11")  # what the adapter `moving` is, in turns
    BURST = 12  # requests that come at once

    def __init__(self, folder, options):
        self.folder = folder
        self.options = options
        self.image = make_model(folder)
        self.adapters = folder / "adapters"
        for name in self.MOVES:
            etch("adapter", "export", self.image, self.adapters / name, "--to", "gguf", "-o",
                 folder / f"{name}.gguf")
        shutil.copy(folder / "a10.gguf", self.adapters / "moving.gguf")
        self.db = folder / "tenants.db"
        self.keys = {}
        for name, *limits in (("wide", "--all-adapters"), ("leaver", "--all-adapters"),
                              ("ops", "--all-adapters", "--admin"),
                              ("metered", "--all-adapters", "--requests-per-minute", "60"),
                              ("pair", "--adapter", "a00", "--adapter", "a01", "--no-base",
                               "--concurrent", "2", "--context", "128"), ("turn",)):
            self.keys[name] = self.tenant("add", name, *limits)["key"]
        self.old_key = "etch_0"
        self.fixed = soak_load.fixed_requests()
        self.fixed_names = list(self.fixed)
        self.names = [f"new{number:02d}" for number in range(24)]
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.answers = collections.Counter()
        self.failures = []
        self.memory = []  # (seconds, KiB)
        self.stop = threading.Event()
        self.next_slot = 0

    def tenant(self, command, *arguments):
        return etch_json("tenant", command, *arguments, "--db", self.db)

    def learn(self):
        """What a server says that runs one request after another, with all the room there is."""
        self.known = {}
        with Server(self.image, "--adapters", self.adapters, "--prefix-cache", "0", "--speculate",
                    "off", "--parallel", "1") as server:
            worker = Worker(server.port)
            for name, (path, body) in self.fixed.items():
                reply = worker.post(path, "", body)
                expect(reply.status == 200, name, reply.text)
                self.known[name] = choices_of(reply, False)
            worker.close()
            size = worker.call("GET", "/v1/models/a00", "").json["adapter"]["size_bytes"]
            worker.close()
        expect(len({self.known["chat", name][0]["text"] for name in ADAPTERS}) > 25,
               "the adapters are too much alike")
        expect(self.known["tools", "a00"][0]["calls"], self.known["tools", "a00"])
        self.sram = 8 * size + (3 << 20)

    def take_name(self):
        with self.lock:
            return self.names.pop(random.randrange(len(self.names)))

    def give_name(self, name):
        with self.lock:
            self.names.append(name)

    def count_answer(self, tenant):
        with self.lock:
            self.answers[tenant] += 1

    def start(self):
        self.errors = open(self.folder / "stderr", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [ETCH, "serve", self.image, "--adapters", self.adapters, "--tenants", self.db,
             "--sram", str(self.sram), "--parallel", "6", "--port", "0", "--json", "--log-format",
             "json", *self.options.serve], stdout=subprocess.PIPE, stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        expect(line, "the server does not start")
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    def wait_for_turn(self):
        """Requests come in bursts, as many in the long run as the rate says. False at the end."""
        with self.lock:
            now = time.monotonic()
            self.next_slot += 1
            at = self.begin + self.next_slot // self.BURST * self.BURST / self.options.rate
            if at < now - 5:  # the server is slower than the rate
                self.next_slot += int((now - at) * self.options.rate)
        return not self.stop.wait(max(0, at - now))

    def work(self):
        worker = Worker(self.port)
        kinds, weights = zip(*KINDS)
        while self.wait_for_turn():
            kind = random.choices(kinds, weights)[0]
            self.run(kind.__name__, lambda: kind(self, worker))
        worker.close()

    def run(self, name, function):
        try:
            detail = function()
            with self.lock:
                self.counts[name + (f" ({detail})" if detail else "")] += 1
        except Exception as error:  # whatever it is, it is a finding
            with self.lock:
                self.failures.append(
                    f"{time.monotonic() - self.begin:.1f} s: {name}: "
                    f"{type(error).__name__}: {error}")
                if len(self.failures) <= 20:
                    print("FAILED", self.failures[-1], flush=True)

    def reload(self):
        """Another file in the place of `moving`, and a signal to read it."""
        other = self.folder / "next.gguf"
        shutil.copy(self.folder / f"{random.choice(self.MOVES)}.gguf", other)
        os.replace(other, self.adapters / "moving.gguf")
        self.process.send_signal(signal.SIGHUP)

    def turn_key(self):
        """A new key in the place of the former, which is none from then on."""
        old, new = self.keys["turn"], self.tenant("rotate", "turn")["key"]
        self.keys["turn"] = new
        self.old_key = old
        worker = Worker(self.port)
        for key, status in ((new, 200), (old, 401)):
            reply = worker.call("GET", "/v1/models", key)
            expect(reply.status == status, "a key's turn", reply.status)
        worker.close()

    def operate(self):
        last = 0
        while not self.stop.wait(3):
            self.run("reload", self.reload)
            if time.monotonic() - last > 30:
                last = time.monotonic()
                self.run("turn_key", self.turn_key)

    def sample(self):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
            if match := re.search(r"VmRSS:\s+(\d+)", text):
                self.memory.append((time.monotonic() - self.begin, int(match.group(1))))

    def soak(self):
        self.begin = time.monotonic()
        threads = [threading.Thread(target=self.work) for _ in range(self.BURST)]
        threads.append(threading.Thread(target=self.operate))
        for thread in threads:
            thread.start()
        said = 0
        try:
            while (passed := time.monotonic() - self.begin) < self.options.seconds:
                if self.process.poll() is not None:
                    self.failures.append(f"the server has ended: {self.process.returncode}")
                    break
                time.sleep(min(2, self.options.seconds - passed))
                self.sample()
                if passed - said >= 10:
                    said = passed
                    done = sum(self.counts.values())
                    print(f"{passed:6.0f} s: {done} done, {done / passed:.1f}/s, "
                          f"{len(self.failures)} wrong, {self.memory[-1][1] / 1024:.1f} MiB, "
                          f"{self.options.seconds - passed:.0f} s left", flush=True)
        except KeyboardInterrupt:
            print("interrupted")
        self.passed = time.monotonic() - self.begin
        self.stop.set()
        for thread in threads:
            thread.join()

    def finish(self):
        """The server comes to rest, ends, and has counted what was answered."""
        if self.process.poll() is None:
            self.run("rest", self.rest)
            self.process.terminate()
        try:
            code = self.process.wait(120)
            if code != 0:
                self.failures.append(f"exit code {code}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.failures.append("SIGTERM did not end it")
        self.process.stdout.close()
        self.run("usage", self.compare_usage)
        self.errors.seek(0)
        log = self.errors.read()
        self.errors.close()
        if self.options.keep:
            self.options.keep.mkdir(parents=True, exist_ok=True)
            (self.options.keep / "stderr").write_text(log, encoding="utf-8")
        said = [line for line in log.splitlines() if not line.startswith("{")]
        wrong = [line for line in said if FINDINGS.search(line)]
        self.failures += [f"standard error: {line}" for line in wrong[:20]]
        said = [line for line in said if "the budget" not in line]  # which is meant to be too small
        if wrong:
            print("\n".join(said[:400]))
        else:
            self.failures += [f"standard error: {line}" for line in said[:20]]

    def rest(self):
        end = time.monotonic() + 60
        worker = Worker(self.port)
        while True:
            samples, _ = soak_load.parse_metrics(
                worker.call("GET", "/metrics", self.keys["ops"]).text)
            busy = [samples[f"vllm:num_requests_{what}", (("model_name", "tiny"),)]
                    for what in ("running", "waiting")]
            if busy == [0, 0]:
                break
            expect(time.monotonic() < end, "running, waiting:", busy)
            time.sleep(0.1)
        worker.close()
        left = sorted(path.name for path in self.adapters.iterdir())
        expect(left == sorted([*ADAPTERS, "moving.gguf"]), "left in the folder:", left)

    def compare_usage(self):
        with contextlib.closing(sqlite3.connect(self.db)) as database:
            expect(database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the store")
            rows = dict(database.execute(
                "SELECT tenants.name, count(*) FROM usage JOIN tenants ON tenants.id = tenant_id "
                "WHERE tenants.name != 'leaver' GROUP BY tenants.name").fetchall())
            sums = [database.execute(f"SELECT {what}, sum(prompt_tokens), sum(completion_tokens) "
                                     f"FROM {table}").fetchone()
                    for what, table in (("count(*)", "usage"), ("sum(requests)", "usage_months"))]
        expect(rows == dict(self.answers), "rows", rows, "answers", dict(self.answers))
        expect(sums[0] == sums[1], sums)

    def report(self):
        done = sum(self.counts.values())
        print(f"\n{done} done in {self.passed:.0f} s ({done / self.passed:.1f}/s), "
              f"{len(self.failures)} wrong")
        for name, count in sorted(self.counts.items()):
            print(f"{count:8}  {name}")
        early_end = min(300, self.passed / 2)
        early = [size for at, size in self.memory if early_end * 0.9 <= at <= early_end * 1.1]
        late = [size for at, size in self.memory if at >= self.passed * 0.95]
        if early and late:
            first, last = sum(early) / len(early) / 1024, sum(late) / len(late) / 1024
            print(f"memory: {first:.2f} MiB after {early_end:.0f} s, {last:.2f} MiB at the end "
                  f"({(last / first - 1) * 100:+.2f} %), most "
                  f"{max(size for _, size in self.memory) / 1024:.2f} MiB")
            most = self.options.most_growth
            if most > 0 and last > first * (1 + most / 100):
                self.failures.append(f"memory has grown by more than {most} %")
        for failure in self.failures[:50]:
            print("wrong:", failure)
        return 1 if self.failures else 0


def main():
    parser = argparse.ArgumentParser(description="Mixed load on one server, every answer checked.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=30, help="requests a second")
    parser.add_argument("--most-growth", type=float, default=0,
                        help="of the memory, in percent; 0: any")
    parser.add_argument("--keep", type=Path, help="folder for the server's standard error")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("serve", nargs="*", help="further options of etch serve, behind --")
    options = parser.parse_args()
    random.seed(options.seed)
    for end in (signal.SIGINT, signal.SIGTERM):  # also where a shell has it ignored
        signal.signal(end, signal.default_int_handler)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        soak = Soak(Path(folder), options)
        soak.learn()
        soak.start()
        try:
            soak.soak()
            soak.finish()
        finally:
            if soak.process.poll() is None:
                soak.process.kill()
        return soak.report()


if __name__ == "__main__":
    sys.exit(main())
