"""The coordinator is killed between any two steps, and the study goes on from there.

A step is durable or it has not happened: each write of the store is a transaction of its own. So it is enough to
stop before and after each of them; once, the whole process is killed in earnest.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from by_hand import ConsortiumOf

from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.simulation.engines import run
from cohortmix.server.commands.status import State, Status
from cohortmix.server.store import Store
from cohortmix.server.study import Study

SIZES = {"tiny": 60, "wee": 61}
WRITES = ("keep_moment", "keep_request", "keep_reply", "keep_refusal", "keep_common")


class Killed(BaseException):
    """Nothing catches it, and nothing runs after it."""


class Fuse:
    """Goes off at one of the store's writes: before it when `at` is even, after it when `at` is odd."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.passed, self.at = 0, at
        for name in WRITES:
            patch.setattr(Store, name, self._wrapped(getattr(Store, name)))

    def _wrapped(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(store: Store, *arguments: Any) -> Any:
            self._pass()
            result = write(store, *arguments)
            self._pass()
            return result

        return wrapped

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self.at + 1:
            raise Killed


def releases(consortium: Consortium) -> tuple[dict[str, bytes], dict[str, bytes], bytes | None]:
    with Study(consortium.root / "coordinator").store() as store:
        return store.replies(1), store.replies(2), store.common()


def test_killed_at_every_write_the_study_ends_the_same(consortium_of: ConsortiumOf) -> None:
    """The same bytes of every release, no site asked for a second draw, and nothing counted twice."""
    whole = consortium_of(SIZES, folder="whole")
    run(whole, "process")
    expected = releases(whole)
    assert [len(part) for part in expected[:2]] == [2, 0]
    at, killed = 0, True
    while killed:
        consortium = consortium_of(SIZES, folder=f"killed-{at}")
        with pytest.MonkeyPatch.context() as patch:
            fuse = Fuse(patch, at)
            try:
                run(consortium, "process")
                killed = False
            except Killed:
                at += 1
        if killed:
            run(consortium, "process")
            assert releases(consortium) == expected, f"killed at step {at - 1}"
            assert Status.of(Study(consortium.root / "coordinator")).state is State.COMPLETE
    assert at == fuse.passed
    assert at > 2 * (3 + 2 + 2), "three moments, and a request and a reply of each site, at least"


def test_killed_at_every_write_of_one_study_it_still_ends(consortium_of: ConsortiumOf) -> None:
    """One study, killed again and again, each time one step later."""
    consortium = consortium_of(SIZES)
    for at in range(100):
        with pytest.MonkeyPatch.context() as patch:
            Fuse(patch, at)
            try:
                run(consortium, "process")
                break
            except Killed:
                continue
    status = Status.of(Study(consortium.root / "coordinator"))
    assert 0 < at < 99
    assert status.over
    with consortium.coordinator() as coordinator:
        assert [len(site.receipts) for site in coordinator.finish().sites] == [1, 1]


PROGRAM = """
import os, signal, sys
from pathlib import Path
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.simulation.engines import run
from cohortmix.server.store import Store

keep = Store.keep_reply
def kill(store, *arguments):
    kept = keep(store, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
    return kept
Store.keep_reply = kill
run(Consortium(Path(sys.argv[1]), 1), "process")
"""


def test_kill_9_in_the_middle_of_collecting_loses_no_reply(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of(SIZES)
    killed = subprocess.run([sys.executable, "-c", PROGRAM, str(consortium.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    status = Status.of(Study(consortium.root / "coordinator"))
    assert (status.state, status.count(1)) == (State.ROUND_1, (1, 2))
    run(consortium, "process")
    assert Status.of(Study(consortium.root / "coordinator")).over


def test_a_full_disk_stops_the_coordinator_and_not_the_study(consortium_of: ConsortiumOf) -> None:
    """SQLite's own limit of pages stands for the disk."""
    consortium = consortium_of(SIZES)
    with pytest.MonkeyPatch.context() as patch:
        opened = Store.__init__

        def small(store: Store, *arguments: Any) -> None:
            opened(store, *arguments)
            store._journal._database._connection.execute("PRAGMA max_page_count = 8")

        patch.setattr(Store, "__init__", small)
        with pytest.raises(Exception, match="database or disk is full"):
            run(consortium, "process")
    assert not Status.of(Study(consortium.root / "coordinator")).over
    run(consortium, "process")
    assert Status.of(Study(consortium.root / "coordinator")).over


def test_a_store_that_is_read_while_it_is_written_holds_nobody_up(
    consortium_of: ConsortiumOf, tmp_path: Path
) -> None:
    """`study status` beside a run."""
    consortium = consortium_of(SIZES)
    study = Study(consortium.root / "coordinator")
    with study.store() as running:
        running.keep_moment("round 1", 1.0)
        assert Status.of(study).state is State.ROUND_1
        running.keep_moment("complete", 2.0)
        assert Status.of(study).state is State.COMPLETE
