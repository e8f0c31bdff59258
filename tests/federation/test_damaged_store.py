"""A study's store whose bytes were damaged is refused in one sentence, or gives the very result that it held."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import DAMAGES, Files, campaign

from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.local.keyfile import read_key
from cohortmix.protocol.messages import SignedRelease, decode, encode
from cohortmix.protocol.signing import Key
from cohortmix.server.commands.status import Status, spent
from cohortmix.server.kept import freeze
from cohortmix.server.result import StudyResult
from cohortmix.server.store import Publication, RefusalEntry
from cohortmix.server.study import Study

pytestmark = pytest.mark.usefixtures("few_steps")
SIZES = {"ITAL": 300, "tiny": 60, "wee": 61}


@dataclass
class Truth:
    """A study's folder at its end, and what it publishes."""

    folder: Path
    key: Key
    result: str = ""
    before: list[Path] = field(default_factory=list)

    def copy(self, name: str) -> Path:
        """The files as they are now, without those that no damage is done to."""
        ignored = shutil.ignore_patterns("key", "schema.yaml")
        return Path(shutil.copytree(self.folder, self.folder.with_name(name), ignore=ignored))

    @property
    def copies(self) -> list[Files]:
        """Closed, and open with the write-ahead log."""
        return [Files(self.folder.with_name(name), self.before) for name in ("open", "closed")]


def digest(result: StudyResult) -> str:
    """All that is published follows from this."""

    def of(array: Any) -> str:
        return np.ascontiguousarray(array).tobytes().hex()

    margins, parts = result.common.margins, []
    for site in result.sites:
        given = result.centroids[site.entry.name]
        arrays = (given.masses, given.means, given.labels, given.support_points, given.support_labels)
        parts.append([*map(of, arrays), list(given.kind)])
        parts.append([signed.receipt.hash for signed in site.receipts])
    return sha256([parts, [list(group) for group in result.common.groups], of(margins.cells), of(margins.masses)])


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory, schema: Any, patients: Any) -> Truth:
    """Two rounds of three sites, of which one has room for a mixture; copies from each step on the way."""
    root = tmp_path_factory.mktemp("truth") / "consortium"
    tables = {name: TableSource(patients(size, seed))._table for seed, (name, size) in enumerate(SIZES.items())}
    consortium = Consortium.create(root, tables, schema, Terms(budget=Budget.from_mu(0.4), seed=1, min_sites=1))
    here = Truth(root / "coordinator", consortium.key)
    with consortium.coordinator() as coordinator:
        store = coordinator._store
        coordinator.begin(1.0)
        for round in (1, 2):
            for at, entry in enumerate(coordinator.spec.sites):
                if (request := coordinator.requests().get(entry.name)) is not None:
                    coordinator.accept(entry.name, consortium.site(at).answer(request))
                    here.before.append(here.copy(f"round {round}, {entry.name}"))
            if round == 1:
                store.keep_refusal(RefusalEntry("tiny", 1, "NOT_APPROVED", "not yet"))
                coordinator.freeze()
                here.before.append(here.copy("frozen"))
        assert [len(site.receipts) for site in coordinator.finish().sites] == [2, 1, 1]
        coordinator.complete(2.0)
        store.keep_publication(Publication(store.receipts(), "out"))
        here.result = digest(coordinator.finish())
        here.copy("open")
    here.copy("closed")
    return here


def survived(truth: Truth) -> Callable[[Path, Callable[[], None]], str]:
    """Publishes from a copy that was damaged: the result, or one sentence."""

    def used(folder: Path, strike: Callable[[], None]) -> str:
        strike()
        for name in ("schema.yaml", "key"):
            shutil.copy(truth.folder / name, folder)
        study = Study(folder)
        with study.coordinator(read_key(folder / "key")) as coordinator:
            assert digest(coordinator.finish()) == truth.result, "another result is published"
            assert coordinator.requests() == {}, "a site is asked again"
        status = Status.of(study)
        assert (status.state, status.published, status.over) == ("published", "out", True)
        assert set(spent(study)) == set(SIZES)
        return "harmless"

    return used


