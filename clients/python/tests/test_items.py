"""Items out of what trainers and data sets hold."""

import math
from collections import UserDict
from decimal import Decimal
from typing import Any

import pytest

from gavel_client import BadItem
from gavel_client._items import is_blank, is_missing, reference_text, reward_item, rubric_of, said

INLINE: dict[str, Any] = {"criterion": "Is it good?", "descriptions": {"0": "No.", "1": "Yes."}}


class NAType:
    """Like pandas' NA, which is neither equal to itself nor not."""

    def __ne__(self, other: object) -> Any:  # noqa: ANN401
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class Array:
    """Like an array of numpy: comparing gives an array, whose truth is unclear."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __ne__(self, other: object) -> Any:  # noqa: ANN401
        return Array(*(value != value for value in self.values))

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def tolist(self) -> list[object]:
        return list(self.values)


class Scalar:
    """Like a number of numpy."""

    def __str__(self) -> str:
        return "7"

    def tolist(self) -> int:
        return 7


def test_conversations_with_parts() -> None:
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    item = reward_item([{"role": "user", "content": parts}], [{"role": "assistant", "content": parts}])
    assert item == {"messages": [{"role": "user", "content": "One.\nTwo."}], "response": "One.\nTwo."}
    # Arrow gives each part the fields of all.
    assert said([{"role": "assistant", "content": [{"type": "text", "text": "One.", "image": None}]}]) == "One."
    assert reward_item(Array({"role": "user", "content": "Hi."}), "Hello.")["response"] == "Hello."  # type: ignore[arg-type]


def test_what_the_assistant_said() -> None:
    call: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [{}]}
    result = {"role": "tool", "content": "4"}
    assert said([call, result, {"role": "assistant", "content": "It is 4."}]) == "It is 4."
    assert said([]) == ""


@pytest.mark.parametrize(
    ("prompt", "completion", "code"),
    [
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "Hi.",
            "unsupported_content",
        ),
        ("Hi.", [{"role": "assistant", "content": [{"type": "image"}]}], "unsupported_content"),
        ("Hi.", [{"role": "assistant", "content": ["text"]}], "unsupported_content"),
        ("Hi.", [{"role": "assistant", "content": 4}], "invalid_text"),
        ("Hi.", ["Hello."], "invalid_text"),
        ([{"content": "Hi."}], "Hello.", "invalid_text"),
        ("Hi.", 4, "invalid_text"),
        ("Hi.", None, "missing_text"),
        (math.nan, "Hello.", "missing_text"),
    ],
)
def test_what_is_no_text(prompt: Any, completion: Any, code: str) -> None:  # noqa: ANN401
    with pytest.raises(BadItem) as bad:
        reward_item(prompt, completion)
    assert bad.value.code == code
    assert isinstance(bad.value, ValueError)


@pytest.mark.parametrize("value", [None, math.nan, Decimal("NaN"), NAType()])
def test_what_is_missing(value: object) -> None:
    assert is_missing(value)
    assert reference_text(value) is None


def test_references() -> None:
    assert [reference_text(value) for value in ("4", 4, 4.5, Decimal("4.50"), Scalar(), " \n")] == [
        "4",
        "4",
        "4.5",
        "4.50",
        "7",
        None,
    ]
    for value in (["x", "y"], ("x",), {"target": 4}, Array("x", "y")):
        with pytest.raises(BadItem, match="a reference is one text"):
            reference_text(value)


def test_rubrics() -> None:
    assert rubric_of("helpfulness") == "helpfulness"
    given: list[object] = [
        INLINE,
        UserDict(INLINE),
        {"criterion": "Is it good?", "descriptions": {0: "No.", 1: "Yes.", "2": None}},
        '{"criterion": "Is it good?", "descriptions": {"0": "No.", "1": "Yes."}}',
    ]
    assert [rubric_of(one) for one in given] == [INLINE] * len(given)
    several = [{"rubric": "helpfulness", "weight": 2.0}, {"rubric": INLINE}]
    assert rubric_of(several) == several
    assert rubric_of(Array({"rubric": "helpfulness", "weight": None})) == [{"rubric": "helpfulness"}]
    assert "rubric" not in reward_item("Hi.", "Hello.", None, math.nan)


def test_what_is_blank() -> None:
    for blank in ("", " \n\t", "\u00a0\u3000", "\u200b", "\ufeff \u2060\u200d", "\0", "\u2800\u3164"):
        assert is_blank(blank), ascii(blank)
    for seen in (".", " a ", "\u200b0", "\ufffd", "\u00e9", "\u65e5"):
        assert not is_blank(seen), ascii(seen)
