"""deepeval: its G-Eval metric with its LocalModel."""

import os

os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "YES"

from common import report, scripted
from deepeval.metrics import GEval
from deepeval.models import LocalModel
from deepeval.test_case import LLMTestCase

try:
    from deepeval.test_case import SingleTurnParams as Params
except ImportError:
    from deepeval.test_case import LLMTestCaseParams as Params

model = LocalModel(model="gavel-deepeval", base_url=f"{scripted()}/v1", api_key="none", temperature=0)
metric = GEval(
    name="Correctness",
    evaluation_steps=["Check whether the actual output answers the input."],
    evaluation_params=[Params.INPUT, Params.ACTUAL_OUTPUT],
    model=model,
    async_mode=False,
)
metric.measure(LLMTestCase(input="Why is the sky blue?", actual_output="Because the sea is blue."))
assert 0 <= metric.score <= 1 and metric.reason, (metric.score, metric.reason)
report("G-Eval through LocalModel and gavel-deepeval", f"score {metric.score:.2f}, reason of {len(metric.reason)} characters")
