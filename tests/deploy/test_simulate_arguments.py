"""What `simulate` in Python says to a wrong argument, before a record is read or anything is spent."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import refused, report, run
from three_hospitals import SITES, records, text

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate

SCHEMA = Schema.from_yaml(
    "name: t\ntarget: y\ncolumns:\n  x: {type: number, min: 0, max: 1}\n  y: {type: category, values: [a, b]}"
)
GOOD: dict[str, Any] = {
    "table": pd.DataFrame({"x": [0.5] * 60, "y": ["a", "b"] * 30}),
    "schema": SCHEMA,
    "sites": ["A"] * 60,
    "terms": Terms(budget=Budget.from_epsilon(1.0)),
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"table": "heart.parquet"}, "expected table to be a pandas DataFrame"),
        ({"schema": "schema.yaml"}, "expected schema to be a Schema, got str; read a file's text"),
        ({"terms": 1.0}, "expected terms to be a Terms, got float; write Terms("),
        ({"rows": 1.5}, "expected rows to be a whole number, got float"),
        ({"rows": 0}, "expected rows to be at least 1"),
        ({"engine": "foo"}, "expected engine to be 'process' or 'flower', got 'foo'"),
        ({"engine": None}, "got NoneType"),
        ({"accept_degraded": "no"}, "expected accept_degraded to be True or False, got str"),
        ({"replace": 1}, "expected replace to be True or False, got int"),
        ({"max_unreadable": "x"}, "expected max_unreadable to be a number between 0 and 1, got str"),
    ],
)
def test_a_wrong_argument_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        simulate(**GOOD | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["none", "survival"])
def test_records_are_held_out_where_there_is_something_to_predict(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records().assign(ward=SITES).to_csv("t.csv", index=False)
    Path("s.yaml").write_text(text(kind))
    command = ("simulate", "--data", "t.csv", "--schema", "s.yaml", "--out", "out", "--epsilon", "0.1")
    options = ("--site-column", "ward", "--public-data", "--seed", "1", "--accept-degraded")
    if kind == "none":
        sentence = refused(*command, *options, "--test-fraction", "0.2")
        assert "--test-fraction needs a schema with a target" in sentence
    out, _ = run(*command, *options)
    summary = report(Path("out/summary.json"))
    assert sum(site["n"] for site in summary["sites"]) == (720 if kind == "none" else 540)
    assert (summary["measure"] is None) == (kind == "none")
    assert ("concordance" in out) == (kind == "survival")
    assert "AUC" not in out
