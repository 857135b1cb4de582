"""Hostile peers: too many, too slow, too large, cut off, one request that looks like two.

A clear 4xx or a closed connection; never a crash, a stall of others, or a second request.
"""

import contextlib
import http.client
import json
import re
import resource
import socket
import ssl
import statistics
import sys
import tarfile
import tempfile
import threading
import time
import unittest
from pathlib import Path

from operations_test import make_certificate, parse_metrics
from program import (DATA, WORK, Case, Server, etch, make_tiny_model, need_data,
                     with_sanitizer)
from server_test import complete, request

CHAT = "/v1/chat/completions"
SLOW = {"prompt": ["Once"] * 4, "n": 16, "max_tokens": 400, "temperature": 1, "ignore_eos": True}
IDLE_CONNECTIONS = 10_000


def setUpModule():
    global FOLDER, CLEANUP
    need_data("models/stories260K.gguf")
    CLEANUP = tempfile.TemporaryDirectory(dir=WORK)
    FOLDER = Path(CLEANUP.name)
    etch("compile", DATA / "models/stories260K.gguf", "-o", FOLDER / "stories.etch", "--name",
         "stories")
    make_tiny_model(FOLDER / "tiny")
    etch("compile", FOLDER / "tiny", "-o", FOLDER / "tiny.etch", "--name", "tiny")


def tearDownModule():
    CLEANUP.cleanup()


def connect(server, timeout=30):
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout)


def post_bytes(path, body, extra=b""):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode() + extra
            + b"\r\n" + body)


def read_all(peer):
    """All until the other side closes; an error of the connection is an end, too."""
    got = b""
    try:
        while data := peer.recv(65536):
            got += data
    except ConnectionError:
        pass
    return got


