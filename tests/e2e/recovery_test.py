"""A full disk, and the start behind a kill: nothing half-written, nothing lost, no long wait."""

import contextlib
import http.client
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
import unittest
from pathlib import Path

from api_test import form
from program import Reply, make_adapter, mount_small
from tenants_test import TenantCase, call, complete


class FullDisk(TenantCase):
    """The tenants' file and the adapters on a file system of 2 MiB."""

    def setUp(self):
        super().setUp()
        small = mount_small(self, self.folder / "small", "2m")
        shutil.copytree(self.adapters, small / "adapters")
        self.small, self.adapters, self.db = small, small / "adapters", small / "tenants.db"

    def fill(self):
        """Takes all the space that is left; returns the file that holds it."""
        path = self.small / "filler"
        with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (65536, 512):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        return path

    def upload(self, server, key, name):
        files = [(file, file, (self.folder / "new" / file).read_bytes())
                 for file in ("adapter_config.json", "adapter_model.safetensors")]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/adapters",
                               form([("name", None, name.encode()), *files]),
                               {"Authorization": "Bearer " + key,
                                "Content-Type": "multipart/form-data; boundary=frontier"})
            return Reply(connection.getresponse())

    def test_what_cannot_be_kept_is_refused(self):
        make_adapter(self.folder / "new", 3)
        key = self.add("acme", "--all-adapters", "--admin")
        with self.serve() as server:
            self.assertEqual(complete(server, key, model="acme").status, 200)
            rows = self.sql("SELECT count(*) FROM usage")
            before = sorted(path.name for path in self.adapters.iterdir())
            filler = self.fill()
            answers = [complete(server, key, model="acme") for _ in range(40)]
            refused = [reply for reply in answers if reply.status != 200]
            # Pages that the log has already may take a few more rows.
            self.assertGreater(len(refused), 20)
            self.assertEqual({(reply.status, reply.code) for reply in refused},
                             {(503, "usage_not_stored")})
            raw = complete(server, key, model="acme", stream=True).raw
            self.assertIn(b"usage_not_stored", raw)
            self.assertNotIn(b'"finish_reason":"length"', raw)
            reply = self.upload(server, key, "new")
            self.assertEqual((reply.status, reply.code), (507, "no_space"), reply.raw)
            self.assertIn("No space left", reply.json["error"]["message"])
            self.assertEqual(sorted(path.name for path in self.adapters.iterdir()), before)
            self.assertEqual(call(server, "GET", "/v1/models", key).status, 200)
            self.assertEqual(call(server, "GET", "/v1/models/new", key).status, 404)
            filler.unlink()
            stored = len(answers) - len(refused)
            for _ in range(3):
                self.assertEqual(complete(server, key, model="acme").status, 200)
            self.assertEqual(self.sql("SELECT count(*) FROM usage"),
                             [(rows[0][0] + stored + 3,)])
            self.assertEqual(self.upload(server, key, "new").status, 201)
            self.assertEqual(complete(server, key, model="new").status, 200)
            self.assertEqual(self.sql("PRAGMA integrity_check"), [("ok",)])

    def test_a_start_on_a_full_disk(self):
        key = self.add("acme")
        with self.serve() as server:
            self.assertEqual(complete(server, key).status, 200)
            server.process.kill()
            server.process.wait()
        filler = self.fill()
        try:
            with self.serve() as server:  # with less than it needs it may only say so
                self.assertIn(complete(server, key).status, (200, 503))
        except AssertionError as error:
            self.assertIn("tenants.db", str(error))
        filler.unlink()
        with self.serve() as server:
            self.assertEqual(complete(server, key).status, 200)


class Restart(TenantCase):
    ADAPTERS = 2000
    ROWS = 200_000

    def test_under_two_seconds(self):
        key = self.add("acme", "--all-adapters")
        for number in range(self.ADAPTERS):
            path = self.adapters / f"client{number:04}"
            path.mkdir()
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                os.link(self.adapters / "acme" / file, path / file)
        with self.serve() as server:
            self.assertEqual(complete(server, key).status, 200)
        with contextlib.closing(sqlite3.connect(self.db)) as database, database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(usage)")]
            names = ", ".join(columns)
            values = ", ".join({"answer_id": "'answer-' || value", "id": "NULL",
                                "adapter": "'client' || (value % 2000)"}.get(name, name)
                               for name in columns)
            database.execute(
                f"WITH RECURSIVE counter(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM "
                f"counter WHERE value < {self.ROWS}) INSERT INTO usage ({names}) SELECT {values} "
                "FROM counter, (SELECT * FROM usage LIMIT 1)")
        times = []
        for _ in range(3):
            started = time.monotonic()
            server = self.serve("--parallel", "4")
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as peer:
                peer.request("GET", "/health")
                self.assertEqual(peer.getresponse().status, 200)
            times.append(time.monotonic() - started)
            fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1]
            spent = sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
            stop = threading.Event()

            def run(number):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    while not stop.is_set():
                        complete(server, key, model=f"client{number:04}", max_tokens=4)
                        number = (number * 31 + 7) % self.ADAPTERS

            threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            stop.set()
            for thread in threads:
                thread.join()
            server.__exit__()
            self.assertLess(spent, 2, "time of the processor")
        print(f"{self.ADAPTERS} adapters, {self.ROWS} rows of usage: answers after "
              + ", ".join(f"{each:.2f}" for each in times) + " s")
        self.assertLess(min(times), 2)
        with self.serve() as server:
            models = call(server, "GET", "/v1/models", key).json["data"]
            self.assertEqual(len(models), self.ADAPTERS + 3, "the registry is whole")
        self.assertEqual(self.sql("PRAGMA integrity_check"), [("ok",)])


if __name__ == "__main__":
    sys.exit(unittest.main())
