"""A user of an evaluation harness judges with the unmodified client of OpenAI: chat completions, then responses."""

import json
import os

from openai import NotFoundError, OpenAI

client = OpenAI(base_url=f"{os.environ['GAVEL_URL']}/v1", api_key="none", max_retries=0)
names = [model.id for model in client.models.list()]
schema = {
    "type": "object",
    "properties": {"verdict": {"enum": ["CORRECT", "INCORRECT"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
prompt = "The answer is 4, the reference is 4. Is the answer correct?"

format = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
chat = client.chat.completions.create(
    model=names[0], messages=[{"role": "user", "content": prompt}], response_format=format, temperature=0
)
text = {"format": {"type": "json_schema", "name": "verdict", "strict": True, "schema": schema}}
response = client.responses.create(model=names[0], input=prompt, text=text, temperature=0)
for written in (chat.choices[0].message.content, response.output_text):
    assert json.loads(written)["verdict"] in ("CORRECT", "INCORRECT"), written
try:
    client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": prompt}])
    raise AssertionError("an unknown model must be refused")
except NotFoundError as error:
    assert "no-such-model" in str(error), error
print(f"chat and responses wrote {response.output_text}; an unknown model is refused by name")