def exchange(server, raw, half_close=True):
    """What comes back for raw bytes, and the statuses of the answers in it."""
    with connect(server) as peer:
        try:
            peer.sendall(raw)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed before all was sent
        got = read_all(peer)
    return got, [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", got)]


class HostileCase(Case):
    def serve(self, *options, image="stories", **more):
        return Server(FOLDER / f"{image}.etch", *options, **more)

    def samples(self, server):
        return parse_metrics(request(server, "GET", "/metrics")[1])[0]

    def metric(self, server, name):
        return self.samples(server)[name, (("model_name", server.ready["model"]),)]

    def wait_for(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def wait_for_connections(self, server, wanted):
        """With the one that asks."""
        end = time.monotonic() + 60
        while (found := self.metric(server, "etch:connections")) != wanted:
            self.assertLess(time.monotonic(), end, f"{found} connections, not {wanted}")
            time.sleep(0.02)

    def assert_alive(self, server):
        self.assertIsNone(server.process.poll(), "it has crashed")
        self.assertEqual(request(server, "GET", "/health")[0], 200)


class Connections(HostileCase):
    def soft_limit(self, value):
        """The soft limit of open files, put back when the test ends."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (value, before[1]))
        return before[1]

    def resident_bytes(self, server):
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def test_ten_thousand_idle_ones(self):
        hard = self.soft_limit(256)
        with self.serve("--idle-timeout", "30", "--read-timeout", "30") as server:
            limits = Path(f"/proc/{server.process.pid}/limits").read_text()
            soft = re.search(r"Max open files\s+(\d+)", limits).group(1)
            self.assertEqual(int(soft), hard, "the server raises its own limit")
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            count = min(IDLE_CONNECTIONS, hard - 300)
            if count < IDLE_CONNECTIONS:
                print(f"*** ONLY {count} IDLE CONNECTIONS: the hard limit of open files is {hard} "
                      "(ulimit -Hn) ***", file=sys.stderr)
            complete(server)
            before = self.resident_bytes(server)
            with contextlib.ExitStack() as stack:
                peers = []
                for number in range(count):
                    peers.append(stack.enter_context(connect(server)))
                    if number % 10 == 0:
                        peers[-1].sendall(b"GET /health HT")  # a half-open one
                # The one that asked before may not have been taken off yet.
                self.wait_for(lambda: self.metric(server, "etch:connections") > count, 20)
                each = (self.resident_bytes(server) - before) / count
                times = []
                for _ in range(100):
                    started = time.monotonic()
                    self.assertEqual(request(server, "GET", "/health")[0], 200)
                    times.append(time.monotonic() - started)
                self.assertEqual(complete(server)[0], 200)
                print(f"{count} idle connections: {each / 1024:.1f} KiB each; others are answered "
                      f"in {1000 * statistics.median(times):.2f} ms, the slowest in "
                      f"{1000 * max(times):.1f} ms")
                self.assertLess(each, 16 << 10)
                self.assertLess(max(times), 1)
                self.wait_for_connections(server, 1)
                self.assertEqual({peers[index].recv(1) for index in (1, 2, count - 1)}, {b""})

    def test_more_than_there_may_be(self):
        with self.serve("--max-connections", "8") as server, contextlib.ExitStack() as stack:
            peers = [stack.enter_context(connect(server)) for _ in range(8)]
            self.wait_for(lambda: exchange(server, b"")[1] == [503])
            for peer in peers:
                peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"200 OK", peer.recv(1000), "who is there stays")
            peers[0].close()
            self.wait_for(lambda: 200 in exchange(server, b"GET /health HTTP/1.0\r\n\r\n",
                                                  half_close=False)[1])
            # Over one that is there: the place of the last may not be free yet.
            peers[1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            rejected = read_all(peers[1]).decode()
            self.assertRegex(rejected, r'etch:rejected_total\{tenant="",reason="connections"\} \d')
        self.assertIn("ulimit", self.error("serve", FOLDER / "stories.etch", "--port", "0",
                                           "--max-connections", "1000000"))
        self.assertIn("leaves none for connections", self.error(
            "serve", FOLDER / "stories.etch", "--port", "0",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))))

    def test_no_files_left(self):
        """The limit falls behind the server's back: it waits for files, and does not spin."""
        with self.serve() as server, contextlib.ExitStack() as stack:
            pid = server.process.pid
            open_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files + 4, hard))
            peers = [stack.enter_context(connect(server)) for _ in range(20)]

            def processor_seconds():
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
                return (int(fields[11]) + int(fields[12])) / 100

            before = processor_seconds()
            time.sleep(1)
            self.assertLess(processor_seconds() - before, 0.5)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            for peer in peers:
                peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"200 OK", peer.recv(1000))

    def test_an_idle_one_keeps_nothing_of_what_it_sent(self):
        with self.serve() as server, contextlib.ExitStack() as stack:
            complete(server)
            before = self.resident_bytes(server)
            body = json.dumps({"prompt": "x" * (4 << 20)}).encode()
            for _ in range(16):
                peer = stack.enter_context(connect(server))
                peer.sendall(post_bytes("/nothing", body))
                self.assertIn(b"404", peer.recv(1000))
            if not with_sanitizer():  # which keep what is freed
                # Not 16 times 4 MiB, as soon as the last has been trimmed.
                self.wait_for(lambda: self.resident_bytes(server) - before < 32 << 20, 20)


