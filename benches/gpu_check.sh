#!/usr/bin/env bash
# Everything that needs a GPU, in one go of at most 8 minutes, on a machine that has nothing but the driver, CUDA's runtime
# libraries and, for the comparison, a Python with torch and transformers.
#
#   benches/gpu_check.sh FOLDER [MODEL]
#
# FOLDER holds what was built elsewhere with `--features cuda`: drllm-tui, and the benches gpu and goldens (their
# files in target/release/deps, without the hash), each perhaps as .xz; for the goldens, smollm2-135m.json and
# routers.safetensors. MODEL is the default model's GGUF file; without it what needs it is left out. GOLDENS, PYTHON and
# SHAPES may be set. Prints one table; ends with 1 where anything is wrong, missed or out of time.
set -u
folder=${1:?usage: benches/gpu_check.sh FOLDER [MODEL]}
model=${2:-}
python=${PYTHON:-python3}
goldens=${GOLDENS:-$folder}
shapes=${SHAPES:-llama-1b,llama-8b}
torch_shapes=${TORCH_SHAPES:-llama-1b}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
table=$work/table
failed=0
started=$SECONDS
END=480

for name in drllm-tui gpu goldens; do
  if [ -e "$folder/$name.xz" ] && [ ! -e "$folder/$name" ]; then xz -dc "$folder/$name.xz" >"$work/$name"; else cp "$folder/$name" "$work/$name" 2>/dev/null; fi
  chmod +x "$work/$name" 2>/dev/null
done
export RUST_BACKTRACE=0 DRLLM_DEVICE=cuda:0 DRLLM_CACHE_DIR=$work/cache DRLLM_STATE_DIR=$work/state DRLLM_CONFIG_DIR=$work/config DRLLM_DATA_DIR=$work/data
export GPU_TORCH=${GPU_TORCH:-$(dirname "$0")/gpu_torch.py}
[ -n "$model" ] && export DRLLM_MODEL=$model

# step SECONDS NAME COMMAND…: one line of the table.
step() {
  local limit=$1 name=$2 left=$((END - (SECONDS - started))) from=$SECONDS code
  shift 2
  [ "$limit" -gt "$left" ] && limit=$left
  if [ "$limit" -le 5 ]; then
    printf '%-34s %s\n' "$name" "NOT RUN: out of time" >>"$table"; failed=1; return
  fi
  if [ ! -x "$1" ] && ! command -v "$1" >/dev/null; then
    printf '%-34s %s\n' "$name" "NOT RUN: $1 is missing" >>"$table"; failed=1; return
  fi
  echo "== $name"
  timeout -k 5 "$limit" "$@" >"$work/out" 2>&1
  code=$?
  cat "$work/out"
  case $code in
    0) printf '%-34s %s\n' "$name" "pass ($((SECONDS - from)) s)" >>"$table" ;;
    124 | 137) printf '%-34s %s\n' "$name" "TOO LONG: over $limit s" >>"$table"; failed=1 ;;
    *) printf '%-34s %s\n' "$name" "FAILED ($((SECONDS - from)) s): $(tail -n 1 "$work/out" | sed 's/^ *//' | cut -c1-120)" >>"$table"; failed=1 ;;
  esac
  # What was wrong or missed stands in the table too.
  grep -E 'WRONG|miss\)|\| miss' "$work/out" | head -n 12 | sed 's/^/    /' >>"$table"
}

step 20 "starts" "$work/drllm-tui" --version
step 90 "kernels against candle's" "$work/gpu" --bench --device cuda:0 --check-only
if [ -n "$model" ]; then
  step 30 "answers" "$work/drllm-tui" run --device cuda:0 --model "$model" --max-tokens 32 "Why is the sky blue?"
  step 60 "goldens" "$work/goldens" --bench "$goldens" cuda:0
  step 75 "bars: default" "$work/gpu" --bench --device cuda:0 --shapes default
  step 20 "makes questions" "$work/drllm-tui" problems chain --difficulty 1 --count 64 --out "$work/questions.jsonl"
  step 45 "search" "$work/drllm-tui" search --device cuda:0 --model "$model" --data "$work/questions.jsonl" --simulations 20 --out "$work/records.jsonl"
  step 45 "trains dr-llm routers" "$work/drllm-tui" train --device cuda:0 --model "$model" --records "$work/records.jsonl" --epochs 2 --out "$work/dr-llm.safetensors"
  step 60 "trains depth routers" "$work/drllm-tui" train --method depth --device cuda:0 --model "$model" --texts 16 --held-out 4 --steps 4 --out "$work/depth.safetensors"
  step 45 "trains a LoopMoE" "$work/drllm-tui" train-lm --device cuda:0 --steps 20 --out "$work/loopmoe.safetensors"
fi
for shape in ${shapes//,/ }; do
  step 90 "bars: $shape" "$work/gpu" --bench --device cuda:0 --shapes "$shape"
done
if "$python" -c "import torch, transformers" 2>/dev/null; then
  step 120 "beside PyTorch: $torch_shapes" "$work/gpu" --bench --device cuda:0 --shapes "$torch_shapes" --tokens 32 --torch "$python"
else
  printf '%-34s %s\n' "beside PyTorch" "left out: $python has no torch and transformers" >>"$table"
fi
echo
cat "$table"
echo "$((SECONDS - started)) s in all"
exit $failed
