"""The sites of a simulation: each is opened at its first message and stays open, as a daemon's does at a hospital.

To open a site is to check its ledger and to count its patients, and to close it is to write its ledger's log back.
At each of the eleven messages of a joint study, that would take as long as the answers do.
"""

from __future__ import annotations

import resource
from contextlib import ExitStack
from functools import lru_cache
from types import TracebackType
from typing import Self

from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY

from cohortmix.client.app import SiteConnection
from cohortmix.client.site.site import Site
from cohortmix.deploy.simulation.consortium import Consortium

FILES = 3
"""That an open ledger holds: SQLite's file, its log and the log's index."""

_MAY_OPEN = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
MOST_OPEN = 200 if _MAY_OPEN == resource.RLIM_INFINITY else min(200, _MAY_OPEN // (2 * FILES))
"""Sites that stay open in a process, with half of the files that it may open; any other is opened at each call."""


class OpenSites:
    """What connects a simulated node to its site; a context, at whose end all sites are closed.

    A policy, key or table that is replaced meanwhile counts from the next run on.
    """

    def __init__(self, consortium: Consortium) -> None:
        self._consortium, self._open, self._closing = consortium, dict[int, Site](), ExitStack()

    def connect(self, context: Context) -> SiteConnection:
        """The site that a simulated node speaks for."""
        index = int(context.node_config[PARTITION_ID_KEY])
        if index not in self._open:
            folder = self._consortium.site(index)
            if len(self._open) >= MOST_OPEN:
                return folder
            self._open[index] = self._closing.enter_context(folder.opened())
        return self._open[index]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        self._closing.close()


def connect(consortium: Consortium, context: Context) -> SiteConnection:
    """As `OpenSites.connect`, for a process that conducts this study and nothing else: its end closes them."""
    return _of_process(consortium).connect(context)


@lru_cache(maxsize=1)
def _of_process(consortium: Consortium) -> OpenSites:
    return OpenSites(consortium)
