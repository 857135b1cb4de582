"""Tenants through real HTTP: keys, isolation, limits, usage, and what is left after kill -9."""

import contextlib
import csv
import datetime
import http.client
import io
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import threading
import time
import unittest

from program import DATA, Case, Reply, Server, etch, etch_json, make_adapter, need_data

NO_LIMITS = {"requests_per_minute": None, "tokens_per_minute": None, "tokens_per_month": None,
             "concurrent": None, "context": None}


class TenantCase(Case):
    """A server's image, two adapters, and a file of tenants."""

    def setUp(self):
        need_data("models/stories260K.gguf")
        super().setUp()
        self.image = self.folder / "stories.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--name", "stories")
        self.adapters = self.folder / "adapters"
        self.adapters.mkdir()
        for seed, name in ((1, "acme"), (2, "bistro")):
            make_adapter(self.adapters / name, seed)
        self.db = self.folder / "tenants.db"

    def tenant(self, command, *arguments, **options):
        return etch_json("tenant", command, *arguments, "--db", self.db, **options)

    def add(self, name, *options):
        return self.tenant("add", name, *options)["key"]

    def serve(self, *options, **more):
        return Server(self.image, "--adapters", self.adapters, "--tenants", self.db, *options,
                      **more)

    def sql(self, query):
        with contextlib.closing(sqlite3.connect(self.db)) as database:
            return database.execute(query).fetchall()


def call(server, method, path, key=None, body=None, headers=None, connection=None):
    own = connection is None
    connection = connection or http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = dict(headers or {})
    if key is not None:
        headers["Authorization"] = "Bearer " + key
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = Reply(connection.getresponse())
    if own:
        connection.close()
    return reply


def complete(server, key, headers=None, connection=None, **fields):
    return call(server, "POST", "/v1/completions", key,
                {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, **fields},
                headers, connection)


def events(raw):
    """The data of an event stream."""
    return [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]


