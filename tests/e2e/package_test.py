"""What `cmake --install` and `cpack -G DEB` lay down, tried out in a folder; nothing is built.

The unit's rules are read by systemd-analyze where it is at hand, the package by lintian.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from program import ETCH, SOURCE, Case, need_program

BUILD = Path(os.environ.get("ETCH_BUILD", Path(ETCH).resolve().parents[2]))


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300,
                          **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Package(Case):
    """One package, made once: that takes ten seconds."""

    @classmethod
    def setUpClass(cls):
        need_program("dpkg-deb", "dpkg")
        need_program("dpkg-shlibdeps", "dpkg-dev")
        cls.out = BUILD / "package"
        shutil.rmtree(cls.out, ignore_errors=True)
        run("cpack", "-G", "DEB", "--config", BUILD / "CPackConfig.cmake", "-B", cls.out,
            cwd=BUILD, env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"})
        [cls.package] = cls.out.glob("etch_*.deb")
        cls.root = cls.out / "root"
        run("dpkg-deb", "-x", cls.package, cls.root)

    def test_the_installed_program_runs(self):
        field = run("dpkg-deb", "-f", self.package, "Version").strip()
        program = self.root / "usr/bin/etch"
        self.assertEqual(run(program, "--version"), f"etch {field}\n")
        self.assertIn("Usage: etch serve", run(program, "serve", "--help"))

    def test_libraries_are_dependencies_and_settings_are_kept(self):
        depends = run("dpkg-deb", "-f", self.package, "Depends")
        for library in ("libc6", "libstdc++6", "libssl3", "libfmt9", "libpcre2-8-0"):
            self.assertRegex(depends, rf"(^|, ){re.escape(library)}\b")
        control = self.out / "control"
        run("dpkg-deb", "-e", self.package, control)
        self.assertEqual((control / "conffiles").read_text(), "/etc/etch/serve.conf\n")
        self.assertTrue((self.root / "etc/etch/serve.conf").is_file())
        for script in ("postinst", "prerm", "postrm"):
            run("sh", "-n", control / script)
            self.assertEqual((control / script).stat().st_mode & 0o777, 0o755)
        for path in self.root.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o022, 0, f"{path} is writable for others")

    def test_the_texts_are_the_programs_own(self):
        share = self.root / "usr/share"
        completion = share / "bash-completion/completions/etch"
        self.assertEqual(completion.read_text(), run(ETCH, "completion", "bash"))
        run("bash", "-n", completion)
        page = gzip.decompress((share / "man/man1/etch.1.gz").read_bytes()).decode()
        commands = re.findall(r"^  ([a-z]+) {2,}[A-Z]", run(ETCH, "--help"), re.M)
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertIn(f".SH ETCH {command.upper()}\n", page)
        self.assertIn("\\-\\-adapters", page)
        if shutil.which("man"):
            printed = run("man", "--warnings=all", "-l", share / "man/man1/etch.1.gz",
                          env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100"})
            self.assertIn("--adapters", printed)

    def test_an_installation_without_a_package_has_no_service(self):
        prefix = self.folder / "prefix"
        run("cmake", "--install", BUILD, "--prefix", prefix)
        self.assertEqual(run(prefix / "bin/etch", "--version"), run(ETCH, "--version"))
        names = {path.name for path in prefix.rglob("*") if path.is_file()}
        self.assertLessEqual({"etch", "etch.1.gz", "fleet.md", "haproxy.cfg"}, names)
        self.assertTrue(names.isdisjoint({"etch.service", "serve.conf", "copyright"}))

    def test_systemd_takes_the_unit(self):
        analyze = need_program("systemd-analyze", "systemd")
        # What the unit refers to, so that only its own mistakes are left to find.
        root = self.folder / "root"
        shutil.copytree(self.root, root)
        for target in ("sysinit", "basic", "network-online", "shutdown", "multi-user"):
            (root / f"lib/systemd/system/{target}.target").write_text("[Unit]\nDescription=x\n")
        (root / "bin").mkdir()
        (root / "bin/kill").write_text("#!/bin/sh\n")
        (root / "bin/kill").chmod(0o755)
        done = subprocess.run([analyze, "verify", "--man=no", f"--root={root}", "etch.service"],
                              capture_output=True, text=True)
        own = [line for line in done.stderr.splitlines() if "etch" in line]
        self.assertEqual((done.returncode, own), (0, []), done.stderr)
        done = subprocess.run([analyze, "security", "--offline=yes", "--threshold=20",
                               f"--root={root}", "etch.service"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)  # exposure of at most 2.0
        print(done.stdout.strip().splitlines()[-1])
        users = subprocess.run(["systemd-sysusers", f"--root={root}", "etch.conf"],
                               capture_output=True, text=True)
        self.assertEqual(users.returncode, 0, users.stderr)
        self.assertRegex((root / "etc/passwd").read_text(), "(?m)^etch:.*:/var/lib/etch:")

    def test_lintian_finds_nothing(self):
        if not shutil.which("lintian"):
            print("*** SKIPPED, lintian is missing (apt-get install lintian) ***", file=sys.stderr)
            raise unittest.SkipTest("lintian is missing")
        done = subprocess.run(["lintian", "--fail-on", "error,warning", "--allow-root",
                               str(self.package)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Examples(unittest.TestCase):
    def test_haproxy_takes_its_configuration(self):
        config = SOURCE / "deploy/haproxy/haproxy.cfg"
        done = subprocess.run([need_program("haproxy"), "-c", "-f", config], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("WARNING", done.stderr + done.stdout)


if __name__ == "__main__":
    sys.exit(unittest.main())
