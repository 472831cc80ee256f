"""Canaries and throughput on a GPU, in one run. README.md says what is measured and how."""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))

import beside  # noqa: E402
import floor  # noqa: E402
import servers  # noqa: E402
import shapes  # noqa: E402

CACHE = servers.CACHE.parent / "gpu"
# A prompt set with hardly any words of its own, so that prompts are as long as is asked.
TEMPLATE = "{{ response }} {{ instruction }} {{ rubric.text }}\nVerdict:\n"
SET = 'summary = "Short, for measuring."\nmarkers = []\n\n[verdict]\nstop = ["[RESULT]"]\nlead = " [RESULT]"\nscore = " {score}"\n'
RUBRIC = {"criterion": "Good?", "descriptions": {str(score): str(score) for score in range(1, 6)}}
WARM = 4


def parse(args=None):
    parser = argparse.ArgumentParser(prog="benches/gpu/run", description=__doc__)
    parser.add_argument("--gavel", default="target/release/gavel", help="the program, or the launcher of make cuda")
    parser.add_argument("--engine", default="mistralrs", help="which engine of Gavel is measured")
    parser.add_argument("--shape", default="7b", choices=shapes.SHAPES, help="the shape of the random weights")
    parser.add_argument("--models", default="demo,shape", help="demo, shape, or both")
    parser.add_argument("--at-once", default="1,8,32,64,128")
    parser.add_argument("--prompt-tokens", type=int, default=800)
    parser.add_argument("--shared", type=int, default=500, help="tokens that prompts share in the last table")
    parser.add_argument("--feedback", type=int, default=128, help="tokens of feedback, no more and no fewer")
    parser.add_argument("--requests", type=int, help="requests of each row; else four rounds, 16 at least")
    parser.add_argument("--doctor-requests", type=int, default=500)
    parser.add_argument("--llama-server", help="a CUDA build of llama.cpp's server")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    return parser.parse_args(args)


def words(count, seed):
    """Text of short words; two seeds have no beginning in common."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(source.choices(letters, k=source.randint(2, 7))) for _ in range(count))


def body(text, mode, feedback):
    return {
        "instruction": "?", "response": text, "rubric": RUBRIC, "mode": mode, "prompt": "bench", "cache": False,
        "sampling": {"max_feedback_tokens": feedback, "min_feedback_tokens": feedback},
    }


def text_of(tokens, per_word, seed, shared=""):
    """A text of about so many tokens, after what all share."""
    return shared + words(max(1, round(tokens / per_word)), seed)


def calibrate(post):
    """Tokens of a prompt without a text, and of a word, by the model's own count."""
    few, many = (sum(post(body(words(n, seed), "score", 1))["usage"]["prompt_tokens"] for seed in range(4)) / 4
                 for n in (50, 150))
    per_word = (many - few) / 100
    return few - 50 * per_word, per_word


def requests_of(args, at_once):
    return args.requests or max(16, 4 * at_once)


def bodies(args, mode, count, size, seed, shared=0):
    empty, per_word = size
    beginning = words(round(shared / per_word), -1) + " " if shared else ""
    tokens = args.prompt_tokens - empty - shared
    return [body(text_of(tokens, per_word, seed + n, beginning), mode, args.feedback) for n in range(count)]


def summed(replies, seconds):
    usage = [reply["usage"] for reply in replies]
    prompt = sum(u["prompt_tokens"] for u in usage)
    written = sum(u["completion_tokens"] for u in usage)
    return dict(requests=len(replies), seconds=seconds, verdicts_s=len(replies) / seconds, prompt=prompt / len(replies),
                prompt_s=prompt / seconds, written_s=written / seconds, cached=sum(u["cached_tokens"] for u in usage))


def gavel(args, path):
    (CACHE / "data" / "prompts" / "bench").mkdir(parents=True, exist_ok=True)
    (CACHE / "data" / "prompts" / "bench" / "absolute.txt.j2").write_text(TEMPLATE)
    (CACHE / "data" / "prompts" / "bench" / "set.toml").write_text(SET)
    settings = {"GAVEL_DATA_DIR": CACHE / "data", "GAVEL_LIMITS__IN_FLIGHT": 256,
                "GAVEL_LLAMA_CPP__SEQUENCES": 64, "GAVEL_LLAMA_CPP__KV_TOKENS": 131072, "GAVEL_PROMPT": "bench"}
    inherited = {key: value for key, value in os.environ.items() if key.startswith("GAVEL_")}
    env = servers.without_settings() | {key: str(value) for key, value in settings.items()} | inherited
    command = [args.gavel, "serve", "--engine", args.engine, "--model", path]
    return servers.Server("gavel-gpu", command, env, "/readyz")


def measure(args, name, path, shape, card):
    rows = []
    with gavel(args, path) as server:
        def post(request):
            return server.post("/v1/grade/absolute", request)

        size = calibrate(post)
        seed = 1000
        for mode, shared in [("feedback", 0), ("score", 0), ("score", args.shared)]:
            for at_once in map(int, args.at_once.split(",")):
                count = requests_of(args, at_once)
                wanted = bodies(args, mode, count + WARM, size, seed, shared)
                seed += len(wanted)
                server.post_all("/v1/grade/absolute", wanted[:WARM], WARM)
                row = summed(*server.post_all("/v1/grade/absolute", wanted[WARM:], at_once))
                written = args.feedback if mode == "feedback" else 0
                if card and shape:
                    least = floor.seconds(shape, shapes.parameters(shape), card, count, at_once, row["prompt"], written)
                    row["of_floor"] = least / row["seconds"]
                label = mode + (f", {shared} tokens shared" if shared else "")
                rows.append(dict(model=name, what=f"gavel, {label}", at_once=at_once, **row))
                print(line(rows[-1]), flush=True)
    return rows


HEAD = ("| model | what | at once | requests | tokens a prompt | verdicts/s | prompt tokens/s | written tokens/s | of the "
        "floor |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")


def line(row):
    share = f"{row['of_floor']:.2f}" if "of_floor" in row else ""
    return (f"| {row['model']} | {row['what']} | {row['at_once']} | {row['requests']} | {row['prompt']:.0f} | "
            f"{row['verdicts_s']:.2f} | {row['prompt_s']:.0f} | {row['written_s']:.0f} | {share} |")


def main():
    args = parse()
    chosen = args.models.split(",")
    figures = dict(machine=servers.machine(), arguments={k: str(v) for k, v in vars(args).items()})
    print("## Canaries\n", flush=True)
    doctor = [args.gavel, "doctor", "--engine", args.engine, "--requests", str(args.doctor_requests)]
    figures["doctor"] = subprocess.run(doctor, check=False).returncode
    card, why = floor.card()
    figures["card"] = card or why
    print(f"\n## Throughput\n\nThe card: {json.dumps(card) if card else why}.\n\n{HEAD}", flush=True)
    rows, left_out = [], []
    if "demo" in chosen:
        rows += measure(args, "demo", "smollm2-135m", None, card)
    if "shape" in chosen:
        folder = CACHE / f"random-{args.shape}"
        shape = shapes.write(folder, args.shape)
        rows += measure(args, f"random {args.shape}", folder, shape, card)
        found, left_out = beside.run(args, folder, requests_of, words)
        for row in found:
            print(line(row), flush=True)
        rows += found
    for why in left_out:
        print(f"\nLeft out: {why}.")
    figures["rows"], figures["left_out"] = rows, left_out
    figures["ended"] = time.strftime("%Y-%m-%d %H:%M:%S")
    args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
