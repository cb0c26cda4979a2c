#!/usr/bin/env python3
"""The authors' way of running a routed model, for `cargo bench --bench gpu -- --torch PYTHON`.

    gpu_torch.py DEVICE QWEN LAYERS HIDDEN INNER HEADS KV_HEADS HEAD_DIM VOCAB TIED

Makes a model of transformers with random weights and loops over its layers in Python; before each a router
(Linear, GELU, Linear; softmax, argmax) is asked and its answer read back, as Dr.LLM's released code does at
every forward pass. All layers run, whatever the routers say. Reads "prompt ID…" and "token ID", prints seconds.
"""

import sys
import time

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

device = torch.device(sys.argv[1])
qwen, layers, hidden, inner, heads, kv_heads, head_dim, vocab, tied = map(int, sys.argv[2:])
dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
kind, config = (Qwen3ForCausalLM, Qwen3Config) if qwen else (LlamaForCausalLM, LlamaConfig)
config = config(
    num_hidden_layers=layers,
    hidden_size=hidden,
    intermediate_size=inner,
    num_attention_heads=heads,
    num_key_value_heads=kv_heads,
    head_dim=head_dim,
    vocab_size=vocab,
    tie_word_embeddings=bool(tied),
    max_position_embeddings=4096,
    attn_implementation="sdpa",
)
torch.set_default_dtype(dtype)
with torch.device(device):
    model = kind(config).eval()
    routers = [
        torch.nn.Sequential(torch.nn.Linear(hidden, 128), torch.nn.GELU("tanh"), torch.nn.Linear(128, 3))
        for _ in range(layers)
    ]


def synchronise():
    if device.type == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def forward(ids, past):
    """The greatest logit's token after `ids`, which follow what `past` holds."""
    seen = past.get_seq_length()
    positions = torch.arange(seen, seen + len(ids), device=device)
    states = model.model.embed_tokens(torch.tensor([ids], device=device))
    angles = model.model.rotary_emb(states, positions[None])
    mask = None
    if len(ids) > 1:
        mask = torch.full((len(ids), len(ids)), torch.finfo(dtype).min, device=device).triu(1)[None, None]
    for layer, router in zip(model.model.layers, routers):
        windows = states[0].split(max(1, len(ids) // 8))
        pooled = torch.stack([window.mean(0) for window in windows])
        router(pooled).mean(0).softmax(-1).argmax().item()
        states = layer(
            states,
            attention_mask=mask,
            position_ids=positions[None],
            past_key_values=past,
            use_cache=True,
            cache_position=positions,
            position_embeddings=angles,
        )
        states = states[0] if isinstance(states, tuple) else states
    return model.lm_head(model.model.norm(states[:, -1])).argmax(-1).item()


past = None
print("ready", flush=True)
for line in sys.stdin:
    what, *ids = line.split()
    if what == "prompt":
        past = DynamicCache()
    synchronise()
    start = time.perf_counter()
    forward(list(map(int, ids)), past)
    synchronise()
    print(time.perf_counter() - start, flush=True)