class CommandLine(Case):
    def setUp(self):
        super().setUp()
        self.db = self.folder / "new" / "tenants.db"

    def run_json(self, *arguments):
        return etch_json("tenant", *arguments, "--db", self.db)

    def test_a_tenant_from_its_first_key_to_its_last(self):
        key = self.run_json("add", "acme", "--adapter", "b", "--adapter", "a", "--no-base",
                            "--requests-per-minute", "60", "--tokens-per-month", "5000000",
                            "--price-prompt", "0.50", "--price-completion", "1.5")["key"]
        self.assertRegex(key, r"^etch_[0-9a-f]{64}$")
        shown = self.run_json("show", "acme")
        self.assertEqual(shown["adapters"], ["a", "b"])
        self.assertFalse(shown["base"])
        self.assertEqual(shown["limits"], {**NO_LIMITS, "requests_per_minute": 60,
                                           "tokens_per_month": 5000000})
        self.assertEqual(shown["price_per_million"], {"prompt": "0.50", "completion": "1.50"})
        self.assertEqual([entry["prefix"] for entry in shown["keys"]], [key[:17]])
        changed = self.run_json("set", "acme", "--concurrent", "3", "--requests-per-minute", "0")
        self.assertEqual(changed["limits"], {**NO_LIMITS, "concurrent": 3,
                                             "tokens_per_month": 5000000})
        self.assertEqual(changed["adapters"], ["a", "b"], "what is not given stays")
        self.assertEqual(self.run_json("set", "acme", "--all-adapters", "--base")["adapters"],
                         "all")
        self.assertEqual(self.run_json("set", "acme", "--no-adapters")["adapters"], [])
        second = self.run_json("rotate", "acme", "--keep", "--admin")["key"]
        keys = self.run_json("show", "acme")["keys"]
        self.assertEqual([entry["revoked"] for entry in keys], [None, None])
        self.assertEqual([entry["admin"] for entry in keys], [False, True])
        self.run_json("revoke", "acme", "--key", second[:17])
        self.run_json("rotate", "acme", "--grace", "100")
        keys = self.run_json("show", "acme")["keys"]
        self.assertEqual([entry["revoked"] is None for entry in keys], [False, False, True])
        self.assertEqual([entry["name"] for entry in self.run_json("list")["tenants"]], ["acme"])
        self.run_json("revoke", "acme")
        shown = self.run_json("show", "acme")
        self.assertTrue(shown["revoked"])
        self.assertTrue(all(entry["revoked"] for entry in shown["keys"]))

    def test_the_key_stands_alone_on_standard_output(self):
        done = etch("tenant", "add", "acme", "--db", self.db)
        self.assertRegex(done.stdout, r"^etch_[0-9a-f]{64}\n$")
        self.assertIn("this once", done.stderr)
        self.assertEqual(self.db.stat().st_mode & 0o777, 0o600)
        for command in (["list"], ["show", "acme"], ["usage"]):
            text = etch("tenant", *command, "--db", self.db).stdout
            self.assertNotIn(done.stdout.strip()[18:], text)

    def test_mistakes_are_named(self):
        self.assertIn("etch tenant add", self.error("tenant", "list", "--db", self.db))
        etch("tenant", "add", "acme", "--db", self.db)
        for arguments, words in (
                (["add", "acme"], "already"), (["add", "a b"], "no name of a tenant"),
                (["show", "nobody"], "no tenant named"), (["set", "nobody"], "no tenant named"),
                (["revoke", "nobody"], "no tenant named"),
                (["revoke", "acme", "--key", "etch_x"], "no key"),
                (["set", "acme", "--price-prompt", "cheap"], "no price"),
                (["usage", "--from", "yesterday"], "no date"),
                (["usage", "nobody"], "no tenant named")):
            self.assertIn(words, self.error("tenant", *arguments, "--db", self.db))
        for arguments in (["set", "acme", "--concurrent", "-1"], ["add"], [],
                          ["rotate", "acme", "--keep", "--grace", "1"],
                          ["set", "acme", "--adapter", "a", "--all-adapters"]):
            etch("tenant", *arguments, *(["--db", self.db] if arguments else []), code=2)

    def test_it_has_a_place_of_its_own(self):
        home = {**os.environ, "XDG_DATA_HOME": str(self.folder / "data")}
        etch("tenant", "add", "acme", env=home)
        self.assertTrue((self.folder / "data/etch/tenants.db").exists())
        del home["XDG_DATA_HOME"]
        home["HOME"] = str(self.folder / "home")
        etch("tenant", "add", "acme", env=home)
        self.assertTrue((self.folder / "home/.local/share/etch/tenants.db").exists())

    def test_completion_knows_it(self):
        script = etch("completion", "bash").stdout
        self.assertRegex(script, r'"tenant rotate"\) words=".*--grace')


class Isolation(TenantCase):
    def test_each_key_sees_its_own_and_nothing_else(self):
        acme = self.add("acme", "--adapter", "acme", "--no-base")
        both = self.add("both", "--all-adapters")
        with self.serve(environment={"ETCH_API_KEY": "operator"}) as server:
            def models(key):
                data = call(server, "GET", "/v1/models", key).json["data"]
                return [model["id"] for model in data]

            self.assertEqual(models(acme), ["acme"])
            self.assertEqual(models(both), ["stories", "acme", "bistro"])
            self.assertEqual(models("operator"), ["stories", "acme", "bistro"])
            self.assertEqual(complete(server, acme, model="acme").status, 200)
            for path, body in (("/v1/models/{}", None), ("/v1/completions", "completion"),
                               ("/v1/chat/completions", "chat")):
                replies = {}
                for name in ("bistro", "nobody", "stories"):
                    if body is None:
                        reply = call(server, "GET", path.format(name), acme)
                    else:
                        reply = call(server, "POST", path, acme, {
                            "model": name, "prompt": "x",
                            "messages": [{"role": "user", "content": "x"}]})
                    self.assertEqual(reply.status, 404, (path, name))
                    replies[name] = reply.raw.replace(name.encode(), b"NAME")
                self.assertEqual(len(set(replies.values())), 1, replies)
            self.assertEqual(complete(server, acme).status, 404, "no model is the base")
            self.assertEqual(complete(server, both, model="bistro").status, 200)
            self.assertEqual(complete(server, "operator", model="bistro").status, 200)

    def test_every_route_but_health_needs_a_key(self):
        key = self.add("acme", "--all-adapters")
        with self.serve() as server:
            self.assertEqual(call(server, "GET", "/health").status, 200)
            for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/acme"),
                                 ("GET", "/metrics"), ("GET", "/"), ("GET", "/nothing"),
                                 ("POST", "/health"), ("POST", "/v1/completions"),
                                 ("POST", "/v1/chat/completions"), ("OPTIONS", "/v1/models"),
                                 ("GET", "/health/"), ("GET", "//health"),
                                 ("DELETE", "/v1/models/acme"), ("GET", "/v1/../health")):
                for bad in (None, "", "etch_", key[:-1], key + "0", key[:17],
                            key[:17] + "0" * 52):
                    reply = call(server, method, path, bad)
                    self.assertEqual(reply.status, 401, (method, path, bad))
                    self.assertEqual(reply.code, "invalid_api_key")
                    self.assertEqual(reply.headers["WWW-Authenticate"], "Bearer")
                self.assertNotEqual(call(server, method, path, key).status, 401)

    def test_a_file_without_keys_lets_nobody_in(self):
        self.assertIn("etch tenant add",
                      self.error("serve", self.image, "--tenants", self.db, "--port", "0"))
        key = self.add("acme")
        self.tenant("revoke", "acme")
        with self.serve() as server:
            self.assertEqual(call(server, "GET", "/v1/models", key).status, 401)
            self.assertEqual(call(server, "GET", "/v1/models").status, 401)


