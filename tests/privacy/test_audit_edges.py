"""Tables at the edge of what can be audited: one feature, many numbers, too few patients."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from cohortmix.core import Schema
from cohortmix.core.audit.audit import audit
from cohortmix.core.audit.neighbours import Cohort, worst
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.table import InputError, TableSource

SCHEMA = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 9, integer: true}
  outcome: {type: category, values: [ill, well]}
"""
)
NOISE = KeyedNoise(3)


def cohort(patients: int) -> Cohort:
    rng = np.random.default_rng(1)
    columns = {"age": rng.integers(0, 10, patients), "outcome": rng.choice(["ill", "well"], patients)}
    return Cohort.of(TableSource(pa.table(columns)), SCHEMA, most=patients)


LEVELS = ["level sum", "level second moment", "score moment", "sign products", "class second moment"]
AFTER = ["value counts"]  # asked last


def test_a_table_with_one_feature_is_audited_too(few_steps: None) -> None:
    found = audit(cohort(60), NOISE, random_pairs=5, whole=("label flip",), runs=300)
    assert found.violations == ()
    assert list(found.whole["cells"].shares) == ["sum"]
    assert list(found.named.shares) == ["sum", *LEVELS, *AFTER]


def test_a_wide_table_of_numbers_is_never_released_as_cells(few_steps: None) -> None:
    rng, patients = np.random.default_rng(2), 300  # too few for scores, enough for means
    columns = {f"x{at}": {"type": "number", "min": -3, "max": 3, "knots": 4} for at in range(24)}
    label = {"type": "category", "values": ["ill", "well"]}
    wide = Schema.model_validate({"name": "wide", "target": "y", "columns": {**columns, "y": label}})
    frame = {name: rng.normal(0, 1, patients) for name in columns} | {"y": rng.choice(["ill", "well"], patients)}
    many = Cohort.of(TableSource(pa.table(frame)), wide, most=patients)
    found = audit(many, NOISE, random_pairs=3, whole=("outlier far from everything",), runs=100)
    assert found.violations == ()
    assert list(found.whole) == ["gaussian"]
    assert list(found.named.shares) == ["sum", "second moment", *LEVELS, *AFTER]
    assert list(found.whole["gaussian"].shares) == [LEVELS[0], LEVELS[1], LEVELS[-1]]
    assert len(found.whole["gaussian"].reached) == 5


def test_an_audit_says_when_there_is_no_release() -> None:
    with pytest.raises(InputError, match="20 patients are too few"):
        audit(cohort(20), NOISE)
    with pytest.raises(InputError, match="no release of this table to audit: OverflowError"):
        audit(cohort(60), NOISE, mu=Fraction(1, 2**62))


def test_a_table_without_a_target_has_no_label_to_flip(few_steps: None) -> None:
    rng = np.random.default_rng(4)
    columns: dict[str, object] = {name: {"type": "number", "min": 0, "max": 9, "integer": True} for name in "ab"}
    schema = Schema.model_validate({"name": "registry", "target": None, "columns": columns})
    frame = {name: rng.integers(0, 10, 80) for name in "ab"}
    registry = Cohort.of(TableSource(pa.table(frame)), schema, most=80)
    assert "label flip" not in worst(registry, registry.patients[0])
    found = audit(registry, NOISE, random_pairs=3, runs=100)
    assert found.violations == ()
