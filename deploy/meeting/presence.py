"""What `study run` says while it waits: how many hospitals are connected, which are not, which have refused."""

from __future__ import annotations

import time
from collections.abc import Callable

from cohortmix.core.data.words import listed
from cohortmix.protocol.local.wording import count
from cohortmix.server.commands.cli import in_words
from cohortmix.server.commands.status import Status
from cohortmix.server.study import Study

FIRST_SECONDS = 10.0
"""How long nodes may take to say which hospital they are of, until a hospital counts as missing, in seconds."""

AGAIN_SECONDS = 600.0
"""After so many seconds without a change it is said again, so that a log shows that the study still waits."""


class Presence:
    """Says who is connected: at the beginning, at every change, and now and then.

    Parameters
    ----------
    say : takes one line.
    now : seconds of a clock that only goes forward.
    """

    def __init__(
        self, study: Study, say: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._study, self._say, self._now = study, say, now
        self._names = [entry.name for entry in study.signed.study.sites]
        self._begun = self._said_at = now()
        self._lines: list[str] = []

    def __call__(self, connected: frozenset[str], nameless: int) -> None:
        """Take in a look at the nodes, as `server.app.conduct` gives it."""
        early = self._now() - self._begun < FIRST_SECONDS and not self._lines
        if early and len(connected) < len(self._names):
            return
        lines = [self._headline(connected, nameless), *self._refusals()]
        late = self._now() - self._said_at >= AGAIN_SECONDS and len(connected) < len(self._names)
        for line in lines:
            if late or line not in self._lines:
                self._say(line)
                self._said_at = self._now()
        self._lines = lines

    def _headline(self, connected: frozenset[str], nameless: int) -> str:
        line = f"{len(connected)} of {count(len(self._names), 'hospital')} connected"
        missing = [name for name in self._names if name not in connected]
        if missing:
            line += f"; not connected: {listed(missing)}"
        if missing and nameless:
            line += f" ({count(nameless, 'relay')} did not say of which hospital: is the daemon running there?)"
        return line

    def _refusals(self) -> list[str]:
        return [
            f"{site.entry.name} has not answered: {in_words(site)}"
            for site in Status.of(self._study).missing
            if site.refusal is not None
        ]
