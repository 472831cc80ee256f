"""Processes that die while they work on a batch."""

import signal
import sqlite3
import threading
import time
from pathlib import Path

import batches
from postgres import Postgres
from server import Broken, Skipped, must, until
from suite import row

LEASE_MS = 5000
# What a row takes from batches of 32 lines at a time, which are answered after this time.
DELAY_MS = 250


def settings(**more):
    return {"jobs.lease_ms": LEASE_MS, "log.level": "warn", **more}


def attempts(gavel, batch):
    """How many lines of a batch in SQLite were begun more than once, and the most that one was."""
    with sqlite3.connect(f"file:{gavel.data}/gavel.db?mode=ro", uri=True) as database:
        asked = "SELECT COUNT(*) FILTER (WHERE attempts > 1), MAX(attempts) FROM lines WHERE batch = ?"
        return database.execute(asked, [batch]).fetchone()


def attempts_in(database):
    """The same in PostgreSQL, of all lines."""
    asked = "SELECT COUNT(*) FILTER (WHERE attempts > 1), MAX(attempts) FROM lines"
    return tuple(map(int, database.ask(asked).split("|")))


def killed(setup, processes, batch, kills):
    """Kills one of some processes at random moments and starts it again. The first tenth of the kills may fall into the
    reading of the input; then that is let through, and the others fall into the work on lines."""
    early = kills // 10
    meanwhile = {"validating": 0, "in_progress": 0}
    for number in range(kills):
        victim = setup.random.choice(processes)
        if number == early:
            until("the input is read", lambda: (batches.show(processes[0], batch) or {}).get("status") == "in_progress")
        time.sleep(setup.random.uniform(0.0, 0.3 if number < early else 0.9))
        found = until("the batch is shown", lambda victim=victim: batches.show(victim, batch))["status"]
        must(found in meanwhile, f"the batch is {found} before kill {number + 1}: its lines are too fast")
        meanwhile[found] += 1
        victim.kill()
        victim.start()
    return meanwhile


def survived(count, meanwhile, again, most):
    must(again > 0, "no line was begun again, so that no kill met one")
    return (
        f"{count} answers to {count} lines; {meanwhile['validating']} kills while the input was read, "
        f"{meanwhile['in_progress']} while lines were worked on; {again} lines begun again, one {most} times"
    )


@row(
    "kill-sqlite",
    "`kill -9` at random moments while it works on a batch, on SQLite; started again each time",
    "every line has exactly one answer, its own, in the order of the input",
    quick=True,
)
def kill_sqlite(setup):
    count, kills = setup.pick(500, 5000), setup.pick(10, 50)
    gavel = setup.gavel(settings(), batches.answers(setup.pick(500, DELAY_MS)))
    batch = batches.submit(gavel, batches.requests(count))
    meanwhile = killed(setup, [gavel], batch, kills)
    batches.exactly_once(gavel, batch, count)
    return survived(count, meanwhile, *attempts(gavel, batch))


@row(
    "kill-postgres",
    "two processes on one PostgreSQL; `kill -9` of either at random moments",
    "every line has exactly one answer, its own, in the order of the input",
)
def kill_postgres(setup):
    count, kills = setup.pick(500, 5000), setup.pick(10, 30, 50)
    database = Postgres()
    setup.callback(database.close)
    database.start()
    more = settings(**{"jobs.database_url": database.url})
    processes = [setup.gavel(more, batches.answers(DELAY_MS * 2), name) for name in ("one", "two")]
    batch = batches.submit(processes[0], batches.requests(count))
    meanwhile = killed(setup, processes, batch, kills)
    batches.exactly_once(processes[1], batch, count)
    return survived(count, meanwhile, *attempts_in(database))


