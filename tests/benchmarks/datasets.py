"""The public tables of the benchmarks, and five fixed splits of each.

The tables are not part of the repository: COHORTMIX_DATA names their folder (`../shared/data` by default; each
has a SOURCE.md with its origin). The splits are files, written once by `python datasets.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.schema import Schema
from cohortmix.deploy.split import held_out

HERE = Path(__file__).parent
DATA = Path(os.environ.get("COHORTMIX_DATA", HERE.parents[1] / "../shared/data"))
SPLITS = 5


@dataclass(frozen=True)
class Dataset:
    """A table, its schema, its sites (one name where it has none) and its held-out quarter."""

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


def adult() -> tuple[pd.DataFrame, Schema, NDArray[np.str_]]:
    """UCI Adult, official train rows."""
    table = pd.read_parquet(DATA / "adult/adult.parquet").query("split == 'train'").reset_index(drop=True)
    return table, _schema("adult"), np.full(len(table), "adult")


def heart() -> tuple[pd.DataFrame, Schema, NDArray[np.str_]]:
    """UCI heart disease, four hospitals; a cholesterol of 0 stands for missing (SOURCE.md)."""
    table = pd.read_parquet(DATA / "heart_uci/heart_uci.parquet").reset_index(drop=True)
    table["chol"] = table["chol"].where(table["chol"] != 0)
    table["disease"] = np.where(table["num"] > 0, "disease", "healthy")
    return table, _schema("heart"), table["site"].to_numpy(dtype=str)


def stroke() -> tuple[pd.DataFrame, Schema, NDArray[np.str_]]:
    """The stroke trial as the demo ships it, eight networks."""
    folder = HERE.parents[1] / "deploy/demo"
    table = pd.read_parquet(folder / "stroke.parquet")
    return table, Schema.from_yaml((folder / "schema.yaml").read_text()), table["network"].to_numpy(dtype=str)


def creditcard() -> tuple[pd.DataFrame, Schema, NDArray[np.str_]]:
    """Credit card fraud, 492 among 284,807 transactions; a row is a patient."""
    table = pd.read_parquet(DATA / "creditcard/creditcard.parquet")
    return table, _schema("creditcard"), np.full(len(table), "creditcard")


def isolet() -> tuple[pd.DataFrame, Schema, NDArray[np.str_]]:
    """ISOLET, a spoken vowel against another letter; 617 features in [-1, 1], as its authors scaled them."""
    table = pd.read_parquet(DATA / "isolet/isolet.parquet")
    table["vowel"] = np.where(table["letter"].isin([1, 5, 9, 15, 21]), "vowel", "other")
    features = [f"f{at}" for at in range(1, 618)]
    columns: dict[str, Any] = {name: {"type": "number", "min": -1, "max": 1, "knots": 100} for name in features}
    columns["vowel"] = {"type": "category", "values": ["other", "vowel"]}
    schema = Schema.model_validate({"name": "isolet", "target": "vowel", "columns": columns})
    return table[list(columns)], schema, table["speaker_group"].to_numpy(dtype=str)


LOADERS: dict[str, Callable[[], tuple[pd.DataFrame, Schema, NDArray[np.str_]]]] = {
    "adult": adult,
    "heart": heart,
    "stroke": stroke,
    "creditcard": creditcard,
    "isolet": isolet,
}


def load(name: str, split: int) -> Dataset:
    """A data set with its held-out quarter of one of the five splits."""
    table, schema, site = LOADERS[name]()
    packed = np.load(HERE / "splits" / f"{name}.npy")[split]
    return Dataset(table, schema, site, np.unpackbits(packed, count=len(table)).astype(bool))


def write_splits() -> None:
    """Hold out a quarter of each site, by one seed per split; written once, then only read."""
    for name, loader in LOADERS.items():
        if (HERE / "splits" / f"{name}.npy").exists():
            continue
        _, _, site = loader()
        rows = [held_out(np.arange(len(site)), site, 0.25, seed) for seed in range(SPLITS)]
        np.save(HERE / "splits" / f"{name}.npy", np.packbits(np.stack(rows), axis=1))


def _schema(name: str) -> Schema:
    return Schema.from_yaml((HERE / "schemas" / f"{name}.yaml").read_text())


if __name__ == "__main__":
    write_splits()
