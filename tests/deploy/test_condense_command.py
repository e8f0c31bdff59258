"""`cohortmix condense`: what it writes of a release and of a study, and what it refuses without writing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import studies
from commands import CHEAP, SCHEMA, cohort, refused, report, run
from three_hospitals import SITES, records, text

FEW = ("--schema", "s.yaml", "--model", "tree", "--size", "8", "--evaluations", "20")
CONDENSE = ("condense", "out", *FEW)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release of test noise."""
    folder = tmp_path_factory.mktemp("made")
    cohort().to_csv(folder / "t.csv", index=False)
    (folder / "s.yaml").write_text(SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(*CHEAP)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the working folder."""
    copy = shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(copy)
    return copy


def test_rows_and_facts_are_written_and_the_warning_is_carried_along(place: Path) -> None:
    out, _ = run(*CONDENSE, "--out", "rows")
    assert sorted(path.name for path in (place / "rows").iterdir()) == ["condensed.json", "condensed.parquet"]
    facts, rows = report(place / "rows/condensed.json"), pd.read_parquet(place / "rows/condensed.parquet")
    receipt = report(place / "out/receipt.json")
    assert facts["warning"] == receipt["warning"]
    assert out.startswith("NOT PRIVATE: test noise")
    assert json.loads(pq.read_schema(place / "rows/condensed.parquet").metadata[b"cohortmix"]) == facts
    assert list(rows.columns) == ["x", "sex", "y", "weight"]
    assert len(rows) == facts["size"] == 8
    assert facts["evaluations"] == 20
    assert facts["release"]["mu"] == receipt["mu"]
    assert facts["schema"]["hash"] == receipt["schema_hash"]
    assert set(facts["reached"]) == {"start", "condensed", "all records"}


def test_the_same_seed_writes_the_same_bytes(place: Path) -> None:
    for name in ("one", "same"):
        run(*CONDENSE, "--out", name)
    for name in ("condensed.parquet", "condensed.json"):
        assert (place / "one" / name).read_bytes() == (place / "same" / name).read_bytes()


def test_a_published_study_is_verified_and_condensed(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published, "out")
    Path("s.yaml").write_text(studies.SCHEMA)
    run(*CONDENSE)
    facts = report(Path("condensed/condensed.json"))
    assert facts["release"]["mu"] == pytest.approx(report(Path("out/summary.json"))["consortium"]["mu"])
    assert facts["warning"].startswith("NOT PRIVATE")
    assert "site" not in pd.read_parquet("condensed/condensed.parquet").columns
    altered = pd.read_parquet("out/pooled.parquet")
    altered.to_parquet("out/pooled.parquet")
    assert "'pooled.parquet' was altered" in refused(*CONDENSE, "--out", "again")
    Path("out/manifest.json").unlink()
    assert "has no manifest: nobody vouches for" in refused(*CONDENSE, "--out", "again")


def test_a_pooled_study_of_a_time_to_an_event_is_condensed_for_a_cox_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with a follow-up and a weight; a model of classes does not suit such a study."""
    monkeypatch.chdir(tmp_path)
    records().assign(ward=SITES).to_csv("t.csv", index=False)
    Path("s.yaml").write_text(text("survival"))
    run(
        "simulate",
        *files("t.csv"),
        "--epsilon",
        "0.5",
        "--site-column",
        "ward",
        *("--seed", "1", "--accept-degraded"),
    )
    run("condense", "out", "--schema", "s.yaml", "--model", "cox", *("--size", "12", "--evaluations", "10"))
    rows = pd.read_parquet("condensed/condensed.parquet")
    assert list(rows.columns) == ["AGE", "STAGE", "DAYS", "DEATH", "weight"]
    assert rows["DAYS"].between(0.5, 2000).all()
    assert set(rows["DEATH"]) <= {"no", "yes"}
    assert report(Path("condensed/condensed.json"))["schema"]["target"] == "DAYS, DEATH"
    assert "does not suit the target 'DAYS, DEATH'" in refused(*CONDENSE, "--out", "again")


def files(table: str) -> tuple[str, ...]:
    return "--data", table, "--schema", "s.yaml", "--out", "out"


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    content = report(Path("out") / name)
    change(content)
    (Path("out") / name).write_text(json.dumps(content))


def fewer_rows() -> None:
    table = pq.read_table("out/records.parquet")
    pq.write_table(table.slice(1), "out/records.parquet")


DAMAGED: dict[str, tuple[Callable[[], object], str]] = {
    "a file is gone": (Path("out/centroids.parquet").unlink, "has no 'centroids.parquet'"),
    "a table is cut": (lambda: Path("out/records.parquet").write_bytes(b"PAR1"), "cannot be read as Parquet"),
    "rows are gone": (fewer_rows, "another number of rows than summary.json says"),
    "other records": (lambda: cohort().to_parquet("out/records.parquet"), "is not of the release"),
    "no receipt": (lambda: Path("out/receipt.json").write_text("[1]"), "expected what synthesize has written"),
    "another cost": (lambda: edit("summary.json", lambda facts: facts.update(mu=0.1)), "differ in 'mu'"),
    "no warning": (lambda: edit("summary.json", lambda facts: facts.pop("warning")), "differ in their warning"),
    "half a summary": (
        lambda: edit("summary.json", lambda facts: facts.pop("rows")),
        "are not those of a release",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_release_is_refused(place: Path, case: str) -> None:
    damage, message = DAMAGED[case]
    damage()
    assert message in refused(*CONDENSE)


def test_a_receipt_that_does_not_add_up_is_refused(place: Path) -> None:
    """The same change in every file that carries the receipt."""
    receipt = report(place / "out/receipt.json")
    receipt["mu2"] = "1/1000000"
    (place / "out/receipt.json").write_text(json.dumps(receipt))
    for name in ("records.parquet", "centroids.parquet"):
        table = pq.read_table(place / "out" / name)
        metadata = {**table.schema.metadata, b"cohortmix": json.dumps(receipt).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), place / "out" / name)
    assert "is damaged: its receipt does not add up" in refused(*CONDENSE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "net"), "expected model to be 'tree'"),
        (("--model", "cox"), "does not suit the target 'y'"),
        (("--size", "0"), "expected size to be at least 2"),
        (("--size", "5000"), "at most the 300 records of the release"),
        (("--evaluations", "0"), "expected evaluations to be at least 1"),
        (("--out", "out"), "holds files, such as"),
        (("--schema", "none.yaml"), "none.yaml"),
    ],
)
def test_bad_options_are_one_sentence(place: Path, options: tuple[str, str], message: str) -> None:
    assert message in refused(*CONDENSE, *options)


def test_another_schema_and_no_release_are_refused(place: Path) -> None:
    (place / "s.yaml").write_text(SCHEMA.replace("max: 10", "max: 11"))
    assert "is of another schema than the one that is given" in refused(*CONDENSE)
    assert "'t.csv' is no folder" in refused("condense", "t.csv", *FEW)
    (place / "empty").mkdir()
    assert "has no 'centroids.parquet'" in refused("condense", "empty", *FEW)


def test_a_release_in_python_condenses_itself() -> None:
    from cohortmix.core import Budget, Schema, synthesize
    from cohortmix.core.audit.noise_keyed import KeyedNoise

    schema = Schema.from_yaml(SCHEMA)
    release = synthesize(cohort(), schema, Budget.from_epsilon(0.05), noise=KeyedNoise(1), accept_degraded=True)
    found = release.condense("logistic", 6, records=400, evaluations=5)
    assert found.facts["warning"] == found.rows.attrs["warning"] == release.receipt["warning"]
    assert found.facts["records"] + found.facts["held_out"] == 400
    assert np.isfinite(found.rows["weight"]).all()