@row(
    "paused",
    "two processes on one PostgreSQL; SIGSTOP of either until the other counts it as dead, then SIGCONT",
    "every line has exactly one answer, its own, in the order of the input, and the batch ends",
)
def paused(setup):
    count, pauses = setup.pick(4000, 8000, 25000), setup.pick(3, 6, 20)
    database = Postgres()
    setup.callback(database.close)
    database.start()
    # Few lines at a time, each soon answered, so that a process often writes when it is paused.
    more = settings(**{"jobs.database_url": database.url, "jobs.concurrency": 4})
    processes = [setup.gavel(more, batches.answers(40), name) for name in ("one", "two")]
    batch = batches.submit(processes[0], batches.requests(count))
    for process in processes:
        until("it works on lines", lambda process=process: process.metrics()["gavel_batch_lines_running"] > 0)
    workers = "SELECT COUNT(*) FROM workers"
    for _ in range(pauses):
        until("both count as alive", lambda: database.ask(workers) == "2")
        must(batches.done(processes[0], batch) < count, "the batch ended before the last pause: its lines are too fast")
        victim = setup.random.choice(processes)
        time.sleep(setup.random.uniform(0.0, 1.0))
        victim.process.send_signal(signal.SIGSTOP)
        until("it counts as dead", lambda: database.ask(workers) == "1")
        victim.process.send_signal(signal.SIGCONT)
    try:
        batches.exactly_once(processes[0], batch, count)
    except Broken as what:
        lost = database.ask(
            "SELECT COUNT(*) FROM lines WHERE outcome IS NULL AND worker NOT IN (SELECT id FROM workers)"
        )
        raise Broken(f"{what}; {lost} lines are held by a worker that is no more") from None
    again, _ = attempts_in(database)
    return f"{count} answers to {count} lines; {pauses} pauses; {again} lines begun again"


class Supervisor(threading.Thread):
    """Starts a server again whenever it has ended, as systemd or a container's runtime does."""

    def __init__(self, gavel):
        super().__init__(daemon=True)
        self.gavel, self.ends = gavel, []
        self.stopping = False
        self.start()

    def run(self):
        while True:
            code = self.gavel.process.wait()
            if self.stopping:
                return
            self.ends.append(code)
            self.gavel.start(ready=False)

    def stop(self):
        if not self.stopping:
            self.stopping = True
            self.gavel.kill()
            self.join()


@row(
    "abort",
    "SIGABRT, which is how C++ code of an engine ends a process, again and again under a supervisor",
    "every line has exactly one answer, its own, in the order of the input",
)
def abort(setup):
    count, aborts = setup.pick(500, 2000), setup.pick(5, 10)
    gavel = setup.gavel(settings(), batches.answers(DELAY_MS))
    batch = batches.submit(gavel, batches.requests(count))
    supervisor = Supervisor(gavel)
    setup.callback(supervisor.stop)
    for number in range(aborts):
        must(batches.done(gavel, batch) < count, f"the batch ended before abort {number + 1}: its lines are too fast")
        gavel.process.send_signal(signal.SIGABRT)
        until("the supervisor has seen the end", lambda number=number: len(supervisor.ends) == number + 1)
        until("the server is back", lambda: gavel.get("/readyz").status == 200)
        time.sleep(setup.random.uniform(0.0, 0.7))
    batches.exactly_once(gavel, batch, count)
    supervisor.stop()
    must(set(supervisor.ends) == {-signal.SIGABRT}, f"the server ended otherwise: {supervisor.ends}")
    return f"{count} answers to {count} lines; {aborts} ends by SIGABRT"


