"""Gavel as a process that can be killed, and what is asked of it."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from replies import Reply, free_port, metric_values  # noqa: E402

# How long anything is waited for. A wait ends with its event; this is when the event counts as never.
PATIENCE = 300
ABSOLUTE = "/v1/grade/absolute"


class Broken(Exception):
    """Something that must hold does not."""


class Skipped(Exception):
    """A row that cannot be tried here."""


def must(holds, what):
    if not holds:
        raise Broken(what)


def until(what, found, patience=PATIENCE, pause=0.02):
    """Waits until `found()` is true, and returns what it is. A server that is away counts as not yet."""
    ends = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if value := found():
                return value
        must(time.monotonic() < ends, f"after {patience} s still not: {what}")
        time.sleep(pause)


class Gavel:
    """`gavel serve` with the scripted engine, on the same port and the same data after every start."""

    def __init__(self, program, folder, settings=(), answers="", open_files=None, environment=()):
        self.program, self.folder = str(program), Path(folder)
        self.data, self.log = self.folder / "data", self.folder / "gavel.log"
        self.port, self.open_files = free_port(), open_files
        self.url = f"http://127.0.0.1:{self.port}"
        self.data.mkdir(parents=True, exist_ok=True)
        settings = {
            "engine": "scripted",
            "port": self.port,
            "data_dir": self.data,
            "cache_dir": self.folder / "cache",
            **dict(settings),
        }
        if answers:
            (self.folder / "answers.toml").write_text(answers)
            settings["scripted_answers"] = self.folder / "answers.toml"
        # Nothing of the user's own settings counts.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("GAVEL_")}
        for key, value in settings.items():
            self.environment["GAVEL_" + key.upper().replace(".", "__")] = str(value)
        self.environment.update(environment)
        self.process, self.starts = None, 0

    def start(self, ready=True):
        limit = self.open_files

        def raise_limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=raise_limit if limit else None,
            )
        self.starts += 1
        if ready:
            self.ready()
        return self

    def ready(self):
        def found():
            must(self.process.poll() is None, f"gavel serve ended by itself: {self.said()[-800:]}")
            return self.get("/readyz", timeout=5).status == 200

        until("the server is ready", found)

    def kill(self, how=signal.SIGKILL):
        """Ends it by a signal that it cannot answer."""
        self.process.send_signal(how)
        self.process.wait()

    def terminate(self):
        """Ends it as a supervisor does, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        """Its exit code when it has ended."""
        until("the server has ended", lambda: self.process.poll() is not None)
        return self.process.returncode

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def said(self):
        return self.log.read_text(errors="replace")

    def run(self, *arguments):
        """Another command of the program, with the same settings."""
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)

    def key(self, name, **options):
        """A new API key."""
        more = [part for option, value in options.items() for part in (f"--{option.replace('_', '-')}", value)]
        made = self.run("keys", "create", "--name", name, "--scope", "grade", "--json", *more)
        must(made.returncode == 0, f"gavel keys create: {made.stderr}")
        return json.loads(made.stdout)["key"]

    # What is asked of it.

    def ask(self, method, path, body=None, headers=(), timeout=PATIENCE):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read().decode())
        finally:
            connection.close()

    def get(self, path, timeout=PATIENCE):
        return self.ask("GET", path, timeout=timeout)

    def post(self, path, body, headers=(), timeout=PATIENCE):
        headers = {"Content-Type": "application/json", **dict(headers)}
        return self.ask("POST", path, json.dumps(body), headers, timeout)

    def grade(self, text="An answer.", headers=(), **fields):
        """A grading, which no cache answers."""
        return self.post(ABSOLUTE, grading(text, cache=False, **fields), headers)

    def metrics(self):
        """The values by their names; those of several labels are added."""
        return metric_values(self.get("/metrics").text)

    def memory(self, which="VmRSS"):
        """Its memory in MiB: `VmRSS` now, or `VmHWM` at most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{which}:\s+(\d+) kB", status)[1]) / 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def connections(self):
        """How many connections of callers it has open."""
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table][1:]
        here, listens = f"0100007F:{self.port:04X}", "0A"
        # Those that no process has open any more have no inode.
        return sum(row[1] == here and row[3] != listens and row[9] != "0" for row in rows)


def grading(text, **fields):
    return {"instruction": "Why is the sky blue?", "response": text, "rubric": "helpfulness", "mode": "score", **fields}
