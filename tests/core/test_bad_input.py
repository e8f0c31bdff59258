"""Tables that nobody would wish for: a release that is sound and says what it could not carry, or one sentence.

Warnings are errors in all tests; here nothing may reach the terminal either.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import report, run
from numpy.typing import NDArray

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.reduced import DegradedError
from cohortmix.core.release.lost import Lost
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.single_release import Release

N = 400
NUMBER = "{type: number, min: 0, max: 100}"
NOTHING = Lost(target="y")


@pytest.fixture(autouse=True)
def silent(few_steps: None, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No line on the terminal, from whatever library."""
    yield
    assert tuple(capfd.readouterr()) == ("", "")


def schema_of(classes: str = "[a, b]", **columns: str) -> Schema:
    return Schema.from_yaml(yaml_of(classes, **columns))


def yaml_of(classes: str = "[a, b]", **columns: str) -> str:
    lines = [f"  {name}: {line}" for name, line in columns.items()]
    return "\n".join(
        ["name: t", "target: y", "columns:", *lines, f"  y: {{type: category, values: {classes}}}", ""]
    )


def table_of(**columns: Any) -> pd.DataFrame:
    """A number and a category beside the columns of a test; the number is higher in class a."""
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b"], N)
    x, sex = np.clip(rng.normal(np.where(y == "a", 60, 40), 10), 0, 100), rng.choice(["F", "M"], N)
    return pd.DataFrame({"x": x, "sex": sex, **columns, "y": y})


def beside(**columns: str) -> dict[str, str]:
    return {"x": NUMBER, "sex": "{type: category, values: [F, M]}", **columns}


def sound(table: pd.DataFrame, schema: Schema, mu: float = 4.0, **options: Any) -> tuple[Release, pd.DataFrame]:
    """A release of finite numbers, and records of declared values alone."""
    found = synthesize(table, schema, Budget.from_mu(mu), noise=KeyedNoise(1), support=10, **options)
    site = found.site
    for part in (site.masses, site.means, site.labels, site.support_points, site.support_labels):
        assert np.isfinite(part).all()
    assert site.masses.sum() == pytest.approx(len(table), rel=1e-5)
    rows = found.records(200)
    assert list(rows.columns) == list(schema.columns)
    for name, column in schema.columns.items():
        known = rows[name].dropna()
        assert column.missing or len(known) == 200
        if column.type == "category":
            assert set(known) <= set(column.values)
        elif column.type == "number":
            assert known.between(column.min, column.max).all()
    return found, rows


CODES = np.random.default_rng(1).choice([1, 2, 3, 30], N, p=[0.5, 0.3, 0.19, 0.01])
FORTY = ", ".join(map(str, range(1, 41)))
ZIPS = ", ".join(f"v{number}" for number in range(500))
LAB = "{type: number, min: 0, max: 9, missing: true}"
BAD = schema_of(
    "[a, b, c]",
    **beside(
        twin=NUMBER,
        same=NUMBER,
        only="{type: category, values: [same]}",
        single="{type: category, values: [7, 8]}",
        zip=f"{{type: category, values: [{ZIPS}]}}",
        code=f"{{type: category, values: [{FORTY}]}}",
        whole="{type: number, min: 1, max: 40, integer: true}",
        lab=LAB,
        void=LAB.replace("true", "false"),
    ),
)


@pytest.fixture(scope="module")
def bad(few_steps: None) -> tuple[Release, pd.DataFrame]:
    """All at once, since each release takes seconds."""
    table = table_of(only="same", same=7, single=7, code=CODES, whole=CODES, lab=np.nan, void=np.nan)
    table = table.assign(twin=table["x"], zip=[f"v{number}" for number in range(N)])
    table.loc[0, "y"] = "c"
    return sound(table, BAD, mu=8.0)


def test_a_column_of_one_declared_value_has_nothing_to_lose(bad: tuple[Release, pd.DataFrame]) -> None:
    found, rows = bad
    assert (rows["only"] == "same").all()
    assert not any("only" in told for told in found.lost.facts.values() if told)


def test_columns_in_which_nobody_differs_or_everybody_go_with_nothing(bad: tuple[Release, pd.DataFrame]) -> None:
    """Constant ones, one with more values than patients, and one that is missing everywhere."""
    found, rows = bad
    assert found.lost.columns_alone == ("same", "single", "zip", "lab")
    assert found.lost.pairs is None
    assert rows["same"].between(7, 8).mean() > 0.9
    assert (rows["single"] == "7").mean() > 0.9
    assert rows["zip"].nunique() > 50
    assert rows["lab"].isna().mean() > 0.9
    assert "Too few patients differ in same, single, zip and lab" in paragraph(found.lost)
    assert ".lost says what" in repr(found)


