"""Which site each record belongs to, and which records are held out, when one table stands for a whole consortium.

A patient's records stay together, so that the sites and the held-out records share no patient. How many patients
each site has is published without noise. So for records that are not public there are only two ways to split:
`evenly`, which depends on nothing but the number of patients, and by a column of hospitals, which are public
anyway. `skewed` reads labels and is for public records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import category_text
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, plain
from cohortmix.core.data.values import patient_keys

TEST_FRACTION = 0.25
"""Share of each site's patients that is held out by default."""


@dataclass(frozen=True, eq=False)
class Split:
    """The records of a consortium.

    Attributes
    ----------
    training : the records that the sites hold, n rows; records without a patient key are left out.
    sites : the names of their sites, n of them.
    held_out : the records that no site holds, or None.
    largest, patients : how many patients the largest site has, and all sites together.
    """

    training: pa.Table
    sites: tuple[str, ...]
    held_out: pa.Table | None
    largest: int
    patients: int

    @classmethod
    def of(
        cls,
        table: pa.Table,
        schema: Schema,
        site_column: str | None,
        sites: int | None,
        skew: float | None,
        test_fraction: float | None,
        seed: int,
    ) -> Split:
        """Split by a column, or into a number of sites, evenly or skewed; then hold out a fraction, if given.

        Raises
        ------
        InputError
            If a record has no site, or the skew or the fraction is impossible.
        """
        if schema.patient_key is not None:
            keys = patient_keys(table.column(schema.patient_key))
            table = table.filter(pa.array([key is not None for key in keys], pa.bool_()))
        patient = _patients(table, schema)
        if site_column is not None:
            site = _named(table, site_column)
        elif skew is None:
            site = evenly(patient, sites or 1, seed)
        else:
            site = skewed(patient, _labels(table, schema), sites or 1, skew, seed)
        out = np.zeros(len(site), dtype=bool)
        if test_fraction is not None:
            out = held_out(patient, site, test_fraction, seed)
        patient, site = patient[~out], site[~out]
        counts = [len(np.unique(patient[site == name])) for name in np.unique(site)]
        rest = None if test_fraction is None else table.filter(pa.array(out))
        return cls(table.filter(pa.array(~out)), tuple(site.tolist()), rest, max(counts), sum(counts))


def evenly(patient: NDArray[np.int64], sites: int, seed: int) -> NDArray[np.str_]:
    """Names of sites for n records, shape (n,): patients are dealt out at random, the same number to each site.

    Parameters
    ----------
    patient : (n,) the number of each record's patient, counted from 0.
    """
    order = np.random.default_rng(seed).permutation(_count(patient))
    return _names(order % sites, sites)[patient]


def skewed(
    patient: NDArray[np.int64], label: NDArray[np.int64], sites: int, concentration: float, seed: int
) -> NDArray[np.str_]:
    """Names of sites for n records, shape (n,): a draw from a Dirichlet law spreads each class over the sites.

    The smaller `concentration` > 0 is, the more the sites differ (Hsu, Qi and Brown 2019, arXiv 1909.06335). A
    patient's class is that of the first record.

    Raises
    ------
    InputError
        If `concentration` is not above zero.
    """
    if not 0 < concentration < np.inf:
        raise InputError(f"a skew is a finite number above zero; got {concentration:g}")
    rng, site = np.random.default_rng(seed), np.zeros(_count(patient), dtype=np.int64)
    _, first = np.unique(patient, return_index=True)
    for label_class in np.unique(label[first]):
        members = np.flatnonzero(label[first] == label_class)
        site[members] = rng.choice(sites, size=len(members), p=rng.dirichlet(np.full(sites, concentration)))
    return _names(site, sites)[patient]


def held_out(patient: NDArray[np.int64], site: NDArray[np.str_], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which of n records are held out, shape (n,): the same fraction of the patients of each site, rounded.

    Raises
    ------
    InputError
        If `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InputError(f"a test fraction lies between 0 and 1; got {fraction:g}")
    rng, out = np.random.default_rng(seed), np.zeros(_count(patient), dtype=bool)
    for name in dict.fromkeys(site.tolist()):
        members = rng.permutation(np.unique(patient[site == name]))
        out[members[: round(fraction * len(members))]] = True
    return out[patient]


def _count(patient: NDArray[np.int64]) -> int:
    return int(patient.max(initial=-1)) + 1


def _names(site: NDArray[np.int64], sites: int) -> NDArray[np.str_]:
    width = len(str(sites))
    return np.array([f"site-{number + 1:0{width}d}" for number in site])


def _patients(table: pa.Table, schema: Schema) -> NDArray[np.int64]:
    """The number of each record's patient, shape (n,), counted from 0."""
    if schema.patient_key is None:
        return np.arange(table.num_rows)
    keys = patient_keys(table.column(schema.patient_key))
    return np.asarray(pa.array(keys, pa.string()).dictionary_encode().indices, dtype=np.int64)


def _named(table: pa.Table, column: str) -> NDArray[np.str_]:
    names = plain(table.column(column)).to_pylist()
    if None in names:
        raise InputError(f"column {column!r}: a record has no site; give it one, or leave the record out")
    return np.array([category_text(name) for name in names])


def _labels(table: pa.Table, schema: Schema) -> NDArray[np.int64]:
    label = Encoding.of(schema).label
    return np.concatenate([label.codes(batch) for batch in table.to_batches()] or [np.empty(0, np.int32)])
