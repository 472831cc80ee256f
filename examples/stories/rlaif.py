"""An RLAIF engineer gets rewards for one batch in which every item has a rubric of its own, and some items fail."""

import os

from gavel_client import Gavel, RewardItem

child = {
    "criterion": "Would a child understand it?",
    "descriptions": {"1": "No.", "2": "A few words.", "3": "In part.", "4": "Nearly all.", "5": "Every word."},
}
why = "Explain to a child why the sky is blue."
items: list[RewardItem] = [
    {"instruction": why, "response": "Sunlight is a mix of colours; air scatters blue.", "rubric": child},
    {"instruction": why, "response": "The sky reflects the sea.", "rubric": "helpfulness"},
    {"instruction": why, "response": "", "rubric": "helpfulness"},
    {"instruction": why, "response": "Sunlight is a mix of colours.", "rubric": "no_such_rubric"},
    {"instruction": why, "response": "Wug blicket dax.", "rubric": "helpfulness"},
]
with Gavel(os.environ["GAVEL_URL"]) as gavel:
    answer = gavel.rewards(items, mode="score", min_label_mass=0.05)

good, wrong, empty, unknown, guessed = answer.rewards
assert good is not None and wrong is not None and empty is not None, answer
assert good > 0.8 > 0.3 > wrong, (good, wrong)
assert unknown is None and guessed is None, "a failure must not become a reward"
codes = [error.code if error else None for error in answer.errors]
assert codes == [None, None, None, "unknown_rubric", "low_label_mass"], codes
print(f"rewards {good:.2f} and {wrong:.2f} by rubrics of their own; the failed items have none, but {codes[3:]}")
