#!/usr/bin/env python3
"""Logits of small random models under programs that change at every token, for tests/it/kv_fill.rs.

An implementation of its own, in numpy and float64, token by token as the specification has it: a token that runs
layer l for the n-th time reads and leaves keys and values in the pass (l, n); one that does not run (l, 0) leaves
nothing there (ragged) or the key and value of the state that passes it (fill).

    python3 benches/kv_fill_golden.py --out tests/data/kv_fill.json
"""

import argparse
import json
import math

import numpy as np

VOCAB, HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 24, 16, 20, 4, 2, 4, 4
EPS, THETA = 1e-5, 10_000.0
IDS = [3, 14, 1, 9, 2, 6, 20]
SKIP, EXECUTE, REPEAT = 0, 1, 2


def program(token: int) -> list[int]:
    """Actions of a token, one a layer: of every kind, and another row for every token."""
    return [[EXECUTE, SKIP, EXECUTE, REPEAT, SKIP][(2 * layer + 3 * token) % 5] for layer in range(LAYERS)]


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-0.5, 0.5) that follow from a tensor's name: splitmix64, begun at the name's FNV-1a hash."""
    mask = (1 << 64) - 1
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & mask
    numbers = []
    for _ in range(math.prod(shape)):
        state = state + 0x9E3779B97F4A7C15 & mask
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        z ^= z >> 31
        numbers.append((z >> 40) / (1 << 24) - 0.5)
    gain = 1.0 if "norm" in name else 0.0
    return gain + np.array(numbers).reshape(shape)


class Model:
    """A decoder of Hugging Face's names; `bias`: q, k and v have biases, as Qwen2's have."""

    def __init__(self, bias: bool, fill: bool):
        self.bias, self.fill = bias, fill
        # (layer, n) -> keys and values, each a list of (kv_heads, head_dim)
        self.passes: dict[tuple[int, int], tuple[list, list]] = {}
        self.position = 0
        self.embeddings = values("model.embed_tokens.weight", (VOCAB, HIDDEN))

    def weight(self, layer: int, part: str, *shape: int) -> np.ndarray:
        return values(f"model.layers.{layer}.{part}", shape)

    def linear(self, layer: int, name: str, rows: int, x: np.ndarray) -> np.ndarray:
        y = self.weight(layer, f"self_attn.{name}_proj.weight", rows, HIDDEN) @ x
        return y + self.weight(layer, f"self_attn.{name}_proj.bias", rows) if self.bias else y

    def turn(self, heads: np.ndarray) -> np.ndarray:
        """RoPE of (heads, head_dim): the halves of a head are turned against each other."""
        half = HEAD_DIM // 2
        angles = self.position * THETA ** (-2.0 * np.arange(half) / HEAD_DIM)
        cos, sin = np.cos(angles), np.sin(angles)
        a, b = heads[:, :half], heads[:, half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)

    def leave(self, layer: int, n: int, normed: np.ndarray) -> tuple[list, list]:
        keys, entries = self.passes.setdefault((layer, n), ([], []))
        rows = KV_HEADS * HEAD_DIM
        keys.append(self.turn(self.linear(layer, "k", rows, normed).reshape(KV_HEADS, HEAD_DIM)))
        entries.append(self.linear(layer, "v", rows, normed).reshape(KV_HEADS, HEAD_DIM))
        return keys, entries

    def block(self, layer: int, n: int, x: np.ndarray) -> np.ndarray:
        normed = rms_norm(x, self.weight(layer, "input_layernorm.weight", HIDDEN))
        keys, entries = self.leave(layer, n, normed)
        query = self.turn(self.linear(layer, "q", HEADS * HEAD_DIM, normed).reshape(HEADS, HEAD_DIM))
        heads = []
        for head in range(HEADS):
            group = head // (HEADS // KV_HEADS)
            scores = np.array([query[head] @ key[group] for key in keys]) / math.sqrt(HEAD_DIM)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            heads.append(sum(share * value[group] for share, value in zip(shares, entries)))
        output = self.weight(layer, "self_attn.o_proj.weight", HIDDEN, HEADS * HEAD_DIM)
        x = x + output @ np.concatenate(heads)
        normed = rms_norm(x, self.weight(layer, "post_attention_layernorm.weight", HIDDEN))
        gate = self.weight(layer, "mlp.gate_proj.weight", INNER, HIDDEN) @ normed
        up = self.weight(layer, "mlp.up_proj.weight", INNER, HIDDEN) @ normed
        return x + self.weight(layer, "mlp.down_proj.weight", HIDDEN, INNER) @ (gate / (1 + np.exp(-gate)) * up)

    def token(self, id: int, actions: list[int]) -> np.ndarray:
        """Logits after one token, which does as `actions` say at each layer."""
        x = self.embeddings[id]
        for layer, action in enumerate(actions):
            if action == SKIP and self.fill:
                self.leave(layer, 0, rms_norm(x, self.weight(layer, "input_layernorm.weight", HIDDEN)))
            for n in range(action):
                x = self.block(layer, n, x)
        self.position += 1
        return self.embeddings @ rms_norm(x, values("model.norm.weight", (HIDDEN,)))


def rms_norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + EPS) * gain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the JSON file to write")
    out = parser.parse_args().out
    programs = [program(token) for token in range(len(IDS))]
    cases = []
    for model_type in ["llama", "qwen2"]:
        for kv in ["ragged", "fill"]:
            model = Model(model_type == "qwen2", kv == "fill")
            logits = [model.token(id, actions) for id, actions in zip(IDS, programs)]
            rounded = [[round(float(x), 6) for x in row] for row in logits]
            cases.append({"model_type": model_type, "kv": kv, "logits": rounded})
    config = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": 64,
        "rms_norm_eps": EPS,
        "rope_theta": THETA,
        "tie_word_embeddings": True,
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"config": config, "ids": IDS, "actions": programs, "cases": cases}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
