#!/usr/bin/env python3
"""How long a single score request takes beside a request of thousands of judgements.

    benches/fairness.py --gavel target/release/gavel            # hosts the test model

The large request comes from another address of this machine (another caller) or from the same one, and asks for
feedback of 4 or of 64 tokens. Prints a Markdown table: the median of --rounds, and the ratio to the median alone; the goal is
at most 4 times. Needs nothing but Python 3, and a system that lets a client bind to 127.0.0.2, as Linux does.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import servers  # noqa: E402

INSTRUCTION = "Why is the sky blue?"
WORDS = "the air scatters short waves of light more than long ones and so some blue comes to us from every side".split()


def text(words, seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def single(server, number):
    body = {"instruction": INSTRUCTION, "response": text(30, f"single {number}"), "rubric": "helpfulness", "mode": "score",
            "cache": False}
    started = time.perf_counter()
    server.post("/v1/grade/absolute", body)
    return time.perf_counter() - started


def begin_large(server, judgements, tokens, address):
    """Sends the large request and returns its connection; closing that ends the work."""
    items = [{"instruction": INSTRUCTION, "response": text(40, f"{tokens} {address} {i}")} for i in range(judgements)]
    body = {"rubric": "helpfulness", "mode": "feedback", "sampling": {"max_feedback_tokens": tokens}, "items": items}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, source_address=(address, 0))
    connection.request("POST", "/v1/rewards", json.dumps(body), {"Content-Type": "application/json"})
    return connection


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gavel", required=True, help="the program")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--judgements", type=int, default=2048, help="of the large request")
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    env = servers.without_settings() | {"GAVEL_DATA_DIR": str(servers.CACHE / "data")}
    with servers.Server("gavel", [args.gavel, "serve", "--model", args.model], env, "/readyz") as server:
        numbers = iter(range(1_000_000))
        measure = lambda: statistics.median(single(server, next(numbers)) for _ in range(args.rounds))
        measure()
        alone = measure()
        print(f"| beside {args.judgements} judgements | seconds | ratio |\n| --- | --- | --- |\n| none | {alone:.3f} | |", flush=True)
        for tokens in (4, 64):
            for caller, address in (("another caller", "127.0.0.2"), ("the same caller", "127.0.0.1")):
                large = begin_large(server, args.judgements, tokens, address)
                # Until it fills all slots; then until the server has noticed that it is gone.
                time.sleep(3)
                beside = measure()
                large.close()
                time.sleep(3)
                print(f"| of {tokens} tokens, {caller} | {beside:.3f} | {beside / alone:.1f} |", flush=True)


if __name__ == "__main__":
    main()
