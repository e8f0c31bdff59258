"""When a reply leaves the daemon: on a tick, whatever was asked and whatever the answer took."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hospitals import refusal

from cohortmix.client import daemon
from cohortmix.client.daemon import Daemon, until_tick
from cohortmix.protocol import site_pb2
from cohortmix.protocol.messages import Code

INTERVAL = 30.0


class Clocked:
    """A site and its clock: an answer takes `seconds`, and what the daemon then sleeps is written down."""

    policy: object = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, fault: Exception | None = None) -> None:
        self.now, self.seconds, self.fault = 0.0, seconds, fault
        self.slept: list[float] = []
        monkeypatch.setattr(daemon, "monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    def describe(self) -> bytes:
        return b"description"

    def answer(self, request: bytes) -> bytes:
        self.now += self.seconds
        if self.fault is not None:
            raise self.fault
        return b"reply"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ask(self, request: bytes) -> bytes:
        """The reply to raw bytes on the socket, once it has left."""

        async def call() -> bytes:
            here: Any = Daemon(self, lambda: None, INTERVAL, 2**16)
            return site_pb2.Envelope.FromString(await here._release(request, None)).message

        return asyncio.run(call())


def envelope(message: bytes) -> bytes:
    data: bytes = site_pb2.Envelope(message=message).SerializeToString()
    return data


@pytest.mark.parametrize(("seconds", "tick"), [(0.0, 1), (0.001, 1), (29.9, 1), (30.0, 1), (30.1, 2), (100.0, 4)])
def test_replies_leave_on_ticks(seconds: float, tick: int, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Clocked(monkeypatch, seconds)
    assert site.ask(envelope(b"request")) == b"reply"
    assert site.now == pytest.approx(tick * INTERVAL)
    assert until_tick(seconds, INTERVAL) == site.slept[0]


def leaving(site: Clocked, calls: int, hang_up: int | None = None) -> list[float]:
    """When the replies to calls that come all at once leave; the one that hangs up gets none."""
    left: list[float] = []

    async def call(here: Any) -> None:
        await here._release(envelope(b"request"), None)
        left.append(site.now)

    async def together() -> None:
        here: Any = Daemon(site, lambda: None, INTERVAL, 2**16)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(call(here)) for _ in range(calls)]
        if hang_up is not None:
            while not here._turn.locked():
                await yielding()
            tasks[hang_up].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(together())
    return left


def yielding() -> asyncio.Future[None]:
    """Once round the event loop, whatever `asyncio.sleep` is here."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    return future


@pytest.mark.parametrize(
    ("hang_up", "ticks"), [(None, [1, 2, 3, 4]), (0, [2, 3, 4]), (1, [1, 2, 3])], ids=["none", "first", "waiting"]
)
def test_calls_that_wait_learn_nothing_of_the_one_before(
    hang_up: int | None, ticks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an answer takes, below the interval: also for whoever sends many calls, or hangs up."""
    for seconds in (0.1, 10.0, 22.5, 29.9):
        left = leaving(Clocked(monkeypatch, seconds), 4, hang_up)
        assert left == pytest.approx([INTERVAL * tick for tick in ticks])
    assert leaving(Clocked(monkeypatch, INTERVAL + 1), 2) == [2 * INTERVAL, 4 * INTERVAL]


@pytest.mark.parametrize(
    "request_bytes", [envelope(b"x" * (2**16 + 1)), b"\xff\xff\xff", b"", envelope(b""), envelope(b"{}")]
)
def test_refusals_leave_on_ticks_too(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Clocked(monkeypatch, 0.0)
    site.ask(request_bytes)
    assert site.slept == [INTERVAL]


def test_what_is_too_long_or_no_envelope_reaches_no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Clocked(monkeypatch, 1.0)
    assert "longer" in refusal(site.ask(envelope(b"x" * (2**16 + 1)))).sentence
    assert "not a message" in refusal(site.ask(b"\xff\xff\xff")).sentence
    assert site.now == 2 * INTERVAL  # a tick each, and no second of the site
    assert site.ask(envelope(b"x" * 2**16)) == b"reply"


def test_no_text_of_an_exception_leaves(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = Clocked(monkeypatch, 1.0, ValueError("patient 4711 is 93")).ask(envelope(b"request"))
    assert refusal(reply).code is Code.UNAVAILABLE
    assert b"4711" not in reply
    assert "4711" not in caplog.text
    assert "ValueError" in caplog.text
