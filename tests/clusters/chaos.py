"""What Gavel does when its server fails, and when the server, or something before it, lies."""

import math
import os
import time

import items as made
from servers import Gavel, Stream, ask, remote

# Of Gavel in these checks: retries of a request, and how long it waits for a byte, in seconds.
RETRIES, PATIENCE = 2, float(os.environ.get("PATIENCE", 4))
# The health of servers is asked for every 5 s, and the breaker stays open for 10 s.
NOTICED_SECONDS = 30
PATHS = ("/completion", "/v1/completions")
ITEM = made.items(1, seed=11)[0] | {"prompt": "plain", "cache": False}
SCORE = ITEM | {"mode": "score"}
FEEDBACK = ITEM | {"mode": "feedback", "sampling": {"max_feedback_tokens": 24, "temperature": 0.0}}


def start(program, folder, proxy, tokenizer, name="chaos"):
    settings = {"REMOTE__QUEUE_MS": int(PATIENCE * 1000), "REMOTE__IDLE_MS": int(PATIENCE * 1000), "REMOTE__RETRIES": RETRIES}
    return remote(program, folder, proxy.url, tokenizer, name, **settings)


def grade(gavel, body=SCORE):
    """The reply, the number of seconds that it took."""
    started = time.monotonic()
    reply = gavel.post("/v1/grade/absolute", body)
    return reply, time.monotonic() - started


