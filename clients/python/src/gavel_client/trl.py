"""A reward function for TRL's GRPOTrainer."""

import json
import logging
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, Literal, TypeAlias, get_args

from typing_extensions import Unpack

from ._bulk import Bulk, Empty, Outcome
from ._calls import Rubric, Settings
from ._connection import DEFAULT_URL
from ._errors import problem_error
from ._items import Turns
from ._options import check_kind, check_one_of, check_settings, did_you_mean
from ._pools import Connection
from ._retry import Retry
from ._verdicts import Info

logger = logging.getLogger(__name__)

#: What an item without a reward gets: None, the mean of the other completions of its prompt, or an exception.
MissingReward: TypeAlias = Literal["none", "group_mean", "raise"]


class GavelReward:
    """Rewards of 0..1 for completions, out of one request a batch. It can be pickled, and used after a fork.

    An item that fails (its prompt does not fit, the judge hardly wanted to answer) has no reward. With the default,
    `missing="none"`, that is None, which TRL takes to mean "this function does not apply". A request that fails as a
    whole raises.

    TRL's log gets the mean label mass and the share of completions without a reward, as `NAME/label_mass` and
    `NAME/unscored`, and its table of completions the column `NAME_error`.

    Args:
        base_url: The address of the server.
        rubric: A name, an inline rubric or a list of rubrics with weights, for the rows that have none of their own.
        rubric_column: The column of the data set with the rubrics of the rows: any of these, or JSON text of it.
        reference_column: The column with reference answers. None, NaN and blank text mean that there is none.
        missing: What an item without a reward gets: "none"; "group_mean", the mean of the other completions of its
            prompt in the same batch, for versions of TRL that add up no rewards to 0; or "raise".
        empty: What a completion that shows nothing gets: "judge", a judgement as any other; "missing", no reward;
            "zero", the reward 0 without a judgement.
        min_label_mass: The least label mass of a reward, 0 to 1; default: the server's `grading.min_label_mass`.
        name: What TRL's log calls it.
        api_key: Sent as a bearer token; by default that of GAVEL_API_KEY.
        timeout: Seconds that the server may take for a batch, above 0; what is graded by then is kept.
        retry: How often a request is sent again.
        settings: How it is judged. `mode` is "score" by default, one forward pass for each item.

    Raises:
        TypeError: There is no such keyword, or its value has another type.
        ValueError: It cannot have this value.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        rubric: Rubric | None = None,
        rubric_column: str | None = None,
        reference_column: str | None = None,
        missing: MissingReward = "none",
        empty: Empty = "judge",
        min_label_mass: float | None = None,
        name: str = "gavel",
        api_key: str | None = None,
        timeout: float = 600.0,
        retry: Retry | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        check_one_of("missing", missing, get_args(MissingReward))
        check_kind("reference_column", reference_column, str)
        check_kind("name", name, str)
        # TRL names its metrics after it.
        self.__name__ = name
        self.reference_column = reference_column
        self.missing = missing
        self._bulk = Bulk(
            Connection(base_url, api_key, timeout, retry),
            rubric=rubric,
            rubric_column=rubric_column,
            empty=empty,
            min_label_mass=min_label_mass,
            settings=check_settings(GavelReward.__init__, settings, mode="score"),
        )

    def check(self) -> Info:
        """Asks the server whether it can judge with these settings, and tells what it is.

        It loads the model if that is not yet loaded, and judges nothing: call it before the first rollouts.

        Raises:
            ConnectionFailed: There is no server.
            TimedOut: It did not answer in time.
            Unavailable: It is not ready.
            NotFound: There is no such rubric or model.
            InvalidRequest: It does not accept a setting.
            UnexpectedAnswer: What answers is no Gavel server.
        """
        return self._bulk.check()

    def __call__(
        self,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        completion_ids: object = None,
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **columns: Any,  # noqa: ANN401
    ) -> list[float | None]:
        """A reward for each completion, in order.

        Raises:
            BadItem: A row cannot be judged as it is, such as one with a picture; it is a ValueError.
            GavelError: The request failed as a whole, or an item did with `missing="raise"`.
        """
        rows = zip(
            prompts,
            completions,
            _column(columns, self.reference_column, len(prompts)),
            _column(columns, self._bulk.rubric_column, len(prompts)),
            strict=True,
        )
        outcomes = self._bulk.outcomes(self._bulk.items(rows))
        self._log(outcomes, log_metric, log_extra)
        if self.missing == "raise":
            for index, outcome in enumerate(outcomes):
                if outcome.error is not None:
                    detail = f"items[{index}]: {outcome.error.detail}"
                    raise problem_error(outcome.error.model_copy(update={"detail": detail}))
        rewards = [outcome.reward for outcome in outcomes]
        return _filled(prompts, rewards) if self.missing == "group_mean" else rewards

    def _log(
        self,
        outcomes: Sequence[Outcome],
        log_metric: Callable[[str, float], None] | None,
        log_extra: Callable[[str, list[Any]], None] | None,
    ) -> None:
        codes = [outcome.error.code if outcome.error else None for outcome in outcomes]
        unscored = [code for code in codes if code is not None]
        masses = [outcome.verdict.label_mass for outcome in outcomes if outcome.verdict]
        metrics = {"unscored": len(unscored) / len(outcomes)} if outcomes else {}
        if masses:
            metrics["label_mass"] = fmean(masses)
        for name, value in metrics.items():
            if log_metric is not None:
                log_metric(f"{self.__name__}/{name}", value)
            else:
                logger.info("%s/%s: %.4f", self.__name__, name, value)
        if log_extra is not None:
            log_extra(f"{self.__name__}_error", codes)
        if unscored:
            reasons = ", ".join(sorted(set(unscored)))
            logger.warning("%d of %d completions have no reward: %s", len(unscored), len(outcomes), reasons)


def _column(columns: dict[str, Any], name: str | None, count: int) -> Sequence[object]:
    if name is None:
        return [None] * count
    if name not in columns:
        raise KeyError(f'the data set has no column "{name}"{did_you_mean(name, columns)}')
    column: Sequence[object] = columns[name]
    return column


def _filled(prompts: Sequence[Turns], rewards: Sequence[float | None]) -> list[float | None]:
    """Gives what has no reward the mean of its group; None stays where the whole group has none."""
    keys = [json.dumps(prompt, sort_keys=True, default=str) for prompt in prompts]
    groups: dict[str, list[float]] = {}
    for key, reward in zip(keys, rewards, strict=True):
        if reward is not None:
            groups.setdefault(key, []).append(reward)
    means = {key: fmean(values) for key, values in groups.items()}
    return [means.get(key) if reward is None else reward for key, reward in zip(keys, rewards, strict=True)]
