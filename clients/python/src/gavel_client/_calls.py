"""What is asked, and of which form the answer is: the part that both clients share."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from typing_extensions import NotRequired, TypedDict

from ._errors import Problem, ProblemDetails, UnexpectedAnswer, problem_error
from ._verdicts import (
    AbsoluteVerdict,
    ChecklistVerdict,
    ClaimsVerdict,
    Critique,
    Decisions,
    Feedback,
    Info,
    LabelVerdict,
    ModelNames,
    Preferences,
    RankVerdict,
    RefineVerdict,
    RelativeVerdict,
    Rewards,
    RubricList,
    SegmentsVerdict,
)

T = TypeVar("T", bound=BaseModel)

Normalize: TypeAlias = Literal["none", "group"]


class TextPart(TypedDict):
    """A text of a message."""

    type: Literal["text"]
    text: str


class PictureUrl(TypedDict):
    """A picture as a data URL: `data:image/png;base64,…`."""

    url: str
    detail: NotRequired[str]


class PicturePart(TypedDict):
    """A picture of a message, for models with eyes."""

    type: Literal["image_url"]
    image_url: PictureUrl


#: What a response says: a text, or parts with pictures for models with eyes.
Said: TypeAlias = str | Sequence[TextPart | PicturePart]


class CalledFunction(TypedDict):
    """A function and its arguments, JSON as a text."""

    name: str
    arguments: NotRequired[str]


class ToolCall(TypedDict):
    """A call of a function by an agent."""

    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: CalledFunction


class Message(TypedDict):
    """A turn of a conversation. `content` may be None beside `tool_calls`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Sequence[TextPart | PicturePart] | None
    tool_calls: NotRequired[Sequence[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


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
    max_thought_tokens: int


class AdaptiveSamples(TypedDict):
    """Samples are taken until their majority is that of all `max` samples with the probability `settle`."""

    max: int
    settle: NotRequired[float]


class _Example(TypedDict):
    instruction: NotRequired[str | None]
    messages: NotRequired[Sequence[Message] | None]
    reference_answer: NotRequired[str | None]
    context: NotRequired[Sequence[Context] | None]
    feedback: NotRequired[str | None]


class GradedExample(_Example):
    """A graded response. `feedback` is needed with the mode `feedback`."""

    response: str
    score: int


class ComparedExample(_Example):
    """Two compared responses, with the better one."""

    response_a: str
    response_b: str
    preference: Literal["A", "B"]


#: The name of a set of the server, or graded items that the judge is shown first.
Examples: TypeAlias = str | Sequence[GradedExample | ComparedExample]


class Settings(TypedDict, total=False):
    """How something is judged; what is left out is the server's default."""

    mode: Literal["feedback", "score"]
    samples: int | AdaptiveSamples
    sampling: Sampling
    model: str | None
    prompt: str | None
    examples: Examples | None
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


class Juror(TypedDict, total=False):
    """A member of a jury. `weight` counts with `combine="weighted"`."""

    model: str | None
    prompt: str | None
    annotator: str | None
    weight: float


class Noise(TypedDict):
    """Each juror's verdict is turned around with the probability `flip`."""

    flip: float
    seed: NotRequired[int]


class _Jury(TypedDict, total=False):
    judges: Sequence[str | Juror]
    jury: str
    combine: Literal["mean", "majority", "weighted"]
    quorum: int
    noise: Noise


class Route(TypedDict, total=False):
    """Whether a verdict is for people: by a share of items (`budget`) or by a `threshold` of the score, each 0..1."""

    router: str | None
    budget: float
    threshold: float
    enqueue: bool
    reviewers: int


class JuryGrading(Grading, _Jury, total=False):
    """The same with several judges: `judges`, or the name of a configured `jury`."""


class RoutedGrading(JuryGrading, total=False):
    """The same with a `route`, or its name."""

    route: str | Route | None


class JurySettings(Settings, _Jury, total=False):
    """How something is judged, and by whom: `judges`, or the name of a configured `jury`."""


class Reading(TypedDict, total=False):
    """What the methods beside grading may be told: `instruction` or `messages`, and the rest as needed."""

    instruction: str | None
    messages: Sequence[Message] | None
    reference_answer: str | None
    context: Sequence[Context] | None
    annotator: str | None
    sampling: Sampling
    model: str | None
    prompt: str | None
    cache: bool
    deterministic: bool
    debug: bool


class Labelling(TypedDict, total=False):
    """What a request for labels may say."""

    context: Sequence[Context] | None
    annotator: str | None
    model: str | None
    prompt: str | None
    cache: bool
    deterministic: bool
    debug: bool


class Span(TypedDict):
    """A part of a text. Offsets count characters, as Python's do: `text[start:end]`."""

    start: int
    end: int


class RewardedLabel(TypedDict):
    """What a label is worth, and what it means."""

    reward: float
    meaning: NotRequired[str | None]


#: A set's name, or labels with what each is worth.
RewardedLabels: TypeAlias = str | Mapping[str, float | RewardedLabel]

#: A set's name, or labels with what each means.
Labels: TypeAlias = str | Mapping[str, str]


#: What questions are drawn from, and how many, 1 to 32.
Draw = TypedDict("Draw", {"from": Literal["rubric", "instruction"], "count": int})


class DrawnQuestions(TypedDict):
    """Questions that the judge writes before it answers them."""

    draw: Draw


class RewardMethod(TypedDict):
    """What judges an item, and its parameters.

    `absolute` grades by the rubric, `checklist` answers `questions`, `yes_no` one `question`, `claims` checks claims.
    """

    name: Literal["absolute", "checklist", "yes_no", "claims"]
    questions: NotRequired[Sequence[str] | DrawnQuestions]
    gates: NotRequired[Sequence[int]]
    question: NotRequired[str]
    against: NotRequired[Literal["reference", "context", "pictures"]]
    claims: NotRequired[Sequence[str] | None]


#: The name of a method without parameters, or one with them.
Method: TypeAlias = Literal["absolute", "claims"] | RewardMethod


class _Item(TypedDict):
    response: str
    id: NotRequired[str | int]
    rubric: NotRequired[Rubric | None]
    reference_answer: NotRequired[str | None]
    context: NotRequired[Sequence[Context] | None]
    annotator: NotRequired[str | None]
    group: NotRequired[str | int]
    method: NotRequired[Method | None]


class InstructionItem(_Item):
    """A response to an instruction."""

    instruction: str


class ConversationItem(_Item):
    """A response to a conversation, which ends with a user turn."""

    messages: Sequence[Message]


#: A response of many. Its `rubric` overrides the request's; it names a `group` where rewards are normalised.
RewardItem: TypeAlias = InstructionItem | ConversationItem


class Predicate(TypedDict):
    """A statement about the input, which is true with some probability."""

    type: Literal["predicate"]
    name: NotRequired[str | None]
    instructions: str


class Option(TypedDict):
    """A value to choose."""

    value: str | bool
    description: NotRequired[str | None]


class Choice(TypedDict):
    """Chooses one of 2 to 255 values."""

    type: Literal["choice"]
    name: NotRequired[str | None]
    instructions: str
    choices: Sequence[Option]


class Level(TypedDict):
    """A level of a scale."""

    label: str
    description: NotRequired[str | None]


class Scale(TypedDict):
    """Places the input on one of 2 to 255 levels, the lowest first."""

    type: Literal["score"]
    name: NotRequired[str | None]
    instructions: str
    levels: Sequence[Level]


#: A question about the input of `decide`.
Question: TypeAlias = Predicate | Choice | Scale


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, a GET if it has no body, and the form of its answer."""

    path: str
    body: Mapping[str, Any] | None
    answer: type[T]


def absolute(response: Said, rubric: Rubric, options: RoutedGrading) -> Call[AbsoluteVerdict]:
    """Grade one response."""
    return Call("/v1/grade/absolute", _said(options, response=response, rubric=rubric), AbsoluteVerdict)


def relative(
    response_a: Said, response_b: Said, rubric: Rubric, options: RoutedGrading, **own: object
) -> Call[RelativeVerdict]:
    """Compare two responses."""
    body = _said(options, response_a=response_a, response_b=response_b, rubric=rubric, **own)
    return Call("/v1/grade/relative", body, RelativeVerdict)


def rank(responses: Sequence[Said], rubric: Rubric, options: JuryGrading, **own: object) -> Call[RankVerdict]:
    """Put responses in order."""
    return Call("/v1/rank", _said(options, responses=list(responses), rubric=rubric, **own), RankVerdict)


def preferences(responses: Sequence[Said], rubric: Rubric, options: RoutedGrading, **own: object) -> Call[Preferences]:
    """Make pairs of responses."""
    return Call("/v1/preferences", _said(options, responses=list(responses), rubric=rubric, **own), Preferences)


def rewards(items: Sequence[RewardItem], rubric: Rubric | None, options: JurySettings, **own: object) -> Call[Rewards]:
    """Grade many responses."""
    return Call("/v1/rewards", _said(options, items=list(items), rubric=rubric, **own), Rewards)


def decide(text: str | Sequence[Message], questions: Sequence[Question], model: str | None) -> Call[Decisions]:
    """Answer questions about a text or a conversation."""
    given = text if isinstance(text, str) else list(text)
    return Call("/v1/decisions", _said({}, input=given, questions=list(questions), model=model), Decisions)


def segments(response: str, labels: RewardedLabels, options: Reading, **own: object) -> Call[SegmentsVerdict]:
    """Label the parts of a response."""
    return Call("/v1/grade/segments", _said(options, response=response, labels=labels, **own), SegmentsVerdict)


def label(labels: Labels, options: Labelling, **own: object) -> Call[LabelVerdict]:
    """Label a text, or turns of a conversation."""
    return Call("/v1/grade/label", _said(options, labels=labels, **own), LabelVerdict)


def checklist(
    response: Said, questions: Sequence[str] | DrawnQuestions, options: Reading, **own: object
) -> Call[ChecklistVerdict]:
    """Answer questions about a response."""
    given = questions if isinstance(questions, Mapping) else list(questions)
    return Call("/v1/grade/checklist", _said(options, response=response, questions=given, **own), ChecklistVerdict)


def claims(response: str, options: Reading, **own: object) -> Call[ClaimsVerdict]:
    """Check what a response claims."""
    return Call("/v1/grade/claims", _said(options, response=response, **own), ClaimsVerdict)


def critique(response: Said | None, options: Reading, **own: object) -> Call[Critique]:
    """Write feedback."""
    return Call("/v1/critique", _said(options, response=response, **own), Critique)


def refine(response: Said, refined: Said, rubric: Rubric, options: Grading, **own: object) -> Call[RefineVerdict]:
    """Grade a response and its refined version."""
    body = _said(options, response=response, refined=refined, rubric=rubric, **own)
    return Call("/v1/refine", body, RefineVerdict)


RUBRICS = Call("/v1/rubrics", None, RubricList)
MODELS = Call("/v1/models", None, ModelNames)
INFO = Call("/v1/info", None, Info)


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
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    with suppress(ValidationError):
        return problem_error(ProblemDetails.model_validate_json(said))
    with suppress(ValidationError):
        return problem_error(_OpenAiError.model_validate_json(said).details(status))
    detail = said.strip()[:500] or "no reason was given"
    return problem_error(ProblemDetails(code="unknown", status=status, title="An error", detail=detail))


class _OpenAiProblem(BaseModel):
    code: str
    message: str
    param: str | None = None


class _OpenAiError(BaseModel):
    """The form of errors on OpenAI's routes."""

    error: _OpenAiProblem

    def details(self, status: int) -> ProblemDetails:
        error = self.error
        pointer = "/" + error.param.replace(".", "/") if error.param else None
        return ProblemDetails(code=error.code, status=status, title="An error", detail=error.message, pointer=pointer)


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
