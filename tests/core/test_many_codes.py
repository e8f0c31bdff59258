"""Two columns of 20,000 codes each, as ICD is: a release in memory of the order of its counts."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.synthesis import synthesize

CODES = [f"C{k}" for k in range(20_000)]
PATIENTS = 120


def test_a_release_of_codes_by_the_thousand() -> None:
    """One matrix of all pairs of the codes of one column would be 3.2 GB."""
    code = {"type": "category", "values": CODES}
    columns = {"one": code, "two": code, "y": {"type": "category", "values": ["a", "b"]}}
    schema = Schema.model_validate({"name": "t", "target": "y", "columns": columns})
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.choice(CODES[:300], PATIENTS) for name in ("one", "two")})
    table["y"] = np.where(table["one"] < "C2", "a", "b")
    tracemalloc.start()
    try:
        release = synthesize(table, schema, Budget(mu=0.3), support=2)
        records = release.records(PATIENTS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400e6
    assert np.isfinite(release.pool.means).all()
    assert len(records) == PATIENTS
    assert all(set(records[name]) <= set(column["values"]) for name, column in columns.items())
    assert release.lost.columns_alone == ("one", "two")
    assert "one and two" in paragraph(release.lost)