def test_a_column_without_a_value_that_may_not_be_missing_is_told_to_its_holder(
    bad: tuple[Release, pd.DataFrame],
) -> None:
    """What is released of it is noise, which nothing released can tell from values."""
    assert bad[0].checked.columns["void"].empty == N


def test_rare_codes_are_counted_together_and_codes_as_numbers_stay_whole(
    bad: tuple[Release, pd.DataFrame],
) -> None:
    found, rows = bad
    assert found.lost.values_merged == {"code": 37}
    assert rows["whole"].dtype == "Int64"


def test_a_class_of_one_patient_is_named(bad: tuple[Release, pd.DataFrame]) -> None:
    found, rows = bad
    assert found.lost.classes_in_noise == ("c",)
    assert (rows["y"] == "c").mean() < 0.05


def test_two_identical_columns_stay_alike(bad: tuple[Release, pd.DataFrame]) -> None:
    rows = bad[1][["x", "twin"]].astype(float)
    assert rows["x"].corr(rows["twin"]) > 0.5


def test_one_column_beside_the_outcome_has_all_that_it_can_have() -> None:
    """It was refused as too small for pairs, which no number of patients would have changed."""
    found, rows = sound(table_of()[["x", "y"]], schema_of(x=NUMBER))
    assert found.lost == NOTHING
    assert "lost" not in repr(found)
    means = rows.groupby("y")["x"].mean()
    assert means["a"] > means["b"] + 10


WIDE = [f"x{number}" for number in range(300)]


def test_three_hundred_numbers_of_a_hundred_patients_are_noise_and_said_to_be() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(50, 10, (100, 300)), columns=WIDE).assign(y=rng.choice(["a", "b"], 100))
    schema = schema_of(**dict.fromkeys(WIDE, NUMBER))
    found, _ = sound(table, schema, mu=1.0, variant="gaussian")
    assert found.lost == Lost(target="y", pairs="too noisy", classes_in_noise=("a", "b"))
    assert "take no association between columns" in paragraph(found.lost)
    with pytest.raises(DegradedError, match="N = 100 is too small for pairs of columns"):
        synthesize(table, schema, Budget.from_mu(1.0), noise=KeyedNoise(1))
    found, _ = sound(table, schema, mu=1.0, accept_degraded=True)
    assert (found.variant, found.lost.pairs) == ("cells", "not measured")


def test_three_hundred_categories_of_a_hundred_patients_are_noise_and_said_to_be() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.choice(["F", "M"], (100, 300)), columns=WIDE).assign(y=rng.choice(["a", "b"], 100))
    schema = schema_of(**dict.fromkeys(WIDE, "{type: category, values: [F, M]}"))
    found, _ = sound(table, schema, mu=1.0, accept_degraded=True)
    assert (found.lost.pairs, found.lost.classes_in_noise) == ("not measured", ("a", "b"))
    assert found.lost.columns_alone == tuple(WIDE)


class Blind(KeyedNoise):
    """Noise that forgets what it was added to: every table gives the same answers."""

    __slots__ = ()

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        return super().add(np.zeros_like(values), sigma, "the same for every question")


def test_what_is_lost_is_told_by_released_values_alone() -> None:
    """Two tables with the same answers have lost the same, whatever is in them."""
    schema = schema_of(**beside(same=NUMBER))
    tables = table_of(same=7), table_of(same=np.arange(N) / 4).assign(y="a")
    told = [
        synthesize(table, schema, Budget.from_mu(0.02), noise=Blind(1), accept_degraded=True).lost
        for table in tables
    ]
    assert told[0] == told[1]
    assert told[0].pairs == "not measured"
    seen = synthesize(tables[0], schema, Budget.from_mu(0.1), noise=KeyedNoise(1), accept_degraded=True)
    assert seen.lost != told[0]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"same": 7.0, "lab": np.nan}, {"pairs": "not measured", "columns_alone": ["x", "sex", "same", "lab"]}),
        ({"code": CODES}, {"pairs": "not measured", "classes_in_noise": ["a", "b"]}),
    ],
)
def test_the_command_says_it_too(
    columns: dict[str, Any],
    told: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    table_of(**columns).to_csv("t.csv", index=False)
    optional = NUMBER.replace("}", ", missing: true}")
    Path("s.yaml").write_text(yaml_of(**beside(**dict.fromkeys(columns, optional))))
    out, err = run(
        *("synthesize", "--data", "t.csv", "--schema", "s.yaml", "--epsilon", "0.05", "--out", "out"),
        *("--seed", "1", "--accept-degraded"),
    )
    assert "arning" not in err
    summary = report(tmp_path / "out/summary.json")
    assert {key: summary["lost"][key] for key in told} == told
    assert f"what this release could not carry: {summary['lost']['text']}" in " ".join(out.split())
