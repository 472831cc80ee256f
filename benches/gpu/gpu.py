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
    parser.add_argument("--engine", default="mistralrs",
                        help="which engines of Gavel are measured: mistralrs, llama-cpp (its test model only), or both")
    parser.add_argument("--shape", default="7b", choices=shapes.SHAPES, help="the shape of the random weights")
    parser.add_argument("--models", default="demo,shape", help="demo, shape, or both")
    parser.add_argument("--at-once", default="1,8,32,64,128")
    parser.add_argument("--prompt-tokens", type=int, default=800)
    parser.add_argument("--shared", type=int, default=500, help="tokens that prompts share in the last table")
    parser.add_argument("--feedback", type=int, default=128, help="tokens of feedback, no more and no fewer")
    parser.add_argument("--requests", type=int, help="requests of each row; else four rounds, 16 at least")
    parser.add_argument("--doctor-requests", type=int, default=500)
    parser.add_argument("--peers-at", type=int, default=64, help="at how many at once the peers are measured, too")
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


def calibrate(post, letters=False):
    """Tokens of a prompt without a text, and of a word, by the model's own count; with `letters` each is a token."""
    if letters:
        text = words(50, 0)
        return post(body(text, "score", 1))["usage"]["prompt_tokens"] - len(text), 5.5
    few, many = (sum(post(body(words(n, seed), "score", 1))["usage"]["prompt_tokens"] for seed in range(4)) / 4
                 for n in (50, 150))
    per_word = (many - few) / 100
    return few - 50 * per_word, per_word


def requests_of(args, at_once):
    return args.requests or max(16, 4 * at_once)


def bodies(args, mode, count, size, seed, shared=0, letters=False):
    """Requests whose prompts have about --prompt-tokens tokens; with `letters`, where each is a token, exactly."""
    empty, per_word = size
    beginning = words(round(shared / per_word), -1) + " " if shared else ""
    tokens = args.prompt_tokens - empty
    texts = [text_of(tokens - shared + 50 * letters, per_word, seed + n, beginning) for n in range(count)]
    return [body(text[: round(tokens)] if letters else text, mode, args.feedback) for text in texts]


def frame(post):
    """What a prompt has before and after its text."""
    text = words(3, 0)
    before, _, after = post({**body(text, "feedback", 1), "debug": True})["debug"]["prompt"].partition(text)
    return before, after


def summed(replies, seconds):
    usage = [reply["usage"] for reply in replies]
    prompt = sum(u["prompt_tokens"] for u in usage)
    written = sum(u["completion_tokens"] for u in usage)
    return dict(requests=len(replies), seconds=seconds, verdicts_s=len(replies) / seconds, prompt=prompt / len(replies),
                prompt_s=prompt / seconds, written_s=written / seconds, cached=sum(u["cached_tokens"] for u in usage))


def gavel(args, engine, path):
    (CACHE / "data" / "prompts" / "bench").mkdir(parents=True, exist_ok=True)
    (CACHE / "data" / "prompts" / "bench" / "absolute.txt.j2").write_text(TEMPLATE)
    (CACHE / "data" / "prompts" / "bench" / "set.toml").write_text(SET)
    settings = {"GAVEL_DATA_DIR": CACHE / "data", "GAVEL_LIMITS__IN_FLIGHT": 256,
                "GAVEL_LLAMA_CPP__SEQUENCES": 128, "GAVEL_LLAMA_CPP__KV_TOKENS": 196608,
                "GAVEL_LLAMA_CPP__STEP_TOKENS": 4096, "GAVEL_MISTRALRS__SEQUENCES": 128,
                "GAVEL_MISTRALRS__KV_TOKENS": 131072, "GAVEL_PROMPT": "bench"}
    inherited = {key: value for key, value in os.environ.items() if key.startswith("GAVEL_")}
    env = servers.without_settings() | {key: str(value) for key, value in settings.items()} | inherited
    command = [args.gavel, "serve", "--engine", engine, "--model", path]
    return servers.Server("gavel-gpu", command, env, "/readyz")


def measure(args, engine, name, path, shape, weights, card, letters):
    """Rows of a model, and the prompts that its peers are to have."""
    rows, prompts = [], []
    with gavel(args, engine, path) as server:
        def post(request):
            return server.post("/v1/grade/absolute", request)

        size, (before, after) = calibrate(post, letters), frame(post)
        seed = 1000
        for mode, shared in [("feedback", 0), ("score", 0), ("score", args.shared)]:
            for at_once in map(int, args.at_once.split(",")):
                count = requests_of(args, at_once)
                wanted = bodies(args, mode, count + WARM, size, seed, shared, letters)
                seed += len(wanted)
                server.post_all("/v1/grade/absolute", wanted[:WARM], WARM)
                row = summed(*server.post_all("/v1/grade/absolute", wanted[WARM:], at_once))
                written = args.feedback if mode == "feedback" else 0
                if at_once == args.peers_at and written:
                    prompts = [before + request["response"] + after for request in wanted[WARM:]]
                if card:
                    least = floor.seconds(shape, weights, card, count, at_once, row["prompt"], written)
                    row["of_floor"] = least / row["seconds"]
                label = mode + (f", {shared} tokens shared" if shared else "")
                rows.append(dict(model=name, what=f"gavel {engine}, {label}", mode=label, at_once=at_once, **row))
                print(line(rows[-1]), flush=True)
    return rows, prompts


