"""The neural tangent kernel of a fully connected ReLU network, and ridge regression with it.

Double precision throughout: in float32 the diagonal of a kernel matrix is off by up to 6e-4 (angles near
zero), which is as large as the ridge. Each entry point switches it on for its own computation with
`jax.experimental.enable_x64()`, so importing this module does not change the precision of other JAX code.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import enable_x64
from numpy.typing import ArrayLike, NDArray

# neural_tangents imports TensorFlow (1.9 GB) for its `experimental` package alone, which is never used here:
# an empty module in its place makes the library importable without.
sys.modules.setdefault("neural_tangents.experimental", ModuleType("neural_tangents.experimental"))
with warnings.catch_warnings():
    # neural_tangents 0.6.5 reads a name that jax 0.5 announces to move; both versions are pinned.
    warnings.simplefilter("ignore", DeprecationWarning)
    from neural_tangents import stax

RIDGE = 1e-3  # lambda of kernel ridge regression, in units of the mean of the diagonal of K_ss
BATCH = 2_000  # rows of a compiled call in prediction: one shape, one compilation for all sites


@cache
def _kernel_fn(depth: int) -> Callable[..., Any]:
    if depth < 1:
        raise ValueError(f"The network needs at least one hidden layer, got depth={depth}; use depth=1 or more.")
    hidden = [stax.Dense(1), stax.Relu()] * depth
    return cast(Callable[..., Any], stax.serial(*hidden, stax.Dense(1))[2])


def kernel(x1: jax.Array, x2: jax.Array | None, depth: int) -> jax.Array:
    """The neural tangent kernel K of an infinitely wide fully connected ReLU network, float64.

    To be traced and differentiated inside `enable_x64()`. Weights ~ N(0, 1/width), no biases; so
    K_0(x, x') = x.x'/G, and K(x, x) = (L+1)/2^L |x|^2/G at depth L.

    Parameters
    ----------
    x1 : array of shape (n1, G)
    x2 : array of shape (n2, G), or None
        None for the same points as `x1`, whose kernel matrix is then exactly symmetric.
    depth : int
        Number of hidden layers, L >= 1.

    Returns
    -------
    array of shape (n1, n2)

    Raises
    ------
    ValueError
        `depth` is below one.

    Notes
    -----
    Jacot, Gabriel and Hongler, "Neural tangent kernel", NeurIPS 2018, Theorem 1; computed by the library
    `neural_tangents` (Novak et al., ICLR 2020).

    Examples
    --------
    >>> with enable_x64():
    ...     print(kernel(jnp.eye(2), None, depth=1).round(4))
    [[0.5    0.0796]
     [0.0796 0.5   ]]
    """
    return cast(jax.Array, _kernel_fn(depth)(x1, x2, "ntk"))


def kernel_ridge(x: jax.Array, points: jax.Array, labels: jax.Array, depth: int) -> jax.Array:
    """Kernel ridge regression, K_ts (K_ss + lambda I)^-1 y_s, with the mean label as its intercept.

    To be traced and differentiated inside `enable_x64()`. The intercept keeps the ridge from pulling
    predictions towards zero: where the rows of `labels` sum to one, so do those of the answer.

    Parameters
    ----------
    x : array of shape (n, G)
        Where to predict, X_t; of any floating type.
    points : array of shape (S, G)
        The support set, X_s.
    labels : array of shape (S, C)
        Its labels, y_s.
    depth : int
        Hidden layers of the network behind the kernel.

    Returns
    -------
    float64 array of shape (n, C)

    Notes
    -----
    Nguyen, Chen and Lee, "Dataset Meta-Learning from Kernel Ridge-Regression", ICLR 2021, Eq. 1, with
    lambda = 1e-3 tr(K_ss)/S: relative to the trace, so that the scale of the inputs does not matter.
    """
    size = points.shape[0]
    k_ss = kernel(points, None, depth)
    ridge = RIDGE * jnp.trace(k_ss) / size
    prior = labels.mean(axis=0)
    weights = jax.scipy.linalg.solve(k_ss + ridge * jnp.eye(size), labels - prior, assume_a="pos")
    return prior + kernel(x.astype(jnp.float64), points, depth) @ weights


_compiled_ridge = jax.jit(kernel_ridge, static_argnames="depth")


def ridge_predict(x: ArrayLike, points: ArrayLike, labels: ArrayLike, depth: int = 1) -> NDArray[np.float64]:
    """Predict by `kernel_ridge` at any number of rows, in padded batches: memory stays that of one batch.

    Parameters
    ----------
    x : array of shape (n, G)
    points : array of shape (S, G)
    labels : array of shape (S, C)
    depth : int

    Returns
    -------
    float64 array of shape (n, C)
    """
    rows, y = np.asarray(x), np.asarray(labels, np.float64)
    predicted = np.empty((len(rows), y.shape[1]))
    with enable_x64():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            padded = np.pad(batch, ((0, BATCH - len(batch)), (0, 0)))
            answer = _compiled_ridge(padded, np.asarray(points, np.float64), y, depth)
            predicted[start : start + BATCH] = answer[: len(batch)]
    return predicted
