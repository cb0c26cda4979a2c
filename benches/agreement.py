#!/usr/bin/env python3
"""Holds a model's tokens, answers and distributions against llama.cpp's, and its accuracy against lm-evaluation-harness's.

    mkdir DIR && (cd DIR && npm install node-llama-cpp)
    cargo build --release && python3 benches/agreement.py --node DIR [--model NAME] [--text FILE ...] [--megabytes 1]
    python3 -m venv DIR && DIR/bin/pip install torch transformers gguf accelerate lm-eval==0.4.13
    DIR/bin/python benches/agreement.py --questions ARC-Easy-Test.jsonl [--model NAME] [--limit N]

With --node: the token ids of mixed text (--text, or this project's own files, and made-up text of all scripts), special tokens
taken as such by both; the first 100 tokens of greedy answers to ten prompts, each followed to the first place where they part, with how
much likelier llama.cpp holds its own token there; the mean divergence KL(ours || llama.cpp's) of the next token over 480 tokens.
llama.cpp rounds activations to eight bits, so its distributions are not those of the file's weights.

With --questions: the same prompts in float32, by transformers' own reading of the file under lm-eval's `hf`, and by `eval --exact`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
import urllib.request
from pathlib import Path

from serve_lm_eval import BINARY, TASK, plain

ROOT = Path(__file__).resolve().parent.parent
NODE = r"""
import fs from "node:fs";
import os from "node:os";
import readline from "node:readline";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
// More threads than cores wait for each other.
const threads = os.availableParallelism();
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads});
const model = await llama.loadModel({modelPath: process.argv[2]});
const context = await model.createContext({contextSize: 2048, batchSize: 512, threads});
const sequence = context.getSequence();
const asked = {
    tokenize: ({text}) => model.tokenize(text, true),
    async greedy({prompt, count}) {
        await sequence.clearHistory();
        const tokens = [], likelihoods = [];
        const answer = sequence.evaluateWithMetadata(prompt, {probabilities: true}, {temperature: 0, yieldEogToken: true});
        for await (const {token, probabilities} of answer) {
            tokens.push(token);
            likelihoods.push([...probabilities].slice(0, 20));
            if (tokens.length === count) break;
        }
        return {tokens, likelihoods};
    },
    // The mean of KL(ours || theirs), how often both hold the same token likeliest, and the mass that theirs says nothing of.
    async divergence({file}) {
        const bytes = fs.readFileSync(file);
        const numbers = new Uint32Array(bytes.buffer, bytes.byteOffset, 2);
        const [count, vocabulary] = numbers;
        const ids = new Uint32Array(bytes.buffer, bytes.byteOffset + 8, count);
        const ours = new Float32Array(bytes.buffer, bytes.byteOffset + 8 + 4 * count, count * vocabulary);
        await sequence.clearHistory();
        let total = 0, agreed = 0, missed = 0;
        const all = {temperature: 1, topK: 0, topP: 1, minP: 0, yieldEogToken: true};
        for (let i = 0; i < count; i++) {
            const steps = sequence.evaluateWithMetadata([ids[i]], {probabilities: true}, all);
            const {value: {probabilities}} = await steps.next();
            await steps.return();
            const row = ours.subarray(i * vocabulary, (i + 1) * vocabulary);
            let best = 0, mass = 0, likeliest = -1, most = -1;
            for (let t = 0; t < vocabulary; t++) if (row[t] > row[best]) best = t;
            for (const [token, p] of probabilities) {
                if (p > most) [most, likeliest] = [p, token];
                const q = Math.exp(row[token]);
                if (p > 0) total += q * (row[token] - Math.log(p));
                if (p > 0) mass += q;
            }
            missed += Math.max(0, 1 - mass);
            agreed += likeliest === best ? 1 : 0;
        }
        return {kl: total / count, agreed: agreed / count, missed: missed / count, count};
    },
};
console.log("ready");
for await (const line of readline.createInterface({input: process.stdin})) {
    const {what, ...how} = JSON.parse(line);
    console.log(JSON.stringify(await asked[what](how)));
}
process.exit(0);
"""
# First and last code point of what made-up text is made of.
SCRIPTS = {
    "Latin": (0xC0, 0x24F),
    "Greek": (0x391, 0x3C9),
    "Cyrillic": (0x410, 0x44F),
    "Armenian": (0x561, 0x586),
    "Hebrew": (0x5D0, 0x5EA),
    "Arabic": (0x621, 0x64A),
    "Devanagari": (0x904, 0x94D),
    "Bengali": (0x985, 0x9B9),
    "Tamil": (0xB85, 0xBB9),
    "Thai": (0xE01, 0xE4E),
    "Georgian": (0x10D0, 0x10FA),
    "Hangul": (0xAC00, 0xD7A3),
    "Kana": (0x3041, 0x30FE),
    "Han": (0x4E00, 0x9FA5),
    "emoji": (0x1F300, 0x1F6FF),
    "symbols": (0x2190, 0x22FF),
    "ASCII": (0x20, 0x7E),
    "numbers": (0x30, 0x39),
    "spaces": (0x20, 0x20),
    "combining": (0x300, 0x36F),
}
GAPS = [" ", " ", " ", "  ", "\n", "\n\n", "\t", ", ", ".", "'", "’s ", "-", "\u00a0", "\u200d", "\r\n", "   \n"]
PROMPTS = [
    "Why is the sky blue?",
    "Write a haiku about rain.",
    "Write a Python function that reverses a list.",
    "List five uses of a paper clip.",
    "Explain what a hash table is to a child.",
    "Translate 'good morning' into French, German and Spanish.",
    "What is 17 times 23? Show your steps.",
    "Tell me a story about a fox and the moon.",
    "Name the planets of the solar system in order.",
    "What are the advantages of unit tests?",
]
TOKENS = 100
PIECE = 2000


class Llama:
    """llama.cpp in a process that stays."""

    def __init__(self, folder, model):
        script = folder / "drllm-agreement.mjs"
        script.write_text(NODE)
        self.process = subprocess.Popen(["node", script, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("llama.cpp ended: see its message above")
        return line

    def ask(self, what, **how):
        print(json.dumps({"what": what, **how}), file=self.process.stdin, flush=True)
        return json.loads(self.line())


def mixed_text(files, size):
    """Pieces of text: of the files, and a third of made-up words of all scripts."""
    chosen = random.Random(1)
    whole = "".join(path.read_text(errors="replace") for path in files)
    pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
    chosen.shuffle(pieces)
    texts, held = [], 0
    while held < size:
        if pieces and chosen.random() < 2 / 3:
            text = pieces.pop()
        else:
            words = []
            while sum(map(len, words)) < PIECE // 4:
                first, last = SCRIPTS[chosen.choice(list(SCRIPTS))]
                words.append("".join(chr(chosen.randint(first, last)) for _ in range(chosen.randint(1, 9))))
                words.append(chosen.choice(GAPS))
            text = "".join(words)
        texts.append(text)
        held += len(text.encode())
    return texts


def post(address, path, body):
    request = urllib.request.Request(f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def tokens(llama, model, texts):
    server = subprocess.Popen([BINARY, "serve", "--port", "0", "--model", model], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip().split("/v1")[0]
        count, composed_alike, other = 0, 0, []
        for text in texts:
            ours = post(address, "/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
            theirs = llama.ask("tokenize", text=text)
            count += len(theirs)
            if ours != theirs:
                at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                before = post(address, "/detokenize", {"tokens": ours[:at]})["prompt"]
                other.append((text[len(before) :][:40], ours[at : at + 4], theirs[at : at + 4]))
                # Qwen's tokenizer brings text into NFC first, which llama.cpp leaves out.
                composed = llama.ask("tokenize", text=unicodedata.normalize("NFC", text))
                composed_alike += ours == composed
    finally:
        server.terminate()
        server.wait()
    size = sum(len(text.encode()) for text in texts)
    print(
        f"tokens: {size} bytes in {len(texts)} pieces, {count} tokens, {len(other)} pieces with other ids, "
        f"{composed_alike} of them the same once llama.cpp is given them in NFC"
    )
    for where, ours, theirs in other[:10]:
        print(f"  at {where!r}: {ours}, llama.cpp {theirs}")


def greedy(llama, model):
    same, parted = 0, []
    for prompt in PROMPTS:
        command = [BINARY, "run", prompt, "--model", model, "--routers", "none", "--max-tokens", str(TOKENS), "--json"]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        lines = [json.loads(line) for line in lines]
        ids = [token["id"] for token in lines[0]["prompt"]]
        ours = [line["id"] for line in lines if line["type"] == "token"]
        answer = llama.ask("greedy", prompt=ids, count=len(ours))
        theirs = answer["tokens"]
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
        if at is None:
            same += 1
            continue
        likely = dict(map(tuple, answer["likelihoods"][at]))
        parted.append((at, likely.get(theirs[at], 0.0), likely.get(ours[at], 0.0)))
    print(f"greedy: {same} of {len(PROMPTS)} answers of up to {TOKENS} tokens the same")
    for at, own, other in parted:
        print(f"  parts at token {at}: llama.cpp gives its own {own:.3f} and ours {other:.3f}")


def divergence(llama, model, text):
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name) / "text", Path(name) / "ours"
        file.write_text(text)
        command = ["cargo", "bench", "--quiet", "--bench", "fidelity", "--", file, "--dump", out]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "DRLLM_MODEL": model})
        found = llama.ask("divergence", file=str(out))
    print(
        f"distributions: {found['count']} places, mean KL {found['kl']:.5f} nats, the same likeliest token at "
        f"{found['agreed']:.1%}, {found['missed']:.1e} of the mass not looked at"
    )


def accuracy(model, path, questions, limit):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, outcomes = folder / "questions.jsonl", folder / "outcomes.jsonl"
        lines = questions.read_text().splitlines()[:limit]
        file.write_text("".join(json.dumps(plain(line)) + "\n" for line in lines))
        (folder / "task.yaml").write_text(TASK.format(file=file))
        command = [BINARY, "eval", "--exact", "--model", model, "--data", file, "--routers", "none", "--outcomes", outcomes]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        answers = [json.loads(line) for line in outcomes.read_text().splitlines()]
        ours = [line["outcomes"][0]["correct"] for line in answers if line["type"] == "answers"]
        how = {"pretrained": str(path.parent), "gguf_file": path.name, "dtype": "float32"}
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        done = simple_evaluate(
            "hf", model_args=how, tasks=["drllm_questions"], task_manager=manager, device="cpu", batch_size=16
        )
        samples = sorted(done["samples"]["drllm_questions"], key=lambda sample: sample["doc_id"])
        theirs = [sample["acc"] == 1.0 for sample in samples]
    differ = sum(a != b for a, b in zip(theirs, ours, strict=True))
    print(
        f"accuracy: {len(ours)} questions, {sum(ours)} right ({sum(ours) / len(ours):.2%}), by lm-eval and transformers "
        f"{sum(theirs)} ({sum(theirs) / len(theirs):.2%}), {differ} judged otherwise"
    )
    return abs(sum(ours) - sum(theirs)) / len(ours) <= 0.002


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="SmolLM2-135M-Instruct", help="a name from `models list`")
    parser.add_argument("--node", type=Path, help="a folder with node_modules/node-llama-cpp")
    parser.add_argument("--text", type=Path, nargs="*", help="instead of this project's own files")
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--questions", type=Path, help="a file that `eval` reads")
    parser.add_argument("--limit", type=int, help="only the first questions")
    args = parser.parse_args()
    pulled = subprocess.run([BINARY, "models", "pull", args.model], check=True, stdout=subprocess.PIPE, text=True)
    path = Path(pulled.stdout.strip())
    if args.node:
        files = args.text or sorted([*ROOT.glob("**/*.md"), *ROOT.glob("src/**/*.rs")])
        texts = mixed_text(files, args.megabytes * 1e6)
        llama = Llama(args.node, path)
        tokens(llama, args.model, texts)
        greedy(llama, args.model)
        divergence(llama, args.model, (ROOT / "docs/search-and-training.md").read_text())
    if args.questions:
        sys.exit(0 if accuracy(args.model, path, args.questions, args.limit) else 1)


if __name__ == "__main__":
    main()
