#!/usr/bin/env bash
# An operator checks a configuration, starts the server, watches it, changes a rubric, and stops it without losing work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
dashboard=$PWD/../../deploy/grafana/gavel.json
work=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
export GAVEL_DATA_DIR=$work/data GAVEL_CACHE_DIR=$work/cache GAVEL_ENGINE=scripted GAVEL_LIMITS__DRAIN_MS=3000
complain() { printf '%s\n' "$*" >&2; cat "$work/log" >&2; exit 1; }

"$GAVEL_BIN" serve --check --port 0 | grep -q 'can be served' || complain "serve --check"
"$GAVEL_BIN" doctor --quick --json >"$work/doctor.json" 2>"$work/log" || complain "doctor --quick"
code=0
GAVEL_ENGINE=no-such-engine "$GAVEL_BIN" serve --check 2>"$work/log" || code=$?
[ "$code" = 78 ] || complain "an invalid configuration ended with $code, not 78"

GAVEL_SCRIPTED_DELAY_MS=1500 "$GAVEL_BIN" serve --port 0 >"$work/server" 2>"$work/log" &
server=$!
until url=$(sed -n 's/^gavel is listening on //p' "$work/server") && [ -n "$url" ]; do
  kill -0 "$server" 2>/dev/null || complain "the server did not start"
  sleep 0.05
done
until curl -sf "$url/readyz" >/dev/null; do sleep 0.05; done
grade() {
  curl -sf "$url/v1/grade/relative" -H 'Content-Type: application/json' \
    -d '{"instruction": "Why?", "response_a": "So.", "response_b": "Because.", "rubric": "helpfulness"}'
}
grade >/dev/null || complain "a comparison failed"

# What the dashboard shows is there after one request, except for the engine `remote` and API keys, which are not used
# here.
curl -sf "$url/metrics" >"$work/metrics"
for family in $(grep -o 'gavel_[a-z_]*' "$dashboard" | sed -E 's/_(bucket|sum|count)$//' | sort -u); do
  case $family in gavel_remote_* | gavel_key_* | gavel_score) continue ;; esac
  grep -q "^# TYPE $family " "$work/metrics" || complain "/metrics has no $family"
done

# A new rubric is read at SIGHUP.
mkdir -p "$GAVEL_DATA_DIR/rubrics"
"$GAVEL_BIN" rubrics show helpfulness >"$GAVEL_DATA_DIR/rubrics/house.toml"
kill -HUP "$server"
tries=0
until curl -sf "$url/v1/rubrics/house" >/dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || complain "the new rubric is not there"
  sleep 0.05
done

# SIGTERM while a request runs: /readyz says so, the request is answered, and the server ends with 0.
grade >"$work/last" 2>/dev/null &
last=$!
sleep 0.3
kill -TERM "$server"
tries=0
until [ "$(curl -s -o /dev/null -w '%{http_code}' "$url/readyz")" = 503 ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || complain "/readyz does not answer 503 while the server drains"
  sleep 0.02
done
wait "$last" && grep -q '"preference"' "$work/last" || complain "the request in flight was lost"
code=0
wait "$server" || code=$?
server=""
[ "$code" = 0 ] || complain "the server ended with $code"
echo "checked, ready, $(grep -c '^# TYPE' "$work/metrics") metrics, a rubric read at SIGHUP, drained at SIGTERM with exit code 0"
