"""Keyed noise: a noise source for tests and benchmarks. NOT PRIVATE: who knows the seed can subtract the noise."""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.noise import check


class KeyedNoise:
    """Repeatable rounded Gaussian noise. NOT PRIVATE, and the site daemon cannot import this module.

    The noise is a function of seed, purpose and shape, scaled by sigma: a run with the same seed gives the same
    release, and the noise of different purposes is independent. So every answer needs a purpose of its own.

    Parameters
    ----------
    seed : int
        Any integer; every output made with it is marked NOT PRIVATE.
    """

    __slots__ = ("_seed",)
    name: Final = "TEST"
    private: Final = False

    def __init__(self, seed: int) -> None:
        self._seed = int(seed)

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """`values` plus rounded N(0, sigma^2); arguments, result and errors as in `OpenDPNoise.add`."""
        check(values, sigma)
        digest = hashlib.sha256(f"{self._seed}:{purpose}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
        noise = np.rint(sigma * generator.standard_normal(values.size)).astype(np.int64)
        return values + noise
