"""What the soak test asks of a server: requests whose answers are known, and others that are not
answers at all. Each kind is a function of a Soak (soak.py) that raises when something is wrong."""

import http.client
import json
import random
import re
import socket
import time

from operations_test import parse_metrics
from program import Reply

ADAPTERS = [f"a{number:02d}" for number in range(30)]
HELLO = [{"role": "user", "content": "Hello"}]
# Longer than a page of the context: what comes before the last words is kept and shared.
STORY = "Once upon a time there was a girl who lived in a house near the sea. One day she "
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = r'<tool_call>\{"name": "add", "arguments": \{"a": [0-9]{1,3}\}\}</tool_call>'
SCHEMA = {"type": "object", "required": ["ok", "n"], "additionalProperties": False,
          "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2, 3]}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


class Wrong(Exception):
    """An answer that is not what it should be."""


def expect(condition, *words):
    if not condition:
        raise Wrong(" ".join(str(word)[:300] for word in words))


def fixed_requests():
    """Requests whose answers never change: {name: (path, body)}."""
    out = {}
    for model in ["tiny", *ADAPTERS]:
        out["chat", model] = ("/v1/chat/completions", {
            "model": model, "messages": HELLO, "max_tokens": 16, "temperature": 0})
        out["story", model] = ("/v1/completions", {
            "model": model, "prompt": STORY, "max_tokens": 24, "temperature": 0.8, "seed": 3,
            "frequency_penalty": 0.5})
    for model in ["tiny", *ADAPTERS[::5]]:
        out["choices", model] = ("/v1/completions", {
            "model": model, "prompt": STORY + "saw", "max_tokens": 12, "temperature": 1,
            "seed": 7, "n": 3, "logprobs": 2})
        out["schema", model] = ("/v1/chat/completions", {
            "model": model, "messages": HELLO, "max_tokens": 120, "seed": 5,
            "response_format": FORMAT})
        out["tools", model] = ("/v1/chat/completions", {
            "model": model, "messages": HELLO, "max_tokens": 120, "seed": 6, "tools": [TOOL],
            "guided_regex": CALL})
    for first, second in ((0, 1), (7, 21)):
        out["weights", f"{first}+{second}"] = ("/v1/completions", {
            "prompt": "Once", "max_tokens": 16, "temperature": 0,
            "lora": [{"id": first, "scale": 0.5}, {"id": second, "scale": 1.25}]})
    return out


def choices_of(reply, stream):
    """What a completion says, streamed or not, in one form; ids of tool calls are random."""
    parts = {}
    for body in reply.events if stream else [reply.json]:
        expect("error" not in body, body)
        for choice in body["choices"]:
            part = parts.setdefault(choice["index"], {
                "text": "", "calls": [], "end": None, "logprobs": []})
            message = choice.get("delta") or choice.get("message") or {}
            part["text"] += choice.get("text") or message.get("content") or ""
            part["calls"] += [(call["function"]["name"], call["function"]["arguments"])
                              for call in message.get("tool_calls") or []]
            part["end"] = choice["finish_reason"] or part["end"]
            part["logprobs"] += (choice.get("logprobs") or {}).get("token_logprobs", [])
    if stream:
        expect(reply.text.endswith("data: [DONE]\n\n"), "a stream without its end:",
               reply.text[-200:])
    return [parts[index] for index in sorted(parts)]


def fixed(soak, worker):
    """A completion whose answer is known, streamed or not, by any tenant that may."""
    name = random.choice(soak.fixed_names)
    path, body = soak.fixed[name]
    stream = random.random() < 0.5
    tenant = random.choice(("wide", "wide", "metered"))
    reply = worker.post(path, soak.keys[tenant], {**body, "stream": stream})
    if tenant == "metered" and reply.status == 429:
        expect(reply.json["error"]["code"] == "rate_limit_exceeded", reply.text)
        expect(int(reply.headers["Retry-After"]) > 0, reply.headers)
        return "turned away"
    expect(reply.status == 200, name, reply.status, reply.text)
    soak.count_answer(tenant)
    got = choices_of(reply, stream)
    expect(got == soak.known[name], name, "stream" if stream else "whole", got, "and not",
           soak.known[name])
    return name[0] + (" streamed" if stream else "")


def structured(soak, worker):
    """Patterns that nobody has asked for before, and JSON of any shape."""
    letter, count = random.choice("abcdef"), random.randint(1, 30)
    pattern = f"[{letter}-z]{{{count}}}-[0-9]{{2}}"
    reply = worker.post("/v1/completions", soak.keys["wide"], {
        "model": random.choice(ADAPTERS), "prompt": "Once", "max_tokens": 100, "temperature": 2,
        "guided_regex": pattern})
    expect(reply.status == 200, reply.status, reply.text)
    soak.count_answer("wide")
    text = reply.json["choices"][0]["text"]
    expect(re.fullmatch(pattern, text), pattern, text)


def other_surfaces(soak, worker):
    """/generate, Ollama and responses say what chat completions say."""
    model = random.choice(ADAPTERS)
    stream = random.random() < 0.5
    wanted = soak.known["chat", model][0]["text"]
    surface = random.choice(("generate", "ollama", "responses"))
    if surface == "generate":
        path, body = "/generate", {"prompt": HELLO, "max_output_tokens": 16}
    elif surface == "ollama":
        path, body = "/api/chat", {"messages": HELLO,
                                   "options": {"temperature": 0, "num_predict": 16}}
    else:
        path, body = "/v1/responses", {"input": "Hello", "temperature": 0, "max_output_tokens": 16}
    reply = worker.post(path, soak.keys["wide"], {**body, "model": model, "stream": stream})
    expect(reply.status == 200, surface, reply.status, reply.text)
    soak.count_answer("wide")
    if surface == "generate":
        parts = reply.events if stream else [reply.json]
        text = "".join(part["text"] for part in parts)
        expect(parts[-1]["stats"]["decode_tokens"] <= 16, parts[-1])
    elif surface == "ollama":
        parts = [json.loads(line) for line in reply.text.splitlines()]
        text = "".join(part["message"]["content"] for part in parts)
        expect(parts[-1]["done"], parts[-1])
    elif stream:
        text = "".join(event["delta"] for event in reply.events
                       if event["type"] == "response.output_text.delta")
    else:
        text = "".join(part["text"] for item in reply.json["output"] if item["type"] == "message"
                       for part in item["content"])
    expect(text == wanted, surface, model, repr(text), "and not", repr(wanted))
    return surface + (" streamed" if stream else "")


def narrow_tenant(soak, worker):
    """A tenant with two adapters, a short context and two requests at once."""
    key = soak.keys["pair"]
    model = random.choice(("a00", "a01", "a05", "tiny", "nobody"))
    reply = worker.post("/v1/chat/completions", key, {
        "model": model, "messages": HELLO, "max_tokens": 16, "temperature": 0})
    if model not in ("a00", "a01"):
        expect(reply.status == 404, model, reply.status, reply.text)
        return "not allowed"
    if reply.status == 429:
        expect("at once" in reply.text and reply.headers["Retry-After"] == "1", reply.text)
        return "turned away"
    expect(reply.status == 200, reply.status, reply.text)
    soak.count_answer("pair")
    expect(choices_of(reply, False) == soak.known["chat", model], model, reply.text)


def lists(soak, worker):
    for path, wanted in (("/v1/models", "a07"), ("/api/tags", "a07"), ("/lora-adapters", "a07"),
                         ("/health", "ok"), ("/v1/models/a03", "resident")):
        reply = worker.call("GET", path, soak.keys["wide"])
        expect(reply.status == 200 and wanted in reply.text, path, reply.status, reply.text)


def metrics(soak, worker):
    reply = worker.call("GET", "/metrics", soak.keys["ops"])
    expect(reply.status == 200, reply.status)
    samples, _ = parse_metrics(reply.text)
    label = (("model_name", "tiny"),)
    expect(0 <= samples["vllm:num_requests_running", label] <= 6, reply.text[:1000])


def upload(soak, worker):
    """An adapter from its upload to its removal, under a name that many have had."""
    name = soak.take_name()
    source = random.choice(ADAPTERS)
    body = b'--edge\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + name.encode()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        body += (f'\r\n--edge\r\nContent-Disposition: form-data; name="{file}"; '
                 f'filename="{file}"\r\n\r\n').encode()
        body += (soak.adapters / source / file).read_bytes()
    body += b"\r\n--edge--\r\n"
    try:
        reply = worker.call("POST", "/v1/adapters", soak.keys["ops"], body,
                            {"Content-Type": "multipart/form-data; boundary=edge"})
        expect(reply.status == 201, "upload:", reply.status, reply.text)
        asked = soak.fixed["chat", source][1]
        reply = worker.post("/v1/chat/completions", soak.keys["wide"], {**asked, "model": name})
        expect(reply.status == 200, "behind its upload:", reply.status, reply.text)
        soak.count_answer("wide")
        expect(choices_of(reply, False) == soak.known["chat", source], name, source, reply.text)
        reply = worker.call("DELETE", "/v1/adapters/" + name, soak.keys["ops"])
        expect(reply.status == 200, "delete:", reply.status, reply.text)
        reply = worker.post("/v1/chat/completions", soak.keys["wide"], {**asked, "model": name})
        expect(reply.status == 404, "behind its removal:", reply.status, reply.text)
        expect(not (soak.adapters / name).exists(), "files stay")
    finally:
        soak.give_name(name)


