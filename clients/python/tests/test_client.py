"""Both clients against a real server."""

import asyncio
import pickle

import pytest

from gavel_client import (
    AbsoluteVerdict,
    AsyncGavel,
    ChecklistVerdict,
    ConnectionFailed,
    Critique,
    Feedback,
    Gavel,
    GradedExample,
    InvalidRequest,
    Juror,
    Message,
    NotFound,
    Question,
    RelativeVerdict,
    Retry,
    RewardItem,
    ServerFailed,
    UnexpectedAnswer,
)
from gavel_client._calls import Call, InlineRubric

RUBRIC: InlineRubric = {"criterion": "Is it good?", "descriptions": {"0": "It is not.", "1": "It is."}}


def test_absolute(gavel: Gavel) -> None:
    verdict = gavel.absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, sampling={"seed": 7})
    assert verdict.score == 1
    assert verdict.reward == pytest.approx(0.75)
    assert verdict.distribution == pytest.approx({0: 0.25, 1: 0.75})
    assert verdict.feedback == "It could be worse."
    assert (verdict.model.engine, verdict.rubric.name, verdict.judgements[0].seed) == (
        "scripted",
        "inline",
        7,
    )


def test_several_criteria(gavel: Gavel) -> None:
    verdict = gavel.absolute(
        instruction="Hi.", response="Hello.", rubric=[{"rubric": RUBRIC, "weight": 2.0}, {"rubric": RUBRIC}]
    )
    assert verdict.criteria is not None
    assert [criterion.weight for criterion in verdict.criteria] == [2.0, 1.0]
    assert verdict.score is None


def test_a_conversation(gavel: Gavel) -> None:
    verdict = gavel.absolute(
        messages=[{"role": "user", "content": "Hi."}], response="Hello.", rubric="helpfulness", debug=True
    )
    assert verdict.debug is not None
    assert "Hello." in verdict.debug["prompt"]


def test_relative(gavel: Gavel) -> None:
    verdict = gavel.relative(instruction="Hi.", response_a="Hello.", response_b="Go.", rubric="helpfulness")
    assert (verdict.preference, verdict.consistent, verdict.probability_a) == ("tie", False, 0.5)
    once = gavel.relative(instruction="Hi.", response_a="Hello.", response_b="Go.", rubric="helpfulness", swap=False)
    assert (once.preference, once.judgements[0].order) == ("B", "AB")
    graded = gavel.relative(
        instruction="Hi.", response_a="EXCELLENT", response_b="AWFUL", rubric=RUBRIC, method="absolute"
    )
    assert graded.preference == "A"
    assert graded.grades is not None
    assert graded.grades["a"].reward == 1.0


def test_rank(gavel: Gavel) -> None:
    verdict = gavel.rank(
        instruction="Hi.",
        responses=["Hello.", "AWFUL", "EXCELLENT"],
        rubric=RUBRIC,
        method="absolute",
        mode="score",
    )
    assert verdict.ranking == [2, 0, 1]
    assert sum(verdict.strengths) == pytest.approx(1.0)
    pairwise = gavel.rank(instruction="Hi.", responses=["Hello.", "Go."], rubric=RUBRIC)
    assert pairwise.ties == [(0, 1)]
    assert pairwise.comparisons[0].consistent is False


def test_rewards(gavel: Gavel) -> None:
    words = ["EXCELLENT", "Hello.", "BROKEN", "UNSURE", "AWFUL"]
    items: list[RewardItem] = [{"id": word, "instruction": "Hi.", "response": word} for word in words]
    answer = gavel.rewards(items, rubric=RUBRIC, mode="score", include_verdicts=True)
    assert answer.rewards == [1.0, pytest.approx(0.75), None, None, 0.0]
    assert [error and error.code for error in answer.errors] == [
        None,
        None,
        "engine_failed",
        "low_label_mass",
        None,
    ]
    assert answer.ids == words
    assert answer.verdicts is not None
    assert isinstance(answer.verdicts[0], AbsoluteVerdict)
    assert answer.verdicts[0].score == 1


