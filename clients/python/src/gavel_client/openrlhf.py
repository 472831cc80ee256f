"""A reward function for OpenRLHF, which loads this file by its path.

`--reward.remote_url "$(python -c 'import gavel_client.openrlhf as file; print(file.__file__)')"`, with GAVEL_RUBRIC
and, where they are needed, GAVEL_URL and GAVEL_API_KEY in the environment. OpenRLHF can also ask the server itself, at
/compat/openrlhf/RUBRIC, which is what this file does; it adds the client's retries, and a copy of it is the place for
rewards of your own beside the judge's.

OpenRLHF leaves a sample without a reward if this raises; so what cannot be graded raises, after the retries of the
client, and is never a low score.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from gavel_client import Gavel
from gavel_client._connection import DEFAULT_URL


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None], **_: object
) -> dict[str, Any]:
    """Rewards, scores and logs for a batch; a query is a prompt and the response to it, control tokens included."""
    import torch

    answer = grade(queries, prompts, labels)
    logs = {name: torch.tensor(numbers) for name, numbers in answer.get("extra_logs", {}).items()}
    return {"rewards": torch.tensor(answer["rewards"]), "scores": torch.tensor(answer["scores"]), "extra_logs": logs}


def grade(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None]) -> dict[str, Any]:
    """The same in plain lists, as the server says it."""
    rubric = os.environ.get("GAVEL_RUBRIC")
    if not rubric:
        raise ValueError("name a rubric in the environment: GAVEL_RUBRIC")
    client = _client(os.environ.get("GAVEL_URL", DEFAULT_URL), os.environ.get("GAVEL_API_KEY"))
    body = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
    answer: dict[str, Any] = client.post(f"/compat/openrlhf/{quote(rubric, safe='')}?mode=score", body).json()
    return answer


@lru_cache(maxsize=8)
def _client(base_url: str, api_key: str | None) -> Gavel:
    return Gavel(base_url, api_key=api_key)
