"""A real server on the scripted engine, and one that only remembers what it was asked."""

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gavel_client import Gavel

# The first answer whose words are in the prompt is taken. Scores are those of the rubric below: 0 and 1.
ANSWERS = """
[[answer]]
when = "BROKEN"
fail = "out of memory"

[[answer]]
when = "UNSURE"
masses = [0.01, 0.01]

[[answer]]
when = "EXCELLENT"
masses = [0.0, 1.0]

[[answer]]
when = "AWFUL"
masses = [1.0, 0.0]

[[answer]]
masses = [0.25, 0.75]
say = "It could be worse."
"""


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("gavel")
    answers = folder / "answers.toml"
    answers.write_text(ANSWERS)
    environment = {
        **os.environ,
        "GAVEL_SCRIPTED_ANSWERS": str(answers),
        "GAVEL_DATA_DIR": str(folder / "data"),
        "GAVEL_CACHE_DIR": str(folder / "cache"),
    }
    command = [os.environ["GAVEL_BIN"], "serve", "--engine", "scripted", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if "listening on" in line)
            yield line.split()[-1]
        finally:
            server.terminate()


@pytest.fixture
def gavel(url: str) -> Iterator[Gavel]:
    with Gavel(url) as client:
        yield client


class Recorder(ThreadingHTTPServer):
    """Gives each item the reward 0.5, and remembers bodies, paths and connections."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.connections: set[tuple[str, int]] = set()

    @property
    def items(self) -> list[Any]:
        """The items of the last request."""
        items: list[Any] = self.bodies[-1]["items"]
        return items


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.paths.append(self.path)
        self.server.connections.add(self.client_address)
        count = len(body["items"] if "items" in body else body["query"])
        if "items" in body:
            answer = {"rewards": [0.5] * count, "errors": [None] * count, "verdicts": [verdict()] * count}
        else:
            logs = {"judge_score": [3.0] * count, "label_mass": [0.9] * count}
            answer = {"rewards": [0.5] * count, "scores": [0.5] * count, "extra_logs": logs}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """It is nobody's business."""


def verdict() -> dict[str, Any]:
    """A verdict, as short as one can be."""
    graded = {"score": 3, "expected_score": 3.0, "reward": 0.5, "distribution": {"3": 1.0}, "label_mass": 0.9}
    rest: dict[str, Any] = {
        "entropy": 0.0,
        "feedback": None,
        "judgements": [],
        "agreement": None,
        "sampling": {},
        "cached": False,
    }
    named = {name: {"name": "x", "digest": "x", "engine": "x"} for name in ("model", "rubric", "prompt")}
    usage = {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 0}
    times = {"queue": 0.0, "prefill": 0.0, "decode": 0.0, "total": 0.0}
    said = {"id": "x", "object": "verdict", "version": "x", "usage": usage, "timing_ms": times}
    return {**graded, **rest, **named, **said}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
