"""The API surfaces through real HTTP: adapters at run time, /generate, Ollama, OpenAI."""

import base64
import http.client
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

import jsonschema

from program import DATA, Case, Reply, Server, SOURCE, etch, etch_json, make_tiny_model, need_data

ADMIN = {"Authorization": "Bearer boss"}
USER = {"Authorization": "Bearer user"}
HELLO = [{"role": "user", "content": "Hello"}]


def call(server, method, path, body=None, headers=USER):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    connection.request(method, path, body, dict(headers))
    reply = Reply(connection.getresponse())
    connection.close()
    return reply


def post(server, path, headers=USER, **body):
    return call(server, "POST", path, body, headers)


def form(parts):
    """multipart/form-data of (name, file name or None, content)."""
    body = b""
    for name, file, content in parts:
        body += b'--frontier\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        body += b'; filename="' + file.encode() + b'"' if file else b""
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + b"--frontier--\r\n"


class ApiCase(Case):
    """A small chat model whose template knows tools, and two adapters."""

    model_options = ()
    shown_tools = "{%- if tools %}{{- tools | tojson }}{%- endif %}"

    def setUp(self):
        super().setUp()
        self.model = self.folder / "tiny"
        make_tiny_model(self.model, *self.model_options)
        config = self.model / "tokenizer_config.json"
        settings = json.loads(config.read_text())
        settings["chat_template"] = settings["chat_template"].replace(
            "{%- for message", self.shown_tools + "{%- for message", 1)
        config.write_text(json.dumps(settings))
        self.image = self.folder / "tiny.etch"
        etch("compile", self.model, "-o", self.image, "--name", "tiny")
        self.adapters = self.folder / "adapters"
        self.adapters.mkdir()
        for seed, name in ((1, "acme"), (2, "bistro")):
            self.make_adapter(self.adapters / name, seed)

    def make_adapter(self, path, seed):
        subprocess.run([sys.executable, SOURCE / "tools/make_adapter.py", "--out", path, "--model",
                        self.model, "--seed", str(seed)], check=True, capture_output=True)

    def serve(self, *options):
        return Server(self.image, "--adapters", self.adapters, *options,
                      environment={"ETCH_API_KEY": "user", "ETCH_ADMIN_KEY": "boss"})

    def chat(self, server, **fields):
        return post(server, "/v1/chat/completions",
                    **{"messages": HELLO, "max_tokens": 12, "temperature": 0, **fields})

    def text(self, server, **fields):
        reply = self.chat(server, **fields)
        self.assertEqual(reply.status, 200, reply.text)
        return reply.json["choices"][0]["message"]["content"]


