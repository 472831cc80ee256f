"""A real server on the scripted engine, for all tests."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
