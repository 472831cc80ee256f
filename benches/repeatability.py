#!/usr/bin/env python3
"""How far verdicts repeat: each item alone (deterministic), then all of them under load.

    gavel serve &
    python3 benches/repeatability.py --data items.jsonl --items 32 --concurrency 16

Needs nothing but Python 3 and labelled items: instruction, response, reference, rubric {criteria, scores}.
"""

import argparse
import concurrent.futures
import json
import statistics
import time
import urllib.request


def request(item, args, alone):
    return {
        "instruction": item["instruction"],
        "response": item["response"],
        "reference_answer": item.get("reference"),
        "rubric": {"criterion": item["rubric"]["criteria"], "descriptions": item["rubric"]["scores"]},
        "mode": args.mode,
        "prompt": args.prompt,
        "sampling": {"max_feedback_tokens": args.tokens},
        "cache": False,
        "deterministic": alone,
    }


def grade(body, url):
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/grade/absolute", data, headers)) as reply:
        return json.load(reply)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--data", required=True)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--mode", choices=["score", "feedback"], default="score")
    parser.add_argument("--prompt", default=None)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    with open(args.data, encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines][: args.items]

    started = time.monotonic()
    alone = [grade(request(item, args, True), args.url) for item in items]
    middle = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.concurrency) as pool:
        loaded = list(pool.map(lambda item: grade(request(item, args, False), args.url), items))
    ended = time.monotonic()

    furthest = sorted(
        max(abs(a["distribution"][label] - b["distribution"][label]) for label in a["distribution"])
        for a, b in zip(alone, loaded)
    )
    print(f"{args.mode}, prompt set {alone[0]['prompt']['name']}, {len(items)} items, {args.concurrency} at once")
    print(f"alone {middle - started:.1f} s, under load {ended - middle:.1f} s")
    print(f"furthest probability: median {statistics.median(furthest):.4f}, at most {furthest[-1]:.4f}")
    for what in ("score", "feedback"):
        differ = sum(a[what] != b[what] for a, b in zip(alone, loaded))
        print(f"{what} differs: {differ} of {len(items)}")
    print(f"mean label mass {statistics.mean(v['label_mass'] for v in alone):.3f}")


if __name__ == "__main__":
    main()
