"""Flower's ServerApp: carries a study's requests to its sites and their replies to the store. No numbers here.

Nodes come and go, and Flower does not know which site a node speaks for: each new node is asked (`describe`),
and a site's request goes to every node that names the site's key. A false claim gains nothing, since a reply
counts by its signature. Each reply is kept the moment it arrives. A message or a reply can be lost on the way: the
site is then asked again, with the same request, which it answers with the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from flwr.app import DEFAULT_TTL, Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp

from cohortmix.protocol.codec import from_records, to_records
from cohortmix.protocol.keyfile import read_key
from cohortmix.protocol.messages import Code, Description, MessageError, decode
from cohortmix.server.coordinator import Coordinator, TooFewSites, Verdict
from cohortmix.server.study import Study

LAST_CALL_SECONDS = 600.0
"""How long a run that starts late, or after the deadline, waits at least; the deadline itself if that is less."""

LONGEST_ANSWER = float(DEFAULT_TTL)
"""No message is given more time than this; a site that needs more has its answer ready when it is asked again."""

LOST = frozenset({ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})
OUT_OF_REACH = LOST | {ErrorCode.NODE_UNAVAILABLE}

Progress = Callable[[str, int, int], None]
"""Called as progress(event, done, total)."""

logger = logging.getLogger("cohortmix.study")


class Clock(NamedTuple):
    """Time, in seconds: since 1970, which a person can set; of this process, which only goes on; and a pause."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


SYSTEM = Clock()


class Patience(NamedTuple):
    """How long a run waits for what, in seconds.

    Attributes
    ----------
    answer : until a message counts as lost; the next one to the same node is given twice the time.
    refused : until a site that refused is asked again; None: not in this run, where nobody can forge a refusal.
    late : whether round 2 waits for sites that missed round 1, up to its own deadline.
    retry : until a node that was out of reach is asked again.
    poll : between two looks at what has arrived.
    """

    answer: float
    refused: float | None = None
    late: bool = False
    retry: float = 30.0
    poll: float = 1.0

    @classmethod
    def of_simulation(cls, deadline: float) -> Patience:
        """Nothing is lost on one machine, and nobody there changes a refusal."""
        return cls(answer=max(LONGEST_ANSWER, deadline))

    @classmethod
    def of_deployment(cls, deadline: float) -> Patience:
        """A tenth of the deadline, between one minute and ten, until anything is asked again."""
        again = min(600.0, max(60.0, deadline / 10))
        return cls(answer=again, refused=again, late=True, retry=10.0, poll=3.0)


