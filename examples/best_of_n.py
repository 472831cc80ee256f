"""The best of several responses: sample n, rank them, keep the first."""

import os

from gavel_client import Gavel

RESPONSES = [
    "The sky reflects the sea.",
    "Sunlight is a mix of all colours, and air throws the blue part around the most, so blue comes from everywhere.",
    "Rayleigh scattering goes with the inverse fourth power of the wavelength.",
]

with Gavel(os.environ.get("GAVEL_URL", "http://127.0.0.1:8080")) as gavel:
    verdict = gavel.rank(
        instruction="Explain to a child why the sky is blue.",
        responses=RESPONSES,
        rubric="helpfulness",
        method="absolute",  # one grading a response; "pairwise" compares them with each other
        mode="score",
    )
for place in verdict.ranking:
    print(f"{verdict.strengths[place]:.2f}  {RESPONSES[place]}")
