"""Records of which columns act by pairs, for tests of the inducing points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLUMNS, VALUES, SIZE = 6, 4, 20
BLOCKS = [slice(VALUES * j, VALUES * (j + 1)) for j in range(COLUMNS)]


def draw(n: int, classes: int, seed: int) -> tuple[Array, Array]:
    """One-hot records and their exact posterior, in which columns act by pairs: no linear score is right."""
    codes = np.random.default_rng(seed).choice(VALUES, size=(n, COLUMNS), p=[0.4, 0.3, 0.2, 0.1])
    sign = np.where(codes < 1, 1.0, -1.0)
    first, second = sign[:, 0] * sign[:, 1] + 0.6 * sign[:, 2], sign[:, 3] * sign[:, 4] - 0.6 * sign[:, 2]
    scores = 1.5 * np.stack([np.zeros(n), first, second], axis=1)[:, :classes]
    odds = np.exp(scores - scores.mean(axis=1, keepdims=True))
    return np.eye(VALUES)[codes].reshape(n, -1), odds / odds.sum(axis=1, keepdims=True)
