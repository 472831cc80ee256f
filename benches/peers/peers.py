"""Measures Gavel and llama.cpp's own server side by side, on one model file and the same prompts.

Never both at once: each run starts a fresh server, and the runs of the two take turns. README.md explains the
workloads and the figures. Needs nothing but Python 3.9; the peer is installed on first use.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import servers
import workloads
from servers import CACHE, ROOT, fail

ABSOLUTE = "/v1/grade/absolute"
# What prometheus-eval 0.1.20 asks of its engine when nothing is said, on every try alike.
PROMETHEUS_EVAL = {"temperature": 1.0, "top_p": 0.9, "repeat_penalty": 1.03}
GREEDY = {"temperature": 0.0}
# The most probable tokens that the peer reports; its own default for OpenAI's top_logprobs is as many at most.
TOP = 20


def setting(name):
    """A setting of Gavel's engine as it is by default."""
    return int(re.search(rf"^{name} = (\d+)$", (ROOT / "config.default.toml").read_text(), re.MULTILINE)[1])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=ROOT.parent / "shared" / "data", help="the folder of labelled sets")
    parser.add_argument("--gavel", help="the program; by default that of cargo's release profile")
    parser.add_argument("--model", help="a GGUF file; by default that of the alias smollm2-135m")
    parser.add_argument("--q4-1", action="store_true", help="the Q4_1 file that the alias is made from")
    parser.add_argument("--workloads", nargs="+", default=["feedback", "reward", "bare"],
                        choices=["feedback", "reward", "bare"])
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server")
    parser.add_argument("--items", type=int, default=32, help="of workload feedback")
    parser.add_argument("--instructions", type=int, default=16, help="of workload reward")
    parser.add_argument("--responses", type=int, default=8, help="to each of them")
    parser.add_argument("--retries", type=int, default=10, help="of the peer's retrying client; 0 leaves its run out")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="another order of arrival, for both")
    parser.add_argument("--sequences", type=int, default=setting("sequences"), help="of Gavel, and slots of the peer")
    parser.add_argument("--context", type=int, default=setting("kv_tokens"), help="tokens of all of them together")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer", help="a llama-server program; by default that of the pip package")
    parser.add_argument("--peer-arg", action="append", default=[], help="one more argument for it, such as =--kv-unified")
    parser.add_argument("--bare", help="the program of `cargo bench --bench bare_loop`; by default cargo builds it")
    parser.add_argument("--json", default=CACHE / "last.json", help="where the figures go")
    args = parser.parse_args()
    if not args.gavel:
        command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
        target = json.loads(subprocess.check_output(command, cwd=ROOT))["target_directory"]
        args.gavel = str(Path(target) / "release" / "gavel")
    if not args.model:
        path = subprocess.check_output([args.gavel, "models", "path", "smollm2-135m"], text=True).strip()
        args.model = re.sub(r"F16\.gguf$", "Q4_1.gguf", path) if args.q4_1 else path
    return args


def total(replies, value):
    return sum(map(value, replies))


def run_gavel(args, bodies, at_once):
    """Every request once. Also gives the prompts, which the peer then gets."""
    with servers.gavel(args) as server:
        replies, seconds = server.post_all(ABSOLUTE, bodies, at_once)
    usage = lambda name: total(replies, lambda reply: reply["usage"][name])
    valid = [reply for reply in replies if reply["distribution"] and reply["label_mass"] > 0]
    figures = {
        "who": "gavel", "seconds": seconds, "replies": len(replies), "valid": len(valid),
        "prompt_tokens": usage("prompt_tokens"), "cached_tokens": usage("cached_tokens"),
        "completion_tokens": usage("completion_tokens"),
    }
    return figures, [(reply["debug"]["prompt"], reply["usage"]["prompt_tokens"]) for reply in replies]


