"""The documentation tried out: commands and Python as the pages show them, on the patients of a public trial."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from commands import run
from pages import blocks, keys_of_table, page, section, shown_commands

from cohortmix.client.local.output import FILES as RELEASE_FILES
from cohortmix.core.data.schema import Schema
from cohortmix.core.release.condense import models
from cohortmix.deploy.tour import DATA
from cohortmix.server.publish.publish import FILES as STUDY_FILES

COLUMNS = ("AGE", "RSBP", "STYPE", "outcome")
HOSPITALS = {"NORWAY": "NORW", "POLAND": "POLA", "ITALY": "ITAL", "SPAIN": "SWIT", "FRANCE": "NETH"}
"""The names in docs/consortium.md, and the network of the trial that stands for each."""
PATIENTS = {"NORW": 100, "POLA": 100, "SWIT": 300}
"""Of the networks in the simulated study: the last one has room for a mixture, and so do two halves of all."""


@pytest.fixture(scope="module")
def trial() -> pd.DataFrame:
    table = pd.read_parquet(DATA / "stroke.parquet", columns=[*COLUMNS, "network"])
    return table.rename(columns={"network": "hospital"})


def some(trial: pd.DataFrame, network: str, patients: int) -> pd.DataFrame:
    """The first patients of a network."""
    return trial[trial["hospital"] == network].head(patients)


@pytest.fixture(scope="module")
def dictionary() -> str:
    whole = Schema.from_yaml((DATA / "schema.yaml").read_text("utf-8"))
    return whole.model_copy(update={"columns": {name: whole.columns[name] for name in COLUMNS}}).to_yaml()


@pytest.fixture(scope="module")
def folder(
    trial: pd.DataFrame, dictionary: str, tmp_path_factory: pytest.TempPathFactory, few_steps: None
) -> Iterator[Path]:
    """Where the reader of a page is: with patients.parquet, schema.yaml, and what earlier commands have left."""
    path = tmp_path_factory.mktemp("reader")
    pd.concat([some(trial, name, n) for name, n in PATIENTS.items()]).to_parquet(
        path / "patients.parquet", index=False
    )
    (path / "schema.yaml").write_text(dictionary, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


def follow(path: str, *begin: str) -> list[str]:
    """Run the commands of a page that begin with these words, and give what each has printed."""
    chosen = [words for words in shown_commands(page(path)) if words[: len(begin)] == list(begin)]
    assert chosen
    return [run(*words)[0] for words in chosen]


def flat(content: Mapping[str, Any]) -> set[str]:
    """The keys of a JSON object and of the objects in it."""
    found = set(content)
    for value in content.values():
        for inside in value if isinstance(value, list) else [value]:
            found |= set(inside) if isinstance(inside, dict) else set()
    return found


# --- one table


@pytest.fixture(scope="module")
def release(folder: Path) -> Path:
    follow("docs/synthesize.md", "synthesize")
    return folder / "release"


def test_the_first_command_prints_a_draft(folder: Path) -> None:
    (draft,) = follow("docs/synthesize.md", "schema", "draft")
    assert set(yaml.safe_load(draft)["columns"]) == {*COLUMNS, "hospital"}
    assert "confirmed: false" in draft


def test_a_release_has_the_files_that_the_page_lists(release: Path) -> None:
    listed = set(keys_of_table(section(page("docs/synthesize.md"), "## The release")))
    assert listed == RELEASE_FILES == {file.name for file in release.iterdir()}


def test_every_key_of_a_receipt_is_described(release: Path) -> None:
    part = section(page("docs/outputs.md"), "### `receipt.json`")
    receipt = json.loads((release / "receipt.json").read_text())
    assert set(keys_of_table(part)) == {*receipt, "warning"}
    (row,) = re.findall(r"^\| `statements` \|.*$", part, re.MULTILINE)
    for statement in receipt["statements"]:
        assert set(re.findall(r"`(\w+)`", row)) == {"statements", *statement}


def test_the_columns_of_the_condensed_set_are_described(release: Path) -> None:
    part = section(page("docs/outputs.md"), "## The condensed set")
    centroids = pd.read_parquet(release / "centroids.parquet")
    plain = [name for name in centroids.columns if ":" not in name]
    assert {name for name in keys_of_table(part) if ":" not in name} == {"site", *plain}
    assert centroids["mass"].isna().equals(centroids["kind"] == "support")
    (row,) = re.findall(r"^\| `kind` \|.*$", part, re.MULTILINE)
    assert set(centroids["kind"]) < set(re.findall(r"`(\w+)`", row))


def test_a_release_is_evaluated(release: Path, folder: Path) -> None:
    first, second = follow("docs/synthesize.md", "evaluate")
    for said in ("AUC real", "NOT PRIVATE", "worst first"):
        assert said in first
    assert "STYPE=TACS|PACS" in second
    assert json.loads((folder / "figures.json").read_text())["private"] is False


def test_a_release_is_condensed(release: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every key of what is said of the rows is described."""
    monkeypatch.setitem(models.MODELS, "tree", replace(models.MODELS["tree"], evaluations=20))
    (out,) = follow("docs/synthesize.md", "condense")
    assert "20 evaluations" in out
    facts = json.loads((folder / "condensed" / "condensed.json").read_text())
    part = section(page("docs/outputs.md"), "## Condensed rows")
    described = {
        name for key in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for name in re.findall(r"`(\w+)`", key)
    }
    assert described == {*facts, "warning"}
    (row,) = re.findall(r"^\| `release` \|.*$", part, re.MULTILINE)
    assert {*facts["release"], "release", "study"} == set(re.findall(r"`(\w+)`", row))