class Adapters(ApiCase):
    def test_load_and_unload_as_vllm_does(self):
        self.make_adapter(self.folder / "outside", 3)
        os.symlink(self.folder / "outside", self.adapters / "link")
        (self.adapters / "mixed").mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            os.symlink(self.folder / "outside" / name, self.adapters / "mixed" / name)
        for name in ("link", "mixed"):  # a start reads what its operator has put there
            os.rename(self.adapters / name, self.folder / name)
        with self.serve() as server:
            for name in ("link", "mixed"):
                os.rename(self.folder / name, self.adapters / name)
            load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
            self.assertEqual(post(server, load, lora_name="x", lora_path="acme").status, 403)
            self.assertEqual(call(server, "POST", load, {}, {}).status, 401)

            def admin(path, **body):
                return post(server, path, ADMIN, **body)

            self.make_adapter(self.adapters / "fresh", 4)
            done = admin(load, lora_name="fresh", lora_path=str(self.adapters / "fresh"))
            self.assertEqual((done.status, done.text),
                             (200, "Success: LoRA adapter 'fresh' added successfully."))
            listed = call(server, "GET", "/v1/models").json["data"]
            self.assertEqual([(m["id"], m["root"], m["parent"]) for m in listed],
                             [("tiny", "tiny", None), ("acme", "acme", "tiny"),
                              ("bistro", "bistro", "tiny"), ("fresh", "fresh", "tiny")])
            before = self.text(server, model="fresh")
            again = admin(load, lora_name="fresh", lora_path="fresh")
            self.assertEqual(again.status, 400)
            self.assertIn("already been loaded", again.json["error"]["message"])
            done = admin(load, lora_name="fresh", lora_path="acme", load_inplace=True)
            self.assertEqual(done.status, 200, done.text)
            self.assertEqual(self.text(server, model="fresh"), self.text(server, model="acme"))
            self.assertNotEqual(self.text(server, model="fresh"), before)
            for path in ("../outside", str(self.folder / "outside"), "link", "mixed", ".", "/etc",
                         "acme/../../outside", "/nowhere", str(self.adapters)):
                refused = admin(load, lora_name="y", lora_path=path)
                self.assertEqual(refused.status, 400, path)
                self.assertIn("folder of adapters", refused.text)
            for body, status in (({"lora_name": "y"}, 400), ({"lora_name": 5}, 400),
                                 ({"lora_name": "../y", "lora_path": "acme"}, 400),
                                 ({"lora_name": "y", "lora_path": "nothing"}, 404),
                                 ({"lora_name": "tiny", "lora_path": "acme"}, 400)):
                self.assertEqual(admin(load, **body).status, status, body)
            done = admin(unload, lora_name="fresh")
            self.assertEqual((done.status, done.text),
                             (200, "Success: LoRA adapter 'fresh' removed successfully."))
            self.assertEqual(admin(unload, lora_name="fresh").status, 404)
            self.assertEqual(admin(unload).status, 400)
            self.assertEqual(self.chat(server, model="fresh").status, 404)

    def test_weights_as_llama_server_has_them(self):
        with self.serve() as server:
            listed = call(server, "GET", "/lora-adapters").json
            self.assertEqual(listed, [
                {"id": 0, "name": "acme", "path": "acme", "scale": 0.0},
                {"id": 1, "name": "bistro", "path": "bistro", "scale": 0.0}])
            base, acme = self.text(server), self.text(server, model="acme")
            self.assertEqual(self.text(server, lora=[{"id": 0, "scale": 1.0}]), acme)
            self.assertEqual(self.text(server, model="acme", lora=[]), base)
            self.assertEqual(self.text(server, lora=[{"id": 1, "scale": 0}]), base)
            both = self.text(server, lora=[{"id": 0, "scale": 1}, {"id": 1, "scale": 1}])
            self.assertNotIn(both, (base, acme))
            self.assertEqual(self.chat(server, lora=[{"id": 9, "scale": 1}]).status, 400)
            self.assertEqual(self.chat(server, lora=[{"id": 0, "scale": 99}]).status, 400)
            scales = [{"id": 0, "scale": 1.0}]
            self.assertEqual(call(server, "POST", "/lora-adapters", scales).status, 403)
            self.assertEqual(call(server, "POST", "/lora-adapters", scales, ADMIN).json,
                             {"success": True})
            self.assertEqual(self.text(server), acme)
            self.assertEqual(call(server, "GET", "/lora-adapters").json[0]["scale"], 1.0)
            for bad in ("{}", "[5]", '[{"id":7}]', '[{"id":0,"scale":1e9}]', "[", ""):
                self.assertEqual(call(server, "POST", "/lora-adapters", bad, ADMIN).status, 400)
            call(server, "POST", "/lora-adapters", [], ADMIN)
            self.assertEqual(self.text(server), base)

    def test_upload(self):
        self.make_adapter(self.folder / "new", 5)
        files = [(name, name, (self.folder / "new" / name).read_bytes())
                 for name in ("adapter_config.json", "adapter_model.safetensors")]
        etch("adapter", "export", self.image, self.folder / "new", "--to", "gguf", "-o",
             self.folder / "new.gguf")
        gguf = ("file", "x.gguf", (self.folder / "new.gguf").read_bytes())
        kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
        with self.serve() as server:
            def upload(parts, headers=ADMIN, **more):
                return call(server, "POST", "/v1/adapters", form(parts),
                            {**headers, **kind, **more})

            done = upload([("name", None, b"new"), *files])
            self.assertEqual(done.status, 201, done.text)
            self.assertEqual(done.json["parent"], "tiny")
            self.assertEqual(upload([("name", None, b"new2"), gguf]).status, 201)
            self.assertEqual(self.text(server, model="new"), self.text(server, model="new2"))
            before = sorted(path.name for path in self.adapters.iterdir())
            self.assertEqual(before, ["acme", "bistro", "new", "new2.gguf"])
            self.assertEqual(upload([("name", None, b"other"), *files], USER).status, 403)
            page = upload([("name", None, b"other"), *files], Origin="http://evil.example")
            self.assertEqual(page.status, 403)
            for parts, status in (
                    ([("name", None, b"new"), *files], 409), ([("name", None, b"tiny"), gguf], 409),
                    ([("name", None, b"../up"), *files], 400), ([("name", None, b""), gguf], 400),
                    ([("name", None, b"part"), files[0]], 400), (files, 400),
                    ([("name", None, b"x.gguf"), *files], 400),
                    ([("name", None, b"both"), gguf, *files], 400),
                    ([("name", None, b"evil"), ("f", "../../x.sh", b"x")], 400),
                    ([("name", None, b"bad"), files[0], (*files[1][:2], b"broken")], 400),
                    ([("name", None, b"bad"), ("file", "b.gguf", b"GGUF")], 400)):
                reply = upload(parts)
                self.assertEqual(reply.status, status, reply.text)
            self.assertEqual(call(server, "POST", "/v1/adapters", {}, ADMIN).status, 400)
            self.assertEqual(sorted(path.name for path in self.adapters.iterdir()), before)
            # More than other bodies may have, and only for an admin.
            large = b"x" * (9 << 20)
            self.assertEqual(upload([("name", None, b"l"), ("f", "l.gguf", large)]).status, 400)
            try:
                reply = upload([("name", None, b"l"), ("f", "l.gguf", large)], USER)
                self.assertEqual(reply.status, 413)
            except OSError:
                pass  # the server had answered and closed before all was sent
            load = post(server, "/v1/load_lora_adapter", ADMIN, lora_name="alias", lora_path="new")
            self.assertEqual(load.status, 200)
            shared = call(server, "DELETE", "/v1/adapters/new", headers=ADMIN)
            self.assertEqual(shared.status, 409)
            self.assertEqual(post(server, "/v1/unload_lora_adapter", ADMIN,
                                  lora_name="alias").status, 200)
            (self.adapters / "new/checkpoint-1").mkdir()
            full = call(server, "DELETE", "/v1/adapters/new", headers=ADMIN)
            self.assertEqual((full.status, full.json["error"]["code"]), (409, "not_empty"))
            self.assertTrue(self.text(server, model="new"))
            (self.adapters / "new/checkpoint-1").rmdir()
            self.assertEqual(call(server, "DELETE", "/v1/adapters/new").status, 403)
            gone = call(server, "DELETE", "/v1/adapters/new", headers=ADMIN)
            self.assertEqual(gone.json, {"deleted": True, "id": "new", "object": "model"})
            self.assertEqual(sorted(path.name for path in self.adapters.iterdir()),
                             ["acme", "bistro", "new2.gguf"])
            self.assertEqual(call(server, "DELETE", "/v1/adapters/no", headers=ADMIN).status, 404)


    def test_what_was_cut_off_is_swept(self):
        old, new = self.adapters / ".aside-1-0", self.adapters / ".aside-1-1"
        for path in (old, new):  # a removal that a kill ended
            shutil.copytree(self.adapters / "acme", path)
            (path / "adapter_model.safetensors").unlink()
        os.utime(old, (1, 1))
        with self.serve() as server:
            self.assertEqual(call(server, "GET", "/health", headers={}).json["adapters"], 2)
        self.assertFalse(old.exists())
        self.assertTrue(new.exists())  # another server may be at it


