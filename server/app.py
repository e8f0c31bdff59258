"""Flower's ServerApp: carries a study's requests to its sites and their replies to the store. No numbers here.

Nodes come and go, and Flower does not know which site a node speaks for: each new node is asked (`describe`),
and a site's request goes to every node that names the site's key. A false claim gains nothing, since a reply
counts by its signature. Each reply is kept the moment it arrives, so none that was computed is lost to a deadline.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from flwr.app import DEFAULT_TTL, Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp

from cohortmix.protocol.codec import from_records, to_records
from cohortmix.protocol.messages import Code, Description, MessageError, decode
from cohortmix.server.coordinator import Coordinator

POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0  # before a node that was out of reach is asked again

Progress = Callable[[str, int, int], None]
"""Called as progress(event, done, total)."""

_OUT_OF_REACH = frozenset(
    {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
)


def server_app(
    open_coordinator: Callable[[], AbstractContextManager[Coordinator]], progress: Progress | None = None
) -> ServerApp:
    """A ServerApp that conducts one study.

    Parameters
    ----------
    open_coordinator : opens the study with its store, in the thread that Flower runs the app in.
    progress : told after each answer, as progress("round 1", done, total).
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        with open_coordinator() as coordinator:
            conduct(grid, coordinator, progress)

    return app


def conduct(
    grid: Grid,
    coordinator: Coordinator,
    progress: Progress | None = None,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Take a study from where it stands to the end of its second round.

    A round ends when every site has answered or refused, at the latest after the study's deadline.

    Parameters
    ----------
    now, pause : the clock, in seconds.

    Raises
    ------
    TooFewSites
        If fewer than min_sites answer round 1; what has been answered stays in the store.
    """
    exchange = _Exchange(grid, coordinator, now)

    def collect() -> None:
        deadline, told = now() + coordinator.spec.round_deadline_seconds, 0
        while coordinator.waiting and now() < deadline:
            if not exchange.step():
                pause(POLL_SECONDS)
            done = len(coordinator.answered)
            if progress and done > told:
                progress(f"round {coordinator.round}", done, done + len(coordinator.waiting))
            told = done

    if coordinator.round == 1:
        collect()
        coordinator.freeze()
    collect()


class _Sent(NamedTuple):
    """A message under way: to which node, and for which site; none for the question which site it is."""

    node: int
    site: str | None


class _Exchange:
    """The nodes, the sites that they speak for, and the messages under way."""

    def __init__(self, grid: Grid, coordinator: Coordinator, now: Callable[[], float]) -> None:
        self._grid, self._coordinator, self._now = grid, coordinator, now
        self._site_of_key = {entry.key: entry.name for entry in coordinator.spec.sites}
        self._site_of_node: dict[int, str | None] = {}
        self._under_way: dict[str, _Sent] = {}
        self._not_before: dict[int, float] = {}

    def step(self) -> bool:
        """Send what is due and take in what has arrived; whether anything has."""
        for node in self._grid.get_node_ids():
            if node not in self._site_of_node:
                self._send(_Sent(node, None), "query.describe", RecordDict())
        for site, request in self._coordinator.requests().items():
            for node in [node for node, speaks_for in self._site_of_node.items() if speaks_for == site]:
                self._send(_Sent(node, site), "query.synthesize", to_records(request))
        replies = list(self._grid.pull_messages(list(self._under_way)))
        for reply in replies:
            self._receive(reply)
        return bool(replies)

    def _send(self, sent: _Sent, kind: str, content: RecordDict) -> None:
        busy = any(sent.node == other.node for other in self._under_way.values())
        if busy or self._now() < self._not_before.get(sent.node, 0):
            return
        ttl = max(DEFAULT_TTL, float(self._coordinator.spec.round_deadline_seconds))
        message = Message(content, sent.node, kind, ttl=ttl, group_id=str(self._coordinator.round))
        # One at a time: Flower leaves out the id of a message that it could not take.
        ids = list(self._grid.push_messages([message]))
        self._not_before[sent.node] = self._now() + (0 if ids else RETRY_SECONDS)
        self._under_way.update((id, sent) for id in ids)

    def _receive(self, reply: Message) -> None:
        sent = self._under_way.pop(reply.metadata.reply_to_message_id)
        if reply.has_error() and reply.error.code in _OUT_OF_REACH:
            self._not_before[sent.node] = self._now() + RETRY_SECONDS
            return
        try:
            data = b"" if reply.has_error() else from_records(reply.content)
        except MessageError:
            data = b""
        if sent.site is None:
            self._introduce(sent.node, data)
        elif data:
            self._coordinator.accept(sent.site, data)
        else:  # what Flower says about an error can hold anything and is not kept
            self._coordinator.refuse(sent.site, Code.UNAVAILABLE, "The site's app failed before it could answer.")

    def _introduce(self, node: int, data: bytes) -> None:
        """Learn which site of the study a node speaks for, if any; ask again where it could not say."""
        try:
            description = decode(data)
        except MessageError:
            description = None
        if isinstance(description, Description):
            self._site_of_node[node] = self._site_of_key.get(description.key)
        else:
            self._not_before[node] = self._now() + RETRY_SECONDS
