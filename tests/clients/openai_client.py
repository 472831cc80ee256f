"""openai, the Python package: chat, streaming, structured output, tools, completions, decisions, graders, errors."""

import json
import time
from typing import Literal

import openai
from common import demo, report, scripted
from pydantic import BaseModel


class Verdict(BaseModel):
    reasoning: str
    score: Literal[1, 2, 3, 4, 5]


def check(url, sure):
    """`sure`: whether this model puts enough probability on every answer that it is asked to choose."""
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
    check_completions(client, hosted)
    check_responses(client, hosted)
    check_batches(client)
    answered = check_decisions(client, hosted, sure), check_graders(client, hosted, sure)
    try:
        client.chat.completions.create(model="gavel-absolute:nope", messages=prompt)
        raise AssertionError("an unknown rubric is no error")
    except openai.NotFoundError as error:
        assert error.code == "unknown_rubric", error
    return "decisions: {}; grader: {}".format(*answered)


def check_responses(client, hosted):
    """The same answers as responses: whole, in pieces, structured, and as a call."""
    question = "###Response to evaluate:\nThe sea is blue.\n\n###Feedback: "
    judged = client.responses.create(
        model="gavel-absolute", input=question, max_output_tokens=64, include=["message.output_text.logprobs"], top_logprobs=5
    )
    verdict = judged.output[0].content[0].logprobs[0]
    assert judged.status == "completed" and judged.output_text.endswith(f"[RESULT] {verdict.token}"), judged
    assert len(verdict.top_logprobs) == 5 and judged.usage.total_tokens > 0, judged
    with client.responses.stream(model="gavel-absolute", input=question, max_output_tokens=64) as stream:
        parts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        whole = stream.get_final_response()
    assert "".join(parts) == whole.output_text == judged.output_text, (parts, whole)
    parsed = client.responses.parse(model=hosted, input="Grade: 2+2=4", text_format=Verdict, max_output_tokens=400)
    assert parsed.status == "incomplete" or parsed.output_parsed.score in range(1, 6), parsed
    tool = {"type": "function", "name": "grade", "parameters": Verdict.model_json_schema()}
    called = client.responses.create(
        model=hosted, input="Grade: 2+2=4", tools=[tool], tool_choice={"type": "function", "name": "grade"}, max_output_tokens=400
    )
    assert called.output[0].type == "function_call", called
    if called.status == "completed":
        Verdict.model_validate_json(called.output[0].arguments)
    try:
        client.responses.create(model=hosted, input="More.", previous_response_id="resp_1")
        raise AssertionError("a response that was never stored is no error")
    except openai.BadRequestError as error:
        assert error.param == "previous_response_id", error


def check_batches(client):
    """Files and batches, as OpenAI's documentation uses them."""
    lines = [
        {"custom_id": f"n{n}", "method": "POST", "url": "/v1/grade/absolute", "body": body}
        for n, body in enumerate([
            {"instruction": "Why?", "response": "So.", "rubric": "helpfulness", "mode": "score"},
            {"instruction": "Why?", "response": "So.", "rubric": "no such rubric"},
        ])
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file = client.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    assert file.bytes == len(text) and client.files.retrieve(file.id).filename == "requests.jsonl"
    assert client.files.content(file.id).text == text
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/grade/absolute", completion_window="24h", metadata={"of": "a test"}
    )
    for _ in range(600):
        batch = client.batches.retrieve(batch.id)
        if batch.status == "completed":
            break
        time.sleep(0.1)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1), batch
    assert batch.metadata == {"of": "a test"} and batch.completed_at >= batch.created_at
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in answers] == ["n0"] and answers[0]["response"]["body"]["reward"] is not None
    errors = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert errors[0]["response"]["body"]["code"] == "unknown_rubric", errors
    assert batch.id in [other.id for other in client.batches.list(limit=1)]
    assert client.files.delete(file.id).deleted
    try:
        client.files.retrieve(file.id)
        raise AssertionError("a deleted file is there")
    except openai.NotFoundError as error:
        assert error.code == "unknown_file", error


