#!/usr/bin/env python3
"""What the engine `remote` costs: Gavel before llama-server, beside a plain client of the same server.

    cargo build --release && python3 benches/remote.py

`score`: one token with the probabilities of the most probable ones, of the same prompts, sent as text. `feedback`: as
many tokens of text; Gavel reads its verdict after them, the client has none. Every run has a server of its own, because
a server remembers prompts; the two take turns, and a ratio is that of one round. `overhead`: a server that answers at
once with replies that were recorded from the real one, and the CPU time (user and system) that the Gavel process takes
for a judgement, which others on the machine hardly change.

The server is the pip package xllamacpp, installed on first use as tests/clusters has it. Python 3 on Linux.
"""

import argparse
import asyncio
import concurrent.futures
import http.client
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "clusters"))
sys.dont_write_bytecode = True

import items as made  # noqa: E402
import servers  # noqa: E402

SLOTS = 4
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Caller:
    """Connections that are kept, one a thread, as a client's library has them."""

    def __init__(self, url):
        self.host, self.kept = urllib.parse.urlsplit(url).netloc, {}

    def post(self, path, body):
        me = threading.get_ident()
        connection = self.kept.setdefault(me, http.client.HTTPConnection(self.host, timeout=600))
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{path} answers {reply.status}: {text[:300]!r}")
        return json.loads(text)


def timed(call, asked, together):
    """The answers, and how many come in a second."""
    with concurrent.futures.ThreadPoolExecutor(together) as pool:
        started = time.monotonic()
        answers = list(pool.map(call, asked))
        return answers, len(asked) / (time.monotonic() - started)


def body_of(item, mode, tokens, **more):
    sampling = {"temperature": 0.0, "max_feedback_tokens": tokens}
    return item | {"mode": mode, "prompt": "plain", "cache": False, "sampling": sampling} | more


def prompts(gavel, asked, mode, tokens):
    """What the model is given, as text, with the lead where only the verdict is read."""
    texts = []
    for item in asked:
        debug = gavel.judge(body_of(item, mode, 1, debug=True))["debug"]
        lead = debug["answer"][: debug["answer"].rfind("[RESULT]") + len("[RESULT] ")]
        texts.append(debug["prompt"] + (lead if mode == "score" else ""))
    return texts


def by_gavel(args, file, folder, asked, mode):
    with servers.LlamaServer(file, folder, SLOTS, threads=args.threads) as server:
        with servers.remote(args.gavel, folder, server.url, file) as gavel:
            gavel.judge(body_of(made.items(1, seed=99)[0], mode, args.tokens))
            caller = Caller(gavel.url)
            answers, rate = timed(
                lambda item: caller.post("/v1/grade/absolute", body_of(item, mode, args.tokens)), asked, args.together
            )
    valid = sum(abs(sum(answer["distribution"].values()) - 1) < 1e-6 for answer in answers)
    usage = [answer["usage"] for answer in answers]
    counts = {key: sum(one[key] for one in usage) for key in ("prompt_tokens", "cached_tokens", "completion_tokens")}
    return rate, valid, counts


def by_client(args, file, folder, texts, mode):
    common = {"temperature": 0.0, "cache_prompt": True}
    ask = {"n_predict": 1, "n_probs": 20} if mode == "score" else {"n_predict": args.tokens, "stop": ["[RESULT]"]}
    with servers.LlamaServer(file, folder, SLOTS, threads=args.threads) as server:
        caller = Caller(server.url)
        caller.post("/completion", common | ask | {"prompt": "Name a colour."})
        answers, rate = timed(
            lambda text: caller.post("/completion", common | ask | {"prompt": text}), texts, args.together
        )
    timings = [answer["timings"] for answer in answers]
    cached = sum(one["cache_n"] for one in timings)
    read = sum(one["prompt_n"] for one in timings)
    return rate, {"prompt_tokens": read + cached, "cached_tokens": cached, "completion_tokens": sum(one["predicted_n"] for one in timings)}


def beside(args, file, folder, mode):
    asked = made.items(args.items, seed=21)
    with servers.LlamaServer(file, folder, SLOTS, threads=args.threads) as server:
        with servers.remote(args.gavel, folder, server.url, file) as gavel:
            texts = prompts(gavel, asked, mode, args.tokens)
    for index in range(args.rounds):
        load = os.getloadavg()[0]
        rate, valid, counts = by_gavel(args, file, folder, asked, mode)
        plain, plain_counts = by_client(args, file, folder, texts, mode)
        cells = [mode, index + 1, f"{rate:.2f}", f"{plain:.2f}", f"{rate / plain:.2f}", f"{valid} of {len(asked)}"]
        cells += [f"{one['prompt_tokens']:,} ({one['cached_tokens']:,}), {one['completion_tokens']:,}" for one in (counts, plain_counts)]
        row(cells + [f"{load:.1f}"])
        yield {"mode": mode, "round": index + 1, "gavel": rate, "client": plain, "valid": valid, "load": load,
               "gavel_tokens": counts, "client_tokens": plain_counts}


