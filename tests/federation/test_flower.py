"""The Flower path in one process: real ClientApp, ServerApp and message bytes, with a clock that tests turn."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

import pytest
from by_hand import ConsortiumOf
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import PARTITION_ID_KEY, ErrorCode

from cohortmix.client.app import relay
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.data.schema import Schema
from cohortmix.deploy.simulation.consortium import Consortium, SiteFolder
from cohortmix.deploy.simulation.engines import run
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.messages import Code, Description, Refusal, SiteEntry, decode
from cohortmix.protocol.transport.codec import from_records, to_records
from cohortmix.server.app import Progress, conduct
from cohortmix.server.patience import Clock, Patience
from cohortmix.server.result import StudyResult, TooFewSites

LARGE, SMALL = 300, 60


POLL_SECONDS, RETRY_SECONDS = Patience(1).poll, Patience(1).retry


class Time:
    """Time passes only while the coordinator waits, and the clock on the wall can be set."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.set_forward = seconds, 0.0

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds + self.set_forward, self.now, self.pause)


class Site:
    """A connection that counts what it is asked, in place of the folder's own."""

    def __init__(self, behind: SiteFolder) -> None:
        self.behind, self.asked = behind, 0

    def describe(self) -> bytes:
        return self.behind.describe()

    def answer(self, request: bytes) -> bytes:
        self.asked += 1
        return self.behind.answer(request)


class LossyGrid(LocalGrid):
    """A grid on which some nodes' replies to requests are lost, held back, or turned into Flower's errors."""

    def __init__(
        self,
        client_app: ClientApp,
        nodes: int,
        time: Time,
        until: Mapping[int, float] | None = None,
        errors: Mapping[int, list[int]] | None = None,
    ) -> None:
        super().__init__(client_app, nodes)
        self.time, self.until, self.errors = time, until or {}, errors or {}
        self.held: list[Message] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        arrived = [*self.held, *super().pull_messages(list(message_ids))]
        self.held = [message for message in arrived if self.time.now() < self._until(message)]
        return [self._altered(message) for message in arrived if message not in self.held]

    def _node(self, message: Message) -> int:
        return list(self.get_node_ids()).index(message.metadata.src_node_id)

    def _until(self, message: Message) -> float:
        late = message.metadata.message_type == "query.synthesize"
        return self.until.get(self._node(message), 0.0) if late else 0.0

    def _altered(self, message: Message) -> Message:
        codes = self.errors.get(self._node(message), [])
        if message.metadata.message_type != "query.synthesize" or not codes:
            return message
        lost = Message(Error(codes.pop(0), "a value of a record: 42"), reply_to=message)
        lost.metadata.__dict__["_reply_to_message_id"] = message.metadata.reply_to_message_id
        return lost


Federation = Callable[..., tuple[Consortium, list[Site], LossyGrid]]


@pytest.fixture
def federation(consortium_of: ConsortiumOf) -> Federation:
    """federation(sizes, until=..., errors=...): a consortium behind a grid, and its sites."""

    def make(
        sizes: dict[str, int],
        nodes: list[int] | None = None,
        time: Time | None = None,
        until: Mapping[int, float] | None = None,
        errors: Mapping[int, list[int]] | None = None,
        **terms: Any,
    ) -> tuple[Consortium, list[Site], LossyGrid]:
        consortium = consortium_of(sizes, **terms)
        sites = [Site(consortium.site(i)) for i in range(len(sites_of(consortium)))]
        order = nodes or list(range(len(sites)))
        app = relay(lambda context: sites[order[int(context.node_config[PARTITION_ID_KEY])]])
        return consortium, sites, LossyGrid(app, len(order), time or Time(), until, errors)

    return make


def sites_of(consortium: Consortium) -> tuple[SiteEntry, ...]:
    return consortium.study.study.sites


