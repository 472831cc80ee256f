"""ragas: its rubric score through LangChain's client."""

import asyncio
import os

os.environ["RAGAS_DO_NOT_TRACK"] = "true"

from common import report, scripted
from langchain_openai import ChatOpenAI
from ragas.dataset_schema import SingleTurnSample
from ragas.llms import LangchainLLMWrapper
from ragas.metrics import RubricsScore

rubrics = {f"score{level}_description": f"The response is worth {level}." for level in range(1, 6)}
llm = LangchainLLMWrapper(ChatOpenAI(model="gavel-ragas", base_url=f"{scripted()}/v1", api_key="none", max_retries=0))
metric = RubricsScore(rubrics=rubrics, llm=llm)
sample = SingleTurnSample(user_input="Why is the sky blue?", response="Because the sea is blue.", reference="Scattering.")
score = asyncio.run(metric.single_turn_ascore(sample))
assert score in range(1, 6), score
report("RubricsScore through LangChain and gavel-ragas", f"score {score}")
