"""What is asked, and of which form the answer is: the part that both clients share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from typing_extensions import NotRequired, TypedDict

from ._errors import Problem, ProblemDetails, UnexpectedAnswer, problem_error
from ._verdicts import AbsoluteVerdict, Feedback, Preferences, RankVerdict, RelativeVerdict, Rewards

T = TypeVar("T", bound=BaseModel)

Normalize: TypeAlias = Literal["none", "group"]


class Message(TypedDict):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class Context(TypedDict):
    """A document that a response is judged against."""

    id: NotRequired[str | None]
    text: str


class InlineRubric(TypedDict):
    """A rubric of the request's own: 2 to 11 consecutive scores, each described."""

    criterion: str
    descriptions: Mapping[str, str]


class WeightedRubric(TypedDict):
    """A rubric of a list, and how much it counts."""

    rubric: str | InlineRubric
    weight: NotRequired[float]


#: A name of `GET /v1/rubrics`, an inline rubric, or several with weights.
Rubric: TypeAlias = str | InlineRubric | Sequence[WeightedRubric]


class Sampling(TypedDict, total=False):
    """How feedback is generated. Verdicts are read at temperature 1 in any case."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    max_feedback_tokens: int
    min_feedback_tokens: int


class Settings(TypedDict, total=False):
    """How something is judged; what is left out is the server's default."""

    mode: Literal["feedback", "score"]
    samples: int
    sampling: Sampling
    model: str | None
    prompt: str | None
    cache: bool
    deterministic: bool


class Grading(Settings, total=False):
    """What every grading request may say: `instruction` or `messages`, and the rest as needed."""

    instruction: str | None
    messages: Sequence[Message] | None
    reference_answer: str | None
    context: Sequence[Context] | None
    annotator: str | None
    debug: bool


class RewardItem(TypedDict):
    """A response of many: with `instruction` or `messages`, and a `group` where rewards are normalised."""

    response: str
    id: NotRequired[str | int]
    instruction: NotRequired[str | None]
    messages: NotRequired[Sequence[Message] | None]
    reference_answer: NotRequired[str | None]
    context: NotRequired[Sequence[Context] | None]
    annotator: NotRequired[str | None]
    group: NotRequired[str | int]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the form of its answer."""

    path: str
    body: Mapping[str, Any]
    answer: type[T]


def absolute(response: str, rubric: Rubric, options: Grading) -> Call[AbsoluteVerdict]:
    """Grade one response."""
    return Call("/v1/grade/absolute", _said(options, response=response, rubric=rubric), AbsoluteVerdict)


def relative(
    response_a: str, response_b: str, rubric: Rubric, options: Grading, **own: object
) -> Call[RelativeVerdict]:
    """Compare two responses."""
    body = _said(options, response_a=response_a, response_b=response_b, rubric=rubric, **own)
    return Call("/v1/grade/relative", body, RelativeVerdict)


def rank(responses: Sequence[str], rubric: Rubric, options: Grading, **own: object) -> Call[RankVerdict]:
    """Put responses in order."""
    return Call("/v1/rank", _said(options, responses=list(responses), rubric=rubric, **own), RankVerdict)


def preferences(responses: Sequence[str], rubric: Rubric, options: Grading, **own: object) -> Call[Preferences]:
    """Make pairs of responses."""
    return Call("/v1/preferences", _said(options, responses=list(responses), rubric=rubric, **own), Preferences)


def rewards(items: Sequence[RewardItem], rubric: Rubric, options: Settings, **own: object) -> Call[Rewards]:
    """Grade many responses."""
    return Call("/v1/rewards", _said(options, items=list(items), rubric=rubric, **own), Rewards)


def _said(options: Mapping[str, Any], **own: object) -> dict[str, Any]:
    return {key: value for key, value in {**own, **options}.items() if value is not None}


def read(model: type[T], text: str | bytes) -> T:
    """An answer in its form."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise UnexpectedAnswer(f"this is no {model.__name__}: {error}") from error


def refusal(status: int, text: str | bytes) -> Problem:
    """The exception for an answer that is an error."""
    try:
        return problem_error(ProblemDetails.model_validate_json(text))
    except ValidationError:
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        detail = said.strip()[:500] or "no reason was given"
        unknown = {"code": "unknown", "status": status, "title": "An error", "detail": detail}
        return problem_error(ProblemDetails.model_validate(unknown))


class EventReader(Generic[T]):
    """Reads server-sent events line by line."""

    def __init__(self, verdict: type[T]) -> None:
        self._verdict = verdict
        self._name = ""
        self._data: list[str] = []
        self._done = False

    def line(self, line: str) -> Feedback | T | None:
        """What a line completes."""
        if line.startswith("event:"):
            self._name = line[6:].strip()
        elif line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and self._data:
            name, data = self._name, "\n".join(self._data)
            self._name, self._data = "", []
            return self._event(name, data)
        return None

    def _event(self, name: str, data: str) -> Feedback | T | None:
        if name == "feedback":
            return read(Feedback, data)
        if name == "error":
            raise refusal(500, data)
        if name == "verdict":
            self._done = True
            return read(self._verdict, data)
        return None

    def end(self) -> None:
        """Checks that the stream came to its end."""
        if not self._done:
            raise UnexpectedAnswer("the stream ended without a verdict")
