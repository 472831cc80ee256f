"""LiteLLM: completion, responses, rerank."""

import litellm
from common import report, scripted

QUESTION = "###Response to evaluate:\nThe sea is blue.\n\n###Feedback: "

common = {"api_base": f"{scripted()}/v1", "api_key": "none", "num_retries": 0}
chat = litellm.completion(
    model="openai/gavel-absolute", messages=[{"role": "user", "content": QUESTION}], max_tokens=64, **common
)
said = chat.choices[0].message.content
assert "[RESULT]" in said, said
response = litellm.responses(model="openai/gavel-absolute", input=QUESTION, max_output_tokens=64, **common)
assert response.output[0].content[0].text == said, response
documents = ["Because the sea is blue.", "Light scatters."]
ranked = litellm.rerank(
    model="hosted_vllm/gavel-absolute:helpfulness",
    query="Why is the sky blue?",
    documents=documents,
    api_base=scripted(),
    api_key="none",
)
assert len(ranked.results) == 2, ranked
report("completion, responses, rerank (`hosted_vllm`)", "a verdict each way; two documents ranked")