def load(soak, worker):
    """The same weights under another name, as vLLM does it."""
    name = soak.take_name()
    source, second = random.sample(ADAPTERS, 2)
    try:
        for path, in_place in ((source, False), (second, True)):
            reply = worker.post("/v1/load_lora_adapter", soak.keys["ops"], {
                "lora_name": name, "lora_path": path, "load_inplace": in_place})
            expect(reply.status == 200, "load:", reply.status, reply.text)
            reply = worker.post("/v1/chat/completions", soak.keys["wide"],
                                {**soak.fixed["chat", path][1], "model": name})
            expect(reply.status == 200, "behind its load:", reply.status, reply.text)
            soak.count_answer("wide")
            expect(choices_of(reply, False) == soak.known["chat", path], name, path, reply.text)
        reply = worker.post("/v1/unload_lora_adapter", soak.keys["ops"], {"lora_name": name})
        expect(reply.status == 200, "unload:", reply.status, reply.text)
    finally:
        soak.give_name(name)


def moving(soak, worker):
    """An adapter whose file is replaced now and then: one of its two texts, and never an error."""
    reply = worker.post("/v1/chat/completions", soak.keys["wide"], {
        **soak.fixed["chat", "a00"][1], "model": "moving"})
    expect(reply.status == 200, reply.status, reply.text)
    soak.count_answer("wide")
    got = choices_of(reply, False)
    expect(got in [soak.known["chat", name] for name in soak.MOVES], got)