def conducted(
    consortium: Consortium, grid: LossyGrid, progress: Progress | None = None, patience: Patience | None = None
) -> StudyResult:
    with consortium.coordinator() as coordinator:
        conduct(grid, coordinator, progress, patience, grid.time.clock)
        return coordinator.finish()


def test_both_rounds_over_messages_in_bytes(federation: Federation) -> None:
    events = []
    consortium, sites, grid = federation({"ITAL": LARGE, "NORW": LARGE + 20, "tiny": SMALL})
    result = conducted(consortium, grid, lambda *event: events.append(event))
    assert [len(site.receipts) for site in result.sites] == [2, 2, 1]
    assert [site.asked for site in sites] == [2, 2, 1]
    assert events == [
        ("round 1", 1, 3),
        ("round 1", 2, 3),
        ("round 1", 3, 3),
        ("round 2", 1, 2),
        ("round 2", 2, 2),
    ]


def test_a_straggler_costs_the_others_nothing_but_the_wait(federation: Federation) -> None:
    time = Time()
    consortium, _, grid = federation(
        {"tiny": SMALL, "wee": SMALL + 1}, time=time, until={1: 1e9}, deadline_seconds=100
    )
    result = conducted(consortium, grid)
    assert [site.entry.name for site in result.sites] == ["tiny"]
    assert result.refusals == ()
    assert 100 <= time.seconds < 100 + 2 * POLL_SECONDS, "one deadline, and not a second one for round 2"


def test_a_reply_just_before_the_deadline_counts(federation: Federation) -> None:
    time = Time()
    sizes = {"tiny": SMALL, "wee": SMALL + 1}
    consortium, _, grid = federation(sizes, time=time, until={1: 90}, deadline_seconds=100)
    assert [site.entry.name for site in conducted(consortium, grid).sites] == ["tiny", "wee"]
    assert time.seconds < 100


def test_after_the_deadline_the_same_study_goes_on_and_nobody_pays_twice(federation: Federation) -> None:
    sizes, time = {"tiny": SMALL, "wee": SMALL + 1}, Time()
    consortium, sites, grid = federation(sizes, time=time, until={1: 1e9}, deadline_seconds=10, min_sites=2)
    with pytest.raises(TooFewSites, match="1 of 2"):
        conducted(consortium, grid)
    run(consortium, "process")
    with consortium.coordinator() as coordinator:
        result = coordinator.finish()
    assert [len(site.receipts) for site in result.sites] == [1, 1]
    assert sites[0].asked == 1
    ledger = Ledger(consortium.site(1).folder / "ledger.sqlite", Decimal(1))
    assert len(ledger.receipts()) == 1, "though it was asked twice"
    ledger.close()


def test_a_refusal_ends_the_wait_for_that_site_only(federation: Federation, schema: Schema) -> None:
    time = Time()
    consortium, _, grid = federation({"tiny": SMALL, "wee": SMALL + 1}, time=time)
    policy = consortium.site(1).folder / "policy.json"
    policy.write_text('{"coordinators": [], "approvals": []}')
    result = conducted(consortium, grid)
    assert [site.entry.name for site in result.sites] == ["tiny"]
    assert [(entry.site, entry.code) for entry in result.refusals] == [("wee", "NOT_APPROVED")]
    assert time.seconds < 2 * POLL_SECONDS


def test_a_node_out_of_reach_is_asked_again_after_a_while_and_pays_once(federation: Federation) -> None:
    time = Time()
    errors = {0: [ErrorCode.NODE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE]}
    consortium, sites, grid = federation({"tiny": SMALL}, time=time, errors=errors)
    result = conducted(consortium, grid)
    assert [len(site.receipts) for site in result.sites] == [1]
    assert sites[0].asked == 3
    assert time.seconds >= 2 * RETRY_SECONDS
    assert result.refusals == ()


