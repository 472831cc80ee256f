"""What trainers and data sets call, against a real server."""

import asyncio
import importlib.util
import pickle
import sys
from types import ModuleType
from typing import Any

import pytest

import gavel_client.openrlhf
import gavel_client.verl
from gavel_client import GavelReward, Judge, Problem, ServerFailed

from .test_client import RUBRIC


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
    with pytest.raises(Problem, match="low_label_mass"):
        GavelReward(url, rubric=RUBRIC, missing="raise")(["Hi."], ["UNSURE"])
    with pytest.raises(Problem, match="unknown_rubric"):
        GavelReward(url, rubric="nothing")(["Hi."], ["Hello."])


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
    assert graded["gavel_error"] == [None, None, "engine_failed"]
