"""Reward functions for verl, which loads this file by its path.

`reward.custom_reward_function.path=pkg://gavel_client.verl`, or the path of this file, with the name `compute_score`
or, for an asynchronous reward loop, `compute_score_async`. Keyword arguments come from
`+reward.custom_reward_function.reward_kwargs.rubric=…`: those of `reward_kwargs` below. The environment has the rest:
GAVEL_URL, GAVEL_RUBRIC and GAVEL_API_KEY.

verl has no way to say "no reward": a number is all that it takes. So what cannot be graded raises, after the retries
of the client, and is never a low score.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import Unpack

from gavel_client import Empty, RewardItem, Rubric, Settings
from gavel_client._bulk import Bulk, Outcome, check_empty
from gavel_client._connection import DEFAULT_URL
from gavel_client._errors import problem_error
from gavel_client._options import check_kind, check_settings, did_you_mean
from gavel_client._pools import Connection


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    **keywords: Any,  # noqa: ANN401
) -> dict[str, float]:
    """The reward of a solution, 0..1, as `score`, and its `label_mass`. `reward_kwargs` has the keywords.

    Raises:
        TypeError: There is no such keyword, or its value has another type.
        ValueError: It cannot have this value, or the item cannot be judged as it is.
        KeyError: `extra_info` lacks a key.
        GavelError: There is no reward.
    """
    job = reward_kwargs(**keywords)
    [outcome] = job.bulk.outcomes([job.item(solution_str, ground_truth, extra_info)])
    return _score(outcome)


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    **keywords: Any,  # noqa: ANN401
) -> dict[str, float]:
    """The same for an asynchronous reward loop. Calls in one event loop share connections."""
    job = reward_kwargs(**keywords)
    [outcome] = await job.bulk.outcomes_async([job.item(solution_str, ground_truth, extra_info)])
    return _score(outcome)


@dataclass(frozen=True)
class Job:
    """How solutions are judged, and where their items are."""

    bulk: Bulk
    instruction_key: str
    rubric_key: str | None
    use_ground_truth: bool

    def item(self, solution: str, ground_truth: object, extra_info: Mapping[str, Any] | None) -> RewardItem | Outcome:
        """The item of a solution."""
        known = extra_info or {}
        for key, keyword in ((self.instruction_key, "instruction_key"), (self.rubric_key, "rubric_key")):
            if key is not None and key not in known:
                raise KeyError(f'extra_info has no "{key}", which {keyword} names{did_you_mean(key, known)}')
        rubric = known[self.rubric_key] if self.rubric_key else None
        reference = ground_truth if self.use_ground_truth else None
        return self.bulk.item(known[self.instruction_key], solution, reference, rubric)


def reward_kwargs(
    *,
    rubric: Rubric | None = None,
    rubric_key: str | None = None,
    instruction_key: str = "question",
    use_ground_truth: bool = True,
    empty: Empty = "judge",
    min_label_mass: float | None = None,
    base_url: str | None = None,
    timeout: float = 600.0,
    reward_router_address: object = None,
    reward_model_tokenizer: object = None,
    **settings: Unpack[Settings],
) -> Job:
    """The keywords of both functions.

    Args:
        rubric: A name, an inline rubric or a list of rubrics with weights, for the items that have none of their own;
            default: GAVEL_RUBRIC.
        rubric_key: The key of `extra_info` with the item's rubric: any of these, or JSON text of it.
        instruction_key: The key of `extra_info` with the instruction, a text or a conversation.
        use_ground_truth: Whether `ground_truth` is a reference answer. If so, it is a text or a number; None, NaN and
            blank text mean that there is none.
        empty: What a solution that shows nothing gets: "judge", a judgement as any other, or "zero", the reward 0
            without one, and the label mass 1.
        min_label_mass: The least label mass of a reward, 0 to 1; default: the server's `grading.min_label_mass`.
        base_url: The address of the server; default: GAVEL_URL, or the local one.
        timeout: Seconds that the server may take, above 0.
        reward_router_address: Passed by verl, and not used.
        reward_model_tokenizer: Passed by verl, and not used.
        settings: How it is judged. `mode` is "score" by default, one forward pass for each item.
    """
    checked = check_settings(reward_kwargs, settings, mode="score")
    for name, value in (("instruction_key", instruction_key), ("rubric_key", rubric_key)):
        check_kind(name, value, str)
    check_kind("use_ground_truth", use_ground_truth, bool)
    check_empty(empty, may_miss=False)
    rubric = os.environ.get("GAVEL_RUBRIC") or None if rubric is None else rubric
    if rubric is None and rubric_key is None:
        raise ValueError("name a rubric: reward_kwargs.rubric or .rubric_key, or GAVEL_RUBRIC in the environment")
    bulk = Bulk(
        Connection(base_url or os.environ.get("GAVEL_URL", DEFAULT_URL), os.environ.get("GAVEL_API_KEY"), timeout),
        rubric=rubric,
        rubric_column=rubric_key,
        empty=empty,
        min_label_mass=min_label_mass,
        settings=checked,
    )
    return Job(bulk, instruction_key, rubric_key, use_ground_truth)


def _score(outcome: Outcome) -> dict[str, float]:
    if outcome.error is not None:
        raise problem_error(outcome.error)
    if outcome.reward is None:
        raise ValueError("there is neither a reward nor a reason")
    return {"score": outcome.reward, "label_mass": outcome.verdict.label_mass if outcome.verdict else 1.0}
