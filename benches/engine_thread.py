#!/usr/bin/env python3
"""What the thread that feeds the model does beside computing, while many judgements with long prompts run at once.

    benches/engine_thread.py --gavel target/release/gavel --model FILE.gguf

Whatever this thread does itself, such as tokenising, stops every judgement. The samples of its CPU time come from `perf`
(Debian: linux-perf); a sample counts as the model's if it is in ggml, in llama.cpp's graph or in OpenMP, and as other
work in all other code, such as Rust's and where llama.cpp tokenises. The C library is used by both, and shown apart. The worst case is a chat template whose markers are plain text,
such as Mistral's [INST], because then a prompt is one long run of text; `gguf-new-metadata --chat-template` of the Python
package gguf gives a file another one. Prints the share and the functions with most of it.
"""

import argparse
import concurrent.futures
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import servers  # noqa: E402

WORDS = "the old river runs past a small town and its people know where it turns when rain falls in the hills".split()
RUBRIC = {"criterion": "Is it right?", "descriptions": {str(score): f"It is {score} of 5." for score in range(1, 6)}}
GOAL = 0.05
# Rust paths, and the parts of llama.cpp that are no arithmetic.
OTHER = re.compile(r"\b(gavel|core|alloc|std|tokio|hashbrown|minijinja|serde|tracing|llguidance|toktrie)::|tokeniz|vocab|unicode")
# Arithmetic, and libgomp, whose functions have no names in a stripped library.
MODEL = re.compile(r"ggml|tinyBLAS|sgemm|GOMP|gomp|llama|llm_|^0x[0-9a-f]+$")
LIBC = re.compile(r"^_*(mem(set|move|cpy)|sincos|exp|log|pow|tanh)")


def request(number, tokens):
    text = " ".join(WORDS[(at * at + number) % len(WORDS)] for at in range(tokens))
    return {"instruction": f"{number}: what does this text say? {text}", "response": "It speaks of a river.",
            "rubric": RUBRIC, "mode": "score", "cache": False}


def engine_thread(pid):
    """The first thread of that name; those of OpenMP have its name and come later."""
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    return next(task.name for task in tasks if (task / "comm").read_text().strip() == "gavel-llama")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gavel", required=True, help="the program")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--judgements", type=int, default=64, help="how many run at once")
    parser.add_argument("--tokens", type=int, default=1500, help="about how long each prompt is")
    args = parser.parse_args()
    env = servers.without_settings() | {"GAVEL_DATA_DIR": str(servers.CACHE / "data"), "GAVEL_OFFLINE": "true",
                                        "GAVEL_LIMITS__DEADLINE_MS": "3600000"}
    with servers.Server("gavel", [args.gavel, "serve", "--model", args.model], env, "/readyz") as server, \
            tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/perf.data"
        perf = subprocess.Popen(["perf", "record", "-q", "-F", "499", "-t", engine_thread(server.process.pid), "-o", data])
        with concurrent.futures.ThreadPoolExecutor(args.judgements) as threads:
            asked = [request(number, args.tokens) for number in range(args.judgements)]
            read = sum(verdict["usage"]["prompt_tokens"]
                       for verdict in threads.map(lambda body: server.post("/v1/grade/absolute", body), asked))
        perf.send_signal(2)
        perf.wait()
        report = ["perf", "report", "-i", data, "--stdio", "--no-children", "--sort", "symbol", "-F", "overhead,symbol"]
        report = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\s+([\d.]+)%\s+\[([.k])\] (.*?)\s*$", report, re.MULTILINE)
    if not rows:
        raise SystemExit("perf saw nothing: may it be used? (kernel.perf_event_paranoid)")
    shares = {"the model": 0.0, "memory and mathematics of the C library, and the kernel": 0.0, "other work": 0.0}
    others = []
    for share, place, symbol in rows:
        # Further columns may follow.
        share, symbol = float(share) / 100, symbol.split("  ")[0]
        if place == "k" or LIBC.search(symbol):
            shares["memory and mathematics of the C library, and the kernel"] += share
        elif MODEL.search(symbol) and not OTHER.search(symbol):
            shares["the model"] += share
        else:
            shares["other work"] += share
            others.append((share, symbol))
    print(f"{args.judgements} judgements at once, {read} prompt tokens; CPU time of the engine's thread:")
    for name, share in shares.items():
        print(f"  {share:7.2%}  {name}")
    print("most of the other work:")
    for share, symbol in sorted(others, reverse=True)[:6]:
        print(f"  {share:7.2%}  {symbol[:100]}")
    held = shares["other work"] < GOAL
    print(f"goal: below {GOAL:.0%}: {'holds' if held else 'MISSED'}")
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