@row(
    "poison",
    "a batch with a line that ends the process whenever it runs (`jobs.attempts` 2)",
    "that line is answered with `line_aborted`, every other line with its verdict",
)
def poison(setup):
    count, bad = 200, 100
    gavel = setup.gavel(settings(**{"jobs.attempts": 2}), batches.answers(DELAY_MS))
    batch = batches.submit(gavel, batches.requests(count))
    file = f"file:{gavel.data}/gavel.db?mode=ro"
    asked = "SELECT attempts, outcome FROM lines WHERE batch = ? AND number = ?"

    def begun():
        """How often the line was begun, if it is more often than it was, or its outcome."""
        with sqlite3.connect(file, uri=True, timeout=30) as database:
            found = database.execute(asked, [batch, bad]).fetchone()
        # What is begun once too often does not run any more.
        return found if found and (found[1] or deaths < found[0] <= most) else None

    deaths, most = 0, 4
    while True:
        begun_now, outcome = until("the line is begun again, or answered", begun)
        if outcome:
            break
        deaths = begun_now
        gavel.kill(signal.SIGABRT)
        gavel.start()
    ended = batches.completed(gavel, batch)
    errors = batches.lines(gavel, ended["error_file_id"])
    codes = {line["custom_id"]: (line["error"] or {}).get("code") for line in errors}
    must(codes.pop(f"n{bad}", None) == "line_aborted", f"the line was answered otherwise: {outcome}")
    must(
        set(codes.values()) <= {"line_aborted"},
        f"{len(codes)} other lines were answered with errors: {set(codes.values())}",
    )
    must(
        not codes,
        f"after {deaths} deaths it is `line_aborted`, and so are {len(codes)} good lines in work beside it",
    )
    good = [line["custom_id"] for line in batches.lines(gavel, ended["output_file_id"])]
    must(
        good == [f"n{number}" for number in range(count) if number != bad],
        "the other answers are not all there in order",
    )
    return f"`line_aborted` after {deaths} deaths, {len(good)} verdicts"


@row(
    "poison-input",
    "a batch whose input ends the process whenever it is read (`jobs.attempts` 2)",
    "that batch is `failed` with `unreadable_file`, and another one beside it gets its answers",
)
def poison_input(setup):
    gavel = setup.gavel(settings(**{"jobs.attempts": 2}), batches.answers(0))
    bad = batches.submit(gavel, batches.requests(setup.pick(20000, 50000)))
    good, deaths, most = None, 0, 4

    def read():
        """How often its reading was begun, if it is more often than it was, or its state if that is another."""
        with sqlite3.connect(f"file:{gavel.data}/gavel.db?mode=ro", uri=True, timeout=30) as database:
            reads, status = database.execute("SELECT reads, status FROM batches WHERE id = ?", [bad]).fetchone()
        return (reads, status) if status != "validating" or deaths < reads <= most else None

    while True:
        reads, status = until("the input is read again, or given up", read)
        must(status in ("validating", "failed"), f"the batch is {status}: its input is read too fast")
        if status == "failed":
            break
        deaths = reads
        gavel.kill(signal.SIGABRT)
        gavel.start()
        good = good or batches.submit(gavel, batches.requests(100))
    error = batches.show(gavel, bad)["errors"]["data"][0]
    must(error["code"] == "unreadable_file", f"the batch failed with {error}")
    batches.exactly_once(gavel, good, 100)
    return f"`unreadable_file` after {deaths} deaths; 100 answers to the 100 lines of the other batch"


LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@row(
    "clock",
    "the clock of the process jumps an hour ahead and back, again and again, during a batch (libfaketime)",
    "every line has exactly one answer, its own, in the order of the input, and the batch ends",
)
def clock(setup):
    library = next(iter(sorted(Path("/").glob(LIBRARIES[1:]))), None)
    if library is None:
        raise Skipped("libfaketime is not installed: apt-get install libfaketime")
    count, shift = setup.pick(400, 1500), setup.folder / "clock"
    shift.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        # The monotonic clock does not jump: it never does.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    gavel = setup.gavel(settings(), batches.answers(DELAY_MS), environment=environment)

    def date():
        return gavel.get("/healthz").headers["Date"]

    batch = batches.submit(gavel, batches.requests(count))
    shown, jumps = [date()], 8
    for jump in range(jumps):
        part = (jump + 1) / (jumps + 1)
        until(f"{part:.0%} of the batch", lambda part=part: batches.done(gavel, batch) >= count * part, pause=0.1)
        replaced = shift.with_suffix(".new")
        replaced.write_text("+0\n" if jump % 2 else "+3600\n")
        replaced.rename(shift)
        shown.append(until("the clock jumps", lambda: (at := date())[:19] != shown[-1][:19] and at, pause=0.1))
    batches.exactly_once(gavel, batch, count)
    again, _ = attempts(gavel, batch)
    return (
        f"{count} answers to {count} lines; {jumps} jumps, from {shown[0][17:22]} to {shown[1][17:22]} to "
        f"{shown[2][17:22]} and so on; {again} lines begun again"
    )