def head(soak, path, length, key):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


def leave(soak, _worker):
    """A client that is gone in the middle of its stream, or before it."""
    body = json.dumps({"model": random.choice(ADAPTERS), "prompt": STORY, "stream": True,
                       "max_tokens": 300, "n": random.choice((1, 3)), "ignore_eos": True,
                       "temperature": 1}).encode()
    with socket.create_connection(("127.0.0.1", soak.port), timeout=60) as peer:
        peer.sendall(head(soak, "/v1/completions", len(body), soak.keys["leaver"]) + body)
        for _ in range(random.randint(0, 4)):
            data = peer.recv(500)
            expect(data, "the server has closed first")


def half(soak, _worker):
    """Requests that end in the middle, of the head or of the body."""
    body = json.dumps(soak.fixed["chat", "a00"][1]).encode()
    whole = head(soak, "/v1/chat/completions", len(body), soak.keys["leaver"]) + body
    with socket.create_connection(("127.0.0.1", soak.port), timeout=60) as peer:
        peer.sendall(whole[:random.randrange(len(whole))])
        time.sleep(random.choice((0, 0.02, 1.0)))


def wrong_key(soak, worker):
    key = random.choice(("", "etch_", soak.keys["wide"][:-1], "etch_" + "0" * 64, soak.old_key))
    method, path = random.choice((("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/generate"),
                                  ("POST", "/v1/chat/completions"), ("DELETE", "/v1/adapters/a00"),
                                  ("POST", "/v1/load_lora_adapter"), ("POST", "/api/chat")))
    reply = worker.call(method, path, key, b"{}" if method == "POST" else None)
    expect(reply.status == 401, method, path, reply.status, reply.text)


