"""Rewards for GRPO: 32 prompts with 8 completions each, 256 rewards in one request, normalised in their groups.

TRL calls the same through `gavel_client.GavelReward`, and normalises by itself.
"""

import os
from statistics import mean, stdev

from gavel_client import Gavel, RewardItem

GROUPS, SIZE = 32, 8

items: list[RewardItem] = [
    {
        "group": group,
        "instruction": f"Write a sentence with {group + 2} words.",
        "response": f"Attempt {attempt + 1} of {SIZE} at a sentence with {group + 2} words.",
    }
    for group in range(GROUPS)
    for attempt in range(SIZE)
]
with Gavel(os.environ.get("GAVEL_URL", "http://127.0.0.1:8080")) as gavel:
    answer = gavel.rewards(items, rubric="instruction_following", mode="score", normalize="group")

rewards = [reward for reward in answer.rewards if reward is not None]
print(f"{len(rewards)} rewards in one request, {len(items) - len(rewards)} items without one")
for group in range(GROUPS):
    print(f"group {group:2}:", *(f"{reward:+.2f}" for reward in rewards[group * SIZE : (group + 1) * SIZE]))
groups = [rewards[first : first + SIZE] for first in range(0, len(rewards), SIZE)]
print("every group has mean 0:", all(abs(mean(group)) < 1e-9 for group in groups))
print("and deviation 1:", all(abs(stdev(group) - 1) < 1e-9 for group in groups))
