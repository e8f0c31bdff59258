"""A whole study on one machine, and its files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_hand import Patients

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.release.lost import Lost
from cohortmix.deploy.simulation.comparison import Comparison
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.engines import silent
from cohortmix.deploy.simulation.simulation import Simulation, simulate
from cohortmix.protocol.messages import SignedReceipt, SignedStudy, decode
from cohortmix.protocol.receipts import verify
from cohortmix.protocol.signing import Key
from cohortmix.server.publish.publish import FILES, Figures, publish, summarise

TERMS = Terms(budget=Budget.from_epsilon(3.0), seed=1)
KEY = Key.generate()
SITES = ["ITAL"] * 300 + ["NORW"] * 60 + ["tiny"] * 60


@pytest.fixture(scope="module")
def table(patients: Patients) -> pd.DataFrame:
    return patients(len(SITES))


Finished = tuple[Simulation, Path, list[tuple[str, int, int]]]


@pytest.fixture(scope="module")
def finished(table: pd.DataFrame, schema: Schema, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A public study of three sites, its files, and what it told on the way."""
    out = tmp_path_factory.mktemp("study") / "out"
    events: list[tuple[str, int, int]] = []
    terms = replace(TERMS, public_data=True, overlap=2)
    held_out = table.sample(200, random_state=0)
    simulated = simulate(
        table, schema, SITES, terms, held_out=held_out, out=out, progress=lambda *event: events.append(event)
    )
    return simulated, out, events


def test_the_files_of_a_study(finished: Finished) -> None:
    _, out, _ = finished
    assert {path.name for path in out.iterdir()} == FILES
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"], "nothing is left beside the folder"
    names = {path.name for path in (out / "receipts").iterdir()}
    assert names == {"ITAL-1.json", "ITAL-2.json", "NORW-1.json", "tiny-1.json"}


def test_records_have_the_schemas_columns_types_and_a_site(finished: Finished, schema: Schema) -> None:
    simulated, out, _ = finished
    pooled = pd.read_parquet(out / "pooled.parquet")
    assert list(pooled.columns) == [*schema.columns, "site"]
    assert len(pooled) == len(SITES) == len(simulated.records)
    assert pooled["AGE"].between(16, 105).all()
    assert set(pooled["SEX"]) == {"F", "M"}
    assert set(pooled["site"]) == {"ITAL", "NORW", "tiny"}