def test_normalised_rewards(gavel: Gavel) -> None:
    items: list[RewardItem] = [
        {"instruction": "Hi.", "response": word, "group": group} for group in (1, 2) for word in ("EXCELLENT", "AWFUL")
    ]
    answer = gavel.rewards(items, rubric=RUBRIC, mode="score", normalize="group")
    assert answer.rewards == [pytest.approx(0.5**0.5), pytest.approx(-(0.5**0.5))] * 2


def test_preferences(gavel: Gavel) -> None:
    answer = gavel.preferences(
        instruction="Hi.",
        responses=["AWFUL", "EXCELLENT", "BROKEN"],
        rubric=RUBRIC,
        method="absolute",
        min_margin=0.5,
    )
    [pair] = answer.pairs
    assert (pair.chosen[0].content, pair.rejected[0].content, pair.margin) == ("EXCELLENT", "AWFUL", 1.0)
    assert [(left.responses, left.reason) for left in answer.left_out] == [([2], "engine_failed")]


def test_decisions(gavel: Gavel) -> None:
    answer = gavel.decide(
        "The sea is blue.",
        [
            {"type": "predicate", "name": "water", "instructions": "It is about water."},
            {"type": "choice", "instructions": "What is it about?", "choices": [{"value": "water"}, {"value": False}]},
            {"type": "score", "instructions": "How true is it?", "levels": [{"label": "false"}, {"label": "true"}]},
        ],
    )
    assert [given.type for given in answer.answers] == ["predicate", "choice", "score"]
    first, second, third = answer.answers
    assert first.type == "predicate"
    assert (first.name, 0.0 <= first.probability <= 1.0) == ("water", True)
    assert second.type == "choice"
    assert {given.value for given in second.probabilities} == {"water", False}
    assert third.type == "score"
    assert 0.0 <= third.score <= 1.0
    [refused] = gavel.decide("UNSURE", [{"type": "predicate", "instructions": "It is true."}]).answers
    assert refused.type == "refusal"
    with pytest.raises(InvalidRequest, match="questions") as wrong:
        gavel.decide("The sea is blue.", [])
    assert (wrong.value.code, wrong.value.pointer) == ("invalid_request", "/questions")
    with pytest.raises(NotFound, match="unknown_model"):
        gavel.decide("Hi.", [{"type": "predicate", "instructions": "It is true."}], model="nothing")


def test_segments(gavel: Gavel) -> None:
    response = "It is blué. It could be worse!"
    verdict = gavel.segments(instruction="Hi.", response=response, labels={"none": 0.0, "object": {"reward": -1.0}})
    assert [response[part.start : part.end] for part in verdict.segments] == [part.text for part in verdict.segments]
    assert [part.label for part in verdict.segments] == ["object", "object"]
    assert verdict.reward == pytest.approx(-0.75)
    one = gavel.segments(
        instruction="Hi.",
        response=response,
        segments=[{"start": 6, "end": 10}],
        labels="hallucination",
        scope="before",
    )
    assert ([part.text for part in one.segments], one.rubric.name) == (["blué"], "hallucination")


def test_labels(gavel: Gavel) -> None:
    labels = {"bad": "It is not liked.", "good": "It is liked."}
    [only] = gavel.label(text="I like it.", labels=labels).labels
    assert (only.turn, only.label) == (None, "good")
    assert only.distribution["good"] == pytest.approx(0.75)
    turns: list[Message] = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}] * 2
    verdict = gavel.label(messages=turns, turn="each_user", labels=labels)
    assert [label.turn for label in verdict.labels] == [0, 2]


