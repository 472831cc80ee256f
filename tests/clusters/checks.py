"""Whether Gavel before a server judges as Gavel with the model in its own process does."""

import concurrent.futures
import json
import math
import subprocess
import time

import environments
import items as made
from servers import HERE, Stream, ask

TOGETHER = 4
# Probabilities, label masses; the top score may differ where the two best are as close as this.
APART, CLOSE = 0.01, 0.02


class Setup:
    """What the checks ask: Gavel before the server, by way of a proxy that records; Gavel in process; the server."""

    def __init__(self, remote, local, server, proxy, count):
        self.remote, self.local, self.server, self.proxy, self.count = remote, local, server, proxy, count


def both(setup, ask_one, asked):
    """The answers of both Gavels to the same questions, one Gavel after the other."""
    answers = []
    for gavel in (setup.remote, setup.local):
        with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
            answers.append(list(pool.map(lambda one, gavel=gavel: ask_one(gavel, one), asked)))
    return zip(*answers)


def compare(pairs):
    """The largest differences of probabilities and of label masses, and the number of unequal top scores."""
    probability, mass, other = 0.0, 0.0, 0
    for one, two in pairs:
        apart = [abs(one["distribution"][label] - p) for label, p in two["distribution"].items()]
        probability, mass = max(probability, *apart), max(mass, abs(one["label_mass"] - two["label_mass"]))
        best, second = sorted(two["distribution"].values())[: -3 : -1]
        other += one["score"] != two["score"] and best - second > CLOSE
    return probability, mass, other


def within(report, number, what, pairs, counted=""):
    probability, mass, other = compare(pairs)
    measured = f"{counted}probabilities {probability:.5f} apart at most, label masses {mass:.5f}, {other} other scores"
    good = bool(pairs) and probability <= APART and mass <= APART and other == 0
    report.row(number, what, f"≤ {APART}, ≤ {APART}, 0", measured, good)


def reference(setup, report, model):
    """Check 2: Hugging Face transformers on the same prompts. The options of the rubric are one token each."""
    asked = made.items(8, seed=2)
    verdicts = [setup.remote.grade(item, debug=True) for item in asked]
    texts = []
    for verdict in verdicts:
        debug, labels = verdict["debug"], list(verdict["distribution"])
        lead = debug["answer"].removesuffix(str(verdict["score"]))
        texts.append({"prompt": debug["prompt"] + lead, "options": labels})
    command = [environments.vllm(), HERE / "transformers_reference.py", model]
    said = subprocess.run(list(map(str, command)), input=json.dumps(texts), check=True, capture_output=True, text=True)
    expected = json.loads(said.stdout)
    furthest = 0.0
    for verdict, masses in zip(verdicts, expected):
        told = [p * verdict["label_mass"] for p in verdict["distribution"].values()]
        furthest = max(furthest, *(abs(mine - theirs) for mine, theirs in zip(told, masses)))
    measured = f"probabilities before normalising {furthest:.6f} apart at most"
    report.row(2, "8 items, score mode, against Hugging Face transformers in float32", "≤ 0.005", measured, furthest <= 0.005)


def same_verdicts(setup, report):
    asked = made.items(setup.count)
    within(report, 1, f"{len(asked)} items, score mode", list(both(setup, lambda gavel, item: gavel.grade(item), asked)))

    def with_feedback(gavel, item):
        return gavel.grade(item, mode="feedback", sampling={"max_feedback_tokens": 32, "temperature": 0.0})

    pairs = list(both(setup, with_feedback, asked))
    equal = [(one, two) for one, two in pairs if one["feedback"] == two["feedback"]]
    within(report, 1, f"{len(asked)} items, 32 tokens of greedy feedback", equal, f"{len(equal)} equal texts; ")


def label(verdict):
    return verdict["gavel"]["verdicts"][0]


