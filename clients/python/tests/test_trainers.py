"""What trainers and data sets call, against a real server, or one that remembers what it was asked."""

import asyncio
import importlib.util
import json
import logging
import math
import multiprocessing
import os
import pickle
import sys
from types import ModuleType
from typing import Any

import pytest

import gavel_client.openrlhf
import gavel_client.verl
from gavel_client import (
    BadItem,
    ConnectionFailed,
    GavelReward,
    InvalidRequest,
    Judge,
    NotFound,
    Problem,
    Retry,
    ServerFailed,
    _pools,
)

from .conftest import Recorder
from .test_client import RUBRIC

OTHER = {"criterion": "Is it short?", "descriptions": {"1": "No.", "2": "Yes."}}


def test_trl_gives_none_where_an_item_failed(url: str) -> None:
    reward = GavelReward(url, rubric=RUBRIC, reference_column="answer", name="judge")
    assert reward.__name__ == "judge"
    for function in (reward, pickle.loads(pickle.dumps(reward))):
        rewards = function(
            prompts=["Hi."] * 4,
            completions=["EXCELLENT", "UNSURE", "BROKEN", "AWFUL"],
            completion_ids=[[1], [2], [3], [4]],
            answer=["Hello."] * 4,
            trainer_state=None,
        )
        assert rewards == [1.0, None, None, 0.0]


def test_trl_conversations(url: str) -> None:
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi."}]
    completion = [{"role": "assistant", "content": "EXCELLENT"}]
    assert GavelReward(url, rubric=RUBRIC)([prompt], [completion]) == [1.0]


def test_trl_fills_with_the_mean_of_the_group(url: str) -> None:
    reward = GavelReward(url, rubric=RUBRIC, missing="group_mean")
    prompts = ["One."] * 3 + ["Two."] * 2 + ["Three."]
    completions = ["EXCELLENT", "AWFUL", "UNSURE", "EXCELLENT", "BROKEN", "BROKEN"]
    assert reward(prompts, completions) == [1.0, 0.0, 0.5, 1.0, 1.0, None]


def test_trl_may_raise(url: str) -> None:
    with pytest.raises(Problem, match=r"low_label_mass.*items\[1\]"):
        GavelReward(url, rubric=RUBRIC, missing="raise")(["Hi."] * 2, ["EXCELLENT", "UNSURE"])
    with pytest.raises(Problem, match="unknown_rubric"):
        GavelReward(url, rubric="nothing")(["Hi."], ["Hello."])


def test_trl_has_rubrics_of_rows(recorder: Recorder) -> None:
    reward = GavelReward(recorder.url, rubric="helpfulness", rubric_column="how", reference_column="answer")
    how = [None, "factuality", OTHER, [{"rubric": OTHER, "weight": 2.0}], json.dumps(OTHER)]
    rewards = reward(["Hi."] * 5, ["Hello."] * 5, how=how, answer=["Hello.", math.nan, None, 4, " "])
    assert rewards == [0.5] * 5
    assert recorder.bodies[0]["rubric"] == "helpfulness"
    assert recorder.bodies[0]["mode"] == "score"
    common = {"response": "Hello.", "instruction": "Hi."}
    assert recorder.items == [
        {**common, "reference_answer": "Hello."},
        {**common, "rubric": "factuality"},
        {**common, "rubric": OTHER},
        {**common, "rubric": [{"rubric": OTHER, "weight": 2.0}], "reference_answer": "4"},
        {**common, "rubric": OTHER},
    ]
    GavelReward(recorder.url, rubric_column="how")(["Hi."], ["Hello."], how=["factuality"])
    assert "rubric" not in recorder.bodies[-1]
    with pytest.raises(BadItem, match=r"items\[1\]: neither 'how' nor `rubric`") as bad:
        GavelReward(recorder.url, rubric_column="how")(["Hi."] * 2, ["Hello."] * 2, how=["factuality", None])
    assert (bad.value.index, str(pickle.loads(pickle.dumps(bad.value)))) == (1, str(bad.value))
    with pytest.raises(BadItem, match=r"items\[0\]: the completion is missing"):
        GavelReward(recorder.url, rubric="helpfulness")(["Hi."], [None])  # type: ignore[list-item]
    with pytest.raises(KeyError, match="did you mean"):
        GavelReward(recorder.url, rubric_column="hov")(["Hi."], ["Hello."], how=["factuality"])


