#!/usr/bin/env python3
"""What labels found token by token come to when all tokens follow them together.

For every token of some answers, layers are left out greedily as long as KL(full || routed) of that token's own
next-token distribution stays below a bound, with the keys and values of earlier tokens as the full model leaves them.
Then the same programs run jointly: each token reads the keys and values that the earlier ones really left, of the states
that passed a skipped layer (fill) or none (ragged). In numpy, float32, Llama models as GGUF.

    pip install numpy gguf
    python3 benches/token_labels.py MODEL.gguf ROUTERS.safetensors.texts.jsonl --texts 12

The texts are those that `train --method depth` writes beside its checkpoint; the last ones, which are held out, are
taken.
"""

import argparse
import json
import math

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

FIRST = 2  # layers 0, 1 and the last always run


class Model:
    def __init__(self, path: str):
        reader = GGUFReader(path)
        field = lambda key: reader.fields[f"llama.{key}"].contents()
        self.layers, self.size = int(field("block_count")), int(field("embedding_length"))
        self.heads, self.kv_heads = int(field("attention.head_count")), int(field("attention.head_count_kv"))
        self.head_dim, self.theta = self.size // self.heads, float(field("rope.freq_base"))
        self.eps = float(field("attention.layer_norm_rms_epsilon"))
        self.weights = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type)
            .astype(np.float32)
            .reshape([int(n) for n in reversed(tensor.shape)])
            for tensor in reader.tensors
        }
        self.embeddings = self.weights["token_embd.weight"]
        self.head = self.weights.get("output.weight", self.embeddings)

    def norm(self, x: np.ndarray, gain: str) -> np.ndarray:
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * self.weights[gain]

    def turn(self, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """RoPE of (tokens, heads, head_dim) on neighbouring pairs, as GGUF files of Llama models have it."""
        angles = positions[:, None] * self.theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        cos, sin = np.cos(angles)[:, None].astype(np.float32), np.sin(angles)[:, None].astype(np.float32)
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)

    def projections(self, layer: int, x: np.ndarray, positions: np.ndarray):
        normed = self.norm(x, f"blk.{layer}.attn_norm.weight")
        q, k, v = (normed @ self.weights[f"blk.{layer}.attn_{name}.weight"].T for name in "qkv")
        shape = lambda y, heads: y.reshape(len(x), heads, self.head_dim)
        k, v = shape(k, self.kv_heads), shape(v, self.kv_heads)
        return self.turn(shape(q, self.heads), positions), self.turn(k, positions), v

    def attend(self, layer: int, q, own, past, seen) -> np.ndarray:
        """Over `past` keys and values (all tokens) where `seen` (rows, tokens), and over each row's own."""
        group = self.heads // self.kv_heads
        spread = lambda y: np.repeat(y, group, axis=1)
        scores = np.einsum("thd,shd->hts", q, spread(past[0]), optimize=True) / math.sqrt(self.head_dim)
        scores = np.where(seen[None], scores, np.float32(-1e30))
        of_own = np.einsum("thd,thd->ht", q, spread(own[0])) / math.sqrt(self.head_dim)
        most = np.maximum(scores.max(-1), of_own)
        shares, own_share = np.exp(scores - most[..., None]), np.exp(of_own - most)
        total = shares.sum(-1) + own_share
        mixed = np.einsum("hts,shd->thd", shares, spread(past[1]), optimize=True)
        mixed = (mixed + own_share.T[..., None] * spread(own[1])) / total.T[..., None]
        return mixed.reshape(len(q), -1) @ self.weights[f"blk.{layer}.attn_output.weight"].T

    def feed_forward(self, layer: int, x: np.ndarray) -> np.ndarray:
        normed = self.norm(x, f"blk.{layer}.ffn_norm.weight")
        gate, up = (normed @ self.weights[f"blk.{layer}.ffn_{name}.weight"].T for name in ["gate", "up"])
        return (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"blk.{layer}.ffn_down.weight"].T

    def log_probabilities(self, x: np.ndarray) -> np.ndarray:
        logits = self.norm(x, "output_norm.weight") @ self.head.T
        logits -= logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def run(self, ids: list[int], executed: np.ndarray, fill: bool):
        """Log-probabilities under programs (tokens, layers), and each layer's keys, values and entering states."""
        x, positions = self.embeddings[ids], np.arange(len(ids))
        before = np.tril(np.ones((len(ids), len(ids)), bool), -1)
        left = []
        for layer in range(self.layers):
            on = executed[:, layer]
            q, k, v = self.projections(layer, x, positions)
            left.append((k, v, x))
            after = x + self.attend(layer, q, (k, v), (k, v), before if fill else before & on[None])
            after = after + self.feed_forward(layer, after)
            x = np.where(on[:, None], after, x)
        return self.log_probabilities(x), left

    def alone(self, layer: int, x, rows, positions, left):
        """One layer for some tokens, each beside the full model's keys and values of the tokens before it."""
        q, k, v = self.projections(layer, x, positions)
        seen = np.arange(rows.max() + 1)[None] < rows[:, None]
        past = tuple(part[: rows.max() + 1] for part in left[layer][:2])
        x = x + self.attend(layer, q, (k, v), past, seen)
        return x + self.feed_forward(layer, x)


