"""Three replicas behind HAProxy, as deploy/haproxy/haproxy.cfg puts them there.

The file that is shipped runs here: only the lines that need root are taken out.
"""

import collections
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from program import DATA, SOURCE, Case, Server, etch, make_adapter, need_data, need_program

CONFIG = SOURCE / "deploy/haproxy/haproxy.cfg"
AS_ROOT = ("user", "group", "chroot")
REPLICAS = ("etch1", "etch2", "etch3")
ADAPTERS = [f"client{number}" for number in range(8)]
NAMES = [f"nobody{number}" for number in range(120)]  # no such models: routed, then refused
TOKENS = 20
Answer = collections.namedtuple("Answer", "status replica body")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Balancer:
    """HAProxy before the replicas of these ports, for a `with` statement."""

    def __init__(self, folder, ports):
        lines = CONFIG.read_text().splitlines()
        kept = [line for line in lines if not line.strip().startswith(AS_ROOT)]
        assert len(kept) == len(lines) - len(AS_ROOT), "lines for root: adapt AS_ROOT"
        config = folder / "haproxy.cfg"
        config.write_text("\n".join(kept).replace("/run/haproxy/", "unix@") + "\n")
        self.folder = folder
        self.port, self.figures = free_port(), free_port()
        addresses = {f"ETCH_{number + 1}": f"127.0.0.1:{port}" for number, port in enumerate(ports)}
        self.log_path = folder / "haproxy.log"
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [need_program("haproxy"), "-db", "-f", config], stdout=log, cwd=folder,
                stderr=subprocess.STDOUT, env={
                    **os.environ, **addresses, "ETCH_BIND": f"127.0.0.1:{self.port}",
                    "ETCH_FIGURES": f"127.0.0.1:{self.figures}"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self.log_path.read_text()

    def command(self, line):
        """What a person says to the admin socket."""
        with socket.socket(socket.AF_UNIX) as peer:
            here = os.open(self.folder, os.O_PATH)  # the socket's own path may be too long
            try:
                peer.connect(f"/proc/self/fd/{here}/admin.sock")
            finally:
                os.close(here)
            peer.sendall(line.encode() + b"\n")
            return peer.recv(1000).decode().strip()

    def states(self):
        """Replica → "UP", "DOWN", …, by the page of figures."""
        connection = http.client.HTTPConnection("127.0.0.1", self.figures, timeout=10)
        connection.request("GET", "/;csv")
        rows = [line.split(",") for line in connection.getresponse().read().decode().splitlines()]
        connection.close()
        status = rows[0].index("status")
        return {row[1]: row[status] for row in rows[1:]
                if row[0] == "etch" and row[1] in REPLICAS}

    def wait_for(self, **wanted):
        """Waits until the replicas are in these states."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                states = self.states()
                if all(states[name].split()[0] == state for name, state in wanted.items()):
                    return
            except ConnectionError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not {wanted} in 15 s\n{self.log()}")


def ask(port, method="POST", path="/v1/completions", body=None, headers=None):
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = Answer(response.status, response.getheader("X-Etch-Replica"), response.read())
    connection.close()
    return answer


def prompt(model, **fields):
    return json.dumps({"prompt": "Once upon a time", "max_tokens": TOKENS, "temperature": 0,
                       "model": model, **fields})


def text(answer):
    return json.loads(answer.body)["choices"][0]["text"]


class Fleet(Case):
    def setUp(self):
        need_data("models/stories260K.gguf")
        need_program("haproxy")
        super().setUp()
        self.image = self.folder / "stories.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--name", "stories")
        (self.folder / "adapters").mkdir()
        for seed in (1, 2):
            make_adapter(self.folder / f"adapters/client{seed - 1}", seed)
        for number in range(2, len(ADAPTERS)):
            shutil.copytree(self.folder / f"adapters/client{number % 2}",
                            self.folder / f"adapters/client{number}")
        self.ports = [free_port() for _ in REPLICAS]
        self.servers = {}
        for name in REPLICAS:
            self.start(name)
        self.balancer = Balancer(self.folder, self.ports)
        self.addCleanup(self.balancer.__exit__)
        self.balancer.wait_for(**dict.fromkeys(REPLICAS, "UP"))

    def start(self, name):
        server = Server(self.image, "--adapters", self.folder / "adapters", "--threads", "1",
                        port=self.ports[REPLICAS.index(name)])
        self.servers[name] = server
        self.addCleanup(server.__exit__)

    def signal(self, name, number):
        self.servers[name].process.send_signal(number)
        if number == signal.SIGSTOP:  # so that it can end
            self.addCleanup(self.servers[name].process.send_signal, signal.SIGCONT)
        if number == signal.SIGKILL:
            self.servers[name].process.wait()

    def ask(self, *arguments, **more):
        return ask(self.balancer.port, *arguments, **more)

    def places(self, names):
        """Which replica each model goes to."""
        return {name: self.ask(body=prompt(name)).replica for name in names}


class Routing(Fleet):
    def test_a_model_has_one_replica_and_the_models_spread(self):
        models = ["stories", *ADAPTERS]
        first = {model: self.ask(body=prompt(model)) for model in models}
        for model, answer in first.items():
            self.assertEqual(answer.status, 200, answer)
            alone = ask(self.servers["etch1"].port, body=prompt(model))
            self.assertEqual(text(answer), text(alone))
        self.assertGreater(len({text(answer) for answer in first.values()}), 2)
        for _ in range(3):
            self.assertEqual(self.places(models),
                             {model: answer.replica for model, answer in first.items()})

        # Any form of the body: spacing, other fields first, chunked.
        for model in ADAPTERS[:3]:
            spaced = json.dumps({"stop": ["model"], "prompt": '{"model":"x"}', "max_tokens": 1,
                                 "model": model}, indent=4)
            self.assertEqual(self.ask(body=spaced).replica, first[model].replica)
            chunked = [part.encode() for part in re.findall(".{1,7}", prompt(model))]
            self.assertEqual(self.ask(body=iter(chunked)).replica, first[model].replica)

        places = self.places(NAMES)
        counts = collections.Counter(places.values())
        self.assertEqual(set(counts), set(REPLICAS))
        self.assertGreater(min(counts.values()), len(NAMES) / 6, counts)

    def test_what_has_no_model_or_is_too_large(self):
        # No body, no JSON, no model: any replica in turn, which says what it thinks of it.
        listed = [self.ask("GET", "/v1/models") for _ in range(6)]
        self.assertEqual({answer.replica for answer in listed}, set(REPLICAS))
        self.assertEqual({len(json.loads(answer.body)["data"]) for answer in listed}, {9})
        self.assertEqual(self.ask("GET", "/health").status, 200)
        self.assertEqual(self.ask(body="{").status, 400)
        self.assertEqual(self.ask(body='{"prompt":5,"model":["x"]}').status, 400)

        for path in ("/metrics", "/v1/load_lora_adapter", "/v1/%6Coad_lora_adapter"):
            refused = self.ask("POST", path, body="{}")
            self.assertEqual((refused.status, refused.replica), (404, None), refused)
            self.assertEqual(json.loads(refused.body)["error"]["code"], "one_replica")

        # Within the buffer the model may come last. Past it the request is passed on all the same.
        own = self.places(ADAPTERS)
        for model in ADAPTERS[:3]:
            late = json.dumps({"prompt": "x" * 200_000, "model": model})
            answer = self.ask(body=late)
            self.assertEqual((answer.status, answer.replica), (400, own[model]))
            self.assertEqual(json.loads(answer.body)["error"]["code"], "context_length_exceeded")
        past = self.ask(body=json.dumps({"prompt": "x" * 1_000_000, "model": "client0"}))
        self.assertEqual(past.status, 400)
        self.assertIn(past.replica, REPLICAS)
        self.assertEqual(self.ask("GET", "/v1/models", headers={"A": "b" * 20_000}).status, 431)
        with socket.create_connection(("127.0.0.1", self.balancer.port)) as peer:
            peer.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: 99999999\r\n\r\n" + b" " * 300_000)
            self.assertIn(b" 413 ", peer.recv(100))

    def test_a_stream_comes_as_it_is_made(self):
        body = prompt("client0", stream=True, max_tokens=200)
        whole = text(self.ask(body=prompt("client0", max_tokens=200)))
        connection = http.client.HTTPConnection("127.0.0.1", self.balancer.port, timeout=60)
        connection.request("POST", "/v1/completions", body)
        response = connection.getresponse()
        self.assertEqual(response.getheader("Content-Type").split(";")[0], "text/event-stream")
        pieces = []
        for line in response:
            if line.startswith(b"data: {"):
                pieces.append(json.loads(line[6:])["choices"][0]["text"])
        self.assertEqual("".join(pieces), whole)
        self.assertGreater(len(pieces), 20)
        connection.close()

        # The first event is here while the replica still works: sixteen long answers take it a
        # second. Killed then, what has begun cannot be asked of another: the client sees it break.
        long = prompt("client0", stream=True, max_tokens=500, n=16, temperature=1)
        connection = http.client.HTTPConnection("127.0.0.1", self.balancer.port, timeout=60)
        connection.request("POST", "/v1/completions", long)
        response = connection.getresponse()
        self.assertTrue(response.readline().startswith(b"data: {"))
        self.signal(response.getheader("X-Etch-Replica"), signal.SIGKILL)
        with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
            while response.read(1 << 16):
                pass
        connection.close()

    def test_a_client_that_leaves_is_told_to_the_replica(self):
        body = prompt("client0", max_tokens=500, n=16, temperature=1).encode()
        with socket.create_connection(("127.0.0.1", self.balancer.port)) as peer:
            peer.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "
                         + str(len(body)).encode() + b"\r\n\r\n" + body)
            time.sleep(0.1)
        deadline = time.monotonic() + 10
        while "retries" not in self.balancer.log() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertRegex(self.balancer.log(), "end=C")  # the client ended it


class Faults(Fleet):
    def test_a_replica_dies_under_load_and_returns(self):
        before = self.places([*ADAPTERS, *NAMES])
        wanted = {model: text(self.ask(body=prompt(model))) for model in ADAPTERS}
        victim = before["client0"]
        own = [model for model in ADAPTERS if before[model] == victim]
        answers = []
        stop = threading.Event()

        def load(model):
            while not stop.is_set():
                try:
                    answers.append((model, self.ask(body=prompt(model))))
                except OSError as error:
                    answers.append((model, Answer(0, None, repr(error))))

        def once(model):
            held.append((model, self.ask(body=prompt(model))))

        held = []
        load_threads = [threading.Thread(target=load, args=(model,)) for model in ADAPTERS]
        for thread in load_threads:
            thread.start()
        time.sleep(1)
        # Stopped, the replica holds what it is asked from now on; killed, it has answered none of
        # it. So these are in flight for certain.
        self.signal(victim, signal.SIGSTOP)
        held_threads = [threading.Thread(target=once, args=(model,)) for model in own * 3]
        for thread in held_threads:
            thread.start()
        time.sleep(0.3)
        self.assertEqual(held, [])
        self.signal(victim, signal.SIGKILL)
        killed = len(answers)
        for thread in held_threads:
            thread.join()
        self.balancer.wait_for(**{victim: "DOWN"})
        time.sleep(1)
        during = self.places([*ADAPTERS, *NAMES])
        self.start(victim)
        self.balancer.wait_for(**{victim: "UP"})
        time.sleep(0.5)
        stop.set()
        for thread in load_threads:
            thread.join()

        # No request failed, in flight or not, and each got its own text.
        self.assertGreater(killed, 50)
        self.assertGreater(len(answers) - killed, 50)
        for model, answer in answers + held:
            self.assertEqual(answer.status, 200, (model, answer))
            self.assertEqual(text(answer), wanted[model])
        self.assertEqual(len(held), 3 * len(own))
        self.assertNotIn(victim, {answer.replica for _, answer in held})
        retried = re.findall(r"^.* 200 .* retries=\+?([1-9])", self.balancer.log(), re.M)
        self.assertGreaterEqual(len(retried), len(held))

        # Only its own models moved, to all others, and they came back.
        for model, place in before.items():
            if place == victim:
                self.assertNotEqual(during[model], victim)
            else:
                self.assertEqual(during[model], place, model)
        moved = {during[model] for model, place in before.items() if place == victim}
        self.assertEqual(moved, set(REPLICAS) - {victim})
        self.assertEqual(self.places([*ADAPTERS, *NAMES]), before)
        print(f"{len(answers)} requests, {len(held)} held by the killed replica, "
              f"{len(retried)} retried, 0 failed")

        # The figures that a person or Prometheus looks at.
        figures = ask(self.balancer.figures, "GET", "/metrics").body.decode()
        self.assertRegex(figures, rf'haproxy_server_status{{proxy="etch",server="{victim}",'
                                  r'state="UP"} 1')

    def test_a_replica_that_hangs_is_given_up_and_what_it_held_is_asked_again(self):
        place = self.ask(body=prompt("client0")).replica
        before = self.places(NAMES)
        self.signal(place, signal.SIGSTOP)
        held = []
        threads = [threading.Thread(target=lambda: held.append(self.ask(body=prompt("client0"))))
                   for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([answer.status for answer in held], [200] * 3)
        self.assertNotIn(place, {answer.replica for answer in held})
        self.signal(place, signal.SIGCONT)
        self.balancer.wait_for(**{place: "UP"})

        # A person takes it out and puts it back.
        self.assertEqual(self.balancer.command(f"set server etch/{place} state drain"), "")
        self.balancer.wait_for(**{place: "DRAIN"})
        self.assertNotIn(place, self.places(NAMES).values())
        self.balancer.command(f"set server etch/{place} state ready")
        self.balancer.wait_for(**{place: "UP"})
        self.assertEqual(self.places(NAMES), before)

    def test_a_replica_that_drains_loses_nothing_and_none_left_is_said(self):
        place = self.ask(body=prompt("client0")).replica
        failed = []
        stop = threading.Event()

        def load():
            while not stop.is_set():
                answer = self.ask(body=prompt("client0", max_tokens=100))
                if answer.status != 200:
                    failed.append(answer)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        self.signal(place, signal.SIGTERM)
        self.assertEqual(self.servers[place].process.wait(20), 0)
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        for name in REPLICAS:
            if name != place:
                self.signal(name, signal.SIGKILL)
        self.balancer.wait_for(**dict.fromkeys(REPLICAS, "DOWN"))
        self.assertEqual(self.ask("GET", "/health").status, 503)
        self.assertEqual(self.ask(body=prompt("client0")).status, 503)


if __name__ == "__main__":
    sys.exit(unittest.main())
