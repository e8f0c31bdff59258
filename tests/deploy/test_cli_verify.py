"""`cohortmix verify`: receipts that hold, and what is said of those that do not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import refused, report, run
from studies import SCHEMA, SIMULATE, cohort


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
