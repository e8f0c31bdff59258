"""The neural tangent kernel on plain arrays."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.experimental import enable_x64
from numpy.typing import ArrayLike, NDArray

from cohortmix.core.steps.kernel import kernel


def ntk(x1: ArrayLike, x2: ArrayLike | None = None, depth: int = 1) -> NDArray[np.float64]:
    """`kernel` in double precision, as every entry point of the product has it."""
    with enable_x64():
        second = None if x2 is None else jnp.asarray(x2, jnp.float64)
        return np.asarray(kernel(jnp.asarray(x1, jnp.float64), second, depth))
