"""What `study run` says while it waits: at first, at each change, and now and then, by name."""

from __future__ import annotations

import pytest
from by_hand import ConsortiumOf

from cohortmix.deploy.meeting.presence import AGAIN_SECONDS, FIRST_SECONDS, Presence
from cohortmix.protocol.messages import Code
from cohortmix.server.store import RefusalEntry
from cohortmix.server.study import Study

SITES = {"NORW": 60, "ITAL": 61, "UK": 62}


class Screen:
    """A presence with a clock that a test turns, and what it has said."""

    def __init__(self, study: Study) -> None:
        self.seconds = 0.0
        self.lines: list[str] = []
        self.presence = Presence(study, self.lines.append, lambda: self.seconds)

    def said(self, *connected: str, nameless: int = 0) -> list[str]:
        """What this look brings to the screen."""
        before = len(self.lines)
        self.presence(frozenset(connected), nameless)
        return self.lines[before:]


@pytest.fixture
def study(consortium_of: ConsortiumOf) -> Study:
    return Study(consortium_of(SITES).root / "coordinator")


@pytest.fixture
def screen(study: Study) -> Screen:
    return Screen(study)


def test_within_a_minute_it_is_said_that_nobody_is_there(screen: Screen) -> None:
    assert FIRST_SECONDS < 30
    assert screen.said() == [], "nodes are still being asked who they are"
    screen.seconds = FIRST_SECONDS
    assert screen.said() == ["0 of 3 hospitals connected; not connected: NORW, ITAL and UK"]
    assert screen.said() == []


def test_each_change_is_said_and_who_is_missing(screen: Screen) -> None:
    screen.seconds = FIRST_SECONDS
    screen.said()
    assert screen.said("UK") == ["1 of 3 hospitals connected; not connected: NORW and ITAL"]
    (line,) = screen.said("UK", nameless=1)
    assert "(1 relay did not say of which hospital: is the daemon running there?)" in line
    assert screen.said("UK", "ITAL", "NORW") == ["3 of 3 hospitals connected"]
    assert screen.said("UK", "NORW") == ["2 of 3 hospitals connected; not connected: ITAL"]


def test_all_there_is_said_at_once(screen: Screen) -> None:
    assert screen.said(*SITES) == ["3 of 3 hospitals connected"]


def test_who_is_missing_is_said_again_now_and_then_and_who_is_there_is_not(screen: Screen) -> None:
    screen.seconds = FIRST_SECONDS
    (line,) = screen.said("UK")
    screen.seconds += AGAIN_SECONDS - 1
    assert screen.said("UK") == []
    screen.seconds += 1
    assert screen.said("UK") == [line]
    assert screen.said("UK") == []
    screen.said(*SITES)
    screen.seconds += 10 * AGAIN_SECONDS
    assert screen.said(*SITES) == []


def test_a_site_that_is_connected_and_has_refused_is_named_with_its_reason(study: Study, screen: Screen) -> None:
    with study.store() as store:
        store.keep_moment("round 1", 0.0)
        store.keep_refusal(RefusalEntry("ITAL", 1, str(Code.NOT_APPROVED), "Approve it first."))
    assert screen.said(*SITES) == [
        "3 of 3 hospitals connected",
        "ITAL has not answered: its rules do not allow the study; it says (unsigned): Approve it first.",
    ]
    assert screen.said(*SITES) == []