def malformed(soak, worker):
    body = random.choice((
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100000, b'{"prompt":5}', b'{"n":1e999}',
        b'{"prompt":"x","n":1000000}', b'{"prompt":"x","max_tokens":-1}', b'{"prompt":[999999]}',
        b'{"prompt":"x","temperature":"hot"}', b'{"prompt":"' + b"word " * 3000 + b'"}',
        b'{"prompt":"x","guided_regex":"(a"}', b'{"prompt":"x","guided_json":{"not":{}}}',
        b'{"prompt":"x","guided_regex":"((((a{100}){100}){100}){100})"}',
        b'{"prompt":"x","lora":[{"id":999,"scale":1}]}', b'{"prompt":"x","strict":true,"y":1}',
        json.dumps({"prompt": "x", "guided_json": {"$ref": "#/nowhere"}}).encode()))
    reply = worker.call("POST", "/v1/completions", soak.keys["wide"], body)
    expect(reply.status == 400 and reply.json["error"]["message"], body[:80], reply.status,
           reply.text)


def not_http(soak, _worker):
    """Bytes that are no HTTP: an answer of 4xx or a closed connection."""
    with socket.create_connection(("127.0.0.1", soak.port), timeout=60) as peer:
        peer.sendall(random.choice((
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")))
        peer.shutdown(socket.SHUT_WR)
        data = peer.recv(1000)
        expect(not data or re.match(rb"HTTP/1\.[01] 4\d\d ", data), data)


def two_in_one(soak, _worker):
    """Two requests in one write: two answers, in order."""
    one = f"GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {soak.keys['wide']}\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", soak.port), timeout=60) as peer:
        peer.sendall((one % ("/health", "") +
                      one % ("/v1/models/a00", "Connection: close\r\n")).encode())
        data = b""
        while more := peer.recv(65536):
            data += more
    expect(data.count(b"HTTP/1.1 200 OK") == 2, data)
    expect(b'"id":"a00"' in data.rpartition(b"HTTP/1.1")[2], data)


KINDS = [(fixed, 40), (structured, 5), (other_surfaces, 10), (narrow_tenant, 5), (lists, 3),
         (metrics, 3), (upload, 3), (load, 3), (moving, 4), (leave, 5), (half, 4), (wrong_key, 4),
         (malformed, 6), (not_http, 2), (two_in_one, 2)]


class Worker:
    """One client: a connection that it keeps for some requests, then another."""

    def __init__(self, port):
        self.port = port
        self.connection = None
        self.left = 0

    def call(self, method, path, key, body=None, headers=None):
        if self.left == 0 or self.connection is None:
            self.close()
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            self.left = random.choice((1, 1, 5, 20))
        self.left -= 1
        try:
            self.connection.request(method, path, body,
                                    {**(headers or {}), "Authorization": "Bearer " + key})
            reply = Reply(self.connection.getresponse())
        except BaseException:
            self.close()
            raise
        if reply.headers.get("Connection", "").lower() == "close":
            self.close()
        return reply

    def post(self, path, key, body):
        return self.call("POST", path, key, json.dumps(body).encode())

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