class Generate(ApiCase):
    def test_text_and_statistics(self):
        with self.serve() as server:
            health = call(server, "GET", "/health", headers={}).json
            self.assertEqual(health, {"status": "ok", "running": 0, "queue_size": 0, "adapters": 2,
                                      "current_adapter": "none"})
            self.assertEqual(call(server, "GET", "/health", headers=ADMIN).json["adapter_names"],
                             ["acme", "bistro"])
            body = {"prompt": HELLO, "model": "acme", "max_output_tokens": 12}
            whole = post(server, "/generate", **body)
            self.assertEqual(whole.status, 200, whole.text)
            self.assertEqual(whole.json["text"], self.text(server, model="acme"))
            stats = whole.json["stats"]
            self.assertEqual((stats["decode_tokens"], stats["topk"], stats["done"]), (12, 1, True))
            self.assertEqual(stats["total_tokens"], stats["prefill_tokens"] + 12)
            self.assertEqual((stats["done_reason"], stats["reason"]),
                             ("length", "output limit reached"))
            self.assertGreater(stats["prefill_rate"], 0)
            self.assertGreater(stats["decode_rate"], 0)
            self.assertLessEqual(stats["ttft"], stats["total_time"])
            streamed = post(server, "/generate", **body, stream=True).events
            self.assertEqual("".join(event["text"] for event in streamed), whole.json["text"])
            self.assertEqual(streamed[-1]["stats"]["decode_tokens"], 12)
            plain = post(server, "/generate", prompt="Hello", max_output_tokens=5, logprobs=True,
                         top_logprobs=2)
            self.assertEqual([len(item["top"]) for item in plain.json["logprobs"]], [2] * 5)
            endless = post(server, "/generate", prompt="Hello", ignore_eos=True,
                           max_output_tokens=100)
            self.assertEqual(endless.json["stats"]["decode_tokens"], 100)
            for wrong in ({"topk": 9}, {"topk": 0}, {"min_output_tokens": 5}, {"tool_name": "x"},
                          {"echo": True}, {"prompt": 5}, {"strict": True, "max_tokens": 5}):
                reply = post(server, "/generate", **{**body, **wrong})
                self.assertEqual(reply.status, 400, wrong)
            self.assertEqual(call(server, "GET", "/generate").status, 405)


