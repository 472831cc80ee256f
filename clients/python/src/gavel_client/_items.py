"""Items out of what trainers and data sets hold: texts or conversations, references, rubrics."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from ._calls import RewardItem, Rubric
from ._options import did_you_mean

#: A text, or a conversation of messages with `role` and `content`, which is a text or a list of text parts.
Turns: TypeAlias = str | Sequence[Mapping[str, Any]]

#: What the server takes for an empty response: white space, and characters that show nothing.
_BLANK = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]*"
)
_TEXT_PARTS = ("text", "input_text", "output_text")


class BadItem(ValueError):
    """An item that cannot be asked about.

    `code` is in the manner of the server's codes; `index` is the place of the item among those of a call, from 0, or
    None for an item alone.
    """

    def __init__(self, code: str, detail: str, index: int | None = None) -> None:
        super().__init__(code, detail, index)
        self.code = code
        self.detail = detail
        self.index = index

    def __str__(self) -> str:
        """The item and the reason."""
        return self.detail if self.index is None else f"items[{self.index}]: {self.detail}"


def reward_item(prompt: Turns, completion: Turns, reference: object = None, rubric: object = None) -> RewardItem:
    """The item for a prompt and what a model made of it.

    Raises:
        BadItem: A text is missing, a part of it is no text, or the reference or the rubric cannot be used.
    """
    item: dict[str, Any] = {"response": said(completion)}
    if isinstance(prompt, str):
        item["instruction"] = prompt
    else:
        item["messages"] = [
            {"role": turn["role"], "content": _text(turn.get("content"))} for turn in _turns(prompt, "the prompt")
        ]
    known = reference_text(reference)
    if known is not None:
        item["reference_answer"] = known
    if not is_missing(rubric):
        item["rubric"] = rubric_of(rubric)
    return cast("RewardItem", item)


def said(completion: Turns) -> str:
    """The text of a completion: of a conversation, what the assistant said."""
    if isinstance(completion, str):
        return completion
    turns = _turns(completion, "the completion")
    texts = [_text(turn.get("content")) for turn in turns if turn["role"] == "assistant"]
    return "\n".join(text for text in texts if text)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing."""
    return _BLANK.fullmatch(text) is not None


def is_missing(value: object) -> bool:
    """Whether a cell has no value: None, NaN, or NA and NaT of pandas."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        # NA is neither equal to itself nor not; an array has an answer for each of its elements.
        return type(value).__name__ == "NAType"


def reference_text(reference: object) -> str | None:
    """A reference as text: a number is written out, and what is missing or blank is none.

    Raises:
        BadItem: It is a list or a mapping, which can be a text in many ways.
    """
    if is_missing(reference):
        return None
    if isinstance(reference, str):
        return reference if reference.strip() else None
    if isinstance(plain(reference), (dict, list)):
        raise BadItem(
            "invalid_reference", f"a reference is one text, not a {type(reference).__name__}: {reference!r:.200}"
        )
    return str(reference)


def rubric_of(value: object) -> Rubric:
    """A rubric as the server takes it: a name, an inline rubric, or a list of them with weights.

    Each may be JSON text, since columns of a data set have one type. Scores may be numbers.

    Raises:
        BadItem: It is none of these.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadItem("invalid_rubric", f"the rubric is no JSON: {error}") from error
    value = plain(value)
    if isinstance(value, list) and value:
        return [
            cast("Any", {**_fields(one, ("rubric", "weight")), "rubric": _rubric(one.get("rubric"))}) for one in value
        ]
    return cast("Rubric", _rubric(value))


def plain(value: object) -> object:
    """Dicts and lists in place of other mappings and sequences, without keys that Arrow fills with None."""
    if isinstance(value, Mapping):
        return {str(key): plain(element) for key, element in value.items() if element is not None}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(element) for element in value]
    return value


def _rubric(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, str) and not is_blank(value):
        return value
    if isinstance(value, dict):
        rubric = _fields(value, ("criterion", "descriptions"))
        descriptions = rubric.get("descriptions")
        if isinstance(rubric.get("criterion"), str) and isinstance(descriptions, dict):
            return rubric
    raise BadItem(
        "invalid_rubric",
        f"a rubric is a name, `criterion` and `descriptions`, or a list of these with weights, not {value!r:.200}",
    )


def _fields(value: object, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadItem("invalid_rubric", f"an entry of a list of rubrics has `rubric` and `weight`, not {value!r:.200}")
    for name in value:
        if name not in known:
            raise BadItem("invalid_rubric", f'a rubric has no "{name}"{did_you_mean(name, known)}')
    return value


def _turns(value: object, what: str) -> list[Mapping[str, Any]]:
    turns = value.tolist() if hasattr(value, "tolist") else value
    if is_missing(turns):
        raise BadItem("missing_text", f"{what} is missing")
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) and "role" in turn for turn in turns):
        raise BadItem("invalid_text", f"{what} is a text or a list of messages with roles, not {value!r:.200}")
    return list(turns)


def _text(content: object) -> str:
    """The text of a message's content; a message that only calls tools has none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = plain(content)
    if not isinstance(parts, list):
        raise BadItem("invalid_text", f"the content of a message is a text or a list of parts, not {content!r:.200}")
    return "\n".join(_part(part) for part in parts)


def _part(part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return cast("str", part["text"])
    raise BadItem("unsupported_content", f"judges read text only, not a part of the type {kind!r}")
