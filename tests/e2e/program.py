"""What the end-to-end tests share: the program, the data, a compiled model, a running server."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ETCH = os.environ.get("ETCH", "build/release/src/cli/etch")
SOURCE = Path(os.environ.get("ETCH_SOURCE", Path(__file__).resolve().parents[2]))
WORK = Path(os.environ.get("ETCH_WORK", tempfile.gettempdir()))
DATA = Path(os.environ.get("ETCH_DATA", SOURCE.parent / "shared" / "data"))


def with_sanitizer():
    """Whether the program is one of the sanitizers' builds."""
    with open(ETCH, "rb") as program:
        return re.search(rb"lib[at]san\.so", program.read()) is not None


def need_data(*paths):
    """Skips with a loud line when test data is missing; fails in CI."""
    missing = [path for path in paths if not (DATA / path).exists()]
    if missing and os.environ.get("CI"):
        raise AssertionError(f"test data missing: {missing} (set ETCH_DATA)")
    if missing:
        print(f"*** SKIPPED, test data missing: {missing} (set ETCH_DATA) ***", file=sys.stderr)
        raise unittest.SkipTest("test data missing")


def skip_loudly(case, why):
    print(f"*** SKIPPED, {why} ***", file=sys.stderr)
    case.skipTest(why)


def mount_small(case, folder, size):
    """A file system of `size` ("64k") at `folder`, until the case ends. Skips where that is not
    allowed."""
    if os.geteuid() != 0:
        skip_loudly(case, "needs root to mount a small file system")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
                             capture_output=True)
    if mounted.returncode != 0:
        skip_loudly(case, "mounting is not allowed here")
    case.addCleanup(subprocess.run, ["umount", folder], check=True)
    return folder


def need_program(name, package=None):
    """The path of another program. Skips with a loud line when it is missing; fails in CI."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        missing = f"{name} is missing (apt-get install {package or name})"
        if os.environ.get("CI"):
            raise AssertionError(missing)
        print(f"*** SKIPPED, {missing} ***", file=sys.stderr)
        raise unittest.SkipTest(missing)
    return path


def etch(*arguments, code=0, timeout=300, **options):
    """Runs the program; checks its exit code; returns the finished process."""
    done = subprocess.run([ETCH, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == code, (
        f"etch {' '.join(map(str, arguments))}: exit {done.returncode}, not {code}\n"
        f"{done.stdout}\n{done.stderr}")
    return done


def etch_json(*arguments, **options):
    return json.loads(etch(*arguments, "--json", **options).stdout)


class Reply:
    """An HTTP answer, read to its end."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.raw = response.read()

    @property
    def text(self):
        return self.raw.decode()

    @property
    def json(self):
        """None where the body is no JSON."""
        return json.loads(self.raw) if self.raw[:1] in (b"{", b"[") else None

    @property
    def code(self):
        return self.json["error"]["code"]

    @property
    def events(self):
        """The data of an event stream, without its [DONE]."""
        data = [line[6:] for line in self.text.split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in data if line != "[DONE]"]

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]


class Case(unittest.TestCase):
    """A test case with an empty folder of its own."""

    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(dir=WORK)
        self.folder = Path(self._folder.name)
        self.addCleanup(self._folder.cleanup)

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def error(self, *arguments, code=1, **options):
        """The one line that a failing command says."""
        done = etch(*arguments, code=code, **options)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertRegex(lines[0], r"^etch: ")
        self.assertEqual(done.stdout, "")
        return lines[0]


def chip_report(case, image, *options):
    """`etch rtl --verify`, which must find the chip equal to image, engine and plan.

    Each run's cycles must also be those of the silicon model's pipeline."""
    report = etch_json("rtl", image, *options, timeout=900)
    case.assertEqual(report["audited_wrong"], 0)
    case.assertEqual(report["mismatches"], 0)
    case.assertEqual(report["cycles_per_token"], report["planned_cycles_per_token"])
    names = {"--lanes": "--lanes", "--context": "--context", "--sessions": "--users",
             "--adapter-rank": "--adapter-rank", "--adapter-slots": "--adapter-slots"}
    choices = [word for name, value in zip(options, options[1:]) if name in names
               for word in (names[name], value)]
    modelled = {}
    for run in report["runs"]:
        use = (run["prompt_tokens"], run["tokens"], run["adapter"])
        if use not in modelled:
            estimate = etch_json("chip", image, *choices, "--prompt", use[0], "--output", use[1],
                                 *(["--with-adapter"] if use[2] else []))
            modelled[use] = estimate["run_cycles"]
        case.assertEqual(run["cycles"], modelled[use], use)
    return report


def make_adapter(out, seed, *options):
    subprocess.run([sys.executable, SOURCE / "tools/make_adapter.py", "--out", out,
                    "--shape", "stories260k", "--seed", str(seed), *options],
                   check=True, capture_output=True)


def make_tiny_model(out, *options):
    """A small model with a chat template, as a Hugging Face directory."""
    subprocess.run([sys.executable, SOURCE / "tools/make_tiny_model.py", "--out", out, *options],
                   check=True, capture_output=True)


class Server:
    """`etch serve` on a free port, or a given one, for a `with` statement."""

    def __init__(self, image, *options, environment=None, port=0):
        self.process = subprocess.Popen(
            [ETCH, "serve", str(image), "--port", str(port), "--json", *map(str, options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.stderr.read())
        self.ready = json.loads(line)
        self.url = self.ready["url"]
        self.port = int(re.search(r":(\d+)$", self.url).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()
            self.process.stderr.close()
