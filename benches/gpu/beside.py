"""What else runs on the same card: transformers' continuous batching, and llama.cpp's server."""

import gc
import inspect
import subprocess
import time

import servers
import shapes


class LeftOut(Exception):
    """Why a peer cannot be measured."""


def attempt(name, what, measure, prompts, feedback):
    """A row of a peer, or why there is none."""
    try:
        what, tokens, seconds = measure()
    except LeftOut as why:
        return None, f"{what}: {why}"
    count = len(prompts)
    return dict(model=name, what=what, at_once=count, requests=count, seconds=seconds, prompt=tokens / count,
                verdicts_s=count / seconds, prompt_s=tokens / seconds, written_s=count * feedback / seconds), None


def transformers(folder, prompts, feedback):
    """Its name, the tokens of all prompts, and the seconds that they took with `feedback` tokens each. It is given all
    at once, and runs as many together as it likes."""
    try:
        import torch
        import transformers as library
    except ImportError as error:
        raise LeftOut(error) from error
    if not torch.cuda.is_available():
        raise LeftOut("torch sees no GPU")
    ids = [shapes.ids(prompt) for prompt in prompts]
    # The same number and lengths of other prompts, so that nothing is left to be made when it counts.
    warm = [list(reversed(prompt)) for prompt in ids]
    try:
        model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        model = model.cuda().eval()
        config = library.GenerationConfig(max_new_tokens=feedback, do_sample=False, eos_token_id=-1, pad_token_id=0)
        options = dict(generation_config=config, progress_bar=False)
        if keeps := "persistent_manager" in inspect.signature(model.generate_batch).parameters:
            options["persistent_manager"] = True
        model.generate_batch(inputs=warm, **options)
        torch.cuda.synchronize()
        started = time.monotonic()
        answers = model.generate_batch(inputs=ids, **options)
        torch.cuda.synchronize()
        seconds = time.monotonic() - started
        attention = model.config._attn_implementation
    except Exception as error:  # its interface changes from release to release; a failure is told, not hidden
        raise LeftOut(f"{type(error).__name__}: {error}") from error
    short = [answer for answer in answers.values() if len(answer.generated_tokens) != feedback]
    if len(answers) != len(ids) or short:
        raise LeftOut(f"{len(answers)} of {len(ids)} were answered, {len(short)} of them with another number of tokens")
    del model
    gc.collect()
    torch.cuda.empty_cache()
    start = "" if keeps else ", its start included"
    what = f"transformers {library.__version__}, continuous batching, {attention}{start}"
    return what, sum(map(len, ids)), seconds


def llama_server(args, prompts, at_once):
    """The same for llama.cpp's server on the test model, as many slots as requests at once."""
    if not args.llama_server:
        raise LeftOut("--llama-server names no program")
    path = subprocess.run([args.gavel, "models", "path", "smollm2-135m"], capture_output=True, text=True, check=True)
    context = at_once * (2 * args.prompt_tokens + args.feedback)
    command = [args.llama_server, "--model", path.stdout.strip(), "--parallel", at_once, "--ctx-size", context,
               "--gpu-layers", 999]
    with servers.Server("llama-server-gpu", command, servers.without_settings(), "/health") as server:
        bodies = [dict(prompt=text, n_predict=args.feedback, temperature=0, ignore_eos=True, cache_prompt=False)
                  for text in prompts]
        server.post_all("/completion", bodies[:at_once], at_once)
        replies, seconds = server.post_all("/completion", bodies, at_once)
    return f"llama.cpp's server, {at_once} slots", sum(reply["tokens_evaluated"] for reply in replies), seconds
