"""Reward functions for verl, which loads this file by its path.

`reward.custom_reward_function.path=pkg://gavel_client.verl`, or the path of this file, with the name `compute_score`
or, for an asynchronous reward loop, `compute_score_async`. Keyword arguments come from
`+reward.custom_reward_function.reward_kwargs.rubric=…`, or from the environment: GAVEL_URL, GAVEL_RUBRIC and
GAVEL_API_KEY.

verl has no way to say "no reward": a number is all that it takes. So what cannot be graded raises, after the retries
of the client, and is never a low score.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gavel_client import AsyncGavel, Gavel, RewardItem, Rewards, Rubric
from gavel_client._connection import DEFAULT_URL
from gavel_client._errors import problem_error
from gavel_client._items import reward_item


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    *,
    rubric: Rubric | None = None,
    instruction_key: str = "question",
    use_ground_truth: bool = True,
    base_url: str | None = None,
    **_: object,
) -> dict[str, float]:
    """The reward of a solution, 0..1. The instruction is `extra_info[instruction_key]`."""
    item = _item(solution_str, ground_truth if use_ground_truth else None, extra_info, instruction_key)
    return _score(_client(_url(base_url), _key()).rewards([item], rubric=_rubric(rubric), mode="score"))


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    *,
    rubric: Rubric | None = None,
    instruction_key: str = "question",
    use_ground_truth: bool = True,
    base_url: str | None = None,
    **_: object,
) -> dict[str, float]:
    """The same for an asynchronous reward loop."""
    item = _item(solution_str, ground_truth if use_ground_truth else None, extra_info, instruction_key)
    async with AsyncGavel(_url(base_url), api_key=_key()) as gavel:
        return _score(await gavel.rewards([item], rubric=_rubric(rubric), mode="score"))


def _item(solution: str, reference: object, extra_info: Mapping[str, Any] | None, key: str) -> RewardItem:
    known = extra_info or {}
    if key not in known:
        raise KeyError(f"extra_info has no {key!r}, only {sorted(known)}: set reward_kwargs.instruction_key")
    return reward_item(known[key], solution, reference)


def _score(rewards: Rewards) -> dict[str, float]:
    [reward], [error] = rewards.rewards, rewards.errors
    if error is not None:
        raise problem_error(error)
    if reward is None:
        raise ValueError("the server gave neither a reward nor a reason")
    return {"score": reward}


def _rubric(rubric: Rubric | None) -> Rubric:
    rubric = rubric or os.environ.get("GAVEL_RUBRIC")
    if not rubric:
        raise ValueError("name a rubric: reward_kwargs.rubric, or GAVEL_RUBRIC in the environment")
    return rubric


def _url(base_url: str | None) -> str:
    return base_url or os.environ.get("GAVEL_URL", DEFAULT_URL)


def _key() -> str | None:
    return os.environ.get("GAVEL_API_KEY")


@lru_cache(maxsize=8)
def _client(base_url: str, api_key: str | None) -> Gavel:
    return Gavel(base_url, api_key=api_key)
