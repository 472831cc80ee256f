# Written by `generate` from _async.py: change that file.
"""The client: requests, retries and streams."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Literal, TypeVar

import httpx
from pydantic import BaseModel
from typing_extensions import Self, Unpack

from . import _calls as calls
from ._calls import (
    INFO,
    MODELS,
    RUBRICS,
    Call,
    DrawnQuestions,
    EventReader,
    Grading,
    JuryGrading,
    JurySettings,
    Labelling,
    Labels,
    Message,
    Method,
    Normalize,
    Question,
    Reading,
    RewardedLabels,
    RewardItem,
    RoutedGrading,
    Rubric,
    Said,
    Span,
)
from ._connection import DEFAULT_URL, LIMITS, Sleep, connect_error, headers, timeouts
from ._retry import RETRIED_ERRORS, RETRIED_STATUSES, Retry, retry_after
from ._verdicts import (
    AbsoluteVerdict,
    ChecklistVerdict,
    ClaimsVerdict,
    Critique,
    Decisions,
    Feedback,
    Info,
    LabelVerdict,
    Preferences,
    RankVerdict,
    RefineVerdict,
    RelativeVerdict,
    Rewards,
    RubricEntry,
    SegmentsVerdict,
)

T = TypeVar("T", bound=BaseModel)


class Gavel:
    """A client of one Gavel server. Threads may share a `Gavel`, the tasks of one event loop an `AsyncGavel`.

    `timeout`, in seconds, is how long the server may take for a request, at most its `limits.deadline_ms`; the client
    waits 30 s longer for the answer. What is refused for the moment is sent again as `retry` says.

    Methods raise a `Problem` for what the server says no to, `TimedOut` where there was no answer in time,
    `ConnectionFailed` where there was no connection, and `UnexpectedAnswer` where what answered is no Gavel server.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._retry = retry or Retry()
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=base_url,
            headers=headers(api_key, timeout),
            timeout=timeouts(timeout),
            limits=LIMITS,
            transport=transport,
        )

    def absolute(self, *, response: Said, rubric: Rubric, **options: Unpack[RoutedGrading]) -> AbsoluteVerdict:
        """Grade a response against a rubric."""
        return self._ask(calls.absolute(response, rubric, options))

    def relative(
        self,
        *,
        response_a: Said,
        response_b: Said,
        rubric: Rubric,
        method: Literal["pairwise", "absolute"] | None = None,
        swap: bool | None = None,
        tie_margin: float | None = None,
        **options: Unpack[RoutedGrading],
    ) -> RelativeVerdict:
        """Compare two responses by a rubric, as `method` says, or else as the model does by default."""
        own = {"method": method, "swap": swap, "tie_margin": tie_margin}
        return self._ask(calls.relative(response_a, response_b, rubric, options, **own))

    def rank(
        self,
        *,
        responses: Sequence[Said],
        rubric: Rubric,
        method: Literal["pairwise", "absolute"] | None = None,
        swap: bool | None = None,
        tie_margin: float | None = None,
        **options: Unpack[JuryGrading],
    ) -> RankVerdict:
        """Put 2 to 64 responses in order."""
        own = {"method": method, "swap": swap, "tie_margin": tie_margin}
        return self._ask(calls.rank(responses, rubric, options, **own))

    def preferences(
        self,
        *,
        responses: Sequence[Said],
        rubric: Rubric,
        pairs: Literal["best_worst", "all"] | None = None,
        min_margin: float | None = None,
        min_label_mass: float | None = None,
        method: Literal["pairwise", "absolute"] | None = None,
        swap: bool | None = None,
        tie_margin: float | None = None,
        **options: Unpack[RoutedGrading],
    ) -> Preferences:
        """Make preference pairs of 2 to 64 responses. With a `route`, each pair says whether it is for people."""
        own = {
            "pairs": pairs,
            "min_margin": min_margin,
            "min_label_mass": min_label_mass,
            "method": method,
            "swap": swap,
            "tie_margin": tie_margin,
        }
        return self._ask(calls.preferences(responses, rubric, options, **own))

    def rewards(
        self,
        items: Sequence[RewardItem],
        *,
        rubric: Rubric | None = None,
        method: Method | None = None,
        normalize: Normalize | None = None,
        min_label_mass: float | None = None,
        include_verdicts: bool = False,
        **settings: Unpack[JurySettings],
    ) -> Rewards:
        """Grade many responses in one request; each fails alone.

        `rubric` and `method` are for the items that name none. An item below `min_label_mass`, 0 to 1, has no reward.
        """
        include = ["verdicts"] if include_verdicts else None
        own = {"method": method, "normalize": normalize, "min_label_mass": min_label_mass, "include": include}
        return self._ask(calls.rewards(items, rubric, settings, **own))

    def stream_absolute(
        self, *, response: Said, rubric: Rubric, **options: Unpack[RoutedGrading]
    ) -> Iterator[Feedback | AbsoluteVerdict]:
        """Grade a response; gives feedback as it is written, and the verdict last."""
        return self._stream(calls.absolute(response, rubric, options))

    def stream_relative(
        self,
        *,
        response_a: Said,
        response_b: Said,
        rubric: Rubric,
        method: Literal["pairwise", "absolute"] | None = None,
        swap: bool | None = None,
        tie_margin: float | None = None,
        **options: Unpack[RoutedGrading],
    ) -> Iterator[Feedback | RelativeVerdict]:
        """Compare two responses; gives feedback as it is written, and the verdict last."""
        own = {"method": method, "swap": swap, "tie_margin": tie_margin}
        return self._stream(calls.relative(response_a, response_b, rubric, options, **own))

    def segments(
        self,
        *,
        response: str,
        labels: RewardedLabels,
        segments: Literal["sentences"] | Sequence[Span] = "sentences",
        scope: Literal["own", "before"] | None = None,
        **options: Unpack[Reading],
    ) -> SegmentsVerdict:
        """Label the sentences of a response, or other parts of it, each with a reward."""
        parts = segments if isinstance(segments, str) else list(segments)
        return self._ask(calls.segments(response, labels, options, segments=parts, scope=scope))

    def label(
        self,
        *,
        labels: Labels,
        text: str | None = None,
        messages: Sequence[Message] | None = None,
        turn: Literal["last", "each_user"] | int | None = None,
        **options: Unpack[Labelling],
    ) -> LabelVerdict:
        """Label a text, or turns of a conversation."""
        return self._ask(calls.label(labels, options, text=text, messages=messages, turn=turn))

    def checklist(
        self,
        *,
        response: Said,
        questions: Sequence[str] | DrawnQuestions,
        gates: Sequence[int] | None = None,
        rubric: Rubric | None = None,
        **options: Unpack[Reading],
    ) -> ChecklistVerdict:
        """Answer 1 to 64 questions about a response with yes or no; a no at one of `gates` makes the reward 0."""
        return self._ask(calls.checklist(response, questions, options, gates=gates, rubric=rubric))

    def claims(
        self,
        *,
        response: str,
        against: Literal["reference", "context", "pictures"] | None = None,
        claims: Sequence[str] | None = None,
        **options: Unpack[Reading],
    ) -> ClaimsVerdict:
        """Check each claim of a response; without `claims`, the judge lists them first."""
        return self._ask(calls.claims(response, options, against=against, claims=claims))

    def critique(
        self, *, response: Said | None = None, rubric: Rubric | None = None, **options: Unpack[Reading]
    ) -> Critique:
        """Write feedback on a response, or on the assistant's turns in `messages`, without a score."""
        return self._ask(calls.critique(response, options, rubric=rubric))

    def stream_critique(
        self, *, response: Said | None = None, rubric: Rubric | None = None, **options: Unpack[Reading]
    ) -> Iterator[Feedback | Critique]:
        """Write feedback without a score; gives it as it is written, and the whole last."""
        return self._stream(calls.critique(response, options, rubric=rubric))

    def refine(
        self,
        *,
        response: Said,
        refined: Said,
        rubric: Rubric,
        feedback: str | None = None,
        **options: Unpack[Grading],
    ) -> RefineVerdict:
        """Grade a response and its refined version, and say what was gained."""
        return self._ask(calls.refine(response, refined, rubric, options, feedback=feedback))

    def decide(
        self, text: str | Sequence[Message], questions: Sequence[Question], *, model: str | None = None
    ) -> Decisions:
        """Answer 1 to 400 questions about a text or a conversation, with the probability of every answer."""
        return self._ask(calls.decide(text, questions, model))

    def rubrics(self) -> list[RubricEntry]:
        """The rubrics of the server's library, by name."""
        return (self._ask(RUBRICS)).data

    def models(self) -> list[str]:
        """The names that `model` takes: hosted models, the default one first; then judge models and aliases."""
        return [model.id for model in (self._ask(MODELS)).data]

    def info(self) -> Info:
        """Version, models and limits of the server."""
        return self._ask(INFO)

    def ready(self) -> bool:
        """Whether the server has loaded its models and takes requests. This is not tried again."""
        try:
            response = self._http.get("/readyz")
        except httpx.HTTPError as error:
            raise connect_error(error, error.request) from error
        if response.is_success or response.status_code == 503:
            return response.is_success
        raise calls.refusal(response.status_code, response.content)

    def post(self, path: str, body: object, *, query: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer of any route, retried and checked as all are."""
        return self._send(self._http.build_request("POST", path, json=body, params=query))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call[T]) -> T:
        method = "GET" if call.body is None else "POST"
        response = self._send(self._http.build_request(method, call.path, json=call.body))
        return calls.read(call.answer, response.content)

    def _stream(self, call: Call[T]) -> Iterator[Feedback | T]:
        accept = {"Accept": "text/event-stream"}
        request = self._http.build_request("POST", call.path, json=call.body, headers=accept)
        response = self._send(request, stream=True)
        reader = EventReader(call.answer)
        try:
            for line in response.iter_lines():
                event = reader.line(line)
                if event is not None:
                    yield event
        except httpx.HTTPError as error:
            raise connect_error(error, request) from error
        finally:
            response.close()
        reader.end()

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        for retry in count():
            try:
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                problem: Exception = calls.refusal(response.status_code, response.read())
                may_retry, asked = response.status_code in RETRIED_STATUSES, retry_after(response)
            except httpx.HTTPError as error:
                problem = connect_error(error, request)
                may_retry, asked = isinstance(error, RETRIED_ERRORS), None
            wait = self._retry.wait(retry, asked) if may_retry else None
            if wait is None:
                raise problem
            self._sleep(wait)
        raise AssertionError("count() has no end")
