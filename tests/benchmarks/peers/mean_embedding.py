"""DP-MERF (Harder, Adamczewski, Park 2021): a generator that meets noised means of random features of a class."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from graphical_models import Domain
from record_vectors import Array, Vectors, drawn, gaussian_mu

FEATURES = 1_000  # cosines and sines together
LATENT, HIDDEN, BATCH, STEPS, RATE = 16, 100, 256, 3_000, 1e-3  # of the generator
COUNTS = 0.1  # of the budget, for how many records each class has
Weights: TypeAlias = list[tuple[Any, Any]]


def merf(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """Noise once on the embedding; what trains the generator is that alone.

    Guarantee
    ---------
    mu-GDP, and so (epsilon, delta), for a record replaced, as in the paper. A record adds a vector of norm 1 to
    its class, so that the sum moves by at most 2, and the counts of classes by sqrt(2); mu^2 is split 9 to 1.
    Public: domain, n. The width of the kernel follows from the number of columns; the paper's looks at the
    records.
    """
    vectors, rng, n = Vectors.of(domain), np.random.default_rng(seed), len(table)
    numbers, values = vectors.split(table)
    frequencies = rng.standard_normal((len(vectors.numbers), FEATURES // 2)) / width(len(vectors.numbers))
    label, one = values[:, -1], np.eye(vectors.classes)
    blocks = np.hstack([np.eye(size)[values[:, block]] for block, size in enumerate(_features(vectors))])
    embedded = one[label].T @ np.asarray(embedding(np, numbers, blocks, frequencies, len(_features(vectors))))
    mu = gaussian_mu(epsilon, delta)
    embedded += 2 / (mu * sqrt(1 - COUNTS)) * rng.standard_normal(embedded.shape)
    counts = one[label].sum(axis=0) + sqrt(2 / COUNTS) / mu * rng.standard_normal(vectors.classes)
    counts = np.maximum(counts, 1)
    weights = trained(embedded / counts[:, None], vectors, frequencies, seed)
    return generated(weights, vectors, counts, n, rng)


def width(numbers: int) -> float:
    """Of the Gaussian kernel: how far apart two points of the unit cube are on average, about."""
    return sqrt(max(numbers, 1) / 6)


def embedding(library: Any, numbers: Any, blocks: Any, frequencies: Any, columns: int) -> Any:
    """(n, FEATURES + widths of blocks), of norm 1: half for random features of numbers, half for the values."""
    angles = numbers @ frequencies
    waves = library.concatenate([library.cos(angles), library.sin(angles)], axis=1) / sqrt(FEATURES / 2)
    return library.concatenate([waves, blocks / sqrt(max(columns, 1))], axis=1) / sqrt(2)


def _features(vectors: Vectors) -> list[int]:
    """The sizes of all blocks but the target."""
    return list(vectors.values.values())[:-1]


def _made(weights: Weights, z: Any, label: Any, vectors: Vectors) -> tuple[Any, Any]:
    """Numbers and shares of values that the generator makes of noise and a label, both rows."""
    import jax

    x = jax.numpy.concatenate([z, label], axis=1)
    for matrix, bias in weights[:-1]:
        x = jax.nn.relu(x @ matrix + bias)
    x = x @ weights[-1][0] + weights[-1][1]
    starts, numbers = vectors.starts[:-1], len(vectors.numbers)
    shares = [jax.nn.softmax(x[:, first:last]) for first, last in pairwise(starts)]
    return jax.nn.sigmoid(x[:, :numbers]), jax.numpy.concatenate([x[:, :0], *shares], axis=1)


def trained(target: Array, vectors: Vectors, frequencies: Array, seed: int) -> Weights:
    """A generator whose means are near to (classes, F) ones; Adam (Kingma, Ba 2015)."""
    import jax

    sizes = [LATENT + vectors.classes, HIDDEN, HIDDEN, int(vectors.starts[-2])]
    key, *keys = jax.random.split(jax.random.key(seed), len(sizes))
    weights = [
        (jax.random.normal(key, (a, b)) * sqrt(2 / a), jax.numpy.zeros(b))
        for key, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]

    def loss(weights: Weights, key: Any) -> Any:
        label = jax.numpy.repeat(jax.numpy.eye(vectors.classes), BATCH, axis=0)
        numbers, shares = _made(weights, jax.random.normal(key, (len(label), LATENT)), label, vectors)
        features = embedding(jax.numpy, numbers, shares, frequencies, len(_features(vectors)))
        return ((features.reshape(vectors.classes, BATCH, -1).mean(axis=1) - target) ** 2).sum()

    return _descend(loss, weights, key)


def _descend(loss: Any, weights: Weights, key: Any) -> Weights:
    import jax

    over = partial(jax.tree.map)

    def step(state: Any, key: Any) -> tuple[Any, None]:
        weights, first, second, time = state
        gradient = jax.grad(loss)(weights, key)
        first = over(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = over(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        rate = RATE * jax.numpy.sqrt(1 - 0.999**time) / (1 - 0.9**time)
        weights = over(lambda w, m, v: w - rate * m / (jax.numpy.sqrt(v) + 1e-8), weights, first, second)
        return (weights, first, second, time + 1), None

    zeros = over(jax.numpy.zeros_like, weights)
    state, _ = jax.lax.scan(step, (weights, zeros, zeros, 1.0), jax.random.split(key, STEPS))
    return list(state[0])


def generated(weights: Weights, vectors: Vectors, counts: Array, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n records: labels by the noised counts, values by the generator's shares."""
    label = rng.choice(vectors.classes, size=n, p=counts / counts.sum())
    z = rng.standard_normal((n, LATENT))
    numbers, shares = _made(weights, z, np.eye(vectors.classes)[label], vectors)
    starts = vectors.starts[:-1] - len(vectors.numbers)
    cut = np.asarray(shares, dtype=np.float64)
    values = [drawn(cut[:, first:last], rng) for first, last in pairwise(starts)]
    return vectors.join(np.asarray(numbers, dtype=np.float64), np.stack([*values, label], axis=1))
