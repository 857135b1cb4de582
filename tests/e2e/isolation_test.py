"""A tenant's key on every route: it names, loads, sees and removes nothing of another's."""

import http.client
import re
import subprocess
import sys
import unittest

from api_test import form
from program import SOURCE, Reply, etch, make_tiny_model
from tenants_test import TenantCase, call

METHODS = ("GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS")
# Whose names no answer to acme may hold.
FOREIGN = ("bistro", "bakery", "tiny", "rival")


def routes():
    """Every path that stands in the server's sources, so that none is forgotten here."""
    found = {"/v1/adapters/x", "/v1/models/x", "/", "/nothing"}
    for path in (SOURCE / "src/serve").glob("*.*"):
        if path.suffix in (".cc", ".h") and not path.name.endswith("_test.cc"):
            found |= set(re.findall(r'"(/[a-z][a-z0-9_/-]*)"', path.read_text()))
    return sorted(found - {"/proc/self/fd"})


class IsolationCase(TenantCase):
    """acme and rival with an adapter each, of a model that chats; bakery is nobody's."""

    def setUp(self):
        super().setUp()
        self.image = self.folder / "tiny.etch"
        make_tiny_model(self.folder / "tiny")
        etch("compile", self.folder / "tiny", "-o", self.image, "--name", "tiny")
        self.adapters = self.folder / "of-tiny"
        self.adapters.mkdir()
        for seed, name in enumerate(("acme", "bakery", "bistro")):
            subprocess.run([sys.executable, SOURCE / "tools/make_adapter.py", "--out",
                            self.adapters / name, "--model", self.folder / "tiny", "--seed",
                            str(seed)], check=True, capture_output=True)
        self.acme = self.add("acme", "--adapter", "acme", "--no-base")
        self.rival = self.add("rival", "--adapter", "bistro", "--adapter", "acme", "--no-base")
        self.boss = self.add("boss", "--all-adapters", "--admin")


