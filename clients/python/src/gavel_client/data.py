"""Grades the rows of a data set: a map function for Ray Data and for Hugging Face's `datasets`."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import Unpack

from ._calls import Rubric, Settings
from ._connection import DEFAULT_URL
from ._items import reward_item
from ._retry import Retry
from ._sync import Gavel


class Judge:
    """Adds a verdict to each row of a batch of columns. It can be pickled.

    `dataset.map(Judge(rubric="helpfulness"), batched=True)` with `datasets`;
    `dataset.map_batches(Judge(rubric="helpfulness"))` with Ray Data. The new columns are `gavel_reward`, `gavel_score`,
    `gavel_label_mass`, `gavel_feedback` and `gavel_error`, a code; a row has the first or the last, never both.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        rubric: Rubric,
        instruction: str = "instruction",
        response: str = "response",
        reference_answer: str | None = None,
        prefix: str = "gavel_",
        min_label_mass: float | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        retry: Retry | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.rubric = rubric
        self.columns = (instruction, response, reference_answer)
        self.prefix = prefix
        self.min_label_mass = min_label_mass
        self.settings = settings
        self._connection: dict[str, Any] = {
            "base_url": base_url,
            "api_key": api_key,
            "timeout": timeout,
            "retry": retry,
        }
        self._client: Gavel | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with the verdicts' columns."""
        instruction, response, reference = self.columns
        prompts, responses = list(batch[instruction]), list(batch[response])
        references = list(batch[reference]) if reference else [None] * len(prompts)
        items = [
            reward_item(prompt, completion, known)
            for prompt, completion, known in zip(prompts, responses, references, strict=True)
        ]
        if self._client is None:
            self._client = Gavel(**self._connection)
        answer = self._client.rewards(
            items,
            rubric=self.rubric,
            min_label_mass=self.min_label_mass,
            include_verdicts=True,
            **self.settings,
        )
        verdicts = answer.verdicts or [None] * len(items)
        new = {
            "reward": answer.rewards,
            "score": [verdict.score if verdict else None for verdict in verdicts],
            "label_mass": [verdict.label_mass if verdict else None for verdict in verdicts],
            "feedback": [verdict.feedback if verdict else None for verdict in verdicts],
            "error": [error.code if error else None for error in answer.errors],
        }
        return {**batch, **{self.prefix + name: column for name, column in new.items()}}

    def __getstate__(self) -> dict[str, Any]:
        """All but the connections, which a new process makes for itself."""
        return {**self.__dict__, "_client": None}
