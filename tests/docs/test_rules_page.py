"""The rules that docs/schema.md shows: they are read as it says, and hold in records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pages import blocks, page, section

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Schema, SchemaError

(SHOWN,) = blocks(section(page("docs/schema.md"), "## Rules"), "yaml")
ROWS = 2000


def broken(schema: Schema, shown: Schema) -> int:
    """How many records of cells drawn at random break a rule of the schema shown."""
    rng, encoding = np.random.default_rng(0), Encoding.of(schema)
    codes = {cells.name: rng.integers(0, cells.size, ROWS).astype(np.int32) for cells in encoding.features}
    rows = rows_of_cells(codes, rng.integers(0, 2, ROWS), schema, rng)
    values: dict[str, Any] = {}
    for name, column in schema.columns.items():
        if isinstance(column, Category):
            places = {value: float(place) for place, value in enumerate(column.values)}
            values[name] = rows[name].map(places).astype(float).to_numpy()
        else:
            values[name] = rows[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return int(np.any([rule.broken(values) for rule in shown.stated], axis=0).sum())


def test_the_rules_shown_hold_in_records() -> None:
    schema = Schema.from_yaml(SHOWN)
    assert len(schema.stated) == 8
    assert broken(schema, schema) == 0
    assert broken(schema.model_copy(update={"rules": ()}), schema) > ROWS / 10


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("- SEX=F -> WARD=medical\n- SEX=F -> WARD=surgical\n", "'SEX=F -> WARD=surgical'"),
        ("- DBP < SBP\n- SBP < DBP\n", "'SBP < DBP'"),
        ("- AGE < 200 -> SEX=F\n", "200 lies outside of the bounds"),
        ("- SEX=X -> WARD=medical\n", "'X' is not one of the values"),
    ],
)
def test_what_it_says_is_refused_is_refused(rules: str, named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        Schema.from_yaml(SHOWN.split("rules:")[0] + "rules:\n" + rules)


def test_what_follows_from_two_comparisons() -> None:
    """As the page says, also where the column between is missing."""
    text = SHOWN.split("rules:")[0] + "rules: [DBP < SBP, SBP < AGE]\n"
    alone = SHOWN.split("rules:")[0] + "rules: [DBP < AGE]\n"
    assert broken(Schema.from_yaml(text), Schema.from_yaml(alone)) == 0
