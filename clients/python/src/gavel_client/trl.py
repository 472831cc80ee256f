"""A reward function for TRL's GRPOTrainer."""

import json
import logging
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal, TypeAlias

from typing_extensions import Unpack

from ._calls import Rubric, Settings
from ._connection import DEFAULT_URL
from ._errors import problem_error
from ._items import Turns, reward_item
from ._retry import Retry
from ._sync import Gavel

logger = logging.getLogger(__name__)

#: What an item without a reward gets: None, the mean of the other completions of its prompt, or an exception.
MissingReward: TypeAlias = Literal["none", "group_mean", "raise"]


class GavelReward:
    """Rewards of 0..1 for completions, out of one request a batch. It can be pickled.

    An item that fails (its prompt does not fit, the judge hardly wanted to answer) has no reward. With
    the default, `missing="none"`, that is None, which TRL takes to mean "this function does not apply". Where this is
    the *only* reward function, TRL adds up no rewards to 0, which is a low reward: use `missing="group_mean"` there,
    which gives the mean of the other completions of the same prompt, so that the item is no better and no worse than
    its group.
    A request that fails as a whole raises.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        rubric: Rubric,
        reference_column: str | None = None,
        missing: MissingReward = "none",
        min_label_mass: float | None = None,
        name: str = "gavel",
        api_key: str | None = None,
        timeout: float = 600.0,
        retry: Retry | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        settings.setdefault("mode", "score")
        # TRL names its metrics after it.
        self.__name__ = name
        self.rubric = rubric
        self.reference_column = reference_column
        self.missing = missing
        self.min_label_mass = min_label_mass
        self.settings = settings
        self._connection: dict[str, Any] = {
            "base_url": base_url,
            "api_key": api_key,
            "timeout": timeout,
            "retry": retry,
        }
        self._client: Gavel | None = None

    def __call__(
        self,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        completion_ids: object = None,
        **columns: Any,  # noqa: ANN401
    ) -> list[float | None]:
        """A reward for each completion, in order."""
        references = columns[self.reference_column] if self.reference_column else [None] * len(prompts)
        items = [
            reward_item(prompt, completion, reference)
            for prompt, completion, reference in zip(prompts, completions, references, strict=True)
        ]
        if self._client is None:
            self._client = Gavel(**self._connection)
        answer = self._client.rewards(items, rubric=self.rubric, min_label_mass=self.min_label_mass, **self.settings)
        failed = [error for error in answer.errors if error is not None]
        if failed and self.missing == "raise":
            raise problem_error(failed[0])
        if failed:
            codes = sorted({error.code for error in failed})
            logger.warning("%d of %d completions have no reward: %s", len(failed), len(items), ", ".join(codes))
        return _filled(prompts, answer.rewards) if self.missing == "group_mean" else answer.rewards

    def __getstate__(self) -> dict[str, Any]:
        """All but the connections, which a new process makes for itself."""
        return {**self.__dict__, "_client": None}


def _filled(prompts: Sequence[Turns], rewards: Sequence[float | None]) -> list[float | None]:
    """Gives what has no reward the mean of its group; None stays where the whole group has none."""
    keys = [json.dumps(prompt, sort_keys=True, default=str) for prompt in prompts]
    groups: dict[str, list[float]] = {}
    for key, reward in zip(keys, rewards, strict=True):
        if reward is not None:
            groups.setdefault(key, []).append(reward)
    means = {key: fmean(values) for key, values in groups.items()}
    return [means.get(key) if reward is None else reward for key, reward in zip(keys, rewards, strict=True)]