def server_app(
    open_coordinator: Callable[[Context], AbstractContextManager[Coordinator]],
    progress: Progress | None = None,
    patience_of: Callable[[float], Patience] = Patience.of_simulation,
) -> ServerApp:
    """A ServerApp that conducts one study.

    Parameters
    ----------
    open_coordinator : opens the study with its store, in the thread that Flower runs the app in.
    progress : told after each answer, as progress("round 1", done, total).
    patience_of : given the study's deadline in seconds.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        with open_coordinator(context) as coordinator:
            patience = patience_of(coordinator.spec.round_deadline_seconds)
            try:
                conduct(grid, coordinator, progress, patience)
            except TooFewSites as stopped:
                logger.warning("%s", stopped)  # the store says so too, to whoever started the study

    return app


def conduct(
    grid: Grid,
    coordinator: Coordinator,
    progress: Progress | None = None,
    patience: Patience | None = None,
    clock: Clock = SYSTEM,
) -> None:
    """Take a study from where it stands to the end of its second round.

    A round ends when every site has answered or been given up, at the latest when the study's deadline has passed
    since the round first began.

    Raises
    ------
    TooFewSites
        If fewer than min_sites answer round 1; what has been answered stays in the store.
    """
    length = float(coordinator.spec.round_deadline_seconds)
    patience = patience or Patience.of_simulation(length)
    exchange = _Exchange(grid, coordinator, patience, clock)
    last_call = clock.wall() + min(LAST_CALL_SECONDS, length)

    def collect() -> None:
        end, told = max(coordinator.begin(clock.wall()), last_call), 0
        while (coordinator.due if patience.late else coordinator.waiting) and clock.wall() < end:
            if not exchange.step():
                clock.pause(patience.poll)
            done = len(coordinator.answered)
            if progress and done > told:
                progress(f"round {coordinator.round}", done, done + len(coordinator.waiting))
            told = done

    if coordinator.round == 1:
        collect()
        coordinator.freeze()
    collect()
    coordinator.complete(clock.wall())


class _Sent(NamedTuple):
    """A message under way: to which node, and for which site; none for the question which site it is."""

    node: int
    site: str | None


class _Exchange:
    """The nodes, the sites that they speak for, and the messages under way."""

    def __init__(self, grid: Grid, coordinator: Coordinator, patience: Patience, clock: Clock) -> None:
        self._grid, self._coordinator, self._patience, self._clock = grid, coordinator, patience, clock
        self._site_of_key = {entry.key: entry.name for entry in coordinator.spec.sites}
        self._site_of_node: dict[int, str | None] = {}
        self._under_way: dict[str, _Sent] = {}
        self._not_before: dict[int, float] = {}
        self._time: defaultdict[int, float] = defaultdict(lambda: patience.answer)
        self._closed: set[int] = set()

    def step(self) -> bool:
        """Send what is due and take in what has arrived; whether anything has."""
        nodes = list(self._grid.get_node_ids())
        for node in nodes:
            if node not in self._site_of_node:
                self._send(_Sent(node, None), "query.describe", RecordDict())
        for site, request in self._coordinator.requests().items():
            for node in nodes:
                if self._site_of_node.get(node) == site and node not in self._closed:
                    self._send(_Sent(node, site), "query.synthesize", to_records(request))
        replies = list(self._grid.pull_messages(list(self._under_way)))
        for reply in replies:
            self._receive(reply)
        return bool(replies)

    def _send(self, sent: _Sent, kind: str, content: RecordDict) -> None:
        busy = any(sent.node == other.node for other in self._under_way.values())
        if busy or self._clock.steady() < self._not_before.get(sent.node, 0):
            return
        ttl = self._time[sent.node]
        message = Message(content, sent.node, kind, ttl=ttl, group_id=str(self._coordinator.round))
        # One at a time: Flower leaves out the id of a message that it could not take.
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
        else:  # what Flower says about an error can hold anything and is not kept
            sentence = "The site's app failed before it could answer."
            self._weigh(sent.node, sent.site, self._coordinator.refuse(sent.site, Code.UNAVAILABLE, sentence))

    def _weigh(self, node: int, site: str, verdict: Verdict) -> None:
        """Whether to ask this node again: until the deadline, where anybody can be on the way.

        A refusal is not signed, so it ends nothing there, whatever it says.
        """
        if verdict is Verdict.KNOWN:
            self._rest(node, self._patience.retry)
        elif verdict is Verdict.LATER and self._patience.refused is not None:
            self._rest(node, self._patience.refused)
            del self._site_of_node[node]  # it may speak for another site by then
        elif verdict is not Verdict.ACCEPTED:
            self._closed.add(node)
            if {other for other, of in self._site_of_node.items() if of == site} <= self._closed:
                self._coordinator.give_up(site)

    def _introduce(self, node: int, data: bytes) -> None:
        """Learn which site of the study a node speaks for, if any; ask again where it could not say."""
        try:
            description = decode(data)
        except MessageError:
            description = None
        key = description.key if isinstance(description, Description) else None
        site = None if key is None else self._site_of_key.get(key)
        again = self._patience.retry if key is None else self._patience.refused
        if site is None and again is not None:
            self._rest(node, again)  # not for good: anybody on the way can have said so
        else:
            self._site_of_node[node] = site


@contextmanager
def _of_run(context: Context) -> Iterator[Coordinator]:
    """The study and the key that the run's configuration names; both are files of this machine."""
    folder, key = (Path(str(context.run_config[name])) for name in ("study", "key"))
    with Study(folder).coordinator(read_key(key)) as coordinator:
        yield coordinator


app = server_app(_of_run, patience_of=Patience.of_deployment)
"""The coordinator of a deployed study; the run's configuration has its folder, `study`, and its `key` file."""
