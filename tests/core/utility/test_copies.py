"""Copies: counted where they are, between strangers as chance has it, and more where records were memorized."""

import numpy as np
import pandas as pd
import pytest

from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.columns import read
from cohortmix.core.utility.copies import copies

SCHEMA = Schema.from_yaml("""
name: t
patient_key: id
max_rows_per_patient: 2
target: y
columns:
  x: {type: number, min: 0, max: 100, decimals: 1, missing: true}
  whole: {type: number, min: 0, max: 4, integer: true}
  y: {type: category, values: [a, b]}
""")


def counted(made: pd.DataFrame, real: pd.DataFrame) -> dict[str, float]:
    return copies(read(made, SCHEMA), read(real, SCHEMA), SCHEMA)


def people(rows: int, seed: int, fine: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "x": (rng.integers(0, fine, rows) / 10.0),
            "whole": rng.integers(0, 2, rows),
            "y": rng.choice(["a", "b"], rows),
        }
    )


def test_records_that_equal_a_real_one_in_every_column_are_counted() -> None:
    real = pd.DataFrame({"x": [1.5, None, 3.0], "whole": [1, 2, 3], "y": ["a", "b", "a"]})
    made = pd.DataFrame({"x": [1.5, None, 3.0, 1.5], "whole": [1, 2, 3, 2], "y": ["a", "b", "b", "a"]})
    assert counted(made, real)["share"] == 0.5
    assert counted(real, real)["share"] == 1
    assert counted(made.assign(x=9.0), real)["share"] == 0


def test_numbers_are_compared_as_they_are_declared() -> None:
    real = pd.DataFrame({"x": [0.3, -0.0], "whole": [1, 2], "y": "a"})
    made = pd.DataFrame({"x": [0.1 + 0.2, 0.0], "whole": [1.0, 2.0], "y": "a"})
    assert counted(made, real)["share"] == 1
    assert counted(made.assign(x=[0.4, 0.1]), real)["share"] == 0


def test_strangers_of_one_law_are_as_alike_as_the_halves_and_a_table_of_its_own_records_is_more() -> None:
    real = people(4000, 0, 300)
    strangers, memorized = (
        counted(made, real) for made in (people(4000, 1, 300), real.sample(4000, random_state=0))
    )
    assert 0.5 < strangers["by_chance"] < 0.95
    assert strangers["of_a_half"] == pytest.approx(strangers["by_chance"], abs=0.03)
    assert strangers["share"] > strangers["of_a_half"]
    fine = people(4000, 0, 1000)
    assert counted(fine, fine)["of_a_half"] > counted(fine, fine)["by_chance"] + 0.1
    assert memorized["share"] == 1


def test_rows_of_one_patient_are_in_one_half_and_count_by_weight() -> None:
    """Else a patient's equal rows would be found in the other half, and look like chance."""
    once = people(500, 0, 1000).assign(x=np.arange(500) / 10)
    twice = pd.concat([once, once], ignore_index=True)
    assert counted(once, twice)["by_chance"] == 0
    assert counted(once, twice.assign(id=np.arange(1000)))["by_chance"] > 0.4
    beyond = pd.concat([twice, once.assign(whole=4)], ignore_index=True)  # a third row, beyond the cap
    assert counted(once.assign(whole=4), beyond)["share"] == 0


def test_of_a_single_patient_there_is_no_second_half() -> None:
    one = people(1, 0, 10)
    assert counted(one, one) == {"share": 1.0, "of_a_half": 0.5, "by_chance": None}
