"""Golden numbers of the predictor's forward pass (src/router/predictor/tests.rs), in numpy and f64.

    python benches/predictor_golden.py > tests/goldens/predictor.json
"""
import json

import numpy as np

LAYERS, INPUTS, WIDTH, HEADS, TOKENS = 6, 12, 16, 4, 5


def number(tensor, k):
    return np.float32(0.35 * np.sin(1.7 * k + 2.3 * tensor + 0.5)).astype(np.float64)


taken = -1


def take(*shape, gain=0.0):
    global taken
    taken += 1
    return number(taken, np.arange(np.prod(shape))).reshape(shape) + gain


def linear(x, weight, bias):
    return x @ weight.T + bias


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(asking, read):
    weight, bias = take(3 * WIDTH, WIDTH), take(3 * WIDTH)
    out = take(WIDTH, WIDTH), take(WIDTH)
    parts = [linear(x, w, b) for x, w, b in zip((asking, read, read), np.split(weight, 3), np.split(bias, 3))]
    q, k, v = (np.split(part, HEADS, axis=1) for part in parts)
    heads = [softmax(a @ b.T / np.sqrt(WIDTH / HEADS)) @ c for a, b, c in zip(q, k, v)]
    return linear(np.concatenate(heads, axis=1), *out)


def norm(x, weight, bias):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


features = 3.0 * number(90, np.arange(TOKENS * INPUTS)).reshape(TOKENS, INPUTS)
read = linear(features, take(WIDTH, INPUTS), take(WIDTH))
x = attention(take(LAYERS, WIDTH), read)
for _ in range(2):
    attended = attention(x, x)
    inner, inner_bias = take(4 * WIDTH, WIDTH), take(4 * WIDTH)
    outer, outer_bias = take(WIDTH, 4 * WIDTH), take(WIDTH)
    x = norm(x + attended, take(WIDTH, gain=1.0), take(WIDTH))
    fed = linear(np.maximum(linear(x, inner, inner_bias), 0.0), outer, outer_bias)
    x = norm(x + fed, take(WIDTH, gain=1.0), take(WIDTH))
boundaries = linear(x, take(1, WIDTH), take(1))[:, 0]
operations = linear(x, take(3, WIDTH), take(3))
print(json.dumps({"boundaries": boundaries.tolist(), "operations": operations.tolist()}, indent=1))
