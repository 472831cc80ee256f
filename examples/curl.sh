#!/usr/bin/env bash
# A score, a preference and rewards with nothing but curl; python3 only picks what is shown.
set -euo pipefail
url=${GAVEL_URL:-http://127.0.0.1:8080}

ask() { curl --silent --show-error --fail-with-body "$url$1" --header 'Content-Type: application/json' --data "$2"; }
show() { python3 -c "import json, sys; answer = json.load(sys.stdin); print($1)"; }

ask /v1/grade/absolute '{
  "instruction": "Explain to a child why the sky is blue.",
  "response": "The sky reflects the sea.",
  "rubric": "helpfulness"
}' | show 'answer["score"], answer["feedback"]'

ask /v1/grade/relative '{
  "instruction": "Explain to a child why the sky is blue.",
  "response_a": "The sea is blue, too.",
  "response_b": "Air scatters blue light.",
  "rubric": "helpfulness"
}' | show 'answer["preference"], "both orders agree:", answer["consistent"]'

ask /v1/rewards '{
  "rubric": "helpfulness", "mode": "score",
  "items": [
    {"instruction": "Explain to a child why the sky is blue.", "response": "The sky reflects the sea."},
    {"instruction": "", "response": "The sky reflects the sea."}
  ]
}' | show '[answer["rewards"][0] is not None, answer["rewards"][1], answer["errors"][1]["code"]]'
