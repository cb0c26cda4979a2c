#!/usr/bin/env python3
"""Logits of a tiny random LoopMoE at 1 to 4 iterations, for tests/loopmoe.rs.

An implementation of its own, in numpy and float64, written from the paper's formulas (arXiv 2606.04438) and
DeepSeek-V2's and -V3's: keys and values are made from the latents for each head, experts are run token by token. Every
case is computed twice, all tokens at once and token by token over a cache of latents, and both must agree.

    python3 benches/loopmoe_golden.py --out tests/data/loopmoe.json
"""

import argparse
import json
import math

import numpy as np

CONFIG = {
    "vocab_size": 11, "hidden_size": 12, "prefix_layers": 2, "body_layers": 2, "iterations": 4, "suffix_layers": 1,
    "num_attention_heads": 3, "q_lora_rank": 7, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
    "v_head_dim": 3, "rope_theta": 100.0, "intermediate_size": 9, "moe_intermediate_size": 4, "n_routed_experts": 6,
    "n_shared_experts": 2, "num_experts_per_tok": 2, "iter_condition_size": 6, "rms_norm_eps": 1e-5,
}
IDS = [3, 10, 1, 7, 7, 0]


class Sizes:
    def __init__(self, config: dict):
        self.__dict__.update(config)


def values(name: str, *shape: int) -> np.ndarray:
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


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Model:
    def __init__(self, config: dict, with_adaln: bool = True):
        self.c = Sizes(config)
        self.with_adaln = with_adaln
        # (layer, iteration) -> rows of latent and key with RoPE
        self.cache: dict[tuple[int, int], list[np.ndarray]] = {}
        self.seen: list[dict] = []

    def normalise(self, x):
        return x / math.sqrt(float(np.mean(x * x)) + self.c.rms_norm_eps)

    def norm(self, x, name):
        return self.normalise(x) * values(f"{name}.weight", len(x))

    def turn(self, x, position):
        half = len(x) // 2
        y = np.empty_like(x)
        for i in range(half):
            angle = position * self.c.rope_theta ** (-i / half)
            a, b = x[i], x[i + half]
            y[i] = a * math.cos(angle) - b * math.sin(angle)
            y[i + half] = a * math.sin(angle) + b * math.cos(angle)
        return y

    def attention(self, x, layer, iteration, position):
        c, at = self.c, f"model.layers.{layer}.self_attn"
        d, heads, n, p, v = c.hidden_size, c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
        q = self.norm(values(f"{at}.q_a_proj.weight", c.q_lora_rank, d) @ x, f"{at}.q_a_layernorm")
        q = (values(f"{at}.q_b_proj.weight", heads * (n + p), c.q_lora_rank) @ q).reshape(heads, n + p)
        kv = values(f"{at}.kv_a_proj_with_mqa.weight", c.kv_lora_rank + p, d) @ x
        latent = self.norm(kv[: c.kv_lora_rank], f"{at}.kv_a_layernorm")
        rows = self.cache.setdefault((layer, iteration), [])
        rows.append(np.concatenate([latent, self.turn(kv[c.kv_lora_rank :], position)]))
        up = values(f"{at}.kv_b_proj.weight", heads * (n + v), c.kv_lora_rank)
        out = []
        for head in range(heads):
            query = np.concatenate([q[head, :n], self.turn(q[head, n:], position)])
            own = up[head * (n + v) : (head + 1) * (n + v)]
            keys = np.array([np.concatenate([own[:n] @ row[: c.kv_lora_rank], row[c.kv_lora_rank :]]) for row in rows])
            vals = np.array([own[n:] @ row[: c.kv_lora_rank] for row in rows])
            scores = keys @ query / math.sqrt(n + p)
            weights = np.exp(scores - scores.max())
            out.append(weights / weights.sum() @ vals)
        return values(f"{at}.o_proj.weight", d, heads * v) @ np.concatenate(out)

    def swiglu(self, x, gate, up, down):
        return down @ (silu(gate @ x) * (up @ x))

    def dense(self, x, at, width):
        d = self.c.hidden_size
        names = [values(f"{at}.{part}_proj.weight", width, d) for part in ("gate", "up")]
        return self.swiglu(x, *names, values(f"{at}.down_proj.weight", d, width))

    def moe(self, x, at):
        c = self.c
        experts, width, d = c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        affinities = sigmoid(values(f"{at}.gate.weight", experts, d) @ x)
        selection = affinities + values(f"{at}.gate.e_score_correction_bias", experts)
        chosen = sorted(range(experts), key=lambda e: -selection[e])[: c.num_experts_per_tok]
        gate, up = (values(f"{at}.experts.{part}_proj.weight", experts, width, d) for part in ("gate", "up"))
        down = values(f"{at}.experts.down_proj.weight", experts, d, width)
        weights = affinities[chosen] / affinities[chosen].sum()
        y = sum(w * self.swiglu(x, gate[e], up[e], down[e]) for w, e in zip(weights, chosen))
        return y + self.dense(x, f"{at}.shared_experts", width * c.n_shared_experts), chosen, weights

    def iter_adaln(self, x, at, iteration, out):
        """The modulated x and, where `out` has room for it, alpha."""
        c = self.c
        size, d = c.iter_condition_size, c.hidden_size
        angles = [(iteration + 1) * 10_000.0 ** (-i / (size // 2)) for i in range(size // 2)]
        v = np.array([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
        biased = lambda x, name, rows: values(f"{name}.weight", rows, len(x)) @ x + values(f"{name}.bias", rows)
        v = biased(silu(biased(v, "model.iter_mlp.0", size)), "model.iter_mlp.2", size)
        condition = biased(x, f"{at}.proj", size) + v
        y = biased(silu(biased(condition, f"{at}.mlp.0", size)), f"{at}.mlp.2", out)
        return (1 + y[:d]) * self.normalise(x) + y[d : 2 * d], y[2 * d :]

    def layer(self, h, layer, iteration, position):
        c, at = self.c, f"model.layers.{layer}"
        d = c.hidden_size
        in_body = c.prefix_layers <= layer < c.prefix_layers + c.body_layers and self.with_adaln
        if in_body:
            x, alpha = self.iter_adaln(h, f"{at}.iter_adaln_attn", iteration, 2 * d + 1)
        else:
            x, alpha = self.norm(h, f"{at}.input_layernorm"), np.ones(1)
        attended = self.attention(x, layer, iteration, position)
        m = h + alpha[0] * self.norm(attended, f"{at}.post_attention_layernorm")
        if in_body:
            x, _ = self.iter_adaln(m, f"{at}.iter_adaln_moe", iteration, 2 * d)
        else:
            x = self.norm(m, f"{at}.pre_feedforward_layernorm")
        chosen, weights = [], []
        if layer == 0:
            y = self.dense(x, f"{at}.mlp", c.intermediate_size)
        else:
            y, chosen, weights = self.moe(x, f"{at}.mlp")
        self.seen.append({"layer": layer, "iteration": iteration, "alpha": float(alpha[0]),
                          "chosen": [int(e) for e in chosen], "weights": [float(w) for w in weights]})
        return m + self.norm(y, f"{at}.post_feedforward_layernorm")

    def path(self, iterations):
        c = self.c
        body = range(c.prefix_layers, c.prefix_layers + c.body_layers)
        loops = [(layer, k) for k in range(iterations) for layer in body]
        suffix = [(layer, 0) for layer in range(body.stop, body.stop + c.suffix_layers)]
        return [(layer, 0) for layer in range(c.prefix_layers)] + loops + suffix

    def token(self, token, position, iterations):
        c = self.c
        h = values("model.embed_tokens.weight", c.vocab_size, c.hidden_size)[token]
        for layer, iteration in self.path(iterations):
            h = self.layer(h, layer, iteration, position)
        return self.logits(h)

    def logits(self, h):
        return values("lm_head.weight", self.c.vocab_size, self.c.hidden_size) @ self.norm(h, "model.norm")

    def all_at_once(self, ids, iterations):
        """Layer by layer over all tokens, nothing kept between two calls."""
        self.cache = {}
        states = [values("model.embed_tokens.weight", self.c.vocab_size, self.c.hidden_size)[i] for i in ids]
        for layer, iteration in self.path(iterations):
            states = [self.layer(h, layer, iteration, at) for at, h in enumerate(states)]
        return [self.logits(h) for h in states]


def case(iterations: int, with_adaln: bool) -> dict:
    together = Model(CONFIG, with_adaln).all_at_once(IDS, iterations)
    model = Model(CONFIG, with_adaln)
    one_by_one = [model.token(token, at, iterations) for at, token in enumerate(IDS)]
    assert np.abs(np.array(together) - np.array(one_by_one)).max() < 1e-12
    executions = len(model.path(iterations))
    return {
        "iterations": iterations, "iter_adaln": with_adaln,
        "logits": [[round(float(x), 9) for x in row] for row in one_by_one],
        # What the last token did.
        "seen": [{**s, "alpha": round(s["alpha"], 9), "weights": [round(w, 9) for w in s["weights"]]}
                 for s in model.seen[-executions:]],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    cases = [case(iterations, True) for iterations in (1, 2, 3, 4)] + [case(3, False)]
    with open(args.out, "w") as out:
        json.dump({"config": CONFIG, "ids": IDS, "cases": cases}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
