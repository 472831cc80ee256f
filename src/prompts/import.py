"""Prints the prompt texts of the package prometheus-eval as JSON, without importing it.

The first argument, if there is one, is the folder to look in instead of the installed packages.
"""
import sys

# Nothing is taken from the folder that the program was started in.
sys.path = [path for path in sys.path if path]

import ast
import importlib.metadata
import importlib.util
import json
import os

TEXTS = [
    "ABS_SYSTEM_PROMPT",
    "REL_SYSTEM_PROMPT",
    "ABSOLUTE_PROMPT",
    "ABSOLUTE_PROMPT_WO_REF",
    "RELATIVE_PROMPT",
    "RELATIVE_PROMPT_WO_REF",
]

folders = sys.argv[1:] or sys.path
if len(sys.argv) > 1:
    package = os.path.join(sys.argv[1], "prometheus_eval")
else:
    spec = importlib.util.find_spec("prometheus_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package is not installed; try: pip install --no-deps prometheus-eval")
    package = list(spec.submodule_search_locations)[0]

try:
    with open(os.path.join(package, "prompts.py"), encoding="utf-8") as file:
        tree = ast.parse(file.read())
except OSError as error:
    sys.exit(str(error))

found = {}
for node in tree.body:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in TEXTS:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found[node.targets[0].id] = node.value.value
missing = [name for name in TEXTS if name not in found]
if missing:
    sys.exit("its prompts.py does not hold the texts " + ", ".join(missing))

releases = importlib.metadata.distributions(name="prometheus-eval", path=folders)
found["version"] = next((release.version for release in releases), None)
json.dump(found, sys.stdout)
