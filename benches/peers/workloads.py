"""What is asked of both servers, and what their answers are worth. Nothing here starts or asks a server."""

import json
import random
import re
from pathlib import Path

FEEDBACK_TOKENS = 128
# What a verdict takes after its feedback: ` [RESULT] 4` and some air.
VERDICT_ROOM = 16
LABELS = ["1", "2", "3", "4", "5"]

# The parser of prometheus-eval 0.1.20, in our own words: one of the known leads, then a digit that ends the text.
VERDICT = re.compile(
    r"(?:\[RESULT\]|\[SCORE\]|score:?|result:?|\[result\]:?|score\s+of)\s*[(\[\s]*(\d+)"
    r"(?:[)\]\s]|$|/\s*5|\s*out\s*of\s*5)?\s*$",
    re.IGNORECASE,
)


def parse_verdict(text):
    """The score in which a text ends, or None."""
    found = VERDICT.search(text)
    return int(found[1]) if found and 1 <= int(found[1]) <= 5 else None


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def body(item, response, mode, prompt):
    """A grading request; debug output shows the prompt, which the peer is then given."""
    rubric = {"criterion": item["rubric"]["criteria"], "descriptions": item["rubric"]["scores"]}
    return {
        "instruction": item["instruction"],
        "response": response,
        "reference_answer": item["reference"],
        "rubric": rubric,
        "mode": mode,
        "prompt": prompt,
        "sampling": {"max_feedback_tokens": FEEDBACK_TOKENS},
        "debug": True,
    }


def feedback(data, items):
    """Workload (a): absolute items with written feedback."""
    absolute = read(Path(data) / "absolute" / "prometheus_vicuna.jsonl")
    return [body(item, item["response"], "feedback", "prometheus") for item in absolute[:items]]


def reward(data, instructions, responses):
    """Workload (b): groups of responses to one instruction, scored only."""
    references = {}
    for item in read(Path(data) / "absolute" / "prometheus_vicuna.jsonl"):
        references.setdefault(item["instruction"], item)
    groups = {}
    for pair in read(Path(data) / "pairwise" / "vicuna80_human.jsonl"):
        # A dictionary keeps the order and drops what is there twice.
        group = groups.setdefault(pair["instruction"], {})
        group.update(dict.fromkeys([pair["response_a"], pair["response_b"]]))
    bodies = []
    for instruction, item in references.items():
        group = list(groups.get(instruction, {}))
        if len(group) >= responses and len(bodies) < instructions * responses:
            bodies += [body(item, response, "score", "plain") for response in group[:responses]]
    return bodies


def shuffled(bodies, seed):
    """Another order, the same for every server."""
    bodies = list(bodies)
    random.Random(seed).shuffle(bodies)
    return bodies


def common_prefix(lists):
    """What all lists begin with."""
    first, *others = lists
    length = min(map(len, lists))
    for other in others:
        length = next((at for at in range(length) if other[at] != first[at]), length)
    return first[:length]


def forced_and_labels(tokenized):
    """The ids that stand before every label, and the id that each label goes on with.

    `tokenized` holds the ids of prompt, lead and label, for each label.
    """
    forced = common_prefix(tokenized)
    labels = [ids[len(forced)] for ids in tokenized if len(ids) > len(forced)]
    if len(set(labels)) != len(tokenized):
        raise ValueError("the labels are not told apart by one token")
    return forced, labels


def unshared(prompts):
    """How many tokens are computed when everything that prompts begin alike with is computed once."""
    ordered = sorted(prompts)
    shared = (len(common_prefix(pair)) for pair in zip(ordered, ordered[1:]))
    return sum(map(len, ordered)) - sum(shared)


def ceiling(prompts):
    """All tokens over unshared tokens: how much sharing alone could bring."""
    return sum(map(len, prompts)) / unshared(prompts)


def labels_among(top, labels):
    """How many of the labels are among the most probable tokens that a peer reports."""
    return len({entry["id"] for entry in top} & set(labels))


def table(rows, columns):
    """A Markdown table of dictionaries."""
    def cell(value):
        return f"{value:.3g}" if isinstance(value, float) else str("" if value is None else value)

    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    return "\n".join(lines + ["| " + " | ".join(cell(row.get(name)) for name in columns) + " |" for row in rows])