def test_a_checklist(gavel: Gavel) -> None:
    verdict = gavel.checklist(instruction="Hi.", response="Hello.", questions=["Is it rude?", "Is it short?"])
    assert [(item.question, item.answer) for item in verdict.items] == [("Is it rude?", "no"), ("Is it short?", "no")]
    assert verdict.passed
    assert verdict.reward == pytest.approx(0.25)
    gated = gavel.checklist(instruction="Hi.", response="Hello.", questions=["Is it short?"], gates=[0])
    assert (gated.passed, gated.reward) == (False, 0.0)
    drawn = gavel.checklist(
        instruction="Hi.", response="Hello.", questions={"draw": {"from": "rubric", "count": 1}}, rubric=RUBRIC
    )
    assert len(drawn.items) == 1


def test_claims(gavel: Gavel) -> None:
    verdict = gavel.claims(instruction="Hi.", response="A. B.", claims=["A.", "B."], context=[{"text": "C."}])
    assert (verdict.against, verdict.precision, verdict.recall, verdict.f1) == ("context", 0.0, None, None)
    assert [(claim.start, claim.end) for claim in verdict.claims] == [(0, 2), (3, 5)]
    with pytest.raises(InvalidRequest, match="reference_answer"):
        gavel.claims(instruction="Hi.", response="A. B.")


def test_a_critique(gavel: Gavel) -> None:
    critique = gavel.critique(instruction="Hi.", response="Hello.")
    assert (critique.feedback, critique.finish, critique.rubric) == ("It could be worse.", "stop", None)
    *feedback, whole = gavel.stream_critique(instruction="Hi.", response="Go.", rubric="helpfulness")
    assert isinstance(whole, Critique)
    assert "".join(piece.delta for piece in feedback if isinstance(piece, Feedback)) == whole.feedback


def test_a_refinement(gavel: Gavel) -> None:
    verdict = gavel.refine(
        instruction="Hi.", response="AWFUL", refined="EXCELLENT", feedback="Be kind.", rubric=RUBRIC, mode="score"
    )
    assert (verdict.gain, verdict.probability_better) == (1.0, 1.0)
    assert (verdict.response.reward, verdict.refined.reward) == (0.0, 1.0)
    assert verdict.feedback_taken is not None
    assert verdict.feedback_taken.probability == 0.0


def test_what_a_server_is(gavel: Gavel) -> None:
    assert gavel.ready()
    info = gavel.info()
    assert info.model is not None
    assert (info.engine, info.models[0].state, info.limits.deadline_ms) == ("scripted", "loaded", 600000)
    assert gavel.models()[0] == info.model.name
    rubric = next(rubric for rubric in gavel.rubrics() if rubric.name == "helpfulness")
    assert rubric.built_in
    assert len(rubric.descriptions) == 5


def test_streams(gavel: Gavel) -> None:
    *feedback, verdict = gavel.stream_absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, cache=False)
    assert isinstance(verdict, AbsoluteVerdict)
    assert "".join(piece.delta for piece in feedback if isinstance(piece, Feedback)) == verdict.feedback
    assert len(feedback) > 1
    events = list(gavel.stream_relative(instruction="Hi.", response_a="A.", response_b="B.", rubric=RUBRIC))
    assert isinstance(events[-1], RelativeVerdict)
    assert {event.order for event in events if isinstance(event, Feedback)} == {"AB", "BA"}


def test_problems_are_exceptions(gavel: Gavel) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        gavel.absolute(instruction="Hi.", response=" ", rubric=RUBRIC)
    assert (invalid.value.code, invalid.value.pointer, invalid.value.status) == (
        "invalid_request",
        "/response",
        422,
    )
    assert invalid.value.request_id.startswith("req_")
    assert invalid.value.detail in str(invalid.value)
    with pytest.raises(NotFound, match="unknown_rubric at /rubric"):
        gavel.absolute(instruction="Hi.", response="Hello.", rubric="nothing")
    with pytest.raises(InvalidRequest):
        next(gavel.stream_absolute(instruction="Hi.", response=" ", rubric=RUBRIC))
    again = pickle.loads(pickle.dumps(invalid.value))
    assert (again.code, str(again)) == (invalid.value.code, str(invalid.value))