def test_what_flower_says_about_a_failed_app_is_not_kept(federation: Federation) -> None:
    errors = {1: [ErrorCode.CLIENT_APP_RAISED_EXCEPTION]}
    consortium, _, grid = federation({"tiny": SMALL, "wee": SMALL + 1}, errors=errors)
    result = conducted(consortium, grid)
    assert [site.entry.name for site in result.sites] == ["tiny"]
    assert [(entry.site, entry.code) for entry in result.refusals] == [("wee", "UNAVAILABLE")]
    assert "42" not in str(result.refusals)


def test_two_nodes_of_one_site_and_a_node_of_none(federation: Federation, consortium_of: ConsortiumOf) -> None:
    """A restarted SuperNode can be listed twice, and a stranger can join: neither changes the result."""
    consortium, sites, grid = federation({"tiny": SMALL, "wee": SMALL + 1}, nodes=[0, 0, 1])
    stranger = consortium_of({"else": SMALL}, folder="elsewhere").site(0)
    connections: list[Any] = [sites[0], stranger, sites[1]]
    strange = LossyGrid(relay(lambda context: connections[_partition(context)]), 3, Time())
    for each in (grid, strange):
        result = conducted(consortium, each)
        assert [(site.entry.name, len(site.receipts)) for site in result.sites] == [("tiny", 1), ("wee", 1)]
        assert result.refusals == ()


def _partition(context: Context) -> int:
    return int(context.node_config[PARTITION_ID_KEY])


def answers(grid: LocalGrid, messages: list[Message]) -> list[Message]:
    """The reply to each message; a node of this process always answers."""
    waiting = list(grid.push_messages(messages))
    return [reply for _ in waiting for reply in grid.pull_messages(waiting)]


class Failing:
    """A site that fails with a record in its hands."""

    def describe(self) -> bytes:
        raise ValueError("patient 17 has 42")

    def answer(self, request: bytes) -> bytes:
        raise ValueError("patient 17 has 42")


@pytest.mark.parametrize("kind", ["query.describe", "query.synthesize"])
def test_no_exceptions_text_leaves_the_relay(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    grid = LocalGrid(relay(lambda context: Failing()), 1)
    (node,) = grid.get_node_ids()
    with caplog.at_level(logging.DEBUG):
        (reply,) = answers(grid, [Message(to_records(b"{}"), node, kind)])
    assert not reply.has_error()
    refusal = decode(from_records(reply.content))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.UNAVAILABLE
    assert "17" not in refusal.sentence + caplog.text
    assert "ValueError" in caplog.text


def test_a_relay_starts_without_what_it_never_reads() -> None:
    """A process of it starts for every message; what computes and what parses would be half of that."""
    loaded = "import sys, cohortmix.client.app; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    modules = set(found.stdout.split())
    assert {"cohortmix.client.app", "cohortmix.protocol.transport.codec"} <= modules
    assert not modules & {"cohortmix.core", "cohortmix.protocol.messages", "pyarrow", "scipy", "jax"}


def test_the_relay_adds_nothing_and_takes_nothing_away(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL})
    grid = LocalGrid(relay(lambda context: consortium.site(0)), 1)
    (node,) = grid.get_node_ids()
    with consortium.coordinator() as coordinator:
        request = coordinator.requests()["tiny"]
    (described,) = answers(grid, [Message(RecordDict(), node, "query.describe")])
    (answered,) = answers(grid, [Message(to_records(request), node, "query.synthesize")])
    assert from_records(described.content) == consortium.site(0).describe()
    assert from_records(answered.content) == consortium.site(0).answer(request)
    description = decode(from_records(described.content))
    assert isinstance(description, Description)
    assert description.patients == SMALL


def test_another_question_is_not_answered(consortium_of: ConsortiumOf) -> None:
    grid = LocalGrid(relay(partial(_never, AssertionError)), 1)
    (node,) = grid.get_node_ids()
    (reply,) = answers(grid, [Message(RecordDict(), node, "query.records")])
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION


def _never(error: type[Exception], context: Context) -> NoReturn:
    raise error
