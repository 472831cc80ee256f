"""autoevals: its Factuality on the scripted engine, a classifier of one's own on the test model, both by a forced tool."""

import openai
from autoevals import Factuality, LLMClassifier, init
from common import demo, report, scripted


def pointed(url):
    init(client=openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0))


pointed(scripted())
answer = {"input": "Why is the sky blue?", "output": "Because the sea is blue.", "expected": "Rayleigh scattering."}
fact = Factuality(model="scripted")(**answer)
assert 0 <= fact.score <= 1 and fact.metadata["choice"] in "ABCDE", fact
came_back = f"scripted: choice {fact.metadata['choice']}, score {fact.score:g}"
if demo():
    pointed(demo())
    template = "Question: {{input}}\nAnswer: {{output}}\nRight answer: {{expected}}\nIs the answer right?"
    # Without reasons, which this model would go on with until the context is full.
    judge = LLMClassifier("right", template, {"yes": 1, "no": 0}, model="smollm2-135m", use_cot=False, temperature=0)
    judged = judge(**answer)
    assert judged.score in (0, 1), judged
    came_back += f"; test model: choice {judged.metadata['choice']}, score {judged.score:g}"
report("Factuality and a classifier, by a forced tool", came_back)
