"""`simulate` and `verify`: a whole study from one table, and receipts that anyone can check."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cohortmix.deploy.cli import app
from cohortmix.protocol.messages import Code
from cohortmix.server.coordinator import TooFewSites
from cohortmix.server.store import RefusalEntry

SCHEMA = """
name: toy
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [alive, dead]}
"""


def cohort(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, rows).round(3)
    y = np.where(x + rng.normal(0, 1, rows) > 5, "dead", "alive")
    wards = np.repeat(["A", "B"], [rows // 4, rows - rows // 4])
    return pd.DataFrame({"id": range(rows), "x": x, "sex": rng.choice(["F", "M"], rows), "y": y, "ward": wards})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cohort().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "s.yaml").write_text(SCHEMA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two wards with public data."""
    root = tmp_path_factory.mktemp("published")
    cohort().to_csv(root / "t.csv", index=False)
    (root / "s.yaml").write_text(SCHEMA)
    files = ("--data", str(root / "t.csv"), "--schema", str(root / "s.yaml"), "--out", str(root / "study"))
    options = ("--epsilon", "0.1", "--site-column", "ward", "--public-data", "--overlap", "2", "--seed", "1")
    out, err = run("simulate", *files, *options)
    (root / "out.txt").write_text(out)
    (root / "err.txt").write_text(err)
    return root / "study"


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def refused(*arguments: str, status: int = 2) -> str:
    """The one sentence of a command that fails and writes nothing."""
    before = sorted(Path().rglob("*"))
    out, err = run(*arguments, status=status)
    sentence = [line for line in err.splitlines() if line.startswith("cohortmix: ")]
    assert (len(sentence), out) == (1, ""), err
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return sentence[0]