class Ollama(ApiCase):
    def test_chat_generate_and_lists(self):
        with self.serve() as server:
            models = call(server, "GET", "/api/tags").json["models"]
            self.assertEqual([model["name"] for model in models], ["tiny", "acme", "bistro"])
            self.assertRegex(call(server, "GET", "/api/version").json["version"], r"^\d+\.\d+")
            shown = post(server, "/api/show", model="acme:latest").json
            self.assertEqual(shown["details"]["parent_model"], "tiny")
            self.assertIn("tools", shown["capabilities"])
            self.assertEqual(post(server, "/api/show", model="nobody").status, 404)
            options = {"temperature": 0, "num_predict": 12}
            stream = post(server, "/api/chat", model="acme:latest", messages=HELLO,
                          options=options)
            self.assertEqual(stream.headers["Content-Type"], "application/x-ndjson")
            lines = stream.lines
            text = "".join(line["message"]["content"] for line in lines)
            self.assertEqual(text, self.text(server, model="acme"))
            last = lines[-1]
            self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])
            self.assertEqual((last["done_reason"], last["eval_count"]), ("length", 12))
            for name in ("total_duration", "prompt_eval_count", "prompt_eval_duration",
                         "eval_duration"):
                self.assertGreater(last[name], 0, name)
            whole = post(server, "/api/generate", model="acme", prompt="Hello", stream=False,
                         options=options).json
            self.assertEqual(whole["response"], text)
            raw = post(server, "/api/generate", model="tiny", prompt="Hello", raw=True,
                       stream=False, options={**options, "seed": 4, "temperature": 1}).json
            self.assertEqual(raw["prompt_eval_count"], len(raw["response"]) and
                             raw["prompt_eval_count"])
            loaded = post(server, "/api/generate", model="acme").json
            self.assertEqual((loaded["done_reason"], loaded["response"]), ("load", ""))
            for wrong in ({"options": {"repeat_penalty": 1.1}}, {"options": {"mirostat": 1}},
                          {"options": {"temperature": "x"}}, {"options": 5}, {"format": 5},
                          {"messages": [{"role": "user", "content": "", "images": ["x"]}]},
                          {"strict": True, "frobnicate": 1}):
                reply = post(server, "/api/chat", **{"model": "acme", "messages": HELLO, **wrong})
                self.assertEqual(reply.status, 400, wrong)
                self.assertIsInstance(reply.json["error"], str)
            missing = post(server, "/api/chat", model="nobody", messages=HELLO)
            self.assertEqual((missing.status, missing.headers["Content-Type"]),
                             (404, "application/json"))
            self.assertEqual(call(server, "GET", "/api/nothing").status, 404)


