"""The least time that a card could take."""


def card():
    """The measured rate of matrix products (operations/s) and of copies (bytes/s), or why there is none."""
    try:
        import torch
    except ImportError:
        return None, "torch is not installed"
    if not torch.cuda.is_available():
        return None, "torch sees no GPU"

    def best(work, amount, tries=10):
        work()
        seconds = []
        for _ in range(tries):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            seconds.append(begin.elapsed_time(end) / 1000)
        return amount / min(seconds)

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    products = best(lambda: a @ b, 2 * 8192**3)
    source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    # A copy reads and writes.
    copies = best(lambda: target.copy_(source), 2 << 30)
    found = dict(name=torch.cuda.get_device_name(), products=products, copies=copies)
    del a, b, source, target
    torch.cuda.empty_cache()
    return found, None


def kv_bytes(shape):
    """Keys and values of a token, in half precision."""
    head = shape["hidden_size"] // shape["num_attention_heads"]
    return 2 * 2 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * head


def seconds(shape, weights, card, requests, at_once, prompt, written):
    """The least time for so many requests: every prompt read at the card's best rate of products, every decode step,
    shared by those that run at once, at its best rate of copies. `weights` is the number of parameters and the bytes
    that they take."""
    parameters, size = weights
    # Attention: each token against half of those before it, scores and values.
    attention = 2 * 2 * shape["num_hidden_layers"] * shape["hidden_size"] * prompt / 2
    prefill = requests * prompt * (2 * parameters + attention) / card["products"]
    steps = written * -(-requests // at_once)
    held = at_once * (prompt + written / 2) * kv_bytes(shape)
    return prefill + steps * (size + held) / card["copies"]
