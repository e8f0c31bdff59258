"""A site or the coordinator of a joint study is killed at a random point, again and again, and the study goes on.

A kill is an exception that nothing catches, at a random call of our code or around a random transaction of a
ledger or of the coordinator's store: before it, before its end, so that nothing of it is written, or right after
it. Then all that was in memory is gone, and the study goes on from the disk. Where secrets and noise are keyed it
has to end with the same bytes as undisturbed; in every other study they are real, and no draw can be repeated.

COHORTMIX_KILLS says how many kills there are; 100 take some minutes.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from joint_studies import (
    TWO_ROUNDS,
    coordinating,
    counts,
    joint_consortium,
    ledger_of,
    step_of,
    sum_of_answers,
    total,
)

from cohortmix.client.ledger.history import COMMITTED, RESERVED
from cohortmix.client.ledger.reservation import ANSWERED, PAID
from cohortmix.client.ledger.sum_steps import TAKEN, Taken
from cohortmix.client.site.joint_sum import JointSum
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.protocol.messages import Refusal, decode
from cohortmix.protocol.receipts import verify, verify_chain
from cohortmix.protocol.steps import STEPS, Ask, SignedReply
from cohortmix.protocol.storage.database import Database
from cohortmix.protocol.study import JointNoise

KILLS = int(os.environ.get("COHORTMIX_KILLS", "12"))
KILLS_OF_A_STUDY = 4
LOSES_THE_STORE = 0.1  # share of the kills after which the coordinator has to begin again, with the same sites
SIZES = {"ITAL": 120, "NORW": 90, "tiny": 1}
ALL_THREE = JointNoise(conspirators=1, tolerated_dropouts=0)  # T = 3, two share the noise


class Killed(BaseException):
    """Nothing catches it."""


# --- where a kill happens


@dataclass
class Fuse:
    """Counts the places of one kind that are passed, and goes off at one of them.

    Attributes
    ----------
    kind : "call" for each call of a function of ours, "write" for three places around each transaction.
    at : the place at which it goes off; 0 for never.
    """

    kind: str
    at: int = 0
    passed: int = 0

    def pass_by(self, kind: str) -> None:
        if kind == self.kind:
            self.passed += 1
            if self.passed == self.at:
                raise Killed

    @contextmanager
    def lit(self) -> Iterator[None]:
        """Count, and go off, inside of this context."""
        with pytest.MonkeyPatch.context() as patch:
            if self.kind == "write":
                patch.setattr(Database, "transaction", self._around(Database.transaction))
                yield
                return
            before = sys.gettrace()
            sys.settrace(self._called)
            try:
                yield
            finally:
                sys.settrace(before)

    def _around(self, transaction: Callable[[Database], Any]) -> Callable[[Database], Any]:
        @contextmanager
        def around(database: Database) -> Iterator[None]:
            self.pass_by("write")
            with transaction(database):
                yield
                self.pass_by("write")
            self.pass_by("write")

        return around

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        code, caller = frame.f_code, frame.f_back
        # What closes a file is left alone: a process that is killed leaves no file open, one that goes on would.
        closes = code.co_name in ("close", "__exit__", "<lambda>") or code.co_flags & CO_GENERATOR
        if event == "call" and not closes and is_ours(frame) and caller is not None and is_ours(caller):
            self.pass_by("call")


def is_ours(frame: FrameType) -> bool:
    """Whether it is code of this package; what pydantic calls of it would be reported as an error of pydantic."""
    return str(frame.f_globals.get("__name__")).startswith("cohortmix.")


# --- a study that is carried, and all that its sites ever said


@dataclass
class Said:
    """By site, sum and step, all replies that the site ever gave, also those that were lost on the way."""

    replies: dict[tuple[str, str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    refused: Counter[str] = field(default_factory=Counter)

    def note(self, site: str, request: bytes, reply: bytes) -> None:
        step = step_of(request)
        message = decode(reply)
        if isinstance(message, Refusal):
            self.refused[message.code] += 1
        else:
            self.replies[site, step.request.sum, step.ask.step].add(reply)


def carry_on(consortium: Consortium, said: Said, chance: random.Random, again: float = 0.2) -> None:
    """From where the study stands to its end; sites reply in any order, and a share of them twice."""
    with coordinating(consortium) as coordinator:
        more = True
        while more:
            asked = list(coordinator.requests().items())
            chance.shuffle(asked)
            for site, request in asked:
                for _ in range(1 + (chance.random() < again)):
                    reply = consortium.site(list(SIZES).index(site)).answer(request)
                    said.note(site, request, reply)
                    coordinator.accept(site, reply)
            more = coordinator.advance()


def released(consortium: Consortium) -> list[Any]:
    """All that the coordinator has read and published by the end."""
    with coordinating(consortium) as coordinator:
        sums = [total(coordinator, round) for round in (1, 2)]
        assert all(values is not None for values in sums)
        store = coordinator._store
        kept = [store.replies(1), store.replies(2), store.common(), store.receipts()]
        return [*kept, *(values.tolist() for values in sums if values is not None)]


def violations(consortium: Consortium, said: Said) -> list[str]:
    """All in which a study that was killed differs from what it has to be."""
    found = [
        f"{site} has replied twice to {step}" for (site, _, step), all in said.replies.items() if len(all) > 1
    ]
    found += [f"refused: {code}" for code in said.refused]
    for site in SIZES:
        if counts(consortium, site) != {RESERVED: 2, PAID: 2, ANSWERED: 2, COMMITTED: 2, TAKEN: 10}:
            found.append(f"{site} has {counts(consortium, site)}")
        if len({sum for name, sum, _ in said.replies if name == site}) != 2:
            found.append(f"{site} has not taken part in two sums")
        with ledger_of(consortium, site) as ledger:
            taken = [ledger._journal.read(row, Taken) for row in ledger._journal.steps(TAKEN)]
            consents = [one.reply.reply.sum for one in taken if one.ask.step == "consent" and one.reply]
            if len(consents) != 2 or len(set(consents)) != 2:
                found.append(f"{site} has consented {len(consents)} times")
            verify_chain([signed.receipt for signed in ledger.receipts()], complete=True)
            for signed in ledger.receipts():
                verify(signed, consortium.study.study)
    with coordinating(consortium) as coordinator:
        for round in (1, 2):
            read, answers = total(coordinator, round), sum_of_answers(consortium, SIZES, round)
            if read is None or not np.array_equal(read, answers):
                found.append(f"round {round} is not the sum of the answers in the ledgers")
    return found


def study_of_three(folder: Path, seed: int | None = 1) -> Consortium:
    return joint_consortium(folder, SIZES, TWO_ROUNDS * 2, joint=ALL_THREE, seed=seed)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, int]]:
    """What is released when nothing is killed, and how many places there are of each kind."""
    places = {}
    for kind in ("write", "call"):
        consortium = study_of_three(tmp_path_factory.mktemp("whole") / "study")
        fuse, said = Fuse(kind), Said()
        with fuse.lit():
            carry_on(consortium, said, random.Random(0))
        places[kind] = fuse.passed
        assert violations(consortium, said) == []
    return released(consortium), places


def test_killed_anywhere_the_study_ends_the_same(
    undisturbed: tuple[list[Any], dict[str, int]], tmp_path: Path
) -> None:
    """The same bytes of every release, two debits at each site, one reply to each step, and one consent a sum."""
    expected, places = undisturbed
    chance, killed = random.Random(23), Counter[str]()
    for number in range(-(-KILLS // KILLS_OF_A_STUDY)):
        seed = None if number % 2 else 1
        consortium, said = study_of_three(tmp_path / f"study {number}", seed), Said()
        for _ in range(KILLS_OF_A_STUDY):
            kind = chance.choice(["write", "call"])
            fuse = Fuse(kind, chance.randint(1, places[kind] // (KILLS_OF_A_STUDY // 2)))
            try:
                with fuse.lit():
                    carry_on(consortium, said, chance)
            except Killed:
                killed[kind] += 1
                if chance.random() < LOSES_THE_STORE:
                    for file in (consortium.root / "coordinator").glob("study.[dm]*"):
                        file.unlink()
        carry_on(consortium, said, chance)
        assert violations(consortium, said) == [], f"study {number}"
        if seed is not None:
            assert released(consortium) == expected, f"study {number}"
    assert killed.total() >= KILLS // 2
    assert KILLS < 12 or min(killed["write"], killed["call"]) > 0


def test_a_site_that_computes_a_step_anew_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negation: without a reply that is kept, the shares of its secrets are others at each try."""
    reply = JointSum.reply

    def forgetful(sum: JointSum, ask: Ask, committed: bool) -> SignedReply:
        reply(sum, ask, committed)
        return sum._computed(ask, None, committed)

    monkeypatch.setattr(JointSum, "reply", forgetful)
    consortium, said = study_of_three(tmp_path / "study"), Said()
    carry_on(consortium, said, random.Random(0), again=1)
    assert {step for _, _, step in said.replies} == set(STEPS)
    twice = [f"{site} has replied twice to shares" for site in SIZES for _ in (1, 2)]
    assert sorted(violations(consortium, said)) == sorted(twice)


def test_a_lost_draw_would_be_found_out(tmp_path: Path) -> None:
    """A ledger that was set back to before a step: the step is taken again, and the store has another release."""
    consortium, said = study_of_three(tmp_path / "study"), Said()
    carry_on(consortium, said, random.Random(0))
    assert violations(consortium, said) == []
    for file in (consortium.root / "sites" / "tiny").glob("ledger.sqlite*"):
        file.unlink()
    assert any("tiny has" in text for text in violations(consortium, said))
