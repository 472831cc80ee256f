"""openevals: its correctness judge with OpenAI's client, by structured output."""

import os

os.environ["LANGSMITH_TRACING"] = "false"

import openai
from common import demo, report, scripted
from openevals.llm import create_llm_as_judge
from openevals.prompts import CORRECTNESS_PROMPT

ANSWER = {"inputs": "Why is the sky blue?", "outputs": "Because the sea is blue.", "reference_outputs": "Rayleigh scattering."}


def judged(url, model, **options):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    judge = create_llm_as_judge(prompt=CORRECTNESS_PROMPT, judge=client, model=model, feedback_key="correctness", **options)
    return judge(**ANSWER)


graded = judged(scripted(), "scripted", choices=[0.0, 0.5, 1.0])
assert graded["key"] == "correctness" and graded["score"] in (0, 0.5, 1) and isinstance(graded["comment"], str), graded
came_back = f"scripted: score {graded['score']:g}"
if demo():
    # Without reasoning, which this model would go on with until the context is full.
    graded = judged(demo(), "smollm2-135m", use_reasoning=False)
    assert isinstance(graded["score"], bool), graded
    came_back += f"; test model: score {str(graded['score']).lower()}"
report("the correctness judge, by structured output", came_back)