def judge_model(gavel, name, text):
    body = {"model": name, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    return gavel.judge(body, "/v1/chat/completions")


QUESTIONS = ["What colour is the sea?", "Which day comes after Monday?", "Who wrote the letter, and why was it late?"]


def masses(verdict):
    """The probability of each option before normalising."""
    judged = label(verdict)
    return {option: p * judged["label_mass"] for option, p in judged["distribution"].items()}


def improbable_options(setup, report):
    furthest, ratio, probable = 0.0, 0.0, 0.0
    setup.proxy.forget()
    for name in ("unlikely", "mixed"):
        for question in QUESTIONS:
            one, two = (masses(judge_model(gavel, name, question)) for gavel in (setup.remote, setup.local))
            furthest = max(furthest, *(abs(one[option] - p) for option, p in two.items()))
            ratio = max(ratio, *(abs(one[option] / p - 1) for option, p in two.items()))
            if name == "unlikely":
                probable = max(probable, *two.values())
    measured = f"{furthest:.6f} apart at most, or {ratio:.1%} of the probability; the improbable ones have at most {probable:.6f}"
    report.row(3, "improbable options against in process", "≤ 0.001", measured, furthest <= 1e-3)
    if setup.server.kind != "llama-server":
        return
    biased = [body for body in setup.proxy.posted("/completion") if body.get("logit_bias")]
    furthest = max((apart_from_whole_list(setup.server, body) for body in biased), default=9.0)
    report.row(
        3, "reads with a bias against the whole distribution of the server", "≤ 0.001 of the probability",
        f"{len(biased)} reads, {furthest:.6f} of the probability apart at most", furthest <= 1e-3 and bool(biased),
    )


def apart_from_whole_list(server, body):
    """How far the probabilities are that follow from a read with a bias, from those of a list of all tokens."""
    # In turn, so that both are computed from the same cached prefix.
    plain = {key: value for key, value in body.items() if key not in ("logit_bias", "samplers", "post_sampling_probs")}
    plain |= {"n_probs": 1 << 18, "temperature": 0.0}
    listed = ask(server.url, "/completion", plain).json["completion_probabilities"][0]["top_logprobs"]
    told = ask(server.url, "/completion", body).json["completion_probabilities"][0]["top_probs"]
    anchor, whole = listed[0], {entry["id"]: entry["logprob"] for entry in listed}
    of = {entry["id"]: entry["prob"] for entry in told}
    # What this bias does not bring into the list, Gavel reads again with a larger one.
    brought = [(token, bias) for token, bias in body["logit_bias"] if token in of]
    ratios = [of[token] / of[anchor["id"]] for token, _ in brought]
    expected = [whole[token] - anchor["logprob"] + bias for token, bias in brought]
    return max((abs(ratio / math.exp(log) - 1) for ratio, log in zip(ratios, expected)), default=0.0)


def many_levels(setup, report):
    asked = [item | {"rubric": made.scale(0, 10)} for item in made.items(12, seed=4)]
    within(report, 4, "12 items, levels 0 to 10", list(both(setup, lambda gavel, item: gavel.grade(item), asked)))
    for name, what in [("ten", "options 1 to 10"), ("tree", "options 1, 10, 100, 12, 2, 20, 7")]:
        furthest = 0.0
        for question in QUESTIONS:
            one, two = (masses(judge_model(gavel, name, question)) for gavel in (setup.remote, setup.local))
            furthest = max(furthest, *(abs(one[option] - p) for option, p in two.items()))
        report.row(4, what, f"≤ {APART}", f"masses {furthest:.5f} apart at most", furthest <= APART)


def hostile_requests():
    """Bodies as texts, with a hostile text in each field that a caller can write."""
    base = {
        "instruction": "Name a colour.", "response": "Blue.", "reference_answer": "Red.", "annotator": "a teacher",
        "context": [{"id": "one", "text": "Red is a colour."}], "rubric": made.RUBRIC,
        "mode": "score", "prompt": "plain", "cache": False,
    }
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]
    rubric = {"criterion": "MARK", "descriptions": dict(made.RUBRIC["descriptions"])}
    described = {"criterion": "Is it good?", "descriptions": made.RUBRIC["descriptions"] | {"3": "MARK"}}
    conversation = {key: value for key, value in base.items() if key != "instruction"}
    places = [base | {field: "MARK"} for field in ("instruction", "response", "reference_answer", "annotator")]
    places += [base | {"context": [{"id": "MARK", "text": "Red."}]}, base | {"context": [{"id": "one", "text": "MARK"}]}]
    places += [base | {"rubric": rubric}, base | {"rubric": described}]
    for index in range(3):
        changed = [turn | {"content": "MARK"} if at == index else turn for at, turn in enumerate(turns)]
        places.append(conversation | {"messages": changed})
    for place in places:
        for text in made.HOSTILE:
            yield json.dumps(place).replace('"MARK"', json.dumps(text))
    for place in places:
        for text in made.SURROGATES:
            yield json.dumps(place).replace("MARK", text)


