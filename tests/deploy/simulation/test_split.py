"""Splits of one table: every patient at one site, and on one side of the hold-out."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.deploy.simulation.split import Split, evenly, held_out, skewed

PATIENTS = st.lists(st.integers(0, 30), min_size=1, max_size=80).map(
    lambda drawn: np.unique(drawn, return_inverse=True)[1].astype(np.int64)
)
SEEDS = st.integers(0, 2**32)


def together(patient: NDArray[np.int64], value: NDArray[np.generic]) -> bool:
    """Whether all records of a patient have one value."""
    return all(len(np.unique(value[patient == one])) == 1 for one in np.unique(patient))


@given(PATIENTS, st.integers(1, 5), SEEDS)
def test_patients_are_dealt_out_evenly(patient: NDArray[np.int64], sites: int, seed: int) -> None:
    names = evenly(patient, sites, seed)
    assert together(patient, names)
    counts = [len(np.unique(patient[names == name])) for name in np.unique(names)]
    assert max(counts) - min([*counts, *[0] * (sites - len(counts))]) <= 1


@given(PATIENTS, st.integers(1, 5), st.floats(0.1, 10), SEEDS)
def test_a_skew_keeps_patients_together(
    patient: NDArray[np.int64], sites: int, concentration: float, seed: int
) -> None:
    names = skewed(patient, patient % 2, sites, concentration, seed)
    assert together(patient, names)
    assert len(np.unique(names)) <= sites


@given(PATIENTS, st.floats(0.01, 0.99), SEEDS)
def test_the_same_fraction_of_each_site_is_held_out(
    patient: NDArray[np.int64], fraction: float, seed: int
) -> None:
    names = evenly(patient, 3, seed)
    out = held_out(patient, names, fraction, seed)
    assert together(patient, out)
    for name in np.unique(names):
        here = names == name
        assert len(np.unique(patient[here & out])) == round(fraction * len(np.unique(patient[here])))


def spread(concentration: float) -> float:
    """Range of the sites' shares of one of two classes."""
    patient = np.arange(4000)
    label = patient % 2
    names = skewed(patient, label, 4, concentration, seed=0)
    shares = [label[names == name].mean() for name in np.unique(names)]
    return float(max(shares) - min(shares))


def test_a_small_concentration_makes_sites_differ_and_a_large_one_does_not() -> None:
    assert spread(0.3) > 0.5
    assert spread(1000) < 0.1


KEYED = Schema.from_yaml(
    """
    name: keyed
    patient_key: id
    target: y
    columns:
      x: {type: number, min: 0, max: 1}
      y: {type: category, values: [a, b]}
    """
)


@pytest.mark.parametrize("nobody", [None, "NA", " ", "nan", "null"])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_rows_of_nobody_move_no_number_of_patients(nobody: str | None, rows: int) -> None:
    """They may come and go freely: the vault counts none of them, and neither does the split that is published."""
    keys = pa.array([*map(str, range(40)), *[nobody] * rows], pa.string())
    table = pa.table({"id": keys, "x": [0.5] * len(keys), "y": ["a"] * len(keys)})
    for seed in range(20):
        parts = Split.of(table, KEYED, None, 4, None, None, seed)
        for name in set(parts.sites):
            held = TableSource(parts.training.filter(pa.array(np.array(parts.sites) == name)))
            assert Vault(held, KEYED, KeyedNoise(0).add, MemoryMeter(Fraction(0))).patients == 10
        assert len(set(parts.sites)) == 4
        assert parts.largest == 10


def test_names_sort_as_they_count() -> None:
    assert np.unique(evenly(np.arange(20), 10, seed=0)).tolist() == [f"site-{i:02d}" for i in range(1, 11)]


def test_the_seed_decides() -> None:
    patient = np.arange(50)
    assert (evenly(patient, 3, 1) == evenly(patient, 3, 1)).all()
    assert (evenly(patient, 3, 1) != evenly(patient, 3, 2)).any()
    names = np.full(50, "a")
    assert (held_out(patient, names, 0.5, 1) != held_out(patient, names, 0.5, 2)).any()


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_skew_or_fraction_is_refused(value: float) -> None:
    patient = np.arange(5)
    with pytest.raises(InputError, match="a skew is a finite number above zero"):
        skewed(patient, patient, 2, value, 0)
    with pytest.raises(InputError, match="a test fraction lies between 0 and 1"):
        held_out(patient, np.full(5, "a"), value, 0)
