"""prometheus-eval's own clients: LiteLLM on the test model, AsyncLiteLLM on the scripted engine."""

import contextlib
import io

import os

os.environ.setdefault("OPENAI_API_KEY", "none")

from common import demo, items, judgements, report, scripted
from prometheus_eval import PrometheusEval
from prometheus_eval.litellm import AsyncLiteLLM, LiteLLM
from prometheus_eval.prompts import ABSOLUTE_PROMPT, RELATIVE_PROMPT, SCORE_RUBRIC_TEMPLATE


def rubric(item):
    scores = {f"score{level}_description": text for level, text in item["rubric"]["scores"].items()}
    return SCORE_RUBRIC_TEMPLATE.format(criteria=item["rubric"]["criteria"], **scores)


# The client asks for 1,024 tokens by itself; the test model on a CPU is given fewer.
SHORT = {"max_tokens": 16, "temperature": 1.0, "top_p": 0.9}


def absolute(model, chosen, params=None):
    judge = PrometheusEval(model=model, absolute_grade_template=ABSOLUTE_PROMPT)
    return judge.absolute_grade(
        instructions=[item["instruction"] for item in chosen],
        responses=[item["response"] for item in chosen],
        reference_answers=[item["reference"] for item in chosen],
        rubric=[rubric(item) for item in chosen],
        params=params or {},
    )


def relative(model, chosen, about, params=None):
    judge = PrometheusEval(model=model, relative_grade_template=RELATIVE_PROMPT)
    return judge.relative_grade(
        instructions=[item["instruction"] for item in chosen],
        responses_A=[item["response_a"] for item in chosen],
        responses_B=[item["response_b"] for item in chosen],
        reference_answers=[item.get("reference") or "" for item in chosen],
        rubric=about,
        params=params or {},
    )


def checked(server, what, count, run, allowed):
    """Runs a grading and checks that nothing was lost, tried again or judged twice."""
    before = judgements(server)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        feedbacks, verdicts = run()
    assert len(verdicts) == len(feedbacks) == count, (what, len(verdicts))
    missing = [index for index, verdict in enumerate(verdicts) if verdict not in allowed]
    assert not missing, f"{what}: no verdict for {missing}"
    assert "Retrying" not in printed.getvalue() and "Error" not in printed.getvalue(), printed.getvalue()
    run_here = judgements(server) - before
    assert run_here == count, f"{what}: {run_here} judgements for {count} items"
    return f"{what}: {count} verdicts of {count}, 0 retries, {run_here} judgements"


def main():
    graded, pairs = items("absolute"), items("pairwise")
    about = "Which response answers the instruction better?"
    scores, labels = {1, 2, 3, 4, 5}, {"A", "B"}
    results = []
    url = demo()
    if url:
        sync = lambda name: LiteLLM(f"openai/{name}", api_base=f"{url}/v1")
        results += [
            checked(url, "test model, LiteLLM with 16 tokens, absolute", 12, lambda: absolute(sync("gavel-absolute"), graded[:12], SHORT), scores),
            checked(url, "relative", 12, lambda: relative(sync("gavel-relative"), pairs[:12], about, SHORT), labels),
        ]
    url = scripted()
    many = lambda name: AsyncLiteLLM(f"openai/{name}", batch_size=100, requests_per_minute=6000, api_base=f"{url}/v1")
    # The same item twice is one judgement: a hundred different ones are asked for.
    hundred = [dict(item, instruction=f"{item['instruction']} ({n})") for n, item in enumerate((graded * 100)[:100])]
    hundred_pairs = [dict(item, instruction=f"{item['instruction']} ({n})") for n, item in enumerate((pairs * 100)[:100])]
    results += [
        checked(url, "scripted, AsyncLiteLLM, absolute", 100, lambda: absolute(many("gavel-absolute"), hundred), scores),
        checked(url, "relative", 100, lambda: relative(many("gavel-relative"), hundred_pairs, about), labels),
    ]
    report("absolute and relative grading with references", "; ".join(results))


main()
