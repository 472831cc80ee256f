"""The harness prometheus-eval, unchanged, with its own client: the judge is a judge model of Gavel.

`pip install --no-deps prometheus-eval==0.1.20 fastchat==0.1.0` and `pip install litellm aiolimiter` leave out what only
its in-process engine needs.
"""

import os

# LiteLLM requires a key, and would otherwise download a price list.
os.environ.setdefault("OPENAI_API_KEY", "none")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from prometheus_eval import PrometheusEval
from prometheus_eval.litellm import LiteLLM
from prometheus_eval.prompts import HELPFULNESS_RUBRIC

BASE = os.environ.get("GAVEL_URL", "http://127.0.0.1:8080") + "/v1"
INSTRUCTIONS = ["Explain to a child why the sky is blue.", "How do I cook pasta?"]
GOOD = ["Sunlight is a mix of all colours.", "Boil the pasta in salted water for ten minutes."]
BAD = ["The sky reflects the sea.", "Use a pot."]

judge = PrometheusEval(model=LiteLLM("openai/gavel-absolute", api_base=BASE))
for responses in (GOOD, BAD):
    feedbacks, scores = judge.absolute_grade(
        instructions=INSTRUCTIONS, responses=responses, rubric=HELPFULNESS_RUBRIC, params={}
    )
    for score, feedback in zip(scores, feedbacks, strict=True):
        print(score, feedback)

judge = PrometheusEval(model=LiteLLM("openai/gavel-relative", api_base=BASE))
_, preferences = judge.relative_grade(
    instructions=INSTRUCTIONS, responses_A=GOOD, responses_B=BAD, rubric=HELPFULNESS_RUBRIC, params={}
)
print(*preferences)
