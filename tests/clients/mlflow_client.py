"""mlflow: its instructions judges by OpenAI's Decisions, by System One and by chat with structured output."""

import os

os.environ.update(OPENAI_API_KEY="none", TYPESAFE_API_KEY="none", MLFLOW_DISABLE_TELEMETRY="true")
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{os.environ['GAVEL_SCRATCH']}/mlflow.db"

from typing import Literal

from common import demo, report, scripted
from mlflow.exceptions import MlflowException
from mlflow.genai.judges import make_judge

INSTRUCTIONS = "Does {{ outputs }} answer {{ inputs }}?"


def judged(url, model, kind, outputs="Because the sea is blue.", api="decisions"):
    # A chat is asked for at exactly this address, everything else below it.
    base = f"{url}/v1/chat/completions" if api == "chat_completions" else f"{url}/v1"
    judge = make_judge(name="answers", instructions=INSTRUCTIONS, model=model, feedback_value_type=kind, base_url=base, model_api=api)
    return judge(inputs={"question": "Why is the sky blue?"}, outputs={"answer": outputs})


def told(feedback):
    """What was said."""
    assert feedback.error is None, feedback
    return str(feedback.value).lower()


came_back = []
grades = Literal["good", "bad"]
for model, name in (("openai:/scripted", "Decisions"), ("typesafe:/scripted", "System One")):
    yes, grade = judged(scripted(), model, bool), judged(scripted(), model, grades)
    assert isinstance(yes.value, bool) and grade.value in ("good", "bad"), (yes, grade)
    came_back.append(f"{name}: {told(yes)}, {told(grade)}")
    try:
        judged(scripted(), model, bool, outputs="Nobody can answer this.")
        raise AssertionError("a forced guess is feedback")
    except MlflowException:
        pass
chat = judged(scripted(), "openai:/scripted", grades, api="chat_completions")
assert chat.value in ("good", "bad") and isinstance(chat.rationale, str), chat
came_back.append(f"chat: {told(chat)}")
if demo():
    try:
        came_back.append(f"test model, Decisions: {told(judged(demo(), 'openai:/smollm2-135m', grades))}")
    except MlflowException as error:
        assert "refused" in str(error), error
        came_back.append("test model, Decisions: refused")
report("judges of make_judge, a forced guess is an error", "; ".join(came_back))
