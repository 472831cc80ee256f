"""Preference pairs for DPO: a JSON line with prompt, chosen and rejected for each, as TRL's DPOTrainer reads them."""

import json
import os
import sys

from gavel_client import Gavel

SAMPLED = {
    "Explain to a child why the sky is blue.": [
        "The sky reflects the sea.",
        "Sunlight is a mix of all colours, and air throws the blue part around the most.",
    ],
    "How do I cook pasta?": ["Use a pot.", "Boil the pasta in salted water for ten minutes, then drain it."],
    "Say something.": ["Something.", "Anything."],
}

with Gavel(os.environ.get("GAVEL_URL", "http://127.0.0.1:8080")) as gavel:
    for prompt, responses in SAMPLED.items():
        made = gavel.preferences(
            instruction=prompt, responses=responses, rubric="helpfulness", method="absolute", mode="score"
        )
        for pair in made.pairs:
            print(json.dumps(pair.model_dump(include={"prompt", "chosen", "rejected"})))
        for left_out in made.left_out:
            print(f"no pair for {prompt!r}: {left_out.reason}, {left_out.detail}", file=sys.stderr)
