"""What Hugging Face transformers in single precision says: transformers_reference.py FOLDER < texts > probabilities

In: a JSON list of {"prompt", "options"}: a text, control tokens read as such, and the texts that may follow. Out: for
each, the probability of every option.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def probabilities(prompt, options):
        """Options of one token after what all of them begin with."""
        wholes = [ids(prompt + option) for option in options]
        alike = next(at for at, tokens in enumerate(zip(*wholes)) if len(set(tokens)) > 1)
        if any(len(whole) != alike + 1 for whole in wholes):
            raise SystemExit("options of several tokens are not supported")
        with torch.no_grad():
            logits = model(torch.tensor([wholes[0][:alike]])).logits[0, -1]
        told = torch.softmax(logits.double(), -1)
        return [told[whole[alike]].item() for whole in wholes]

    json.dump([probabilities(**text) for text in json.load(sys.stdin)], sys.stdout)


main(sys.argv[1])
