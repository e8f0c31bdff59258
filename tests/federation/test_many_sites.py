"""Laws of a coordinator of many sites that need no clock: nothing is held twice, and nothing grows faster than S.

The sites are those of the benchmark (`tests/benchmarks/made_sites.py`): each signs, none computes.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import key_of
from flwr.app import Context, Message
from flwr.common.constant import PARTITION_ID_KEY
from joint_studies import carry_to, coordinating, joint_consortium, sum_of_answers, total
from made_sites import MadeSites

from cohortmix.client.app import relay
from cohortmix.core.data.schema import Schema
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.messages import Description, SignedStepReply, decode, encode
from cohortmix.protocol.signing import sign_reply, sign_study
from cohortmix.protocol.steps import STEPS, Shares
from cohortmix.protocol.storage import hash_chain
from cohortmix.protocol.storage.database import Database
from cohortmix.server import coordinator as module
from cohortmix.server import joint_coordinator, kept, sum_round
from cohortmix.server.app import conduct
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.joint_coordinator import JointCoordinator
from cohortmix.server.patience import Patience
from cohortmix.server.store import Store

FEW, MU = 60, Decimal("0.3")  # patients of a site, who are too few for pairs
NARROW = Schema.from_yaml(
    """
name: narrow
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  outcome: {type: category, values: [good, bad]}
"""
)
WIDE = Schema.model_validate(
    {
        "name": "wide",
        "target": "outcome",
        "columns": {
            **{f"x{number}": {"type": "category", "values": [*map(str, range(100))]} for number in range(12)},
            "outcome": {"type": "category", "values": ["good", "bad"]},
        },
    }
)
BOTH = pytest.mark.parametrize("joint", [False, True], ids=["each", "joint"])


@contextmanager
def coordinator_of(sites: MadeSites, folder: Path | None = None) -> Iterator[Coordinator]:
    """The coordinator of a study of these sites, with a store in a folder, or in memory."""
    kind = JointCoordinator if sites.study.joint else Coordinator
    path = ":memory:" if folder is None else folder / f"{len(sites.keys)}.db"
    with Store(path, sites.study.hash) as store:
        yield kind(sign_study(sites.coordinator_key, sites.study), sites.coordinator_key, sites.schema, store)


def grid_of(sites: MadeSites) -> LocalGrid:
    """Flower's grid with a node for each site."""

    class Wire:
        def __init__(self, context: Context) -> None:
            self.entry = sites.study.sites[int(context.node_config[PARTITION_ID_KEY])]

        def describe(self) -> bytes:
            entry, study = self.entry, sites.study
            facts = (entry.name, entry.key, entry.patients, study.schema_hash)
            names = dict(zip(("site", "key", "patients", "schema_hash"), facts, strict=True))
            return encode(Description.model_validate(names | {"columns": (), "version": study.version}))

        def answer(self, request: bytes) -> bytes:
            return sites.reply(self.entry.name, request)

    return LocalGrid(relay(Wire), len(sites.keys))


def round_of(coordinator: Coordinator, sites: MadeSites) -> dict[str, bytes]:
    """The replies to one round, or one step of a joint one, which are accepted; by site."""
    replies = {site: sites.reply(site, request) for site, request in coordinator.messages_to(coordinator.due)}
    for site, reply in replies.items():
        assert coordinator.accept(site, reply) is Verdict.ACCEPTED
    return replies


def counting(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, seen: Counter[Any], key: Callable[..., Any]
) -> None:
    """Count the calls of a function by what `key` says of their arguments."""
    called = getattr(place, name)

    def call(*arguments: Any) -> Any:
        seen[key(*arguments)] += 1
        return called(*arguments)

    monkeypatch.setattr(place, name, call)


# --- time