class OpenAi(ApiCase):
    def test_bias_penalties_and_strict(self):
        with self.serve() as server:
            def tokens(**fields):
                reply = post(server, "/v1/completions", **{
                    "prompt": "Hello", "max_tokens": 24, "temperature": 0, "logprobs": 1,
                    **fields})
                self.assertEqual(reply.status, 200, reply.text)
                return reply.json["choices"][0]["logprobs"]["tokens"]

            first = post(server, "/generate", prompt=HELLO, max_output_tokens=1,
                         logprobs=True).json["logprobs"][0]
            plain = tokens()

            def first_bytes(**fields):
                reply = self.chat(server, logprobs=True, **fields).json
                return reply["choices"][0]["logprobs"]["content"][0]["bytes"]

            self.assertNotEqual(first_bytes(), first_bytes(logit_bias={str(first["id"]): -100}))
            self.assertEqual(first_bytes(), first_bytes(logit_bias={str(first["id"]): 100}))
            forced = tokens(logit_bias={"70": 100})
            self.assertEqual(len(set(forced)), 1)
            self.assertEqual(len(set(tokens(logit_bias={"70": 30}))), 1)
            spread = tokens(logit_bias={"70": 30}, frequency_penalty=2, presence_penalty=2)
            self.assertGreater(len(set(spread)), 1)
            self.assertEqual(tokens(frequency_penalty=1.5, temperature=1, seed=3),
                             tokens(frequency_penalty=1.5, temperature=1, seed=3))
            self.assertEqual(tokens(unknown=1), plain)
            refused = post(server, "/v1/completions", prompt="Hello", unknown=1, strict=True)
            self.assertEqual(refused.status, 400)
            self.assertIn("unknown", refused.json["error"]["message"])
            refused = post(server, "/v1/completions", {**USER, "X-Strict": "true"},
                           prompt="Hello", unknown=1)
            self.assertEqual(refused.status, 400)

    def test_tools(self):
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
        with self.serve() as server:
            plain = self.chat(server).json["usage"]["prompt_tokens"]
            shown = self.chat(server, tools=[tool]).json["usage"]["prompt_tokens"]
            self.assertGreater(shown, plain)
            hidden = self.chat(server, tools=[tool], tool_choice="none").json
            self.assertEqual(hidden["usage"]["prompt_tokens"], plain)
            talk = [*HELLO,
                    {"role": "assistant", "content": None, "tool_calls": [
                        {"id": "1", "type": "function",
                         "function": {"name": "add", "arguments": "{\"a\": 1}"}}]},
                    {"role": "tool", "tool_call_id": "1", "content": "2"}]
            self.assertEqual(self.chat(server, messages=talk, tools=[tool]).status, 200)

    def test_embeddings(self):
        def get(server, **fields):
            return post(server, "/v1/embeddings", **{"model": "acme", "input": "Hello", **fields})

        long = "Hello and good day. " * 30
        vectors = []
        for options in ((), ("--backend", "reference"), ("--threads", "1", "--prefix-cache", "0")):
            with self.serve(*options) as server:
                one = get(server)
                self.assertEqual(one.status, 200, one.text)
                several = get(server, input=["Hello", "You", long]).json
                vectors.append([item["embedding"] for item in several["data"]])
                self.assertEqual(one.json["data"][0]["embedding"], vectors[-1][0])
        self.assertEqual(vectors[0], vectors[1])
        self.assertEqual(vectors[0], vectors[2])
        with self.serve() as server:
            prompt = post(server, "/v1/completions", prompt="Hello", max_tokens=1).json["usage"]
            self.assertEqual(one.json["usage"]["prompt_tokens"], prompt["prompt_tokens"])
            self.assertEqual(one.json["usage"]["total_tokens"], prompt["prompt_tokens"])
            forward = get(server, input=[[5, 6, 7], [7, 6, 5], [5, 6, 7]]).json["data"]
            self.assertEqual(forward[0]["embedding"], forward[2]["embedding"])
            self.assertNotEqual(forward[0]["embedding"], forward[1]["embedding"])
            self.assertEqual(get(server, input=[5, 6, 7]).json["data"][0]["embedding"],
                             forward[0]["embedding"])
            raw = base64.b64decode(get(server, encoding_format="base64").json["data"][0][
                "embedding"])
            self.assertEqual(struct.unpack("<64f", raw),
                             struct.unpack("<64f", struct.pack("<64f", *vectors[0][0])))
            weights = get(server, model="tiny", lora=[{"id": 0, "scale": 1}]).json["data"]
            self.assertEqual(weights[0]["embedding"], vectors[0][0])
            self.assertEqual(get(server, input=["x"] * 256).status, 200)
            for wrong, words in (
                    ({"input": ""}, "empty text"), ({"input": []}, "empty list"),
                    ({"input": ["x"] * 257}, "more than 256"), ({"input": 5}, "neither a string"),
                    ({"input": [[5], 5]}, "neither a text"), ({"input": [5, "x"]}, "token id"),
                    ({"input": [999999]}, "outside of the vocabulary"),
                    ({"input": [[]]}, "empty list"), ({"input": long * 20}, "shorten the prompt"),
                    ({"dimensions": 32}, "have 64"), ({"encoding_format": "hex"}, "base64"),
                    ({"strict": True, "frobnicate": 1}, "frobnicate"),
                    ({"lora": [{"id": 9}]}, "no adapter")):
                reply = get(server, **wrong)
                self.assertEqual(reply.status, 400, wrong)
                self.assertIn(words, reply.json["error"]["message"])
            self.assertEqual(get(server, model="nobody").status, 404)
            self.assertEqual(call(server, "GET", "/v1/embeddings").status, 405)
            reply = post(server, "/api/embeddings", model="acme", prompt=["a", "b"])
            self.assertEqual(reply.status, 400)
            self.assertIn("/api/embed takes", reply.json["error"])
            self.assertEqual(post(server, "/api/embed", model="acme", input="x", strict=True,
                                  frobnicate=1).status, 400)
            text = call(server, "GET", "/metrics", headers=ADMIN).text
            self.assertRegex(text, r"vllm:generation_tokens_total\S* 1\n")

    def test_embeddings_are_limited_and_metered(self):
        tenants = self.folder / "tenants.db"
        key = etch_json("tenant", "add", "firm", "--adapter", "acme", "--requests-per-minute", "2",
                        "--db", tenants)["key"]
        with Server(self.image, "--adapters", self.adapters, "--tenants", tenants) as server:
            def get(**fields):
                return post(server, "/v1/embeddings", {"Authorization": "Bearer " + key},
                            **{"input": ["Hello", "You"], "model": "acme", **fields})

            self.assertEqual(get(model="bistro").status, 404)
            done = get()
            self.assertEqual(done.status, 200, done.text)
            self.assertEqual(get(input="x").status, 200)
            refused = get()
            self.assertEqual((refused.status, refused.json["error"]["code"]),
                             (429, "rate_limit_exceeded"))
        rows = etch_json("tenant", "usage", "firm", "--requests", "--db", tenants)["requests"]
        self.assertEqual([(row["adapter"], row["completion_tokens"]) for row in rows],
                         [("acme", 0)] * 2)
        self.assertIn(done.json["usage"]["prompt_tokens"], [row["prompt_tokens"] for row in rows])

    def test_responses(self):
        with self.serve() as server:
            def respond(**fields):
                return post(server, "/v1/responses", **{
                    "model": "acme", "input": "Hello", "max_output_tokens": 12, "temperature": 0,
                    **fields})

            whole = respond()
            self.assertEqual(whole.status, 200, whole.text)
            text = self.text(server, model="acme")
            self.assertEqual(whole.json["output"][-1]["content"][0]["text"], text)
            self.assertEqual((whole.json["status"], whole.json["incomplete_details"]),
                             ("incomplete", {"reason": "max_output_tokens"}))
            items = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
            self.assertEqual(respond(input=items).json["output"][-1]["content"][0]["text"], text)
            longer = respond(instructions="Be brief.").json["usage"]["input_tokens"]
            self.assertGreater(longer, whole.json["usage"]["input_tokens"])
            events = respond(stream=True).events
            kinds = [event["type"] for event in events]
            self.assertEqual(kinds[:4], ["response.created", "response.in_progress",
                                         "response.output_item.added",
                                         "response.content_part.added"])
            self.assertEqual(kinds[-4:], ["response.output_text.done",
                                          "response.content_part.done",
                                          "response.output_item.done", "response.incomplete"])
            self.assertEqual([event["sequence_number"] for event in events],
                             list(range(len(events))))
            self.assertEqual("".join(event["delta"] for event in events
                                     if event["type"] == "response.output_text.delta"), text)
            for wrong in ({"previous_response_id": "resp_1"}, {"background": True}, {"input": 5},
                          {"input": []}, {"tools": [{"type": "web_search"}]},
                          {"truncation": "auto"}, {"strict": True, "frobnicate": 1}):
                self.assertEqual(respond(**wrong).status, 400, wrong)


