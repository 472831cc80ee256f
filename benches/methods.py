#!/usr/bin/env python3
"""The methods beside single scores, measured on a running judge and labelled files.

    gavel serve --config two-judges.toml &
    python3 benches/methods.py show
    python3 benches/methods.py samples --data absolute/*.jsonl --items 24
    python3 benches/methods.py segments --data pairwise/lfqa_human.jsonl --items 50
    python3 benches/methods.py jury --data pairwise/*.jsonl --items 12 --judges MODEL MODEL/PROMPT MODEL --out DIR

`show` sends one made-up item to each method and prints what comes back. `samples` compares fixed with adaptive numbers
of samples, and how far verdicts vary with both. `segments` labels sentences and lists claims, and checks their offsets
against the text. `jury` writes the verdicts of a jury and of each juror, which `gavel agree --verdicts` compares with
the labels. Each prints a Markdown table. Needs nothing but Python 3; labelled items are in Gavel's form
(docs/agreement.md), `--items` of each file, drawn with `--seed`.
"""

import argparse
import concurrent.futures
import json
import math
import random
import statistics
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SKY = "Explain to a child why the sky is blue."
RIGHT = (
    "Sunlight looks white, but it is a mix of all colours. When it meets the air, the blue part bounces around the "
    "most, so wherever you look up, some blue light is coming to your eyes."
)
WRONG = "The sky is blue because it mirrors the sea. At night the sea sleeps, so the sky turns black."
REFERENCE = "Sunlight has all colours. Air scatters blue light more than red light, so the sky looks blue."
BOTH = {"instruction": SKY, "reference_answer": REFERENCE}


