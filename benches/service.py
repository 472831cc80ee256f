#!/usr/bin/env python3
"""What the service itself costs: the scripted engine answers at once, and a second process asks.

    cargo build --release --no-default-features && python3 benches/service.py

For each mode it looks for the concurrency that gives most gradings a second, every request another one and the
verdict cache on as by default; then it sends half of that at a fixed rate, latency counted from when each request
was due. CPU is user and system time of each process, which others on the machine hardly change; wall-clock figures
are worth what the machine is quiet. Needs nothing but Python 3 on Linux.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def binary():
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.check_output(command, cwd=ROOT))["target_directory"]
    return Path(target) / "release" / "gavel"


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def environment(folder):
    own = {key: value for key, value in os.environ.items() if not key.startswith("GAVEL_")}
    return own | {"GAVEL_DATA_DIR": f"{folder}/data", "GAVEL_CACHE_DIR": f"{folder}/cache"}


class Server:
    def __init__(self, gavel, folder):
        self.folder = folder
        command = [gavel, "serve", "--engine", "scripted", "--port", "0"]
        self.process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip().rpartition(" ")[2]
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/readyz").close()
                return
            except OSError:
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def load(server, gavel, *options):
    """One run of `gavel bench`, with the CPU time that each process took for it."""
    figures = Path(server.folder) / "figures.json"
    command = [gavel, "bench", "--server", server.url, "--json", figures, *map(str, options)]
    before = cpu_seconds(server.process.pid)
    process = subprocess.Popen(command, env=environment(server.folder), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"gavel bench failed: {status}")
    report = json.loads(figures.read_text())
    report["server_cpu_us"] = (cpu_seconds(server.process.pid) - before) / report["verdicts"] * 1e6
    report["client_cpu_us"] = (usage.ru_utime + usage.ru_stime) / report["verdicts"] * 1e6
    return report


def row(name, report):
    latency = report["latency_ms"]
    cells = [
        name, report["concurrency"], f"{report['verdicts_per_second']:,.0f}", f"{latency['p50']:.2f}",
        f"{latency['p95']:.2f}", f"{latency['p99']:.2f}", f"{report['server_cpu_us']:.0f}",
        f"{report['client_cpu_us']:.0f}", report["failed"],
    ]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gavel", default=None, help="the program; by default that of cargo's release profile")
    parser.add_argument("--client", default=None, help="the program that asks; by default the same")
    parser.add_argument("--modes", nargs="+", default=["score", "feedback"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    gavel = args.gavel or str(binary())
    client = args.client or gavel

    cores = len(os.sched_getaffinity(0))
    print(f"{time.strftime('%Y-%m-%d')}, {cores} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}\n")
    print("| run | at once | gradings/s | p50 ms | p95 | p99 | server CPU µs each | client CPU µs each | failed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    runs = []

    def run(server, name, mode, *options):
        report = load(server, client, "--mode", mode, "--duration", args.seconds, *options)
        runs.append(report | {"run": name})
        row(name, report)
        return report

    with tempfile.TemporaryDirectory() as folder, Server(gavel, folder) as server:
        for mode in args.modes:
            load(server, client, "--mode", mode, "--requests", 2000)
            found = [run(server, mode, mode, "--concurrency", many) for many in args.concurrency]
            best = max(found, key=lambda report: report["verdicts_per_second"])
            rates = {"half": best["verdicts_per_second"] / 2, "5,000/s": 5000}
            for name, rate in rates.items():
                run(server, f"{mode}, {name}", mode, "--concurrency", 64, "--rate", round(rate))
            run(server, f"{mode}, cache off", mode, "--concurrency", best["concurrency"], "--no-cache")
    if args.json:
        Path(args.json).write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
