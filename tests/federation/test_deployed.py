"""What a deployed study lives with and a simulation does not: days of waiting, lost messages, lies, clocks."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from by_hand import ConsortiumOf
from flwr.app import Error, Message
from flwr.common.constant import PARTITION_ID_KEY, ErrorCode

from cohortmix.client.app import relay
from cohortmix.client.ledger.policy import Policy
from cohortmix.deploy.simulation.consortium import Consortium, SiteFolder
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.messages import Code, Description, Refusal, decode, encode
from cohortmix.server.app import conduct
from cohortmix.server.commands.status import State, Status
from cohortmix.server.patience import Clock, Patience
from cohortmix.server.result import StudyResult, TooFewSites
from cohortmix.server.study import Study

LARGE, SMALL = 300, 60
DEADLINE = 2000
PATIENCE = Patience.of_deployment(DEADLINE)
ASKED_AGAIN = min(600, max(60, DEADLINE / 10))  # seconds after a refusal, as `of_deployment` has it


class Time:
    """Time passes only while the coordinator waits, and the clock on the wall can be set."""

    def __init__(self) -> None:
        self.seconds = self.set_by = 0.0

    def pause(self, seconds: float) -> None:
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds + self.set_by, lambda: self.seconds, self.pause)


class Node:
    """A node of a site; a test says what it does instead of answering."""

    def __init__(
        self, behind: SiteFolder, instead: Callable[[bytes], bytes | None] = lambda request: None
    ) -> None:
        self.behind, self.instead, self.asked = behind, instead, 0

    def describe(self) -> bytes:
        return self.behind.describe()

    def answer(self, request: bytes) -> bytes:
        self.asked += 1
        return self.instead(request) or self.behind.answer(request)


class Net(LocalGrid):
    """Loses the first replies of node 0, if told to, and keeps the times that messages are given."""

    def __init__(self, nodes: list[Node], lost: int = 0) -> None:
        super().__init__(relay(lambda context: nodes[int(context.node_config[PARTITION_ID_KEY])]), len(nodes))
        self.lost = lost
        self.times: list[float] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self.times += [each.metadata.ttl for each in messages if each.metadata.message_type == "query.synthesize"]
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._lost(message) for message in super().pull_messages(list(message_ids))]

    def _lost(self, message: Message) -> Message:
        first = message.metadata.src_node_id == next(iter(self.get_node_ids()))
        if not self.lost or not first or message.metadata.message_type != "query.synthesize":
            return message
        self.lost -= 1
        error = Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "expired"), reply_to=message)
        error.metadata.__dict__["_reply_to_message_id"] = message.metadata.reply_to_message_id
        return error


def conducted(consortium: Consortium, net: Net, time: Time, patience: Patience = PATIENCE) -> StudyResult:
    with consortium.coordinator() as coordinator:
        conduct(net, coordinator, None, patience, time.clock)
        return coordinator.finish()


def names(result: StudyResult) -> list[str]:
    return [site.entry.name for site in result.sites]


def refusal(code: Code) -> bytes:
    return encode(Refusal(code=code, sentence="No."))


@pytest.fixture
def two(consortium_of: ConsortiumOf) -> Consortium:
    return consortium_of({"tiny": SMALL, "wee": SMALL + 1}, deadline_seconds=DEADLINE)


def test_a_steward_who_approves_late_is_in_time(two: Consortium) -> None:
    """NOT_APPROVED may pass: the site is asked again until its steward has come to it."""
    time, site = Time(), two.site(1)
    approved = Policy.load(site.folder / "policy.json")
    site.adopt(Policy())

    def approve(request: bytes) -> None:
        if time.seconds > DEADLINE / 2:
            site.adopt(approved)

    nodes = [Node(two.site(0)), Node(site, approve)]
    result = conducted(two, Net(nodes), time)
    assert names(result) == ["tiny", "wee"]
    assert DEADLINE / 2 < time.seconds < DEADLINE
    assert nodes[0].asked == 1
    assert nodes[1].asked == pytest.approx(DEADLINE / 2 / ASKED_AGAIN, abs=2)
    assert [(entry.site, entry.code) for entry in result.refusals] == [("wee", "NOT_APPROVED")], "noted once"


@pytest.mark.parametrize("code", list(Code))
def test_no_unsigned_refusal_ends_the_wait_for_a_site(two: Consortium, code: Code) -> None:
    """A relay, or anyone on the way, can write one; the site's own answer still counts, up to the deadline."""
    time = Time()

    def forged(request: bytes) -> bytes | None:
        return refusal(code) if time.seconds < DEADLINE * 3 / 4 else None

    nodes = [Node(two.site(0)), Node(two.site(1), forged)]
    assert names(conducted(two, Net(nodes), time)) == ["tiny", "wee"]
    assert DEADLINE * 3 / 4 <= time.seconds < DEADLINE