class ForcedCalls(ApiCase):
    """An answer that must be a call is one, and its arguments hold to the function's schema."""

    model_options = ("--context", "2048")
    functions = {
        "weather": {"type": "object", "required": ["city", "days"],
                    "$defs": {"city": {"enum": ["Rome", "Oslo"]}},
                    "properties": {"city": {"$ref": "#/$defs/city"},
                                   "default": {"$ref": "#/$defs/city"},
                                   "days": {"type": "integer", "minimum": 1, "maximum": 9},
                                   "note": {"type": ["string", "null"], "maxLength": 5}}},
        "tree": {"type": "object", "required": ["kids"], "additionalProperties": False,
                 "properties": {"kids": {"type": "array", "maxItems": 1, "items": {"$ref": "#"}}}},
        "stop": None}

    def tools(self):
        return [{"type": "function", "function": {"name": name, **(
            {} if schema is None else {"parameters": schema})}}
            for name, schema in self.functions.items()]

    def check(self, name, arguments):
        schema = self.functions[name] or {"type": "object", "additionalProperties": False}
        errors = jsonschema.Draft202012Validator(schema).iter_errors(json.loads(arguments))
        self.assertEqual([error.message for error in errors], [], arguments)

    def check_answers(self, server):
        fields = {"tools": self.tools(), "max_tokens": 400, "temperature": 1, "n": 10}
        names = []
        ended = 0
        for seed in range(5):
            for choice in self.chat(server, tool_choice="required", seed=seed,
                                    **fields).json["choices"]:
                if choice["finish_reason"] == "length":
                    continue
                ended += 1
                self.assertEqual(choice["finish_reason"], "tool_calls")
                self.assertIsNone(choice["message"]["content"])
                [made] = choice["message"]["tool_calls"]
                names.append(made["function"]["name"])
                self.check(names[-1], made["function"]["arguments"])
        self.assertGreater(ended, 45)
        self.assertGreater(len(set(names)), 1)
        named = {"type": "function", "function": {"name": "weather"}}
        for choice in self.chat(server, tool_choice=named, seed=1, **fields).json["choices"]:
            [made] = choice["message"]["tool_calls"]
            self.assertEqual(made["function"]["name"], "weather")
            self.check("weather", made["function"]["arguments"])
        events = self.chat(server, tool_choice=named, seed=1, stream=True, **{
            **fields, "n": 1}).events
        calls = [call for event in events for choice in event["choices"]
                 for call in choice["delta"].get("tool_calls", [])]
        self.assertEqual([call["function"]["name"] for call in calls], ["weather"])
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")

    def test_as_llama_writes_them(self):
        with self.serve() as server:
            self.check_answers(server)
            held = {"name": "tree", "parameters": {"kids": []}}  # what the model has written
            raw = self.chat(server, tools=self.tools(), tool_choice="required", temperature=0,
                            max_tokens=400, logprobs=True).json["choices"][0]
            text = b"".join(bytes(item["bytes"]) for item in raw["logprobs"]["content"])
            self.assertEqual(set(json.loads(text)), set(held))
            self.check_surfaces(server)

    def check_surfaces(self, server):
        flat = [{"type": "function", "name": tool["function"]["name"],
                 "parameters": tool["function"].get("parameters")} for tool in self.tools()]
        fields = {"input": "Hello", "tools": flat, "max_output_tokens": 400, "seed": 2}
        for choice, names in (("required", set(self.functions)),
                              ({"type": "function", "name": "weather"}, {"weather"})):
            reply = post(server, "/v1/responses", tool_choice=choice, **fields)
            self.assertEqual(reply.status, 200, reply.text)
            [item] = reply.json["output"]
            self.assertEqual(item["type"], "function_call")
            self.assertIn(item["name"], names)
            self.check(item["name"], item["arguments"])
        reply = post(server, "/generate", prompt=HELLO, tools=self.tools(), max_output_tokens=400,
                     tool_choice="required")
        self.assertEqual(len(reply.json["tool_calls"]), 1, reply.text)
        tools = self.tools()
        broken = [{"type": "function", "function": {"name": "x", "parameters": {"not": {}}}}]
        for wrong, words in (
                ({"tool_choice": "required"}, "tools has none"),
                ({"tool_choice": "sometimes", "tools": tools}, "is not \"auto\""),
                ({"tool_choice": {"type": "function"}, "tools": tools}, "is not \"auto\""),
                ({"tool_choice": {"type": "function", "function": {"name": "x"}}, "tools": tools},
                 "no function \"x\""),
                ({"tool_choice": "required", "tools": broken}, "\"not\" is not supported")):
            reply = self.chat(server, **wrong)
            self.assertEqual(reply.status, 400, wrong)
            self.assertIn(words, reply.json["error"]["message"])
            self.assertEqual(reply.json["error"]["param"], "tool_choice")


