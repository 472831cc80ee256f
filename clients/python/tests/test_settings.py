"""What is wrong is said when it is set, with the name that was meant."""

import asyncio
from typing import Any

import pytest

import gavel_client.verl
from gavel_client import GavelReward, Judge

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"modee": "score"}, TypeError, 'takes no "modee"; did you mean "mode"?'),
    ({"rubrik": "helpfulness"}, TypeError, 'did you mean "rubric"?'),
    ({"mode": "scor"}, ValueError, "mode cannot be 'scor'"),
    ({"samples": "3"}, ValueError, "samples cannot be '3'"),
    ({"samples": True}, ValueError, "samples cannot be True"),
    ({"cache": 1}, ValueError, "cache cannot be 1"),
    ({"sampling": {"temprature": 1.0}}, TypeError, 'did you mean "temperature"?'),
    ({"sampling": {"temperature": "hot"}}, ValueError, "sampling.temperature cannot be 'hot'"),
    ({"sampling": 1.0}, ValueError, "sampling cannot be 1.0"),
    ({"empty": "zeros"}, ValueError, 'did you mean "zero"?'),
    ({"empty": "drop"}, ValueError, "there are: judge, missing, zero"),
    ({"min_label_mass": 1.5}, ValueError, "within 0 and 1"),
    ({"min_label_mass": "0.5"}, TypeError, "min_label_mass cannot be '0.5', a str"),
    ({"timeout": 0}, ValueError, "above 0"),
    ({"timeout": None}, TypeError, "timeout"),
    ({"base_url": "127.0.0.1:8080"}, ValueError, "begins with http:// or https://"),
    ({"rubric": ""}, ValueError, "a rubric is a name"),
    ({"rubric": 5}, ValueError, "a rubric is a name"),
    ({"rubric": []}, ValueError, "a rubric is a name"),
    ({"rubric": None}, ValueError, "name a rubric"),
    ({"rubric": {"criteria": "?", "descriptions": {}}}, ValueError, 'no "criteria"; did you mean "criterion"?'),
    ({"rubric": {"criterion": "?"}}, ValueError, "`criterion` and `descriptions`"),
    ({"rubric": [{"rubric": "helpfulness", "wieght": 2}]}, ValueError, 'did you mean "weight"?'),
    ({"rubric": ["helpfulness"]}, ValueError, "a list of rubrics has `rubric` and `weight`"),
    ({"rubric": "{no json"}, ValueError, "no JSON"),
]


@pytest.mark.parametrize(("wrong", "kind", "message"), WRONG)
def test_everywhere(
    wrong: dict[str, Any], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAVEL_RUBRIC", raising=False)
    keywords = {"rubric": "helpfulness", **wrong}
    for maker in (GavelReward, Judge, gavel_client.verl.reward_kwargs):
        with pytest.raises(kind) as raised:
            maker(**keywords)
        assert message in str(raised.value)


@pytest.mark.parametrize("missing", ["zero", "group-mean", None])
def test_missing(missing: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="missing cannot be"):
        GavelReward(rubric="helpfulness", missing=missing)


def test_retry_and_key_have_their_types() -> None:
    with pytest.raises(TypeError, match="retry cannot be 3, a int"):
        GavelReward(rubric="helpfulness", retry=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="api_key"):
        Judge(rubric="helpfulness", api_key=3)  # type: ignore[arg-type]


def test_what_is_none_is_the_default() -> None:
    GavelReward(rubric="helpfulness", model=None, prompt=None, min_label_mass=None)
    gavel_client.verl.reward_kwargs(rubric="helpfulness", mode=None)  # type: ignore[arg-type]


def test_verl_says_it_at_the_first_call() -> None:
    arguments = ("gsm8k", "4", None, {"question": "2 + 2?"})
    with pytest.raises(TypeError, match='reward_kwargs takes no "rubrik"; did you mean "rubric"'):
        gavel_client.verl.compute_score(*arguments, rubrik="helpfulness")
    with pytest.raises(TypeError, match="did you mean"):
        asyncio.run(gavel_client.verl.compute_score_async(*arguments, rubrik="helpfulness"))
    with pytest.raises(ValueError, match='"judge" or "zero"'):
        gavel_client.verl.compute_score(*arguments, rubric="helpfulness", empty="missing")
