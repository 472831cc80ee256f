"""TRL: GRPOTrainer trains a tiny random model for two steps on rewards of gavel_client.GavelReward."""

import math
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "python" / "src"))

from common import report, scripted
from datasets import Dataset
from gavel_client import GavelReward
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import GRPOConfig, GRPOTrainer

UNANSWERABLE = "Nobody can answer this."
SIZE, STEPS = 4, 2


def tokenizer():
    """A token for each byte, and a chat template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<eos>", *letters])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    made.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return made


def model(words):
    """A Llama with random weights, of which nobody expects anything."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(words), max_position_embeddings=256, **sizes, **ends))


class Watched(GavelReward):
    """Keeps what it gave to TRL."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.given = []

    def __call__(self, prompts, completions, **columns):
        """The rewards."""
        rewards = super().__call__(prompts, completions, **columns)
        self.given += zip(prompts, rewards, strict=True)
        return rewards


def train(prompts, reward):
    """The log of a training, a line for each step."""
    set_seed(7)
    words = tokenizer()
    data = Dataset.from_dict({"prompt": prompts, "answer": ["Something.", None]})
    settings = GRPOConfig(
        output_dir=os.environ["GAVEL_SCRATCH"],
        max_steps=STEPS,
        per_device_train_batch_size=2 * SIZE,
        num_generations=SIZE,
        max_completion_length=8,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    trainer = GRPOTrainer(
        model=model(words), processing_class=words, args=settings, train_dataset=data, reward_funcs=reward
    )
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def check(prompts):
    """Trains on two prompts, of which the judge cannot answer the second; gives the rewards of the first."""
    reward = Watched(scripted(), rubric="helpfulness", reference_column="answer")
    reward.check()
    log = train(prompts, reward)
    assert len(log) == STEPS, log
    answered = [given for prompt, given in reward.given if prompt == prompts[0]]
    failed = [given for prompt, given in reward.given if prompt == prompts[1]]
    assert len(answered) == len(failed) == SIZE * STEPS, reward.given
    assert all(0.0 <= given <= 1.0 for given in answered), answered
    assert failed == [None] * len(failed), failed
    mean = sum(answered) / len(answered)
    for line in log:
        assert math.isclose(line["rewards/gavel/mean"], mean, abs_tol=1e-6), line
        assert math.isclose(line["reward"], mean, abs_tol=1e-6), line
        assert line["gavel/unscored"] == 0.5, line
        assert 0.0 < line["gavel/label_mass"] <= 1.0, line
        assert math.isfinite(line["loss"]), line
    return answered


texts = ["Say something.", UNANSWERABLE]
given = check(texts) + check([[{"role": "user", "content": text}] for text in texts])
report(
    f"GRPOTrainer with GavelReward, {STEPS} steps on texts and {STEPS} on conversations, of a tiny random model",
    f"{len(given)} rewards of {2 * len(given)} completions; the others, which the judge cannot answer, count in no mean",
)
