"""Figures of several studies of the same records: what real ones reach is learned once, and is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cohortmix.core import Schema
from cohortmix.core.utility import held_out
from cohortmix.deploy.simulation.comparison import Comparison

TEXT = """
name: made
target: outcome
columns:
  age: {type: number, min: 0, max: 100}
  outcome: {type: category, values: [well, ill]}
"""
SCHEMA = Schema.from_yaml(TEXT)
OTHER = Schema.from_yaml(TEXT.replace("max: 100", "max: 50"))


def made(n: int, seed: int) -> pd.DataFrame:
    """Those of age are ill more often."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, 100, n).round(1)
    return pd.DataFrame({"age": age, "outcome": np.where(rng.uniform(0, 100, n) < age, "ill", "well")})


def tables(*seeds: int) -> dict[str, pa.Table]:
    return {f"site {seed}": pa.Table.from_pandas(made(200, seed), preserve_index=False) for seed in seeds}


def silent(event: str, done: int, total: int) -> None:
    """No progress."""


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each model learned from, in order."""
    counts: list[int] = []
    from cohortmix.core.utility.evaluate import score_real

    def counted(records: Any, *others: Any) -> Any:
        counts.append(len(records))
        return score_real(records, *others)

    monkeypatch.setattr(held_out, "score_real", counted)
    return counts


def test_a_second_study_learns_from_its_synthetic_records_alone(learned: list[int]) -> None:
    shared, events = Comparison(made(300, 0)), list[tuple[str, int, int]]()
    first = shared.figures(made(401, 3), tables(1, 2), SCHEMA, silent)
    assert learned == [200, 200, 401, 400]
    second = shared.figures(
        made(402, 4), tables(1, 2), SCHEMA, lambda event, done, total: events.append((event, done, total))
    )
    assert learned[4:] == [402]
    assert events == [("evaluate", done, 4) for done in range(1, 5)]
    assert first.pooled_score != second.pooled_score
    assert second == Comparison(made(300, 0)).figures(made(402, 4), tables(1, 2), SCHEMA, silent)


@pytest.mark.parametrize(
    ("seeds", "schema", "again"), [((1, 5), SCHEMA, [200, 403, 400]), ((1, 2), OTHER, [200, 200, 403, 400])]
)
def test_other_records_and_another_schema_are_learned_from_anew(
    learned: list[int], seeds: tuple[int, ...], schema: Schema, again: list[int]
) -> None:
    """The negation: a figure of other records is never taken from memory."""
    shared = Comparison(made(300, 0))
    shared.figures(made(401, 3), tables(1, 2), SCHEMA, silent)
    del learned[:]
    found = shared.figures(made(403, 3), tables(*seeds), schema, silent)
    assert learned == again
    assert found == Comparison(made(300, 0)).figures(made(403, 3), tables(*seeds), schema, silent)