class Isolation(IsolationCase):
    def bodies(self, model):
        """Everything that names a model, by route."""
        chat = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        short = {"max_tokens": 2}
        return {
            "/v1/chat/completions": {**chat, **short}, "/v1/completions": {
                "model": model, "prompt": "Hello", **short},
            "/v1/responses": {"model": model, "input": "Hello", "max_output_tokens": 2},
            "/generate": {"model": model, "prompt": "Hello", "max_output_tokens": 2},
            "/api/chat": {**chat, "options": {"num_predict": 2}, "stream": False},
            "/api/generate": {"model": model, "prompt": "Hello", "stream": False,
                              "options": {"num_predict": 2}},
            "/api/show": {"model": model},
            "/v1/embeddings": {"model": model, "input": "Hello"},
            "/v1/load_lora_adapter": {"lora_name": model, "lora_path": model},
            "/v1/unload_lora_adapter": {"lora_name": model}}

    def test_names_of_others_are_names_of_nothing(self):
        """404 with the same words for a foreign adapter, the base and what does not exist."""
        with self.serve() as server:
            def asked(method, path, name, body=None):
                reply = call(server, method, path.replace("NAME", name), self.acme, body)
                return reply.status, reply.raw.replace(name.encode(), b"NAME")

            names = ("nobody", "bistro", "bakery", "tiny", "bistro:latest", "nobody:latest")
            for path in self.bodies(""):
                replies = {name: asked("POST", path, name, self.bodies(name)[path])
                           for name in names}
                if path.startswith("/api/"):  # Ollama's tag may be left out
                    for name in ("bistro", "nobody"):
                        status, raw = replies.pop(name + ":latest")
                        replies[name + ":latest"] = status, raw.replace(name.encode(), b"NAME")
                self.assertEqual(len(set(replies.values())), 1, (path, replies))
                self.assertIn(replies["nobody"][0], (403, 404, 501), path)
            for method, path in (("GET", "/v1/models/NAME"), ("DELETE", "/v1/adapters/NAME"),
                                 ("DELETE", "/v1/models/NAME"), ("GET", "/v1/adapters/NAME")):
                replies = {name: asked(method, path, name) for name in names}
                self.assertEqual(len(set(replies.values())), 1, (path, replies))
                self.assertIn(replies["nobody"][0], (403, 404), path)
            for path in self.bodies(""):  # and its own are there
                own = call(server, "POST", path, self.acme, self.bodies("acme")[path])
                expected = (403,) if "lora_adapter" in path else (200, 501)
                self.assertIn(own.status, expected, (path, own.raw))
            # By number, too: bistro's and one that nobody has.
            listed = call(server, "GET", "/lora-adapters", self.boss).json
            number = {entry["name"]: entry["id"] for entry in listed}
            replies = set()
            for each in (number["bistro"], 4321):
                body = {**self.bodies("acme")["/v1/completions"], "lora": [{"id": each}]}
                reply = call(server, "POST", "/v1/completions", self.acme, body)
                replies.add((reply.status, reply.raw.replace(str(each).encode(), b"ID")))
            self.assertEqual(len(replies), 1, replies)
            self.assertEqual(call(server, "GET", "/v1/models/bistro", self.boss).status, 200)

    def test_no_answer_shows_another(self):
        with self.serve() as server:
            for key in (self.rival, self.boss):
                call(server, "POST", "/v1/completions", key,
                     self.bodies("bistro")["/v1/completions"])
            shown = {}
            for path in routes():
                for method in METHODS:
                    for body in (None, {}, self.bodies("acme").get(path)):
                        reply = call(server, method, path, self.acme, body)
                        shown.setdefault(path, set()).add(reply.status)
                        text = reply.raw.decode() + str(reply.headers)
                        for name in FOREIGN:
                            # The base is named as the parent of what is one's own.
                            hidden = text.replace('"parent":"tiny"', "").replace(
                                '"parent_model":"tiny"', "") if name == "tiny" else text
                            self.assertNotIn(name, hidden, (method, path, body))
            self.assertIn(200, shown["/v1/models"])
            self.assertEqual([model["id"] for model in
                              call(server, "GET", "/v1/models", self.acme).json["data"]], ["acme"])
            self.assertEqual([entry["name"] for entry in
                              call(server, "GET", "/lora-adapters", self.acme).json], ["acme"])
            self.assertEqual([model["name"] for model in
                              call(server, "GET", "/api/tags", self.acme).json["models"]], ["acme"])
            self.assertEqual(call(server, "GET", "/metrics", self.acme).status, 403)
            self.assertEqual({entry["name"] for entry in
                              call(server, "GET", "/lora-adapters", self.boss).json},
                             {"acme", "bakery", "bistro"})

    def test_every_route_but_health_needs_a_key(self):
        self.assertGreater(len(routes()), 18)
        with self.serve() as server:
            for path in routes():
                for method in METHODS:
                    reply = call(server, method, path, None, {})
                    is_open = method in ("GET", "HEAD") and path.endswith("/health")
                    self.assertEqual(reply.status, 200 if is_open else 401, (method, path))
            for name in ("acme", *FOREIGN):
                self.assertNotIn(name.encode(), call(server, "GET", "/health").raw)
                self.assertNotIn(name.encode(), call(server, "GET", "/health", self.acme).raw)

    def test_who_is_no_admin_changes_nothing(self):
        files = [(name, name, (self.adapters / "acme" / name).read_bytes())
                 for name in ("adapter_config.json", "adapter_model.safetensors")]
        before = sorted(path.name for path in self.adapters.iterdir())
        with self.serve() as server:
            replies = set()
            for name in ("bistro", "fresh", "../up", "acme"):  # taken, free, nonsense, one's own
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                connection.request("POST", "/v1/adapters",
                                   form([("name", None, name.encode()), *files]),
                                   {"Authorization": "Bearer " + self.acme,
                                    "Content-Type": "multipart/form-data; boundary=frontier"})
                reply = Reply(connection.getresponse())
                connection.close()
                replies.add((reply.status, reply.raw))
            for path in ("acme", "../../etc", "/etc/passwd", "nothing"):
                reply = call(server, "POST", "/v1/load_lora_adapter", self.acme,
                             {"lora_name": "mine", "lora_path": path})
                replies.add((reply.status, reply.raw))
            self.assertEqual(len(replies), 1, replies)
            self.assertEqual(next(iter(replies))[0], 403)
            for path in ("/v1/adapters/acme", "/v1/adapters/bistro", "/v1/adapters/../of-tiny"):
                self.assertEqual(call(server, "DELETE", path, self.acme).status, 403)
            # Not even an admin leaves the folder.
            for path in ("/v1/adapters/..", "/v1/adapters/../tiny", "/v1/adapters/%2e%2e",
                         "/v1/adapters/", "/v1/adapters/acme/../bistro", "/v1/adapters/./acme"):
                self.assertEqual(call(server, "DELETE", path, self.boss).status, 404, path)
        self.assertEqual(sorted(path.name for path in self.adapters.iterdir()), before)
        self.assertTrue((self.folder / "tiny").exists())


class KeptContexts(IsolationCase):
    def test_they_are_shared_by_no_two_tenants(self):
        """The same adapter, the same words: only who sent them before finds them."""
        prompt = "Once upon a time there was a little girl who lived in a house near the sea. " * 4
        twin = self.add("twin", "--adapter", "acme", "--no-base")

        def cached(server, key):
            reply = call(server, "POST", "/v1/completions", key, {
                "model": "acme", "prompt": prompt, "max_tokens": 2})
            self.assertEqual(reply.status, 200, reply.raw)
            return reply.json["usage"]["prompt_tokens_details"]["cached_tokens"]

        with self.serve(environment={"ETCH_API_KEY": "operator"}) as server:
            self.assertEqual(cached(server, self.acme), 0)
            self.assertGreater(cached(server, self.acme), 64)
            for key in (self.rival, twin, self.boss, "operator"):
                self.assertEqual(cached(server, key), 0)
                self.assertGreater(cached(server, key), 64)
            second = self.tenant("rotate", "acme", "--keep")["key"]
            self.assertGreater(cached(server, second), 64, "another key of the same tenant")


if __name__ == "__main__":
    sys.exit(unittest.main())
