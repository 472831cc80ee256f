"""What the server answers. Fields that a newer server adds are kept and do no harm."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator

from ._errors import ProblemDetails


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class NamedDigest(_Answer):
    """A rubric or a prompt, and the digest of its content."""

    name: str
    digest: str


class ModelRef(NamedDigest):
    """The model that judged."""

    engine: str


class Usage(_Answer):
    """Tokens that a verdict took."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    #: Tokens of pictures, which are among those of the prompts.
    image_tokens: int = 0


class TimingMs(_Answer):
    """Where the time went, in milliseconds."""

    queue: float
    prefill: float
    decode: float
    total: float


class SeenPicture(_Answer):
    """A picture that the model saw: where the request has it, the SHA-256 of its file, its size, and its tokens."""

    pointer: str
    sha256: str
    width: int
    height: int
    tokens: int


class _Produced(_Answer):
    """What every verdict says of how it came about."""

    id: str
    object: str
    model: ModelRef
    prompt: NamedDigest
    usage: Usage
    timing_ms: TimingMs
    sampling: dict[str, Any]
    version: str
    cached: bool
    annotator: NamedDigest | None = None
    pictures: list[SeenPicture] = []
    eyes: str | None = None
    examples: NamedDigest | None = None
    samples_used: int | None = None
    debug: dict[str, Any] | None = None


class _Sourced(_Produced):
    """The same for a verdict by a rubric, or by a set of labels."""

    rubric: NamedDigest


class ChatMessage(_Answer):
    """A turn of a conversation."""

    role: str
    content: str


class AbsoluteJudgement(_Answer):
    """What one run of the judging script said of a response."""

    sample: int
    seed: int
    score: int
    distribution: dict[int, float]
    label_mass: float
    feedback: str | None
    finish: str
    thoughts: str | None = None
    thoughts_finish: str | None = None
    messages: list[ChatMessage] | None = None
    answer: str | None = None


class Calibration(_Answer):
    """What made the reward, or of a pair `probability_a`, of the judge's own."""

    digest: str
    raw_reward: float


class _Graded(_Answer):
    """Score and distribution; None at the top of a verdict on several criteria."""

    score: int | None
    expected_score: float | None
    reward: float
    distribution: dict[int, float] | None
    label_mass: float
    entropy: float | None
    feedback: str | None
    judgements: list[AbsoluteJudgement]
    agreement: float | None
    calibration: Calibration | None = None
    thoughts: str | None = None


class CriterionVerdict(_Graded):
    """The verdict on one criterion of several."""

    rubric: NamedDigest
    weight: float


class _Juror(_Answer):
    """What a juror said, before label noise: a verdict, or an error."""

    judge: str
    weight: float | None = None
    flipped: bool | None = None
    error: ProblemDetails | None = None


class _OfJury(_Answer):
    """What the verdict of a jury says beside; None if one judge judged."""

    combine: Literal["mean", "majority", "weighted"] | None = None
    quorum: int | None = None
    noise: dict[str, Any] | None = None
    spread: float | None = None
    kappa: float | None = None


class _Routed(_Answer):
    """Where it was routed to, if that was asked for: None if not."""

    route: Literal["ai", "human"] | None = None
    route_score: float | None = None
    router: NamedDigest | None = None
    review_id: str | None = None


class AbsoluteVerdict(_Sourced, _Graded, _OfJury, _Routed):
    """The verdict on a response. `reward` is the expected score on 0..1."""

    criteria: list[CriterionVerdict] | None = None
    jurors: "list[AbsoluteJuror] | None" = None


class AbsoluteJuror(_Juror):
    """A juror of `AbsoluteVerdict`."""

    verdict: AbsoluteVerdict | None = None


class RelativeJudgement(_Answer):
    """What one run of the judging script said of two responses, in the caller's terms."""

    sample: int
    seed: int
    order: Literal["AB", "BA"] | None
    preference: Literal["A", "B", "tie"]
    probability_a: float
    label_mass: float
    feedback: str | None
    finish: str
    thoughts: str | None = None
    thoughts_finish: str | None = None
    messages: list[ChatMessage] | None = None
    answer: str | None = None


