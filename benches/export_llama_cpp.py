#!/usr/bin/env python3
"""Holds exported programs against llama.cpp: how far its distributions lie from ours, KL(ours || theirs) in nats a token.

    python3 -m venv VENV && VENV/bin/pip install numpy gguf
    VENV/bin/python benches/export_llama_cpp.py --node DIR [--dense] [--model FILE] [--program P ...] [--tokens 32]

--node names a folder where `npm install node-llama-cpp` was run. For each program the file that `drllm-tui models export`
writes is read by llama.cpp, token by token of the answers that `drllm-tui run --program P` gives to a few prompts; both
sides' whole distributions are compared after every token. The first row is the unmodified model in its own file: what
arithmetic of another kind costs without any export: with packed weights both round activations, each in its own way. --dense
makes both compute on a copy of the model in 32-bit floats, where that is gone, and ends with 1 if a program's mean is above .003.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["0-29", "0-14 17-29", "0-18 20-29", "0-6 7x2 8-29", "0-9 (10-12)x2 13-29", "0-6 7x2 8 (10-12)x2 14-29"]
PROMPTS = [
    "The moon is",
    "Question: Which of these is a mammal?\nAnswer:",
    "def fibonacci(n):\n",
    "Once upon a time there was a fox who",
    "Water boils at",
    "The capital of France is Paris, and the capital of Japan is",
]
MOST = 0.003
# Reads lines: where an answer begins, and token ids. Writes the probabilities of all tokens, by id, as 32-bit floats, after the
# last one of the prompt and each of the answer's.
NODE = r"""
import fs from "node:fs";
import readline from "node:readline";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: process.argv[2]});
const context = await model.createContext({contextSize: 512, batchSize: 512, threads: 2});
const sequence = context.getSequence();
for await (const line of readline.createInterface({input: process.stdin})) {
    const [from, ...ids] = line.split(" ").map(Number);
    await sequence.clearHistory();
    const input = ids.map((id, at) => at >= from - 1 ? [id, {generateNext: {probabilities: true}}] : id);
    const results = await sequence.controlledEvaluate(input);
    for (const result of results.filter((result) => result != null)) {
        const row = new Float32Array(result.next.probabilities.size);
        for (const [id, probability] of result.next.probabilities) row[id] = probability;
        fs.appendFileSync(process.argv[3], row);
    }
}
process.exit(0);
"""


def drllm(*arguments):
    command = [ROOT / "target/release/drllm-tui", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def ours(model, program, prompt, tokens):
    """Ids of prompt and answer, the prompt's length, and log-probabilities after the prompt and each answer token."""
    options = ["--program", program, "--routers", "none", "--raw", "--ignore-eos", "--json", "--logits", 10**6]
    lines = drllm("run", prompt, "--model", model, *options, "--max-tokens", tokens).splitlines()
    records = [json.loads(line) for line in lines]
    header, steps = records[0], [r for r in records if r["type"] == "token"]
    ids = [token["id"] for token in header["prompt"]]
    rows = []
    for record in [header, *steps]:
        of, values = zip(*record["logits"]["top"])
        row = np.empty(len(of))
        row[list(of)] = values
        rows.append(row - np.logaddexp.reduce(row))
    return ids + [step["id"] for step in steps], len(ids), rows


def dense(source, out):
    """A copy of a model whose matrices are 32-bit floats."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter, quants

    reader = GGUFReader(source)
    writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ["general.architecture", "general.file_type"]:
            kind, inner = field.types[0], field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, inner)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", type=Path, required=True, help="a folder with node_modules/node-llama-cpp")
    parser.add_argument("--dense", action="store_true", help="on a copy in 32-bit floats")
    parser.add_argument("--model", help="a GGUF file; the default model otherwise")
    parser.add_argument("--program", action="append", help="may be repeated")
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    script = args.node / "drllm-export.mjs"
    script.write_text(NODE)
    model = args.model or drllm("models", "pull").strip()
    print("| program | tokens | mean KL | greatest | same likeliest token |\n|---|---:|---:|---:|---:|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        if args.dense:
            copy = Path(folder) / "dense.gguf"
            dense(model, copy)
            model = copy
        for program in [None, *(args.program or PROGRAMS)]:
            file = Path(folder) / "program.gguf"
            if program:
                drllm("models", "export", model, "--program", program, "--out", file, "--force")
            runs = [ours(model, program or PROGRAMS[0], prompt, args.tokens) for prompt in PROMPTS]
            lines = "".join(f"{prompt} {' '.join(map(str, ids))}\n" for ids, prompt, _ in runs)
            answers = Path(folder) / "answers"
            answers.unlink(missing_ok=True)
            subprocess.run(["node", script, file if program else model, answers], input=lines, check=True, text=True)
            ps = np.array([row for _, _, rows in runs for row in rows])
            qs = np.fromfile(answers, np.float32).astype(float).reshape(ps.shape)
            # Theirs are probabilities in 32 bits: they sum to 1 but for rounding, and what is 0 counts as the least that is not.
            qs /= qs.sum(axis=1, keepdims=True)
            found = (np.exp(ps) * (ps - np.log(np.maximum(qs, 1e-45)))).sum(axis=1)
            same = (ps.argmax(axis=1) == qs.argmax(axis=1)).mean()
            failed |= args.dense and bool(program) and found.mean() > MOST
            name = program or "none: the own file"
            print(f"| {name} | {len(ps)} | {found.mean():.6f} | {found.max():.6f} | {100 * same:.1f} % |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
