"""Items out of what trainers and data sets hold: texts, or conversations."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from ._calls import Message, RewardItem

#: A text, or a conversation of messages with `role` and `content`.
Turns: TypeAlias = str | Sequence[Mapping[str, Any]]


def reward_item(prompt: Turns, completion: Turns, reference: object = None) -> RewardItem:
    """The item for a prompt and what a model made of it."""
    item = RewardItem(response=said(completion))
    if isinstance(prompt, str):
        item["instruction"] = prompt
    else:
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
        item["messages"] = cast("list[Message]", messages)
    if reference is not None:
        item["reference_answer"] = str(reference)
    return item


def said(completion: Turns) -> str:
    """The text of a completion: of a conversation, what the assistant said."""
    if isinstance(completion, str):
        return completion
    texts = [turn.get("content") for turn in completion if turn.get("role", "assistant") == "assistant"]
    return "\n".join(text for text in texts if isinstance(text, str))
