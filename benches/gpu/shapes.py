"""Models with random weights: a folder of safetensors of a given shape, made on the spot, with a byte-level tokenizer."""

import json
import random
import sys
from pathlib import Path

SHAPES = {
    # The config.json of prometheus-eval/prometheus-7b-v2.0: that of Mistral-7B-Instruct-v0.2.
    "7b": dict(vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
               num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=32768, rope_theta=1000000.0),
    "tiny": dict(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, rope_theta=10000.0),
}


# The test model, which is a GGUF file.
DEMO = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
            num_attention_heads=9, num_key_value_heads=3)


def tensors(shape):
    """Names and dimensions, as Mistral's models have them."""
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    narrow = width * shape["num_key_value_heads"] // shape["num_attention_heads"]
    yield "model.embed_tokens", (shape["vocab_size"], width)
    for layer in range(shape["num_hidden_layers"]):
        for name, dimensions in [
            ("input_layernorm", (width,)), ("post_attention_layernorm", (width,)),
            ("self_attn.q_proj", (width, width)), ("self_attn.k_proj", (narrow, width)),
            ("self_attn.v_proj", (narrow, width)), ("self_attn.o_proj", (width, width)),
            ("mlp.gate_proj", (inner, width)), ("mlp.up_proj", (inner, width)), ("mlp.down_proj", (width, inner)),
        ]:
            yield f"model.layers.{layer}.{name}", dimensions
    yield "model.norm", (width,)
    yield "lm_head", (shape["vocab_size"], width)


def elements(dimensions):
    count = 1
    for dimension in dimensions:
        count *= dimension
    return count


def parameters(shape):
    return sum(elements(dimensions) for _, dimensions in tensors(shape))


def characters():
    """GPT-2's character for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(moved)) for byte in range(256)]


def tokenizer():
    """A token a byte, and two control tokens: a prompt of n characters of ASCII has n tokens and the first."""
    vocabulary = {text: index for index, text in enumerate(["<s>", "</s>", *characters()])}
    added = [dict(id=index, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for index, text in enumerate(["<s>", "</s>"])]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocabulary, merges=[])
    return dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None,
                pre_tokenizer=level, post_processor=None, decoder=level, model=model)


def ids(text):
    """The tokens of a text, as the tokenizer above makes them."""
    return [2 + index for index in text.encode()]


def noise(count, seed):
    """bf16 values of random sign and mantissa, between 1/64 and 1/32: about the spread of trained weights."""
    exponent = (127 - 6) << 7
    try:
        import numpy
    except ImportError:
        source = random.Random(seed)
        values = ((source.getrandbits(16) & 0x807F) | exponent for _ in range(count))
        return b"".join(value.to_bytes(2, "little") for value in values)
    bits = numpy.random.default_rng(seed).integers(0, 1 << 16, count, dtype=numpy.uint16)
    return ((bits & 0x807F) | exponent).astype("<u2").tobytes()


def write(folder, name):
    """Makes the folder, unless it is there; gives its shape."""
    shape, folder = SHAPES[name], Path(folder)
    if (folder / "model.safetensors").exists():
        return shape
    print(f"writing {parameters(shape) * 2 / 1e9:.1f} GB of random weights to {folder}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(architectures=["MistralForCausalLM"], model_type="mistral", hidden_act="silu", rms_norm_eps=1e-5,
                  sliding_window=None, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, use_cache=True,
                  torch_dtype="bfloat16", attention_dropout=0.0, initializer_range=0.02, **shape)
    settings = dict(bos_token="<s>", eos_token="</s>", tokenizer_class="PreTrainedTokenizerFast",
                    chat_template="{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    for file, value in [("config", config), ("tokenizer", tokenizer()), ("tokenizer_config", settings)]:
        (folder / f"{file}.json").write_text(json.dumps(value))
    header, end = {}, 0
    for name, dimensions in tensors(shape):
        begin, end = end, end + 2 * elements(dimensions)
        header[f"{name}.weight"] = dict(dtype="BF16", shape=list(dimensions), data_offsets=[begin, end])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unfinished = folder / "model.safetensors.part"
    with open(unfinished, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for seed, (_, dimensions) in enumerate(tensors(shape)):
            one = (0x3F80).to_bytes(2, "little")
            out.write(one * dimensions[0] if len(dimensions) == 1 else noise(elements(dimensions), seed))
    unfinished.rename(folder / "model.safetensors")
    return shape
