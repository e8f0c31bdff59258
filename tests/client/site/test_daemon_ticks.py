"""When a reply leaves the daemon: on a tick, whatever was asked and whatever the answer took.

Time is a number here, which moves only when every task waits. So whatever can go on while another task sleeps
does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from heapq import heappop, heappush
from itertools import count
from typing import Any

import pytest
from hospitals import refusal

from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site import daemon
from cohortmix.client.site.daemon import Daemon, until_tick
from cohortmix.protocol import site_pb2
from cohortmix.protocol.messages import Code

INTERVAL = 30.0


class Clocked(Executor):
    """A site, its worker and its clock: an answer takes `seconds`; what the daemon then sleeps is written down."""

    policy: object = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, fault: Exception | None = None) -> None:
        self.now, self.seconds, self.fault = 0.0, seconds, fault
        self.slept: list[float] = []
        self.requests: list[bytes] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._events = count()
        monkeypatch.setattr(daemon, "monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    def describe(self) -> bytes:
        return b"description"

    def answer(self, request: bytes) -> bytes:
        self.requests.append(request)
        if self.fault is not None:
            raise self.fault
        return b"reply"

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """What the worker does: the result is ready after `seconds`."""
        ready: Future[Any] = Future()
        self._after(self.seconds, lambda: ready.set_result(call(*arguments, **named)))
        return ready

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.slept.append(seconds)
        self._after(seconds, lambda: woken.set_result(None))
        await woken

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heappush(self._due, (self.now + seconds, next(self._events), event))

    def run(self, calls: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """What `calls(daemon)` returns; whenever all tasks sleep, the clock moves to the one that wakes first."""

        async def clocked() -> Any:
            daemon: Any = Daemon(self, Policy, INTERVAL, 2**16)  # type: ignore[arg-type]
            daemon._worker = self
            task = asyncio.create_task(calls(daemon))
            while not task.done():
                await idle()
                if self._due:
                    self.now, _, event = heappop(self._due)
                    event()
            return await task

        return asyncio.run(clocked())

    def ask(self, request: bytes) -> bytes:
        """The reply to raw bytes on the socket, once it has left."""
        return bytes(site_pb2.Envelope.FromString(self.run(lambda daemon: daemon._release(request, None))).message)


def envelope(message: bytes) -> bytes:
    data: bytes = site_pb2.Envelope(message=message).SerializeToString()
    return data


@pytest.mark.parametrize(("seconds", "tick"), [(0.0, 1), (0.001, 1), (29.9, 1), (30.0, 1), (30.1, 2), (100.0, 4)])
def test_replies_leave_on_ticks(seconds: float, tick: int, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Clocked(monkeypatch, seconds)
    assert site.ask(envelope(b"request")) == b"reply"
    assert site.now == pytest.approx(tick * INTERVAL)
    assert until_tick(seconds, INTERVAL) == site.slept[0]


def leaving(site: Clocked, calls: str, hang_up: int | None = None) -> list[float]:
    """When the replies leave to calls that come at the same time: R for Release, D for Describe.

    The call of number `hang_up` gets none.
    """
    left: list[float] = []

    async def call(answer: Callable[..., Any]) -> None:
        await answer(envelope(b"request"), None)
        left.append(site.now)

    async def together(daemon: Any) -> None:
        answers = {"R": daemon._release, "D": daemon._describe}
        tasks = [asyncio.create_task(call(answers[letter])) for letter in calls]
        if hang_up is not None:
            await yielding()  # all have begun, and the site works on one
            await yielding()
            assert daemon._turn.locked()
            tasks[hang_up].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    site.run(together)
    return left


def yielding() -> asyncio.Future[None]:
    """One turn of the event loop; `asyncio.sleep` is replaced here."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    return future


async def idle() -> None:
    """Until every task waits for another one, or for the clock."""
    for _ in range(50):
        await yielding()


@pytest.mark.parametrize(
    ("hang_up", "ticks"), [(None, [1, 2, 3, 4]), (0, [2, 3, 4]), (1, [1, 2, 3])], ids=["none", "first", "waiting"]
)
def test_calls_that_wait_learn_nothing_of_the_one_before(
    hang_up: int | None, ticks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that takes less than the interval shows nothing, even to who sends many calls, or hangs up."""
    for seconds in (0.1, 10.0, 22.5, 29.9):
        left = leaving(Clocked(monkeypatch, seconds), "RRRR", hang_up)
        assert left == pytest.approx([INTERVAL * tick for tick in ticks])
    assert leaving(Clocked(monkeypatch, INTERVAL + 1), "RR") == [2 * INTERVAL, 4 * INTERVAL]


@pytest.mark.parametrize(
    ("calls", "ticks"),
    [("D", [0]), ("DR", [0, 1]), ("RD", [1, 1]), ("RDD", [1, 1, 1]), ("RRD", [1, 2, 2]), ("RDRD", [1, 1, 2, 2])],
)
def test_a_description_is_no_clock_for_the_work(
    calls: str, ticks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves after the reply before it: at once where nothing is computed, otherwise on a tick."""
    for seconds in (0.1, 22.5, 29.9):
        left = leaving(Clocked(monkeypatch, seconds), calls)
        assert left == pytest.approx([INTERVAL * tick for tick in ticks])
    ready = leaving(Clocked(monkeypatch, INTERVAL + 1), "RD")
    assert ready == [2 * INTERVAL, 2 * INTERVAL]


def test_the_clock_of_these_tests_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a turn ended with the work, these tests would show it: the second reply leaves once both are computed."""
    site, left = Clocked(monkeypatch, 10.0), []

    async def hasty(daemon: Any) -> None:
        async def one() -> None:
            async with daemon._turn:
                await asyncio.wrap_future(daemon._worker.submit(daemon._answer, envelope(b"request")))
            await asyncio.sleep(until_tick(10.0, INTERVAL))
            left.append(site.now)

        await asyncio.gather(one(), one())

    site.run(hasty)
    assert left == [30.0, 40.0]


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
    assert site.now == 2 * INTERVAL  # one tick for each
    assert site.requests == []
    assert site.ask(envelope(b"x" * 2**16)) == b"reply"
    assert site.requests == [b"x" * 2**16]


def test_no_text_of_an_exception_leaves(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = Clocked(monkeypatch, 1.0, ValueError("patient 4711 is 93")).ask(envelope(b"request"))
    assert refusal(reply).code is Code.UNAVAILABLE
    assert b"4711" not in reply
    assert "4711" not in caplog.text
    assert "ValueError" in caplog.text