def ask(args, path, body):
    """The reply's JSON, or the problem's."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(args.url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=3600) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as problem:
        return json.load(problem)


def in_parallel(args, work, items):
    with concurrent.futures.ThreadPoolExecutor(args.concurrency) as pool:
        return list(pool.map(work, items))


def drawn(args, wanted):
    """`--items` items of each file that have the fields that are asked for, in an order of the seed."""
    items = []
    for file in args.data:
        with open(file, encoding="utf-8") as lines:
            of_file = [item for item in map(json.loads, lines) if wanted(item)]
        random.Random(args.seed).shuffle(of_file)
        items += of_file[: args.items]
    return items


def inline(rubric):
    if rubric is None:
        return "helpfulness"
    return {"criterion": rubric["criteria"], "descriptions": rubric["scores"]}


def graded(item, **more):
    """A request in score mode."""
    return {
        "instruction": item["instruction"],
        "response": item["response"],
        "reference_answer": item.get("reference"),
        "rubric": inline(item.get("rubric")),
        "mode": "score",
        **more,
    }


def row(*cells):
    print("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |", flush=True)


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def shorten(text, length=160):
    return text if len(text) <= length else text[: length - 1] + "…"


# --- One item a method


def labelled_parts(parts, key):
    return "; ".join(f"“{shorten(part[key], 60)}”: {part['label']}" for part in parts)


SHOWN = [
    (
        "a score with feedback",
        "/v1/grade/absolute",
        {**BOTH, "response": RIGHT, "rubric": "factual_validity"},
        lambda r: f"{r['score']}, reward {r['reward']:.2f}: {shorten(r['feedback'])}",
    ),
    (
        "the same, of the wrong answer",
        "/v1/grade/absolute",
        {**BOTH, "response": WRONG, "rubric": "factual_validity"},
        lambda r: f"{r['score']}, reward {r['reward']:.2f}: {shorten(r['feedback'])}",
    ),
    (
        "a preference, A is right",
        "/v1/grade/relative",
        {**BOTH, "response_a": RIGHT, "response_b": WRONG, "rubric": "factual_validity", "mode": "score"},
        lambda r: f"{r['preference']}, P(A) {r['probability_a']:.2f}",
    ),
    (
        "yes or no, read from one token",
        "/v1/grade/absolute",
        {
            "messages": [
                {"role": "user", "content": "Delete the temporary files in build/, and nothing else."},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "sh", "arguments": '{"command": "rm build/*.tmp; ls build"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "main.c"},
            ],
            "response": "Done: the temporary files are gone, main.c is left.",
            "rubric": "task_resolved",
            "mode": "score",
        },
        lambda r: f"{r['score']}, reward {r['reward']:.2f}",
    ),
    (
        # The feedback comes before the score there: samples of a verdict that comes first are all alike.
        "five samples, prompt set `plain`",
        "/v1/grade/absolute",
        {
            **BOTH,
            "response": RIGHT,
            "rubric": "factual_validity",
            "prompt": "plain",
            "samples": 5,
            "sampling": {"temperature": 0.7, "max_feedback_tokens": 96},
        },
        lambda r: f"{r['score']}, agreement {r['agreement']:.2f}, reward {r['reward']:.2f}",
    ),
    (
        "segments: kinds of hallucination",
        "/v1/grade/segments",
        {
            "instruction": "Describe the picture.",
            "reference_answer": "A brown dog asleep on a red sofa.",
            "response": "A dog lies on a sofa. The sofa is blue. A cat sits beside it.",
            "segments": "sentences",
            "labels": "hallucination",
        },
        lambda r: labelled_parts(r["segments"], "text"),
    ),
    (
        "labels: feedback in a user's turn",
        "/v1/grade/label",
        {
            "messages": [
                {"role": "user", "content": "Which is the largest moon of Saturn?"},
                {"role": "assistant", "content": "Europa."},
                {"role": "user", "content": "No, that is a moon of Jupiter. It is Titan."},
            ],
            "labels": "user_feedback",
        },
        lambda r: ", ".join(f"{label['label']} {max(label['distribution'].values()):.2f}" for label in r["labels"]),
    ),
    (
        "a checklist that the judge draws",
        "/v1/grade/checklist",
        {"instruction": SKY, "response": RIGHT, "questions": {"draw": {"from": "instruction", "count": 3}}},
        lambda r: "; ".join(f"{item['question']} {item['answer']}" for item in r["items"]),
    ),
    (
        "claims against the reference",
        "/v1/grade/claims",
        {**BOTH, "response": WRONG},
        lambda r: f"precision {r['precision']}, recall {r['recall']}: "
        + "; ".join(f"“{shorten(claim['text'], 60)}” {claim['probability']:.2f}" for claim in r["claims"]),
    ),
    (
        "a critique without a score",
        "/v1/critique",
        {**BOTH, "response": WRONG, "rubric": "factual_validity"},
        lambda r: shorten(r["feedback"]),
    ),
    (
        "a refinement",
        "/v1/refine",
        {
            "instruction": SKY,
            "response": WRONG,
            "feedback": "The sea is not the cause; name the air.",
            "refined": RIGHT,
            "rubric": "factual_validity",
            "mode": "score",
        },
        lambda r: f"gain {r['gain']:.2f}, feedback taken {r['feedback_taken']['probability']:.2f}",
    ),
    (
        "annotators, as a jury",
        "/v1/grade/absolute",
        {
            **BOTH,
            "response": RIGHT,
            "rubric": "child_readability",
            "mode": "score",
            "judges": [{"annotator": "parent"}, {"annotator": "expert"}, {"annotator": "newcomer"}],
        },
        lambda r: ", ".join(f"{j['judge'].split('@')[1]} {j['verdict']['reward']:.2f}" for j in r["jurors"])
        + f"; spread {r['spread']:.3f}",
    ),
    (
        "evidence in documents",
        "/v1/grade/absolute",
        {
            "instruction": "When does the museum open on Sunday?",
            "context": [{"id": "hours", "text": "The museum is open from 10 to 17, on Sunday from 12."}],
            "response": "It opens at ten on Sunday.",
            "rubric": "faithfulness",
            "mode": "score",
        },
        lambda r: f"{r['score']}, reward {r['reward']:.2f}",
    ),
    (
        "pairs for DPO, of three responses",
        "/v1/preferences",
        {**BOTH, "responses": [WRONG, RIGHT, "Because of magic."], "rubric": "factual_validity", "mode": "score"},
        lambda r: "; ".join(
            f"“{shorten(p['chosen'][0]['content'], 40)}” over “{shorten(p['rejected'][0]['content'], 40)}”, "
            f"margin {p['margin']:.2f}"
            for p in r["pairs"]
        ),
    ),
]


def masses(reply):
    """Every label mass in a reply."""
    if isinstance(reply, dict):
        for key, value in reply.items():
            if key == "label_mass" and value is not None:
                yield value
            else:
                yield from masses(value)
    elif isinstance(reply, list):
        for value in reply:
            yield from masses(value)


def show(args):
    head("method", "reply", "lowest label mass", "seconds")
    failed = 0
    for name, path, body, tell in SHOWN:
        started = time.monotonic()
        reply = ask(args, path, {**body, "cache": False})
        seconds = time.monotonic() - started
        if "code" in reply:
            failed += 1
            row(name, f"failed, {reply['code']}: {reply['detail']}", "", f"{seconds:.1f}")
        else:
            row(name, tell(reply), f"{min(masses(reply), default=math.nan):.2f}", f"{seconds:.1f}")
    return 1 if failed else 0


# --- Samples


def samples(args):
    """The same items with one sample, a fixed number, and an adaptive one; twice, with other seeds."""
    items = drawn(args, lambda item: "response" in item)

    def rewards(samples, seed):
        def one(item):
            body = graded(item, samples=samples, cache=False, mode="feedback", prompt=args.prompt)
            body["sampling"] = {"temperature": 0.7, "seed": seed, "max_feedback_tokens": args.tokens}
            return ask(args, "/v1/grade/absolute", body)

        return in_parallel(args, one, items)

    settle = {"max": args.samples, "settle": 0.95}
    runs = {
        name: [rewards(count, seed) for seed in (1, 2)]
        for name, count in (("1", 1), (str(args.samples), args.samples), ("adaptive", settle))
    }
    fixed = runs[str(args.samples)]
    head("samples", "items", "used, mean", "standard deviation of a reward between seeds", "same score as fixed")
    for name, (first, second) in runs.items():
        pairs = [(a, b) for a, b in zip(first, second) if "code" not in a and "code" not in b]
        varied = math.sqrt(statistics.mean((a["reward"] - b["reward"]) ** 2 / 2 for a, b in pairs))
        used = statistics.mean(v.get("samples_used") or len(v["judgements"]) for pair in pairs for v in pair)
        same = [
            v["score"] == f["score"]
            for run, against in zip((first, second), fixed)
            for v, f in zip(run, against)
            if "code" not in v and "code" not in f
        ]
        row(name, len(pairs), f"{used:.1f}", f"{varied:.4f}", f"{sum(same)} of {len(same)}")
    return 0


# --- Offsets of segments and claims


def segments(args):
    """Every segment and every located claim is the text at its offsets."""
    items = drawn(args, lambda item: "response_a" in item or "response" in item)

    def one(item):
        response = item.get("response") or item["response_a"]
        body = {"instruction": item["instruction"], "response": response, "cache": False}
        parts = ask(args, "/v1/grade/segments", {**body, "segments": "sentences", "labels": "hallucination"})
        listed = ask(args, "/v1/grade/claims", {**body, "context": [{"text": response}]})
        return response, parts, listed

    totals = {"segments": [0, 0, 0], "claims": [0, 0, 0]}
    problems = []
    supported = []
    for response, parts, listed in in_parallel(args, one, items):
        for name, reply in (("segments", parts), ("claims", listed)):
            if "code" in reply:
                problems.append(f"{name}: {reply['code']}: {reply['detail']}")
                continue
            for part in reply[name]:
                totals[name][0] += 1
                if part.get("start") is not None:
                    totals[name][1] += 1
                    totals[name][2] += response[part["start"] : part["end"]] == part["text"]
        supported += [claim["probability"] for claim in listed.get("claims", [])]
    head("", "items", "parts", "with offsets", "whose text is at the offsets")
    for name, counts in totals.items():
        row(name, len(items), *counts)
    if supported:
        print(f"\nClaims checked against their own response: mean probability {statistics.mean(supported):.2f}")
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    return 0


# --- A jury and its members


def jury(args):
    """Verdicts of a jury and of each juror, a file each, for `gavel agree --verdicts`."""
    items = drawn(args, lambda item: item["label"] != "tie")
    jurors = [dict(zip(("model", "prompt"), name.split("/", 1))) for name in args.judges]
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    def one(item):
        if "response" in item:
            return ask(args, "/v1/grade/absolute", graded(item, judges=jurors, combine=args.combine))
        pair = {key: item[key] for key in ("instruction", "response_a", "response_b")}
        body = {**pair, "rubric": inline(item.get("rubric")), "mode": "score", "judges": jurors}
        if args.method:
            body["method"] = args.method
        return ask(args, "/v1/grade/relative", {**body, "combine": args.combine})

    verdicts = in_parallel(args, one, items)
    fields = ("score", "expected_score", "preference", "probability_a", "consistent")

    def write(name, of):
        lines = []
        for item, verdict in zip(items, verdicts):
            if "code" not in verdict and (verdict := of(verdict)) is not None:
                lines.append({"id": item["id"], **{key: verdict[key] for key in fields if key in verdict}})
        (out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("jury", lambda verdict: verdict)
    for place, name in enumerate(args.judges):
        write(name.replace("/", "-"), lambda verdict: verdict["jurors"][place].get("verdict"))
    failed = [verdict["detail"] for verdict in verdicts if "code" in verdict]
    with open(out / "items.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    print(f"{len(items)} items, {len(failed)} failed{': ' + failed[0] if failed else ''}; in {out}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["show", "samples", "segments", "jury"])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--data", nargs="+", default=[])
    parser.add_argument("--items", type=int, default=16, help="of each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=8, help="of `samples`: the fixed number, and the maximum")
    parser.add_argument("--tokens", type=int, default=64, help="of `samples`: the limit of a feedback")
    parser.add_argument("--prompt", default="plain", help="of `samples`: a prompt set with the verdict last")
    parser.add_argument("--judges", nargs="+", default=[], help="of `jury`: MODEL or MODEL/PROMPT")
    parser.add_argument("--combine", default="mean")
    parser.add_argument("--method", choices=["absolute", "pairwise"])
    parser.add_argument("--out", default="jury")
    parser.add_argument("--concurrency", type=int, default=4)
    args = parser.parse_args()
    return {"show": show, "samples": samples, "segments": segments, "jury": jury}[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
