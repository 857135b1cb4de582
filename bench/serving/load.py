"""A closed loop of streamed completions over plain sockets: what the programs here share.

One thread serves every connection, and an event of the stream is looked at with three searches of
its bytes: on two cores the client must not take what it measures. `Exchange` is one request and
what was seen of it; `run_closed_loop` keeps a number of them in flight.
"""

import json
import os
import pathlib
import re
import selectors
import socket
import statistics
import time

TICKS = os.sysconf("SC_CLK_TCK")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def median(values):
    return statistics.median(values) if values else float("nan")


class Exchange:
    """A request to /v1/completions, and when the pieces of its answer came (seconds, monotonic)."""

    def __init__(self, body, key=None, prompt_tokens=0):
        data = json.dumps(body, separators=(",", ":")).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" \
               "Content-Type: application/json\r\n"
        if key is not None:
            head += f"Authorization: Bearer {key}\r\n"
        self.data = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
        self.prompt_tokens = prompt_tokens
        self.sent_s = None
        self.times = []      # one for each event that brought text
        self.tokens = 0      # as the server counts them; of a broken answer those seen
        self.cached_tokens = 0
        self.failure = None
        self.rest = b""
        self.is_whole = False

    def take(self, data, now):
        """Bytes of the answer. Events of one read came at one time."""
        parts = (self.rest + data).split(b"\n\n")
        self.rest = parts.pop()
        for part in parts:
            if b'"usage":{' in part:
                self.read_usage(part)
            if b"data: [DONE]" in part:
                self.is_whole = True
            elif b'"finish_reason":null' in part and b'"text":""' not in part:
                self.times.append(now)
            if self.failure is None and b"data: {\"error\"" in part:
                self.failure = part.decode(errors="replace")

    def read_usage(self, part):
        found = re.search(rb'"completion_tokens":(\d+)', part)
        if found:
            self.tokens = int(found.group(1))
        found = re.search(rb'"cached_tokens":(\d+)', part)
        if found:
            self.cached_tokens = int(found.group(1))

    def end(self):
        """The server closed the connection, or the time is over."""
        if not self.is_whole:
            self.tokens = len(self.times)
            if self.failure is None:
                self.failure = "the answer ends early: " + self.rest[:300].decode(errors="replace")

    def gaps(self):
        return [after - before for before, after in zip(self.times, self.times[1:])]


def run_closed_loop(port, exchanges, in_flight, seconds):
    """Sends them in order, `in_flight` at once, for at most `seconds`. Returns (seconds that
    passed, those that were sent); what was under way at the end of the time is among them, without
    a failure."""
    selector = selectors.DefaultSelector()
    waiting = iter(exchanges)
    sent = []
    begin = time.monotonic()

    def send_next():
        exchange = next(waiting, None)
        if exchange is None:
            return
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange.sent_s = time.monotonic()
        connection.sendall(exchange.data)
        selector.register(connection, selectors.EVENT_READ, exchange)
        sent.append(exchange)

    for _ in range(in_flight):
        send_next()
    while selector.get_map():
        left = begin + seconds - time.monotonic()
        if left <= 0:
            break
        for key, _ in selector.select(left):
            data = key.fileobj.recv(1 << 16)
            now = time.monotonic()
            if data:
                key.data.take(data, now)
            if not data or key.data.is_whole:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                key.data.end()
                send_next()
    passed = time.monotonic() - begin
    for key in list(selector.get_map().values()):
        key.data.end()
        key.data.failure = None
        key.fileobj.close()
    return passed, sent


class Processors:
    """Seconds of processor time since it was made: of the machine, of this program and of servers
    that still run (Linux)."""

    def __init__(self, servers):
        self.servers = servers
        self.begin = self.read()

    def read(self):
        fields = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        # user nice system idle iowait irq softirq steal; guests are counted in user.
        ticks = [int(field) for field in fields[1:9]]
        own = sum(os.times()[:2])
        served = 0
        for server in self.servers:
            stat = pathlib.Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8")
            served += sum(map(int, stat.rsplit(")", 1)[1].split()[11:13])) / TICKS
        return sum(ticks) / TICKS, (sum(ticks) - ticks[3] - ticks[4]) / TICKS, own, served

    def shares(self):
        """Of all processors' time what this program, the servers and others took, and the servers'
        seconds."""
        total, busy, own, served = (after - before
                                    for before, after in zip(self.begin, self.read()))
        if total <= 0:
            return 0.0, 0.0, 0.0, served
        others = min(max(0.0, busy - own - served) / total, 1.0)
        return own / total, served / total, others, served
