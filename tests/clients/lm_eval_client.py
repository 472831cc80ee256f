"""lm-eval: a task of log-likelihoods and one of generated text through its `local-completions` model."""

import json
import os
import pathlib
import subprocess

os.environ.setdefault("OPENAI_API_KEY", "none")
os.environ["HF_HUB_OFFLINE"] = "1"
scratch = pathlib.Path(os.environ["GAVEL_SCRATCH"]) / "lm-eval"
scratch.mkdir()
os.environ["HF_HOME"] = str(scratch / "hub")

import lm_eval
import yaml
from common import demo, report, scripted
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# The first answer of each is the right one.
QUESTIONS = [
    ("The sky is", ["blue", "banana"]),
    ("The capital of France is", ["Paris", "spoon"]),
    ("Two plus two is", ["four", "purple"]),
    ("A dog is an", ["animal", "engine"]),
    ("In 1969, people first walked on the", ["moon", "toast"]),
    ("Fire is", ["hot", "seven"]),
]


def demo_vocabulary():
    """The test model's tokens and merges, out of the file that `gavel models path` names."""
    from gguf import GGUFReader

    path = [os.environ["GAVEL_PROGRAM"], "models", "path", "smollm2-135m"]
    fields = GGUFReader(subprocess.run(path, check=True, capture_output=True, text=True).stdout.strip()).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    return {token: index for index, token in enumerate(tokens)}, [tuple(merge.split(" ")) for merge in merges]


def byte_vocabulary():
    """One token for each byte, and the ends of a turn: the scripted engine counts ids, whatever they are."""
    tokens = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return {token: index for index, token in enumerate(tokens)}, []


def tokenizer(name, vocabulary, merges):
    """A folder that lm-eval takes a tokenizer from: no hub is asked."""
    made = Tokenizer(models.BPE(vocabulary, merges))
    # As SmolLM splits text: each digit by itself, then as GPT-2.
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence([digits, rest]), decoders.ByteLevel()
    folder = scratch / name
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|im_start|>", eos_token="<|im_end|>").save_pretrained(folder)
    return str(folder)


def tasks():
    """A folder with two tasks over a few made-up items, as their files in the tool's own folder are."""
    lines = [{"question": question, "choices": choices, "answer": choices[0]} for question, choices in QUESTIONS]
    data = scratch / "items.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = scratch / "tasks"
    folder.mkdir()
    common = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test", "doc_to_text": "{{question}}"}
    mean = {"aggregation": "mean", "higher_is_better": True}
    choice = {
        "task": "gavel_choice", "output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": 0,
        "metric_list": [{"metric": "acc", **mean}, {"metric": "acc_norm", **mean}],
    }
    text = {
        "task": "gavel_text", "output_type": "generate_until", "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 8, "temperature": 0, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **mean}],
    }
    for task in (choice, text):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump({**common, **task, "metadata": {"version": 1}}))
    return TaskManager(include_path=str(folder), include_defaults=False)


def run(url, name, tokens, found, concurrent=1, batch=1):
    """Both tasks on a server, each question and answer checked; what the tool's own table says."""
    arguments = {
        "model": name, "base_url": f"{url}/v1/completions", "tokenizer": tokens, "tokenizer_backend": "huggingface",
        "num_concurrent": concurrent, "batch_size": batch, "max_retries": 1, "max_length": 2048,
    }
    results = lm_eval.simple_evaluate(
        model="local-completions", model_args=arguments, tasks=["gavel_choice", "gavel_text"], task_manager=found, bootstrap_iters=0
    )
    graded, written = results["samples"]["gavel_choice"], results["samples"]["gavel_text"]
    assert len(graded) == len(written) == len(QUESTIONS)
    for sample in graded:
        assert len(sample["filtered_resps"]) == 2 and all(logprob <= 0 for logprob, _ in sample["filtered_resps"]), sample
    texts = [sample["filtered_resps"][0] for sample in written]
    assert all(isinstance(text, str) and text.strip() for text in texts), texts
    return results["results"]["gavel_choice"]["acc,none"], get_model("local-completions")(**arguments)


def check_demo(url, model):
    """Its ids are the server's, token for token, and what is likely is likelier."""
    import requests

    def ask(prompt):
        body = {"model": "smollm2-135m", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0}
        answer = requests.post(f"{url}/v1/completions", json=body, timeout=300)
        answer.raise_for_status()
        return [choice["logprobs"] for choice in answer.json()["choices"]]

    texts = ["The sky is blue.", "In 1969, they'd walked  home:\n\n\ttabs, 12345 naïve cafés — 東京 🙂", "don't 'quote' it's x=1;"]
    ids = [model.tok_encode(text) for text in texts]
    for text, own, of_text, of_ids in zip(texts, ids, ask(texts), ask(ids), strict=True):
        counts = len(own), len(of_text["tokens"]), len(of_ids["tokens"])
        assert len(set(counts)) == 1, (text, counts)
        assert of_text["tokens"] == of_ids["tokens"], (text, of_text["tokens"], of_ids["tokens"])
        pairs = zip(of_text["token_logprobs"][1:], of_ids["token_logprobs"][1:], strict=True)
        assert all(abs(a - b) < 0.05 for a, b in pairs), text
    sky = [Instance("loglikelihood", {}, ("The sky is", f" {answer}"), 0) for answer in ("blue", "banana")]
    blue, banana = (logprob for logprob, _ in model.loglikelihood(sky))
    assert blue > banana, (blue, banana)
    rolling = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("The sky is blue.",), 0)])
    assert -60 < rolling[0] < -1, rolling
    return f"the tokens of {len(texts)} texts are the server's; ' blue' after 'The sky is' {blue:.2f}, ' banana' {banana:.2f}"


found, came_back = tasks(), []
bytes_only = tokenizer("bytes", *byte_vocabulary())
for concurrent, batch in ((1, 1), (4, 1), (1, 5)):
    run(scripted(), "scripted", bytes_only, found, concurrent, batch)
came_back.append(f"scripted: {2 * len(QUESTIONS)} log-likelihoods and {len(QUESTIONS)} texts, one at a time, four at once and five a request")
if demo():
    accuracy, model = run(demo(), "smollm2-135m", tokenizer("smollm2", *demo_vocabulary()), found)
    assert accuracy >= 0.5, accuracy
    came_back.append(f"test model: accuracy {accuracy:.2f}; {check_demo(demo(), model)}")
report("multiple_choice and generate_until through local-completions, prompts as token ids", "; ".join(came_back))
