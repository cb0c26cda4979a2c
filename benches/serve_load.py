#!/usr/bin/env python3
"""Loads `drllm-tui serve`: several clients ask at once for a minute, and no request may be lost.

    cargo build --release && python3 benches/serve_load.py [--clients 8] [--seconds 60]

Each client asks one request after the other, of every kind in turn: scored texts, answers, streams, batches, tokens. What is
asked under greedy decoding must come back the same each time; every hundredth client breaks off. A refusal for a full queue
(429) is no loss, the client asks again. Prints how many were answered and how long they took; ends with 1 if one was lost,
differed, or the server's memory grew by more than a fifth after the first ten seconds.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

BINARY = Path(__file__).resolve().parent.parent / "target/release/drllm-tui"
TEXTS = ["The moon is", "Question: What do plants need?\nAnswer: Light and water.", "Once upon a time there was a fox"]
MODELS = ["drllm:none", "drllm:0-18 20-29", "drllm:built-in"]
KINDS = [
    ("/v1/completions", {"max_tokens": 1, "echo": True, "logprobs": 1}),
    ("/v1/completions", {"max_tokens": 8}),
    ("/v1/completions", {"max_tokens": 8, "stream": True}),
    ("/v1/completions", {"max_tokens": 4, "logprobs": 2, "batch": True}),
    ("/tokenize", None),
]


def ask(address, number):
    """Sends the request of a number; its status and what must not depend on when it is asked."""
    path, fields = KINDS[number % len(KINDS)]
    text = TEXTS[number // len(KINDS) % len(TEXTS)]
    if fields is None:
        body = {"prompt": text}
    else:
        model = MODELS[number // (len(KINDS) * len(TEXTS)) % len(MODELS)]
        body = {"model": model, "prompt": text, "temperature": 0, "seed": 1, **fields}
        if body.pop("batch", False):
            body["prompt"] = TEXTS
    connection = http.client.HTTPConnection(address, timeout=300)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        return response.status, answer
    if body.get("stream"):
        events = [event[6:] for event in answer.split("\n\n") if event]
        if events[-1] != "[DONE]":
            return 0, answer
        return 200, "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
    value = json.loads(answer)
    return 200, json.dumps(value.get("choices", value))


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    server = subprocess.Popen([BINARY, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().strip().removeprefix("http://").removesuffix("/v1/completions")
    kinds = len(KINDS) * len(TEXTS) * len(MODELS)
    lock, statuses, times, first, wrong = threading.Lock(), Counter(), [], {}, []
    end = time.monotonic() + args.seconds

    def client(number):
        count = number
        while time.monotonic() < end:
            if count % 100 == 99:
                # Breaks off in the middle.
                broken = http.client.HTTPConnection(address, timeout=300)
                body = json.dumps({"model": "drllm:none", "prompt": "a", "max_tokens": 500, "ignore_eos": True})
                broken.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                time.sleep(0.05)
                broken.close()
            started = time.monotonic()
            try:
                status, answer = ask(address, count)
            except Exception as error:
                status, answer = 0, repr(error)
            with lock:
                statuses[status] += 1
                if status == 200:
                    times.append(time.monotonic() - started)
                    known = first.setdefault(count % kinds, answer)
                    if answer != known:
                        wrong.append((count % kinds, known, answer))
                elif status != 429:
                    wrong.append((count % kinds, status, answer))
            count += args.clients if status == 200 else 0

    threads = [threading.Thread(target=client, args=[number]) for number in range(args.clients)]
    for thread in threads:
        thread.start()
    time.sleep(min(10, args.seconds / 2))
    early = resident(server)
    for thread in threads:
        thread.join()
    late = resident(server)
    server.terminate()
    code = server.wait()
    times.sort()
    quantile = lambda share: times[int(share * (len(times) - 1))]
    print(f"{args.clients} clients, {args.seconds:.0f} s: {len(times)} answered, {statuses[429]} refused for the queue and asked again, {len(wrong)} lost or different")
    print(f"seconds an answer: median {statistics.median(times):.2f}, 95 % within {quantile(0.95):.2f}, at most {times[-1]:.2f}")
    print(f"memory: {early / 1024:.0f} MiB early, {late / 1024:.0f} MiB at the end; the server ended with {code}")
    for case in wrong[:5]:
        print(case, file=sys.stderr)
    sys.exit(1 if wrong or code != 0 or late > 1.2 * early else 0)


if __name__ == "__main__":
    main()