def beside_it(args, name, what, rows, prompts, peer):
    """The row of a peer, or why there is none; and how far Gavel is ahead."""
    if not prompts:
        return [], [f"{what}: --at-once has no {args.peers_at}"]
    row, why = beside.attempt(name, what, lambda: peer(prompts), prompts, args.feedback)
    if not row:
        return [], [why]
    print(line(row), flush=True)
    ours = next(r for r in rows if r["mode"] == "feedback" and r["at_once"] == args.peers_at)
    row["gavel_is_times"] = ours["verdicts_s"] / row["verdicts_s"]
    return [row], []


HEAD = ("| model | what | at once | requests | tokens a prompt | verdicts/s | prompt tokens/s | written tokens/s | of the "
        "floor |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")


def line(row):
    share = f"{row['of_floor']:.2f}" if "of_floor" in row else ""
    return (f"| {row['model']} | {row['what']} | {row['at_once']} | {row['requests']} | {row['prompt']:.0f} | "
            f"{row['verdicts_s']:.2f} | {row['prompt_s']:.0f} | {row['written_s']:.0f} | {share} |")


def main():
    args = parse()
    chosen = args.models.split(",")
    if unknown := set(chosen) - {"demo", "shape"}:
        raise SystemExit(f"--models: demo and shape are known, not {', '.join(sorted(unknown))}")
    figures = dict(machine=servers.machine(), arguments={k: str(v) for k, v in vars(args).items()})
    engines = args.engine.split(",")
    print("## Canaries\n", flush=True)
    doctor = [args.gavel, "doctor", "--requests", str(args.doctor_requests)]
    doctor += ["--engine", args.engine] if len(engines) == 1 else []
    figures["doctor"] = subprocess.run(doctor, check=False).returncode
    card, why = floor.card()
    figures["card"] = card or why
    print(f"\n## Throughput\n\nThe card: {json.dumps(card) if card else why}.\n\n{HEAD}", flush=True)
    rows, left_out = [], []

    def keep(found, why=()):
        """What was measured stays if what follows breaks off."""
        rows.extend(found)
        left_out.extend(why)
        figures.update(rows=rows, left_out=left_out, ended=time.strftime("%Y-%m-%d %H:%M:%S"))
        args.json.write_text(json.dumps(figures, indent=1) + "\n")

    if "demo" in chosen:
        pull = [args.gavel, "models", "pull", "smollm2-135m"]
        subprocess.run(pull, check=True, stdout=sys.stderr)
        path = subprocess.run([args.gavel, "models", "path", "smollm2-135m"], capture_output=True, text=True, check=True)
        parameters = shapes.parameters(shapes.DEMO) - shapes.DEMO["vocab_size"] * shapes.DEMO["hidden_size"]
        weights = parameters, Path(path.stdout.strip()).stat().st_size
        # The peer is compared with the engine that is named first.
        for engine in reversed(engines):
            found, prompts = measure(args, engine, "demo", "smollm2-135m", shapes.DEMO, weights, card, False)
            keep(found)
        peer = lambda prompts: beside.llama_server(args, prompts, args.peers_at)  # noqa: E731
        keep(*beside_it(args, "demo", "llama.cpp's server", found, prompts, peer))
    if "shape" in chosen and "mistralrs" in engines:
        name, folder = f"random {args.shape}", CACHE / f"random-{args.shape}"
        shape = shapes.write(folder, args.shape)
        weights = shapes.parameters(shape), 2 * shapes.parameters(shape)
        found, prompts = measure(args, "mistralrs", name, folder, shape, weights, card, True)
        keep(found)
        peer = lambda prompts: beside.transformers(folder, prompts, args.feedback)  # noqa: E731
        keep(*beside_it(args, name, "transformers, continuous batching", found, prompts, peer))
    for row in rows:
        if "gavel_is_times" in row:
            print(f"\nGavel at {args.peers_at} at once: {row['gavel_is_times']:.2f} times the verdicts of {row['what']}.")
    for why in left_out:
        print(f"\nLeft out: {why}.")


if __name__ == "__main__":
    main()