class ForcedCallsBetweenMarks(ForcedCalls):
    shown_tools = ("{%- if tools %}{{- tools | tojson }}{{- 'Call: <tool_call>' }}"
                   "{%- endif %}")

    def test_as_llama_writes_them(self):
        with self.serve() as server:
            self.check_answers(server)
            raw = self.chat(server, tools=self.tools(), tool_choice="required", temperature=0,
                            max_tokens=400, logprobs=True).json["choices"][0]
            text = b"".join(bytes(item["bytes"]) for item in raw["logprobs"]["content"]).decode()
            self.assertRegex(text, r"(?s)^<tool_call>\n.*\n</tool_call>$")
            self.assertIn("arguments", json.loads(text[11:-12]))


class Thinking(ApiCase):
    """A template that begins the model's thoughts."""

    def test_json_comes_behind_the_thoughts(self):
        config = self.model / "tokenizer_config.json"
        settings = json.loads(config.read_text())
        settings["chat_template"] += "{{- '<think>\\n' }}"
        config.write_text(json.dumps(settings))
        etch("compile", self.model, "-o", self.image, "--name", "tiny")
        schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],
                  "additionalProperties": False}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        with self.serve() as server:
            told = self.chat(server, max_tokens=200, temperature=1, seed=1, response_format={
                "type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
            message = told.json["choices"][0]["message"]
            self.assertIn(json.loads(message["content"])["n"], (1, 2))
            made = self.chat(server, max_tokens=200, temperature=1, seed=1, tools=[tool],
                             tool_choice="required").json["choices"][0]["message"]
            self.assertEqual(made["tool_calls"][0]["function"]["name"], "f")
            described = Description(self)
            seen = {described.check_event(event) for event in post(
                server, "/v1/responses", input="Hello", max_output_tokens=12, stream=True).events}
            self.assertGreaterEqual(seen, {"response.reasoning_text.delta",
                                           "response.reasoning_text.done"})


class Description:
    """OpenAI's own description of its bodies."""

    def __init__(self, case):
        path = DATA / "conformance/openai_openapi.json"
        need_data("conformance/openai_openapi.json")
        self.case = case
        self.components = self.modern(json.loads(path.read_text())["components"])

    def modern(self, node):
        """OpenAPI 3.0's `nullable`, which the document uses still, as JSON Schema has it."""
        if isinstance(node, list):
            return [self.modern(item) for item in node]
        if not isinstance(node, dict):
            return node
        out = {key: self.modern(value) for key, value in node.items() if key != "nullable"}
        return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out

    def check(self, name, body):
        schema = {"$ref": f"#/components/schemas/{name}", "components": self.components}
        errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(body), key=str)
        self.case.assertEqual([f"{list(e.path)}: {e.message[:300]}" for e in errors][:5], [], name)

    def check_event(self, body):
        """Of /v1/responses: which of them says more than "none of these"."""
        name = "".join(word.title() for part in body["type"].split(".")
                       for word in part.split("_")).replace("OutputText", "Text") + "Event"
        self.check(name, body)
        return body["type"]

    def check_chunk(self, body):
        """Of /v1/completions: the description has no chunks, and a whole answer always ends."""
        for choice in body["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        self.check("CreateCompletionResponse", body)


class Shapes(ApiCase):
    """Every body that the OpenAI routes send, against OpenAI's own description."""

    tool = {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}}}
    forced = {"tools": [tool], "tool_choice": "required", "max_tokens": 300, "temperature": 1,
              "seed": 1}

    def test_chat(self):
        described = Description(self)
        usage = {"stream_options": {"include_usage": True}}
        with self.serve() as server:
            for fields in ({"n": 2, "model": "acme"}, {"logprobs": True, "top_logprobs": 2},
                           self.forced, {"stop": ["e"]}):
                whole = self.chat(server, **fields).json
                described.check("CreateChatCompletionResponse", whole)
                events = self.chat(server, stream=True, **usage, **fields).events
                self.assertEqual(events[-1]["choices"], [])
                for event in events:
                    described.check("CreateChatCompletionStreamResponse", event)
                calls = [call for event in events for choice in event["choices"]
                         for call in choice["delta"].get("tool_calls", [])]
                self.assertEqual(bool(calls), "tools" in fields)

    def test_completions_embeddings_and_models(self):
        described = Description(self)
        with self.serve() as server:
            body = {"prompt": ["Hello", "You"], "max_tokens": 5, "logprobs": 2, "n": 2}
            whole = post(server, "/v1/completions", **body).json
            self.assertEqual(len(whole["choices"]), 4)
            described.check("CreateCompletionResponse", whole)
            for event in post(server, "/v1/completions", **body, stream=True,
                              stream_options={"include_usage": True}).events:
                described.check_chunk(event)
            body = {"input": ["Hello", "You"], "model": "acme"}
            described.check("CreateEmbeddingResponse", post(server, "/v1/embeddings", **body).json)
            described.check("ListModelsResponse", call(server, "GET", "/v1/models").json)
            described.check("Model", call(server, "GET", "/v1/models/tiny").json)
            described.check("Model", call(server, "GET", "/v1/models/acme").json)

    def test_responses(self):
        described = Description(self)
        flat = [{"type": "function", "strict": False, **self.tool["function"]}]
        seen = set()
        with self.serve() as server:
            for fields in ({"max_output_tokens": 6}, {"instructions": "Be brief."},
                           {"tools": flat, "tool_choice": "required", "seed": 1},
                           {"tools": flat, "tool_choice": {"type": "function", "name": "f"}}):
                body = {"model": "tiny", "input": "Hello", "max_output_tokens": 300, **fields}
                described.check("Response", post(server, "/v1/responses", **body).json)
                for event in post(server, "/v1/responses", **body, stream=True).events:
                    seen.add(described.check_event(event))
        self.assertGreaterEqual(seen, {
            "response.incomplete", "response.completed", "response.output_text.delta",
            "response.content_part.done", "response.function_call_arguments.delta",
            "response.function_call_arguments.done", "response.output_item.done"})

    def test_errors(self):
        described = Description(self)
        with self.serve() as server:
            for reply, status in (
                    (self.chat(server, model="nobody"), 404), (self.chat(server, n=99), 400),
                    (post(server, "/v1/embeddings", input=""), 400),
                    (post(server, "/v1/responses", input=5), 400),
                    (self.chat(server, tool_choice="required"), 400),
                    (call(server, "GET", "/v1/models/nobody"), 404),
                    (call(server, "GET", "/v1/nothing"), 404),
                    (call(server, "GET", "/v1/completions"), 405),
                    (call(server, "GET", "/v1/models", headers={}), 401),
                    (post(server, "/v1/load_lora_adapter", lora_name="x"), 403)):
                self.assertEqual(reply.status, status, reply.text)
                described.check("ErrorResponse", reply.json)


if __name__ == "__main__":
    sys.exit(unittest.main())