def test_a_daemon_that_starts_again_is_in_time_for_a_short_deadline(consortium_of: ConsortiumOf) -> None:
    short = 60
    two, time = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, deadline_seconds=short), Time()

    def starting(request: bytes) -> bytes | None:
        return refusal(Code.UNAVAILABLE) if time.seconds < short / 2 else None

    nodes = [Node(two.site(0)), Node(two.site(1), starting)]
    assert names(conducted(two, Net(nodes), time, Patience.of_deployment(short))) == ["tiny", "wee"]
    assert short / 2 <= time.seconds < short


def test_a_short_deadline_is_not_spent_on_waiting_between_two_looks() -> None:
    assert [Patience.of_deployment(seconds).poll for seconds in (1, 45, 180, 86_400)] == [0.5, 0.75, 3, 3]


@pytest.mark.parametrize("code", [Code.OVER_BUDGET, Code.NOT_APPROVED])
def test_a_site_that_refuses_is_asked_until_the_deadline(two: Consortium, code: Code) -> None:
    time = Time()
    nodes = [Node(two.site(0)), Node(two.site(1), lambda request: refusal(code))]
    assert names(conducted(two, Net(nodes), time)) == ["tiny"]
    assert time.seconds >= 2 * DEADLINE, "of both rounds: a late site is welcome in the second one"
    assert nodes[1].asked == pytest.approx(2 * DEADLINE / ASKED_AGAIN, abs=2)


