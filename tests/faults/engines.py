"""Engines that fail, die and hang."""

import concurrent.futures
import time

from server import must, until
from suite import row

ANSWERS = """
[[answer]]
when = "It fails."
fail = "out of memory"

[[answer]]
when = "It dies."
disconnect = true

[[answer]]
when = "It hangs."
hold = true
"""


@row(
    "engine-fails",
    "an engine that fails, and one that ends without a result",
    "each caller gets the error `engine_failed`, never a verdict; the next request works",
)
def engine_fails(setup):
    gavel = setup.gavel({"log.level": "error"}, ANSWERS)
    rounds = 100
    for _ in range(rounds):
        for text in ("It fails.", "It dies."):
            reply = gavel.grade(text)
            must(reply.code == "engine_failed", f"`{text}` was answered with {reply.status}: {reply.text[:300]}")
            good = gavel.grade()
            must(good.status == 200, f"the request after it was answered with {good.status}: {good.text[:300]}")
    values = gavel.metrics()
    must(values["gavel_sequences_running"] == 0, "places of failed judgements are still taken")
    restarts = values.get("gavel_engine_restarts_total", 0)
    return (
        f"{2 * rounds} failures, each `engine_failed` ({reply.status}), with a verdict after it; "
        f"gavel_engine_restarts_total {restarts:.0f}"
    )


@row(
    "engine-hangs",
    "an engine that never answers, to more callers than there are places",
    "each caller gets `deadline_exceeded` in time; places are free again, and the next request works",
)
def engine_hangs(setup):
    gavel = setup.gavel({"log.level": "error", "limits.in_flight": 4, "limits.queue": 100}, ANSWERS)
    callers, milliseconds = 64, 1500

    def hangs(_):
        started = time.monotonic()
        reply = gavel.grade("It hangs.", {"X-Request-Timeout-Ms": milliseconds})
        return reply.code, time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor(callers) as threads:
        answered = list(threads.map(hangs, range(callers)))
    codes = {code for code, _ in answered}
    must(codes == {"deadline_exceeded"}, f"the callers got {codes}")
    until("all places are free", lambda: gavel.metrics()["gavel_sequences_running"] == 0)
    good = gavel.grade()
    must(good.status == 200, f"the request after them was answered with {good.status}: {good.text[:300]}")
    latest = max(time for _, time in answered)
    return (
        f"{callers} callers at 4 places: each `deadline_exceeded`, the last after {latest:.1f} s of "
        f"{milliseconds / 1000:.1f}; then a verdict"
    )
