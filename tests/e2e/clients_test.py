"""Real clients: OpenAI's, Vercel's and Ollama's npm packages, and curl."""

import json
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from api_test import ApiCase, post
from program import WORK, Server, etch_json, need_program

CLIENTS = Path(__file__).resolve().parent / "clients"


def install():
    """The clients with the packages of the lock file, installed once a build folder."""
    folder = WORK / "clients"
    folder.mkdir(exist_ok=True)
    lock = "package-lock.json"
    locked = (CLIENTS / lock).read_bytes()
    done = folder / "installed"
    for path in CLIENTS.iterdir():
        shutil.copy(path, folder)
    if not done.exists() or done.read_bytes() != locked:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder,
                       check=True, capture_output=True)
        done.write_bytes(locked)
    return folder


class ClientCase(ApiCase):
    model_options = ("--context", "1024")


class Npm(ClientCase):
    def setUp(self):
        need_program("node", "nodejs")
        need_program("npm")
        super().setUp()

    def run_client(self, server, script, key="user"):
        done = subprocess.run(["node", script, server.url, key], cwd=install(),
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        print(done.stdout, end="")

    def test_openai(self):
        with self.serve() as server:
            self.run_client(server, "openai.mjs")

    def test_openai_where_a_key_has_limits(self):
        tenants = self.folder / "tenants.db"
        key = etch_json("tenant", "add", "acme", "--concurrent", "1", "--db", tenants)["key"]
        with Server(self.image, "--tenants", tenants) as server:
            self.run_client(server, "openai_limits.mjs", key)

    def test_vercel_ai_sdk(self):
        with self.serve() as server:
            self.run_client(server, "ai_sdk.mjs")

    def test_ollama(self):
        with self.serve() as server:
            self.run_client(server, "ollama.mjs")


class Curl(ClientCase):
    def setUp(self):
        need_program("curl")
        super().setUp()

    def curl(self, server, path, *options, key="user"):
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60",
             "-H", f"Authorization: Bearer {key}", *map(str, options), server.url + path],
            capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_plain_streamed_and_uploaded(self):
        body = json.dumps({"model": "new", "prompt": "Hello", "max_tokens": 12, "temperature": 0})
        self.make_adapter(self.folder / "new", 5)
        with self.serve() as server:
            files = [option for name in ("adapter_config.json", "adapter_model.safetensors")
                     for option in ("-F", f"file=@{self.folder / 'new' / name}")]
            done = json.loads(self.curl(server, "/v1/adapters", "-F", "name=new", *files,
                                        key="boss"))
            self.assertEqual((done["id"], done["parent"]), ("new", "tiny"))
            whole = json.loads(self.curl(server, "/v1/completions", "--json", body))
            text = whole["choices"][0]["text"]
            base = post(server, "/v1/completions", **{**json.loads(body), "model": "tiny"}).json
            self.assertNotEqual(text, base["choices"][0]["text"])
            streamed = self.curl(server, "/v1/completions", "-N", "--json",
                                 json.dumps({**json.loads(body), "stream": True}))
            events = [line[6:] for line in streamed.splitlines() if line]
            self.assertEqual(events.pop(), "[DONE]")
            self.assertEqual("".join(json.loads(event)["choices"][0]["text"] for event in events),
                             text)
            large = self.folder / "large.json"  # curl asks first: Expect: 100-continue
            large.write_text(body.replace("{", "{" + " " * (2 << 20), 1))
            again = json.loads(self.curl(server, "/v1/completions", "-H",
                                         "Content-Type: application/json", "--data-binary",
                                         f"@{large}"))
            self.assertEqual(again["choices"], whole["choices"])

    def test_tls_with_its_own_authority(self):
        self.certify()
        with self.serve("--tls-cert", self.folder / "chain.pem", "--tls-key",
                        self.folder / "leaf.key") as server:
            self.assertTrue(server.url.startswith("https://"))
            models = self.curl(server, "/v1/models", "--cacert", self.folder / "ca.pem")
            self.assertEqual(json.loads(models)["data"][0]["id"], "tiny")
            unknown = subprocess.run(["curl", "--silent", server.url + "/health"])
            self.assertEqual(unknown.returncode, 60)  # no authority that curl knows

    def certify(self):
        """An authority (ca.pem) and what it vouches for (leaf.key, chain.pem)."""
        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True,
                           cwd=self.folder)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                "-subj", "/CN=authority")
        openssl("req", *curve, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf")
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "leaf.pem")
        (self.folder / "chain.pem").write_text((self.folder / "leaf.pem").read_text() +
                                               (self.folder / "ca.pem").read_text())


if __name__ == "__main__":
    sys.exit(unittest.main())