@BOTH
def test_statements_and_messages_that_are_read_back_are_as_many_for_each_site(
    joint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one number of sites to the next, each costs the same."""
    statements: Counter[str] = Counter()
    monkeypatch.setattr(
        hash_chain, "SMALL", 0
    )  # else a content of more than so many bytes is read back, others not
    for name in ("write", "select", "transaction"):
        counting(monkeypatch, Database, name, statements, lambda *arguments: "all")
    counts = {}
    for number in (4, 6, 8):
        sites = MadeSites(number, NARROW, FEW, MU, joint)
        statements.clear()
        with coordinator_of(sites) as coordinator:
            conduct(grid_of(sites), coordinator, patience=Patience.of_simulation(60, at_once=1))
            coordinator.finish()
        counts[number] = statements["all"]
    first, second = counts[6] - counts[4], counts[8] - counts[6]
    assert second == first, counts


@BOTH
def test_a_reply_is_decoded_when_it_comes_and_once_again_at_most(
    joint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise of each: never again. A joint study holds no input, and reads each once more to add it up."""
    decoded: Counter[bytes] = Counter()
    for reader in (module, joint_coordinator, kept, sum_round):
        if hasattr(reader, "decode"):
            counting(monkeypatch, reader, "decode", decoded, lambda data: data)
    sites, replies = MadeSites(5, NARROW, FEW, MU, joint), set[bytes]()
    with coordinator_of(sites) as coordinator:
        replies |= set(round_of(coordinator, sites).values())
        while coordinator.advance() and coordinator.due:
            replies |= set(round_of(coordinator, sites).values())
        for _ in range(3):
            coordinator.finish()
    assert len(replies) >= (len(STEPS) if joint else 1) * 5
    assert max(decoded[reply] for reply in replies) == (2 if joint else 1)


# --- memory


def test_of_a_reply_its_numbers_stay_and_no_step_holds_all_replies(tmp_path: Path) -> None:
    """Numbers travel in base64, 11 bytes for each of 8; a coordinator that begins anew reads them one by one."""
    peaks, held, lengths = list[int](), list[int](), list[int]()
    for count in (6, 16):
        sites = MadeSites(count, WIDE, FEW, MU, joint=False)
        with coordinator_of(sites, tmp_path) as coordinator:
            replies = {site: sites.reply(site, asked) for site, asked in coordinator.messages_to(coordinator.due)}
            with traced() as memory:
                for site, reply in replies.items():
                    assert coordinator.accept(site, reply) is Verdict.ACCEPTED
                held.append(memory()[0])
            coordinator.freeze()
            lengths.append(len(reply))
        with coordinator_of(sites, tmp_path) as again, traced() as memory:
            again.finish()
            peaks.append(memory()[1])
    assert lengths[0] > 25_000
    numbers = 8 * lengths[1] / 11
    assert held[1] - held[0] < 10 * (numbers + 12_000), "of 10 sites more, with their receipts"
    assert peaks[1] - peaks[0] < 10 * (numbers + 20_000), "and what follows from them"


@contextmanager
def traced() -> Iterator[Callable[[], tuple[int, int]]]:
    """The bytes that Python and numpy hold now, and the most that they have held, since here."""
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()


@BOTH
def test_requests_are_there_one_at_a_time(joint: bool) -> None:
    sites = MadeSites(40, NARROW, FEW, MU, joint)
    with coordinator_of(sites) as coordinator:
        if joint:
            round_of(coordinator, sites)
            coordinator.advance()
        longest = len(next(iter(coordinator.messages_to(coordinator.due)))[1])
        with traced() as memory:
            for _, request in coordinator.messages_to(coordinator.due):
                longest = max(longest, len(request))
            assert memory()[1] < 10 * longest, "not those of all 40 sites"


def test_the_grid_of_one_process_holds_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sites, waiting = MadeSites(6, NARROW, FEW, MU, joint=False), list[int]()
    grid = grid_of(sites)
    pull = grid.pull_messages

    def watched(ids: Iterable[str]) -> Iterable[Message]:
        waiting.append(sum(len(message) > 1000 for message in grid._sent))
        return pull(ids)

    monkeypatch.setattr(grid, "pull_messages", watched)
    with coordinator_of(sites) as coordinator:
        conduct(grid, coordinator, patience=Patience.of_simulation(60, at_once=1))
    assert max(waiting) == 1


def test_of_the_shares_only_those_that_a_sum_needs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """None where every site gives its own secret; there are S^2 of them."""
    held: Counter[str] = Counter()
    read = Reading.read

    def watched(reading: Reading, masked: Any, replies: Any) -> Any:
        held["replies"] += len(replies)
        held["shares"] += sum(len(reply.shares) for reply in replies.values())
        return read(reading, masked, replies)

    monkeypatch.setattr(Reading, "read", watched)
    sites = MadeSites(6, NARROW, FEW, MU, joint=True)
    with coordinator_of(sites) as coordinator:
        round_of(coordinator, sites)
        while coordinator.round == 1 and coordinator.advance() and coordinator.round == 1:
            round_of(coordinator, sites)
    assert held == {"replies": 6, "shares": 0}


# --- and what is read is the same


def test_a_site_that_gives_a_false_secret_of_its_own_spoils_nothing(tmp_path: Path) -> None:
    """The shares of the others say what it should have given, and are read once more for it."""
    consortium = joint_consortium(tmp_path / "study")
    names = [entry.name for entry in consortium.study.study.sites]
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, unmask")
        for index, (site, request) in enumerate(sorted(coordinator.requests().items())):
            reply = decode(consortium.site(names.index(site)).answer(request))
            assert isinstance(reply, SignedStepReply)
            content = reply.signed.reply.content
            assert isinstance(content, Shares)
            if index == 0:
                false = content.model_copy(update={"own": "0" * 32})
                altered = reply.signed.reply.model_copy(update={"content": false})
                reply = SignedStepReply(signed=sign_reply(key_of(consortium, names.index(site)), altered))
            assert coordinator.accept(site, encode(reply)) is Verdict.ACCEPTED
        coordinator.advance()
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, names, 1))
