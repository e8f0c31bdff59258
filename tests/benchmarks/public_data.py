"""Five fixed splits of each public table.

They stand in `splits.npz`, written once by `python tests/benchmarks/public_data.py`, which adds those of a new
table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from public_tables import LOADERS, OUTCOME_LOADERS

from cohortmix.core.data.schema import Schema
from cohortmix.deploy.simulation.split import held_out

SPLITS, SPLITS_FILE = 5, Path(__file__).parent / "splits.npz"
HELD_OUT = 0.25  # of the patients of each site
MNIST_TRAIN = 60_000
ALL_LOADERS = {**LOADERS, **OUTCOME_LOADERS}
OFFICIAL: dict[str, Callable[[pd.DataFrame], NDArray[np.bool_]]] = {
    "mnist": lambda table: np.arange(len(table)) >= MNIST_TRAIN,
    "tcga_brca": lambda table: (table["split"] == "test").to_numpy(),
}
"""What is held out by those who made the table, so that its splits differ in the key of the noise alone."""


@dataclass(frozen=True)
class Dataset:
    """A table, its schema, its sites (one name where it has none) and its held-out rows."""

    name: str
    table: pd.DataFrame
    schema: Schema
    site: NDArray[np.str_]
    held_out: NDArray[np.bool_]

    @property
    def train(self) -> pd.DataFrame:
        """What the sites hold."""
        return self.table[~self.held_out]

    @property
    def test(self) -> pd.DataFrame:
        """What models are scored on."""
        return self.table[self.held_out]


def load(name: str, split: int) -> Dataset:
    """A data set with what one of the five splits holds out."""
    table, schema, site = ALL_LOADERS[name]()
    packed = np.load(SPLITS_FILE)[name][split]
    return Dataset(name, table, schema, site, np.unpackbits(packed, count=len(table)).astype(bool))


def patients_of(table: pd.DataFrame, schema: Schema) -> NDArray[np.int64]:
    """Whose each record is, shape (n,), counted from 0."""
    if schema.patient_key is None:
        return np.arange(len(table))
    return np.asarray(pd.factorize(table[schema.patient_key])[0], dtype=np.int64)


def write_splits() -> None:
    """Hold out a quarter of the patients of each site, by one seed per split; written once, then only read."""
    packed = dict(np.load(SPLITS_FILE))
    for name, loader in ALL_LOADERS.items():
        if name in packed:
            continue
        table, schema, site = loader()
        if name in OFFICIAL:
            rows = [OFFICIAL[name](table)] * SPLITS
        else:
            patient = patients_of(table, schema)
            rows = [held_out(patient, site, HELD_OUT, seed) for seed in range(SPLITS)]
        packed[name] = np.packbits(np.stack(rows), axis=1)
    np.savez(SPLITS_FILE, **packed)


if __name__ == "__main__":
    write_splits()
