"""A folder of safetensors, for servers that read no GGUF: safetensors_folder.py FILE.gguf FOLDER

The values stay what the file has: transformers reads them into single precision, and they are written as half precision,
in which F16 files have them already.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(file, folder):
    folder.mkdir(parents=True, exist_ok=True)
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    weights = {name: value.half().contiguous().clone() for name, value in model.state_dict().items()}
    # The output matrix is the embedding.
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {key: value for key, value in model.config.to_dict().items() if key not in ("quantization_config", "dtype")}
    config |= {"architectures": [type(model).__name__], "torch_dtype": "float16", "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str))


main(Path(sys.argv[1]), Path(sys.argv[2]))