class Slow(HostileCase):
    def test_writers(self):
        with self.serve("--read-timeout", "1", "--idle-timeout", "60") as server:
            starts = {"head": b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nA: ",
                      "length": post_bytes("/v1/completions", b"x" * 1000)[:-900],
                      "chunk": b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                               b"Transfer-Encoding: chunked\r\n\r\nffff\r\n",
                      "extension": b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                                   b"Transfer-Encoding: chunked\r\n\r\nf;"}
            closed = {}

            def drip(name, raw):
                with connect(server) as peer:
                    peer.sendall(raw)
                    started = time.monotonic()
                    try:
                        while time.monotonic() - started < 30:
                            peer.sendall(b"a")  # it never stops, and never ends
                            peer.settimeout(0.1)
                            with contextlib.suppress(socket.timeout):
                                if b" 2" in (got := peer.recv(100))[:12]:
                                    return
                                if not got or b" 4" in got[:12]:
                                    break
                        else:
                            return
                    except ConnectionError:
                        pass
                    closed[name] = time.monotonic() - started

            threads = [threading.Thread(target=drip, args=item) for item in starts.items()]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self.assertEqual(request(server, "GET", "/health")[0], 200)
                time.sleep(0.05)
            self.assertEqual(set(closed), set(starts))
            self.assertGreater(min(closed.values()), 0.8)
            # Who sends at a fair rate has more time than the limit.
            body = json.dumps({"prompt": "Once", "max_tokens": 2, "x": "y" * 200_000}).encode()
            with connect(server) as peer:
                raw = post_bytes("/v1/completions", body)
                for begin in range(0, len(raw), 20_000):
                    peer.sendall(raw[begin:begin + 20_000])
                    time.sleep(0.2)
                self.assertIn(b"200 OK", peer.recv(1000))

    def test_readers(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 480, "n": 16, "stream": True,
                           "logprobs": 20, "temperature": 1, "ignore_eos": True}).encode()
        with self.serve("--write-timeout", "1") as server:
            with contextlib.ExitStack() as stack:
                for _ in range(2):
                    peer = stack.enter_context(socket.socket())
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    peer.connect(("127.0.0.1", server.port))
                    peer.sendall(post_bytes("/v1/completions", body))
                self.wait_for(lambda: self.metric(server, "vllm:num_requests_running") > 0)
                for _ in range(5):
                    self.assertEqual(complete(server)[0], 200, "others are answered")
                self.wait_for_connections(server, 1)
                self.assertEqual(self.metric(server, "vllm:num_requests_running"), 0)


class Leaving(HostileCase):
    """Who leaves while an answer is made frees its place before the answer is done."""

    def scrape(self, server, wrap):
        with wrap(connect(server)) as peer:
            peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            samples = parse_metrics(read_all(peer).split(b"\r\n\r\n", 1)[1].decode())[0]
        base = (("model_name", "stories"),)
        return (samples["vllm:num_requests_running", base]
                + samples["vllm:num_requests_waiting", base],
                samples["vllm:generation_tokens_total", base])

    def check(self, server, wrap=lambda peer: peer):
        for stream in (False, True):
            before = self.scrape(server, wrap)[1]
            with wrap(connect(server)) as peer:
                peer.sendall(post_bytes("/v1/completions",
                                        json.dumps({**SLOW, "stream": stream}).encode()))
                self.wait_for(lambda: self.scrape(server, wrap)[0] > 0)
            self.wait_for(lambda: self.scrape(server, wrap)[0] == 0)
            self.assertLess(self.scrape(server, wrap)[1] - before, 64 * 400 / 2, stream)
        # A next request behind the one under way is no leaving, and both are answered in order.
        with wrap(connect(server)) as peer:
            first = json.dumps({**SLOW, "prompt": "Once", "max_tokens": 100}).encode()
            peer.sendall(post_bytes("/v1/completions", first))
            time.sleep(0.02)
            peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.02)
            peer.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = read_all(peer)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", got), [b"200", b"200", b"404"])
        self.assertLess(got.index(b"text_completion"), got.index(b"queue_size"))

    def test_plain(self):
        with self.serve() as server:
            self.check(server)
            self.assertIn('finished_reason="abort"', request(server, "GET", "/metrics")[1])
            self.assertEqual(complete(server)[0], 200)

    def test_tls(self):
        make_certificate(self.folder, "own")
        context = ssl.create_default_context(cafile=self.folder / "own.pem")
        with self.serve("--tls-cert", self.folder / "own.pem", "--tls-key",
                        self.folder / "own.key") as server:
            self.check(server, lambda peer: context.wrap_socket(peer,
                                                                server_hostname="127.0.0.1"))


