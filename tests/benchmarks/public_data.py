"""The public tables of the benchmarks, and five fixed splits of each.

The tables are not part of the repository, but for the stroke trial: COHORTMIX_DATA names their folder. The splits
stand in `splits.npz`, written once by `python tests/benchmarks/public_data.py`, which adds those of a new table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from diabetes_codes import SPECIALTIES, disease
from numpy.typing import NDArray

from cohortmix.core.data.schema import Schema
from cohortmix.deploy.simulation.split import held_out

HERE = Path(__file__).parent
DATA = Path(os.environ.get("COHORTMIX_DATA", HERE.parents[1] / "../shared/data"))
SPLITS, SPLITS_FILE = 5, HERE / "splits.npz"
HELD_OUT = 0.25  # of the patients of each site
MNIST_TRAIN = 60_000
Loaded: TypeAlias = tuple[pd.DataFrame, Schema, NDArray[np.str_]]  # a table, its schema, the site of each row


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


def adult() -> Loaded:
    """UCI Adult, official train rows."""
    table = pd.read_parquet(DATA / "adult/adult.parquet").query("split == 'train'").reset_index(drop=True)
    return table, _schema("adult"), np.full(len(table), "adult")


def heart() -> Loaded:
    """UCI heart disease, four hospitals; a cholesterol of 0 stands for missing."""
    table = pd.read_parquet(DATA / "heart_uci/heart_uci.parquet").reset_index(drop=True)
    table["chol"] = table["chol"].where(table["chol"] != 0)
    table["disease"] = np.where(table["num"] > 0, "disease", "healthy")
    return table, _schema("heart"), table["site"].to_numpy(dtype=str)


def stroke() -> Loaded:
    """The stroke trial as the demo ships it, eight networks."""
    folder = HERE.parents[1] / "deploy/demo"
    table = pd.read_parquet(folder / "stroke.parquet")
    return table, Schema.from_yaml((folder / "schema.yaml").read_text()), table["network"].to_numpy(dtype=str)


def hospitals() -> Loaded:
    """The stroke trial by its 74 hospitals of 80 patients or more."""
    folder = HERE.parents[1] / "deploy/demo"
    table = pd.read_parquet(folder / "hospitals.parquet")
    return table, Schema.from_yaml((folder / "schema.yaml").read_text()), table["hospital"].to_numpy(dtype=str)


def creditcard() -> Loaded:
    """Credit card fraud, 492 among 284,807 transactions; a row is a patient."""
    table = pd.read_parquet(DATA / "creditcard/creditcard.parquet")
    return table, _schema("creditcard"), np.full(len(table), "creditcard")


def isolet() -> Loaded:
    """ISOLET, a spoken vowel against another letter; 617 features in [-1, 1], as its authors scaled them."""
    table = pd.read_parquet(DATA / "isolet/isolet.parquet")
    table["vowel"] = np.where(table["letter"].isin([1, 5, 9, 15, 21]), "vowel", "other")
    features = [f"f{number}" for number in range(1, 618)]
    columns: dict[str, Any] = {name: {"type": "number", "min": -1, "max": 1, "knots": 100} for name in features}
    columns["vowel"] = {"type": "category", "values": ["other", "vowel"]}
    schema = Schema.model_validate({"name": "isolet", "target": "vowel", "columns": columns})
    return table[list(columns)], schema, table["speaker_group"].to_numpy(dtype=str)


def mnist() -> Loaded:
    """MNIST, handwritten digits of 28 x 28 pixels: the official 60,000 for training, then the 10,000 for tests."""
    arrays = np.load(DATA / "mnist/mnist.npz")
    pixels = np.concatenate([arrays["x_train"], arrays["x_test"]]).reshape(-1, 784)
    names = [f"p{pixel}" for pixel in range(784)]
    table = pd.DataFrame(pixels.astype(np.int32), columns=names)
    table["digit"] = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int32)
    brightness = {"type": "number", "min": 0, "max": 255, "integer": True, "knots": 32}
    digit = {"type": "category", "values": [str(value) for value in range(10)]}
    columns = {**dict.fromkeys(names, brightness), "digit": digit}
    schema = Schema.model_validate({"name": "mnist", "target": "digit", "columns": columns})
    return table, schema, np.full(len(table), "mnist")


def diabetes130() -> Loaded:
    """Diabetes in 130 US hospitals: stays, several of a patient; readmitted within 30 days or not.

    Codes are grouped as its authors do (Strack et al. 2014, Tables 1 and 2), not by what occurs.
    """
    table = pd.read_parquet(DATA / "diabetes130/diabetes130.parquet")
    for position in (1, 2, 3):
        table[f"diag_{position}"] = table[f"diag_{position}"].map(disease)
    table["discharge"] = np.where(table["discharge_disposition_id"] == 1, "home", "other")
    source = table["admission_source_id"]
    table["source"] = np.select([source == 7, source.isin([1, 2, 3])], ["emergency", "referral"], "other")
    specialty = table["medical_specialty"]
    table["specialty"] = specialty.map(SPECIALTIES).fillna("other").mask(specialty == "?", None)
    table["race"] = table["race"].mask(table["race"] == "?", None)
    table["readmitted"] = np.where(table["readmitted"] == "<30", "early", "late or never")
    return table, _schema("diabetes130"), np.full(len(table), "diabetes130")


def physionet2019() -> Loaded:
    """Intensive care of two hospitals; means over the first 24 hours, a row for each stay."""
    table = pd.read_parquet(DATA / "physionet2019/physionet2019.parquet")
    table["Unit"] = np.select([table["Unit1"] == 1, table["Unit2"] == 1], ["medical", "surgical"], "unknown")
    return table, _schema("physionet2019"), table["site"].to_numpy(dtype=str)


def support2() -> Loaded:
    """SUPPORT2, seriously ill adults of five hospitals, which the file does not tell apart; death in hospital."""
    table = pd.read_parquet(DATA / "support2/support2.parquet")
    return table, _schema("support2"), np.full(len(table), "support2")


def wdbc() -> Loaded:
    """Breast cancer, Wisconsin: 30 measures of cell nuclei in an image; a row is a patient."""
    table = pd.read_parquet(DATA / "breast_cancer_wdbc/breast_cancer_wdbc.parquet")
    table = table.rename(columns=lambda name: name.replace(" ", "_"))
    table["diagnosis"] = np.where(table["benign"] == 1, "benign", "malignant")
    return table, _schema("wdbc"), np.full(len(table), "wdbc")


def metabric() -> Loaded:
    """METABRIC, breast cancer: dead within five years; who was censored before is left out."""
    table = pd.read_parquet(DATA / "metabric/metabric.parquet")
    table = table.rename(columns={f"x{position}": name for position, name in enumerate(METABRIC)})
    table = table.astype(dict.fromkeys(METABRIC[4:8], np.int64))
    table = _by_then(table, "duration", "event", FIVE_YEARS, "dead")
    return table, _schema("metabric"), np.full(len(table), "metabric")


def gbsg2() -> Loaded:
    """GBSG2, breast cancer: recurrence or death within three years; who was censored before is left out."""
    table = pd.read_parquet(DATA / "gbsg2/gbsg2.parquet")
    table = _by_then(table, "time", "cens", THREE_YEARS, "recurrence")
    return table, _schema("gbsg2"), np.full(len(table), "gbsg2")


def _by_then(table: pd.DataFrame, time: str, event: str, horizon: float, name: str) -> pd.DataFrame:
    """Survival as a class: those whose fate at the horizon is known, and whether the event came until then."""
    came = (table[event] == 1) & (table[time] <= horizon)
    known = (table[time] > horizon) | came
    return table.assign(**{name: np.where(came, "yes", "no")})[known].reset_index(drop=True)


METABRIC = (
    "MKI67",
    "EGFR",
    "PGR",
    "ERBB2",
    "hormone",
    "radio",
    "chemo",
    "ER",
    "age",
)  # in the order of its columns
FIVE_YEARS, THREE_YEARS = 60.0, 3 * 365.25  # in months, and in days

LOADERS: dict[str, Callable[[], Loaded]] = {
    "adult": adult,
    "heart": heart,
    "stroke": stroke,
    "hospitals": hospitals,
    "creditcard": creditcard,
    "isolet": isolet,
    "mnist": mnist,
    "diabetes130": diabetes130,
    "physionet2019": physionet2019,
    "support2": support2,
    "wdbc": wdbc,
    "metabric": metabric,
    "gbsg2": gbsg2,
}


def load(name: str, split: int) -> Dataset:
    """A data set with what one of the five splits holds out."""
    table, schema, site = LOADERS[name]()
    packed = np.load(SPLITS_FILE)[name][split]
    return Dataset(name, table, schema, site, np.unpackbits(packed, count=len(table)).astype(bool))


def patients_of(table: pd.DataFrame, schema: Schema) -> NDArray[np.int64]:
    """Whose each record is, shape (n,), counted from 0."""
    if schema.patient_key is None:
        return np.arange(len(table))
    return np.asarray(pd.factorize(table[schema.patient_key])[0], dtype=np.int64)


def write_splits() -> None:
    """Hold out a quarter of the patients of each site, by one seed per split; written once, then only read.

    Of MNIST the official test images are held out, so that its splits differ in the key of the noise alone.
    """
    packed = dict(np.load(SPLITS_FILE))
    for name, loader in LOADERS.items():
        if name in packed:
            continue
        table, schema, site = loader()
        patient = patients_of(table, schema)
        rows = [held_out(patient, site, HELD_OUT, seed) for seed in range(SPLITS)]
        if name == "mnist":
            rows = [np.arange(len(table)) >= MNIST_TRAIN] * SPLITS
        packed[name] = np.packbits(np.stack(rows), axis=1)
    np.savez(SPLITS_FILE, **packed)


def _schema(name: str) -> Schema:
    return Schema.from_yaml((HERE / "schemas" / f"{name}.yaml").read_text())


if __name__ == "__main__":
    write_splits()