def test_rubrics_of_rows(url: str) -> None:
    reward = GavelReward(url, rubric_column="how", mode="feedback")
    reward.check()
    rewards = reward(["Hi."] * 3, ["Hello.", "EXCELLENT", "EXCELLENT"], how=[RUBRIC, RUBRIC, "no such rubric"])
    assert rewards == [pytest.approx(0.75), 1.0, None]


def test_rubrics_in_labels(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAVEL_URL", url)
    monkeypatch.setenv("GAVEL_LABELS", "json")
    monkeypatch.delenv("GAVEL_RUBRIC", raising=False)
    label = json.dumps({"rubric": RUBRIC, "reference_answer": "Hello."})
    assert gavel_client.openrlhf.grade(["Hi.EXCELLENT"], ["Hi."], [label])["rewards"] == [1.0]


def test_trl_and_empty_completions(url: str, recorder: Recorder) -> None:
    prompts, completions = ["Hi."] * 3, ["", "\u200b\n", "EXCELLENT"]
    assert GavelReward(url, rubric=RUBRIC)(prompts, completions) == [pytest.approx(0.75), pytest.approx(0.75), 1.0]
    assert GavelReward(url, rubric=RUBRIC, empty="zero")(prompts, completions) == [0.0, 0.0, 1.0]
    missing = GavelReward(recorder.url, rubric=RUBRIC, empty="missing")
    assert missing(prompts, completions) == [None, None, 0.5]
    assert len(recorder.items) == 1
    assert missing(prompts[:2], completions[:2]) == [None, None]
    assert len(recorder.bodies) == 1, "there was nothing to ask about"
    assert GavelReward(url, rubric=RUBRIC, empty="missing", missing="group_mean")(prompts, completions) == [1.0] * 3


def test_trl_logs(url: str, caplog: pytest.LogCaptureFixture) -> None:
    metrics: dict[str, float] = {}
    columns: dict[str, list[str | None]] = {}
    reward = GavelReward(url, rubric=RUBRIC, name="judge")
    prompts, completions = ["Hi."] * 4, ["EXCELLENT", "UNSURE", "BROKEN", "AWFUL"]
    reward(prompts, completions, log_metric=metrics.__setitem__, log_extra=columns.__setitem__)
    assert metrics == {"judge/unscored": 0.5, "judge/label_mass": pytest.approx((1.0 + 0.02 + 1.0) / 3)}
    assert columns == {"judge_error": [None, "low_label_mass", "engine_failed", None]}
    assert "2 of 4 completions have no reward: engine_failed, low_label_mass" in caplog.text
    with caplog.at_level(logging.INFO):
        reward(prompts, completions)
    assert "judge/label_mass: 0.67" in caplog.text


def test_check(url: str) -> None:
    for maker in (GavelReward, Judge):
        info = maker(url, rubric=RUBRIC).check()
        assert info.name == "gavel"
        with pytest.raises(NotFound, match="unknown_rubric"):
            maker(url, rubric="nothing").check()
        with pytest.raises(NotFound, match="unknown_model"):
            maker(url, rubric=RUBRIC, model="nothing").check()
        with pytest.raises(InvalidRequest, match="at /prompt"):
            maker(url, rubric=RUBRIC, prompt="nothing").check()
        with pytest.raises(Problem, match="samples"):
            maker(url, rubric=RUBRIC, samples=1000).check()
        with pytest.raises(ConnectionFailed):
            maker("http://127.0.0.1:9", rubric=RUBRIC, retry=Retry(retries=0)).check()


def _client_of_the_child(reward: GavelReward, parents: int, told: Any) -> None:  # noqa: ANN401
    told.put((os.getpid(), id(reward._bulk.connection.client()) != parents, reward(["Hi."], ["EXCELLENT"])))


@pytest.mark.filterwarnings("ignore:This process")
def test_a_fork_has_connections_of_its_own(url: str) -> None:
    reward = GavelReward(url, rubric=RUBRIC)
    assert reward(["Hi."], ["EXCELLENT"]) == [1.0]
    client = reward._bulk.connection.client()
    assert GavelReward(url, rubric="helpfulness")._bulk.connection.client() is client
    assert pickle.loads(pickle.dumps(reward))._bulk.connection.client() is client
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    child = context.Process(target=_client_of_the_child, args=(reward, id(client), told))
    child.start()
    pid, another, rewards = told.get(timeout=30)
    child.join()
    assert (pid, another, rewards) == (child.pid, True, [1.0])


def test_verl(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAVEL_URL", url)
    score = gavel_client.verl.compute_score

    def of(solution: str) -> dict[str, float]:
        return score("gsm8k", solution, "Hello.", {"question": "Hi."}, rubric=RUBRIC, reward_router_address=None)

    assert of("EXCELLENT") == {"score": 1.0, "label_mass": pytest.approx(1.0)}
    with pytest.raises(ServerFailed):
        of("BROKEN")
    with pytest.raises(KeyError, match="instruction_key"):
        score("gsm8k", "EXCELLENT", None, {"problem": "Hi."}, rubric=RUBRIC)
    with pytest.raises(ValueError, match="GAVEL_RUBRIC"):
        score("gsm8k", "EXCELLENT", None, {"question": "Hi."})
    later = gavel_client.verl.compute_score_async("gsm8k", "AWFUL", None, {"question": "Hi."}, rubric=RUBRIC)
    assert asyncio.run(later)["score"] == 0.0


def test_verl_has_rubrics_of_items(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAVEL_URL", recorder.url)
    monkeypatch.delenv("GAVEL_RUBRIC", raising=False)
    score = gavel_client.verl.compute_score
    of_verl = {"reward_router_address": "http://127.0.0.1:1", "reward_model_tokenizer": object()}
    extra = {"question": "Hi.", "how": OTHER}
    given = score("x", "Hello.", math.nan, extra, rubric_key="how", mode="feedback", model="m", **of_verl)
    assert given == {"score": 0.5, "label_mass": 0.9}
    assert recorder.items == [{"instruction": "Hi.", "response": "Hello.", "rubric": OTHER}]
    assert {key: recorder.bodies[0].get(key) for key in ("rubric", "mode", "model")} == {
        "rubric": None,
        "mode": "feedback",
        "model": "m",
    }
    with pytest.raises(KeyError, match="rubric_key"):
        score("x", "Hello.", None, {"question": "Hi."}, rubric_key="how")
    with pytest.raises(ValueError, match="a reference is one text"):
        score("x", "Hello.", ["4", "four"], extra, rubric_key="how")
    score("x", "Hello.", ["4", "four"], extra, rubric_key="how", use_ground_truth=False)
    assert "reference_answer" not in recorder.items[0]


def test_verl_and_empty_solutions(url: str) -> None:
    def of(**keywords: Any) -> dict[str, float]:  # noqa: ANN401
        return gavel_client.verl.compute_score(
            "x", " ", None, {"question": "Hi."}, base_url=url, rubric=RUBRIC, **keywords
        )

    assert of()["score"] == pytest.approx(0.75)
    assert of(empty="zero") == {"score": 0.0, "label_mass": 1.0}


def test_verl_keeps_its_connections(recorder: Recorder) -> None:
    async def of(solution: str) -> float:
        given = gavel_client.verl.compute_score_async(
            "x", solution, None, {"question": "Hi."}, base_url=recorder.url, rubric="helpfulness"
        )
        return (await given)["score"]

    async def one_after_the_other() -> list[float]:
        return [await of(str(number)) for number in range(5)]

    assert asyncio.run(one_after_the_other()) == [0.5] * 5
    assert len(recorder.connections) == 1
    assert asyncio.run(one_after_the_other()) == [0.5] * 5
    assert len(recorder.connections) == 2, "another event loop has a connection of its own"
    assert len(_pools._loops) == 1, "the loop that was closed is forgotten"


def loaded_by_its_path(path: str) -> Any:  # noqa: ANN401
    spec = importlib.util.spec_from_file_location("reward_func", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_openrlhf_loads_the_file(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    torch.tensor = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("GAVEL_URL", url)
    monkeypatch.setenv("GAVEL_RUBRIC", "correctness")
    module = loaded_by_its_path(gavel_client.openrlhf.__file__)
    prompt = "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"
    queries = [prompt + "EXCELLENT<|im_end|>", prompt + "AWFUL<|im_end|>"]
    answer = module.reward_func(queries, [prompt, prompt], ["Hello.", None])
    assert (answer["rewards"], answer["scores"]) == ([1.0, 0.0], [1.0, 0.0])
    assert all(isinstance(number, float) for numbers in answer["extra_logs"].values() for number in numbers)
    with pytest.raises(Problem, match="low_label_mass"):
        module.reward_func([prompt + "UNSURE<|im_end|>"], [prompt], [None])


def test_openrlhf_and_its_environment(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    grade = gavel_client.openrlhf.grade
    prompt = "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"
    queries = [prompt + "<|im_end|>\n<|endoftext|>", prompt + "Hello.<|im_end|>"]
    monkeypatch.setenv("GAVEL_URL", recorder.url)
    monkeypatch.setenv("GAVEL_RUBRIC", "helpfulness")
    grade(queries, [prompt] * 2, [None] * 2)
    assert recorder.bodies[-1] == {"query": queries, "prompts": [prompt] * 2, "labels": [None] * 2}
    assert recorder.paths[-1] == "/compat/openrlhf/helpfulness?mode=score"
    monkeypatch.setenv("GAVEL_EMPTY", "zero")
    answer = grade(queries, [prompt] * 2, [None] * 2)
    assert recorder.bodies[-1]["query"] == queries[1:]
    assert answer == {
        "rewards": [0.0, 0.5],
        "scores": [0.0, 0.5],
        "extra_logs": {"judge_score": [0.0, 3.0], "label_mass": [1.0, 0.9]},
    }
    assert grade(queries[:1], [prompt], [None])["rewards"] == [0.0]
    assert len(recorder.bodies) == 2, "there was nothing to ask about"
    for empty in ("missing", "zeros"):
        monkeypatch.setenv("GAVEL_EMPTY", empty)
        with pytest.raises(ValueError, match='"zero"'):
            grade(queries, [prompt] * 2, [None] * 2)


def test_openrlhf_has_rubrics_in_labels(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAVEL_URL", recorder.url)
    monkeypatch.setenv("GAVEL_LABELS", "json")
    monkeypatch.delenv("GAVEL_RUBRIC", raising=False)
    label = json.dumps({"rubric": OTHER, "reference_answer": "Hello."})
    gavel_client.openrlhf.grade(["Hi.Hello."], ["Hi."], [label])
    assert recorder.paths == ["/get_reward?mode=score&labels=json"]
    assert recorder.bodies[0]["labels"] == [label]
    monkeypatch.setenv("GAVEL_LABELS", "jsn")
    with pytest.raises(ValueError, match='did you mean "json"'):
        gavel_client.openrlhf.grade(["Hi.Hello."], ["Hi."], [label])


def test_verl_loads_its_file_as_well() -> None:
    assert loaded_by_its_path(gavel_client.verl.__file__).compute_score.__name__ == "compute_score"


def test_rows_of_a_data_set(url: str) -> None:
    judge = pickle.loads(pickle.dumps(Judge(url, rubric=RUBRIC, reference_answer="answer")))
    batch = {
        "instruction": ["Hi.", [{"role": "user", "content": "Hi."}], "Hi."],
        "response": ["EXCELLENT", "Hello.", "BROKEN"],
        "answer": ["Hello.", None, "Hello."],
    }
    graded = judge(batch)
    assert {key: graded[key] for key in batch} == batch
    assert graded["gavel_reward"] == [1.0, pytest.approx(0.75), None]
    assert graded["gavel_score"] == [1, 1, None]
    assert graded["gavel_feedback"][1] == "It could be worse."
    assert graded["gavel_error"] == ["", "", "engine_failed"]


def test_rows_that_cannot_be_asked_about(recorder: Recorder) -> None:
    judge = Judge(recorder.url, rubric_column="how", reference_answer="answer", empty="zero")
    picture = [{"role": "user", "content": [{"type": "image"}]}]
    rows: list[tuple[object, object, object, object]] = [
        ("Hi.", "Hello.", None, OTHER),
        (None, "Hello.", None, OTHER),
        ("Hi.", math.nan, None, OTHER),
        (picture, "Hello.", None, OTHER),
        ("Hi.", "Hello.", ["x", "y"], OTHER),
        ("Hi.", "Hello.", math.nan, {"criterion": "?"}),
        ("Hi.", "Hello.", math.nan, None),
        ("Hi.", " ", math.nan, OTHER),
    ]
    names = ("instruction", "response", "answer", "how")
    graded = judge(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    assert graded["gavel_error"] == [
        "",
        "missing_text",
        "missing_text",
        "unsupported_content",
        "invalid_reference",
        "invalid_rubric",
        "missing_rubric",
        "",
    ]
    assert graded["gavel_reward"] == [0.5, *[None] * 6, 0.0]
    assert recorder.items == [{"instruction": "Hi.", "response": "Hello.", "rubric": OTHER}]