def check_completions(client, hosted):
    """Several prompts, as texts and as ids, with the probabilities of their own tokens and of what is written."""
    prompts = ["The sky is blue.", "One, two,"]
    written = client.completions.create(model=hosted, prompt=prompts, max_tokens=3, n=2, echo=True, logprobs=2, temperature=1, seed=1)
    assert [choice.index for choice in written.choices] == [0, 1, 2, 3]
    for choice in written.choices:
        told = choice.logprobs
        assert choice.text.startswith(prompts[choice.index // 2]), choice
        assert "".join(told.tokens) == choice.text, told
        assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset), told
        assert told.token_logprobs[0] is None and all(logprob <= 0 for logprob in told.token_logprobs[1:]), told
        assert all(choice.text[at:].startswith(token) for at, token in zip(told.text_offset, told.tokens)), told
    read = client.completions.create(model=hosted, prompt=[[400, 401, 402], [500, 501]], max_tokens=0, echo=True, logprobs=0)
    assert [len(choice.logprobs.tokens) for choice in read.choices] == [3, 2] and read.usage.prompt_tokens == 5, read
    streamed = list(client.completions.create(model=hosted, prompt=prompts, max_tokens=3, temperature=0, stream=True))
    alone = client.completions.create(model=hosted, prompt=prompts, max_tokens=3, temperature=0)
    for choice in alone.choices:
        parts = [part.text for chunk in streamed for part in chunk.choices if part.index == choice.index]
        assert "".join(parts) == choice.text, (parts, choice)


QUESTIONS = [
    {"type": "predicate", "name": "p", "instructions": "The text is about water."},
    {"type": "choice", "name": "c", "instructions": "Which colour?", "choices": [{"value": "blue"}, {"value": True}]},
    {"type": "score", "name": "s", "instructions": "How good?", "levels": [{"label": "bad"}, {"label": "good"}]},
]


def check_decisions(client, hosted, sure):
    """Each question has an answer, or a refusal where the model puts too little on the answers."""
    decision = client.decisions.create(model=hosted, input="The sea is blue.", questions=QUESTIONS)
    for name, answer in zip("pcs", decision.answers, strict=True):
        assert answer.name == name, answer
        if answer.type == "predicate":
            assert name == "p" and 0 <= answer.probability <= 1
        elif answer.type == "choice":
            assert name == "c" and answer.choice in ("blue", True), answer
            assert abs(sum(option.probability for option in answer.probabilities) - 1) < 1e-6
        elif answer.type == "score":
            assert name == "s" and 0 <= answer.score <= 1
        else:
            assert answer.type == "refusal" and not sure, answer
    return ", ".join(answer.type for answer in decision.answers)


def check_graders(client, hosted, sure):
    """A formula over two graders; a model that hardly wants to answer is an error, never a reward."""
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
    try:
        graded = graders.run(grader=grader, item={"answer": "4"}, model_sample="4")
        assert 0.5 <= graded.reward <= 1 and graded.sub_rewards["same"] == 1, graded
        return f"reward {graded.reward:.2f}"
    except openai.BadRequestError as error:
        assert error.code == "low_label_mass" and not sure, error
        return error.code


def check_refusals(url):
    """What answers.toml makes the scripted model hardly want to answer."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    refused = client.decisions.create(model="scripted", input="Nobody can answer this.", questions=QUESTIONS)
    assert [(answer.type, answer.name) for answer in refused.answers] == [("refusal", name) for name in "pcs"], refused
    grader = {"type": "score_model", "name": "g", "model": "scripted", "input": [{"role": "user", "content": "Nobody can answer this."}]}
    try:
        client.fine_tuning.alpha.graders.run(grader=grader, model_sample="4")
        raise AssertionError("a forced guess is a reward")
    except openai.BadRequestError as error:
        assert error.code == "low_label_mass", error


check(scripted(), sure=True)
check_refusals(scripted())
came_back = "every assertion holds on the scripted engine"
if demo():
    came_back += f" and on the test model ({check(demo(), sure=False)})"
report(
    "models, chat, streaming, logprobs, n, structured output, forced tool, responses (stream, parse, call), completions (several prompts, echo, logprobs, token ids), "
    "decisions, refusals, graders, errors",
    came_back,
)
