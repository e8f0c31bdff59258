"""The sites of a simulation stay open between their messages, and are closed when it ends."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from by_hand import SMALL, ConsortiumOf
from flwr.app import Context, RecordDict
from flwr.common.constant import PARTITION_ID_KEY

from cohortmix.client.site.site import Site
from cohortmix.deploy.simulation import open_sites
from cohortmix.deploy.simulation.consortium import Consortium, SiteFolder
from cohortmix.deploy.simulation.engines import run
from cohortmix.deploy.simulation.open_sites import OpenSites, connect

Opened = dict[str, Counter[str]]
THREE = {"a": SMALL, "b": SMALL, "c": SMALL}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """How often each site was opened, and closed."""
    counts: Opened = {"opened": Counter(), "closed": Counter()}
    real = SiteFolder.opened

    @contextmanager
    def counted(folder: SiteFolder) -> Iterator[Site]:
        with real(folder) as site:
            counts["opened"][site.name] += 1
            yield site
        counts["closed"][site.name] += 1

    monkeypatch.setattr(SiteFolder, "opened", counted)
    return counts


def node(index: int) -> Context:
    return Context(
        run_id=1, node_id=index, node_config={PARTITION_ID_KEY: index}, state=RecordDict(), run_config={}
    )


@pytest.fixture
def three(consortium_of: ConsortiumOf, opened: Opened) -> Consortium:
    consortium: Consortium = consortium_of(THREE, min_sites=1)
    for counts in opened.values():
        counts.clear()
    return consortium


def test_each_site_is_opened_once_and_closed_when_the_study_ends(three: Consortium, opened: Opened) -> None:
    run(three, "process")
    assert opened["opened"] == opened["closed"] == {"a": 1, "b": 1, "c": 1}
    with three.coordinator() as coordinator:
        assert len(coordinator.finish().sites) == 3


def test_beyond_the_limit_a_site_is_opened_for_each_message(
    three: Consortium, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the study is the same: who it is, and round 1."""
    monkeypatch.setattr(open_sites, "MOST_OPEN", 1)
    run(three, "process")
    assert opened["opened"] == opened["closed"] == {"a": 1, "b": 2, "c": 2}
    with three.coordinator() as coordinator:
        assert len(coordinator.finish().sites) == 3


def test_a_site_that_cannot_be_opened_is_tried_again(three: Consortium, opened: Opened, tmp_path: Path) -> None:
    table = three.site(0).folder / "table.parquet"
    with OpenSites(three) as sites:
        shutil.move(table, tmp_path / "away")
        with pytest.raises(Exception, match=r"table\.parquet"):
            sites.connect(node(0))
        shutil.move(tmp_path / "away", table)
        site = sites.connect(node(0))
        assert sites.connect(node(0)) is site
        assert b'"site":"a"' in site.describe()
        assert opened["opened"] == {"a": 1}
        assert not opened["closed"]
    assert opened["closed"] == {"a": 1}


def test_a_process_of_one_study_keeps_its_sites(three: Consortium, opened: Opened) -> None:
    """As Flower's engine asks for them: by the study's folders alone, which it brings with every message."""
    first = connect(three, node(1))
    assert connect(Consortium(three.root, three.seed), node(1)) is first
    assert opened["opened"] == {"b": 1}
    open_sites._of_process(three).__exit__(None, None, None)
    open_sites._of_process.cache_clear()
