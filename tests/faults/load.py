"""More work than there is capacity for, and much work for long."""

import asyncio
import statistics
import time

import batches
from callers import Caller, together
from server import grading, must
from suite import row

# The engine of these rows: 8 judgements at a time, 20 ms each.
ENGINE = {"limits.in_flight": 8, "scripted_delay_ms": 20, "log.level": "error"}


class Count:
    """What callers got in a span of time."""

    def __init__(self):
        self.good, self.refused, self.wrong = 0, 0, []

    def add(self, status, headers, text):
        if status == 200:
            self.good += 1
        elif status == 503 and "retry-after" in headers:
            self.refused += 1
        else:
            self.wrong.append((status, text[:200]))


async def keeps_asking(port, count, ends, key=None):
    """Asks again as soon as it has its answer; after a refusal, it waits for a moment."""
    caller = Caller(port, key)
    while time.monotonic() < ends:
        status, headers, text = await caller.grade("An answer.")
        if time.monotonic() < ends:
            count.add(status, headers, text)
        if status != 200:
            await asyncio.sleep(0.25)
    caller.close()


def rate(gavel, callers, seconds):
    """Verdicts a second that so many callers get, and what they got."""
    count, ends = Count(), time.monotonic() + seconds
    together(*(keeps_asking(gavel.port, count, ends) for _ in range(callers)))
    return count.good / seconds, count


@row(
    "overload",
    "five times as many callers as there are places, and a short queue (8 places of 20 ms, 8 more wait)",
    "at least 90 % of the capacity is verdicts; all others get 503 with `Retry-After`; none hangs",
    quick=True,
)
def overload(setup):
    gavel = setup.gavel({**ENGINE, "limits.queue": 8})
    rate(gavel, 16, 1)
    # In turns, because a machine that has other work is not equally fast all the time.
    turns = [(rate(gavel, 16, 2), rate(gavel, 80, 2)) for _ in range(setup.pick(4, 5, 15))]
    capacity, goodput = (statistics.median(turn[which][0] for turn in turns) for which in (0, 1))
    counts = [count for turn in turns for _, count in turn]
    wrong = [one for count in counts for one in count.wrong]
    must(not wrong, f"{len(wrong)} other answers, such as {wrong and wrong[0]}")
    refused = sum(count.refused for count in counts)
    must(refused > 0, "nobody was refused, so that this is no overload")
    share = f"capacity {capacity:.0f}/s, goodput {goodput:.0f}/s ({goodput / capacity:.0%})"
    must(goodput >= 0.9 * capacity, f"{share}; {refused} refused")
    return f"{share}; {refused} refused with 503, all with `Retry-After`"


async def modest(port, key, each, ends, count, waits):
    """Asks at a rate; if an answer is late, it asks late."""
    caller, begins, number = Caller(port, key), time.monotonic(), 0
    while (at := begins + number / each) < ends:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        asked = time.monotonic()
        reply = await caller.grade("An answer.")
        if time.monotonic() < ends:
            count.add(*reply)
            waits.append(time.monotonic() - asked)
        number += 1
    caller.close()


