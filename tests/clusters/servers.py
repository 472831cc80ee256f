"""Starting, asking and stopping: the servers, and Gavel before them and beside them."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import environments

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from replies import Reply, free_port, metric_values  # noqa: E402

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
# A machine that is busy with other work reads a model for minutes.
START_SECONDS, ANSWER_SECONDS = 600, 600


def ask(url, path, body=None, timeout=ANSWER_SECONDS):
    """A GET, or a POST of a body: JSON, or a text that is sent as it is."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=timeout)
    try:
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        connection.request("GET" if data is None else "POST", path, data and data.encode(), headers)
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read().decode())
    finally:
        connection.close()


class Stream:
    """A grading as it is written; closing it is leaving."""

    def __init__(self, url, path, body):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=ANSWER_SECONDS)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        self.connection.request("POST", path, json.dumps(body), headers)
        self.reply = self.connection.getresponse()

    def __iter__(self):
        """Events with their data. A problem before the first event is an event `error`, too."""
        if "event-stream" not in (self.reply.getheader("Content-Type") or ""):
            yield "error", json.loads(self.reply.read())
            return
        name = ""
        while line := self.reply.readline():
            field, _, value = line.decode().rstrip("\r\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    def close(self):
        self.connection.close()


class Process:
    def __init__(self, name, command, folder, environment=None):
        self.name, self.log = name, Path(folder) / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait(self, found, seconds=START_SECONDS):
        """Waits until `found()` is true, and gives what it says."""
        ends = time.monotonic() + seconds
        while True:
            try:
                if value := found():
                    return value
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > ends:
                said = self.log.read_text(errors="replace")[-2000:]
                self.__exit__()
                raise SystemExit(f"{self.name} does not start: {said}")
            time.sleep(0.1)

    def said(self, pattern):
        return re.search(pattern, self.log.read_text(errors="replace"))


class Server(Process):
    """A server of a model, by itself."""

    def __init__(self, name, command, folder, environment=None, port=None):
        super().__init__(name, command, folder, environment)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.wait(lambda: ask(self.url, "/health", timeout=5).status == 200)

    def metrics(self):
        """The values by their names; those of several labels are added."""
        return metric_values(ask(self.url, "/metrics").text)


class LlamaServer(Server):
    # The metric of running requests; prompt tokens computed; the ids that were sent, by request body.
    kind, lead, block = "llama-server", "llamacpp", 1

    def __init__(self, file, folder, slots, name="llama-server", threads=CORES):
        port = free_port()
        command = [environments.llama_server(), HERE / "llama_server.py", file, port, slots, threads]
        super().__init__(name, command, folder, port=port)
        self.version = f"{environments.XLLAMACPP.replace('==', ' ')}, {slots} slots"

    def running(self):
        metrics = self.metrics()
        return metrics["llamacpp:requests_processing"] + metrics["llamacpp:requests_deferred"]

    def computed(self):
        return self.metrics()["llamacpp:prompt_tokens_total"]

    def written(self):
        return self.metrics()["llamacpp:tokens_predicted_total"]


class Vllm(Server):
    # Prefixes are shared in blocks of so many tokens on a CPU.
    kind, block = "vllm", 128

    def __init__(self, model, folder):
        port = free_port()
        command = [environments.vllm(), "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        command += ["--served-model-name", "smollm2", "--dtype", "float32", "--max-model-len", 2048]
        command += ["--max-num-seqs", 16, "--enforce-eager", "--enable-prompt-tokens-details", "--port", port]
        command += ["--generation-config", "vllm", "--host", "127.0.0.1"]
        settings = {
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(CORES),
            "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
        }
        super().__init__("vllm", command, folder, os.environ | settings, port)
        self.version = f"{environments.VLLM.replace('==', ' ')}, float32, {ask(self.url, '/version').json['version']}"

    def running(self):
        metrics = self.metrics()
        return metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"]

    def computed(self):
        metrics = self.metrics()
        return metrics["vllm:prompt_tokens_total"] - metrics.get("vllm:prefix_cache_hits_total", 0.0)

    def written(self):
        return self.metrics()["vllm:generation_tokens_total"]


class Gavel(Process):
    """A server of Gavel's; `settings` are environment variables without GAVEL_."""

    def __init__(self, name, program, folder, arguments, ready=True, **settings):
        own = {key: value for key, value in os.environ.items() if not key.startswith("GAVEL_")}
        folders = {"GAVEL_DATA_DIR": f"{folder}/{name}/data", "GAVEL_CACHE_DIR": f"{folder}/{name}/cache"}
        own |= folders | {f"GAVEL_{key}": str(value) for key, value in settings.items()}
        command = [program, "serve", "--port", 0, "--config", HERE / "gavel.toml", *arguments]
        super().__init__(name, command, folder, own)
        if ready:
            self.url = self.wait(lambda: self.said(r"listening on (http://\S+)")).group(1)
            self.wait(self.ready)

    def ready(self):
        return ask(self.url, "/readyz", timeout=10).status == 200

    def post(self, path, body):
        return ask(self.url, path, body)

    def judge(self, body, path="/v1/grade/absolute", **fields):
        """A verdict; anything else ends the run."""
        reply = self.post(path, body | fields)
        if reply.status != 200:
            raise SystemExit(f"{self.name} answers {reply.status}: {reply.text[:500]}")
        return reply.json

    def grade(self, item, **fields):
        return self.judge(item, **({"mode": "score", "prompt": "plain", "cache": False} | fields))


def remote(program, folder, url, tokenizer, name="remote", arguments=(), **settings):
    """Gavel with its engine `remote`."""
    settings = {"REMOTE__URLS": url, "REMOTE__TOKENIZER": tokenizer} | settings
    return Gavel(name, program, folder, ["--engine", "remote", *arguments], **settings)


def in_process(program, folder, file, threads=CORES):
    """Gavel with its engine `llama-cpp`, as many sequences as the servers have slots."""
    return Gavel("in-process", program, folder, ["--engine", "llama-cpp", "--model", file], LLAMA_CPP__THREADS=threads)


def test_model(program):
    """The test model's F16 file, which is pulled if it is not there."""
    subprocess.run([program, "models", "pull", "smollm2-135m"], check=True, stdout=sys.stderr)
    path = subprocess.check_output([program, "models", "path", "smollm2-135m"], text=True)
    return Path(path.strip().splitlines()[-1])


def converted(file):
    """The model as a folder of safetensors, made once."""
    folder = environments.CACHE / f"{file.stem}-safetensors"
    if not (folder / "config.json").exists():
        subprocess.run([environments.vllm(), HERE / "safetensors_folder.py", file, folder], check=True, stdout=sys.stderr)
    return folder