def report(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


SIMULATE = ("simulate", "--data", "t.csv", "--schema", "s.yaml", "--epsilon", "0.1", "--out", "out", "--seed", "1")


def test_a_public_study_holds_records_out_and_fills_every_figure(published: Path) -> None:
    summary = report(published / "summary.json")
    assert [(site["name"], site["n"]) for site in summary["sites"]] == [("A", 75), ("B", 225)]
    assert all(site["own_auc"] > 0.8 for site in summary["sites"])
    assert 0 <= summary["pooled"]["auc"] <= 1
    assert summary["ceiling_auc"] > 0.9
    assert summary["study"]["overlap"] == 2
    assert summary["consortium"]["mu"] == pytest.approx(2**0.5 * summary["sites"][0]["mu"])
    out = published.with_name("out.txt").read_text()
    assert out.startswith("NOT PRIVATE: test noise")
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["A"][:2] == ["A", "75"]
    assert rows["pooled real (ceiling)"][-1] == f"{summary['ceiling_auc']:.3f}"
    assert "round 1: 2 of 2" in published.with_name("err.txt").read_text().splitlines()


def test_without_public_data_no_figure_on_records_is_computed(folder: Path) -> None:
    out, _ = run(*SIMULATE, "--sites", "2")
    summary = report(folder / "out/summary.json")
    assert [site["own_auc"] for site in summary["sites"]] == [None, None]
    assert (summary["pooled"]["auc"], summary["ceiling_auc"]) == (None, None)
    assert sum(site["n"] for site in summary["sites"]) == 400
    assert "ceiling" not in out


def test_the_running_time_is_published_of_public_data_only(folder: Path, published: Path) -> None:
    """It grows with the number of rows, and only the number of patients is public."""
    assert report(published / "summary.json")["seconds"] > 0
    assert "seconds" in (published / "report.html").read_text("utf-8")
    run(*SIMULATE, "--sites", "2")
    assert report(folder / "out/summary.json")["seconds"] is None
    assert "seconds" not in (folder / "out/report.html").read_text("utf-8")
    run("synthesize", *SIMULATE[1:7], "--out", "one", "--seed", "1")
    assert report(folder / "one/summary.json")["seconds"] is None


@pytest.mark.parametrize(
    ("options", "loose"), [(("--delta", "0.003", "--loose-delta"), True), (("--delta", "0.0001"), False)]
)
def test_test_noise_and_a_loose_delta_are_said_in_every_output(
    folder: Path, options: tuple[str, ...], loose: bool
) -> None:
    out, _ = run(*SIMULATE, "--sites", "2", *options)
    summary, checked = report(folder / "out/summary.json"), run("verify", "out")[0]
    parquet = [
        pq.read_schema(folder / "out" / name).metadata[b"cohortmix"].decode()
        for name in ("pooled.parquet", "centroids.parquet")
    ]
    for said in (summary["warning"], out, checked, (folder / "out/report.html").read_text("utf-8"), *parquet):
        assert "NOT PRIVATE: test noise" in said
        assert ("loose delta: above 1/(10 N)" in said) == loose


def test_rows_of_nobody_and_a_skew_work(folder: Path) -> None:
    cohort().assign(id=[*range(390), *[None] * 10]).to_csv("t.csv", index=False)
    run(*SIMULATE, "--sites", "2", "--skew", "5")
    assert sum(site["n"] for site in report(folder / "out/summary.json")["sites"]) == 390


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give either --site-column or --sites"),
        (("--sites", "2", "--site-column", "ward"), "give either --site-column or --sites"),
        (("--site-column", "ward", "--skew", "1"), "--skew needs --sites"),
        (("--sites", "2", "--skew", "0"), "a skew is a finite number above zero; got 0"),
        (("--sites", "2", "--test-fraction", "0.2"), "--test-fraction needs --public-data"),
        (("--sites", "2", "--public-data", "--test-fraction", "1"), "lies between 0 and 1; got 1"),
        (("--sites", "2", "--overlap", "some"), "expected --overlap disjoint, unknown, or a whole number"),
        (("--sites", "2", "--overlap", "0"), "expected --overlap disjoint, unknown, or a whole number"),
        (("--sites", "2", "--delta", "0.01"), "delta must be at most 1/(10 N) = 0.0005 for N = 200 patients"),
        (("--sites", "2", "--epsilon", "0"), "epsilon above zero"),
        (("--site-column", "bed"), "missing column 'bed'"),
        (("--sites", "9"), "patients, a site needs at least 50"),
        (("--sites", "2", "--out", "t.csv"), "'t.csv"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_gets_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*SIMULATE, *options)


@pytest.mark.usefixtures("folder")
def test_a_record_without_a_site_is_named_by_its_column() -> None:
    cohort().assign(ward=["NA", *["A"] * 399]).to_csv("t.csv", index=False)
    assert "column 'ward': a record has no site" in refused(*SIMULATE, "--site-column", "ward")


@pytest.mark.usefixtures("folder")
def test_a_value_that_cannot_name_a_site_is_not_repeated() -> None:
    cohort().assign(ward=["Jane Doe; HIV+", *["A"] * 399]).to_csv("t.csv", index=False)
    sentence = refused(*SIMULATE, "--site-column", "ward")
    assert "the site column: a value cannot name a site; use at most 64 letters" in sentence
    assert not any(part in sentence for part in ("Jane", "Doe", "HIV"))


@pytest.mark.parametrize(
    ("codes", "status"),
    [(("OVER_BUDGET", "UNAVAILABLE"), 3), (("NOT_APPROVED",), 3), (("UNAVAILABLE",), 4), ((), 4)],
)
@pytest.mark.usefixtures("folder")
def test_a_study_that_stops_tells_refusal_from_silence(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[str, ...], status: int
) -> None:
    refusals = tuple(RefusalEntry("A", 1, Code(code), "A sentence of the site.") for code in codes)

    def stop(*_: object, **__: object) -> None:
        raise TooFewSites(0, SimpleNamespace(sites=(1, 2), min_sites=2), refusals)  # type: ignore[arg-type]

    monkeypatch.setattr("cohortmix.deploy.simulation.simulate", stop)
    sentence = refused(*SIMULATE, "--sites", "2", status=status)
    assert "0 of 2 sites answered round 1" in sentence
    assert ("A sentence of the site." in sentence) == (status == 3)


def test_receipts_of_a_study_hold(published: Path) -> None:
    out, _ = run("verify", str(published))
    summary = report(published / "summary.json")
    assert out.startswith("NOT PRIVATE: test noise")
    assert f"one patient mu {summary['consortium']['mu']:.4g} (overlap: 2)" in out
    assert report(published / "study.json")["study"]["coordinator_key"] in out
    rows = [line.split() for line in out.splitlines()[2:4]]
    assert [(row[0], row[1]) for row in rows] == [("A", "75"), ("B", "225")]


def test_what_is_signed_and_what_is_not_is_said(published: Path, tmp_path: Path) -> None:
    whole = run("verify", str(published))[0]
    files = sum(path.is_file() for path in published.rglob("*")) - 1
    assert f"manifest: {files} files are as the coordinator signed them: centroids.parquet, pooled.par" in whole
    one, *_ = sorted((published / "receipts").iterdir())
    without = shutil.copytree(published, tmp_path / "study")
    (without / "manifest.json").unlink()
    for path in (one, without):
        assert "no manifest was checked: nobody vouches for the synthetic records" in run("verify", str(path))[0]


def test_single_receipts_and_a_study_given_twice_hold(published: Path) -> None:
    one, *_ = sorted((published / "receipts").iterdir())
    out, _ = run("verify", str(one))
    assert len(out.splitlines()) == 6
    twice, _ = run("verify", str(published), str(published / "receipts"))
    assert twice == run("verify", str(published))[0]


def changed(path: Path, change: Callable[[Any], object]) -> None:
    content = report(path)
    change(content)
    path.write_text(json.dumps(content))


def less(content: dict[str, Any]) -> None:
    content["receipt"]["epsilon"] = "0.01"


def others_key(content: dict[str, Any]) -> None:
    key = content["study"]["sites"][0]["key"]
    content["study"]["sites"][0]["key"] = content["study"]["sites"][1]["key"]
    content["study"]["sites"][1]["key"] = key


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a receipt that claims less": (
        lambda at: changed(at / "receipts/A-1.json", less),
        "the signature is not by key",
    ),
    "a signature of another": (
        lambda at: changed(at / "receipts/A-1.json", lambda one: one.update(signature="00" * 64)),
        "the signature is not by key",
    ),
    "a receipt of another site": (
        lambda at: shutil.copy(at / "receipts/B-1.json", at / "receipts/A-1.json"),
        "sites: the summary says ['A', 'B'], study and receipts say ['B']",
    ),
    "a study with swapped keys": (
        lambda at: changed(at / "study.json", others_key),
        "the signature is not by key",
    ),
    "a receipt that was left out": (
        lambda at: (at / "receipts/A-1.json").unlink(),
        "study and receipts say ['B']",
    ),
    "a summary of another study": (
        lambda at: changed(at / "summary.json", lambda one: one["study"].update(hash="0" * 64)),
        "hash of study: the summary says '000",
    ),
    "a summary without its warning": (
        lambda at: changed(at / "summary.json", lambda one: one.pop("warning")),
        "warning: the summary says None, study and receipts say 'NOT PRIVATE: test noise'",
    ),
    "a summary that names a site twice": (
        lambda at: changed(at / "summary.json", lambda one: one["sites"].append(one["sites"][0])),
        "sites: the summary says ['A', 'A', 'B']",
    ),
    "a summary of real noise": (
        lambda at: changed(at / "summary.json", lambda one: one.update(noise="opendp")),
        "noise: the summary says 'opendp', study and receipts say 'TEST'",
    ),
    "no summary at all": (lambda at: (at / "summary.json").write_text("{}"), "is not the summary of a study"),
    "no receipts": (lambda at: shutil.rmtree(at / "receipts"), "holds no receipts/*.json"),
    "no study": (lambda at: (at / "study.json").unlink(), "no study.json beside"),
    "no JSON": (lambda at: (at / "receipts/A-1.json").write_text("?"), "cannot be read as a receipt"),
}


