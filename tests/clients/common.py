"""What the clients' scripts share: where the servers are, and how they report."""

import json
import os
import pathlib
import re
import urllib.request


def scripted():
    """The address of the server on the scripted engine."""
    return os.environ["GAVEL_SCRIPTED"]


def demo():
    """The address of the server on the test model; empty where there is none."""
    return os.environ.get("GAVEL_DEMO", "")


def items(kind):
    """Labelled items of a kind, `absolute` or `pairwise`: of the folder given to `run`, else a few made up."""
    folder = os.environ.get("GAVEL_DATA")
    files = sorted((pathlib.Path(folder) / kind).glob("*.jsonl")) if folder else []
    if files:
        wanted = "prometheus_vicuna" if kind == "absolute" else "prometheus_hhh"
        chosen = next((file for file in files if file.stem == wanted), files[0])
        return [json.loads(line) for line in chosen.open()]
    scores = {str(level): f"The response is worth {level}." for level in range(1, 6)}
    common = {"reference": "It is blue because short waves scatter most.", "rubric": {"criteria": "Is it right?", "scores": scores}}
    sides = {"response": "Because the sea is blue.", "response_a": "Because the sea is blue.", "response_b": "Rayleigh scattering."}
    return [{"instruction": f"Why is the sky blue? ({n})", **common, **sides} for n in range(12)]


def judgements(url):
    """How many judgements of judge models the server has made."""
    metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
    lines = re.findall(r'^gavel_judgements_total\{(.*)\} (\d+)$', metrics, re.MULTILINE)
    return sum(int(count) for labels, count in lines if 'kind="chat"' in labels)


def report(ran, came_back):
    """The last line of a script: what was run, and what came back."""
    print("REPORT " + json.dumps({"ran": ran, "came_back": came_back}))
