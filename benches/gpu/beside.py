"""What else runs on the same card: transformers' continuous batching, and llama.cpp's server."""

import gc
import os
import time

import servers


def run(args, folder, requests_of, words):
    """Rows of the peers, and why others are left out."""
    at_once = min(64, max(int(n) for n in args.at_once.split(",")))
    count = requests_of(args, at_once)
    texts = [words(args.prompt_tokens, 500_000 + n)[: args.prompt_tokens] for n in range(count)]
    rows, left_out = [], []
    for model, what, measure in [
        (f"random {args.shape}", "transformers, continuous batching", lambda: transformers(folder, texts, args.feedback)),
        ("demo", "llama.cpp's server", lambda: llama_server(args, texts, at_once)),
    ]:
        try:
            tokens, seconds = measure()
        except LeftOut as why:
            left_out.append(f"{what}: {why}")
            continue
        rows.append(dict(model=model, what=what, at_once=at_once, requests=count, seconds=seconds,
                         prompt=tokens / count, verdicts_s=count / seconds, prompt_s=tokens / seconds,
                         written_s=count * args.feedback / seconds))
    return rows, left_out


class LeftOut(Exception):
    """Why a peer cannot be measured."""


def transformers(folder, texts, feedback):
    """Tokens of all prompts, and the seconds that they took with `feedback` tokens each."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    except ImportError as error:
        raise LeftOut(error) from error
    if not torch.cuda.is_available():
        raise LeftOut("torch sees no GPU")
    try:
        ids = AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
        model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.bfloat16, attn_implementation="sdpa")
        model = model.cuda().eval()
        config = GenerationConfig(max_new_tokens=feedback, min_new_tokens=feedback, do_sample=False, eos_token_id=-1,
                                  pad_token_id=0, max_batch_tokens=8192)
        model.generate_batch(inputs=ids[:4], generation_config=config, progress_bar=False)
        started = time.monotonic()
        answers = model.generate_batch(inputs=ids, generation_config=config, progress_bar=False)
        seconds = time.monotonic() - started
    except Exception as error:  # its interface changes from release to release; a failure is told, not hidden
        raise LeftOut(f"{type(error).__name__}: {error}") from error
    short = [answer for answer in answers.values() if len(answer.generated_tokens) < feedback]
    if len(answers) != len(ids) or short:
        raise LeftOut(f"{len(answers)} of {len(ids)} were answered, {len(short)} of them with fewer tokens")
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return sum(map(len, ids)), seconds


def llama_server(args, texts, at_once):
    """The same for llama.cpp's server on the demo model, as many slots as requests at once."""
    if not args.llama_server:
        raise LeftOut("--llama-server names no program")
    model = os.popen(f"'{args.gavel}' models path smollm2-135m").read().strip()
    context = at_once * (2 * args.prompt_tokens + args.feedback)
    command = [args.llama_server, "--model", model, "--parallel", at_once, "--ctx-size", context, "--gpu-layers", 999]
    with servers.Server("llama-server-gpu", command, servers.without_settings(), "/health") as server:
        bodies = [dict(prompt=text, n_predict=args.feedback, temperature=0, ignore_eos=True) for text in texts]
        replies, seconds = server.post_all("/completion", bodies, at_once)
    return sum(reply["tokens_evaluated"] for reply in replies), seconds
