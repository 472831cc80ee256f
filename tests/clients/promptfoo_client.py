"""promptfoo: its llm-rubric assertion."""

import json
import os
import pathlib
import subprocess

from common import report, scripted

scratch = pathlib.Path(os.environ["GAVEL_SCRATCH"])
grader = {"id": "openai:chat:gavel-promptfoo", "config": {"apiBaseUrl": f"{scripted()}/v1", "apiKey": "none"}}
config = {
    "prompts": ["Why is the sky {{colour}}?"],
    "providers": ["echo"],
    "defaultTest": {"options": {"provider": grader}},
    "tests": [{"vars": {"colour": "blue"}, "assert": [{"type": "llm-rubric", "value": "answers the question"}]}],
}
(scratch / "promptfoo.json").write_text(json.dumps(config))
out = scratch / "promptfoo-out.json"
environment = dict(
    os.environ, PROMPTFOO_DISABLE_TELEMETRY="1", PROMPTFOO_DISABLE_UPDATE="1", PROMPTFOO_CONFIG_DIR=str(scratch), PROMPTFOO_CACHE_ENABLED="false"
)
command = [os.environ["GAVEL_PROMPTFOO"], "eval", "-c", str(scratch / "promptfoo.json"), "-o", str(out), "--no-progress-bar"]
# Its status says whether the assertion passed; what matters here is that the grader was understood.
subprocess.run(command, env=environment, check=False, capture_output=True, timeout=300)
[result] = json.loads(out.read_text())["results"]["results"]
[graded] = result["gradingResult"]["componentResults"]
assert isinstance(graded["pass"], bool) and graded["score"] in (0, 1) and graded["reason"], graded
assert "Could not extract" not in graded["reason"], graded
report("an llm-rubric assertion with gavel-promptfoo", f"pass {str(graded['pass']).lower()}, score {graded['score']}")
