"""The public tables of the benchmarks, each with its schema and the sites of its rows.

The tables are not part of the repository, but for the stroke trial: COHORTMIX_DATA names their folder. What is
held out of each stands in `public_data.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from diabetes_codes import SPECIALTIES, disease
from numpy.typing import NDArray

from cohortmix.core.data.schema import Schema

HERE = Path(__file__).parent
DATA = Path(os.environ.get("COHORTMIX_DATA", HERE.parents[1] / "../shared/data"))
Loaded: TypeAlias = tuple[pd.DataFrame, Schema, NDArray[np.str_]]  # a table, its schema, the site of each row


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
    table = _by_then(_metabric(), "duration", "event", FIVE_YEARS, "dead")
    return table, _schema("metabric"), np.full(len(table), "metabric")


def gbsg2() -> Loaded:
    """GBSG2, breast cancer: recurrence or death within three years; who was censored before is left out."""
    table = pd.read_parquet(DATA / "gbsg2/gbsg2.parquet")
    table = _by_then(table, "time", "cens", THREE_YEARS, "recurrence")
    return table, _schema("gbsg2"), np.full(len(table), "gbsg2")


def _metabric() -> pd.DataFrame:
    table = pd.read_parquet(DATA / "metabric/metabric.parquet")
    table = table.rename(columns={f"x{position}": name for position, name in enumerate(METABRIC)})
    return table.astype(dict.fromkeys(METABRIC[4:8], np.int64))


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


def support2_survival() -> Loaded:
    """SUPPORT2, time to death."""
    table = pd.read_parquet(DATA / "support2/support2.parquet")
    return table, _schema("support2_survival"), np.full(len(table), "support2")


def metabric_survival() -> Loaded:
    """METABRIC, time to death, without the one patient who was not followed."""
    table = _metabric()
    table = table[table["duration"] > 0].reset_index(drop=True)
    return table, _schema("metabric_survival"), np.full(len(table), "metabric")


def gbsg2_survival() -> Loaded:
    """GBSG2, time to recurrence or death."""
    table = pd.read_parquet(DATA / "gbsg2/gbsg2.parquet")
    return table, _schema("gbsg2_survival"), np.full(len(table), "gbsg2")


def tcga_brca() -> Loaded:
    """TCGA-BRCA, six regions, time to death; a follow-up of less than a day counts as one."""
    table = pd.read_parquet(DATA / "fed_tcga_brca/fed_tcga_brca.parquet")
    table = table.astype({"E": np.int64}).assign(T=table["T"].clip(lower=1))
    return table, _schema("tcga_brca"), table["site"].to_numpy(dtype=str)


def diabetes_stay() -> Loaded:
    """Diabetes in 130 US hospitals, the days of a stay."""
    table, _, site = diabetes130()
    return table, _schema("diabetes_stay"), site


def _schema(name: str) -> Schema:
    return Schema.from_yaml((HERE / "schemas" / f"{name}.yaml").read_text())


OUTCOME_LOADERS: dict[str, Callable[[], Loaded]] = {
    "support2_survival": support2_survival,
    "metabric_survival": metabric_survival,
    "gbsg2_survival": gbsg2_survival,
    "tcga_brca": tcga_brca,
    "diabetes_stay": diabetes_stay,
}
"""What is no classification: times to an event, and a number."""
