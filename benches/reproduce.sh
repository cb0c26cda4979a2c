#!/usr/bin/env bash
# Measures again the figures of docs/reproduce.md that take minutes, and compares them with what is written there.
#
#     cargo build --release && benches/reproduce.sh [FOLDER WITH THE FILES OF QUESTIONS]
#
# Without a folder only what ships is looked at. Ends with 1 if a sum is another one, or a count of right answers is further from
# what is written than the last bits of sums move it (MOVED questions).
set -euo pipefail
cd "$(dirname "$0")/.."
drllm=${DRLLM:-target/release/drllm-tui}
data=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0
MOVED=6

# is WHAT FOUND EXPECTED
is() {
    local verdict=as\ written
    if [ "$2" != "$3" ]; then
        verdict="OTHERWISE: $3 is written"
        wrong=1
    fi
    printf '%-64s %-24s %s (%s s)\n' "$1" "$2" "$verdict" "$SECONDS"
}

# near WHAT FOUND EXPECTED: counts of questions.
near() {
    local apart=$(($2 > $3 ? $2 - $3 : $3 - $2))
    is "$1" "$2" "$([ "$apart" -le "$MOVED" ] && echo "$2" || echo "$3")"
}

sum() {
    sha256sum "$1" | cut -c1-12
}

# field FILE EXPRESSION: of the JSON in a file, as Python has it.
field() {
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}

is "sha256 of the depth routers" "$(sum assets/routers/smollm2-135m-instruct.depth.safetensors)" b53e0c967dd4
is "sha256 of the paper's routers" "$(sum assets/routers/smollm2-135m-instruct.dr-llm.safetensors)" 722dfb888879
is "sha256 of the verifier" "$(sum assets/routers/smollm2-135m-instruct.verifier.safetensors)" 59ee471977b3
is "sha256 of the looped model" "$(sum assets/models/loopmoe.safetensors)" 639f5172c44e
is "sha256 of the held-out prompts" "$(sum assets/depth-prompts-held-out.txt)" c890e4dae928
"$drllm" models pull > "$work/model"
is "sha256 of the default model" "$(sum "$(cat "$work/model")")" b179c9523d0e

if [ -z "$data" ]; then
    echo "no folder of questions was named: what needs one is left out"
    exit "$wrong"
fi
for pair in arc_easy-test:4d48793b9d34 arc_challenge-test:017f6e30a1c0 piqa-validation:07c75888a07e; do
    is "sha256 of ${pair%:*}.jsonl" "$(sum "$data/${pair%:*}.jsonl")" "${pair#*:}"
done

# right FILE METHOD: how many of the questions a method has right.
right() {
    field "$work/$1.json" "next(r['correct'] for r in d['rows'] if r['method'] == '$2')"
}

# The routers of the paper's recipe, from the questions on: the same bytes where sums are taken in the same order (AVX-512, with
# or without AMX).
"$drllm" search --data "$data/arc_easy-train.jsonl" --limit 640 --out "$work/records.jsonl" > /dev/null
is "sha256 of the records of the paper's recipe" "$(sum "$work/records.jsonl")" 9dc63ea5b900
"$drllm" train --records "$work/records.jsonl" --out "$work/dr-llm.safetensors" > /dev/null
is "sha256 of the routers that are trained on them" "$(sum "$work/dr-llm.safetensors")" 722dfb888879

"$drllm" eval --data "$data/arc_easy-test.jsonl" --routers dr-llm --scope prompt --format json > "$work/recipe.json"
near "ARC-Easy, right of 1,188: base" "$(right recipe base)" 599
near "ARC-Easy, right of 1,188: the paper's recipe" "$(right recipe 'routers, prompt')" 553
"$drllm" eval --data "$data/arc_easy-test.jsonl" --routers none --program '0-18 20-29' --limit 400 --format json > "$work/static.json"
near "ARC-Easy, right of 400: base" "$(right static base)" 210
near "ARC-Easy, right of 400: 0-18 20-29" "$(right static 'program 0-18 20-29')" 221
"$drllm" eval --data "$data/piqa-validation.jsonl" --routers verifier --scope token --format json > "$work/piqa.json"
near "PIQA, right of 1,000: base" "$(right piqa base)" 658
near "PIQA, right of 1,000: the verifier" "$(right piqa 'routers, token')" 653
exit "$wrong"