class Changes(TenantCase):
    def test_they_hold_with_the_next_request(self):
        self.add("other")
        with self.serve() as server:
            key = self.add("acme", "--adapter", "acme")
            self.assertEqual(complete(server, key, model="acme").status, 200)
            self.assertEqual(complete(server, key, model="bistro").status, 404)
            self.tenant("set", "acme", "--adapter", "bistro")
            self.assertEqual(complete(server, key, model="bistro").status, 200)
            self.assertEqual(complete(server, key, model="acme").status, 404)
            second = self.tenant("rotate", "acme", "--grace", "4")["key"]
            self.assertEqual(complete(server, key).status, 200)
            self.assertEqual(complete(server, second).status, 200)
            time.sleep(4.2)
            self.assertEqual(complete(server, key).status, 401)
            self.assertEqual(complete(server, second).status, 200)
            self.tenant("revoke", "acme")
            self.assertEqual(complete(server, second).status, 401)

    def test_a_revoked_tenant_is_out_while_others_go_on(self):
        bad, good = self.add("bad"), self.add("good")
        with self.serve() as server:
            statuses = {bad: [], good: []}
            stop = threading.Event()

            def run(key):
                while not stop.is_set():
                    statuses[key].append((time.monotonic(), complete(server, key).status))

            threads = [threading.Thread(target=run, args=(key,)) for key in (bad, good)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            self.tenant("revoke", "bad")
            revoked = time.monotonic()
            while sum(when > revoked for when, _ in statuses[bad]) < 5:
                time.sleep(0.01)
            stop.set()
            for thread in threads:
                thread.join()
            self.assertEqual({status for _, status in statuses[good]}, {200})
            self.assertIn(200, [status for _, status in statuses[bad]])
            # A request that was under way when the command returned may still have been let in.
            late = [status for when, status in statuses[bad] if when > revoked][1:]
            self.assertTrue(late)
            self.assertEqual(set(late), {401})


class Limits(TenantCase):
    def test_requests_per_minute(self):
        key = self.add("acme", "--requests-per-minute", "3")
        free = self.add("free")
        with self.serve() as server:
            for left in (2, 1, 0):
                reply = complete(server, key)
                self.assertEqual(reply.status, 200)
                self.assertEqual(reply.headers["x-ratelimit-limit-requests"], "3")
                self.assertEqual(reply.headers["x-ratelimit-remaining-requests"], str(left))
                self.assertRegex(reply.headers["x-ratelimit-reset-requests"], r"^(\d+m)?\d+m?s$")
                self.assertIsNone(reply.headers["x-ratelimit-limit-tokens"])
            reply = complete(server, key)
            self.assertEqual((reply.status, reply.code), (429, "rate_limit_exceeded"))
            self.assertIn("3 requests per minute", reply.json["error"]["message"])
            self.assertTrue(1 <= int(reply.headers["Retry-After"]) <= 20, reply.headers)
            self.assertEqual(reply.headers["x-ratelimit-remaining-requests"], "0")
            self.assertEqual(call(server, "GET", "/v1/models", key).status, 200)
            self.assertEqual(complete(server, free).status, 200)
            self.tenant("set", "acme", "--requests-per-minute", "60")
            time.sleep(float(complete(server, key).headers.get("Retry-After", 1)))
            self.assertEqual(complete(server, key).status, 200)

    def test_requests_that_never_began_are_not_taken(self):
        key = self.add("acme", "--requests-per-minute", "2", "--tokens-per-minute", "1000")
        with self.serve() as server:
            for body in ({"model": "nobody"}, {"prompt": 5}, {"prompt": "word " * 3000},
                         {"prompt": [9999999]}):
                self.assertIn(complete(server, key, **body).status, (400, 404))
            reply = complete(server, key)
            self.assertEqual(reply.headers["x-ratelimit-remaining-requests"], "1")
            self.assertEqual(reply.status, 200)

    def test_tokens_per_minute(self):
        key = self.add("acme", "--tokens-per-minute", "60")
        with self.serve() as server:
            reply = complete(server, key, max_tokens=50)
            used = reply.json["usage"]["total_tokens"]
            self.assertGreater(used, 50)
            reply = complete(server, key, prompt="Once upon a time there was a girl and a boy")
            self.assertEqual((reply.status, reply.code), (429, "rate_limit_exceeded"))
            self.assertIn("tokens per minute", reply.json["error"]["message"])
            self.assertEqual(reply.headers["x-ratelimit-limit-tokens"], "60")
            self.assertLess(int(reply.headers["x-ratelimit-remaining-tokens"]), 11)
            self.assertGreater(int(reply.headers["Retry-After"]), 0)
            reply = complete(server, key, prompt="word " * 70)
            self.assertEqual(reply.status, 400, "a wait would not help")
            self.assertIsNone(reply.headers["Retry-After"])

    def test_tokens_per_month_count_across_a_restart(self):
        key = self.add("acme", "--tokens-per-month", "40")
        with self.serve() as server:
            self.assertEqual(complete(server, key, max_tokens=30).status, 200)
        with self.serve() as server:
            reply = complete(server, key, prompt="Once upon a time there was a girl and a boy")
            self.assertEqual((reply.status, reply.code), (429, "insufficient_quota"))
            now = datetime.datetime.now(datetime.timezone.utc)
            first = (now.replace(day=1) + datetime.timedelta(days=32)).replace(
                day=1, hour=0, minute=0, second=0, microsecond=0)
            self.assertAlmostEqual(int(reply.headers["Retry-After"]),
                                   (first - now).total_seconds(), delta=5)
            self.tenant("set", "acme", "--tokens-per-month", "0")
            self.assertEqual(complete(server, key).status, 200)

    def test_requests_at_once(self):
        key = self.add("acme", "--concurrent", "2")
        with self.serve() as server:
            held = []
            for _ in range(2):
                peer = socket.create_connection(("127.0.0.1", server.port))
                body = json.dumps({"prompt": "Once", "max_tokens": 500, "n": 16, "stream": True,
                                   "temperature": 1, "logprobs": 20})
                peer.sendall((f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                              f"{key}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
                self.assertIn(b"200 OK", peer.recv(100))
                held.append(peer)
            reply = complete(server, key)
            self.assertEqual((reply.status, reply.headers["Retry-After"]), (429, "1"))
            self.assertIn("at once", reply.json["error"]["message"])
            for peer in held:
                peer.close()
            end = time.monotonic() + 20
            while complete(server, key).status != 200:
                self.assertLess(time.monotonic(), end, "who leaves gives the place back")
                time.sleep(0.05)
            for _ in range(50):  # and so does who is done, before the answer's last byte
                self.assertEqual(complete(server, key).status, 200)

    def test_context(self):
        key = self.add("acme", "--context", "20")
        with self.serve() as server:
            reply = complete(server, key, max_tokens=500)
            self.assertEqual(reply.status, 200)
            self.assertLessEqual(reply.json["usage"]["total_tokens"], 21)
            self.assertEqual(reply.json["choices"][0]["finish_reason"], "length")
            reply = complete(server, key, prompt="word " * 30)
            self.assertEqual((reply.status, reply.code), (400, "context_length_exceeded"))
            self.assertIn("holds 20", reply.json["error"]["message"])


class Usage(TenantCase):
    def test_every_answer_is_one_row_and_one_bill(self):
        key = self.add("acme", "--all-adapters", "--price-prompt", "1000",
                       "--price-completion", "2000")
        other = self.add("other")
        answers = {}
        with self.serve(environment={"ETCH_API_KEY": "operator"}) as server:
            for model in ("acme", "bistro", "acme", "stories"):
                reply = complete(server, key, model=model, n=2)
                answers[reply.json["id"]] = (model, reply.json["usage"])
            reply = complete(server, key, stream=True, stream_options={"include_usage": True},
                             headers={"X-Request-Id": "mine-1"})
            chunks = events(reply.raw)
            self.assertEqual(chunks[-1], "[DONE]")
            answers[json.loads(chunks[0])["id"]] = ("stories", json.loads(chunks[-2])["usage"])
            complete(server, other)
            complete(server, "operator")
            self.assertEqual(complete(server, key, model="nobody").status, 404)
            rows = self.tenant("usage", "acme", "--requests")["requests"]
            self.assertEqual({row["answer_id"] for row in rows}, set(answers))
            self.assertEqual(len(rows), 5)
            for row in rows:
                model, usage = answers[row["answer_id"]]
                self.assertEqual(row["adapter"], None if model == "stories" else model)
                self.assertEqual(row["prompt_tokens"], usage["prompt_tokens"])
                self.assertEqual(row["completion_tokens"], usage["completion_tokens"])
                self.assertEqual(row["outcome"], "completed")
                self.assertEqual(row["key"], key[:17])
            self.assertEqual(rows[-1]["request_id"], "mine-1")
        report = self.tenant("usage", "acme")
        prompt = sum(usage["prompt_tokens"] for _, usage in answers.values())
        completion = sum(usage["completion_tokens"] for _, usage in answers.values())
        self.assertAlmostEqual(float(report["cost"]), (prompt * 1000 + completion * 2000) / 1e6)
        self.assertEqual(sorted((line["adapter"] or "", line["requests"])
                                for line in report["usage"]), [("", 2), ("acme", 2), ("bistro", 1)])
        self.tenant("set", "acme", "--price-prompt", "0")
        self.assertEqual(self.tenant("usage", "acme")["cost"], report["cost"],
                         "a price holds from when it is set")
        lines = list(csv.DictReader(io.StringIO(
            etch("tenant", "usage", "--csv", "--db", self.db).stdout)))
        self.assertEqual({line["tenant"] for line in lines}, {"acme", "other"})
        self.assertEqual(sum(int(line["prompt_tokens"]) for line in lines
                             if line["tenant"] == "acme"), prompt)
        month = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m")
        self.assertEqual(len(self.tenant("usage", "--from", month, "--to", month)["usage"]), 4)
        self.assertEqual(self.tenant("usage", "--to", "2020-01")["usage"], [])

    def test_who_leaves_pays_for_what_was_computed(self):
        key = self.add("acme")
        with self.serve() as server:
            body = json.dumps({"prompt": "Once", "max_tokens": 500, "n": 16, "stream": True})
            with socket.create_connection(("127.0.0.1", server.port)) as peer:
                peer.sendall((f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                              f"{key}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
                peer.recv(1000)
            end = time.monotonic() + 20
            while not (rows := self.tenant("usage", "acme", "--requests")["requests"]):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
        self.assertEqual(len(rows), 1)
        self.assertEqual(rows[0]["outcome"], "cancelled")
        self.assertLess(rows[0]["completion_tokens"], 16 * 500)

    def test_an_answer_whose_usage_cannot_be_stored_is_not_given(self):
        key = self.add("acme")
        with self.serve() as server:
            self.assertEqual(complete(server, key).status, 200)
            self.sql("CREATE TRIGGER full BEFORE INSERT ON usage BEGIN "
                     "SELECT raise(ABORT, 'full'); END")
            reply = complete(server, key)
            self.assertEqual((reply.status, reply.code), (503, "usage_not_stored"))
            raw = complete(server, key, stream=True).raw
            self.assertIn(b"usage_not_stored", raw)
            self.assertNotIn(b'"finish_reason":"length"', raw)
            self.sql("DROP TRIGGER full")
            self.assertEqual(complete(server, key).status, 200)
        self.assertEqual(self.sql("SELECT count(*) FROM usage"), [(2,)])

    def test_no_answer_waits_for_another_process_that_writes_for_long(self):
        key = self.add("acme")
        with self.serve() as server:
            with contextlib.closing(sqlite3.connect(self.db, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                done = threading.Event()

                def run():
                    self.assertEqual(complete(server, key).status, 200)
                    done.set()

                thread = threading.Thread(target=run)
                thread.start()
                time.sleep(0.3)
                self.assertFalse(done.is_set(), "the end of an answer waits for its row")
                started = time.monotonic()
                self.assertEqual(call(server, "GET", "/v1/models", key).status, 200)
                self.assertEqual(call(server, "GET", "/health").status, 200)
                self.assertLess(time.monotonic() - started, 5, "other requests do not")
                database.execute("COMMIT")
                thread.join()
                self.assertTrue(done.is_set())


class Killed(TenantCase):
    """kill -9 under load: what clients have got in whole is counted exactly once."""

    CLIENTS = 6
    KILLS = 10

    def client(self, server, key, number, got, stop):
        choose = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            while not stop.is_set():
                fields = {"model": choose.choice(("stories", "acme", "bistro")),
                          "max_tokens": choose.randint(1, 40), "temperature": 1}
                if choose.random() < 0.5:
                    reply = complete(server, key, connection=connection, stream=True,
                                     stream_options={"include_usage": True}, **fields)
                    chunks = events(reply.raw)
                    if chunks[-1] == "[DONE]":
                        got.append((json.loads(chunks[0])["id"], json.loads(chunks[-2])["usage"]))
                else:
                    reply = complete(server, key, connection=connection, **fields)
                    if reply.status == 200:
                        got.append((reply.json["id"], reply.json["usage"]))
        except (OSError, http.client.HTTPException, IndexError):
            pass  # the server is gone
        finally:
            connection.close()

    def test_usage_is_exact(self):
        key = self.add("acme", "--all-adapters")
        got = []
        seen = 0
        for kill in range(self.KILLS):
            started = time.monotonic()
            server = self.serve("--parallel", "4")
            self.assertLess(time.monotonic() - started, 2, "the start after a crash")
            stop = threading.Event()
            threads = [threading.Thread(target=self.client,
                                        args=(server, key, 100 * kill + number, got, stop))
                       for number in range(self.CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(0.1, 0.6))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            stop.set()
            for thread in threads:
                thread.join()
            server.__exit__()
            rows = dict((row[0], row[1:]) for row in self.sql(
                "SELECT answer_id, prompt_tokens, completion_tokens FROM usage"))
            for answer, usage in got:
                self.assertEqual(rows.get(answer),
                                 (usage["prompt_tokens"], usage["completion_tokens"]), answer)
            self.assertEqual(len(got), len({answer for answer, _ in got}))
            # Rows of answers whose last bytes did not get out: at most one a client and crash.
            self.assertLessEqual(len(rows) - len(got) - seen, self.CLIENTS)
            seen = len(rows) - len(got)
            self.assertEqual(
                self.sql("SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM usage"),
                self.sql("SELECT sum(requests), sum(prompt_tokens), sum(completion_tokens) "
                         "FROM usage_months"))
        self.assertEqual(self.sql("PRAGMA integrity_check"), [("ok",)])
        self.assertGreater(len(got), 10 * self.KILLS, "there was load")
        print(f"{self.KILLS} kills, {len(got)} answers received, {seen} more rows")


if __name__ == "__main__":
    sys.exit(unittest.main())
