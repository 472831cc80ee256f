"""openai, the Python package: chat, streaming, structured output, tools, decisions, graders, errors."""

from typing import Literal

import openai
from common import demo, report, scripted
from pydantic import BaseModel


class Verdict(BaseModel):
    reasoning: str
    score: Literal[1, 2, 3, 4, 5]


def check(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    names = [model.id for model in client.models.list()]
    assert "gavel-absolute" in names and client.models.retrieve("gavel-absolute").id == "gavel-absolute"
    hosted = names[0]
    prompt = [{"role": "user", "content": "###Response to evaluate:\nThe sea is blue.\n\n###Feedback: "}]

    judged = client.chat.completions.create(
        model="gavel-absolute", messages=prompt, max_tokens=64, logprobs=True, top_logprobs=5
    )
    text, verdict = judged.choices[0].message.content, judged.choices[0].logprobs.content[0]
    assert text.endswith(f"[RESULT] {verdict.token}") and len(verdict.top_logprobs) == 5, text
    streamed = client.chat.completions.create(
        model="gavel-absolute", messages=prompt, max_tokens=64, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(streamed)
    whole = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert whole == text and chunks[-1].usage.total_tokens > 0, (whole, text)

    plain = client.chat.completions.create(
        model=hosted, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, n=2, seed=1, temperature=1
    )
    assert len(plain.choices) == 2 and plain.usage.completion_tokens > 0
    parsed = client.chat.completions.parse(
        model=hosted, messages=[{"role": "user", "content": "Grade: 2+2=4"}], response_format=Verdict, seed=1, max_tokens=400
    )
    answer = parsed.choices[0]
    assert answer.finish_reason == "length" or answer.message.parsed.score in range(1, 6), answer
    tool = {"type": "function", "function": {"name": "grade", "parameters": Verdict.model_json_schema()}}
    called = client.chat.completions.create(
        model=hosted, messages=[{"role": "user", "content": "Grade: 2+2=4"}], tools=[tool], seed=1, max_tokens=400,
        tool_choice={"type": "function", "function": {"name": "grade"}},
    ).choices[0]
    if called.finish_reason != "length":
        Verdict.model_validate_json(called.message.tool_calls[0].function.arguments)
    text = client.completions.create(model=hosted, prompt="Once upon a time", max_tokens=4, echo=True, seed=1)
    assert text.choices[0].text.startswith("Once upon a time")

    decision = client.decisions.create(
        model=hosted,
        input="The sea is blue.",
        questions=[
            {"type": "predicate", "name": "p", "instructions": "The text is about water."},
            {"type": "choice", "name": "c", "instructions": "Which colour?", "choices": [{"value": "blue"}, {"value": True}]},
            {"type": "score", "name": "s", "instructions": "How good?", "levels": [{"label": "bad"}, {"label": "good"}]},
        ],
    )
    predicate, choice, score = decision.answers
    assert 0 <= predicate.probability <= 1 and 0 <= score.score <= 1 and choice.choice in ("blue", True)
    assert abs(sum(option.probability for option in choice.probabilities) - 1) < 1e-6

    graders = client.fine_tuning.alpha.graders
    grader = {
        "type": "multi",
        "name": "both",
        "graders": {
            "same": {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"},
            "judge": {"type": "score_model", "name": "judge", "model": hosted, "input": [{"role": "user", "content": "Grade: {{sample.output_text}}"}],
                      "sampling_params": {"max_completions_tokens": 32}},
        },
        "calculate_output": "0.5 * same + 0.5 * judge",
    }
    graders.validate(grader=grader)
    graded = graders.run(grader=grader, item={"answer": "4"}, model_sample="4")
    assert 0.5 <= graded.reward <= 1 and graded.sub_rewards["same"] == 1, graded
    try:
        client.chat.completions.create(model="gavel-absolute:nope", messages=prompt)
        raise AssertionError("an unknown rubric is no error")
    except openai.NotFoundError as error:
        assert error.code == "unknown_rubric", error


check(scripted())
where = "scripted engine"
if demo():
    check(demo())
    where += " and demo model"
report(
    "models, chat, streaming, logprobs, n, structured output, forced tool, completions, decisions, graders, errors",
    f"every assertion holds on the {where}",
)