def peer_figures(who, replies, seconds, valid):
    def cached(reply):
        # What was not read again; older builds only say how much was.
        timings = reply["timings"]
        return timings["cache_n"] if "cache_n" in timings else reply["tokens_evaluated"] - timings["prompt_n"]

    return {
        "who": who, "seconds": seconds, "replies": len(replies), "valid": valid,
        "prompt_tokens": total(replies, lambda reply: reply["tokens_evaluated"]),
        "cached_tokens": total(replies, cached),
        "completion_tokens": total(replies, lambda reply: reply["tokens_predicted"]),
    }


def check_counts(replies, expected):
    """The two servers read the same prompts as the same number of tokens, or there is nothing to compare."""
    for index, (reply, tokens) in enumerate(zip(replies, expected)):
        if reply["tokens_evaluated"] != tokens:
            fail(f"prompt {index} has {tokens} tokens for gavel and {reply['tokens_evaluated']} for the peer")
        if reply.get("truncated"):
            fail(f"the peer cut prompt {index}; give it more --context")


def completion(prompt, tokens, **sampling):
    return {"prompt": prompt, "n_predict": tokens, "cache_prompt": True, "stream": False, **sampling}


def run_peer_feedback(args, prompts, at_once):
    """Every prompt once, greedily, as Gavel generates."""
    length = workloads.FEEDBACK_TOKENS + workloads.VERDICT_ROOM
    bodies = [completion(prompt, length, **GREEDY) for prompt, _ in prompts]
    with servers.peer(args) as server:
        replies, seconds = server.post_all("/completion", bodies, at_once)
    check_counts(replies, [tokens for _, tokens in prompts])
    valid = sum(workloads.parse_verdict(reply["content"]) is not None for reply in replies)
    return peer_figures("llama-server", replies, seconds, valid)


def run_peer_retrying(args, prompts, at_once):
    """As prometheus-eval's client: all prompts, then again those whose answer cannot be parsed, a round at a time."""
    length = workloads.FEEDBACK_TOKENS + workloads.VERDICT_ROOM
    left, everything, seconds, valid, rounds = list(enumerate(prompts)), [], 0.0, 0, 0
    with servers.peer(args) as server:
        while left and rounds <= args.retries:
            bodies = [
                completion(prompt, length, seed=1000 * rounds + index, **PROMETHEUS_EVAL) for index, (prompt, _) in left
            ]
            replies, took = server.post_all("/completion", bodies, at_once)
            check_counts(replies, [tokens for _, (_, tokens) in left])
            parsed = [workloads.parse_verdict(reply["content"]) is not None for reply in replies]
            left = [item for item, done in zip(left, parsed) if not done]
            everything, seconds, valid, rounds = everything + replies, seconds + took, valid + sum(parsed), rounds + 1
    # A caller waits for the last try: a reply is what an item has in the end.
    figures = peer_figures("llama-server, retrying", everything, seconds, valid)
    return figures | {"replies": len(prompts), "answers": len(everything), "tries": rounds}


def peer_tokens(server, text):
    return server.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]


def label_prompts(args, prompts):
    """For each prompt the ids that stand before the label, as the tokenizer splits prompt, lead and label as a whole."""
    with servers.peer(args) as server:
        for index, (prompt, tokens) in enumerate(prompts):
            if len(peer_tokens(server, prompt)) != tokens:
                fail(f"prompt {index} has {tokens} tokens for gavel and another number for the peer")
        return [
            workloads.forced_and_labels([peer_tokens(server, f"{prompt}[RESULT] {label}") for label in workloads.LABELS])
            for prompt, _ in prompts
        ]


def run_peer_reward(args, forced, at_once):
    """One token a prompt, and the most probable tokens in its place."""
    bodies = [completion(ids, 1, n_probs=TOP, **GREEDY) for ids, _ in forced]
    with servers.peer(args) as server:
        replies, seconds = server.post_all("/completion", bodies, at_once)
    check_counts(replies, [len(ids) for ids, _ in forced])
    found = [
        workloads.labels_among(reply["completion_probabilities"][0]["top_logprobs"], labels)
        for reply, (_, labels) in zip(replies, forced)
    ]
    figures = peer_figures("llama-server", replies, seconds, sum(map(bool, found)))
    return figures | {"all_labels": sum(count == len(workloads.LABELS) for count in found)}