class Framing(HostileCase):
    """Where a request ends: what a proxy could read otherwise is refused."""

    SECRET = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

    def test_smuggling(self):
        post = b"POST /v1/models HTTP/1.1\r\nHost: x\r\n"
        chunks = b"0\r\n\r\n"
        heads = [
            b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(self.SECRET),
            b"Content-Length: 0\r\nContent-Length: 0\r\n", b"Content-Length: 0, 0\r\n",
            b"Content-Length: +0\r\n", b"Content-Length: -1\r\n", b"Content-Length: 0x0\r\n",
            b"Content-Length: 18446744073709551616\r\n", b"Content-Length:\r\n",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n",
            b"Transfer-Encoding: pigeons\r\n", b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding : chunked\r\n", b"Content-Length : 0\r\n",
            b" Content-Length: 0\r\n", b"X: y\r\n folded\r\n", b"X: y\nContent-Length: 0\r\n",
            b"X: y\rContent-Length: 0\r\n", b"X: y\0\r\n", b"Host: y\r\n", b"nonsense\r\n"]
        with self.serve() as server:
            for head in heads:
                for body in (b"", chunks):
                    got, statuses = exchange(server, post + head + b"\r\n" + body + self.SECRET)
                    self.assertEqual(statuses, [400], head)
                    self.assertIn(b"Connection: close", got)
            for raw in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n",
                        b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: x\r\n\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks):
                self.assertEqual(exchange(server, raw + self.SECRET)[1], [400], raw)
            chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
            for body in (b"10000000000000000\r\n", b"-1\r\n", b"0x1\r\na\r\n" + chunks,
                         b"1 \r\na\r\n" + chunks, b"1\na\n0\n\n", b"1\r\nab\r\n" + chunks,
                         b"1\r\na" + chunks, b"\r\n" + chunks, b"1;\ra\r\na\r\n" + chunks,
                         b"1;" + b"a" * 200_000, b"0\r\n" + b"A: b\r\n" * 20_000,
                         b"0\r\nA : b\r\n\r\n"):
                statuses = exchange(server, chunked + body + self.SECRET)[1]
                self.assertEqual(statuses, [400], body[:30])
            # What is right goes on, and the request behind it is one of its own.
            right = chunked + b"00001;a=b\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n"
            for raw in (right, post + b"Content-Length: 2\r\n\r\n{}", b"\r\n" + right):
                self.assertEqual(exchange(server, raw + self.SECRET)[1], [404, 404], raw)
            self.assert_alive(server)

    def test_fields_behind_a_body_are_not_of_the_head(self):
        body = b'{"prompt": "Once", "max_tokens": 2}'
        raw = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n"
               b"Trailer: Authorization\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n")
        key = b"Authorization: Bearer secret\r\n"
        with self.serve(environment={"ETCH_API_KEY": "secret"}) as server:
            for head, trailer, status in ((key, b"", 200), (b"", key, 401), (key, key, 200)):
                request_ = raw % (head, len(body), body, trailer)
                self.assertEqual(exchange(server, request_, half_close=False)[1][:1]
                                 if status != 200 else
                                 exchange(server, request_ + b"junk\n", half_close=False)[1][:1],
                                 [status])

    def test_sizes(self):
        with self.serve(environment={"ETCH_API_KEY": "secret"}) as server:
            key = b"Authorization: Bearer secret\r\n"
            head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
            for raw, status in (
                    (head + b"A: " + b"b" * 65536 + b"\r\n\r\n", 431),
                    (head + b"A: b\r\n" * 10_000 + b"\r\n", 431),
                    (head + b"A: " + b"b" * 16_000 + b"\r\n\r\n", 200),
                    (b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\n\r\n", 414),
                    (b"GET /health?" + b"a" * 16_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 200),
                    (post_bytes(CHAT, b"x" * (9 << 20), key), 413),
                    (post_bytes(CHAT, b"", key).replace(b"h: 0", b"h: 99999999999"), 413),
                    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + key
                     + b"\r\n" + (b"fffff\r\n" + b"x" * 0xfffff + b"\r\n") * 9, 413),
                    # Nobody's large bodies are not even read.
                    (post_bytes(CHAT, b"x" * (1 << 20)), 401),
                    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 401)):
                self.assertEqual(exchange(server, raw)[1], [status], raw[:50])
            got, statuses = exchange(server, b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n" + head
                                     + b"\r\n")
            self.assertEqual(statuses, [200, 200])
            self.assertEqual(got.count(b"queue_size"), 1, "the answer to HEAD has no body")
            self.assert_alive(server)

    def test_samples_of_llhttp(self):
        """Each as it stands, and with a Host; what llhttp calls an error gets no second answer."""
        need_data("conformance/llhttp_tests.tar.xz")
        pattern = re.compile(r"<!-- meta=(\{.*?\}) -->\s*```(?:http|url)\n(.*?)```\s*"
                             r"```log\n(.*?)```", re.S)
        count = refused = 0
        accepted = []
        with tarfile.open(DATA / "conformance/llhttp_tests.tar.xz") as archive, \
                self.serve(image="tiny") as server:
            for member in archive.getmembers():
                if not re.search(r"/(request/\w[\w-]*|url)\.md$", "/" + member.name):
                    continue
                text = archive.extractfile(member).read().decode()
                for meta, sample, log in pattern.findall(text):
                    raw = self.decode(sample)
                    start = len(raw) - len(raw.lstrip(b"\r\n"))
                    line_end = raw.find(b"\r\n", start) + 2
                    named = raw if line_end < 2 or b"\nhost" in raw.lower() else (
                        raw[:line_end] + b"Host: x\r\n" + raw[line_end:])
                    for each in {raw, named}:
                        got, statuses = exchange(server, each)
                        where = (member.name, each, statuses)
                        self.assertTrue(all(status in (400, 404, 405) for status in statuses),
                                        where)
                        self.assertTrue(400 not in statuses[:-1], where)
                        count += 1
                        # Upgrades, bytes behind a goodbye and methods are no errors here.
                        error = re.search(r"error code=(\d+)", log)
                        is_method = each.startswith((b"ANNOUNCE", b"MKCOLA"))
                        if error and error.group(1) not in ("22", "5") and not is_method:
                            accepted += [where] if statuses[-1:] not in ([400], []) else []
                            refused += 1
            self.assert_alive(server)
        self.assertEqual(accepted, [])
        self.assertGreater(count, 150)
        self.assertGreater(refused, 70)

    @staticmethod
    def decode(sample):
        """As llhttp's own fixture: lines end in CRLF, and escapes are what they say."""
        text = sample.replace("\\\n", "").replace("\n", "\r\n")
        for escape, character in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
            text = text.replace(escape, character)
        text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda match: chr(int(match.group(1), 16)), text)
        return text.encode("latin-1", "replace")


