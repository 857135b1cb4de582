"""The same request has the same answer to the byte, whatever else the server does and however it is
run: alone or in a crowd, with more or fewer turns and threads, after evictions, with and without
kept contexts and speculation, on another instruction set."""

import concurrent.futures
import http.client
import json
import random
import sys
import threading
import unittest

from operations_test import parse_metrics
from program import (DATA, Case, Server, etch, etch_json, make_adapter, need_data,
                     with_sanitizer)

ADAPTERS = ["acme", "bistro", "cafe", "dairy", "eatery", "farm"]
STORY = ("Once upon a time, there was a little girl named Lily. She loved to play outside with her "
         "toys. One day, she saw a big, red ball in the sky. She wanted to play with it, so she "
         "asked her mom if she could. Her mom said yes, and Lily was very happy. ")
SCHEMA = {"type": "object", "required": ["name", "age"], "additionalProperties": False,
          "properties": {"name": {"type": "string", "maxLength": 8},
                         "age": {"type": "integer", "minimum": 0, "maximum": 99}}}
CONSTRAINTS = [{"guided_regex": "[a-f]{2,6}-[0-9]{3}"}, {"guided_json": SCHEMA},
               {"guided_choice": ["red", "green", "blue"]},
               {"grammar": 'root ::= "(" root ")" | [xy]{2}'}]


def make_request(number):
    """One of the fixed requests: half of them drawn by chance, penalised, held to something."""
    choose = random.Random(number)
    start = choose.choice((0, 0, 0, choose.randrange(len(STORY))))  # many share their beginning
    body = {"prompt": STORY[start:start + choose.randint(1, 240)], "logprobs": choose.randint(0, 3),
            "max_tokens": choose.choice((1, 2, 9, 20, 48)), "temperature": 0, "seed": number}
    where = choose.random()
    if where < 0.75:
        body["model"] = choose.choice(["stories", *ADAPTERS])
    elif where < 0.9:
        first, second = choose.sample(range(len(ADAPTERS)), 2)
        body["lora"] = [{"id": first, "scale": choose.choice((0.5, -1, 1.75))},
                        {"id": second, "scale": 1}]
    if choose.random() < 0.5:
        body.update(temperature=choose.choice((0.6, 1, 1.5)), top_p=choose.choice((1, 0.9)),
                    top_k=choose.choice((0, 40)), min_p=choose.choice((0, 0.05)))
    if choose.random() < 0.25:
        body.update(presence_penalty=choose.choice((-0.5, 1)), frequency_penalty=0.7)
    if choose.random() < 0.1:
        body["logit_bias"] = {str(choose.randrange(400)): 3, str(choose.randrange(400)): -50}
    if choose.random() < 0.2:
        body.update(max_tokens=60, **choose.choice(CONSTRAINTS))
    if choose.random() < 0.25:
        body["stop"] = [choose.choice((",", ".", "the ", "ly"))]
    if choose.random() < 0.15:
        body["n"] = choose.choice((2, 3))
    return body


