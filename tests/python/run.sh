#!/usr/bin/env bash
# Tests what examples/ has for Python, in a virtual environment with pandas and matplotlib of PyPI.
#
#     tests/python/run.sh [PROGRAM]       # target/release/drllm-tui if absent
#
# DRLLM_PYTHON names an interpreter that has both already; nothing is installed then.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:-$PWD/target/release/drllm-tui}
if [ ! -x "$program" ]; then
    echo "tests/python/run.sh: there is no $program; build it first (cargo build --release), or name one" >&2
    exit 2
fi
python=${DRLLM_PYTHON:-}
if [ -z "$python" ]; then
    venv=$(mktemp -d)
    trap 'rm -rf "$venv"' EXIT
    python3 -m venv "$venv"
    python=$venv/bin/python
    if ! "$python" -m pip install --quiet "pandas>=2,<4" "matplotlib>=3.8,<4"; then
        echo "tests/python/run.sh: pandas and matplotlib cannot be had from PyPI; name an interpreter that has them in DRLLM_PYTHON" >&2
        exit 2
    fi
fi
"$python" tests/python/test_examples.py "$program"
