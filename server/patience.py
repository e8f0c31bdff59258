"""How long a study waits for what, and the clocks by which it waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

LAST_CALL_SECONDS = 600.0
"""How long a run waits at least that starts late or after the deadline, unless the deadline itself is shorter."""

LONGEST_ANSWER = 43_200.0
"""Longest time that one message is given, in seconds: 12 hours, as long as Flower keeps a message by default.

A site that needs more has its answer ready when it is asked again.
"""


class Clock(NamedTuple):
    """Seconds since 1970, which a person can set; seconds of a clock that only goes forward; and a pause."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


SYSTEM = Clock()


class Patience(NamedTuple):
    """How long a run waits for what, in seconds.

    Attributes
    ----------
    answer : until a message counts as lost; the next message to the same node is given twice the time.
    refused : until a site that refused is asked again; None: never in this run, where nobody can forge a refusal.
    late : whether round 2 waits, up to its own deadline, for sites that missed round 1.
    retry : until a node that was out of reach is asked again.
    poll : between two looks at what has arrived.
    at_once : how many messages may be under way; None for one to each node. The grid of a simulation in one
        process holds them, and takes one after the other anyway.
    """

    answer: float
    refused: float | None = None
    late: bool = False
    retry: float = 30.0
    poll: float = 1.0
    at_once: int | None = None

    @classmethod
    def of_simulation(cls, deadline: float, at_once: int | None = None) -> Patience:
        """On one machine no message is lost, nobody changes a refusal, and Flower itself looks as often."""
        return cls(answer=max(LONGEST_ANSWER, deadline), poll=0.1, at_once=at_once)

    @classmethod
    def of_deployment(cls, deadline: float) -> Patience:
        """A tenth of the deadline, but at least one minute and at most ten, until anything is asked again.

        A site that refused is asked again within a sixth of a short deadline: its daemon may have been starting.
        What has arrived is looked at every three seconds; where the deadline is short, up to twice a second.
        """
        again = min(600.0, max(60.0, deadline / 10))
        poll = min(3.0, max(0.5, deadline / 60))
        return cls(answer=again, refused=min(again, deadline / 6), late=True, retry=10.0, poll=poll)