# --- a simulated study


@pytest.fixture(scope="module")
def simulated(folder: Path) -> dict[str, Path]:
    """The folders that the page's commands write, by name."""
    follow("docs/simulate.md", "simulate")
    return {name: folder / name for name in ("study", "two-sites", "public")}


def test_a_study_has_the_files_that_the_page_lists(simulated: Mapping[str, Path]) -> None:
    listed = keys_of_table(section(page("docs/outputs.md"), "## A published study").split("###")[0])
    assert {name.split("/")[0] for name in listed} == STUDY_FILES
    for study in simulated.values():
        assert {file.name for file in study.iterdir()} == STUDY_FILES


def test_every_key_of_a_summary_is_described(simulated: Mapping[str, Path]) -> None:
    part = section(page("docs/outputs.md"), "### `summary.json`")
    summaries = {name: json.loads((path / "summary.json").read_text()) for name, path in simulated.items()}
    for summary in summaries.values():
        assert set(keys_of_table(part)) == {*summary, "warning"}
        words = set(re.findall(r"\w+", part + section(page("docs/outputs.md"), "### `lost`")))
        assert flat(summary) - {"estimate", "low", "high"} <= words
    figures = [(one["pooled"]["score"], one["ceiling_score"], one["seconds"]) for one in summaries.values()]
    assert figures[:2] == [(None, None, None)] * 2
    assert all(figures[2])


def test_every_key_of_a_signed_receipt_is_described(simulated: Mapping[str, Path]) -> None:
    keys = keys_of_table(section(page("docs/outputs.md"), "### `receipt.json`"))
    more = re.findall(r"`(\w+)`", section(page("docs/outputs.md"), "## Receipts of a study"))
    signed = json.loads((simulated["study"] / "receipts/NORW-1.json").read_text())
    only_unsigned = {"mu", "loose_delta", "variant", "degraded_to_class_centroids"}
    assert {*signed["receipt"], "signature"} == {*keys, *more} - only_unsigned - {"receipts"}
    assert signed["receipt"]["warning"] is None


def test_a_study_is_verified(simulated: Mapping[str, Path], folder: Path) -> None:
    shutil.copytree(simulated["two-sites"], folder / "another-study")
    (said,) = follow("docs/simulate.md", "verify")
    assert "every receipt holds" in said
    for said in follow("docs/outputs.md", "verify"):
        assert "signed by the coordinator" in said.splitlines()[-1]


# --- Python


def test_the_python_of_the_page_runs(simulated: Mapping[str, Path]) -> None:
    names: dict[str, Any] = {}
    first, second, *others = blocks(page("docs/python.md"), "python")
    exec(compile(first, "docs/python.md", "exec"), names)
    release = names["release"]
    for block in (second, *others):
        exec(compile(block.replace("10_000", "100"), "docs/python.md", "exec"), names)
        if block is second:
            assert len(names["records"]) == 100
            assert release.support.predict_proba(names["records"]).shape == (100, len(names["schema"].classes))
    assert list(names["records"].columns) == [*COLUMNS, "site"]


def test_the_three_lines_of_the_readme_run(trial: pd.DataFrame, dictionary: str, few_steps: None) -> None:
    (block,) = blocks(page("README.md"), "python")
    names: dict[str, Any] = {"table": some(trial, "SWIT", PATIENTS["SWIT"]), "text": dictionary}
    exec(compile(block.replace("10_000", "50"), "README.md", "exec"), names)
    assert len(names["records"]) == 50
    assert names["release"].receipt["noise"] == "opendp"


# --- a study of hospitals


