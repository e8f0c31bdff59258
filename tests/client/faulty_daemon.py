"""A program that starts daemons which fail where they are told to; the daemons themselves know nothing of it.

It imports everything once and forks for each daemon, which then starts in a fraction of a second. Orders are lines
of JSON: `{"start": CONFIG, "fault": FAULT or null}` answers with a process id, `{"wait": PID}` with its status.
"""

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import opendp.prelude  # noqa: F401 (once, here, and not in each daemon at its first draw)

from cohortmix.client.ledger import day, history, ledger, reservation
from cohortmix.client.site import daemon, site
from cohortmix.core.privacy import noise
from cohortmix.core.steps import approximate, pipeline, plan
from cohortmix.core.steps.adapt import adapt

PLACES = {
    "reserve": (ledger.Ledger, "reserve"),
    "debit": (reservation.Reservation, "debit"),
    "draw": (noise.OpenDPNoise, "add"),
    "store": (reservation.Reservation, "store"),
    "commit": (ledger.Ledger, "commit"),
    "reply": (daemon.Daemon, "_answer"),
}
OURS = {"client": Path(str(daemon.__file__)).parents[1], "core": Path(str(noise.__file__)).parents[1]}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_before(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    die()


def stop_after(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    call(*given, **named)
    die()


def full_disk(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Once, let no file grow while the context is open: SQLite and `write` then fail as on a full disk."""
    global disk_is_full
    if not disk_is_full:
        return call(*given, **named)
    disk_is_full = False
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        return call(*given, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


disk_is_full = True
WAYS = {"before": stop_before, "after": stop_after, "full disk": full_disk}


def at_place(place: str, way: str) -> None:
    """Put a fault around one step of an answer."""
    owner, name = PLACES[place]
    call, act = getattr(owner, name), WAYS[way]
    setattr(owner, name, lambda *given, **named: act(call, *given, **named))


def at_line(folder: str, line: int, skip: int, count: str) -> None:
    """Stop at the `line`-th line of our own code that answers run, after `skip` answers without fault.

    The number of lines of each finished answer is added to the file `count`.
    """
    top, answer = str(OURS[folder]), site.Site.answer
    state = {"lines": 0, "answers": 0}

    def each_line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and state["answers"] > skip:
            state["lines"] += 1
            if state["lines"] == line:
                die()
        return each_line

    def each_call(frame: FrameType, event: str, _: object) -> Any:
        return each_line if frame.f_code.co_filename.startswith(top) else None

    def counted(*given: Any) -> bytes:
        state["answers"] += 1
        reply = answer(*given)
        with open(count, "a") as file:
            file.write(f"{state['lines']}\n")
        return reply

    site.Site.answer = counted  # type: ignore[method-assign, assignment]
    threading.settrace(each_call)


def with_clock(days: int) -> None:
    """Set the calendar that the site looks at; it jumps by so many days at each request, back and forth."""
    answer, real, requests = site.Site.answer, day.today, iter(range(10**6))
    jump = 0

    def answered(*given: Any) -> bytes:
        nonlocal jump
        jump = days if next(requests) % 2 == 0 else 0
        return answer(*given)

    site.Site.answer = answered  # type: ignore[method-assign, assignment]
    history.today = lambda: real() + timedelta(days=jump)  # type: ignore[attr-defined]


def log_draws(log: str) -> None:
    """Write down each draw before anyone else sees it."""
    add = noise.OpenDPNoise.add

    def added(source: noise.OpenDPNoise, values: Any, sigma: int, purpose: str) -> Any:
        with open(log, "a") as file:
            file.write(f"{purpose}\n")
        return add(source, values, sigma, purpose)

    noise.OpenDPNoise.add = added  # type: ignore[method-assign, assignment]


def few_steps() -> None:
    """Mixtures and inducing points in a second, as the fixture of this name has it."""
    approximate.STEPS = approximate.MORE_STEPS = 20
    plan.CENTROIDS, plan.LARGEST_FITS = 12, 1
    vars(pipeline).update(TARGETS=100, adapt=partial(adapt, steps=2))  # names that it imports


FAULTS: dict[str, Callable[..., None]] = {"place": at_place, "line": at_line, "clock": with_clock}


def start(config: str, log: str, fault: dict[str, Any] | None) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        few_steps()
        log_draws(log)
        if fault is not None:
            FAULTS[fault.pop("kind")](**fault)
        status = daemon.main(Path(config))
    finally:
        os._exit(status)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = start(order["start"], order["log"], order["fault"])
        print(answer, flush=True)


if __name__ == "__main__":
    main()
