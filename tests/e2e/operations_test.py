"""What an operator of the server sees and does: metrics, logs, ids, TLS, CORS, signals."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
import warnings

from program import Server, make_adapter
from tenants_test import TenantCase, call, complete, events

HISTOGRAMS = ("vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds",
              "vllm:time_per_output_token_seconds", "vllm:e2e_request_latency_seconds")


def parse_metrics(text):
    """The text format of Prometheus, read strictly: {(name, labels): value}, {name: type}."""
    samples, types, order = {}, {}, []
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in order, f"{name} stands twice"
            order.append(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == order[-1] and kind in ("gauge", "counter", "histogram"), line
            types[name] = kind
        else:
            match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)', line)
            assert match, line
            name, labels, value = match.groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert order[-1] in (name, family), f"{line} is not below its head"
            pairs = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)',
                               labels)
            assert ",".join(f'{key}="{text}"' for key, text in pairs) == labels, line
            sample = (name, tuple(pairs))
            assert sample not in samples, f"{line} stands twice"
            samples[sample] = float(value)
    return samples, types


class Metrics(TenantCase):
    def scrape(self, server, key):
        reply = call(server, "GET", "/metrics", key)
        self.assertEqual(reply.status, 200)
        self.assertTrue(reply.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        return parse_metrics(reply.raw.decode())

    def test_they_count_what_happened(self):
        admin = self.add("ops", "--admin")
        key = self.add("acme", "--all-adapters", "--requests-per-minute", "4")
        with self.serve() as server:
            before, _ = self.scrape(server, admin)
            base = (("model_name", "stories"),)
            self.assertEqual(before["vllm:generation_tokens_total", base], 0)
            usage = {"acme": [0, 0, 0], "": [0, 0, 0]}
            for model in ("acme", "acme", "stories"):
                reply = complete(server, key, model=model)
                for index, name in enumerate(("prompt_tokens", "completion_tokens")):
                    usage["" if model == "stories" else model][index] += reply.json["usage"][name]
                usage["" if model == "stories" else model][2] += 1
            complete(server, key, stop=[","], max_tokens=60)
            self.assertEqual(complete(server, key).status, 429)
            self.assertEqual(complete(server, "nonsense").status, 401)
            samples, types = self.scrape(server, admin)
            self.assertEqual(samples["vllm:num_requests_running", base], 0)
            self.assertEqual(samples["vllm:num_requests_waiting", base], 0)
            self.assertEqual(samples["vllm:kv_cache_usage_perc", base], 0)
            success = "vllm:request_success_total"
            self.assertEqual(samples[success, base + (("finished_reason", "length"),)], 3)
            self.assertEqual(samples[success, base + (("finished_reason", "stop"),)], 1)
            labels = (("tenant", "acme"), ("adapter", "acme"))
            self.assertEqual(samples["etch:prompt_tokens_total", labels], usage["acme"][0])
            self.assertEqual(samples["etch:completion_tokens_total", labels], usage["acme"][1])
            self.assertEqual(samples["etch:requests_total", labels], 2)
            self.assertEqual(
                samples["etch:requests_total", (("tenant", "acme"), ("adapter", ""))], 2)
            for name in ("prompt", "completion"):
                self.assertEqual(
                    samples[f"vllm:{name.replace('completion', 'generation')}_tokens_total", base],
                    sum(value for (metric, _), value in samples.items()
                        if metric == f"etch:{name}_tokens_total"))
            rejected = {labels: value for (metric, labels), value in samples.items()
                        if metric == "etch:rejected_total"}
            self.assertEqual(rejected, {
                (("tenant", "acme"), ("reason", "requests_per_minute")): 1,
                (("tenant", ""), ("reason", "unauthorized")): 1})
            for name in HISTOGRAMS:
                self.assertEqual(types[name], "histogram")
                buckets = [(dict(labels)["le"], value) for (metric, labels), value
                           in samples.items() if metric == name + "_bucket"]
                values = [value for _, value in buckets]
                self.assertEqual(values, sorted(values))
                self.assertEqual(buckets[-1], ("+Inf", samples[name + "_count", base]))
                self.assertGreater(samples[name + "_sum", base], 0)
            self.assertEqual(samples["vllm:time_to_first_token_seconds_count", base], 4)
            self.assertEqual(samples["vllm:e2e_request_latency_seconds_count", base], 4)
            self.assertEqual(samples["vllm:inter_token_latency_seconds_count", base],
                             samples["vllm:generation_tokens_total", base] - 4)

    def test_they_show_who_runs_and_who_waits(self):
        admin = self.add("ops", "--admin", "--all-adapters")
        with self.serve("--parallel", "1") as server:
            peers = []
            for model in ("acme", "bistro"):
                body = json.dumps({"prompt": ["Once"] * 4, "max_tokens": 500, "n": 16,
                                   "stream": True, "logprobs": 20, "model": model,
                                   "temperature": 1})
                peer = socket.create_connection(("127.0.0.1", server.port))
                peer.sendall((f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                              f"Authorization: Bearer {admin}\r\n"
                              f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
                peer.recv(100)
                peers.append(peer)

            def scrape_until(running, waiting):
                end = time.monotonic() + 20
                while True:
                    samples, _ = self.scrape(server, admin)
                    labels = next(dict(labels) for (name, labels) in samples
                                  if name == "vllm:lora_requests_info")
                    if (labels["running_lora_adapters"] == running
                            and labels["waiting_lora_adapters"] == waiting):
                        return samples, labels
                    self.assertLess(time.monotonic(), end, labels)

            samples, labels = scrape_until("acme", "bistro")
            self.assertEqual(labels["max_lora"], "1")
            base = (("model_name", "stories"),)
            self.assertEqual(samples["vllm:num_requests_running", base], 1)
            self.assertGreater(samples["vllm:num_requests_waiting", base], 64)
            self.assertEqual(samples["vllm:kv_cache_usage_perc", base], 1)
            for peer in peers:
                peer.close()
            scrape_until("", "")

    def test_the_budget_and_its_adapters(self):
        base = (("model_name", "stories"),)

        def used(samples, use):
            return samples["etch:budget_used_bytes", (*base, ("use", use))]

        with Server(self.image, "--adapters", self.adapters) as server:
            self.assertEqual(complete(server, None, model="acme").status, 200)
            samples, _ = self.scrape(server, None)
            one = used(samples, "adapter")
            self.assertGreater(one, 0)
            self.assertEqual(samples["etch:budget_bytes", base], 0)
        budget = int(1.5 * one) + (1 << 20)
        with Server(self.image, "--adapters", self.adapters, "--sram", str(budget),
                    "--prefix-cache", "0") as server:
            body = json.dumps({"prompt": "Once", "max_tokens": 60, "ignore_eos": True, "n": 16,
                               "model": "acme"})
            stop = threading.Event()

            def run():
                while not stop.is_set():
                    call(server, "POST", "/v1/completions", None, json.loads(body))

            thread = threading.Thread(target=run)
            thread.start()
            end = time.monotonic() + 60
            while not used(samples, "context"):
                samples, _ = self.scrape(server, None)
                self.assertLess(time.monotonic(), end)
            stop.set()
            thread.join()
            # The adapter is in use: contexts may have what it leaves. (Both numbers are read one
            # after the other while requests end.)
            usage = samples["vllm:kv_cache_usage_perc", base]
            self.assertTrue(0 < usage <= 1)
            self.assertAlmostEqual(usage, used(samples, "context") / (budget - one), delta=0.1)
            for model in ("bistro", "acme", "bistro"):
                self.assertEqual(complete(server, None, model=model).status, 200)
            samples, _ = self.scrape(server, None)
            self.assertEqual(samples["vllm:kv_cache_usage_perc", base], 0)
            self.assertEqual(samples["etch:budget_bytes", base], budget)
            self.assertEqual(samples["etch:adapters", base], 2)
            loads = samples["etch:adapter_loads_total", base]
            self.assertGreaterEqual(loads, 2)
            self.assertEqual(samples["etch:adapter_loaded_bytes_total", base], loads * one)
            self.assertEqual(samples["etch:adapter_evictions_total", base],
                             loads - samples["etch:adapters_resident", base])
            self.assertGreater(samples["etch:adapter_load_seconds_total", base], 0)
            self.assertGreater(samples["etch:adapter_hits_total", base], 0)

    def test_they_are_for_admins(self):
        key = self.add("acme")
        with self.serve(environment={"ETCH_API_KEY": "operator"}) as server:
            self.assertEqual(call(server, "GET", "/metrics", key).status, 403)
            self.assertEqual(call(server, "GET", "/metrics", "operator").status, 403)
            self.assertEqual(call(server, "GET", "/metrics").status, 401)
        with self.serve("--metrics-open") as server:
            self.assertEqual(call(server, "GET", "/metrics").status, 200)
            self.assertEqual(call(server, "GET", "/v1/models").status, 401)
        with Server(self.image) as server:
            self.scrape(server, None)


class Logs(TenantCase):
    def lines(self, server):
        server.process.terminate()
        return server.process.communicate(timeout=30)[1].splitlines()

    def test_one_line_a_request(self):
        key = self.add("acme", "--all-adapters")
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        server = self.serve("--log-format", "json")
        try:
            reply = complete(server, key, model="acme",
                             headers={"X-Request-Id": "my-id", "traceparent": trace})
            self.assertEqual(reply.headers["x-request-id"], "my-id")
            version, trace_id, span, flags = reply.headers["traceparent"].split("-")
            self.assertEqual((version, trace_id, flags), ("00", trace[3:35], "01"))
            self.assertNotEqual(span, trace[36:52])
            streamed = complete(server, key, stream=True, headers={"traceparent": "nonsense"})
            self.assertRegex(streamed.headers["x-request-id"], r"^req_[0-9a-f]{32}$")
            self.assertIsNone(streamed.headers["traceparent"])
            ids = {call(server, "GET", path, headers={"X-Request-Id": bad}).headers["x-request-id"]
                   for path, bad in (("/health", "a b"), ("/nothing", "x" * 200))}
            self.assertEqual(len(ids), 2)
            self.assertTrue(all(re.fullmatch(r"req_[0-9a-f]{32}", each) for each in ids))
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("POST", "/v1/completions", '{"prompt": confidential}',
                               {"Authorization": "Bearer " + key})
            self.assertEqual(connection.getresponse().status, 400)
            connection.close()
        finally:
            lines = [json.loads(line) for line in self.lines(server)]
        # A connection's line is written behind its answer, when another's may be done already.
        self.assertCountEqual([(line["path"], line["status"]) for line in lines],
                              [("/v1/completions", 200), ("/v1/completions", 200),
                               ("/health", 200), ("/nothing", 401), ("/v1/completions", 400)])
        errors = {line["status"]: line["error"] for line in lines if line["status"] >= 400}
        self.assertEqual(errors[400], "malformed", "no part of a body")
        first = next(line for line in lines if line["request_id"] == "my-id")
        self.assertEqual((first["tenant"], first["key"], first["adapter"], first["finish"]),
                         ("acme", key[:17], "acme", "length"))
        self.assertEqual((first["request_id"], first["trace_id"], first["span_id"],
                          first["parent_span_id"]), ("my-id", trace[3:35], span, trace[36:52]))
        self.assertEqual(first["completion_tokens"], 8)
        self.assertEqual(first["prompt_tokens"], reply.json["usage"]["prompt_tokens"])
        self.assertTrue(0 < first["ttft_ms"] <= first["duration_ms"] < 60000)
        self.assertIn("API key", errors[401])
        self.assertFalse(any(key[17:] in json.dumps(line) for line in lines), "no secret is logged")

    def test_text_and_silence(self):
        server = self.serve("--log-format", "text")
        call(server, "GET", "/health")
        lines = self.lines(server)
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0],
                         r"^time=\S+Z request_id=req_\w+ method=GET path=/health status=200")
        server = self.serve()
        call(server, "GET", "/health")
        self.assertEqual(self.lines(server), [])

    # The case above needs a file of tenants.
    def setUp(self):
        super().setUp()
        self.add("nobody")


def make_certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / f"{name}.key",
                    "-out", folder / f"{name}.pem", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)


class Tls(TenantCase):
    def setUp(self):
        super().setUp()
        self.key = self.add("acme")
        make_certificate(self.folder, "one")
        make_certificate(self.folder, "two")
        for ending in ("pem", "key"):
            shutil.copy(self.folder / f"one.{ending}", self.folder / f"used.{ending}")

    def serve_tls(self):
        return self.serve("--tls-cert", self.folder / "used.pem", "--tls-key",
                          self.folder / "used.key")

    def ask(self, server, name, **fields):
        context = ssl.create_default_context(cafile=self.folder / f"{name}.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30,
                                                 context=context)
        with contextlib.closing(connection):
            replies = [complete(server, self.key, connection=connection, **fields)
                       for _ in range(3)]
            self.assertEqual({reply.status for reply in replies}, {200})
            return replies

    def test_answers_and_streams_are_the_same(self):
        with self.serve() as server:
            plain = complete(server, self.key).json["choices"]
        with self.serve_tls() as server:
            self.assertTrue(server.url.startswith("https://"))
            self.assertEqual(self.ask(server, "one")[2].json["choices"], plain)
            chunks = events(self.ask(server, "one", stream=True)[2].raw)
            self.assertEqual("".join(json.loads(chunk)["choices"][0]["text"]
                                     for chunk in chunks[:-1]), plain[0]["text"])
            with self.assertRaises(ssl.SSLError):
                self.ask(server, "two")
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings(action="ignore"):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with socket.create_connection(("127.0.0.1", server.port)) as raw:
                    old.wrap_socket(raw)
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertNotIn(b"200", raw.recv(1000), "no plain HTTP on a TLS port")
            self.ask(server, "one")

    def test_hangup_takes_new_certificates(self):
        with self.serve_tls() as server:
            self.ask(server, "one")
            (self.folder / "used.pem").write_text("broken")
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            self.ask(server, "one")
            for ending in ("pem", "key"):
                shutil.copy(self.folder / f"two.{ending}", self.folder / f"used.{ending}")
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 20
            while True:
                try:
                    self.ask(server, "two")
                    break
                except ssl.SSLError:
                    self.assertLess(time.monotonic(), end)
            server.process.terminate()
            self.assertIn("used.pem", server.process.communicate(timeout=30)[1])

    def test_mistakes_are_named(self):
        def words(*options):
            return self.error("serve", self.image, "--port", "0", *options)

        self.assertIn("both", words("--tls-cert", self.folder / "one.pem"))
        self.assertIn("none.pem", words("--tls-cert", self.folder / "none.pem", "--tls-key",
                                        self.folder / "one.key"))
        self.assertIn("two.key", words("--tls-cert", self.folder / "one.pem", "--tls-key",
                                       self.folder / "two.key"))


class Cors(TenantCase):
    def test_pages_of_the_origin_may_call(self):
        key = self.add("acme")
        with self.serve("--cors", "https://app.example") as server:
            ask = {"Origin": "https://app.example"}
            reply = call(server, "OPTIONS", "/v1/completions", headers={
                **ask, "Access-Control-Request-Method": "POST"})
            self.assertEqual((reply.status, reply.raw), (204, b""))
            self.assertIn("POST", reply.headers["Access-Control-Allow-Methods"])
            self.assertIn("Authorization", reply.headers["Access-Control-Allow-Headers"])
            for reply in (complete(server, key, ask), complete(server, key, ask, stream=True),
                          complete(server, "wrong", ask)):
                self.assertEqual(reply.headers["Access-Control-Allow-Origin"],
                                 "https://app.example")
                self.assertIn("x-request-id", reply.headers["Access-Control-Expose-Headers"])
                self.assertEqual(reply.headers["Vary"], "Origin")
            for other in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
                self.assertIsNone(complete(server, key, other).headers[
                    "Access-Control-Allow-Origin"])
        with self.serve("--cors", "*") as server:
            self.assertEqual(complete(server, key, {"Origin": "https://any.example"}).headers[
                "Access-Control-Allow-Origin"], "*")


class Signals(TenantCase):
    def test_hangup_reads_the_adapters_again(self):
        key = self.add("acme", "--all-adapters")
        with self.serve() as server:
            def models():
                data = call(server, "GET", "/v1/models", key).json["data"]
                return [model["id"] for model in data]

            def wait_for(wanted):
                server.process.send_signal(signal.SIGHUP)
                end = time.monotonic() + 10
                while models() != wanted:
                    self.assertLess(time.monotonic(), end, models())
                    time.sleep(0.05)

            before = complete(server, key, model="acme", max_tokens=20).json["choices"]
            make_adapter(self.adapters / "cafe", 3)
            shutil.rmtree(self.adapters / "bistro")
            wait_for(["stories", "acme", "cafe"])
            self.assertEqual(complete(server, key, model="bistro").status, 404)
            self.assertEqual(complete(server, key, model="acme", max_tokens=20).json["choices"],
                             before)
            time.sleep(0.01)  # the clock of the file system is coarse
            shutil.rmtree(self.adapters / "acme")
            make_adapter(self.adapters / "acme", 4)
            make_adapter(self.adapters / "dinner", 5)
            wait_for(["stories", "acme", "cafe", "dinner"])
            after = complete(server, key, model="acme", max_tokens=20).json["choices"]
            self.assertNotEqual(after, before, "what changed is read again")
            (self.adapters / "acme/adapter_model.safetensors").write_bytes(b"broken")
            make_adapter(self.adapters / "eatery", 6)
            wait_for(["stories", "acme", "cafe", "dinner", "eatery"])
            self.assertEqual(complete(server, key, model="acme", max_tokens=20).json["choices"],
                             after, "what is broken stays as it was")
            server.process.terminate()
            self.assertIn("acme", server.process.communicate(timeout=30)[1])

    def test_termination_loses_no_request(self):
        key = self.add("acme")
        for _ in range(5):
            server = self.serve("--parallel", "2")
            replies = []

            def run(stream):
                reply = complete(server, key, prompt=["Once"] * 4, max_tokens=300, n=4,
                                 stream=stream, temperature=1)
                replies.append((stream, reply))

            threads = [threading.Thread(target=run, args=(number % 2 == 0,)) for number in range(6)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + 10
            while True:  # until the last one is taken
                health = call(server, "GET", "/health").json
                if health["running"] + health["queue_size"] > 5 * 16:
                    break
                self.assertLess(time.monotonic(), end)
            self.assertEqual(replies, [])
            server.process.terminate()
            for thread in threads:
                thread.join()
            self.assertEqual(server.process.wait(20), 0)
            server.__exit__()
            self.assertEqual(len(replies), 6)
            for stream, reply in replies:
                self.assertEqual(reply.status, 200)
                if stream:
                    self.assertEqual(events(reply.raw)[-1], "[DONE]")
                    self.assertNotIn(b"shutting down", reply.raw)
        rows = self.tenant("usage", "acme", "--requests")["requests"]
        self.assertEqual([row["outcome"] for row in rows], ["completed"] * 30)


if __name__ == "__main__":
    sys.exit(unittest.main())