@row(
    "greedy",
    "ten callers with keys at 10 requests a second each, alone; then beside a key with 500 requests in flight",
    "the ten keep at least 90 % of their rate",
)
def greedy(setup):
    gavel = setup.gavel(ENGINE, start=False)
    keys = [gavel.key(f"modest-{number}") for number in range(10)]
    greedy_key = gavel.key("greedy")
    gavel.start()
    seconds, each = setup.pick(5, 8, 30), 10

    def measured(crowd):
        counts, others, waits = [Count() for _ in keys], Count(), []
        ends = time.monotonic() + seconds
        work = [modest(gavel.port, key, each, ends, count, waits) for key, count in zip(keys, counts)]
        work += [keeps_asking(gavel.port, others, ends, greedy_key) for _ in range(crowd)]
        together(*work)
        wrong = [one for count in [*counts, others] for one in count.wrong]
        must(not wrong, f"{len(wrong)} other answers, such as {wrong and wrong[0]}")
        waits.sort()
        return [count.good / seconds for count in counts], others.good / seconds, waits[len(waits) // 2]

    alone, _, quiet = measured(0)
    beside, taken, late = measured(500)
    share = sum(beside) / sum(alone)
    seen = (
        f"{sum(alone):.0f}/s alone, {sum(beside):.0f}/s beside it ({share:.0%}; the least of the ten "
        f"{min(beside):.1f}/s); half their answers within {quiet * 1000:.0f} ms alone, {late * 1000:.0f} ms beside it, "
        f"which gets {taken:.0f}/s"
    )
    must(share >= 0.9 and min(beside) >= 0.9 * min(alone), seen)
    return seen


@row(
    "weights",
    "two keys of weight 100 and 300, each with 100 requests in flight",
    "they get verdicts as 1 to 3, within a tenth",
)
def weights(setup):
    gavel = setup.gavel(ENGINE, start=False)
    keys = [gavel.key("light", weight=100), gavel.key("heavy", weight=300)]
    gavel.start()
    counts, seconds = [Count(), Count()], setup.pick(5, 8, 30)
    begins = time.monotonic()
    work = [
        keeps_asking(gavel.port, count, begins + seconds, key) for key, count in zip(keys, counts) for _ in range(100)
    ]
    together(*work)
    light, heavy = (count.good / seconds for count in counts)
    seen = f"{light:.0f}/s and {heavy:.0f}/s: 1 to {heavy / light:.2f}"
    must(not counts[0].wrong and not counts[1].wrong, f"other answers: {(counts[0].wrong + counts[1].wrong)[:1]}")
    must(2.7 <= heavy / light <= 3.3, seen)
    return seen


async def graded(port, first, count):
    """A fifth of the gradings one by one, the others a hundred at a time; every one another text."""
    singles, bulk = count // 5, 100
    queue = iter(range(singles))

    async def one_by_one():
        caller = Caller(port)
        for number in queue:
            status, _, text = await caller.post("/v1/grade/absolute", grading(f"Answer {first + number}."))
            must(status == 200, f"a grading was answered with {status}: {text[:200]}")
        caller.close()

    await asyncio.gather(*(one_by_one() for _ in range(16)))
    caller = Caller(port)
    for begin in range(first + singles, first + count, bulk):
        items = [{"instruction": "Why?", "response": f"Answer {number}."} for number in range(begin, begin + bulk)]
        body = {"items": items, "rubric": "helpfulness", "mode": "score"}
        status, _, text = await caller.post("/v1/rewards", body)
        must(status == 200, f"a hundred gradings were answered with {status}: {text[:200]}")
    caller.close()


@row(
    "memory",
    "50,000 gradings of different texts; then a large batch, up and down again",
    "the memory after 50,000 is that after 10,000 within 5 %",
)
def memory(setup):
    gavel = setup.gavel({"log.level": "error"})
    total, first = setup.pick(20000, 50000), setup.pick(10000, 10000)
    together(graded(gavel.port, 0, first))
    early = gavel.memory()
    together(graded(gavel.port, first, total - first))
    late = gavel.memory()
    lines = setup.pick(1000, 10000, 100000)
    gavel.forget_peak()
    text = batches.requests(lines)
    batch = batches.submit(gavel, text)
    ended = batches.completed(gavel, batch)
    answers = batches.lines(gavel, ended["output_file_id"])
    must(len(answers) == lines, f"{len(answers)} answers to {lines} lines")
    seen = (
        f"{early:.0f} MiB after {first}, {late:.0f} MiB after {total}; at most {gavel.memory('VmHWM'):.0f} MiB during "
        f"a batch of {lines} lines ({len(text) / 1e6:.0f} MB)"
    )
    must(late <= early * 1.05, seen)
    return seen
