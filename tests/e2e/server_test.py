"""The running server: raw HTTP and bad requests."""

import http.client
import json
import socket
import sys
import threading
import unittest

from program import DATA, Case, Server, etch, make_adapter, need_data


class ServerCase(Case):
    def setUp(self):
        need_data("models/stories260K.gguf")
        super().setUp()
        self.image = self.folder / "stories.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--name", "stories")
        (self.folder / "adapters").mkdir()
        for seed, name in ((1, "acme"), (2, "bistro")):
            make_adapter(self.folder / "adapters" / name, seed)

    def serve(self, *options, **more):
        return Server(self.image, "--adapters", self.folder / "adapters", *options, **more)


def request(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()


def complete(server, **fields):
    return request(server, "POST", "/v1/completions",
                   {"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0, **fields})


class Api(ServerCase):
    def test_models_adapters_and_texts(self):
        with self.serve() as server:
            self.assertEqual(request(server, "GET", "/health")[1]["status"], "ok")
            models = request(server, "GET", "/v1/models")[1]["data"]
            self.assertEqual([model["id"] for model in models], ["stories", "acme", "bistro"])
            self.assertEqual([model["parent"] for model in models], [None, "stories", "stories"])
            self.assertEqual(request(server, "GET", "/v1/models/acme")[1]["parent"], "stories")
            texts = {}
            for model in ("stories", "acme", "bistro"):
                status, answer = complete(server, model=model)
                self.assertEqual(status, 200, answer)
                self.assertEqual(answer["usage"]["completion_tokens"], 20)
                texts[model] = answer["choices"][0]["text"]
            self.assertEqual(len(set(texts.values())), 3)
            for model, text in texts.items():
                adapter = [] if model == "stories" else [
                    "--adapter", self.folder / "adapters" / model]
                run = etch("run", self.image, "-p", "Once upon a time", "-n", "20", "--greedy",
                           "--raw", *adapter).stdout
                self.assertEqual(run, "Once upon a time" + text + "\n")

    def test_many_at_once_get_what_they_get_alone(self):
        with self.serve("--parallel", "4") as server:
            wanted = {}
            jobs = [(model, seed) for model in ("stories", "acme", "bistro") for seed in range(5)]
            for model, seed in jobs:
                wanted[model, seed] = complete(server, model=model, seed=seed, temperature=1)[1][
                    "choices"][0]["text"]
            self.assertGreater(len(set(wanted.values())), 10)
            got = {}

            def run(model, seed):
                got[model, seed] = complete(server, model=model, seed=seed, temperature=1)[1][
                    "choices"][0]["text"]

            threads = [threading.Thread(target=run, args=job) for job in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(got, wanted)

    def test_choices_stop_and_logprobs(self):
        with self.serve() as server:
            answer = complete(server, n=3, temperature=1, seed=1, logprobs=2)[1]
            self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2])
            self.assertEqual(len({choice["text"] for choice in answer["choices"]}), 3)
            logprobs = answer["choices"][0]["logprobs"]
            self.assertEqual(len(logprobs["tokens"]), 20)
            self.assertTrue(all(value <= 0 for value in logprobs["token_logprobs"]))
            self.assertTrue(all(len(top) == 2 for top in logprobs["top_logprobs"]))
            stopped = complete(server, stop=[","], max_tokens=50)[1]["choices"][0]
            self.assertEqual(stopped["finish_reason"], "stop")
            self.assertNotIn(",", stopped["text"])

    def test_bad_requests_are_told_so(self):
        with self.serve() as server:
            for body in ("", "{", "[]", "null", "\xff", "[" * 100000, '{"prompt":5}',
                         '{"prompt":"x","n":1000000}', '{"prompt":"x","max_tokens":-1}',
                         '{"prompt":"x","temperature":"hot"}', '{"prompt":[999999]}'):
                status, answer = request(server, "POST", "/v1/completions",
                                         body.encode("latin-1"))
                self.assertEqual(status, 400, body[:40])
                self.assertTrue(answer["error"]["message"])
            status, answer = complete(server, model="nobody")
            self.assertEqual((status, answer["error"]["code"]), (404, "model_not_found"))
            status, answer = complete(server, prompt="word " * 3000)
            self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
            self.assertEqual(request(server, "GET", "/nothing")[0], 404)
            self.assertEqual(request(server, "GET", "/v1/completions")[0], 405)
            status, answer = request(server, "POST", "/v1/chat/completions",
                                     {"messages": [{"role": "user", "content": "x"}]})
            self.assertEqual(status, 400)  # stories260K has no chat template
            self.assertIn("chat template", answer["error"]["message"])
            self.assertEqual(complete(server)[0], 200)  # and it still serves

    def test_adapters_come_and_go_under_a_budget(self):
        for seed in range(3, 9):
            make_adapter(self.folder / "adapters" / f"client{seed}", seed)
        names = ["acme", "bistro"] + [f"client{seed}" for seed in range(3, 9)]
        with self.serve() as server:
            before = {m["id"]: m.get("adapter") for m in
                      request(server, "GET", "/v1/models")[1]["data"]}
            self.assertIsNone(before["stories"])
            self.assertEqual(before["acme"], {"resident": False, "loading": False, "pinned": False,
                                              "rank": 16, "size_bytes": None, "last_used": None})
            wanted = {name: complete(server, model=name)[1]["choices"][0]["text"]
                      for name in names}
            one = request(server, "GET", "/v1/models/acme")[1]["adapter"]
            self.assertTrue(one["resident"])
            self.assertGreater(one["last_used"], 1_700_000_000)
        self.assertEqual(len(set(wanted.values())), len(names))
        budget = 3 * one["size_bytes"] + (400 << 10)  # of eight, and some contexts
        with self.serve("--sram", budget, "--pin", "bistro") as server:
            got = {}

            def run(name):
                got[name] = [complete(server, model=name) for _ in range(3)]

            threads = [threading.Thread(target=run, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for name in names:
                for status, answer in got[name]:
                    self.assertEqual(status, 200, answer)
                    self.assertEqual(answer["choices"][0]["text"], wanted[name])
            after = [m["adapter"] for m in request(server, "GET", "/v1/models")[1]["data"][1:]]
            self.assertLess(sum(state["resident"] for state in after), len(names))
            self.assertEqual([state["pinned"] and state["resident"] for state in after],
                             [name == "bistro" for name in names])
            self.assertLessEqual(sum(state["size_bytes"] for state in after if state["resident"]),
                                 budget)
            self.assertEqual(complete(server, max_tokens=500)[0], 200)
        with self.serve("--sram", "100KiB") as server:
            status, answer = complete(server, max_tokens=500)
            self.assertEqual((status, answer["error"]["code"]), (400, "no_space"))
            self.assertIn("the server's budget has", answer["error"]["message"])
        self.assertIn("budget", self.error("serve", self.image, "--adapters",
                                           self.folder / "adapters", "--sram", "1KiB", "--pin",
                                           "acme", "--port", "0"))
        self.assertIn("not a size", self.error("serve", self.image, "--sram", "4 bananas"))

    def test_a_conversation_reads_only_what_is_new(self):
        prompt = "Once upon a time there was a girl who had a dog and a ball in the park."
        texts = []
        for options in (("--prefix-cache", "0"), ("--prefix-cache", "64MiB")):
            with self.serve(*options) as server:
                cached = []
                text = prompt
                for turn in range(3):
                    answer = complete(server, model="acme", prompt=text, seed=turn,
                                      temperature=1)[1]
                    usage = answer["usage"]
                    cached.append(usage["prompt_tokens_details"]["cached_tokens"])
                    self.assertLess(cached[-1], usage["prompt_tokens"])
                    text += answer["choices"][0]["text"] + " Then"
                texts.append(text)
                if options[1] == "0":
                    self.assertEqual(cached, [0, 0, 0])
                else:
                    self.assertEqual(cached[0], 0)
                    self.assertGreater(cached[1], 16)
                    self.assertGreater(cached[2], cached[1])
                    other = complete(server, model="bistro", prompt=text)[1]["usage"]
                    self.assertEqual(other["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(texts[0], texts[1])

    def test_broken_http_closes_one_connection_only(self):
        with self.serve() as server:
            for raw in (b"\x00\x01\x02\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\n"
                        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                        b"GET /health HTTP/1.1\r\nA: " + b"b" * 100000 + b"\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
                    try:
                        peer.sendall(raw)
                        reply = peer.recv(100)
                    except ConnectionError:
                        reply = b""
                    self.assertTrue(reply == b"" or b" 4" in reply[:16], (raw[:40], reply))
            self.assertEqual(request(server, "GET", "/health")[0], 200)

    def test_a_client_that_leaves_frees_its_place(self):
        with self.serve("--parallel", "1") as server:
            body = json.dumps({"prompt": "Once", "max_tokens": 500, "stream": True, "n": 16})
            with socket.create_connection(("127.0.0.1", server.port)) as peer:
                peer.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "
                             + str(len(body)).encode() + b"\r\n\r\n" + body.encode())
                peer.recv(100)
            self.assertEqual(complete(server)[0], 200)

    def test_keys_guard_all_but_health(self):
        with self.serve(environment={"ETCH_API_KEY": "secret"}) as server:
            self.assertEqual(request(server, "GET", "/health")[0], 200)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"},
                            {"Authorization": "Bearer secretsecret"}, {"Authorization": "Bearer "}):
                self.assertEqual(request(server, "GET", "/v1/models", headers=headers)[0], 401)
            good = {"Authorization": "Bearer secret"}
            self.assertEqual(request(server, "GET", "/v1/models", headers=good)[0], 200)

    def test_a_taken_port_and_a_broken_adapter_are_named(self):
        with self.serve() as server:
            self.assertIn(str(server.port),
                          self.error("serve", self.image, "--port", str(server.port)))
        (self.folder / "adapters/acme/adapter_model.safetensors").write_bytes(b"broken")
        self.assertIn("acme", self.error("serve", self.image, "--adapters",
                                         self.folder / "adapters", "--port", "0"))

    def test_it_stops_when_told(self):
        with self.serve() as server:
            server.process.terminate()
            self.assertEqual(server.process.wait(20), 0)


if __name__ == "__main__":
    sys.exit(unittest.main())