def say(name, round_, figures):
    rate = figures["replies"] / figures["seconds"]
    print(f"{name}, round {round_}, {figures['who']}: {rate:.3g} replies/s", file=sys.stderr, flush=True)


def measure(args, name, bodies, at_once, peer_run, prepare=lambda prompts: prompts):
    """The two servers in turns; what the peer gets is made of Gavel's own prompts."""
    rounds, given, asked = [], None, None
    for round_ in range(1, args.rounds + 1):
        ours, prompts = run_gavel(args, bodies, at_once)
        say(name, round_, ours)
        if given is None:
            given, asked = prompts, prepare(prompts)
        elif given != prompts:
            fail("gavel made other prompts of the same requests")
        theirs = peer_run(args, asked, at_once)
        say(name, round_, theirs)
        rounds.append([ours, theirs])
    return rounds, asked


def feedback(args):
    bodies = ordered(args, workloads.feedback(args.data, args.items))
    rounds, prompts = measure(args, "feedback", bodies, 8, run_peer_feedback)
    result = summary(rounds)
    if args.retries:
        retrying = run_peer_retrying(args, prompts, 8)
        say("feedback", 1, retrying)
        result["runs"].append(rated(retrying, 1))
    return result


def reward(args):
    bodies = ordered(args, workloads.reward(args.data, args.instructions, args.responses))
    rounds, forced = measure(args, "reward", bodies, 16, run_peer_reward, lambda prompts: label_prompts(args, prompts))
    ids = [ids for ids, _ in forced]
    tokens = {"all": sum(map(len, ids)), "unshared": workloads.unshared(ids), "ceiling": workloads.ceiling(ids)}
    return summary(rounds) | {"tokens": tokens}


def ordered(args, bodies):
    return bodies if args.shuffle is None else workloads.shuffled(bodies, args.shuffle)


def rated(figures, round_):
    rates = {
        "replies_per_second": figures["replies"] / figures["seconds"],
        "valid_per_second": figures["valid"] / figures["seconds"],
        "cached_share": figures["cached_tokens"] / max(figures["prompt_tokens"], 1),
    }
    return {"round": round_} | figures | rates


def summary(rounds):
    runs = [rated(figures, number) for number, pair in enumerate(rounds, 1) for figures in pair]
    rate = [[pair[who]["replies"] / pair[who]["seconds"] for who in (0, 1)] for pair in rounds]
    ratios = [ours / theirs for ours, theirs in rate]
    return {"runs": runs, "ratios": ratios, "ratio": sum(ratios) / len(ratios)}


def bare(args):
    """Gavel's prefill and decode against the binding's own loop, on the longest prompt of workload feedback."""
    bodies = workloads.feedback(args.data, args.items)
    tokens, many = 64, args.sequences
    body = max(bodies, key=lambda body: len(json.dumps(body)))
    sampling = {"max_feedback_tokens": tokens, "min_feedback_tokens": tokens}
    body = body | {"sampling": sampling, "cache": False}
    chunk = setting("step_tokens")
    rounds = []
    for round_ in range(1, args.rounds + 1):
        # One alone on a fresh server: no prefix of it is cached.
        with servers.gavel(args) as server:
            alone = server.post(ABSOLUTE, body)
        with servers.gavel(args) as server:
            together, _ = server.post_all(ABSOLUTE, [body] * many, many)
        if alone["usage"]["cached_tokens"]:
            fail("the request that should be alone found a cached prefix")
        decode = max(reply["timing_ms"]["decode"] for reply in together)
        ours = {
            "who": "gavel",
            "prompt_tokens": alone["usage"]["prompt_tokens"],
            "prefill": alone["usage"]["prompt_tokens"] / alone["timing_ms"]["prefill"] * 1e3,
            "decode_1": alone["usage"]["completion_tokens"] / alone["timing_ms"]["decode"] * 1e3,
            f"decode_{many}": total(together, lambda reply: reply["usage"]["completion_tokens"]) / decode * 1e3,
        }
        theirs = bare_loop(args, alone["debug"]["prompt"], tokens, many, chunk)
        if theirs["prompt_tokens"] != ours["prompt_tokens"]:
            fail(f"the prompt has {ours['prompt_tokens']} tokens for gavel, {theirs['prompt_tokens']} for the bare loop")
        ratio = {key: ours[key] / theirs[key] for key in ours if key not in ("who", "prompt_tokens")}
        print(f"bare, round {round_}: {ratio}", file=sys.stderr, flush=True)
        rounds.append({"runs": [ours, theirs], "ratios": ratio})
    return {
        "rounds": rounds,
        "ratio": {key: sum(r["ratios"][key] for r in rounds) / len(rounds) for key in rounds[0]["ratios"]},
    }