def test_a_failing_engine_is_tried_again(url: str) -> None:
    waits: list[float] = []
    with (
        Gavel(url, retry=Retry(retries=2), sleep=waits.append) as gavel,
        pytest.raises(ServerFailed) as failed,
    ):
        gavel.absolute(instruction="Hi.", response="BROKEN", rubric=RUBRIC)
    assert (failed.value.code, len(waits)) == ("engine_failed", 2)


def test_nobody_there() -> None:
    waits: list[float] = []
    gone = Gavel("http://127.0.0.1:9", retry=Retry(retries=1), sleep=waits.append)
    with gone as gavel, pytest.raises(ConnectionFailed, match="http://127"):
        gavel.rank(instruction="Hi.", responses=["A.", "B."], rubric="helpfulness")
    assert len(waits) == 1


def test_some_other_server(gavel: Gavel) -> None:
    with pytest.raises(NotFound):
        gavel.post("/v1/nothing", {})
    with pytest.raises(UnexpectedAnswer):
        Gavel._ask(gavel, _wrong_form())


def _wrong_form() -> Call[RelativeVerdict]:
    return Call(
        "/v1/grade/absolute",
        {"instruction": "Hi.", "response": "Hello.", "rubric": "helpfulness"},
        RelativeVerdict,
    )


def test_asynchronous(url: str) -> None:
    async def all_of_it() -> None:
        async with AsyncGavel(url) as gavel:
            one, other = await asyncio.gather(
                gavel.absolute(instruction="Hi.", response="EXCELLENT", rubric=RUBRIC),
                gavel.absolute(instruction="Hi.", response="AWFUL", rubric=RUBRIC),
            )
            assert (one.reward, other.reward) == (1.0, 0.0)
            compared = await gavel.relative(instruction="Hi.", response_a="A.", response_b="B.", rubric=RUBRIC)
            assert compared.consistent is False
            ranked = await gavel.rank(
                instruction="Hi.", responses=["AWFUL", "EXCELLENT"], rubric=RUBRIC, method="absolute"
            )
            assert ranked.ranking == [1, 0]
            rewards = await gavel.rewards([{"instruction": "Hi.", "response": "AWFUL"}], rubric=RUBRIC)
            assert rewards.rewards == [0.0]
            made = await gavel.preferences(
                instruction="Hi.", responses=["AWFUL", "EXCELLENT"], rubric=RUBRIC, method="absolute"
            )
            assert len(made.pairs) == 1
            assert await gavel.ready()
            assert (await gavel.models())[0] == (await gavel.info()).models[0].name
            assert len(await gavel.rubrics()) > 1
            question: Question = {"type": "predicate", "instructions": "It is true."}
            assert len((await gavel.decide([{"role": "user", "content": "Hi."}], [question])).answers) == 1
            labelled = await gavel.segments(instruction="Hi.", response="Hello.", labels={"none": 0.0, "rude": -1.0})
            assert labelled.segments[0].label == "rude"
            assert (await gavel.critique(instruction="Hi.", response="Hello.")).feedback
            stream = gavel.stream_absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, cache=False)
            events = [event async for event in stream]
            assert isinstance(events[0], Feedback)
            assert isinstance(events[-1], AbsoluteVerdict)
            both = [
                event
                async for event in gavel.stream_relative(
                    instruction="Hi.", response_a="A.", response_b="B.", rubric=RUBRIC
                )
            ]
            assert isinstance(both[-1], RelativeVerdict)
            with pytest.raises(InvalidRequest):
                await gavel.absolute(instruction="Hi.", response=" ", rubric=RUBRIC)

    asyncio.run(all_of_it())


