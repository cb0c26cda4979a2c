#!/usr/bin/env python3
"""What each part of the recipe of depth routers is worth (`train --method depth`, docs/spec.md section 8).

Each variant of the recipe is trained on the same answers, for as many steps of as many texts, through the same frozen
model, and measured on the same held-out answers: KL(full || routed) and the share of equal likeliest tokens at several
thresholds, read off at equal mean depths. All differences are paired by text. In JAX on the CPU, float32, Llama models as
GGUF; the arithmetic is that of src/train/depth, but for gradients that are rounded to bfloat16 before each product.

    pip install jax gguf
    python3 benches/depth_ablation.py prompts --program drllm-tui --prompts assets/depth-prompts.txt \\
        --held-out assets/depth-prompts-held-out.txt --out DIR
    python3 benches/depth_ablation.py texts --model MODEL.gguf --out DIR
    python3 benches/depth_ablation.py train --model MODEL.gguf --out DIR [--variants 'base;ragged']
    python3 benches/depth_ablation.py table --out DIR

`prompts` asks the program for the token ids of the chat prompts; `texts` has the model answer them and keeps what the
whole model makes of the answers; `train` trains and measures each variant that DIR/results.jsonl has not yet (several may
run at once, each takes the next one that nobody works on; one that was stopped goes on); `table` prints the differences.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np

FIRST = 2  # layers 0, 1 and the last always run
MOST_WORTH = 0.5  # nats that the second order may say a layer is worth
LEAST_NOISE = 0.2  # share of the noise that is left at the end
KV_SHARE = 1 / 16  # of a layer: keys and values of a token that skips it

# What a variant changes of the recipe.
RECIPE = dict(
    seed=42,
    width=64,
    price=0.05,
    spread=1.2,
    noise=0.5,
    rate=2e-3,
    grows=False,
    second_order=True,
    ragged=False,
    kind="layer",
    begin=None,
    texts="own",
    share=1.0,
)
VARIANTS = {
    "base": {},
    "two gates a layer": dict(kind="split"),
    "ragged": dict(ragged=True),
    "base, seed 43": dict(seed=43),
    "repeats": dict(kind="repeat"),
    "noise 0": dict(noise=0.0),
    "one price": dict(spread=0.0),
    "round 2": dict(begin="base", texts="routed", share=0.5, rate=1e-3, noise=0.25, seed=44),
    "again": dict(begin="base", share=0.5, rate=1e-3, noise=0.25, seed=44),
    "width 16": dict(width=16),
    "width 256": dict(width=256),
    "price grows": dict(grows=True),
    "noise 1": dict(noise=1.0),
    "first order": dict(second_order=False),
    "base, seed 45": dict(seed=45),
    "two gates a layer, half each": dict(kind="split half"),
}


def settings_of(name):
    return {**RECIPE, **VARIANTS[name]}


# The model


def product(x, w):
    """x times a frozen weight. In float32; what comes back through it is rounded to bfloat16, which takes half the time."""

    @jax.custom_vjp
    def dot(x, w):
        return x @ w

    def back(w, d):
        half = lambda a: a.astype(jnp.bfloat16)
        return jnp.dot(half(d), half(w).T, preferred_element_type=jnp.float32), jnp.zeros_like(w)

    dot.defvjp(lambda x, w: (x @ w, w), back)
    return dot(x, w)


class Model:
    """A frozen Llama, dequantised. Rows of queries and keys are reordered so that rotary pairs lie half a head apart."""

    def __init__(self, path):
        from gguf import GGUFReader
        from gguf.quants import dequantize

        reader = GGUFReader(path)
        field = lambda key: reader.fields[f"llama.{key}"].contents()
        self.layers, self.size = int(field("block_count")), int(field("embedding_length"))
        self.heads, self.kv_heads = int(field("attention.head_count")), int(field("attention.head_count_kv"))
        self.head_dim, self.theta = self.size // self.heads, float(field("rope.freq_base"))
        self.eps = float(field("attention.layer_norm_rms_epsilon"))
        self.end = int(reader.fields["tokenizer.ggml.eos_token_id"].contents())
        raw = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type)
            .astype(np.float32)
            .reshape([int(n) for n in reversed(tensor.shape)])
            for tensor in reader.tensors
        }
        halves = lambda w, heads: w.reshape(heads, -1, 2, self.size).swapaxes(1, 2).reshape(-1, self.size)
        column = lambda *parts: jnp.asarray(np.ascontiguousarray(np.concatenate(parts).T))
        blocks = []
        for layer in range(self.layers):
            of = lambda name: raw[f"blk.{layer}.{name}.weight"]
            query, key = halves(of("attn_q"), self.heads), halves(of("attn_k"), self.kv_heads)
            blocks.append(
                dict(
                    norm=jnp.asarray(of("attn_norm")),
                    qkv=column(query, key, of("attn_v")),
                    out=column(of("attn_output")),
                    mlp_norm=jnp.asarray(of("ffn_norm")),
                    gate_up=column(of("ffn_gate"), of("ffn_up")),
                    down=column(of("ffn_down")),
                )
            )
        embedding = raw["token_embd.weight"]
        self.weights = dict(
            blocks=blocks,
            norm=jnp.asarray(raw["output_norm.weight"]),
            head=column(raw.get("output.weight", embedding)),
            embedding=jnp.asarray(embedding),
        )

    def rms(self, x, gain):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + self.eps) * gain

    def turns(self, positions):
        """Cosines and sines of positions (texts, tokens)."""
        rates = self.theta ** (-jnp.arange(0, self.head_dim, 2, dtype=jnp.float32) / self.head_dim)
        angle = positions[..., None, None].astype(jnp.float32) * rates
        return jnp.cos(angle), jnp.sin(angle)

    def turn(self, x, turns):
        a, b = jnp.split(x, 2, -1)
        cos, sin = turns
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def entries(self, w, h, turns):
        """Queries, keys and values of states (texts, tokens, size)."""
        texts, tokens, _ = h.shape
        heads, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q, k, v = jnp.split(product(self.rms(h, w["norm"]), w["qkv"]), [heads, heads + kv], -1)
        q = self.turn(q.reshape(texts, tokens, self.heads, -1), turns)
        k = self.turn(k.reshape(texts, tokens, self.kv_heads, -1), turns)
        return q, k, v.reshape(texts, tokens, self.kv_heads, -1)

    def attend(self, w, q, k, v, see):
        texts, tokens = q.shape[:2]
        q = q.reshape(texts, tokens, self.kv_heads, -1, self.head_dim)
        score = jnp.einsum("btgrd,bsgd->bgrts", q, k) / np.sqrt(self.head_dim)
        share = jax.nn.softmax(jnp.where(see[:, None, None], score, -1e30), -1)
        return product(jnp.einsum("bgrts,bsgd->btgrd", share, v).reshape(texts, tokens, -1), w["out"])

    def attention(self, w, h, turns, see, past=None):
        q, k, v = self.entries(w, h, turns)
        if past is not None:
            k, v = jnp.concatenate([past[0], k], 1), jnp.concatenate([past[1], v], 1)
        return h + self.attend(w, q, k, v, see)

    def mlp(self, w, h):
        gate, up = jnp.split(product(self.rms(h, w["mlp_norm"]), w["gate_up"]), 2, -1)
        return h + product(jax.nn.silu(gate) * up, w["down"])

    def logits(self, weights, h):
        return product(self.rms(h, weights["norm"]), weights["head"])

    def teach(self, weights, ids):
        """The whole model on texts (texts, tokens): keys and values of each layer, states that enter the first routed
        layer, states after the last."""
        tokens = ids.shape[1]
        h, past = weights["embedding"][ids], []
        turns = self.turns(jnp.broadcast_to(jnp.arange(tokens), ids.shape))
        see = jnp.tril(jnp.ones((tokens, tokens), bool))[None]
        for layer, w in enumerate(weights["blocks"]):
            if layer == FIRST:
                entering = h
            q, k, v = self.entries(w, h, turns)
            past.append((k, v))
            h = self.mlp(w, h + self.attend(w, q, k, v, see))
        return past, entering, h


# The routers


def router(p, h):
    x = h * jax.lax.rsqrt(jnp.mean(h * h, -1, keepdims=True) + 1e-5)
    return jax.nn.gelu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


class Student:
    """The frozen model under routers. Every decision is a gate on a function of the states, with a share of a layer as its
    cost: whole layers, attention and MLP apart, or a layer and its second execution."""

    def __init__(self, model, kind, ragged=False):
        self.model, self.kind, self.ragged = model, kind, ragged
        self.routed = range(FIRST, model.layers - 1)
        # What keys and values cost where attention is skipped is not saved.
        attention = (1 / 4 - KV_SHARE) / (1 - KV_SHARE)
        shares = {"layer": [1], "split": [attention, 1 - attention], "split half": [0.5, 0.5], "repeat": [1, 1]}[kind]
        self.costs = np.array([cost for _ in self.routed for cost in shares], np.float32)
        # Compute at equal depth, whatever was asked for.
        real = [attention, 1 - attention] if "split" in kind else shares
        self.compute = np.array([cost for _ in self.routed for cost in real], np.float32)

    def initial(self, width, rng):
        gates, size = len(self.costs), self.model.size
        bound = np.sqrt(3 / size)
        bias = np.full(gates, 2, np.float32)
        if self.kind == "repeat":
            bias[1::2] = -2
        zeros = lambda *shape: np.zeros(shape, np.float32)
        w1 = rng.uniform(-bound, bound, (gates, size, width)).astype(np.float32)
        return dict(w1=w1, b1=zeros(gates, width), w2=zeros(gates, width), b2=bias)

    def gates(self, weights, batch, turns):
        """(function of states, who is on and who may be; of each gate)."""
        model = self.model
        tokens = batch["entering"].shape[1]
        length = batch["past"].shape[3]
        before = (jnp.arange(length)[None] < batch["prompt"][:, None])[:, None]
        before = jnp.broadcast_to(before, (*before.shape[:1], tokens, length))
        causal, oneself = jnp.tril(jnp.ones((tokens, tokens), bool))[None], jnp.eye(tokens, dtype=bool)[None]
        all_see = lambda own: jnp.concatenate([before, jnp.broadcast_to(own, (before.shape[0], tokens, tokens))], -1)
        full = all_see(causal)
        left = lambda on: causal & (on[:, None, :] | oneself)

        def attention(layer):
            past = batch["past"][:, layer, 0], batch["past"][:, layer, 1]
            see = lambda on: all_see(left(on)) if self.ragged and on is not None else full
            return lambda h, on: model.attention(weights["blocks"][layer], h, turns, see(on), past)

        mlp = lambda layer: lambda h, on: model.mlp(weights["blocks"][layer], h)
        block = lambda layer: lambda h, on: mlp(layer)(attention(layer)(h, on), on)

        def again(layer):
            # The second execution has keys and values of its own, which only those have left who ran it.
            w = weights["blocks"][layer]
            return lambda h, on: model.mlp(w, model.attention(w, h, turns, left(on)))

        for layer in self.routed:
            if "split" in self.kind:
                yield attention(layer), False
                yield mlp(layer), False
            else:
                yield block(layer), False
            if self.kind == "repeat":
                yield again(layer), True
        yield block(self.model.layers - 1), None

    def read(self, weights, params, batch, offset, noise=None, learn=None, head=True):
        """Reads answers under routers. learn: (weight, price, bits, whether to the second order), weight and price one a
        text; the gradients of the loss by the parameters come with it then."""
        model = self.model
        tokens = batch["entering"].shape[1]
        mask = jnp.arange(tokens)[None] < batch["answer"][:, None]
        turns = model.turns(batch["prompt"][:, None] + jnp.arange(tokens))
        h, tape = batch["entering"], []
        costs = computes = jnp.full(mask.shape, model.layers - len(self.routed), jnp.float32)
        actions = []
        on = None
        for gate, (apply, after) in enumerate(self.gates(weights, batch, turns)):
            if after is None:
                if not head:
                    return dict(depth=jnp.sum(computes * mask, 1))
                h, back = jax.vjp(lambda h: apply(h, None), h)
                break
            p = {name: value[gate] for name, value in params.items()}
            z, router_back = jax.vjp(router, p, h)
            z = z - offset[:, None]
            if noise is not None:
                z = z + noise[gate]
            may = on if after else jnp.ones_like(mask)
            on = (z > 0) & may
            out, block_back = jax.vjp(lambda h: apply(h, on), h)
            tape.append((on, may, z, out - h, router_back, block_back))
            h = jnp.where(on[..., None], out, h)
            costs, computes = costs + on * self.costs[gate], computes + on * self.compute[gate]
            actions.append(jnp.sum(on & mask))
        teacher = jax.nn.log_softmax(model.logits(weights, batch["leaving"]), -1)
        logits, head_back = jax.vjp(lambda h: model.logits(weights, h), h)
        own = jax.nn.log_softmax(logits, -1)
        kl = jnp.sum(jnp.exp(teacher) * (teacher - own), -1)
        of_text = lambda x: jnp.sum(x * mask, 1)
        same = jnp.argmax(teacher, -1) == jnp.argmax(own, -1)
        result = dict(
            kl=of_text(kl), same=of_text(same), depth=of_text(computes), cost=of_text(costs), on=jnp.stack(actions)
        )
        if learn is None:
            return result
        weight, price, bits, second_order = learn
        weight = (weight[:, None] * mask)[..., None]
        q = jnp.exp(own)
        signs = ((bits[..., None] >> jnp.arange(8, dtype=jnp.uint8)) & 1).reshape(q.shape)
        roots = jnp.where(signs == 1, 1.0, -1.0) * jnp.sqrt(q)
        roots = jnp.sqrt(weight) * (roots - q * jnp.sum(roots, -1, keepdims=True))
        # d: the loss's gradient by the states; c: a draw of the square root of its second derivative.
        d_logits = jnp.stack([weight * (q - jnp.exp(teacher)), roots])
        both = jax.vmap(lambda d: back(head_back(d)[0])[0])(d_logits)
        weight = weight[..., 0]
        most = jnp.maximum(weight * MOST_WORTH, 1e-20)
        gradients = []
        for (on, may, z, added, router_back, block_back), cost in zip(reversed(tape), reversed(self.costs)):
            first, along = jnp.sum(both[0] * added, -1), jnp.sum(both[1] * added, -1)
            second = most * (1 - jnp.exp(-0.5 * along * along / most)) * second_order
            second = jnp.where(on, -second, jnp.minimum(second, 0.5 * jnp.abs(first)))
            soft = jax.nn.sigmoid(z)
            d_z = (first + weight * price[:, None] * cost + second) * soft * (1 - soft) * may
            gradient, to = router_back(d_z)
            gradients.append(gradient)
            through = jnp.where(on[..., None], both, 0)
            both = jnp.where(on[..., None], 0, both) + jax.vmap(lambda d: block_back(d)[0])(through)
            both = both.at[0].add(to)
        gradients = jax.tree.map(lambda *each: jnp.stack(each), *reversed(gradients))
        return result, gradients


# Texts


def make_prompts(args):
    """Token ids of the chat prompts, held-out ones first."""
    tokens = lambda *of: subprocess.run([args.program, *of], check=True, capture_output=True, text=True).stdout
    marker = "Prompt"
    head = tokens("run", "--routers", "none", "--json", "--max-tokens", "1", marker).splitlines()[0]
    template = "".join(token["text"] for token in json.loads(head)["prompt"])
    assert template.count(marker) == 1
    kinds = {}
    for name, path in (("held_out", args.held_out), ("training", args.prompts)):
        texts = [line.strip() for line in Path(path).read_text().splitlines() if line.strip()]
        np.random.default_rng(args.seed).shuffle(texts)
        kinds[name] = []
        least = len(json.loads(tokens("tokenize", "--json", template.replace(marker, "."))))
        for text in texts:
            if len(kinds[name]) == (args.held if name == "held_out" else args.texts):
                break
            ids = [t["id"] for t in json.loads(tokens("tokenize", "--json", template.replace(marker, text)))]
            if least <= len(ids) <= args.prompt_tokens:
                kinds[name].append(ids)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prompts.json").write_text(json.dumps(kinds))
    print({name: len(ids) for name, ids in kinds.items()})


def write(model, prompts, most, temperature, seed, student=None, params=None, offset=0.0, batch=48):
    """Answers to prompts, under routers where there is a student."""
    length = max(map(len, prompts))
    routed = student.routed if student else []
    teach = jax.jit(model.teach)

    @jax.jit
    def step(weights, params, past, ids, position, offset):
        h = weights["embedding"][ids][:, None]
        turns = model.turns(position[:, None])
        here = (jnp.arange(length + most)[None] == position[:, None])[..., None, None]
        see = (jnp.arange(length + most)[None] <= position[:, None])[:, None]
        kept, depth = [], jnp.zeros(ids.shape)
        for layer, w in enumerate(weights["blocks"]):
            q, k, v = model.entries(w, h, turns)
            k, v = jnp.where(here, k, past[layer][0]), jnp.where(here, v, past[layer][1])
            kept.append((k, v))
            out = model.mlp(w, h + model.attend(w, q, k, v, see))
            if layer in routed:
                on = router({n: value[layer - FIRST] for n, value in params.items()}, h) > offset
                h, depth = jnp.where(on[..., None], out, h), depth + on[:, 0]
            else:
                h, depth = out, depth + 1
        return model.logits(weights, h)[:, 0], kept, depth

    rng = np.random.default_rng(seed)
    answers, depths = [], []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        padded = part + [part[-1]] * (batch - len(part))
        ids = np.zeros((batch, length + most), np.int32)
        for row, prompt in enumerate(padded):
            ids[row, : len(prompt)] = prompt
        past = teach(model.weights, ids)[0]
        position = np.array([len(prompt) for prompt in padded]) - 1
        # The prompt runs whole, its last token too.
        whole = jnp.float32(-1e9)
        written = [[] for _ in padded]
        token, at = ids[np.arange(batch), position], whole
        done = np.zeros(batch, bool)
        for _ in range(most):
            logits, past, depth = step(model.weights, params or {}, past, token, position, at)
            if at is not whole:
                depths.extend(np.asarray(depth)[~done])
            gumbel = rng.gumbel(size=logits.shape).astype(np.float32)
            token = np.argmax(np.asarray(logits) / temperature + gumbel, -1).astype(np.int32)
            done |= token == model.end
            if done.all():
                break
            for row in np.flatnonzero(~done):
                written[row].append(int(token[row]))
            position, at = position + 1, jnp.float32(offset)
        answers.extend(written[: len(part)])
        print(f"  answers {len(answers)}/{len(prompts)}", flush=True)
    return answers, float(np.mean(depths)) if depths else float(model.layers)


def keep_texts(model, prompts, answers, out, name, tokens, prompt_tokens, batch=8):
    """What the whole model makes of texts, in files that trainings map into memory."""
    kept = [(p, a) for p, a in zip(prompts, answers) if len(a) >= 4]
    teach = jax.jit(model.teach)
    kv = (model.layers, 2, prompt_tokens, model.kv_heads, model.head_dim)
    create = lambda part, shape: np.lib.format.open_memmap(out / f"{name}.{part}.npy", "w+", np.float32, shape)
    past, entering = create("past", (len(kept), *kv)), create("entering", (len(kept), tokens, model.size))
    leaving = create("leaving", (len(kept), tokens, model.size))
    nats = count = 0
    score = jax.jit(lambda weights, h: jax.nn.log_softmax(model.logits(weights, h), -1))
    for start in range(0, len(kept), batch):
        part = kept[start : start + batch]
        ids = np.zeros((batch, prompt_tokens + tokens), np.int32)
        for row, (prompt, answer) in enumerate(part):
            ids[row, : len(prompt) + len(answer)] = prompt + answer
        entries, enters, leaves = teach(model.weights, ids)
        enters, leaves = np.asarray(enters), np.asarray(leaves)
        for row, (prompt, answer) in enumerate(part):
            own = slice(len(prompt), len(prompt) + tokens)
            for layer, (k, v) in enumerate(entries):
                past[start + row, layer, 0], past[start + row, layer, 1] = (
                    k[row, :prompt_tokens],
                    v[row, :prompt_tokens],
                )
            said = enters[row, own]
            entering[start + row, : len(said)], leaving[start + row, : len(said)] = said, leaves[row, own]
            says = leaves[row, len(prompt) - 1 : len(prompt) + len(answer) - 1]
            rows = np.zeros((tokens, model.size), np.float32)
            rows[: len(says)] = says
            nats -= float(np.asarray(score(model.weights, rows))[np.arange(len(answer)), answer].sum())
            count += len(answer)
    lengths = dict(prompt=[len(p) for p, _ in kept], answer=[len(a) for _, a in kept])
    summary = dict(texts=len(kept), tokens=count, perplexity=float(np.exp(nats / count)))
    (out / f"{name}.json").write_text(json.dumps({**lengths, **summary, "ids": kept}))
    print(name, summary, flush=True)
    return summary


def make_texts(args):
    model, kinds = Model(args.model), json.loads((args.out / "prompts.json").read_text())
    for at, name in enumerate(("training", "held_out")):
        if (args.out / f"{name}.json").exists():
            continue
        answers, _ = write(model, kinds[name], args.answer_tokens, args.temperature, args.seed + at)
        keep_texts(model, kinds[name], answers, args.out, name, args.answer_tokens, args.prompt_tokens)


class Texts:
    def __init__(self, out, name, tokens):
        facts = json.loads((out / f"{name}.json").read_text())
        load = lambda part: np.load(out / f"{name}.{part}.npy", mmap_mode="r")
        self.past, self.entering, self.leaving = load("past"), load("entering"), load("leaving")
        self.entering, self.leaving = self.entering[:, :tokens], self.leaving[:, :tokens]
        self.prompt, self.answer = np.array(facts["prompt"]), np.minimum(facts["answer"], tokens)
        self.ids = facts["ids"]

    def __len__(self):
        return len(self.answer)

    def batch(self, which):
        take = lambda part: np.ascontiguousarray(part[which])
        return dict(
            past=take(self.past),
            entering=take(self.entering),
            leaving=take(self.leaving),
            prompt=self.prompt[which],
            answer=self.answer[which],
        )


# Training and measuring


def train(student, texts, settings, steps, batch, begin, path, say):
    rng = np.random.default_rng(settings["seed"])
    params = begin or student.initial(settings["width"], rng)
    moments = [{n: np.zeros_like(v) for n, v in params.items()} for _ in range(2)]
    order = np.concatenate([rng.permutation(len(texts)) for _ in range(steps * batch // len(texts) + 1)])
    from_step, log = 0, []
    if path.exists():
        saved = np.load(path)
        from_step = int(saved["step"])
        params = {n: saved[n] for n in params}
        moments = [{n: saved[f"{n}.{m}"] for n in params} for m in range(2)]
    gradients = jax.jit(
        lambda weights, params, data, offset, noise, *learn: student.read(weights, params, data, offset, noise, learn)
    )
    warm_up = max(1, steps // 10)
    vocab = student.model.weights["head"].shape[1]
    for step in range(from_step, steps):
        rng = np.random.default_rng([settings["seed"], step])
        which = order[step * batch : (step + 1) * batch]
        data = texts.batch(which)
        done = step / steps
        place = (np.arange(batch) + rng.random(batch)) / batch
        offset = settings["spread"] * (2 * place - 1)
        price = settings["price"] * np.exp(offset) * (min(1, 0.2 + 1.6 * done) if settings["grows"] else 1)
        weight = np.exp(-offset / 2) / data["answer"].sum()
        tokens = data["entering"].shape[1]
        scale = settings["noise"] * (1 - (1 - LEAST_NOISE) * done)
        u = rng.random((len(student.costs), batch, tokens)).clip(1e-6, 1 - 1e-6)
        noise = scale * np.log(u / (1 - u))
        bits = rng.integers(0, 256, (batch, tokens, vocab // 8), np.uint8)
        single = [np.asarray(x, np.float32) for x in (offset, noise, weight, price)]
        result, found = gradients(
            student.model.weights,
            params,
            data,
            single[0],
            single[1],
            single[2],
            single[3],
            bits,
            np.float32(settings["second_order"]),
        )
        rate = settings["rate"] * min(1, (step + 1) / warm_up) * 0.5 * (1 + np.cos(np.pi * done))
        for n, g in found.items():
            g = np.asarray(g)
            moments[0][n] = 0.9 * moments[0][n] + 0.1 * g
            moments[1][n] = 0.999 * moments[1][n] + 0.001 * g * g
            mean, square = moments[0][n] / (1 - 0.9 ** (step + 1)), moments[1][n] / (1 - 0.999 ** (step + 1))
            params[n] = (params[n] - rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)
        count = data["answer"].sum()
        log.append([float(result["kl"].sum() / count), float(result["cost"].sum() / count)])
        if (step + 1) % 5 == 0:
            say(
                f"step {step + 1}/{steps}: KL {np.mean([k for k, _ in log[-5:]]):.4f} depth {np.mean([d for _, d in log[-5:]]):.2f}"
            )
        if (step + 1) % 10 == 0 or step + 1 == steps:
            kept = {f"{n}.{m}": moments[m][n] for n in params for m in range(2)}
            np.savez(path.with_suffix(".new.npz"), step=step + 1, **params, **kept)
            os.replace(path.with_suffix(".new.npz"), path)
    return params


DEPTHS = [28.95, 28.2, 27.4, 26.5, 25.6]


def measure(student, params, held, batch, say, few=3):
    """Sums of each held-out text at thresholds of mean depths about DEPTHS."""
    head = jax.jit(lambda weights, params, data, offset: student.read(weights, params, data, offset))
    depth_only = jax.jit(
        lambda weights, params, data, offset: student.read(weights, params, data, offset, head=False)
    )

    def at(read, pairs):
        rows = []
        for start in range(0, len(pairs), batch):
            part = pairs[start : start + batch]
            part = part + [part[-1]] * (batch - len(part))
            data = held.batch(np.array([text for text, _ in part]))
            found = read(student.model.weights, params, data, np.array([o for _, o in part], np.float32))
            rows.append({name: np.asarray(value) for name, value in found.items()})
        return {n: np.concatenate([np.atleast_1d(r[n]) for r in rows]) for n in rows[0]}

    low, high = -8.0, 8.0
    for _ in range(2):
        offsets = np.linspace(low, high, 16)
        found = at(depth_only, [(text, o) for o in offsets for text in range(few)])["depth"].reshape(16, few)
        depth = found.sum(1) / held.answer[:few].sum()
        low = offsets[max(0, np.sum(depth > DEPTHS[0] + 0.4) - 1)]
        high = offsets[min(15, 16 - np.sum(depth < DEPTHS[-1] - 0.4))]
    at_depths = [float(np.interp(-d, -depth, offsets)) for d in DEPTHS]
    pairs = [(text, o) for o in at_depths for text in range(len(held))]
    found = at(head, pairs)
    sums = {n: found[n][: len(pairs)].reshape(len(at_depths), -1) for n in ("kl", "same", "depth", "cost")}
    say(
        "held out: "
        + ", ".join(
            f"{d:.2f}: {k:.4f} {100 * s:.1f} %"
            for d, k, s in zip(*(sums[n].sum(1) / held.answer.sum() for n in ("depth", "kl", "same")))
        )
    )
    on = found["on"].reshape(-1, len(student.costs))
    return dict(
        offsets=at_depths,
        tokens=held.answer.tolist(),
        **{n: v.astype(float).round(5).tolist() for n, v in sums.items()},
        on=[int(x) for x in on.sum(0)],
    )


def claimed(path):
    """Whether this process may take the work that the file stands for."""
    try:
        with open(path, "x") as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        text = path.read_text()
        if text and not Path(f"/proc/{text}").exists():
            path.write_text(str(os.getpid()))
            return True
        return False


def run_variants(args):
    results = args.out / "results.jsonl"
    wanted = args.variants.split(";") if args.variants else list(VARIANTS)
    jax.config.update("jax_compilation_cache_dir", str(args.out.resolve() / "compiled"))
    model, (training, held) = Model(args.model), (
        Texts(args.out, name, args.read_tokens) for name in ("training", "held_out")
    )
    finished = lambda: (
        {json.loads(line)["variant"]: json.loads(line) for line in results.open()} if results.exists() else {}
    )
    slug = lambda name: "".join(c if c.isalnum() else "-" for c in name)
    while True:
        done = finished()
        ready = [n for n in wanted if n not in done and (settings_of(n)["begin"] or n) in {n, *done}]
        name = next((n for n in ready if claimed(args.out / f"{slug(n)}.claim")), None)
        if name is None:
            return
        settings, began = settings_of(name), time.time()
        say = lambda text: print(f"[{time.time() - began:7.1f}] {name}: {text}", flush=True)
        student = Student(model, settings["kind"], settings["ragged"])
        begin = None
        if settings["begin"]:
            saved = np.load(args.out / f"{slug(settings['begin'])}.npz")
            begin = {n: saved[n] for n in ("w1", "b1", "w2", "b2")}
        texts = training
        if settings["texts"] == "routed":
            if not (args.out / "routed.json").exists():
                line = done[settings["begin"]]
                depths = np.array(line["depth"]).sum(1) / sum(line["tokens"])
                offset = float(np.interp(-27.0, -depths, line["offsets"]))
                prompts = [prompt for prompt, _ in training.ids]
                answers, depth = write(
                    model, prompts, args.answer_tokens, args.temperature, args.seed + 9, student, begin, offset
                )
                say(f"texts written at depth {depth:.2f}")
                keep_texts(model, prompts, answers, args.out, "routed", args.answer_tokens, args.prompt_tokens)
            texts = Texts(args.out, "routed", args.read_tokens)
        steps = round(args.steps * settings["share"])
        cpu = time.process_time()
        params = train(student, texts, settings, steps, args.batch, begin, args.out / f"{slug(name)}.npz", say)
        measured = measure(student, params, held, args.batch, say)
        line = dict(
            variant=name,
            settings=settings,
            steps=steps,
            batch=args.batch,
            seconds=round(time.time() - began),
            cpu_seconds=round(time.process_time() - cpu),
            **measured,
        )
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")


# The table


def read_off(line, texts, depth):
    """KL and share of equal tokens of some texts at a mean depth."""
    tokens = np.array(line["tokens"])[texts].sum()
    means = {n: np.array(line[n])[:, texts].sum(1) / tokens for n in ("kl", "same", "depth")}
    order = np.argsort(means["depth"])
    return [np.interp(depth, means["depth"][order], means[n][order]) for n in ("kl", "same")]


def table(args):
    lines = {json.loads(line)["variant"]: json.loads(line) for line in (args.out / "results.jsonl").open()}
    depths = [float(d) for d in args.depths.split(",")]
    count = len(lines["base"]["tokens"])
    rng = np.random.default_rng(0)
    draws = [np.arange(count), *rng.integers(0, count, (args.draws, count))]
    at = {
        name: np.array([[read_off(line, d, depth) for d in draws] for depth in depths])
        for name, line in lines.items()
    }
    print(
        "| variant | "
        + " | ".join(f"KL at {d:g}" for d in depths)
        + " | "
        + " | ".join(f"same at {d:g}" for d in depths)
        + " |"
    )
    print("|---" * (1 + 2 * len(depths)) + "|")
    for name in VARIANTS:
        if name not in lines:
            continue
        cells = [[], []]
        against = "again" if name == "round 2" and "again" in lines else "base"
        for measure, scale, unit in ((0, 1, ".3f"), (1, 100, ".1f")):
            for depth in range(len(depths)):
                values = at[name][depth, :, measure] * scale
                cell = f"{values[0]:{unit}}"
                if name != "base":
                    difference = values - at[against][depth, :, measure] * scale
                    low, high = np.percentile(difference[1:], [2.5, 97.5])
                    cell += f" ({difference[0]:+{unit}}; {low:+{unit}} to {high:+{unit}})"
                else:
                    low, high = np.percentile(values[1:], [2.5, 97.5])
                    cell += f" ({low:{unit}}–{high:{unit}})"
                cells[measure].append(cell)
        print(
            f"| {name}{' (against again)' if against == 'again' else ''} | " + " | ".join(cells[0] + cells[1]) + " |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name, run, **of):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--out", type=Path, required=True)
        for option, default in of.items():
            kind = type(default) if default not in (None, ...) else str
            sub.add_argument(
                f"--{option.replace('_', '-')}",
                type=kind,
                default=None if default is ... else default,
                required=default is ...,
            )
        return sub

    shape = dict(prompt_tokens=56, answer_tokens=48, temperature=0.7, seed=42)
    command(
        "prompts", make_prompts, program=..., prompts=..., held_out=..., texts=128, held=40, prompt_tokens=56, seed=42
    )
    command("texts", make_texts, model=..., **shape)
    command("train", run_variants, model=..., variants=None, steps=60, batch=8, read_tokens=32, **shape)
    command("table", table, depths="28.5,27,26", draws=2000)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    import jax
    import jax.numpy as jnp

    main()