class Grade(_Answer):
    """The verdict on one response of several; one entry a criterion."""

    reward: float
    criteria: list[_Graded]


class RelativeVerdict(_Sourced, _OfJury, _Routed):
    """Which of two responses is better. Exchanging them gives 1 - `probability_a`."""

    preference: Literal["A", "B", "tie"]
    probability_a: float
    consistent: bool | None
    label_mass: float
    feedback: str | None
    judgements: list[RelativeJudgement]
    method: Literal["pairwise", "absolute"] | None = None
    grades: dict[Literal["a", "b"], Grade] | None = None
    calibration: Calibration | None = None
    thoughts: str | None = None
    jurors: "list[RelativeJuror] | None" = None


class RelativeJuror(_Juror):
    """A juror of `RelativeVerdict`."""

    verdict: RelativeVerdict | None = None


class Comparison(_Answer):
    """One comparison; `a` and `b` are places in the list of responses."""

    a: int
    b: int
    preference: Literal["A", "B", "tie"]
    probability_a: float
    consistent: bool | None
    label_mass: float
    feedback: str | None
    calibration: Calibration | None = None


class RankVerdict(_Sourced, _OfJury):
    """Responses in order: `ranking` has their places, best first; `strengths` sum to 1."""

    ranking: list[int]
    strengths: list[float]
    ties: list[tuple[int, int]]
    comparisons: list[Comparison]
    grades: list[Grade] | None = None
    label_mass: float
    method: Literal["pairwise", "absolute"] | None = None
    jurors: "list[RankJuror] | None" = None


class RankJuror(_Juror):
    """A juror of `RankVerdict`."""

    verdict: RankVerdict | None = None


class PreferencePair(_Routed):
    """A pair in the conversational format that TRL's DPOTrainer reads."""

    prompt: list[ChatMessage]
    chosen: list[ChatMessage]
    rejected: list[ChatMessage]
    score_chosen: float
    score_rejected: float
    margin: float
    consistent: bool | None


class LeftOut(_Routed):
    """Responses that became no pair, and why."""

    responses: list[int]
    reason: str
    detail: str


class Preferences(_Sourced, _OfJury):
    """Pairs to learn from, and what became none."""

    pairs: list[PreferencePair]
    left_out: list[LeftOut]
    method: Literal["pairwise", "absolute"] | None = None
    jurors: "list[PreferencesJuror] | None" = None


class PreferencesJuror(_Juror):
    """A juror of `Preferences`."""

    verdict: Preferences | None = None


class _Chosen(_Answer):
    """The most probable label, and the probability of each."""

    label: str
    distribution: dict[str, float]
    label_mass: float


class Segment(_Chosen):
    """A part of a response, `response[start:end]`; `reward` is the mean of the labels' under the distribution."""

    start: int
    end: int
    text: str
    reward: float


class SegmentsVerdict(_Sourced):
    """The labels of a response's segments; `reward` is the mean of theirs."""

    segments: list[Segment]
    reward: float
    label_mass: float


class TurnLabel(_Chosen):
    """The label of a turn: its place in the conversation, None for a text."""

    turn: int | None


class LabelVerdict(_Sourced):
    """The labels of a text, or of turns."""

    labels: list[TurnLabel]
    label_mass: float


class ChecklistItem(_Answer):
    """An answered question; `probability` is that of yes."""

    question: str
    answer: Literal["yes", "no"]
    probability: float
    label_mass: float


class ChecklistVerdict(_Produced):
    """Answers about a response; `reward` is the mean probability of yes, or 0 if a gate has a no."""

    items: list[ChecklistItem]
    passed: bool
    reward: float
    label_mass: float


class Claim(_Answer):
    """A claim; `start` and `end` are there where the response has its very words."""

    text: str
    start: int | None = None
    end: int | None = None
    supported: bool
    probability: float
    label_mass: float


