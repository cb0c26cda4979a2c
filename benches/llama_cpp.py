#!/usr/bin/env python3
"""Takes turns with llama.cpp: prefill of 128 and 512 tokens, and decode after 128.

    python3 benches/llama_cpp.py [--model FILE] [--turns 12] [--threads 2] [--venv DIR | --node DIR] [--cpu-time]

Builds llama-cpp-python from its PyPI package into a throw-away virtual environment (many minutes,
with cmake's defaults replaced by FLAGS) unless --venv names one that has it, or --node a folder
where `npm install node-llama-cpp` was run, whose binaries are there for every kind of processor.
Builds `cargo bench --bench decode`, and lets both run the same tokens of the default model (or
--model, a GGUF file) in turns, each in a process that stays. Prints medians and the median of the
turns' ratios. On a busy machine --cpu-time with --threads 1 counts the processes' own time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = "llama-cpp-python==0.3.36"
# AVX-512 with VNNI. Without AMX: that build of 0.3.36 crashed on the machine of the figures.
FLAGS = [
    "-DGGML_NATIVE=OFF",
    "-DGGML_AVX=ON",
    "-DGGML_AVX2=ON",
    "-DGGML_FMA=ON",
    "-DGGML_F16C=ON",
    "-DGGML_BMI2=ON",
    "-DGGML_AVX512=ON",
    "-DGGML_AVX512_VNNI=ON",
    "-DGGML_AVX512_VBMI=ON",
    "-DGGML_AMX_TILE=OFF",
    "-DGGML_AMX_INT8=OFF",
    # Not needed here, and long to build.
    "-DLLAVA_BUILD=OFF",
]
ROOT = Path(__file__).resolve().parent.parent
DECODED = 48
# Reads the same lines as `decode serve`, answers in the same form.
LLAMA = r"""
import sys, time
from llama_cpp import Llama
model, threads = sys.argv[1], int(sys.argv[2])
llama = Llama(model, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
print("ready", flush=True)
for line in sys.stdin:
    prompt, *ids = map(int, line.split())
    llama.reset()
    seconds = []
    for part in [ids[:prompt]] + [[i] for i in ids[prompt:]]:
        start = time.perf_counter()
        llama.eval(part)
        seconds.append(time.perf_counter() - start)
    print(*seconds, flush=True)
"""

# The same by node-llama-cpp.
NODE = r"""
import readline from "node:readline";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
const [modelPath, threads] = [process.argv[2], Number(process.argv[3])];
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: 1024, batchSize: 512, threads});
const sequence = context.getSequence();
console.log("ready");
async function take(tokens) {
    const start = performance.now();
    const answer = sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true});
    await answer.next();
    const seconds = (performance.now() - start) / 1e3;
    await answer.return();
    return seconds;
}
for await (const line of readline.createInterface({input: process.stdin})) {
    const [prompt, ...ids] = line.split(" ").map(Number);
    await sequence.clearHistory();
    const seconds = [await take(ids.slice(0, prompt))];
    for (const id of ids.slice(prompt)) seconds.push(await take([id]));
    console.log(seconds.join(" "));
}
process.exit(0);
"""


def llama_python(venv):
    """The interpreter of a virtual environment that has llama-cpp-python, built if need be."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode != 0:
        print(f"building {PACKAGE} with {' '.join(FLAGS)}", file=sys.stderr)
        install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
        subprocess.run([*install, PACKAGE], check=True, env={**os.environ, "CMAKE_ARGS": " ".join(FLAGS)})
    return python


def decode_bench():
    """Builds the bench; its executable."""
    command = ["cargo", "bench", "--bench", "decode", "--no-run", "--message-format=json"]
    built = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "decode")


class Side:
    """A process that measures what it is told. Its first line is `greeting`."""

    def __init__(self, command, threads, model, cpu_time):
        env = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        if model:
            env["DRLLM_MODEL"] = str(model)
        self.cpu_time = cpu_time
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.greeting = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended: see its message above")
        return line.strip()

    def spent(self):
        """Seconds that the process's threads have run, as Linux counts them."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def ask(self, prompt, ids):
        # What ran before may still spin for work.
        time.sleep(0.05)
        before = self.spent() if self.cpu_time else 0
        print(prompt, *ids, file=self.process.stdin, flush=True)
        seconds = [float(number) for number in self.answer().split()]
        return seconds, (self.spent() if self.cpu_time else 0) - before

    def seconds(self, prompt, ids):
        """Of the prompt, and of a token after it, the median."""
        seconds, spent = self.ask(prompt, ids)
        first, *others = seconds
        if not self.cpu_time:
            return first, statistics.median(others) if others else None
        if not others:
            return spent, None
        alone = self.ask(prompt, ids[:prompt])[1]
        return alone, max(spent - alone, 1e-9) / len(others)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file; the default model otherwise")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--venv", type=Path, help="kept and used again; a temporary one otherwise")
    parser.add_argument("--node", type=Path, help="a folder with node_modules/node-llama-cpp, instead of --venv")
    parser.add_argument("--cpu-time", action="store_true", help="time that the processes ran, not time that passed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.node:
            script = args.node / "drllm-serve.mjs"
            script.write_text(NODE)
            llama = ["node", script]
        else:
            llama = [llama_python(args.venv or Path(folder) / "venv"), "-c", LLAMA]
        how = (args.threads, args.model, args.cpu_time)
        ours = Side([decode_bench(), "--bench", "serve"], *how)
        # Ours says where the model is, pulled if it was not there.
        theirs = Side([*llama, ours.greeting, str(args.threads)], *how)
        # Any tokens do: what they are does not change the work.
        ids = [100 + 37 * i % 40000 for i in range(512 + DECODED)]
        names = ["prefill, 128 tokens", "prefill, 512 tokens", f"decode, {DECODED} tokens after 128"]
        rates = [([], []) for _ in names]
        for turn in range(args.turns + 1):
            for at, side in enumerate([ours, theirs]):
                prefill, token = side.seconds(128, ids[: 128 + DECODED])
                long_prefill, _ = side.seconds(512, ids[:512])
                # The first turn warms up.
                if turn > 0:
                    for rate, per_second in zip(rates, [128 / prefill, 512 / long_prefill, 1 / token]):
                        rate[at].append(per_second)
    by = "node-llama-cpp" if args.node else f"{PACKAGE} ({' '.join(FLAGS)})"
    of = ", of the processes' own time" if args.cpu_time else ""
    print(f"{args.turns} turns, {args.threads} threads, tokens a second{of}, {by}\n")
    print("| | drllm | llama.cpp | ratio | quartiles |")
    print("|---|---:|---:|---:|---:|")
    for name, (of_ours, of_theirs) in zip(names, rates):
        low, middle, high = statistics.quantiles([a / b for a, b in zip(of_ours, of_theirs)], n=4)
        medians = f"{statistics.median(of_ours):.0f} | {statistics.median(of_theirs):.0f}"
        print(f"| {name} | {medians} | {middle:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
