#!/usr/bin/env python3
"""How long a running sequence waits between two tokens while long prompts arrive.

    python3 benches/gaps.py --gavel target/release/gavel            # hosts the test model
    python3 benches/gaps.py --server http://127.0.0.1:8080 --chunk 256

First, alone: the time that one step of reading a prompt takes (a chunk), from a long prompt's own prefill. Then one
grading with feedback is streamed while long prompts in score mode arrive together. Every gap between two
parts of the stream that falls into that time is counted; the goal is that the longest stays below 4 chunk times.
Needs nothing but Python 3.
"""

import argparse
import http.client
import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUBRIC = {"criterion": "Is it right?", "descriptions": {"1": "No.", "2": "Partly.", "3": "Yes."}}
# Plain words, of about a token each.
WORDS = "the old river runs past a small town and its people know where it turns when rain falls in the hills".split()
GOAL = 4
BUCKETS = 24


def setting(name):
    return int(re.search(rf"^{name} = (\d+)$", (ROOT / "config.default.toml").read_text(), re.MULTILINE)[1])


def connect(url):
    parts = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=3600)


def ask(url, body, accept="application/json"):
    connection = connect(url)
    headers = {"Content-Type": "application/json", "Accept": accept}
    connection.request("POST", "/v1/grade/absolute", json.dumps(body), headers)
    return connection.getresponse()


def grade(url, body):
    reply = ask(url, body)
    verdict = json.loads(reply.read())
    if reply.status != 200:
        raise SystemExit(f"{reply.status}: {verdict.get('detail')}")
    return verdict


def request(mode, words, number, tokens=None):
    # The number stands at the front of the instruction, so that no two share more than the prompt's own beginning.
    text = f"{number} " + " ".join(WORDS[(at + number) % len(WORDS)] for at in range(words))
    body = {"instruction": f"Number {number}: what does this text say? {text}", "response": "It speaks of a river.",
            "rubric": RUBRIC, "mode": mode, "cache": False}
    if tokens:
        body["sampling"] = {"max_feedback_tokens": tokens, "min_feedback_tokens": tokens}
    return body


def calibrate(url, wanted):
    """How many words make a prompt of about that many tokens, and the time of each token of one."""
    small = grade(url, request("score", 500, 9001))["usage"]["prompt_tokens"]
    large = grade(url, request("score", 1500, 9002))["usage"]["prompt_tokens"]
    words = int(1500 + (wanted - large) * 1000 / (large - small))
    verdict = grade(url, request("score", words, 9003))
    usage = verdict["usage"]
    return words, usage["prompt_tokens"], verdict["timing_ms"]["prefill"] / (usage["prompt_tokens"] - usage["cached_tokens"])


def stream(url, tokens, arrived):
    """Streams one grading; puts the time of each part of its feedback into `arrived`, and None at the end."""
    reply = ask(url, request("feedback", 20, 1, tokens), "text/event-stream")
    event = None
    for line in reply:
        if line.startswith(b"event:"):
            event = line.split(b":")[1].strip().decode()
        elif line.startswith(b"data:") and event == "feedback":
            arrived.put(time.monotonic())
        elif line.startswith(b"data:") and event == "error":
            print(line.decode())
    arrived.put(None)


def measure(url, args, words):
    """The gaps between parts of the stream while long prompts are in flight, and those before the first."""
    arrived, times, busy = queue.Queue(), [], []
    streaming = threading.Thread(target=stream, args=(url, args.tokens, arrived))
    streaming.start()
    first = arrived.get()
    if first is None:
        raise SystemExit("the stream ended before it began")
    times.append(first)
    # Some tokens alone first, for comparison.
    for _ in range(args.alone):
        times.append(arrived.get())

    def long_prompt(number):
        begun = time.monotonic()
        grade(url, request("score", words, number))
        busy.append((begun, time.monotonic()))

    arriving = [threading.Thread(target=long_prompt, args=(100 + number,)) for number in range(args.prompts)]
    for thread in arriving:
        thread.start()
    while (at := arrived.get()) is not None:
        times.append(at)
    for thread in arriving:
        thread.join()
    if len(busy) < args.prompts:
        raise SystemExit("a long prompt was refused")
    start, until = min(begun for begun, _ in busy), max(ended for _, ended in busy)
    gaps = [(a, b - a) for a, b in zip(times, times[1:])]
    return [gap for at, gap in gaps if at < start], [gap for at, gap in gaps if start <= at < until]


def histogram(gaps):
    top = max(gaps)
    width = top / BUCKETS or 1e-9
    counts = [0] * BUCKETS
    for gap in gaps:
        counts[min(int(gap / width), BUCKETS - 1)] += 1
    most = max(counts)
    for index, count in enumerate(counts):
        print(f"{index * width * 1e3:8.1f} - {(index + 1) * width * 1e3:8.1f} ms {count:6}  {'#' * round(50 * count / most)}")


def host(args, folder):
    env = {key: value for key, value in os.environ.items() if not key.startswith("GAVEL_")}
    env |= {"GAVEL_DATA_DIR": folder, "GAVEL_OFFLINE": "true", "GAVEL_LLAMA_CPP__STEP_TOKENS": str(args.chunk)}
    command = [args.gavel, "serve", "--model", args.model, "--port", "0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = process.stdout.readline().strip().rpartition(" ")[2]
    while process.poll() is None:
        try:
            connection = connect(url)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return process, url
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("gavel does not start; `gavel serve` says why")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="a running server; without one, --gavel hosts the model")
    parser.add_argument("--gavel", default="gavel", help="the program")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--chunk", type=int, default=setting("step_tokens"), help="tokens of a step: llama_cpp.step_tokens")
    parser.add_argument("--prompt-tokens", type=int, default=8000)
    parser.add_argument("--prompts", type=int, default=2, help="long prompts that arrive, all at once")
    parser.add_argument("--tokens", type=int, default=128, help="of feedback that is streamed")
    parser.add_argument("--alone", type=int, default=16, help="parts of the stream before the first long prompt")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, url = (None, args.server) if args.server else host(args, folder)
        try:
            words, tokens, per_token = calibrate(url, args.prompt_tokens)
            before, gaps = measure(url, args, words)
        finally:
            if process:
                process.terminate()
                process.wait()
    if not gaps:
        raise SystemExit("the stream ended before a long prompt arrived; stream more --tokens")
    chunk = per_token * args.chunk / 1e3
    print(f"chunk: {args.chunk} tokens of a prompt of {tokens} alone, {chunk * 1e3:.1f} ms")
    print(f"gaps before: {len(before)}, longest {max(before, default=0) * 1e3:.1f} ms")
    print(f"gaps while {args.prompts} prompts of {tokens} tokens were read: {len(gaps)}\n")
    histogram(gaps)
    ratio = max(gaps) / chunk
    verdict = "below" if ratio < GOAL else "not below"
    print(f"\nlongest gap {max(gaps) * 1e3:.1f} ms = {ratio:.2f} chunk times, {verdict} the goal of {GOAL}")
    if args.json:
        figures = {"chunk_tokens": args.chunk, "chunk_seconds": chunk, "prompt_tokens": tokens, "gaps": gaps,
                   "gaps_before": before, "ratio": ratio}
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
