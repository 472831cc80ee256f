"""Rewards for many items: what the reward functions of trainers and the mapper of data sets share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ._calls import RewardItem, Rubric, Settings
from ._errors import ProblemDetails, UnexpectedAnswer
from ._items import BadItem, Turns, is_blank, reward_item, rubric_of
from ._options import check_kind, check_label_mass, check_one_of
from ._pools import Connection
from ._verdicts import AbsoluteVerdict, Info, Rewards

#: What a response that shows nothing gets: a judgement as any other, no reward, or the reward 0 without a judgement.
Empty: TypeAlias = Literal["judge", "missing", "zero"]


@dataclass(frozen=True)
class Outcome:
    """What came of an item: a reward, or the reason why it has none."""

    reward: float | None = None
    error: ProblemDetails | None = None
    verdict: AbsoluteVerdict | None = None


def failed(code: str, detail: str) -> Outcome:
    """An item that is not sent."""
    return Outcome(error=ProblemDetails(code=code, status=422, title="Not sent", detail=detail))


def check_empty(empty: object, *, may_miss: bool = True) -> None:
    """Checks the setting `empty`.

    Raises:
        ValueError: It has another value, or it is "missing" where a trainer cannot leave out a sample.
    """
    check_one_of("empty", empty, get_args(Empty))
    if empty == "missing" and not may_miss:
        raise ValueError('empty="missing" needs a trainer that can leave out a sample; take "judge" or "zero"')


def outcome_if_empty(response: str, empty: Empty) -> Outcome | None:
    """What an item gets without the judge, if its response is empty and `empty` says so."""
    if empty == "judge" or not is_blank(response):
        return None
    return Outcome(reward=0.0) if empty == "zero" else failed("empty_response", "the response is empty")


def checked_rubric(rubric: object, other: str | None) -> Rubric | None:
    """The rubric of items that have none of their own. `other` is where they may have one.

    Raises:
        ValueError: It is no rubric, or there is neither.
    """
    check_kind("the name of the items' rubrics", other, str)
    if rubric is None and other is None:
        raise ValueError("name a rubric: `rubric`, or `rubric_column` for those of the rows")
    return None if rubric is None else rubric_of(rubric)


class Bulk:
    """How items are judged, and at which server."""

    def __init__(
        self,
        connection: Connection,
        *,
        rubric: object,
        rubric_column: str | None,
        empty: Empty,
        min_label_mass: float | None,
        settings: Settings,
    ) -> None:
        check_empty(empty)
        check_label_mass(min_label_mass)
        self.rubric = checked_rubric(rubric, rubric_column)
        self.rubric_column = rubric_column
        self.empty: Empty = empty
        self.min_label_mass = min_label_mass
        self.settings = settings
        self.connection = connection

    def check(self) -> Info:
        """Asks the server whether it can judge so, without judging anything."""
        client = self.connection.client()
        info = client.info()
        client.rewards([], rubric=self.rubric, min_label_mass=self.min_label_mass, **self.settings)
        return info

    def item(self, prompt: Turns, completion: Turns, reference: object, rubric: object) -> RewardItem | Outcome:
        """The item of a row, or what comes of it without the judge.

        Raises:
            BadItem: A text is missing, a part of it is no text, or there is no such reference or rubric.
        """
        item = reward_item(prompt, completion, reference, rubric)
        if self.rubric is None and "rubric" not in item:
            raise BadItem("missing_rubric", f"neither {self.rubric_column!r} nor `rubric` says how to judge it")
        return outcome_if_empty(item["response"], self.empty) or item

    def items(self, rows: Iterable[tuple[Turns, Turns, object, object]]) -> list[RewardItem | Outcome]:
        """The items of rows.

        Raises:
            BadItem: A row has none; it names the row.
        """
        items = []
        for index, row in enumerate(rows):
            try:
                items.append(self.item(*row))
            except BadItem as error:
                raise BadItem(error.code, error.detail, index) from None
        return items

    def outcomes(self, items: Sequence[RewardItem | Outcome]) -> list[Outcome]:
        """What comes of the items, in their order; outcomes among them stay as they are."""
        asked = _asked(items)
        answer = self.connection.client().rewards(asked, **self._how()) if asked else None
        return _merged(items, answer)

    async def outcomes_async(self, items: Sequence[RewardItem | Outcome]) -> list[Outcome]:
        """The same, awaited."""
        asked = _asked(items)
        answer = await self.connection.async_client().rewards(asked, **self._how()) if asked else None
        return _merged(items, answer)

    def _how(self) -> dict[str, Any]:
        own = {"rubric": self.rubric, "min_label_mass": self.min_label_mass, "include_verdicts": True}
        return {**own, **self.settings}


def _asked(items: Sequence[RewardItem | Outcome]) -> list[RewardItem]:
    return [item for item in items if not isinstance(item, Outcome)]


def _merged(items: Sequence[RewardItem | Outcome], answer: Rewards | None) -> list[Outcome]:
    judged = iter(_outcomes(answer, len(_asked(items))) if answer else [])
    return [item if isinstance(item, Outcome) else next(judged) for item in items]


def _outcomes(answer: Rewards, count: int) -> list[Outcome]:
    columns = zip(answer.rewards, answer.errors, answer.verdicts or [], strict=False)
    outcomes = [
        Outcome(reward, error, verdict if isinstance(verdict, AbsoluteVerdict) else None)
        for reward, error, verdict in columns
    ]
    if len(outcomes) != count or any((outcome.reward is None) == (outcome.error is None) for outcome in outcomes):
        raise UnexpectedAnswer(f"the answer does not have a reward or an error for each of {count} items")
    return outcomes