@pytest.fixture(scope="module")
def consortium(trial: pd.DataFrame, dictionary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The coordinator's folder of docs/consortium.md, with five hospitals, each set up as docs/steward.md says."""
    root = tmp_path_factory.mktemp("consortium")
    with pytest.MonkeyPatch.context() as patch:
        for name, network in HOSPITALS.items():
            home = root / name
            home.mkdir()
            trial[trial["hospital"] == network].drop(columns="hospital").to_parquet(home / "patients.parquet")
            (home / "schema.yaml").write_text(dictionary, encoding="utf-8")
            patch.chdir(home)
            for words in shown_commands(section(page("docs/steward.md"), "## Set up once")):
                run(*[name if word == "NORWAY" else word for word in words])
            shutil.copy(home / "norway/state/description.json", root / f"{name}.json")
        (root / "schema.yaml").write_text(dictionary, encoding="utf-8")
        text, joint = blocks(page("docs/consortium.md"), "yaml")
        tomorrow = date.today() + timedelta(days=1)
        (root / "study.yaml").write_text(re.sub(r"(?<=expires: )\S+", str(tomorrow), text), encoding="utf-8")
        (root / "joint.yaml").write_text(joint, encoding="utf-8")
        patch.chdir(root)
        drafted, signed = follow("docs/consortium.md", "study", "new") + follow(
            "docs/consortium.md", "study", "sign"
        )
        (root / "said").write_text(drafted + signed, encoding="utf-8")
        yield root


def test_a_study_is_drafted_and_signed(consortium: Path) -> None:
    said = (consortium / "said").read_text()
    assert "5 sites" in said
    assert "coordinator's key, for the sites to enrol" in said
    assert "send stroke-2026/signed.json to the stewards" in said
    (status,) = follow("docs/consortium.md", "study", "status")
    assert "signed; no site has been asked" in status


def test_a_joint_study_is_drafted_and_its_sites_are_enrolled(
    consortium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A steward has to enrol all other hospitals but one before the study of the page can be approved."""
    monkeypatch.chdir(consortium)
    drafted, _ = run(*["study", "new", "joint.yaml", "--key", "coordinator.key", "--out", "joint"])
    assert "only sums of at least 4 sites can be read, and up to 1 site may conspire" in drafted
    run(*["study", "sign", "joint", "--key", "coordinator.key"])
    home = consortium / "NORWAY/norway"
    study = json.loads((consortium / "joint/signed.json").read_text())["study"]
    configure(home, coordinators=[study["coordinator_key"]])
    monkeypatch.chdir(home)
    shutil.copy(consortium / "joint/signed.json", home / "joint.json")
    others = [consortium / f"{name}.json" for name in HOSPITALS if name != "NORWAY"]
    approve = ["site", "approve", "joint.json", "--max-mu", "0.3"]
    assert run("site", "enrol", str(others[0]))[0].startswith("enrolled: POLAND, key ")
    _, refused = run(*approve, status=3)
    assert "3 hospitals are not enrolled here" in refused
    run("site", "enrol", *map(str, others[1:3]))
    shown, _ = run("site", "quote", "joint.json")
    assert "unless more than 1 of these hospitals conspire" in " ".join(shown.replace("│", " ").split())
    assert "not enrolled here, so each counts as one of the 1 that may conspire: FRANCE" in shown
    assert "approved: stroke-2026-joint" in run(*approve)[0]


@pytest.fixture
def norway(consortium: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a steward who has got the study and enrolled its coordinator."""
    home = consortium / "NORWAY/norway"
    monkeypatch.chdir(home)
    shutil.copy(consortium / "stroke-2026/signed.json", home)
    key = json.loads((home / "signed.json").read_text())["study"]["coordinator_key"]
    configure(home, coordinators=[key])
    return home


def configure(home: Path, **settings: object) -> None:
    """Change settings of a site.yaml, as a person does with an editor."""
    file = home / "site.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings), encoding="utf-8")


def test_a_steward_reads_approves_previews_and_revokes(norway: Path) -> None:
    part = section(page("docs/steward.md"), "## A study arrives")
    quote, approved = (run(*words)[0] for words in shown_commands(part))
    for said in ("cost", "attack", "overlap", "trust", "release", "either way", "ledger", "noise"):
        assert f"│ {said}" in quote
    assert "approved: stroke-2026" in approved
    told = dict.fromkeys(keys_of_table(part))
    site = {command.removeprefix("cohortmix site "): command.split()[1:] for command in told}
    assert "This is what will leave" in run(*site["preview signed.json"])[0]
    assert "spent mu 0." in run(*site["ledger"])[0]
    configure(norway, cap_mu="0.6")
    assert "of 0.600" in run(*site["ledger --raise-cap 0.6"])[0]
    assert "revoked" in run(*site["revoke signed.json"])[0]
    assert "next: stop the daemon" in run(*site["ledger --new-key FILE"])[0]
