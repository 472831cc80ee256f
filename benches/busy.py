#!/usr/bin/env python3
"""What a busy machine costs: a prompt is read and 32 tokens are written, alone and beside busy loops.

    benches/busy.py --gavel target/release/gavel --model FILE.gguf [--peer PATH/llama-server]

Threads of an engine wait for one another some hundred times a token. A thread that waits in a loop keeps its core from
the one that it waits for, if there are more threads than cores; one that sleeps loses the time of waking up. Each row
is one way to wait, or llama.cpp's own server; prints a Markdown table of seconds, the median of --rounds. A fair share
of the machine beside N busy loops, for a program of as many threads as there are cores, is cores / (cores + N).
Standard library only; stops by itself.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import servers  # noqa: E402

WRITTEN = 32
# About 20 tokens.
TEXT = "The baker counts the loaves, the boats come back at noon, and somebody has to write it all down. "

# How threads wait: variables of libgomp, and settings of Gavel.
WAYS = {
    "as shipped": {},
    "libgomp's default (spins 300,000 times)": {"GOMP_SPINCOUNT": "300000"},
    "spins 10,000 times": {"GOMP_SPINCOUNT": "10000"},
    "spins 1,000 times": {"GOMP_SPINCOUNT": "1000"},
    "spins 800 times": {"GOMP_SPINCOUNT": "800"},
    "spins 600 times": {"GOMP_SPINCOUNT": "600"},
    "spins 300 times": {"GOMP_SPINCOUNT": "300"},
    "spins 100 times": {"GOMP_SPINCOUNT": "100"},
    "never spins": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "one thread": {"GAVEL_LLAMA_CPP__THREADS": "1"},
}


def spin():
    while True:
        pass


@contextlib.contextmanager
def busy(count):
    loops = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


def start_gavel(args, way):
    env = servers.without_settings() | {"GAVEL_DATA_DIR": str(servers.CACHE / "data"), "GAVEL_OFFLINE": "true"} | way
    return servers.Server("gavel", [args.gavel, "serve", "--model", args.model], env, "/readyz")


def start_peer(args):
    program, env = servers.peer_program(args)
    threads = str(os.cpu_count())
    command = [program, "--model", args.model, "--host", "127.0.0.1", "--parallel", "1", "--ctx-size", "4096",
               "--threads", threads, "--threads-batch", threads]
    return servers.Server("llama-server", command, env, "/health")


def ask_gavel(server, number, sentences):
    # No prompt begins as another one does.
    body = {"instruction": f"{number}. {TEXT * sentences}", "response": TEXT, "cache": False,
            "rubric": {"criterion": f"{number}?", "descriptions": {"1": "No.", "2": "Yes."}},
            "sampling": {"max_feedback_tokens": WRITTEN, "min_feedback_tokens": WRITTEN}}
    verdict = server.post("/v1/grade/absolute", body)
    timing = verdict["timing_ms"]
    return timing["prefill"] / 1e3, timing["decode"] / 1e3


def ask_peer(server, number, sentences):
    # About as many tokens as there are in Gavel's prompt, with its task and markers.
    body = {"prompt": f"{number}. {TEXT * (sentences + 7)}", "n_predict": WRITTEN, "ignore_eos": True, "cache_prompt": False,
            "temperature": 0}
    timing = server.post("/completion", body)["timings"]
    return timing["prompt_ms"] / 1e3, timing["predicted_ms"] / 1e3


def measure(server, ask, args, numbers):
    """Seconds of reading and of writing for each number of busy loops."""
    ask(server, next(numbers), args.sentences)
    cells = []
    for loops in args.loops:
        with busy(loops):
            taken = [ask(server, next(numbers), args.sentences) for _ in range(args.rounds)]
        cells.append(tuple(statistics.median(times) for times in zip(*taken, strict=True)))
    return cells


def row(name, cells):
    alone = cells[0]
    shown = [f"{value:.2f}" + ("" if cell is alone else f" ({value / alone[kind]:.1f})")
             for kind in (0, 1) for cell, value in ((cell, cell[kind]) for cell in cells)]
    print(f"| {name} | {' | '.join(shown)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gavel", required=True, help="the program")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--peer", help="llama-server; `install` builds it as benches/peers does; left out: not measured")
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--loops", type=int, nargs="*", default=[0, 2, 4],
                        help="busy loops; the first is what others are compared with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=10, help="how long the prompt is, in sentences of 20 tokens")
    args = parser.parse_args()
    loops = ["alone" if n == 0 else f"beside {n}" for n in args.loops]
    print(f"{Path(args.model).name}, {os.cpu_count()} cores, seconds (times as long as alone)\n")
    print("| | " + " | ".join(f"{kind}, {n}" for kind in ("reads", f"writes {WRITTEN}") for n in loops) + " |")
    print("| --- " * (1 + 2 * len(loops)) + "|")
    numbers = iter(range(1_000_000))
    for name in args.ways:
        with start_gavel(args, WAYS[name]) as server:
            row(f"Gavel, {name}", measure(server, ask_gavel, args, numbers))
    if args.peer:
        if args.peer == "install":
            args.peer = None
        with start_peer(args) as server:
            row("llama-server", measure(server, ask_peer, args, numbers))


if __name__ == "__main__":
    main()