class ClaimsVerdict(_Produced):
    """Which claims of a response are supported. `recall` and `f1` are None without a reference."""

    against: Literal["reference", "context", "pictures"]
    claims: list[Claim]
    reference_claims: list[Claim]
    precision: float
    recall: float | None
    f1: float | None
    label_mass: float


class Critique(_Produced):
    """Feedback without a score."""

    feedback: str
    finish: Literal["stop", "length"]
    rubric: NamedDigest | None = None


class FeedbackTaken(_Answer):
    """How probable it is that a refined version does what the feedback asks for."""

    probability: float
    label_mass: float


class RefineVerdict(_Sourced):
    """A response and its refined version, graded alone; `gain` is the difference of their rewards."""

    response: Grade
    refined: Grade
    gain: float
    probability_better: float
    feedback_taken: FeedbackTaken | None = None
    label_mass: float


#: The verdict behind a reward, by the method of the item.
RewardVerdict: TypeAlias = AbsoluteVerdict | ChecklistVerdict | ClaimsVerdict


class Rewards(_Answer):
    """A reward an item, in their order. It is None where `errors` says why; a failure is never a low reward."""

    rewards: list[float | None]
    errors: list[ProblemDetails | None]
    ids: list[str | int | None] | None = None
    verdicts: list[RewardVerdict | None] | None = None


class Feedback(_Answer):
    """A piece of feedback, as it is written; `judge` is the juror, if a jury judges."""

    judge: str | None = None
    sample: int
    order: Literal["AB", "BA"] | None = None
    criterion: int = 0
    response: str | None = None
    delta: str


class RubricEntry(NamedDigest):
    """A rubric of the server's library."""

    criterion: str
    descriptions: dict[str, str]
    built_in: bool


class RubricList(_Answer):
    """All rubrics, by name."""

    data: list[RubricEntry]


class ModelName(_Answer):
    """A name that `model` takes."""

    id: str


class ModelNames(_Answer):
    """The hosted models, the default one first; then the judge models; then the aliases."""

    data: list[ModelName]


class LoadedModel(_Answer):
    """The model of requests that name none. `context` is the maximum of tokens, of prompt and answer together."""

    name: str
    digest: str
    context: int
    prompt: str


class HostedModel(_Answer):
    """A model of the server; what is not known before it is loaded is None."""

    name: str
    state: Literal["loaded", "loading", "unloaded", "failed"]
    engine: str | None = None
    digest: str | None = None
    context: int | None = None
    prompt: str | None = None
    preference_method: Literal["pairwise", "absolute"] | None = None


class Limits(_Answer):
    """Limits of requests."""

    body_bytes: int
    in_flight: int
    queue: int
    deadline_ms: int
    sequences: int | None = None


class Info(_Answer):
    """What a server is: `model` is None until it is loaded."""

    name: str
    version: str
    engine: str | None
    model: LoadedModel | None
    models: list[HostedModel]
    limits: Limits
    features: list[str]
    prompts: list[str]
    annotators: list[str] = []
    examples: list[str] = []
    juries: list[str] = []


class PredicateAnswer(_Answer):
    """How probable a statement is."""

    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(_Answer):
    """The probability of a value."""

    value: str | bool
    probability: float


class ChoiceAnswer(_Answer):
    """The most probable value. `confidence` is 0 if all are equally probable, 1 if one is certain."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(_Answer):
    """The probability of a level; `value` is its place, counted from 0."""

    label: str
    value: int
    probability: float


class ScaleAnswer(_Answer):
    """The mean of the levels' places, counted from 0."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class Refusal(_Answer):
    """The label mass is too low: an answer would be a forced guess."""

    type: Literal["refusal"]
    name: str | None


#: What `decide` gives for a question.
DecisionAnswer: TypeAlias = PredicateAnswer | ChoiceAnswer | ScaleAnswer | Refusal


class Decisions(_Answer):
    """An answer for each question, in their order."""

    model: str
    answers: list[Annotated[DecisionAnswer, Discriminator("type")]]
    usage: dict[str, Any]