def row(cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


# --- the server that answers at once


class Replay:
    """Passes requests on to a server and records the replies, until it is told to answer by itself."""

    def __init__(self, upstream, port, replaying):
        self.upstream, self.port, self.replaying, self.replies = upstream, port, replaying, {}

    async def serve(self):
        server = await asyncio.start_server(self.connection, "127.0.0.1", self.port, backlog=256)
        async with server:
            await server.serve_forever()

    async def connection(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                body = await reader.readexactly(length)
                method, path = head.split(b" ", 2)[:2]
                key = (path, b'"logit_bias"' in body, b'"stream":true' in body)
                if not (self.replaying.is_set() and key in self.replies):
                    self.replies[key] = await asyncio.to_thread(self.ask, method.decode(), path.decode(), body)
                writer.write(self.replies[key])
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    def ask(self, method, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=600)
        connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
        reply = connection.getresponse()
        content = reply.read()
        kind = reply.getheader("Content-Type") or "text/plain"
        connection.close()
        head = f"HTTP/1.1 {reply.status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content


def replay(upstream, port, replaying):
    asyncio.run(Replay(upstream, port, replaying).serve())


def overhead(args, file, folder):
    replaying, port = multiprocessing.Event(), servers.free_port()
    with servers.LlamaServer(file, folder, SLOTS, threads=args.threads) as server:
        fake = multiprocessing.Process(target=replay, args=(server.port, port, replaying), daemon=True)
        fake.start()
        with servers.remote(args.gavel, folder, f"http://127.0.0.1:{port}", file) as gavel:
            for mode in ("score", "feedback"):
                # The last replies that are recorded are those of such a judgement.
                gavel.judge(body_of(made.items(1, seed=31)[0], mode, args.tokens))
            replaying.set()
            for mode in ("score", "feedback"):
                bench(args, gavel, folder, mode, 500)
                report, cpu = bench(args, gavel, folder, mode, args.requests)
                each = cpu / report["verdicts"]
                cores = len(os.sched_getaffinity(0))
                row([mode, report["verdicts"], f"{each * 1e3:.3f}", f"{cores / each:,.0f}", f"{report['verdicts_per_second']:,.0f}",
                     f"{report['latency_ms']['p50']:.2f}", report["failed"], f"{os.getloadavg()[0]:.1f}"])
                yield {"mode": f"overhead, {mode}", "cpu_ms": each * 1e3, "projected": cores / each, **report}
        fake.terminate()


def bench(args, gavel, folder, mode, requests):
    figures = Path(folder) / "figures.json"
    before = cpu_seconds(gavel.process.pid)
    command = [args.gavel, "bench", "--server", gavel.url, "--mode", mode, "--concurrency", args.at_once]
    command += ["--requests", requests, "--no-cache", "--json", figures]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return json.loads(figures.read_text()), cpu_seconds(gavel.process.pid) - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gavel", default=os.environ.get("GAVEL_BIN", str(ROOT / "target" / "release" / "gavel")))
    parser.add_argument("--runs", nargs="+", default=["score", "feedback", "overhead"])
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--together", type=int, default=8, help="requests at once of `score` and `feedback`")
    parser.add_argument("--tokens", type=int, default=64, help="of feedback")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10000, help="of `overhead`")
    parser.add_argument("--at-once", type=int, default=32, help="requests at once of `overhead`")
    parser.add_argument("--threads", type=int, default=servers.CORES, help="of the server")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.gavel = str(Path(args.gavel).resolve())
    cores = len(os.sched_getaffinity(0))
    file = servers.test_model(args.gavel)
    print(f"{time.strftime('%Y-%m-%d')}, {cores} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}\n")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        asked = [mode for mode in ("score", "feedback") if mode in args.runs]
        if asked:
            row(["run", "round", "Gavel, replies/s", "plain client", "ratio", "valid verdicts", "Gavel: prompt tokens (cached), written", "client: the same", "load before"])
            row(["---"] * 9)
        for mode in asked:
            runs += beside(args, file, folder, mode)
        if "overhead" in args.runs:
            print()
            row(["mode", "judgements", "Gavel CPU ms each", f"projected on {cores} cores, judgements/s", "measured beside client and server", "p50 ms", "failed", "load"])
            row(["---"] * 8)
            runs += overhead(args, file, folder)
    if args.json:
        Path(args.json).write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