def test_routing_to_people(gavel: Gavel) -> None:
    verdict = gavel.absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, route={"budget": 1, "enqueue": True})
    assert verdict.route == "human"
    assert verdict.review_id is not None
    assert verdict.review_id.startswith("rev_")
    assert verdict.route_score is not None
    assert 0 <= verdict.route_score <= 1
    pair = gavel.relative(instruction="Hi.", response_a="Hello.", response_b="Bye.", rubric=RUBRIC, route={"budget": 0})
    assert (pair.route, pair.review_id) == ("ai", None)
    made = gavel.preferences(
        instruction="Hi.", responses=["Hello.", "Bye."], rubric=RUBRIC, pairs="all", route={"threshold": 0}
    )
    assert [one.route for one in [*made.pairs, *made.left_out]] == ["human"]
    assert gavel.absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC).route is None


def test_a_jury(gavel: Gavel) -> None:
    verdict = gavel.absolute(
        instruction="Hi.",
        response="Hello.",
        rubric=RUBRIC,
        judges=[{"annotator": "parent"}, {"annotator": "expert", "weight": 2.0}],
        noise={"flip": 0.0},
    )
    assert verdict.jurors is not None
    assert [juror.verdict.reward for juror in verdict.jurors if juror.verdict] == pytest.approx([0.75, 0.75])
    assert (verdict.combine, verdict.spread, verdict.kappa, verdict.model.engine) == ("weighted", 0.0, 1.0, "jury")
    rewards = gavel.rewards(
        [{"instruction": "Hi.", "response": "Hello."}], rubric=RUBRIC, judges=["scripted"], include_verdicts=True
    )
    assert rewards.verdicts is not None
    assert isinstance(rewards.verdicts[0], AbsoluteVerdict)
    assert rewards.verdicts[0].quorum == 1
    judges: list[str | Juror] = [{"annotator": "parent"}, {"annotator": "expert"}]
    ranked = gavel.rank(
        instruction="Hi.", responses=["AWFUL", "EXCELLENT"], rubric=RUBRIC, judges=judges, method="absolute"
    )
    assert ranked.ranking == [1, 0]
    assert ranked.jurors is not None
    assert [juror.verdict.ranking for juror in ranked.jurors if juror.verdict] == [[1, 0], [1, 0]]
    made = gavel.preferences(
        instruction="Hi.", responses=["AWFUL", "EXCELLENT"], rubric=RUBRIC, judges=judges, method="absolute"
    )
    assert made.jurors is not None
    assert [len(juror.verdict.pairs) for juror in made.jurors if juror.verdict] == [1, 1]


def test_examples(gavel: Gavel) -> None:
    example: GradedExample = {"instruction": "Hi.", "response": "Bye.", "score": 0, "feedback": "It leaves."}
    verdict = gavel.absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, examples=[example], debug=True)
    assert verdict.examples is not None
    assert verdict.examples.name == "inline"
    messages = verdict.judgements[0].messages
    assert messages is not None
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content.startswith("It leaves.")
    with pytest.raises(InvalidRequest) as refused:
        gavel.absolute(instruction="Hi.", response="Hello.", rubric=RUBRIC, examples="house")
    assert refused.value.pointer == "/examples"


def test_rewards_by_other_methods(gavel: Gavel) -> None:
    items: list[RewardItem] = [
        {"instruction": "Hi.", "response": "Hello."},
        {"instruction": "Hi.", "response": "Hello.", "method": {"name": "yes_no", "question": "Is it polite?"}},
        {"instruction": "Hi.", "response": "Hello.", "method": "claims"},
    ]
    answer = gavel.rewards(items, method={"name": "checklist", "questions": ["Is it short?"]}, include_verdicts=True)
    assert [error and error.pointer for error in answer.errors] == [None, None, "/items/2/reference_answer"]
    assert answer.verdicts is not None
    assert [type(verdict) for verdict in answer.verdicts[:2]] == [ChecklistVerdict, ChecklistVerdict]


def test_samples_until_they_settle(gavel: Gavel) -> None:
    verdict = gavel.absolute(
        instruction="Hi.",
        response="Hello.",
        rubric=RUBRIC,
        samples={"max": 16, "settle": 0.95},
        sampling={"temperature": 0.7, "seed": 1},
    )
    assert (verdict.samples_used, len(verdict.judgements)) == (4, 4)