class Bodies(HostileCase):
    def chat(self, server, **fields):
        return request(server, "POST", CHAT, {
            "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, **fields})

    def test_the_json_test_suite(self):
        need_data("conformance/JSONTestSuite_test_parsing.tar.xz")
        counts = {"y": 0, "n": 0, "i": 0}
        plain = b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "metadata": %s}'
        with tarfile.open(DATA / "conformance/JSONTestSuite_test_parsing.tar.xz") as archive, \
                self.serve(image="tiny") as server:
            for member in archive.getmembers():
                name = Path(member.name).name
                if not re.match(r"[yni]_.*\.json$", name):
                    continue
                raw = archive.extractfile(member).read()
                status, answer = request(server, "POST", CHAT, raw)
                self.assertEqual(status, 400, name)
                not_json = re.search("not JSON|nested deeper", answer["error"]["message"])
                inside = request(server, "POST", CHAT, plain % raw)[0]
                if name[0] == "n":
                    self.assertTrue(not_json, (name, answer))
                elif name[0] == "y":
                    self.assertFalse(not_json, (name, answer))
                    self.assertEqual(inside, 200, name)
                else:
                    self.assertIn(inside, (200, 400), name)
                counts[name[0]] += 1
            self.assert_alive(server)
        self.assertEqual(counts, {"y": 95, "n": 188, "i": 35})

    def test_bombs(self):
        large = 2 << 20
        bodies = [b"[" * large, b'{"a":' * (large // 5), b"[{" * 40 + b"}]" * 40,
                  b'{"messages":' + b"[" * 65 + b"]" * 65 + b"}",
                  b'{"x": ' + b"9" * large + b"}", b'{"x": 1e' + b"9" * large + b"}",
                  b'{"prompt": "' + b"\\u0000" * (large // 6) + b'"}',
                  b'{"prompt": "\xff\xfe\x80"}', b'{"prompt": "\\ud800"}', b'\xef\xbb\xbf',
                  b'{' + b",".join(b'"n":%d' % n for n in range(100_000)) + b"}",
                  b'{"prompt": [' + b"1," * (large // 2 - 20) + b"1]}",
                  b'{"prompt": [' + b'"a",' * (large // 4 - 20) + b'"a"]}']
        texts = ["a" * large, " " * large, "<" * large, "\n" * (large // 2),
                 "\u00e9" * (large // 2), "<|eot_id|>" * (large // 10), "1" * large,
                 "ab " * (large // 3)]
        bodies += [json.dumps(fields, ensure_ascii=False).encode() for text in texts for fields in (
            {"prompt": text},
            {"messages": [{"role": "user", "content": text}], "max_tokens": 1})]
        bodies += [json.dumps({"messages": [{"role": "user", "content": ""}] * 50_000}).encode(),
                   json.dumps({"messages": [{"role": "user", "content": [
                       {"type": "text", "text": "a"}] * 50_000}]}).encode()]
        slowest = 0
        with self.serve(image="tiny") as server:
            for body in bodies:
                for path in (CHAT,) if b"messages" in body[:20] else ("/v1/completions",):
                    started = time.monotonic()
                    status, answer = request(server, "POST", path, body)
                    slowest = max(slowest, time.monotonic() - started)
                    # Templates trim a text of nothing but white space.
                    is_blank = path == CHAT and re.search(rb"( |\\n){1000}", body)
                    self.assertEqual(status, 200 if is_blank else 400, (path, body[:40], answer))
                    self.assertLess(len(str(answer)), 10_000)
            twice = b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 9,' \
                    b'"max_tokens": 1}'
            status, answer = request(server, "POST", CHAT, twice)
            self.assertEqual((status, answer["usage"]["completion_tokens"]), (200, 1), "the last")
            self.assert_alive(server)
        print(f"the slowest of {len(bodies)} answers: {slowest:.2f} s")
        self.assertLess(slowest, 10)

    def test_large_ones_hold_up_nobody(self):
        body = json.dumps({"prompt": "<" * (7 << 20)}).encode()
        with self.serve(image="tiny") as server:
            threads = [threading.Thread(target=request, args=(server, "POST", "/v1/completions",
                                                              body)) for _ in range(4)]
            for thread in threads:
                thread.start()
            slowest = 0
            while any(thread.is_alive() for thread in threads):
                started = time.monotonic()
                self.assertEqual(complete(server, max_tokens=1)[0], 200)
                slowest = max(slowest, time.monotonic() - started)
            print(f"the slowest answer beside four bodies of 7 MiB: {slowest:.2f} s")
            self.assertLess(slowest, 1)

    def test_patterns_hold_up_nobody(self):
        with self.serve(image="tiny") as server:
            took = []

            def compile_it():
                begin = time.monotonic()
                messages = [{"role": "user", "content": "a"}]
                reply = request(server, "POST", CHAT, {"messages": messages,
                                                       "guided_regex": "(a|b)*a(a|b){30}"})
                self.assertEqual(reply[0], 400, reply)
                took.append(time.monotonic() - begin)

            compile_it()
            peers = [threading.Thread(target=compile_it) for _ in range(4)]
            for peer in peers:
                peer.start()
            longest = 0
            while any(peer.is_alive() for peer in peers):
                begin = time.monotonic()
                self.assertEqual(request(server, "GET", "/health")[0], 200)
                longest = max(longest, time.monotonic() - begin)
            for peer in peers:
                peer.join()
            self.assertLess(longest, max(took) / 4, took)

    def test_absurd_numbers(self):
        million = 1_000_000
        anything = (-1, 1e308, -1e308, 2**63, 2**64, -2**63, "NaN", "1", True, [], {}, [1], 0.5)
        wrong_reals = anything[:-1]
        wrong = {"n": (0, 17, million, *anything), "max_tokens": (0, *anything),
                 "max_completion_tokens": (0, *anything), "top_logprobs": (21, *anything),
                 "top_k": (-2, *anything[1:]), "temperature": (101, -0.1, *wrong_reals),
                 "top_p": (-0.1, 0, 1.1, *wrong_reals), "min_p": (-0.1, 1, *wrong_reals),
                 "presence_penalty": (2.1, -2.1, *wrong_reals[1:]),
                 "frequency_penalty": (2.1, -2.1, *wrong_reals[1:]),
                 "seed": (1e308, 2**64, "NaN", True, [], {}, 0.5),
                 "stop": (-1, 1e308, 2**63, True, {}, [1], ["a", None], ["a"] * 17,
                          ["a"] * million),
                 "logit_bias": (-1, "NaN", True, [], [1], {"a": 1}, {"-1": 1}, {"1": "NaN"},
                                {"1": 1e308}, {"1": 101}, {"1": None}, {"1.5": 1}, {"": 1},
                                {str(2**63): 1}, {"0" * 40 + "1x": 1},
                                {str(token): 1 for token in range(100_000)}),
                 "lora": (-1, "a", {}, [1], [{}], [{"id": -1}], [{"id": 2**63}], [{"id": 1e308}],
                          [{"id": 0}], [{"id": 0, "scale": 1e308}], [{"id": 0}] * 500_000),
                 "messages": (-1, "a", {}, [], [1], [{}], [{"role": 5}], [[]], "a" * million,
                              [{"role": "user", "content": 5}],
                              [{"role": "user", "content": [{"type": "image_url"}]}]),
                 "stream": (-1, "true", [], 1), "stream_options": (-1, "a", []),
                 "tools": (-1, "a", {}, [1], [{}], [{"type": "function"}],
                           [{"type": "function", "function": {"name": 5}}]),
                 "model": (-1, [], {}, True), "response_format": (-1, "a", [], {"type": 5}),
                 "guided_regex": ("(" * 100_000, "(a{1000}){1000}", "[", 5),
                 "guided_choice": (-1, [], [1], ["a"] * million)}
        # 2**31 - 1 is the largest token id that fits: it is no token of this model.
        unknown_token = {"logit_bias": {str(2**31 - 1): 100}}
        with self.serve(image="tiny") as server:
            for field, values in wrong.items():
                for value in values:
                    status, answer = self.chat(server, **{field: value})
                    self.assertEqual(status, 400, (field, str(value)[:50], answer))
                    self.assertTrue(answer["error"]["message"], field)
            for fields in ({"max_tokens": 2**31}, {"seed": 2**63}, {"seed": -2**63},
                           {"top_k": 2**30}, {"stop": ""}, {"stop": [""]}, {"stop": []},
                           {"stop": "a" * 100_000}):
                self.assertEqual(self.chat(server, **fields)[0], 200, str(fields)[:50])
            self.assertIn(self.chat(server, **unknown_token)[0], (200, 400))
            self.assertEqual(self.chat(server, model="a" * million)[0], 404)
            self.assert_alive(server)

    def test_special_tokens_in_texts_are_text(self):
        special = ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_of_text|>")
        with self.serve(image="tiny") as server:
            def chat(content, role="user"):
                status, answer = self.chat(server, messages=[{"role": role, "content": content}])
                self.assertEqual(status, 200, answer)
                return answer["usage"]["prompt_tokens"]

            def plain(prompt):
                status, answer = complete(server, prompt=prompt, max_tokens=1)
                self.assertEqual(status, 200, answer)
                return answer["usage"]["prompt_tokens"]

            for text in special:
                # As one token it would be one more; as text it is at least two.
                self.assertGreater(chat("a" + text) - chat("a"), 1, text)
                self.assertGreater(chat([{"type": "text", "text": text}]) - chat(""), 1, text)
                self.assertGreater(chat("a", "user" + text) - chat("a"), 1, text)
                self.assertGreater(plain("a" + text) - plain("a"), 1, text)
            self.assertEqual(chat("a" + special[0] * 20) - chat("a"),
                             20 * (chat("a" + special[0]) - chat("a")))


if __name__ == "__main__":
    sys.exit(unittest.main())
