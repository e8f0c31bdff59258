"""Settings: which records take part, and at which site each of them is; `--setting` of `bench_utility.py`.

What is drawn at random here follows from the number of the split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from public_data import Dataset, patients_of

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.deploy.simulation.split import evenly, skewed

Sites: TypeAlias = NDArray[np.str_]
Setting: TypeAlias = Callable[[Dataset, int], tuple[pd.DataFrame, Sites]]

FEW = 1_000  # patients
SKEW = 0.5  # concentration of the Dirichlet law by which the values of a feature are spread over the sites
FEATURE = {  # by which sites are skewed: age where there is one
    "adult": "age",
    "heart": "age",
    "stroke": "AGE",
    "hospitals": "AGE",
    "creditcard": "Amount",
    "isolet": "f1",
    "mnist": "p406",
    "diabetes130": "age",
    "physionet2019": "Age",
    "support2": "age",
    "wdbc": "mean_radius",
    "metabric": "age",
    "gbsg2": "age",
}
BANDS = 8  # of the feature's range


def one(data: Dataset, split: int) -> tuple[pd.DataFrame, Sites]:
    """All patients at one site."""
    return data.train, np.full(len(data.train), "all")


def few(data: Dataset, split: int) -> tuple[pd.DataFrame, Sites]:
    """FEW patients at one site."""
    patient = patients_of(data.train, data.schema)
    chosen = np.random.default_rng(split).permutation(patient.max() + 1)[:FEW]
    table = data.train[np.isin(patient, chosen)]
    return table, np.full(len(table), "few")


def iid(sites: int) -> Setting:
    """Patients dealt out at random, as many to each site."""
    return lambda data, split: (data.train, evenly(patients_of(data.train, data.schema), sites, split))


def skew(data: Dataset, split: int) -> tuple[pd.DataFrame, Sites]:
    """Five sites that differ in a feature and in size."""
    encoding, name = Encoding.of(data.schema), FEATURE[data.name]
    cells = next(feature for feature in encoding.features if feature.name == name)
    source = TableSource(data.train, (name,))
    codes = np.concatenate([cells.codes(batch.column(name)) for batch in source.batches()])
    band = codes.astype(np.int64) * BANDS // cells.size
    return data.train, skewed(patients_of(data.train, data.schema), band, 5, SKEW, split)


def natural(data: Dataset, split: int) -> tuple[pd.DataFrame, Sites]:
    """The hospitals or networks that the records come from."""
    return data.train, data.site[~data.held_out]


def enough(data: Dataset, split: int) -> tuple[pd.DataFrame, Sites]:
    """Those of the natural sites that have patients enough to add all of the noise themselves."""
    table, site = natural(data, split)
    patient = patients_of(table, data.schema)
    kept = [name for name in np.unique(site) if len(np.unique(patient[site == name])) >= MIN_PATIENTS]
    return table[np.isin(site, kept)], site[np.isin(site, kept)]


SETTINGS: Mapping[str, Setting] = {
    "one": one,
    "five": iid(5),
    "ten": iid(10),
    "twenty-five": iid(25),
    "hundred": iid(100),
    "skew": skew,
    "natural": natural,
    "enough": enough,
    "few": few,
}
SINGLE = ("one", "few")  # those of one site
