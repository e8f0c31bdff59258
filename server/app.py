"""A study over Flower's grid: carries its requests to the sites, and their replies to the coordinator.

Nodes come and go, and Flower does not know which site a node speaks for. So each new node is asked (`describe`),
and a site's request goes to every node that names the site's key. A false claim gains nothing, since a reply
counts by its signature. Each reply is kept the moment it arrives. A message or a reply can be lost on the way: the
site is then asked again with the same request, which it answers with the same bytes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

from flwr.app import Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp

from cohortmix.protocol.messages import Code, Description, MessageError, decode
from cohortmix.protocol.transport.codec import from_records, to_records
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.patience import LAST_CALL_SECONDS, LONGEST_ANSWER, SYSTEM, Clock, Patience
from cohortmix.server.result import TooFewSites

LOST = frozenset({ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})
OUT_OF_REACH = LOST | {ErrorCode.NODE_UNAVAILABLE}

Progress = Callable[[str, int, int], None]
"""Called as progress(event, done, total)."""

Watch = Callable[[frozenset[str], int], None]
"""Called at every look at the nodes: the connected sites, and how many nodes cannot say which site they are of."""

logger = logging.getLogger("cohortmix.study")


def server_app(
    open_coordinator: Callable[[Context], AbstractContextManager[Coordinator]],
    progress: Progress | None = None,
) -> ServerApp:
    """A ServerApp that conducts one study itself, as in a simulation; `carrier.py` has the one of a deployment.

    Parameters
    ----------
    open_coordinator : opens the study with its store, in the thread in which Flower runs the app.
    progress : told after each answer, as progress("round 1", done, total).
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        with open_coordinator(context) as coordinator:
            try:
                conduct(grid, coordinator, progress)
            except TooFewSites as stopped:
                logger.warning("%s", stopped)  # whoever started the study learns it from the store

    return app


def conduct(
    grid: Grid,
    coordinator: Coordinator,
    progress: Progress | None = None,
    patience: Patience | None = None,
    clock: Clock = SYSTEM,
    watch: Watch | None = None,
) -> None:
    """Take a study from where it stands to the end of its second round.

    A round (of a joint study: a step of one) ends when every site has answered or been given up, at the latest
    when the study's deadline has passed since it first began.

    Raises
    ------
    TooFewSites
        If fewer than min_sites answer round 1, or a step of a joint study; what has been answered stays in the
        store.
    """
    length = float(coordinator.spec.round_deadline_seconds)
    patience = patience or Patience.of_simulation(length)
    exchange = _Exchange(grid, coordinator, patience, clock)
    last_call = clock.wall() + min(LAST_CALL_SECONDS, length)

    def collect() -> None:
        end, told = max(coordinator.begin(clock.wall()), last_call), 0
        while (coordinator.due if patience.late else coordinator.waiting) and clock.wall() < end:
            arrived = exchange.step()
            if watch is not None:
                watch(*exchange.connected)
            if not arrived:
                clock.pause(patience.poll)
            done = len(coordinator.answered)
            if progress and done > told:
                progress(coordinator.stage, done, done + len(coordinator.waiting))
            told = done

    collect()
    while coordinator.advance():
        collect()
    coordinator.complete(clock.wall())


class _Sent(NamedTuple):
    """A message on its way to a node: a request to a site or, without one, the question which site it is."""

    node: int
    site: str | None


