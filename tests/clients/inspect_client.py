"""inspect-ai: its model-graded scorer."""

import os

from common import report, scripted

os.environ["GAVEL_BASE_URL"] = f"{scripted()}/v1"
os.environ["GAVEL_API_KEY"] = "none"

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import model_graded_qa
from inspect_ai.solver import solver


@solver
def answer():
    async def solve(state, generate):
        state.output = ModelOutput.from_content("none", "Because the sea is blue.")
        return state

    return solve


judge = "openai-api/gavel/gavel-inspect"

samples = [Sample(input=f"Why is the sky blue? ({n})", target="Rayleigh scattering") for n in range(4)]
task = Task(dataset=samples, solver=answer(), scorer=model_graded_qa(model=judge))
[log] = eval(task, model=judge, display="none", log_dir=os.environ["GAVEL_SCRATCH"])
assert log.status == "success", log.error
grades = [sample.scores["model_graded_qa"].value for sample in log.samples]
assert len(grades) == 4 and all(grade in ("C", "I") for grade in grades), grades
report("model_graded_qa over 4 samples with openai-api/gavel/gavel-inspect", f"grades {', '.join(grades)}")
