"""alpaca-eval: its weighted evaluator, reading the probabilities of `m` and `M`."""

import os
import pathlib

from common import report, scripted

scratch = pathlib.Path(os.environ["GAVEL_SCRATCH"])
client_config = scratch / "openai_clients.yaml"
client_config.write_text(f'default:\n  - api_key: "none"\n    base_url: "{scripted()}/v1"\n')
os.environ["OPENAI_CLIENT_CONFIG_PATH"] = str(client_config)
os.environ["OPENAI_API_KEY"] = "none"

import yaml
from alpaca_eval import constants
from alpaca_eval.annotators import PairwiseAnnotator

# The tool's own configuration of its weighted evaluator, with the judge's name as the only change.
name = "weighted_alpaca_eval_gpt4_turbo"
source = pathlib.Path(constants.EVALUATORS_CONFIG_DIR) / name / "configs.yaml"
config = yaml.safe_load(source.read_text())
config[name]["completions_kwargs"]["model_name"] = "gavel-alpaca-eval"
config[name]["prompt_template"] = str(source.parent.parent / config[name]["prompt_template"])
mine = scratch / "weighted_gavel"
mine.mkdir(exist_ok=True)
(mine / "configs.yaml").write_text(yaml.safe_dump(config))

annotator = PairwiseAnnotator(annotators_config=mine / "configs.yaml", seed=0, caching_path=None)
pairs = [{"instruction": f"Why is the sky blue? ({n})", "output_1": "The sea.", "output_2": "Rayleigh scattering."} for n in range(4)]
annotations = annotator(pairs)
preferences = [annotation["preference"] for annotation in annotations]
assert len(preferences) == 4 and all(1 <= preference <= 2 for preference in preferences), preferences
report("the weighted evaluator over 4 pairs with gavel-alpaca-eval", "preferences " + ", ".join(f"{p:.3f}" for p in preferences))