def hostile_texts(setup, report):
    requests = list(hostile_requests())
    # All of them in the long run, some of each in the short one.
    requests = requests if setup.count >= 64 else requests[::5]
    verdicts, refused, other, furthest = 0, 0, [], 0.0
    for body, (one, two) in zip(requests, both(setup, lambda gavel, body: gavel.post("/v1/grade/absolute", body), requests)):
        if one.status != two.status:
            other.append((one.status, two.status, body[:200]))
        elif one.status == 200:
            verdicts += 1
            if one.json["usage"]["prompt_tokens"] != two.json["usage"]["prompt_tokens"]:
                other.append((one.json["usage"], two.json["usage"], body[:200]))
            furthest = max(furthest, compare([(one.json, two.json)])[0])
        else:
            refused += 1
            if one.outcome != two.outcome:
                other.append((one.outcome, two.outcome, body[:200]))
    measured = f"{verdicts} verdicts, {refused} refused by both (as malformed_json), {len(other)} differ; probabilities {furthest:.5f} apart at most"
    good = not other and verdicts > len(requests) / 2 and furthest <= APART
    report.row(5, f"{len(requests)} requests with hostile texts: prompt_tokens as in process", "0 differ", measured, good)
    for case in other[:5]:
        report.note(f"differs: {case}")


def raw_reads(setup, report):
    furthest = 0.0
    for item in made.items(8, seed=6):
        # The first read computes the prompt, later ones find it in the cache, which alone moves the last digits.
        setup.remote.grade(item)
        plain = setup.remote.grade(item)
        hot = setup.remote.grade(item, sampling={"temperature": 2.0, "top_k": 1, "seed": 3})
        narrow = setup.remote.grade(item, sampling={"temperature": 0.1, "top_p": 0.05, "min_p": 0.9, "seed": 3})
        furthest = max(furthest, compare([(hot, plain)])[0], compare([(narrow, plain)])[0])
    report.row(6, "temperature 2, top_k 1; 0.1, top_p 0.05, min_p 0.9", "≤ 0.001", f"{furthest:.6f} apart at most", furthest <= 1e-3)


def unique_tokens(prompts):
    """The number of tokens if everything that prompts begin alike with is read once."""
    total, before = 0, []
    for prompt in sorted(prompts):
        alike = next((at for at, (a, b) in enumerate(zip(prompt, before)) if a != b), min(len(prompt), len(before)))
        total, before = total + len(prompt) - alike, prompt
    return total


def sent(setup):
    """The token ids of the prompts that were sent to the server."""
    bodies = setup.proxy.posted("/completion", "/v1/completions")
    prompts = [body["prompt"] for body in bodies]
    return [tuple(ids) for prompt in prompts for ids in (prompt if isinstance(prompt[0], list) else [prompt])]


def prefix_reuse(setup, report):
    item = made.items(1, seed=7)[0] | {"response": "It depends on the weather, mostly. " * 12}
    least = []
    for mode in ("score", "feedback"):
        fields = {"mode": mode, "sampling": {"max_feedback_tokens": 8}}
        setup.remote.grade(item, **fields)
        usage = setup.remote.grade(item, **fields)["usage"]
        least.append(usage["prompt_tokens"] - usage["cached_tokens"])
    # The last token is always read again, and the seam before it may be.
    most = setup.server.block + 3
    report.row(
        7, "the same request again, score and feedback", f"≤ {most} prompt tokens not cached",
        f"{least[0]} and {least[1]} of {usage['prompt_tokens']}", max(least) <= most,
    )
    setup.proxy.forget()
    before = setup.server.computed()
    asked = [item | {"rubric": made.RUBRIC} for item in made.items(64, seed=8)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(setup.remote.grade, asked))
    computed, unique = setup.server.computed() - before, unique_tokens(set(sent(setup)))
    report.row(
        7, "64 judgements with one rubric, 16 at once", "< 1.3 × the unique tokens",
        f"{computed:.0f} computed of {sum(map(len, set(sent(setup))))}, {unique} unique: {computed / unique:.2f}",
        computed < 1.3 * unique,
    )


def idle(server, seconds):
    """How long until a server has nothing to do; none if it still has after so many seconds."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if server.running() == 0:
            return time.monotonic() - started
        time.sleep(0.05)
    return None


def departure(setup, report):
    if idle(setup.server, 30) is None:
        raise SystemExit("the server has work that nobody waits for")
    before = setup.server.written()
    body = {"mode": "feedback", "prompt": "plain", "cache": False}
    body["sampling"] = {"max_feedback_tokens": 1000, "temperature": 1.0}
    streams = [Stream(setup.remote.url, "/v1/grade/absolute", item | body) for item in made.items(4, seed=9)]
    for stream in streams:
        next(iter(stream))
    running = setup.server.running()
    for stream in streams:
        stream.close()
    took = idle(setup.server, 30)
    written = setup.server.written() - before
    setup.proxy.forget()
    time.sleep(1)
    late = len(setup.proxy.posted("/completion", "/v1/completions"))
    measured = f"{running:.0f} running as 4 callers leave, " + ("still some after 30 s" if took is None else f"none after {took:.1f} s")
    measured += f"; {written:.0f} tokens written; {late} requests afterwards"
    report.row(8, "callers leave while the feedback is written", "none after 5 s", measured, took is not None and took <= 5 and not late)