class _Exchange:
    """The nodes, the sites that they speak for, and the messages on their way."""

    def __init__(self, grid: Grid, coordinator: Coordinator, patience: Patience, clock: Clock) -> None:
        self._grid, self._coordinator, self._patience, self._clock = grid, coordinator, patience, clock
        self._site_of_key = {entry.key: entry.name for entry in coordinator.spec.sites}
        self._site_of_node: dict[int, str | None] = {}  # without those that are to be asked again who they are
        self._nodes: list[int] = []  # of the last look
        self._spoke_for: dict[int, str | None] = {}  # what each node said last, even if it is to be asked again
        self._under_way: dict[str, _Sent] = {}
        self._not_before: dict[int, float] = {}
        self._time: defaultdict[int, float] = defaultdict(lambda: patience.answer)
        self._closed: set[int] = set()

    def step(self) -> bool:
        """Send what is due and take in what has arrived; whether anything has arrived."""
        nodes = list(self._grid.get_node_ids())
        free: defaultdict[str | None, list[int]] = defaultdict(list)  # by the site that they speak for
        for node in self._free(nodes):
            if node not in self._site_of_node:
                self._send(_Sent(node, None), "query.describe", RecordDict())
            elif node not in self._closed:
                free[self._site_of_node[node]].append(node)
        ready = [site for site in self._coordinator.due if site in free] if free else []
        most = self._patience.at_once
        room = None if most is None else max(0, most - len(self._under_way))
        for site, request in islice(self._coordinator.messages_to(ready), room):
            for node in free[site]:
                self._send(_Sent(node, site), "query.synthesize", to_records(request))
        replies = list(self._grid.pull_messages(list(self._under_way)))
        for reply in replies:
            self._receive(reply)
        self._nodes = nodes
        return bool(replies)

    @property
    def connected(self) -> tuple[frozenset[str], int]:
        """The sites with a node at the last look, and how many nodes could not say which site they are of."""
        sites = [self._spoke_for[node] for node in self._nodes if node in self._spoke_for]
        return frozenset(site for site in sites if site), len(self._nodes) - len(sites)

    def _free(self, nodes: list[int]) -> list[int]:
        """Those that have nothing to do, and need not be left alone for now."""
        busy, now = {sent.node for sent in self._under_way.values()}, self._clock.steady()
        return [node for node in nodes if node not in busy and now >= self._not_before.get(node, 0)]

    def _send(self, sent: _Sent, kind: str, content: RecordDict) -> None:
        ttl = self._time[sent.node]
        message = Message(content, sent.node, kind, ttl=ttl, group_id=str(self._coordinator.round))
        # One message a call: Flower's answer leaves out the id of a message that it could not take.
        ids = list(self._grid.push_messages([message]))
        self._under_way.update((id, sent) for id in ids)
        if not ids:
            self._rest(sent.node, self._patience.retry)

    def _rest(self, node: int, seconds: float) -> None:
        self._not_before[node] = self._clock.steady() + seconds

    def _receive(self, reply: Message) -> None:
        sent = self._under_way.pop(reply.metadata.reply_to_message_id, None)
        if sent is None:  # a second reply to one message
            return
        if reply.has_error() and reply.error.code in OUT_OF_REACH:
            if reply.error.code in LOST:
                self._time[sent.node] = min(2 * self._time[sent.node], LONGEST_ANSWER)
            self._rest(sent.node, self._patience.retry)
            return
        try:
            data = b"" if reply.has_error() else from_records(reply.content)
        except MessageError:
            data = b""
        if sent.site is None:
            self._introduce(sent.node, data)
        elif data:
            self._weigh(sent.node, sent.site, self._coordinator.accept(sent.site, data))
        else:  # the text of Flower's error can hold anything and is not kept
            sentence = "The site's app failed before it could answer."
            self._weigh(sent.node, sent.site, self._coordinator.refuse(sent.site, Code.UNAVAILABLE, sentence))

    def _weigh(self, node: int, site: str, verdict: Verdict) -> None:
        """Decide whether to ask this node again.

        Where anybody can be on the way, a refusal ends nothing, whatever it says, since it is not signed: the node
        is asked until the deadline.
        """
        if verdict is Verdict.KNOWN:
            self._rest(node, self._patience.retry)
        elif verdict is Verdict.LATER and self._patience.refused is not None:
            self._rest(node, self._patience.refused)
            del self._site_of_node[node]  # it may speak for another site by then
        elif verdict is not Verdict.ACCEPTED:
            self._closed.add(node)
            if {other for other, spoken_for in self._site_of_node.items() if spoken_for == site} <= self._closed:
                self._coordinator.give_up(site)

    def _introduce(self, node: int, data: bytes) -> None:
        """Learn which site of the study a node speaks for, if any; ask again later where it could not say."""
        try:
            description = decode(data)
        except MessageError:
            description = None
        key = description.key if isinstance(description, Description) else None
        site = None if key is None else self._site_of_key.get(key)
        again = self._patience.retry if key is None else self._patience.refused
        if key is not None:
            self._spoke_for[node] = site
        if site is None and again is not None:
            self._rest(node, again)  # not for good: anybody on the way can have said so
        else:
            self._site_of_node[node] = site
