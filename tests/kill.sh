#!/usr/bin/env bash
# Kills search, eval, train and pull at random moments, goes on with --resume, and compares with what a run
# leaves that nobody killed. Usage: tests/kill.sh FOLDER-WITH-A-MODEL [TRIALS]; B names the program, Q questions.
# Prints a line for each command: trials, kills, wrong results, files left over.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${B:-$here/../target/release/drllm-tui}
model=$(realpath "${1:?a model: a .gguf file or a folder}")
trials=${2:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export DRLLM_CONFIG_DIR=$work/config DRLLM_STATE_DIR=$work/state DRLLM_CACHE_DIR=$work/cache
RANDOM=${SEED:-1}
if [ -n "${Q:-}" ]; then cp "$Q" q.jsonl; else
    for i in $(seq 240); do
        echo "{\"id\": \"q$i\", \"question\": \"What is $i and $((i % 7))?\", \"choices\": [\"x$((i % 5))\", \"word\", \"$i\"], \"answer\": $((i % 3))}"
    done > q.jsonl
fi
# Milliseconds and what a clock says belong to no result.
plain() { sed -E 's/"(ms|seconds|elapsed_ms)":[0-9.e-]+//g' "$1"; }

# trial NAME OUTPUT COMMAND...: the command resumes.
trial() {
    local name=$1 out=$2 kills=0 wrong=0 left=0
    shift 2
    local begin end
    begin=$(date +%s%N)
    "$@" > /dev/null 2> err || { cat err; exit 1; }
    end=$(date +%s%N)
    local takes=$(((end - begin) / 1000000 + 1))
    mv "$out" "whole-$name"
    for _ in $(seq "$trials"); do
        rm -rf "$out" "$out".* .*.part features
        for _ in 1 2 3; do
            "$@" > /dev/null 2> err &
            local pid=$!
            sleep "$(awk "BEGIN { print $((RANDOM * 32768 + RANDOM)) % $takes / 1000 }")"
            if kill -9 $pid 2> /dev/null; then kills=$((kills + 1)); fi
            wait $pid 2> /dev/null || true
        done
        "$@" > /dev/null 2> err || { echo "$name: a resumed run fails"; cat err; wrong=$((wrong + 1)); }
        # Once more: what is finished succeeds.
        "$@" > /dev/null 2> err || { echo "$name: a finished run fails"; cat err; wrong=$((wrong + 1)); }
        cmp -s <(plain "$out") <(plain "whole-$name") || { echo "$name: another result"; wrong=$((wrong + 1)); }
        left=$((left + $(find . -name '.*.part' -o -name '*.state' | wc -l)))
    done
    echo "$name: $trials trials, $kills kills, $wrong wrong, $left left over"
    rm -rf "$out"
    [ $wrong = 0 ] && [ $left = 0 ]
}

trial search s.jsonl "$program" search --data q.jsonl --model "$model" --simulations 4 --out s.jsonl --resume
"$program" search --data q.jsonl --model "$model" --simulations 4 --out records.jsonl 2> /dev/null
trial eval o.jsonl "$program" eval --data q.jsonl --model "$model" --routers none --outcomes o.jsonl --resume
trial train r.safetensors "$program" train --records records.jsonl --model "$model" --epochs 10 --features features --out r.safetensors --resume
if [ -n "${PULL:-}" ]; then
    # PULL=1 and a reachable index or hub: the default model, into a cache folder of its own.
    for _ in $(seq "$trials"); do
        rm -rf cache
        "$program" models pull > /dev/null 2>&1 &
        pid=$!
        sleep "$(awk "BEGIN { print $RANDOM / 10000 }")"
        kill -9 $pid 2> /dev/null || true
        wait $pid 2> /dev/null || true
        "$program" models pull > /dev/null 2>&1
        left=$(find cache/models -mindepth 1 -maxdepth 1 ! -name '*.gguf' ! -name '*.lock' | wc -l)
        [ "$left" = 0 ] || { echo "pull: $left left over"; exit 1; }
    done
    echo "pull: $trials trials, nothing left over"
fi
