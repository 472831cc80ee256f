"""Callers that send nothing, or slowly, or do not read; and callers that are there when the server is to end."""

import asyncio
import json
import resource
import signal
import socket
import time

import batches
from callers import Caller, CutOff, together
from server import ABSOLUTE, grading, must, until
from suite import row

OPEN_FILES = 8192


def room_for_connections():
    """Lets this process, which is the callers, have as many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))


@row(
    "idle-connections",
    "2,000 connections that ask for nothing: half of them never did, half are kept after a grading",
    "grading works meanwhile, and the server ends them; the memory of each is told",
)
def idle_connections(setup):
    room_for_connections()
    gavel = setup.gavel({"log.level": "error"}, open_files=OPEN_FILES)
    count, seen = 2000, {}

    async def idle():
        # So that the memory of the first gradings does not count.
        first = Caller(gavel.port)
        for number in range(2000):
            await first.grade(f"Answer {number}.")
        first.close()
        before = gavel.memory()
        callers = [Caller(gavel.port) for _ in range(count)]
        for group in range(0, count // 2, 100):
            await asyncio.gather(*(caller.grade("An answer.") for caller in callers[group : group + 100]))
        await asyncio.gather(*(caller.connect() for caller in callers[count // 2 :]))
        seen["open"], seen["each"] = gavel.connections(), (gavel.memory() - before) * 1024 / count
        one = Caller(gavel.port)
        for _ in range(100):
            status, _, text = await one.grade("An answer.")
            must(status == 200, f"a grading meanwhile was answered with {status}: {text[:200]}")
        one.close()
        # None of them is closed by its caller.
        until("the server has ended them", lambda: gavel.connections() == 0, pause=0.2)
        return callers

    together(idle())
    must(seen["open"] >= count * 0.95, f"only {seen['open']} of {count} were open at once")
    return f"{seen['open']} open at once, {seen['each']:.0f} KiB each; 100 gradings meanwhile; all ended by the server"


async def drips(port, at_once, data, ended):
    """Sends a byte of `data` a second until the server ends the connection; the first line of what it says is put into
    `ended`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(at_once)

    async def send():
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    sending = asyncio.ensure_future(send())
    try:
        said = await reader.read()
    except ConnectionError:
        said = b""
    sending.cancel()
    writer.close()
    ended.append(said.split(b"\r\n")[0].decode())


async def reads_slowly(port, request, over):
    """Asks for a stream, and reads a byte of it a second."""
    loop = asyncio.get_running_loop()
    with socket.socket() as slow:
        # Small segments, so that the system keeps little of the stream for a caller that does not read it.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        slow.setblocking(False)
        await loop.sock_connect(slow, ("127.0.0.1", port))
        await loop.sock_sendall(slow, request)
        while not over.is_set():
            try:
                await loop.sock_recv(slow, 1)
            except OSError:
                return
            await asyncio.sleep(1)


@row(
    "slow-loris",
    "200 callers that send a byte a second of a head, 200 of a body, 100 that read a byte a second of a stream "
    "(`limits.deadline_ms` 10000, `limits.unread_ms` 4000)",
    "others are served meanwhile; the slow ones end by these limits, and no connection is left",
)
def slow_loris(setup):
    room_for_connections()
    # A stream that does not fit into the buffers of such a connection.
    answers = f'[[answer]]\nwhen = "A long one."\nsay = "{" ".join(["x" * (1 << 16)] * 2)}"\n'
    settings = {"limits.deadline_ms": 10000, "limits.unread_ms": 4000, "log.level": "error"}
    gavel = setup.gavel(settings, answers, open_files=OPEN_FILES)
    heads, bodies, waits, there = [], [], [], {"most": 0}
    plain = Caller(gavel.port)
    head = plain.head(ABSOLUTE, 1000, ["X-Slow: " + "x" * 1000])
    long = json.dumps(grading("A long one.", mode="feedback")).encode()
    stream = plain.head(ABSOLUTE, len(long), ["Accept: text/event-stream"])

    async def others():
        """Grades while there are slow callers; returns when the server has ended them all."""
        while left := gavel.connections():
            there["most"] = max(there["most"], left)
            caller, asked = Caller(gavel.port), time.monotonic()
            status, _, text = await caller.grade("An answer.")
            must(status == 200, f"another caller was answered with {status}: {text[:200]}")
            waits.append(time.monotonic() - asked)
            caller.close()
            await asyncio.sleep(0.05)

    async def all_of_them():
        over = asyncio.Event()
        slow = [asyncio.ensure_future(drips(gavel.port, b"", head, heads)) for _ in range(200)]
        slow += [asyncio.ensure_future(drips(gavel.port, head, b" " * 1000, bodies)) for _ in range(200)]
        slow += [asyncio.ensure_future(reads_slowly(gavel.port, stream + long, over)) for _ in range(100)]
        while gavel.connections() == 0:
            await asyncio.sleep(0)
        await others()
        over.set()
        await asyncio.gather(*slow)

    began = time.monotonic()
    together(all_of_them())
    took = time.monotonic() - began
    must(there["most"] >= 450, f"only {there['most']} slow callers were there at once")
    must(set(heads) <= {"HTTP/1.1 408 Request Timeout", ""}, f"slow heads ended with {set(heads)}")
    must(set(bodies) == {"HTTP/1.1 504 Gateway Timeout"}, f"slow bodies ended with {set(bodies)}")
    values = gavel.metrics()
    must(values["gavel_sequences_running"] == 0, "a slow caller still has a place")
    waits.sort()
    return (
        f"{there['most']} at once; {len(waits)} other gradings, half within {waits[len(waits) // 2] * 1000:.0f} ms; "
        f"slow heads ended with 408, slow bodies with 504; no connection was left after {took:.0f} s"
    )


