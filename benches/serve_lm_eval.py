#!/usr/bin/env python3
"""Runs questions through lm-evaluation-harness and `drllm-tui serve`, and the same through `drllm-tui eval`.

    python3 -m venv DIR && DIR/bin/pip install 'lm-eval[api]==0.4.13'
    cargo build --release && DIR/bin/python benches/serve_lm_eval.py ARC-Easy-Test.jsonl [--limit 50] [--program P ...]

The questions are a file in one of the layouts that `eval` reads; what the harness reads is made of them. lm-eval's own client
`local-completions` asks the server, which gives it its tokenizer too, so nothing is fetched. Prints a row for the unmodified
model and one for each program, and ends with 1 if any question is judged otherwise.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

BINARY = Path(__file__).resolve().parent.parent / "target/release/drllm-tui"
TASK = """
task: drllm_questions
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def plain(line):
    """A question of AI2's layout, or of this program's own, as the latter."""
    value = json.loads(line)
    if isinstance(value["question"], str):
        return value
    choices = value["question"]["choices"]
    labels = [choice["label"] for choice in choices]
    texts = [choice["text"] for choice in choices]
    right = labels.index(value["answerKey"])
    return {"id": value["id"], "question": value["question"]["stem"], "choices": texts, "answer": right}


def by_harness(address, name, folder, clients):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    # Not as one text: a program may have commas.
    model = {"model": name, "base_url": address, "tokenizer_backend": "remote", "num_concurrent": clients}
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    done = simple_evaluate("local-completions", model_args=model, tasks=["drllm_questions"], task_manager=manager)
    samples = sorted(done["samples"]["drllm_questions"], key=lambda sample: sample["doc_id"])
    return [sample["acc"] == 1.0 for sample in samples]


def by_eval(file, folder, program):
    outcomes = folder / "outcomes.jsonl"
    command = [BINARY, "eval", "--data", file, "--routers", "none", "--outcomes", outcomes, "--force"]
    command += ["--program", program] if program else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in outcomes.read_text().splitlines()]
    answers = [line["outcomes"] for line in lines if line["type"] == "answers"]
    return [question[-1]["correct"] for question in answers]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--program", action="append", help="may be repeated; 0-18 20-29 if absent")
    parser.add_argument("--clients", type=int, default=2, help="requests at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "questions.jsonl"
        lines = args.questions.read_text().splitlines()[: args.limit]
        file.write_text("".join(json.dumps(plain(line)) + "\n" for line in lines))
        (folder / "task.yaml").write_text(TASK.format(file=file))
        server = subprocess.Popen([BINARY, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
        rows, otherwise = [], 0
        try:
            address = server.stdout.readline().strip()
            for program in [None, *(args.program or ["0-18 20-29"])]:
                theirs = by_harness(address, f"drllm:{program or 'none'}", folder, args.clients)
                ours = by_eval(file, folder, program)
                differ = sum(a != b for a, b in zip(theirs, ours, strict=True))
                otherwise += differ
                rows.append(f"| {program or 'base'} | {len(ours)} | {sum(theirs)} | {sum(ours)} | {differ} |")
        finally:
            server.terminate()
            server.wait()
    print("| | questions | right by lm-eval | right by eval | judged otherwise |\n|---|---:|---:|---:|---:|")
    print("\n".join(rows))
    sys.exit(1 if otherwise else 0)


if __name__ == "__main__":
    main()
