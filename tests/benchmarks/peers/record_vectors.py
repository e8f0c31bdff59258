"""Records as vectors by the domain alone, for the methods that are written here: numbers in [0, 1], values
one-hot.

A column with an order is a number, and a value of two, known or missing, where it can be missing. All other
columns are values. What is public is the domain and how many records there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from graphical_models import Domain
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
UNKNOWN = 0.5  # the number of a missing value, so that records differ in it by no more than others


@dataclass(frozen=True)
class Vectors:
    """How a record becomes a vector: first its numbers, then a block for each column of values.

    Attributes
    ----------
    numbers : the columns with an order, and how many codes of each are numbers.
    values : a block for each column without an order and for each number that can be missing, with its size; the
        target is the last one.
    """

    columns: tuple[str, ...]
    numbers: dict[str, int]
    values: dict[str, int]

    @staticmethod
    def of(domain: Domain) -> Vectors:
        """By the domain; its last column is the target."""
        numbers = {
            name: column["size"] - bool(column["missing"]) for name, column in domain.items() if column["ordered"]
        }
        flags = {_flag(name): 2 for name in numbers if domain[name]["missing"]}
        values = {name: column["size"] for name, column in domain.items() if not column["ordered"]}
        return Vectors(tuple(domain), numbers, {**flags, **values})

    @property
    def starts(self) -> Codes:
        """Where each block begins, and where the last one ends."""
        return np.asarray(len(self.numbers) + np.cumsum([0, *self.values.values()]), dtype=np.int64)

    @property
    def width(self) -> int:
        """How long a vector is."""
        return int(self.starts[-1])

    @property
    def classes(self) -> int:
        """Of the target."""
        return list(self.values.values())[-1]

    def split(self, table: pd.DataFrame) -> tuple[Array, Codes]:
        """Numbers (n, A) in [0, 1], and values (n, B)."""
        numbers = np.zeros((len(table), len(self.numbers)))
        flags = {}
        for position, (name, size) in enumerate(self.numbers.items()):
            code = table[name].to_numpy()
            numbers[:, position] = np.where(code < size, (code + 0.5) / size, UNKNOWN)
            flags[_flag(name)] = (code >= size).astype(np.int64)
        known = [flags[name] if name in flags else table[name].to_numpy() for name in self.values]
        return numbers, np.stack(known, axis=1).astype(np.int64)

    def encode(self, table: pd.DataFrame) -> Array:
        """Vectors (n, width)."""
        numbers, values = self.split(table)
        blocks = [np.eye(size)[values[:, block]] for block, size in enumerate(self.values.values())]
        return np.hstack([numbers, *blocks])

    def join(self, numbers: Array, values: Codes) -> pd.DataFrame:
        """A table of codes from numbers (n, A) and values (n, B)."""
        column = dict(zip(self.values, values.T, strict=True))
        for position, (name, size) in enumerate(self.numbers.items()):
            code = np.clip(np.floor(numbers[:, position] * size), 0, size - 1).astype(np.int64)
            missing = column.get(_flag(name))
            column[name] = code if missing is None else np.where(missing == 1, size, code)
        return pd.DataFrame({name: column[name] for name in self.columns})

    def decode(self, x: Array, rng: np.random.Generator) -> pd.DataFrame:
        """A table of codes; of each block a value is drawn by its shares, projected onto what can be shares."""
        starts, values = self.starts, []
        for first, last in pairwise(starts):
            values.append(drawn(np.maximum(x[:, first:last], 0), rng))
        return self.join(x[:, : len(self.numbers)], np.stack(values, axis=1))


def drawn(weights: Array, rng: np.random.Generator) -> Codes:
    """A value of each row by its weights (n, K); any of them where all weights are zero."""
    total = weights.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[1])
    place = rng.random((len(weights), 1))
    return np.asarray(
        np.minimum((shares.cumsum(axis=1) < place).sum(axis=1), weights.shape[1] - 1), dtype=np.int64
    )


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu of Gaussian differential privacy whose curve has (epsilon, delta): Dong, Roth, Su 2022, Cor. 2.13."""
    from scipy.stats import norm

    low, high = 1e-6, 100.0
    for _ in range(200):
        mu = (low + high) / 2
        spent = norm.cdf(-epsilon / mu + mu / 2) - np.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
        low, high = (mu, high) if spent <= delta else (low, mu)
    return low


def _flag(name: str) -> str:
    return f"{name} missing"
