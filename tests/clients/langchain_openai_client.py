"""langchain-openai: chat and Responses, whole, in pieces, and structured."""

from typing import Literal

from common import report, scripted
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

QUESTION = "###Response to evaluate:\nThe sea is blue.\n\n###Feedback: "


class Verdict(BaseModel):
    reasoning: str
    score: Literal[1, 2, 3, 4, 5]


def check(responses):
    common = {"base_url": f"{scripted()}/v1", "api_key": "none", "max_retries": 0, "use_responses_api": responses}
    judge = ChatOpenAI(model="gavel-absolute", max_tokens=64, **common)
    said = str(judge.invoke(QUESTION).text)
    assert "[RESULT]" in said, said
    pieces = "".join(str(piece.text) for piece in judge.stream(QUESTION))
    assert pieces == said, (pieces, said)
    hosted = ChatOpenAI(model="scripted", max_tokens=400, **common)
    verdict = hosted.with_structured_output(Verdict).invoke("Grade: 2+2=4")
    assert verdict.score in range(1, 6), verdict
    return said


assert check(responses=False) == check(responses=True)
report("`ChatOpenAI` on chat and on Responses: invoke, stream, structured output", "the same verdict each way")
