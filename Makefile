# The everyday commands. `make` lists them.
#
# One profile, release, serves building, testing and running, so that the engine compiles once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.PHONY: help build demo serve test judge check web client examples deployment faults clusters fmt bench peers gpu-bench cuda dist clean-cache docker docker-cuda

# Puts what the build needs on PATH; each recipe line that runs cargo begins with it.
ENV := . .ci/env
# Where cargo puts the binary, a target directory of your own included.
BIN := "$$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/gavel"
# `make FEATURES=mistralrs test` builds and tests with further features.
CARGO_FEATURES := $(if $(FEATURES),--features $(FEATURES))
# `make docker IMAGE=name:tag` names the image.
IMAGE ?= gavel

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the server (release)
	$(ENV) && cargo build --release $(CARGO_FEATURES)

demo: ## build, then grade two answers with the default judge (1.1 GB, fetched once)
	$(ENV) && cargo build --release $(CARGO_FEATURES) && $(BIN) demo

serve: ## build, then serve on the configured address
	$(ENV) && cargo build --release $(CARGO_FEATURES) && exec $(BIN) serve

test: ## run every test, those on the real test model included
	$(ENV) && cargo test --release $(CARGO_FEATURES) --no-run && $(BIN) models pull smollm2-135m
	$(ENV) && if cargo nextest --version >/dev/null 2>&1; then \
	  cargo test --release $(CARGO_FEATURES) --doc && cargo nextest run --release $(CARGO_FEATURES); \
	else \
	  cargo test --release $(CARGO_FEATURES); \
	fi
	python3 -m unittest discover benches/peers
	python3 -m unittest discover benches/gpu

judge: ## hold the default judge to 20 pairs of answers; fetches it once (1.1 GB), takes minutes
	$(ENV) && cargo test --release $(CARGO_FEATURES) --test judge --no-run && $(BIN) models pull qwen2.5-coder-1.5b
	$(ENV) && cargo test --release $(CARGO_FEATURES) --test judge -- --ignored --nocapture

check: ## formatting, lints and documentation, as CI checks them
	$(ENV) && cargo fmt --check
	$(ENV) && cargo clippy --release $(CARGO_FEATURES) --all-targets -- -D warnings
	$(ENV) && RUSTDOCFLAGS='-D warnings' cargo doc --release $(CARGO_FEATURES) --no-deps

web: ## build the page again, compare it with web/dist, and test it in Chromium
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) web/check

client: ## build the Python client, check it, and test it against the server
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) clients/python/check

examples: ## run every example and the stories of users against a demo server
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) examples/run

deployment: ## render the Helm chart, and validate it and the compose file
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) deploy/helm/check
	deploy/compose/check

faults: ## kill, starve and overload real servers; FAULTS names rows or options
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) tests/faults/run $(FAULTS)

clusters: ## the engine remote before llama.cpp's own server (34 MB from pip), against the engine in process
	$(ENV) && cargo build --release $(CARGO_FEATURES) && GAVEL_BIN=$(BIN) tests/clusters/run llama-server $(CLUSTERS)

fmt: ## format the code
	$(ENV) && cargo fmt

bench: ## measure the service itself and its parts, without a model
	$(ENV) && cargo build --release --no-default-features && python3 benches/service.py
	$(ENV) && cargo bench --no-default-features

peers: ## measure Gavel beside llama.cpp's own server; DATA=folder names the labelled sets
	$(ENV) && cargo build --release && $(BIN) models pull smollm2-135m
	$(ENV) && benches/peers/run $(if $(DATA),--data $(DATA))

gpu-bench: ## the canaries and the throughput of a GPU, all in one run; benches/gpu
	$(ENV) && benches/gpu/run --gavel $(BIN)

cuda: ## build for NVIDIA GPUs and pack it in dist/; CUDA_COMPUTE_CAP=90 says for which
	deploy/cuda/build

dist: ## make a release in dist/: static binary, SBOM, Python packages, checksums; docs/releasing.md
	deploy/dist/build

clean-cache: ## remove the build tools and the CUDA toolkit that were fetched from pip
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/gavel/build-tools" "$${XDG_CACHE_HOME:-$$HOME/.cache}/gavel/cuda-13.0"
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/gavel/dist-"*

docker: ## build the CPU image
	docker build --tag $(IMAGE) .

docker-cuda: ## build the image for NVIDIA GPUs; CUDA_COMPUTE_CAP=90 says for which
	docker build --target cuda --build-arg CUDA_COMPUTE_CAP --tag $(IMAGE)-cuda .