def divergence(full: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (np.exp(full) * (full - other)).sum(-1)


def labels(model: Model, full, left, rows: np.ndarray, bounds: list[float]) -> list[np.ndarray]:
    """Programs (rows, layers) for each of the rising bounds."""
    executed = np.ones((len(rows), model.layers), bool)
    found = []
    for bound in bounds:
        active = np.arange(len(rows))
        while len(active):
            on, at = executed[active], rows[active]
            states = [left[FIRST][2][at]]
            for layer in range(FIRST, model.layers - 1):
                after = model.alone(layer, states[-1], at, at, left)
                states.append(np.where(on[:, layer][:, None], after, states[-1]))
            best, choice = np.full(len(active), np.inf), np.zeros(len(active), int)
            for leave in range(FIRST, model.layers - 1):
                tried = np.flatnonzero(on[:, leave])
                if not len(tried):
                    continue
                x = states[leave - FIRST][tried]
                for layer in range(leave + 1, model.layers):
                    runs = np.flatnonzero(on[tried, layer])
                    if len(runs):
                        x[runs] = model.alone(layer, x[runs], at[tried[runs]], at[tried[runs]], left)
                kl = divergence(full[at[tried]], model.log_probabilities(x))
                better = kl < best[tried]
                best[tried[better]], choice[tried[better]] = kl[better], leave
            taken = best < bound
            executed[active[taken], choice[taken]] = False
            active = active[taken]
        found.append(executed.copy())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts_file")
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--bounds", type=float, nargs="+", default=[0.02, 0.05])
    args = parser.parse_args()
    model = Model(args.model)
    lines = [json.loads(line) for line in open(args.texts_file, encoding="utf-8")][1:]
    pairs = list(zip(lines[0::2], lines[1::2]))[-args.texts :]
    sums: dict[tuple[float, str], list[float]] = {}
    for number, (prompt, answer) in enumerate(pairs, 1):
        ids, rows = prompt + answer, np.arange(len(prompt), len(prompt) + len(answer))
        everything = np.ones((len(ids), model.layers), bool)
        full, left = model.run(ids, everything, True)
        for bound, executed in zip(args.bounds, labels(model, full, left, rows, args.bounds)):
            together = everything.copy()
            together[rows] = executed
            x = left[FIRST][2][rows]
            for layer in range(FIRST, model.layers):
                after = model.alone(layer, x, rows, rows, left)
                x = np.where(executed[:, layer][:, None], after, x)
            alone = model.log_probabilities(x)
            for way, result in [
                ("each alone", alone),
                ("together, fill", model.run(ids, together, True)[0][rows]),
                ("together, ragged", model.run(ids, together, False)[0][rows]),
            ]:
                same = (result.argmax(-1) == full[rows].argmax(-1)).mean()
                kl = divergence(full[rows], result)
                sums.setdefault((bound, way), []).extend(zip(executed.sum(1), kl, [same] * len(kl)))
        print(f"{number} of {len(pairs)} texts", flush=True)
        for (bound, way), rows_of in sums.items():
            depth, kl, same = np.mean(rows_of, axis=0)
            deviation = np.std([row[0] for row in rows_of])
            print(f"  KL < {bound}, {way}: depth {depth:.2f} (sd {deviation:.1f}), KL {kl:.3f}, same token {same:.1%}")


if __name__ == "__main__":
    main()
