"""A reward function for OpenRLHF, which loads this file by its path.

`--reward.remote_url "$(python -c 'import gavel_client.openrlhf as file; print(file.__file__)')"`. OpenRLHF passes no
settings, so they are in the environment:

- GAVEL_RUBRIC: the name of the rubric, for all samples that name none.
- GAVEL_LABELS: what a label is: `reference` (the default), the reference answer; or `json`, an object with
  `reference_answer` and `rubric`, each if needed. This rubric is a name, an inline rubric or a list with weights.
- GAVEL_EMPTY: what a response that shows nothing gets: `judge` (the default), a judgement as any other, or `zero`, the
  reward 0 without one, and in the log the judge's score 0 and the label mass 1.
- GAVEL_URL and GAVEL_API_KEY, where they are needed.

OpenRLHF can also ask the server itself, at /compat/openrlhf/RUBRIC, which is what this file does; it adds the client's
retries, and a copy of it is the place for rewards of your own beside the judge's.

OpenRLHF leaves a sample without a reward if this raises; so what cannot be graded raises, after the retries of the
client, and is never a low score.
"""

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from gavel_client._bulk import check_empty
from gavel_client._connection import DEFAULT_URL
from gavel_client._items import is_blank
from gavel_client._options import check_one_of
from gavel_client._pools import Connection

#: What chat templates write around turns, such as <|im_end|>, </s> and <end_of_turn>. DeepSeek's have U+FF5C for |.
_CONTROL = re.compile("<[|\uff5c][^<>|\uff5c]{1,40}[|\uff5c]>|</?s>|<(?:bos|eos|pad|end_of_turn)>|\\[PAD\\]")


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None], **_: object
) -> dict[str, Any]:
    """Rewards, scores and logs for a batch; a query is a prompt and the response to it, control tokens included.

    It needs torch, which OpenRLHF has. What OpenRLHF passes beside these is not used.
    """
    import torch

    answer = grade(queries, prompts, labels)
    logs = {name: torch.tensor(numbers) for name, numbers in answer["extra_logs"].items()}
    return {"rewards": torch.tensor(answer["rewards"]), "scores": torch.tensor(answer["scores"]), "extra_logs": logs}


def grade(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None]) -> dict[str, Any]:
    """The same in plain lists.

    Raises:
        ValueError: A setting is missing or wrong.
        GavelError: A sample has no reward.
    """
    rubric, empty = os.environ.get("GAVEL_RUBRIC"), os.environ.get("GAVEL_EMPTY", "judge")
    kind = os.environ.get("GAVEL_LABELS", "reference")
    check_empty(empty, may_miss=False)
    check_one_of("GAVEL_LABELS", kind, ("reference", "json"))
    if not rubric and kind == "reference":
        raise ValueError("name a rubric in the environment: GAVEL_RUBRIC")
    route = f"/compat/openrlhf/{quote(rubric, safe='')}" if rubric else "/get_reward"
    options = {"mode": "score", **({"labels": "json"} if kind == "json" else {})}

    connection = Connection(os.environ.get("GAVEL_URL", DEFAULT_URL), os.environ.get("GAVEL_API_KEY"))

    samples = list(zip(queries, prompts, labels, strict=True))
    judged = [empty == "judge" or not is_blank(_response(query, prompt)) for query, prompt, _ in samples]
    asked = [sample for sample, yes in zip(samples, judged, strict=True) if yes]
    columns: dict[str, list[float]] = {"rewards": [], "scores": [], "judge_score": [], "label_mass": []}
    if asked:
        query, prompt, label = (list(column) for column in zip(*asked, strict=True))
        body = {"query": query, "prompts": prompt, "labels": label}
        answer = connection.client().post(route, body, query=options).json()
        columns = {"rewards": answer["rewards"], "scores": answer["scores"], **answer["extra_logs"]}
    for name, numbers in columns.items():
        known, zero = iter(numbers), 1.0 if name == "label_mass" else 0.0
        columns[name] = [next(known) if yes else zero for yes in judged]
    return {"rewards": columns.pop("rewards"), "scores": columns.pop("scores"), "extra_logs": columns}


def _response(query: str, prompt: str) -> str:
    """What follows the prompt, without control tokens."""
    return _CONTROL.sub("", query[query.find(prompt) + len(prompt) :] if prompt in query else query)