def test_a_damaged_store_publishes_nothing_else(truth: Truth, tmp_path: Path) -> None:
    """Bits, ranges, pages and whole files of store, write-ahead log, mark and signed study."""
    most = max(100, DAMAGES // 3)
    assert {name for files in truth.copies for name in files.names} >= {"study.db", "study.db-wal", "study.mark"}
    outcomes = campaign(truth.copies, tmp_path, survived(truth), InputError, most, seed=8)
    print(most, dict(outcomes))
    assert outcomes["refused"] > most // 10
    assert outcomes["harmless"] > most // 50


def test_an_undamaged_store_publishes_what_it_did(truth: Truth, tmp_path: Path) -> None:
    for number, files in enumerate(truth.copies):
        (tmp_path / str(number)).mkdir()
        files.put(tmp_path / str(number))
        assert survived(truth)(tmp_path / str(number), lambda: None) == "harmless"


# --- content that somebody put there, with a chain and a mark that hold


def rewritten(truth: Truth, folder: Path, change: Callable[[str, str, bytes], bytes]) -> Study:
    """The study with the content of its steps changed, in a store that was written anew from the beginning."""
    truth.copies[1].put(folder)
    for name in ("schema.yaml", "key"):
        shutil.copy(truth.folder / name, folder)
    reader = sqlite3.connect(folder / "study.db")
    rows = reader.execute("SELECT kind, study, id, part, content FROM steps ORDER BY number").fetchall()
    reader.close()
    for file in folder.glob("study.[dm]*"):
        file.unlink()
    study = Study(folder)
    with study.store() as store:
        for kind, about, id, part, content in rows[1:]:
            with store._journal.transaction():
                store._journal.append(kind, about, id, part, change(kind, id, content))
    return study


def published(study: Study) -> str:
    with study.coordinator(read_key(study.folder / "key")) as coordinator:
        return digest(coordinator.finish())


def test_a_store_that_is_written_anew_with_the_same_content_is_good(truth: Truth, tmp_path: Path) -> None:
    assert published(rewritten(truth, tmp_path, lambda kind, id, content: content)) == truth.result


def other_numbers(reply: bytes, receipt: bool) -> bytes:
    """The release with its first number changed, and its receipt with it; the signature is the old one."""
    signed = decode(reply)
    assert isinstance(signed, SignedRelease)
    answer = signed.release.answer  # type: ignore[union-attr]
    values = answer.values.numpy().copy()
    values[0] += 1
    array = answer.values.model_copy(update={"data": type(answer.values).of(values).data})
    release = signed.release.model_copy(update={"answer": answer.model_copy(update={"values": array})})
    changes: dict[str, Any] = {"release": release}
    if receipt:
        changes["receipt"] = signed.receipt.model_copy(update={"release_hash": release.hash})
    return encode(signed.model_copy(update=changes))


@pytest.mark.parametrize(
    ("receipt", "sentence"),
    [(False, "is not the one of its receipt"), (True, "does not hold: .*the signature is not by")],
)
def test_a_release_counts_by_its_sites_signature(
    receipt: bool, sentence: str, truth: Truth, tmp_path: Path
) -> None:
    def change(kind: str, id: str, content: bytes) -> bytes:
        mine = (kind, id) == ("reply 1", "tiny")
        return content[:64] + other_numbers(content[64:], receipt) if mine else content

    with pytest.raises(InputError, match=rf"the study's store holds a release of 'tiny' .*{sentence}"):
        published(rewritten(truth, tmp_path, change))


def test_a_release_counts_for_its_own_site_and_round(truth: Truth, tmp_path: Path) -> None:
    """Two good releases that change places."""
    reader = sqlite3.connect(truth.folder / "study.db")
    replies = dict(reader.execute("SELECT id, content FROM steps WHERE kind = 'reply 1'"))
    reader.close()
    swap = {"tiny": replies["wee"], "wee": replies["tiny"]}

    def change(kind: str, id: str, content: bytes) -> bytes:
        return swap.get(id, content) if kind == "reply 1" else content

    with pytest.raises(InputError, match="holds a release of another request in the place of 'tiny' in round 1"):
        published(rewritten(truth, tmp_path, change))


@pytest.mark.parametrize("signer", ["somebody", "the coordinator, of another study"])
def test_common_facts_count_by_the_coordinators_signature(signer: str, truth: Truth, tmp_path: Path) -> None:
    study = Study(truth.folder)
    with study.coordinator(truth.key) as coordinator:
        common, spec = coordinator._kept.common(), coordinator.spec
    assert common is not None
    other = spec.model_copy(update={"name": "another"}) if signer != "somebody" else spec
    forged = freeze(common, other, truth.key if signer != "somebody" else Key.generate())

    def change(kind: str, id: str, content: bytes) -> bytes:
        return forged if kind == "common" else content

    with pytest.raises(InputError, match=r"common facts (which the coordinator has not signed|of another study)"):
        published(rewritten(truth, tmp_path, change))
