#!/usr/bin/env python3
"""Logits of small models whose layers see windows of tokens, for tests/it/windows.rs: by transformers, in float64.

The weights follow from the tensors' names by a formula, so that they need not be kept.

    python3 benches/windows_golden.py --out tests/goldens/windows.json
"""

import argparse
import json
import tempfile

import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

IDS = [(i * 37 + 11) % 96 for i in range(24)]
# Positions whose logits are kept: the first one that a window cuts, the one before it, the last one.
KEPT = (5, 6, 23)
COMMON = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    rms_norm_eps=1e-6,
)


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers around 0: half a unit to either side for norms, 0.4 for matrices."""
    count, mask = int(np.prod(shape)), np.uint64(2**32)
    x = ((np.arange(count, dtype=np.uint64) + np.uint64(sum(name.encode()) * 65537)) * np.uint64(2654435761)) % mask
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(2246822519)) % mask
    x ^= x >> np.uint64(13)
    unit = x.astype(np.float64) / 2**32 - 0.5
    return (unit if len(shape) == 1 else unit * 0.8).astype(np.float32).reshape(shape)


def logits(model: torch.nn.Module, gain: float) -> dict[str, list[float]]:
    """`gain`: what is added to the values of norms."""
    model = model.double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own = torch.tensor(values(name, tuple(parameter.shape))).double()
            parameter.copy_(own + gain if parameter.dim() == 1 else own)
        rows = model(torch.tensor([IDS])).logits[0]
    return {str(i): [round(x, 6) for x in rows[i].tolist()] for i in KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    gemma = dict(
        COMMON,
        sliding_window=6,
        sliding_window_pattern=3,
        query_pre_attn_scalar=24,
        rope_theta=20000.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0},
        rope_local_base_freq=500.0,
    )
    config = Gemma3TextConfig(**json.loads(json.dumps(gemma)))
    config._attn_implementation = "eager"
    model = Gemma3ForCausalLM(config)
    found = logits(model, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with open(f"{folder}/config.json") as file:
            saved = json.load(file)
    older = dict(gemma, model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh")
    qwen = dict(COMMON, rope_theta=1000.0, use_sliding_window=True, sliding_window=5, max_window_layers=2, tie_word_embeddings=True)
    config = Qwen3Config(**qwen)
    config._attn_implementation = "eager"
    models = [
        dict(name="gemma3 as transformers 4 writes it", config=older, logits=found),
        dict(name="gemma3 as transformers 5 writes it", config=saved, logits=found),
        dict(
            name="qwen3 with a window in its last layers",
            config=dict(qwen, model_type="qwen3", hidden_act="silu"),
            logits=logits(Qwen3ForCausalLM(config), 1.0),
        ),
    ]
    with open(out, "w") as file:
        json.dump(dict(ids=IDS, models=models), file, indent=0)
        file.write("\n")


main()