def until(found, seconds=NOTICED_SECONDS):
    """How long until `found()` is true; none if it is not."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if found():
            return time.monotonic() - started
        time.sleep(0.1)
    return None


def readyz(gavel):
    return ask(gavel.url, "/readyz", timeout=10).status


def recovers(gavel, proxy):
    """How long until Gavel judges again, without having been started anew."""
    took = until(lambda: readyz(gavel) == 200 and grade(gavel)[0].status == 200)
    proxy.forget()
    return took


def seconds(took):
    return "never" if took is None else f"after {took:.0f} s"


def failures(report, gavel, proxy):
    """Check 9, on a Gavel that is before a proxy."""
    busy(report, gavel, proxy)
    cut_off(report, gavel, proxy)
    hangs(report, gavel, proxy)
    gone(report, gavel, proxy)


def busy(report, gavel, proxy):
    for body, name in ((SCORE, "score"), (FEEDBACK, "feedback")):
        grade(gavel, body)
        requests = count(gavel, proxy, body)
        proxy.forget()
        proxy.refusals = [(503, [("Retry-After", "1")])]
        reply, took = grade(gavel, body)
        sent = len(proxy.posted(*PATHS))
        good = reply.status == 200 and sent == requests + 1 and took >= 1
        report.row(9, f"{name}: one 503 with Retry-After 1", "200 after a second, one request more", f"{reply.outcome}, {sent - requests} more", good)
    proxy.forget()
    proxy.refuse_all = (503, [("Retry-After", "1")])
    reply, _ = grade(gavel)
    sent, after = len(proxy.posted(*PATHS)), reply.headers.get("Retry-After")
    good = reply.outcome == "upstream_unavailable" and reply.status == 503 and after in ("1", "2") and sent == 1 + RETRIES
    asked = f"503 upstream_unavailable, Retry-After 1 or 2, {1 + RETRIES} requests"
    report.row(9, "503 with Retry-After 1 again and again", asked, f"{reply.status} {reply.outcome}, Retry-After {after}, {sent} requests", good)
    proxy.forget()
    proxy.refuse_all = (400, [])
    recovered = until(lambda: readyz(gavel) == 200)
    reply, _ = grade(gavel)
    sent = len(proxy.posted(*PATHS))
    good = reply.outcome == "upstream_failed" and sent == 1
    report.row(9, "400", "502 upstream_failed, 1 request", f"{reply.status} {reply.outcome}, {sent} requests", good and recovered is not None)
    proxy.refuse_all = None
    recovers(gavel, proxy)


def count(gavel, proxy, body):
    """The number of requests of a grading."""
    proxy.forget()
    grade(gavel, body)
    return len(proxy.posted(*PATHS))


def written(gavel):
    """The feedback as it is streamed, and the last event."""
    text, last, stream = "", None, Stream(gavel.url, "/v1/grade/absolute", FEEDBACK)
    for name, data in stream:
        if name == "feedback":
            text += data["delta"]
        last = (name, data)
    stream.close()
    return text, last


def cut_off(report, gavel, proxy):
    whole, (_, verdict) = written(gavel)
    assert whole == verdict["feedback"], (whole, verdict)
    requests = count(gavel, proxy, FEEDBACK)
    for name, set_fault in (("cut", "cuts"), ("silent", "stalls")):
        proxy.forget()
        setattr(proxy, set_fault, [3])
        text, (event, data) = written(gavel)
        streams = sum(bool(body.get("stream")) for body in proxy.posted(*PATHS))
        good = event == "error" and data.get("code") == "upstream_unavailable" and streams == 1
        good = good and 0 < len(text) < len(whole) and whole.startswith(text)
        measured = f"event {event} {data.get('code')}, {streams} stream, {len(text)} characters of {len(whole)}: "
        measured += "a beginning of the whole" if whole.startswith(text) else f"not a beginning: {text!r}"
        report.row(9, f"{name} after the 3rd delta", "event error upstream_unavailable, 1 stream, no text twice", measured, good)
    proxy.forget()
    proxy.cuts = [0]
    text, (event, data) = written(gavel)
    sent = len(proxy.posted(*PATHS))
    good = event == "verdict" and text == whole and sent == requests + 1
    report.row(9, "cut before the 1st delta", "the whole feedback once, one request more", f"event {event}, {'the same text' if text == whole else text!r}, {sent - requests} more", good)


def hangs(report, gavel, proxy):
    proxy.forget()
    proxy.hangs = True
    reply, took = grade(gavel)
    sent = len(proxy.posted(*PATHS))
    most = (1 + RETRIES) * PATIENCE + 3
    good = reply.outcome == "upstream_unavailable" and sent == 1 + RETRIES and took <= most
    report.row(9, f"no byte for {PATIENCE:.0f} s", f"503 upstream_unavailable within {most:.0f} s, {1 + RETRIES} requests", f"{reply.status} {reply.outcome} after {took:.1f} s, {sent} requests", good)
    proxy.hangs = False
    recovers(gavel, proxy)


def gone(report, gavel, proxy):
    proxy.close()
    reply, _ = grade(gavel)
    good = reply.outcome == "upstream_unavailable" and reply.headers.get("Retry-After") is not None
    report.row(9, "connections are refused", "503 upstream_unavailable with Retry-After", f"{reply.status} {reply.outcome}, Retry-After {reply.headers.get('Retry-After')}", good)
    unready = until(lambda: (grade(gavel), readyz(gavel) == 503)[1])
    live = ask(gavel.url, "/livez").status
    proxy.open()
    recovered = recovers(gavel, proxy)
    report.row(9, "the same for longer, then the server is back", f"/readyz 503, then 200 and verdicts within {NOTICED_SECONDS} s; /livez 200", f"/readyz 503 {seconds(unready)}, /livez {live}; judges again {seconds(recovered)}", None not in (unready, recovered) and live == 200)


# Four-bit weights move probabilities by more than this, and a prefix that is read again by less.
OTHER_WEIGHTS = 2e-3


def apart(one, two):
    return max(abs(p - one["distribution"][label]) for label, p in two["distribution"].items())


def other_model(report, gavel, proxy, other):
    """The server behind the proxy is replaced by one with another file."""
    honest = grade(gavel)[0].json
    before = honest["model"]["digest"]
    first, proxy.upstream = proxy.upstream, other.port
    codes, wrong, started, digest, difference = [], 0, time.monotonic(), before, 0.0
    while digest == before and time.monotonic() - started < 2 * NOTICED_SECONDS:
        reply, _ = grade(gavel)
        codes.append(reply.outcome)
        if reply.status == 200:
            digest, difference = reply.json["model"]["digest"], apart(honest, reply.json)
            wrong += digest == before and difference > OTHER_WEIGHTS
        time.sleep(0.2)
    took = time.monotonic() - started
    seen = ", ".join(dict.fromkeys(str(code) for code in codes))
    good = digest != before and wrong == 0 and difference > OTHER_WEIGHTS
    good = good and set(codes) <= {200, "model_failed", "model_loading", "upstream_failed", "upstream_unavailable"}
    measured = f"{seen}; another digest {seconds(took if digest != before else None)}, {difference:.4f} apart; "
    measured += f"{wrong} verdicts of the other model with the first digest"
    report.row(9, "another model behind the same address", "errors, then verdicts with another digest", measured, good)
    proxy.upstream = first

    def back():
        reply, _ = grade(gavel)
        return reply.status == 200 and reply.json["model"]["digest"] == before and apart(honest, reply.json) < OTHER_WEIGHTS

    took = until(back, 2 * NOTICED_SECONDS)
    report.row(9, "the first model again", "verdicts with the first digest", seconds(took), took is not None)


def changed(replace):
    """A lie about every list of probabilities in a reply of llama-server."""

    def lie(path, _request, reply):
        for position in reply.get("completion_probabilities", []) if path == "/completion" else []:
            for name in ("top_logprobs", "top_probs"):
                if name in position:
                    position[name] = replace(name, position[name])
        return reply

    return lie


def scaled(factor):
    def replace(name, entries):
        return [entry | {"logprob": entry["logprob"] * factor} if name == "top_logprobs" else entry for entry in entries]

    return changed(replace)


def other_tokens(path, _request, reply):
    if path == "/tokenize":
        reply["tokens"] = [token + 1 for token in reply["tokens"]]
    return reply


def masked(name, entries):
    """As if a grammar had left the first three only."""
    if name == "top_probs":
        return entries
    total = sum(math.exp(entry["logprob"]) for entry in entries[:3])
    return [entry | {"logprob": entry["logprob"] - math.log(total)} for entry in entries[:3]]


LIES = {
    "leaves out every second token of a list": changed(lambda _, entries: entries[::2]),
    "leaves out all but one token": changed(lambda _, entries: entries[:1]),
    "halves log probabilities": scaled(0.5),
    "doubles log probabilities": scaled(2.0),
    "raises log probabilities above 0": changed(lambda _, entries: [e | {"logprob": 0.5} if "logprob" in e else e for e in entries]),
    "writes -9999 for every log probability": changed(lambda _, entries: [e | {"logprob": -9999.0} if "logprob" in e else e for e in entries]),
    "tells the probabilities of three tokens alone": changed(masked),
    "has another tokenizer": other_tokens,
    "tells no probabilities": lambda path, _, reply: {k: v for k, v in reply.items() if k != "completion_probabilities"},
}


# What one reply does not show. A server that begins with it must have been started anew.
AT_THE_START = {"has another tokenizer", "doubles log probabilities"}


def liars(report, program, folder, proxy, tokenizer):
    """Check 10: lies from the start on, and lies that begin later."""
    for index, (what, lie) in enumerate(LIES.items()):
        proxy.lie = lie
        with start_or_not(program, folder, proxy, tokenizer, f"liar-{index}") as gavel:
            until(lambda: gavel.process.poll() is not None or gavel.said("the check that [^\n]*|the judge is ready"), 300)
            reason = gavel.said("the check that ([^\n]*)")
            judged = judged_anyway(gavel)
        measured = f"refused: {reason.group(1)[:110]}" if reason else "not refused"
        report.row(10, f"from the start, the server {what}", "refused, no verdict", measured + ("; A VERDICT" if judged else ""), bool(reason) and not judged)
    proxy.lie = None
    with start(program, folder, proxy, tokenizer, "deceived") as gavel:
        for what, lie in LIES.items():
            if what in AT_THE_START:
                continue
            honest = numbers(grade(gavel)[0].json)
            proxy.lie = lie
            reply, _ = grade(gavel)
            proxy.lie = None
            told = numbers(reply.json) if reply.status == 200 else honest
            wrong = max(abs(mine - theirs) for mine, theirs in zip(told, honest)) > 1e-3
            measured = f"{reply.status} {reply.outcome}" + (f", {told} for {honest}" if wrong else "")
            # A list that is cut can be read again with a bias, which may well give the right numbers.
            good = reply.outcome == "upstream_failed" or (reply.status == 200 and not wrong)
            report.row(10, f"later, the server {what}", "502 upstream_failed, or the right numbers", measured, good)
            recovers(gavel, proxy)


def numbers(verdict):
    """Probabilities before normalising, so that a wrong label mass counts."""
    return [p * verdict["label_mass"] for p in verdict["distribution"].values()]


def start_or_not(program, folder, proxy, tokenizer, name):
    settings = {"REMOTE__URLS": proxy.url, "REMOTE__TOKENIZER": tokenizer}
    return Gavel(name, program, folder, ["--engine", "remote"], ready=False, **settings)


def judged_anyway(gavel):
    found = gavel.said(r"listening on (http://\S+)")
    try:
        return bool(found) and ask(found.group(1), "/v1/grade/absolute", SCORE).status == 200
    except OSError:
        # It has refused to serve.
        return False