TAMPERED |= {
    f"{name} {became}": (change, f"'{name}' {became} after the coordinator signed the manifest")
    for name, became, change in (
        ("pooled.parquet", "was altered", lambda at: (at / "pooled.parquet").write_bytes(b"!")),
        ("report.html", "is missing", lambda at: (at / "report.html").unlink()),
        ("more.csv", "was added", lambda at: (at / "more.csv").touch()),
    )
}
TAMPERED |= {
    "a manifest of another's": (
        lambda at: changed(at / "manifest.json", lambda one: one.update(signature="00" * 64)),
        "the signature is not by key",
    ),
    "a manifest that lists less": (
        lambda at: changed(at / "manifest.json", lambda one: one["manifest"]["files"].popitem()),
        "the signature is not by key",
    ),
    "no manifest but a text": (lambda at: (at / "manifest.json").write_text("{}"), "cannot be read as a manifest"),
}


def falsified(part: str, key: str, value: object) -> tuple[Callable[[Path], object], str]:
    def change(summary: dict[str, Any]) -> None:
        (summary["sites"][0] if part == "site 'A'" else summary[part])[key] = value

    return lambda at: changed(at / "summary.json", change), f"{key} of {part}: the summary says {value!r}, study"


TAMPERED |= {
    f"a false {key} of {part}": falsified(part, key, value)
    for part, key, value in (
        ("site 'A'", "n", 76),
        ("site 'A'", "mu", 0.001),
        ("site 'A'", "epsilon", 0.05),
        ("site 'A'", "delta", 1e-7),
        ("consortium", "mu", 0.001),
        ("consortium", "epsilon", 0.05),
        ("consortium", "delta", 1e-7),
        ("consortium", "mu_worst", float("nan")),
        ("study", "overlap", "disjoint"),
        ("study", "target", "x"),
    )
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_does_not_hold_is_named(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published, "study")
    tamper, sentence = TAMPERED[what]
    tamper(Path("study"))
    assert sentence in refused("verify", "study")


def test_a_ledger_that_was_set_back_shows_in_two_studies_of_one_site(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a seed the sites' keys repeat, and each run starts from an empty ledger: one past, two histories."""
    monkeypatch.chdir(tmp_path)
    cohort().to_csv("t.csv", index=False)
    Path("s.yaml").write_text(SCHEMA)
    run(*SIMULATE, "--site-column", "ward", "--epsilon", "0.2")
    run("verify", "out")
    assert "fork: 2 receipts follow 000000000000" in refused("verify", "out", str(published))


def test_what_cannot_be_found_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no file or folder 'nothing'" in refused("verify", "nothing")
    assert "Missing argument 'DIR|RECEIPT...'" in refused("verify")
