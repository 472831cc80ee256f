# The everyday commands. `make` lists them.
#
# One profile, release, serves building, testing and running, so that the engine compiles once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.PHONY: help build demo serve test check client examples fmt bench peers clean-cache docker

# Puts what the build needs on PATH; each recipe line that runs cargo begins with it.
ENV := . .ci/env
# Where cargo puts the binary, a target directory of your own included.
BIN := "$$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/gavel"
# `make docker IMAGE=name:tag` names the image.
IMAGE ?= gavel

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the server (release)
	$(ENV) && cargo build --release

demo: ## build, then show the server at work on the demo model
	$(ENV) && cargo build --release && $(BIN) demo

serve: ## build, then serve on the configured address
	$(ENV) && cargo build --release && exec $(BIN) serve

test: ## run every test, those on the real demo model included
	$(ENV) && cargo build --release && $(BIN) models pull smollm2-135m
	$(ENV) && if cargo nextest --version >/dev/null 2>&1; then \
	  cargo test --release --doc && cargo nextest run --release; \
	else \
	  cargo test --release; \
	fi
	python3 -m unittest discover benches/peers

check: ## formatting, lints and documentation, as CI checks them
	$(ENV) && cargo fmt --check
	$(ENV) && cargo clippy --release --all-targets -- -D warnings
	$(ENV) && RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps

client: ## build the Python client, check it, and test it against the server
	$(ENV) && cargo build --release && GAVEL_BIN=$(BIN) clients/python/check

examples: ## run every example against a demo server
	$(ENV) && cargo build --release && GAVEL_BIN=$(BIN) examples/run

fmt: ## format the code
	$(ENV) && cargo fmt

bench: ## measure the service itself and its parts, without a model
	$(ENV) && cargo build --release --no-default-features && python3 benches/service.py
	$(ENV) && cargo bench --no-default-features

peers: ## measure Gavel beside llama.cpp's own server; DATA=folder names the labelled sets
	$(ENV) && cargo build --release && $(BIN) models pull smollm2-135m
	$(ENV) && benches/peers/run $(if $(DATA),--data $(DATA))

clean-cache: ## remove the build tools that were fetched from pip
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/gavel/build-tools"

docker: ## build the CPU image
	docker build --tag $(IMAGE) .