def test_centroids_have_kind_mass_label_and_noise(finished: Finished) -> None:
    simulated, out, _ = finished
    rows = pd.read_parquet(out / "centroids.parquet")
    assert set(rows["kind"]) == {"mixture", "class", "support"}
    assert set(rows.loc[rows["site"] == "tiny", "kind"]) == {"class"}
    real = rows[rows["kind"] != "support"]
    assert real.groupby("site")["mass"].sum().to_dict() == pytest.approx({"ITAL": 300, "NORW": 60, "tiny": 60})
    assert (real["noise_std"] > 0).all()
    assert real[["outcome: good", "outcome: bad"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert simulated.summary["pooled"]["centroids"] == len(real)


@pytest.mark.parametrize("name", ["pooled.parquet", "centroids.parquet"])
def test_a_file_says_where_it_is_from_and_that_it_is_not_private(finished: Finished, name: str) -> None:
    simulated, out, _ = finished
    facts = json.loads(pq.read_schema(out / name).metadata[b"cohortmix"])
    assert facts["study"] == simulated.summary["study"]["hash"]
    assert facts["warning"] == "NOT PRIVATE: test noise"


def test_receipts_hold_with_the_public_keys_of_the_study(finished: Finished) -> None:
    _, out, _ = finished
    study = decode((out / "study.json").read_bytes())
    assert isinstance(study, SignedStudy)
    for path in (out / "receipts").iterdir():
        signed = decode(path.read_bytes())
        assert isinstance(signed, SignedReceipt)
        assert f"{signed.receipt.site}-{signed.receipt.round}.json" == path.name
        verify(signed, study.study)


def test_summary_has_exactly_the_keys_of_the_contract(finished: Finished) -> None:
    simulated, out, _ = finished
    summary = json.loads((out / "summary.json").read_text())
    assert summary == simulated.summary
    contract = [
        "warning",
        "study",
        "consortium",
        "sites",
        "noise",
        "pooled",
        "lost",
        "measure",
        "ceiling_score",
        "seconds",
    ]
    assert list(summary) == [*contract, "version", "published"]
    assert list(summary["study"]) == ["name", "hash", "target", "overlap", "joint"]
    assert list(summary["consortium"]) == ["mu", "epsilon", "delta", "mu_worst"]
    of_site = ["name", "n", "mu", "epsilon", "delta", "centroids", "reduced", "mass", "own_score", "gain"]
    assert list(summary["sites"][0]) == of_site
    assert list(summary["pooled"]) == ["rows", "centroids", "score"]
    assert set(summary["lost"]) == {*Lost(target="y").facts, "text"}
    assert summary["noise"] == "TEST"
    assert summary["study"]["overlap"] == 2
    mu = summary["sites"][0]["mu"]
    assert summary["sites"][0]["epsilon"] == pytest.approx(3.0, abs=1e-4)
    assert summary["consortium"]["mu"] == pytest.approx(mu * 2**0.5)
    assert summary["consortium"]["mu_worst"] == pytest.approx(mu * 3**0.5)
    figures = [
        summary["ceiling_score"],
        summary["pooled"]["score"],
        *(site["own_score"] for site in summary["sites"]),
    ]
    assert all(0 < figure <= 1 for figure in figures)
    assert summary["seconds"] > 0
    assert summary["published"] is None, "a run with a seed is the same on any day"
    assert [site["reduced"] for site in summary["sites"]] == [False, True, True]
    for site in summary["sites"]:
        gain = site["gain"]
        assert gain["estimate"] == pytest.approx(summary["pooled"]["score"] - site["own_score"], abs=1e-12)
        assert gain["low"] <= gain["estimate"] <= gain["high"]


def test_a_figure_that_was_not_measured_is_null(finished: Finished) -> None:
    simulated, _, _ = finished
    summary = summarise(simulated.result, rows=10)
    assert summary["ceiling_score"] is summary["pooled"]["score"] is summary["seconds"] is None
    assert [site["own_score"] for site in summary["sites"]] == [None] * 3
    assert [site["gain"] for site in summary["sites"]] == [None] * 3


def test_an_interval_counts_patients_and_not_their_records(table: pd.DataFrame, schema: Schema) -> None:
    """Each held-out patient's record ten times over leaves the interval as it was."""
    keyed = schema.model_copy(update={"patient_key": "id", "max_rows_per_patient": 10})
    table = table.assign(id=np.arange(len(table)))
    held_out = table.sample(100, random_state=0)
    repeated = pd.concat([held_out] * 10, ignore_index=True)
    tables = {"all": pa.Table.from_pandas(table, preserve_index=False)}
    drawn = table.sample(150, random_state=1)
    once, again = (
        Comparison(test).figures(drawn, tables, keyed, silent).gains["all"] for test in (held_out, repeated)
    )
    nobody = Comparison(repeated).figures(drawn, tables, schema, silent).gains["all"]
    widths = [gain.high - gain.low for gain in (once, again, nobody) if gain is not None]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[2] < 0.4 * widths[0]


def test_progress_names_every_step_and_ends_it(finished: Finished) -> None:
    _, _, events = finished
    last = {event: (done, total) for event, done, total in events}
    assert list(last) == ["sites", "round 1", "round 2", "pool", "evaluate", "publish"]
    assert all(done == total for done, total in last.values())
    assert ("round 1", 2, 3) in events


def test_what_was_published_meanwhile_stays(table: pd.DataFrame, schema: Schema, tmp_path: Path) -> None:
    """A result that another run has written into OUT while this one computed is not replaced, only refused."""
    few, out = (table[:120], schema, ["a"] * 60 + ["b"] * 60), tmp_path / "out"

    def publish_in_between(event: str, *_: int) -> None:
        if event == "pool":
            out.mkdir()
            (out / "summary.json").write_text("{}")

    with pytest.raises(InputError, match=r"holds files, such as 'summary\.json', which stay as they are"):
        simulate(*few, TERMS, out=out, accept_degraded=True, progress=publish_in_between)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("summary.json", "{}")]


def test_publishing_again_replaces_a_study_but_nothing_else(finished: Finished, tmp_path: Path) -> None:
    simulated, _, _ = finished
    out = tmp_path / "new" / "out"
    for rows in (5, 7):
        publish(simulated.result, simulated.records.head(rows), simulated.summary, out, KEY)
        assert len(pd.read_parquet(out / "pooled.parquet")) == rows
    (out / "thesis.tex").write_text("do not lose this")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        publish(simulated.result, simulated.records, simulated.summary, out, KEY)
    assert len(pd.read_parquet(out / "pooled.parquet")) == 7
    assert (out / "thesis.tex").exists()


def test_a_file_in_the_way_is_refused(finished: Finished, tmp_path: Path) -> None:
    simulated, _, _ = finished
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        publish(simulated.result, simulated.records, simulated.summary, tmp_path / "out", KEY)


def test_the_same_seed_gives_the_same_records_and_another_one_others(table: pd.DataFrame, schema: Schema) -> None:
    few = table.head(120), schema, ["a"] * 60 + ["b"] * 60
    records = [simulate(*few, replace(TERMS, seed=seed), accept_degraded=True).records for seed in (5, 5, 6)]
    pd.testing.assert_frame_equal(records[0], records[1])
    assert not records[0].equals(records[2])


def test_the_real_noise_source_is_the_default(table: pd.DataFrame, schema: Schema) -> None:
    sites, terms = ["a"] * 60 + ["b"] * 60, replace(TERMS, seed=None)
    simulated = simulate(table.head(120), schema, sites, terms, rows=30, accept_degraded=True)
    assert simulated.summary["noise"] == "opendp"
    assert len(simulated.records) == 30
    receipts = [signed.receipt for site in simulated.result.sites for signed in site.receipts]
    assert all(receipt.private and receipt.warning is None for receipt in receipts)
    assert simulated.summary["seconds"] is None
    assert "warning" not in simulated.summary
    for not_private in ({"figures": Figures(pooled_score=0.8)}, {"seconds": 1.0}):
        with pytest.raises(ValueError, match="public data only"):
            summarise(simulated.result, rows=30, **not_private)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": ["a"] * 49 + ["b"] * 71}, "site 'a' has 49 patients, a site needs at least 50"),
        ({"sites": ["a"] * 119}, "a site for each row of the table, got 119 for another number"),
        ({"sites": ["a/b"] * 120}, "the site column: a value cannot name a site"),
        ({"terms": replace(TERMS, min_sites=3)}, "min_sites"),
        ({"terms": replace(TERMS, overlap=0)}, "no such study is possible"),
        ({"table": pd.DataFrame({"AGE": [1]})}, "SEX"),
        ({"held_out": pd.DataFrame()}, "public data"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_is_written(
    table: pd.DataFrame, schema: Schema, tmp_path: Path, change: Any, message: Any
) -> None:
    given: dict[str, Any] = {"table": table.head(120), "sites": ["a"] * 60 + ["b"] * 60, "terms": TERMS} | change
    with pytest.raises(InputError, match=message) as caught:
        simulate(given.pop("table"), schema, given.pop("sites"), given.pop("terms"), out=tmp_path / "out", **given)
    assert "\n" not in str(caught.value)
    assert "a/b" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_patients_at_more_sites_than_declared_are_refused(table: pd.DataFrame, schema: Schema) -> None:
    """Whoever holds all tables can see it, and must not publish "disjoint"; what is declared rightly passes."""
    keyed = schema.model_copy(update={"patient_key": "patient"})
    twice = table.assign(patient=np.arange(len(table)) % (len(table) - 1))  # the last row is the first patient's
    with pytest.raises(InputError, match="at more sites than declared, which was 'disjoint'; pass --overlap"):
        simulate(twice, keyed, SITES, TERMS)
    for overlap in (2, "unknown"):
        assert simulate(twice, keyed, SITES, replace(TERMS, overlap=overlap)).summary["consortium"]["mu"] > 0
