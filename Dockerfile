# Builds the program, and with `--target test` also runs its tests, which pull the default model (94 MiB).
#
#     docker build -t drllm-tui .                    # the program
#     docker build --target test .                   # its tests
#     docker run -it --rm drllm-tui                  # the explorer, on a recorded run and the model inside the program
#     docker run -it --rm -v ~/.cache/drllm-tui:/cache drllm-tui run "Why is the sky blue?"

FROM rust:1.95-bookworm AS build
WORKDIR /drllm-tui
COPY . .
RUN cargo build --release --locked

FROM build AS test
# The model's second source is pip, where the hub cannot be reached.
RUN apt-get update && apt-get install --no-install-recommends --yes python3-pip python3-venv && rm -rf /var/lib/apt/lists/*
RUN cargo test --release --locked && tests/python/run.sh

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --no-install-recommends --yes ca-certificates python3-pip && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home user && mkdir /cache && chown user /cache
COPY --from=build /drllm-tui/target/release/drllm-tui /usr/local/bin/
USER user
ENV DRLLM_CACHE_DIR=/cache TERM=xterm-256color
ENTRYPOINT ["drllm-tui"]
