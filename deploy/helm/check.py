"""Holds the chart to schemas, to itself, and to Gavel. Run by `check`, which fetches what it imports."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

import consistency

CHART = Path("gavel")
#: The oldest version that the chart is for, and the newest whose schemas there are.
VERSIONS = ("1.25", "1.37")
CUSTOM = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
}
#: Values over ci/urls-values.yaml that must be refused, and a part of the reason.
REFUSED = [
    ("image.repository=", "image.repository"),
    ("model=", "model:"),
    ("remote.urls=null", "remote.urls"),
    ("remote.urls={vllm:8000}", "does not match"),
    ("remote.sequences=0", "minimum"),
    ("remote.url=http://a", "remote"),
    ("engine=vllm", "engine"),
    ("vllm.enabled=true", "one of the two"),
    ("vllm.enabled=true,remote.urls=null", "vllm.model"),
    ("engine=scripted,vllm.enabled=true", "vllm.enabled"),
    ("remote.apiKey.value=a,remote.apiKey.existingSecret=b", "not both"),
    ("rubrics.a=b", "rubrics"),
    ("autoscaling.enabled=true,autoscaling.minReplicas=9", "maxReplicas"),
    ("autoscaling.minReplicas=0", "minReplicas"),
    ("autoscaling.via=hpa", "via"),
    ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([os.environ["HELM"], *arguments], capture_output=True, text=True, check=False)


def render(values: Path, *more: str) -> list[dict[str, Any]]:
    """The objects that the chart makes of a file of values."""
    done = helm("template", "judge", str(CHART), "--namespace", "judging", "--values", str(values), *more)
    if done.returncode != 0:
        raise ValueError(done.stderr)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """The fields that a model has dropped, as it drops those that it does not know."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}/{index}")


def schema_faults(document: dict[str, Any]) -> Iterator[str]:
    """What the object's schema says against it; unknown fields are faults."""
    model = CUSTOM.get((document["apiVersion"], document["kind"]))
    if model:
        try:
            kept = model.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json")
        except ValueError as error:
            yield str(error)
            return
        yield from (f"unknown field {path}" for path in lost(document, kept))
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"Kubernetes {version}: {error.message}"


def queries(documents: list[dict[str, Any]]) -> Iterator[str]:
    """The queries that scale."""
    for document in documents:
        if document["kind"] == "ScaledObject":
            for trigger in document["spec"]["triggers"]:
                if trigger["type"] == "prometheus":
                    yield trigger["metadata"]["query"]


def adapter_queries() -> Iterator[str]:
    rules = yaml.safe_load(Path("prometheus-adapter.yaml").read_text())["rules"]
    for rule in rules["custom"] + rules["external"]:
        yield rule["seriesQuery"]
        yield rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="a"').replace("<<.GroupBy>>", "pod")


def query_faults(expressions: list[str]) -> Iterator[str]:
    """What promtool says of PromQL."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        rules = [{"record": f"query_{number}", "expr": each} for number, each in enumerate(expressions)]
        json.dump({"groups": [{"name": "queries", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def answer(url: str) -> str:
    """What a page says, once it no longer says that the model is still loading."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=30) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.1)
    return "nothing but 503 for 10 s"


def start(program: str, documents: list[dict[str, Any]]) -> Iterator[str]:
    """Starts Gavel with the files that the chart mounts, and asks what its probes ask."""
    files = {
        document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # As a mounted config map: links into a folder of the day.
        mounted = work / "data/rubrics/..2026"
        mounted.mkdir(parents=True)
        (mounted.parent / "..data").symlink_to(mounted.name)
        for name, text in files["judge-gavel-rubrics"].items():
            (mounted / name).write_text(text)
            (mounted.parent / name).symlink_to(f"..data/{name}")
        (work / "gavel.toml").write_text(files["judge-gavel"]["gavel.toml"])
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GAVEL_")},
            "GAVEL_CONFIG": str(work / "gavel.toml"),
            "GAVEL_DATA_DIR": str(work / "data"),
            "GAVEL_CACHE_DIR": str(work / "data/cache"),
        }
        server = subprocess.Popen(
            [program, "serve", "--port", "0"],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=(work / "log").open("w"),
        )  # fmt: skip
        try:
            assert server.stdout
            line = next((line for line in server.stdout if line.startswith("gavel is listening on ")), None)
            if line is None:
                yield (work / "log").read_text()
                return
            base = line.removeprefix("gavel is listening on ").strip()
            for path, part in (("/livez", "live"), ("/readyz", "ready"), ("/metrics", "gavel_queue_depth"),
                               ("/v1/rubrics", "brevity")):  # fmt: skip
                if part not in answer(base + path):
                    yield f"{path} does not say {part}"
        finally:
            server.terminate()
            server.wait()


def main() -> int:
    faults = []
    expressions = list(adapter_queries())
    for values in sorted(CHART.glob("ci/*.yaml")):
        lint = helm("lint", "--strict", str(CHART), "--values", str(values))
        found = [lint.stdout] if lint.returncode != 0 else []
        documents = render(values)
        expressions += queries(documents)
        for document in documents:
            name = f"{document['kind']}/{document['metadata']['name']}"
            found += [f"{name}: {fault}" for fault in schema_faults(document)]
            if document["kind"] == "ConfigMap" and "gavel.toml" in document["data"]:
                tomllib.loads(document["data"]["gavel.toml"])
        found += consistency.faults(documents)
        if render(values, "--kube-version", VERSIONS[0]) != documents:
            found.append(f"differs for Kubernetes {VERSIONS[0]}")
        print(f"{'FAILED' if found else 'ok    '}  {values.stem}: {len(documents)} objects")
        faults += [f"{values.stem}: {fault}" for fault in found]

    for settings, reason in REFUSED:
        try:
            render(CHART / "ci/urls-values.yaml", "--set", settings)
            faults.append(f"accepted: {settings}")
        except ValueError as error:
            if reason not in str(error):
                faults.append(f"{settings} is refused with {error}")
    print(f"{len(REFUSED)} wrong values are refused")

    if shutil.which("promtool"):
        faults += query_faults(expressions)
        print(f"{len(expressions)} queries are PromQL")
    else:
        print("skipped: the queries, for want of promtool")
    if program := os.environ.get("GAVEL_BIN"):
        faults += start(program, render(CHART / "ci/scripted-values.yaml"))
        print("gavel starts with the chart's configuration")
    else:
        print("skipped: gavel with the chart's configuration, as GAVEL_BIN names no program")

    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
