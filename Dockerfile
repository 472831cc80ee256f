# The CPU image: `docker build --tag gavel .` (BuildKit, the default since Docker 23). The image for NVIDIA GPUs:
# `docker build --target cuda --build-arg CUDA_COMPUTE_CAP=90 --tag gavel-cuda .`, then `docker run --gpus all`.
#
# On x86-64 it is compiled for processors with AVX2 (since 2013). `--build-arg TARGET_CPU=native` compiles for the build
# machine instead, which may be much faster there.

FROM rust:1-bookworm AS source
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang cmake g++ libclang-dev python3-pip xz-utils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .

FROM source AS build
ARG TARGET_CPU=
# Both caches survive the build. The target directory is not part of the image, so the binary is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    case "$(uname -m)" in x86_64) portable=x86-64-v3 ;; *) portable=generic ;; esac; \
    RUSTFLAGS="-C target-cpu=${TARGET_CPU:-$portable}" CARGO_INCREMENTAL=0 cargo build --release --locked \
    && install -D --strip target/release/gavel /out/gavel

# The same steps as `make cuda`; the CUDA toolkit comes from pip, and its libraries go into the image.
FROM source AS build-cuda
ARG TARGET_CPU=
ARG CUDA_COMPUTE_CAP
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    --mount=type=cache,target=/root/.cache \
    deploy/cuda/build && mv dist/gavel-*/ /out
RUN python3 -m pip install --no-cache-dir --target /out/python --requirement /out/requirements.txt

FROM debian:bookworm-slim AS run
# curl is for the health check, libgomp1 and libstdc++6 are for the engine.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 gavel \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin gavel \
    && install --directory --owner=gavel --group=gavel /data
USER 10001
WORKDIR /data
# Rubrics and prompt sets are in /data, models in /data/cache and /data/huggingface.
ENV GAVEL_DATA_DIR=/data \
    GAVEL_CACHE_DIR=/data/cache \
    HF_HOME=/data/huggingface
VOLUME /data
EXPOSE 8080

# With a certificate, which is not checked here, the server speaks TLS. A port other than 8080 is told by GAVEL_PORT.
# Checks liveness only: a model that is still loading is no reason for a restart. /readyz is readiness.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["sh", "-c", "at=127.0.0.1:${GAVEL_PORT:-8080}/livez; curl --fail --silent --max-time 2 --output /dev/null http://$at || curl --fail --silent --show-error --insecure --max-time 2 --output /dev/null https://$at"]

# Inside the container every address is served, so that its port can be published; who can connect is decided there. Keys
# in /data/keys.toml apply all the same (docs/security.md).
ENTRYPOINT ["gavel"]
CMD ["serve", "--host", "0.0.0.0", "--insecure"]

FROM run AS cuda
COPY --from=build-cuda /out /opt/gavel
ENTRYPOINT ["/opt/gavel/gavel"]
CMD ["serve", "--host", "0.0.0.0", "--insecure"]

FROM run
COPY --from=build /out/gavel /usr/local/bin/gavel
