"""The daemon killed, starved and lied to: what was spent stays spent, what was released stays the same bytes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import pytest
from sites import refused, release

from cohortmix.core.steps.plan import NOISY_SHARE
from cohortmix.protocol.messages import Code
from cohortmix.protocol.receipts import total, verify_chain

KILLS = int(os.environ.get("COHORTMIX_KILLS", "20"))
"""Random places at which a daemon is killed; `make audit` has 200, which take minutes."""
LINES_OF_ROUND_TWO = 4000  # of `core`, at least


def kinds(steps: list[tuple[Any, ...]], id: str | None = None) -> list[str]:
    return [kind for kind, _, of, _, _ in steps if id in (None, of)]


# --- killed at a known place

ALL = ["reserved", "paid", "answered", "committed"]
KILLED = {
    "before reserve": (("reserve", "before"), [], 0),
    "after reserve": (("reserve", "after"), ["reserved"], 0),
    "after the debit": (("debit", "after"), ["reserved", "paid"], 0),
    "during compute, before the draw": (("draw", "before"), ["reserved", "paid"], 0),
    "during compute, after the draw": (("draw", "after"), ["reserved", "paid"], 1),
    "after the answer is stored": (("store", "after"), ["reserved", "paid", "answered"], 1),
    "before commit": (("commit", "before"), ["reserved", "paid", "answered"], 1),
    "after commit": (("commit", "after"), ALL, 1),
    "after commit, before the answer leaves": (
        ("reply", "after"),
        ["reserved", "paid", "answered", "committed"],
        1,
    ),
}


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_daemon_goes_on_where_it_was(name: str, hospital: Any, daemons: Any) -> None:
    (place, way), left, drawn = KILLED[name]
    study = hospital.approved("study")
    request = hospital.request(study)
    process = daemons.start(hospital, {"kind": "place", "place": place, "way": way})
    with pytest.raises(grpc.RpcError):
        hospital.connection.answer(request)
    assert daemons.wait(process) == -signal.SIGKILL
    before = hospital.steps()
    assert kinds(before) == left
    assert len(hospital.draws) == drawn
    with daemons.serving(hospital) as connection:
        replies = [connection.answer(request), connection.answer(request)]
    assert replies[0] == replies[1]
    after = hospital.steps()
    assert after[: len(before)] == before
    assert kinds(after) == ALL
    # A draw that was lost with its process is drawn again; one that was stored never is.
    assert len(hospital.draws) == drawn + ("answered" not in left)
    if "committed" in left:
        assert replies[0] == before[-1][-1]
    receipt = release(replies[0]).receipt
    assert spent(hospital) == study.mu2 >= total([receipt]).mu2


def spent(hospital: Any) -> Fraction:
    """What the ledger has spent, once it is found to be whole."""
    ledger = hospital.ledger()
    try:
        verify_chain([signed.receipt for signed in ledger.receipts()], complete=True)
        mu2: Fraction = ledger.spent_mu2
        return mu2
    finally:
        ledger.close()


# --- killed anywhere


def test_killed_at_random_lines(new_hospital: Callable[..., Any], daemons: Any, tmp_path: Path) -> None:
    """One ledger lives through all of it; each daemon answers once more what the one before it was killed over."""
    mu, count = Fraction(1, 10), tmp_path / "lines"
    room = KILLS * 3 // 4  # how many studies fit under the cap: the last ones must be refused
    hospital = new_hospital(cap_mu=f"{float(mu) * (room + 0.5) ** 0.5:.6f}")
    lines = measured(hospital, daemons, count)
    room -= len(lines)  # as many as the measurement took
    rng, dead = random.Random(17), 0
    replies: dict[bytes, bytes] = {}
    requests: list[bytes] = []
    for number in range(KILLS):
        study = hospital.approved(f"study {number}")
        request, folder = hospital.request(study), rng.choice(["client", "core"])
        fault = {
            "kind": "line",
            "folder": folder,
            "line": rng.randint(1, lines[folder]),
            "skip": len(requests[-1:]),
        }
        process = daemons.start(hospital, fault | {"count": str(count)})
        before, drawn = hospital.steps(), len(hospital.draws)
        for former in requests[-1:]:
            resume(hospital, former, before, drawn, replies)
        requests.append(request)
        try:
            replies[request] = hospital.connection.answer(request)
        except grpc.RpcError:
            dead += 1
            assert daemons.wait(process) == -signal.SIGKILL
        else:
            daemons.stop(process)
        after = hospital.steps()
        assert after[: len(before)] == before
        assert spent(hospital) <= hospital.config.cap_mu**2
    with daemons.serving(hospital) as connection:
        final = {request: connection.answer(request) for request in requests}
    assert all(final[request] == reply for request, reply in replies.items())
    receipts = [release(reply).receipt for reply in final.values() if b'"refusal"' not in reply]
    assert len(receipts) == room
    assert all(
        refused(final[request]) is Code.OVER_BUDGET for request in requests if b'"refusal"' in final[request]
    )
    assert spent(hospital) == (room + len(lines)) * mu**2
    assert kinds(hospital.steps()).count("reserved") == room + len(lines)
    assert dead >= KILLS // 2


def resume(hospital: Any, request: bytes, before: list[Any], drawn: int, replies: dict[bytes, bytes]) -> None:
    """Ask again for what a daemon was killed over; what it had committed or drawn is what comes."""
    reply = hospital.connection.answer(request)
    assert replies.setdefault(request, reply) == reply
    if b'"refusal"' in reply:
        assert refused(reply) is Code.OVER_BUDGET
        return
    receipt = release(reply).receipt
    stored = {kind: content for kind, _, id, _, content in before if id == receipt.request_id}
    if "committed" in stored:
        assert reply == stored["committed"]
    if "answered" in stored:
        assert len(hospital.draws) == drawn


def measured(hospital: Any, daemons: Any, count: Path) -> dict[str, int]:
    """How many lines of code of each folder run for one answer."""
    lines = {}
    for folder in ("client", "core"):
        request = hospital.request(hospital.approved(f"measured {folder}"))
        fault = {"kind": "line", "folder": folder, "line": -1, "skip": 0, "count": str(count)}
        with daemons.serving(hospital, fault) as connection:
            connection.answer(request)
        lines[folder] = int(count.read_text().splitlines()[-1])
    return lines


def test_killed_in_round_two(new_hospital: Callable[..., Any], daemons: Any, tmp_path: Path) -> None:
    """With a budget for a mixture, second moments are drawn, and what is computed from them takes a while."""
    hospital, rng, dead = new_hospital(cap_mu="1000"), random.Random(5), 0
    kills = max(1, KILLS // 40)
    for number in range(kills):
        study = hospital.approved(f"study {number}", mu="6")
        with daemons.serving(hospital) as connection:
            first = connection.answer(hospital.request(study))
        request = hospital.request(study, 2, hospital.common(study, first))
        line = {"folder": "core", "line": rng.randint(1, LINES_OF_ROUND_TWO), "skip": 0}
        process = daemons.start(hospital, {"kind": "line", **line, "count": str(tmp_path / "lines")})
        try:
            reply = hospital.connection.answer(request)
        except grpc.RpcError:
            reply, dead = None, dead + 1
            assert daemons.wait(process) == -signal.SIGKILL
        else:
            daemons.stop(process)
        before, drawn = hospital.steps(), len(hospital.draws)
        with daemons.serving(hospital) as connection:
            again = connection.answer(request)
        assert reply in (None, again)
        assert release(again).release.kind == "centroids"
        answered = [content for kind, of, id, _, content in before if kind == "answered" and of == study.hash]
        assert len(hospital.draws) == drawn + (len(answered) < 2)
        assert kinds(hospital.steps(), release(again).receipt.request_id) == ALL
        assert spent(hospital) == (number + 1) * study.mu2
    assert dead > kills // 2


# --- starved and misled


@pytest.mark.parametrize("place", ["reserve", "debit", "store", "commit"])
def test_a_full_disk_costs_nothing_but_time(place: str, hospital: Any, daemons: Any) -> None:
    study = hospital.approved("study")
    request = hospital.request(study)
    with daemons.serving(hospital, {"kind": "place", "place": place, "way": "full disk"}) as connection:
        assert refused(connection.answer(request)) is Code.UNAVAILABLE
        before, drawn = hospital.steps(), len(hospital.draws)
        assert kinds(before) == ALL[: {"reserve": 0, "debit": 1, "store": 2, "commit": 3}[place]]
        assert drawn == (place in {"store", "commit"})
        reply = connection.answer(request)
    assert hospital.steps()[: len(before)] == before
    assert kinds(hospital.steps()) == ALL
    assert len(hospital.draws) == drawn + (place != "commit")
    assert release(reply).receipt.mu2 <= spent(hospital) == study.mu2


@pytest.mark.parametrize("days", [-36500, -1, 1, 36500])
def test_a_clock_that_jumps_changes_no_byte(days: int, hospital: Any, daemons: Any) -> None:
    study = hospital.approved("study")
    request = hospital.request(study)
    with daemons.serving(hospital, {"kind": "clock", "days": days}) as connection:
        replies = {connection.answer(request) for _ in range(4)}
    assert len(replies) == 1
    assert release(replies.pop()).receipt.study == study.hash
    assert spent(hospital) == study.mu2


def test_a_clock_that_jumps_can_only_close_a_study(hospital: Any, daemons: Any) -> None:
    study = hospital.approved("study", expires=datetime.now(UTC).date() + timedelta(days=30))
    request = hospital.request(study)
    with daemons.serving(hospital, {"kind": "clock", "days": 60}) as connection:
        replies = [connection.answer(request) for _ in range(4)]
    assert [refused(reply) for reply in replies] == 4 * [Code.NOT_APPROVED], "set back, it does not open it again"
    assert spent(hospital) == 0


# --- several at once


def test_the_same_request_twice_at_once(hospital: Any, daemons: Any) -> None:
    request = hospital.request(hospital.approved("study"))
    with daemons.serving(hospital) as connection, ThreadPoolExecutor(4) as relays:
        replies = set(relays.map(connection.answer, [request] * 4))
    assert len(replies) == 1
    release(replies.pop())
    assert kinds(hospital.steps()) == ALL
    assert len(hospital.draws) == 1


def test_two_studies_at_once_over_the_cap(new_hospital: Callable[..., Any], daemons: Any) -> None:
    hospital = new_hospital(cap_mu="0.25")  # one of 0.2 fits, two do not, of which answer A has four fifths
    requests = [hospital.request(hospital.approved(name, mu="0.2")) for name in ("one", "other")]
    with daemons.serving(hospital) as connection, ThreadPoolExecutor(2) as relays:
        replies = list(relays.map(connection.answer, requests))
    assert sorted(b'"refusal"' in reply for reply in replies) == [False, True]
    assert {refused(reply) for reply in replies if b'"refusal"' in reply} == {Code.OVER_BUDGET}
    assert spent(hospital) == NOISY_SHARE * Fraction(1, 5) ** 2
    assert len(hospital.draws) == 1


# --- lied to


def damaged(request: bytes) -> Iterator[bytes]:
    """A request truncated, with flipped bits, of another protocol; and bytes that are no message at all."""
    rng = random.Random(3)
    yield from (b"", b"{}", b"[" * 100_000, b"\xff" * 64, b"1e999", b"null", b'{"protocol":1}')
    yield from (request[: rng.randrange(len(request))] for _ in range(20))
    for _ in range(60):
        flipped = bytearray(request)
        flipped[rng.randrange(len(request))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
    yield request.replace(b'"protocol":1', b'"protocol":2')
    yield request + request


def test_damaged_requests_are_refused_and_spend_nothing(hospital: Any, daemons: Any) -> None:
    request = hospital.request(hospital.approved("study"))
    with daemons.serving(hospital) as connection:
        codes = {refused(connection.answer(data)) for data in damaged(request)}
        assert codes == {Code.UNAVAILABLE, Code.BAD_SIGNATURE, Code.UNKNOWN_VERSION}
        assert hospital.steps() == []
        first = connection.answer(request)
        assert refused(connection.answer(first)) is Code.UNAVAILABLE  # the site's own release, sent back to it
        assert refused(connection.answer(connection.describe())) is Code.UNAVAILABLE
        assert connection.answer(request) == first  # the daemon still works
    assert kinds(hospital.steps()) == ALL