def bare_loop(args, prompt, tokens, many, chunk):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(prompt)
        file.flush()
        options = ["--model", args.model, "--prompt", file.name, "--tokens", tokens, "--sequences", many]
        # In one pool the sequences would share a single copy of the prompt, which requests that differ cannot.
        options = [str(option) for option in [*options, "--chunk", chunk, "--threads", args.threads, "--streams"]]
        if args.bare:
            command, cwd = [args.bare, *options], None
        else:
            build = '. .ci/env && exec cargo bench --quiet --bench bare_loop -- "$@"'
            command, cwd = ["bash", "-euc", build, "bash", *options], ROOT
        said = subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"who": "bare loop"} | json.loads(said.splitlines()[-1])


def markdown(result):
    about, parts = result["about"], []
    machine, version = about["machine"], about["versions"]
    parts.append(
        f"{about['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {version['gavel']}, "
        f"llama-server {version['llama-server']}; {version['model']['file']}, {about['threads']} threads, "
        f"{about['sequences']} sequences or slots, {about['context']} tokens of context in all."
    )
    columns = ["round", "who", "replies_per_second", "valid_per_second", "valid", "replies", "prompt_tokens",
               "cached_share", "completion_tokens", "seconds"]
    for name, goal in (("feedback", 1.2), ("reward", 1.5)):
        if part := result.get(name):
            parts.append(f"### {name}\n\n" + workloads.table(part["runs"], columns))
            ratios = ", ".join(f"{ratio:.2f}" for ratio in part["ratios"])
            line = f"gavel's replies/s over the peer's: {ratios} (mean {part['ratio']:.2f}; goal {goal})."
            if tokens := part.get("tokens"):
                line += (f" Arithmetic ceiling of sharing: {tokens['all']} tokens over {tokens['unshared']} unshared "
                         f"ones, {tokens['ceiling']:.2f}.")
                theirs = next(run for run in part["runs"] if run["who"] != "gavel")
                line += f" All labels were among the peer's {TOP} most probable tokens in {theirs['all_labels']} replies."
            parts.append(line)
    if part := result.get("bare"):
        rows = [run | {"round": number} for number, pair in enumerate(part["rounds"], 1) for run in pair["runs"]]
        columns = ["round", *(key for key in rows[0] if key != "round")]
        parts.append("### bare loop, tokens a second\n\n" + workloads.table(rows, columns))
        ratio = ", ".join(f"{key} {value:.2f}" for key, value in part["ratio"].items())
        parts.append(f"gavel over the bare loop: {ratio} (goal 0.9).")
    return "\n\n".join(parts)


def main():
    args = arguments()
    result = {
        "about": {
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "machine": servers.machine(),
            "versions": servers.versions(args),
            "threads": args.threads,
            "sequences": args.sequences,
            "context": args.context,
            "shuffle": args.shuffle,
            "peer_arguments": args.peer_arg,
        }
    }
    for name, run in (("feedback", feedback), ("reward", reward), ("bare", bare)):
        if name in args.workloads:
            result[name] = run(args)
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    Path(args.json).write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(markdown(result))
    print(f"\nThe figures as JSON: {args.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