class SameBits(Case):
    REQUESTS = 200

    def setUp(self):
        need_data("models/stories260K.gguf")
        super().setUp()
        self.image = self.folder / "stories.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--name", "stories")
        for seed, name in enumerate(ADAPTERS, 1):
            make_adapter(self.folder / "adapters" / name, seed)
        self.requests = [make_request(number)
                         for number in range(40 if with_sanitizer() else self.REQUESTS)]

    def serve(self, *options):
        return Server(self.image, "--adapters", self.folder / "adapters", *options)

    def answers(self, server, clients, key=""):
        """What the server says to every request, and how many prompt tokens were kept."""
        local = threading.local()
        connections = []
        cached = []

        def ask(body):
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
                connections.append(local.connection)
            local.connection.request("POST", "/v1/completions", json.dumps(body),
                                     {"Authorization": "Bearer " + key})
            reply = local.connection.getresponse()
            text = reply.read().decode()
            self.assertEqual(reply.status, 200, (body, text))
            answer = json.loads(text)
            cached.append(answer["usage"].pop("prompt_tokens_details")["cached_tokens"])
            return json.dumps([answer["choices"], answer["usage"]])

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            texts = list(pool.map(ask, self.requests))
        for connection in connections:
            connection.close()
        return texts, sum(cached)

    def compare(self, got, what):
        for body, text, wanted in zip(self.requests, got, self.wanted):
            self.assertEqual(text, wanted, f"{what}: {body}")

    def metric(self, server, name):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/metrics")
        samples, _ = parse_metrics(connection.getresponse().read().decode())
        connection.close()
        return samples[name, (("model_name", "stories"),)]

    def test_whatever_else_runs_and_however(self):
        with self.serve() as server:
            self.wanted, cached = self.answers(server, 1)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("GET", "/v1/models/acme")
            size = json.loads(connection.getresponse().read())["adapter"]["size_bytes"]
            connection.close()
        self.assertGreater(len(set(self.wanted)), 0.8 * len(self.requests), "they say something")
        self.assertGreater(cached, 10 * len(self.requests), "contexts are kept")
        ways = [("one turn, three threads", ["--parallel", "1", "--threads", "3"]),
                ("four turns, one thread", ["--parallel", "4", "--threads", "1"]),
                ("sixteen turns, two threads", ["--parallel", "16", "--threads", "2"]),
                # Room for two adapters of six, so that they push each other out all the time.
                ("a small budget", ["--sram", str(2 * size + (350 << 10))]),
                ("a small budget, nothing kept",
                 ["--sram", str(3 * size + (250 << 10)), "--prefix-cache", "0"]),
                ("no speculation, nothing kept", ["--speculate", "off", "--prefix-cache", "0"]),
                ("speculation", ["--speculate", "always", "--parallel", "16"])]
        ways += [(name, ["--isa", name]) for name in etch_json("info")["isa"]]
        for what, options in ways:
            with self.subTest(what), self.serve(*options) as server:
                got, cached = self.answers(server, 16)
                self.compare(got, what)
                if "--sram" in options:
                    self.assertGreater(self.metric(server, "etch:adapter_evictions_total"), 20)
                if "0" in options:
                    self.assertEqual(cached, 0)
                drafted = self.metric(server, "etch:draft_tokens_accepted_total")
                if "off" in options:
                    self.assertEqual(drafted, 0)
                if "always" in options:
                    self.assertGreater(drafted, len(self.requests) / 4)
                if "16" in options:  # choices had the context of the first
                    self.assertGreater(self.metric(server, "etch:copied_prompt_tokens_total"), 100)

    def test_among_other_tenants(self):
        with self.serve() as server:
            self.wanted, _ = self.answers(server, 1)
        database = self.folder / "tenants.db"
        key, *others = (etch_json("tenant", "add", name, "--all-adapters", "--db", database)["key"]
                        for name in ("mine", "loud", "louder"))
        done = threading.Event()
        flood = []

        def shout(server, number):
            choose = random.Random(number)
            while not done.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
                body = make_request(choose.randrange(1000, 1 << 30))
                connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}),
                                   {"Authorization": "Bearer " + choose.choice(others)})
                reply = connection.getresponse()
                reply.read(10 if choose.random() < 0.2 else None)  # some leave
                flood.append(reply.status)
                reply.close()
                connection.close()

        with self.serve("--parallel", "8", "--tenants", database) as server:
            threads = [threading.Thread(target=shout, args=(server, number)) for number in range(8)]
            for thread in threads:
                thread.start()
            try:
                got, _ = self.answers(server, 16, key)
            finally:
                done.set()
                for thread in threads:
                    thread.join()
        self.compare(got, "among others")
        self.assertEqual(set(flood), {200})
        self.assertGreater(len(flood), len(self.requests) / 4, "there was load")


if __name__ == "__main__":
    sys.exit(unittest.main())
