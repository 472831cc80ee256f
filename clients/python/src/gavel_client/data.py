"""Grades the rows of a data set: a map function for Ray Data and for Hugging Face's `datasets`."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import Unpack

from ._bulk import Bulk, Empty, Outcome, failed
from ._calls import RewardItem, Rubric, Settings
from ._connection import DEFAULT_URL
from ._items import BadItem, Turns
from ._options import check_kind, check_settings
from ._pools import Connection
from ._retry import Retry
from ._verdicts import Info


class Judge:
    """Adds a verdict to each row of a batch of columns. It can be pickled, and used after a fork.

    `dataset.map(Judge(rubric="helpfulness"), batched=True)` with `datasets`;
    `dataset.map_batches(Judge(rubric="helpfulness"))` with Ray Data. The new columns are `gavel_reward`, `gavel_score`,
    `gavel_label_mass`, `gavel_feedback` and `gavel_error`. The last is the code of why a row could not be graded. It is
    "" for the others, so that the column has a type from the first batch on; numbers that are not there are None. A row
    without an instruction or a response (None, NaN) has the error `missing_text`.

    Args:
        base_url: The address of the server.
        rubric: A name, an inline rubric or a list of rubrics with weights, for the rows that have none of their own.
        rubric_column: The column with the rubrics of the rows: any of these, or JSON text of it.
        instruction: The column with the instructions: texts, or conversations that end with a user turn.
        response: The column with the responses.
        reference_answer: The column with reference answers. None, NaN and blank text mean that there is none.
        prefix: What the names of the new columns begin with.
        empty: What a response that shows nothing gets: "judge", a judgement as any other; "missing", no reward but the
            error `empty_response`; "zero", the reward 0 without a judgement.
        min_label_mass: The least label mass of a reward, 0 to 1; default: the server's `grading.min_label_mass`.
        api_key: Sent as a bearer token; by default that of GAVEL_API_KEY.
        timeout: Seconds that the server may take for a batch, above 0; what is graded by then is kept.
        retry: How often a request is sent again.
        settings: How it is judged; what is left out is the server's default.

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
        instruction: str = "instruction",
        response: str = "response",
        reference_answer: str | None = None,
        prefix: str = "gavel_",
        empty: Empty = "judge",
        min_label_mass: float | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        retry: Retry | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        for name in (instruction, response, reference_answer, prefix):
            check_kind("a column", name, str)
        self.columns = (instruction, response, reference_answer, rubric_column)
        self.prefix = prefix
        self._bulk = Bulk(
            Connection(base_url, api_key, timeout, retry),
            rubric=rubric,
            rubric_column=rubric_column,
            empty=empty,
            min_label_mass=min_label_mass,
            settings=check_settings(Judge.__init__, settings),
        )

    def check(self) -> Info:
        """Asks the server whether it can judge with these settings, and tells what it is.

        It loads the model if that is not yet loaded, and judges nothing.

        Raises:
            ConnectionFailed: There is no server.
            TimedOut: It did not answer in time.
            Unavailable: It is not ready.
            NotFound: There is no such rubric or model.
            InvalidRequest: It does not accept a setting.
            UnexpectedAnswer: What answers is no Gavel server.
        """
        return self._bulk.check()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with the verdicts' columns.

        Raises:
            KeyError: A column is missing.
            GavelError: The request failed as a whole.
        """
        count = len(batch[self.columns[0]])
        columns = [list(batch[name]) if name else [None] * count for name in self.columns]
        outcomes = self._bulk.outcomes([self._item(*row) for row in zip(*columns, strict=True)])
        verdicts = [outcome.verdict for outcome in outcomes]
        new = {
            "reward": [outcome.reward for outcome in outcomes],
            "score": [verdict.score if verdict else None for verdict in verdicts],
            "label_mass": [verdict.label_mass if verdict else None for verdict in verdicts],
            "feedback": [(verdict and verdict.feedback) or "" for verdict in verdicts],
            "error": [outcome.error.code if outcome.error else "" for outcome in outcomes],
        }
        return {**batch, **{self.prefix + name: column for name, column in new.items()}}

    def _item(self, prompt: Turns, completion: Turns, reference: object, rubric: object) -> RewardItem | Outcome:
        try:
            return self._bulk.item(prompt, completion, reference, rubric)
        except BadItem as error:
            return failed(error.code, error.detail)