def test_a_forged_description_does_not_end_the_wait_for_a_site(
    two: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone on the way can say that a node is of another site."""
    time, node = Time(), Node(two.site(1))
    facts = decode(node.describe())
    assert isinstance(facts, Description)
    other = encode(facts.model_copy(update={"key": "a" * 64}))
    true = node.describe
    monkeypatch.setattr(node, "describe", lambda: other if time.seconds < DEADLINE / 2 else true())
    assert names(conducted(two, Net([Node(two.site(0)), node]), time)) == ["tiny", "wee"]
    assert DEADLINE / 2 <= time.seconds < DEADLINE


@pytest.mark.parametrize("lie", ["nothing", "another's release", "over budget", "an old release"])
def test_a_node_that_speaks_for_a_site_without_its_key_changes_nothing(
    two: Consortium, consortium_of: ConsortiumOf, lie: Any
) -> None:
    """It is asked too, and whatever it says, the site's own node still counts, though that comes later."""
    other = consortium_of({"tiny": SMALL}, folder="other", name="an older study")
    with other.coordinator() as coordinator:
        old = other.site(0).answer(coordinator.requests()["tiny"])
    lies = {
        "nothing": lambda request: b"{}",
        "another's release": lambda request: refusal(Code.UNAVAILABLE),
        "over budget": lambda request: refusal(Code.OVER_BUDGET),
        "an old release": lambda request: old,
    }
    time = Time()

    def late(request: bytes) -> bytes | None:
        return None if time.seconds > DEADLINE / 2 else refusal(Code.UNAVAILABLE)

    nodes = [Node(two.site(0), lies[lie]), Node(two.site(0), late), Node(two.site(1))]
    result = conducted(two, Net(nodes), time)
    assert [(site.entry.name, len(site.receipts)) for site in result.sites] == [("tiny", 1), ("wee", 1)]
    assert nodes[0].asked >= 1
    assert time.seconds < DEADLINE


def test_a_lost_reply_is_asked_for_again_each_time_with_twice_the_time(two: Consortium) -> None:
    net, time = Net([node := Node(two.site(0)), Node(two.site(1))], lost=3), Time()
    result = conducted(two, net, time)
    assert [len(site.receipts) for site in result.sites] == [1, 1], "and it cost one release"
    assert node.asked == 4
    times = sorted(net.times)
    assert times == sorted([PATIENCE.answer] + [PATIENCE.answer * 2**loss for loss in range(4)])
    assert result.refusals == ()


@pytest.mark.parametrize("jump", [1e9, -1e9])
def test_a_clock_that_jumps_changes_the_wait_and_not_what_counts(two: Consortium, jump: float) -> None:
    time = Time()

    def set_clock(request: bytes) -> bytes | None:
        time.set_by = jump
        return refusal(Code.UNAVAILABLE) if time.seconds < 500 else None

    nodes = [Node(two.site(0)), Node(two.site(1), set_clock)]
    result = conducted(two, Net(nodes), time, PATIENCE._replace(late=False))
    assert names(result) == (["tiny"] if jump > 0 else ["tiny", "wee"])
    time.set_by, time.seconds = 0.0, 600.0
    result = conducted(two, Net(nodes), time)
    assert [(site.entry.name, len(site.receipts)) for site in result.sites] == [("tiny", 1), ("wee", 1)]


def test_a_run_after_the_deadline_gives_everybody_one_more_chance(two: Consortium) -> None:
    time, nodes = Time(), [Node(two.site(0)), Node(two.site(1), lambda request: refusal(Code.UNAVAILABLE))]
    conducted(two, Net(nodes), time)
    assert Status.of(Study(two.root / "coordinator")).state is State.COMPLETE
    over = time.seconds
    time.seconds, nodes[1].instead = 100 * DEADLINE, lambda request: None
    assert names(conducted(two, Net(nodes), time)) == ["tiny", "wee"]
    assert over > DEADLINE
    assert time.seconds < 101 * DEADLINE


def test_too_few_answers_by_the_deadline_end_a_run_and_keep_what_came(consortium_of: ConsortiumOf) -> None:
    two, time = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, deadline_seconds=DEADLINE, min_sites=2), Time()
    nodes = [Node(two.site(0)), Node(two.site(1), lambda request: refusal(Code.UNAVAILABLE))]
    with pytest.raises(TooFewSites, match="1 of 2"):
        conducted(two, Net(nodes), time)
    status = Status.of(Study(two.root / "coordinator"))
    assert (status.state, status.count(1), status.publishable) == (State.ROUND_1, (1, 2), False)
    assert [site.entry.name for site in status.missing] == ["wee"]


@pytest.mark.parametrize("deployed", [True, False])
def test_round_two_waits_for_a_late_site_only_where_sites_are_days_apart(
    consortium_of: ConsortiumOf, deployed: Any
) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, deadline_seconds=DEADLINE)
    time = Time()

    def late(request: bytes) -> bytes | None:
        return None if time.seconds > 1.5 * DEADLINE else refusal(Code.UNAVAILABLE)

    patience = PATIENCE if deployed else PATIENCE._replace(late=False)
    result = conducted(consortium, Net([Node(consortium.site(0)), Node(consortium.site(1), late)]), time, patience)
    assert names(result) == (["tiny", "wee"] if deployed else ["tiny"])


def test_it_is_said_at_each_look_who_is_connected(two: Consortium) -> None:
    """A node counts as connected from its first word on, also where its steward has not approved."""
    time, seen = Time(), []
    two.site(0).adopt(Policy())

    class Silent(Node):
        def describe(self) -> bytes:
            if time.seconds < DEADLINE / 2:
                raise OSError("the daemon is not running")
            return super().describe()

    net = Net([Node(two.site(0)), Silent(two.site(1))])
    with two.coordinator() as coordinator:
        conduct(net, coordinator, None, PATIENCE, time.clock, lambda *look: seen.append(look))
    looks = list(dict.fromkeys((tuple(sorted(sites)), nameless) for sites, nameless in seen))
    assert looks[-2:] == [(("tiny",), 1), (("tiny", "wee"), 0)]
    assert len(looks) <= 4, "and it does not flicker"