class Request:
    """A request, and what became of it. `status` None: its connection was closed, `begun` if within the answer."""

    def __init__(self):
        self.asked, self.status, self.text, self.begun = time.monotonic(), None, b"", False


async def until_it_ends(port, number, requests):
    """Asks again and again, each time by a connection of its own, until the server takes none."""
    while True:
        caller = Caller(port)
        try:
            await caller.connect()
        except ConnectionError:
            return
        request = Request()
        requests.append(request)
        try:
            request.status, _, request.text = await caller.grade(f"Answer {number}.")
        except CutOff as cut:
            request.begun = cut.begun
        caller.close()


@row(
    "sigterm",
    "SIGTERM while 64 callers ask and a batch is in progress; started again afterwards",
    "every request that the server took is answered, nothing is cut off, the exit code is 0; the batch has exactly one "
    "answer a line",
    quick=True,
)
def sigterm(setup):
    gavel = setup.gavel(
        {"log.level": "error", "limits.in_flight": 64}, batches.answers(200) + "\n[[answer]]\ndelay_ms = 200\n"
    )
    count, callers = 400, 64
    batch = batches.submit(gavel, batches.requests(count))
    until("a part of the batch", lambda: batches.done(gavel, batch) > 0)
    requests, signalled = [[] for _ in range(callers)], []

    async def ends():
        while not all(requests):
            await asyncio.sleep(0.01)
        signalled.append(time.monotonic())
        gavel.process.send_signal(signal.SIGTERM)

    together(ends(), *(until_it_ends(gavel.port, number, asked) for number, asked in enumerate(requests)))
    code = gavel.ended()
    everything = [request for asked in requests for request in asked]
    answered = [request for request in everything if request.status == 200]
    late = sum(request.asked > signalled[0] for request in answered)
    lost = [request for request in everything if request.status is None]
    refused = [request for request in everything if request.status not in (200, None)]
    must(not any(request.begun for request in lost), "an answer was cut off in its middle")
    must(all(request.asked > signalled[0] for request in lost + refused), "a request in flight was not answered")
    # Who comes when the port is about to close is told to go elsewhere, or not taken any more: then that is its last.
    wrong = [request for request in refused if request.status != 503 or b"shutting_down" not in request.text]
    must(not wrong, f"{len(wrong)} requests were refused, such as {wrong and (wrong[0].status, wrong[0].text[:200])}")
    must(
        len(lost) == sum(asked[-1].status is None for asked in requests), "a connection was lost before the port closed"
    )
    must(code == 0, f"the exit code is {code}: {gavel.said()[-300:]}")
    gavel.start()
    before = batches.done(gavel, batch)
    must(before < count, "the batch ended before the restart")
    batches.exactly_once(gavel, batch, count)
    return (
        f"{len(answered) - late} requests in flight answered, and {late} that came later; as the port closed, "
        f"{len(refused)} were told `shutting_down`, and {len(lost)} connections not taken; exit code {code}; the batch "
        f"went on from line {before} to {count} answers"
    )
