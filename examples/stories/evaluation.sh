#!/usr/bin/env bash
# An evaluation engineer grades a CSV file with its own column names, fails a build on a low mean, and compares two runs.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
export GAVEL_DATA_DIR=$PWD/data GAVEL_CACHE_DIR=$PWD/cache GAVEL_ENGINE=scripted

cat >answers.csv <<'CSV'
question,model_answer,gold,stars,team
Why is the sky blue?,Air scatters blue light most.,Rayleigh scattering,5,a
Why is the sky blue?,It reflects the sea.,Rayleigh scattering,1,b
Why is the sea salty?,Rivers carry salt into it.,Rivers wash salt out of rocks,4,a
CSV
# Two judges: the second one is kinder to the answer about the sea.
judge() {
  printf '[[answer]]\nwhen = "%s"\nmasses = %s\n' \
    'scatters blue light' '[0.02, 0.03, 0.05, 0.2, 0.7]' 'reflects the sea' "$1" 'carry salt' '[0, 0.05, 0.25, 0.6, 0.1]'
}
judge '[0.7, 0.2, 0.05, 0.03, 0.02]' >strict.toml
judge '[0.1, 0.1, 0.6, 0.1, 0.1]' >kind.toml
map=instruction=question,response=model_answer,reference=gold,label=stars
grade() {
  "$GAVEL_BIN" grade --data answers.csv --map "$map" --rubric helpfulness --mode score "$@" >/dev/null 2>>log
}

code=0
grade --scripted-answers strict.toml --out before.jsonl --summary summary.json --fail-below 0.9 || code=$?
[ "$code" = 3 ] || { echo "--fail-below ended with $code, not 3"; cat log; exit 1; } >&2
grade --scripted-answers kind.toml --out after.jsonl --fail-below 0.5
"$GAVEL_BIN" compare before.jsonl after.jsonl --data answers.csv --map "$map" --json >compared.json

python3 - <<'PY'
import json

summary = json.load(open("summary.json"))
compared = json.load(open("compared.json"))
lines = [json.loads(line) for line in open("before.jsonl")]
assert summary["graded"] == len(lines) == 3 and summary["failed"] == 0, summary
assert summary["agreement"]["absolute"]["spearman"]["value"] > 0.9, "the labels of the file were not used"
mean, both = summary["mean"]["value"], compared["both"]
difference = compared["responses"]["difference"]["value"]
assert both == 3 and difference > 0.05, compared
print(f"3 rows of a CSV graded, mean {mean:.2f} is below 0.9 (exit code 3), the second run is {difference:+.2f}")
PY
