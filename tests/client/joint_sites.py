"""A site of a joint study in one process, and the other sites and the coordinator that it talks to.

Four sites, of which three have to be in a sum and one may conspire; the one in question is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from masked_sums import Sum, content_of, key_of, names, part_of, plain_sum, seeds_of, study_of, values_of
from numpy.typing import NDArray
from sites import SCHEMA as SMALL_SCHEMA
from sites import CountingNoise, table

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Peer, Policy
from cohortmix.client.site.site import Site
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import Source, TableSource
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.masks import integers, total, words
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.messages import (
    CommonMessage,
    MaskedRelease,
    Request,
    SignedRelease,
    SignedStepReply,
    StepRequest,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.signing import sign_step, sign_study
from cohortmix.protocol.steps import (
    STEPS,
    Ask,
    AskConsent,
    AskInput,
    AskKeys,
    AskShares,
    AskUnmask,
    Box,
    Boxes,
    Shares,
    SignedReply,
    Step,
)

FOUR = names(4)
ME, PEERS = FOUR[0], FOUR[1:]
KEY, COORDINATOR = key_of(ME), key_of("coordinator")
ONE_ROUND, TWO_ROUNDS = "0.01", "4"  # mu; at the first one 400 patients are too few for pairs


@cache
def joint_spec(mu: str = ONE_ROUND, **changes: Any) -> StudySpec:
    """A study of the four sites with 100 patients each."""
    return study_of(
        4,
        1,
        1,
        schema_hash=SMALL_SCHEMA.hash,
        mu=Decimal(mu),
        noise="TEST",
        version=version("cohortmix"),
        **changes,
    )


def policy_for(*studies: StudySpec, peers: Iterable[str] = PEERS) -> Policy:
    """These studies approved, and these peers enrolled with their keys."""
    policy = Policy(coordinators=(COORDINATOR.public_hex,))
    for spec in studies:
        policy = policy.approve(spec)
    return policy.enrol_peers(Peer(name=name, key=key_of(name).public_hex) for name in peers)


def joint_site(ledger: Ledger, *studies: StudySpec, source: Source | None = None, **changes: Any) -> Site:
    """The site, with secrets that are the same each time."""
    values: dict[str, Any] = {
        "policy": policy_for(*studies or (joint_spec(),)),
        "noise": CountingNoise(),
        "draw": seeds_of(ME),
    } | changes
    return Site(ME, source or TableSource(table(100)), SMALL_SCHEMA, ledger, key=KEY, **values)


def plan_of(spec: StudySpec) -> Plan:
    return spec.plan(SMALL_SCHEMA, 100)


def common_facts(spec: StudySpec) -> CommonMessage:
    """Any that a site takes: each feature in two groups, flat margins, all patients in equal classes."""
    sizes, classes = Encoding.of(SMALL_SCHEMA).sizes, len(SMALL_SCHEMA.classes)
    cells = np.concatenate([np.full((classes, size), 1 / size) for size in sizes], axis=1)
    masses = np.full(classes, spec.patients / classes)
    groups = tuple(tuple(min(cell, 1) for cell in range(size)) for size in sizes)
    return CommonMessage(groups=groups, cells=Array.of(cells), masses=Array.of(masses), s_a=Decimal(1))


class Others:
    """The coordinator of a study and its other sites, in one sum.

    Parameters
    ----------
    common : the common facts of round 2; None for round 1.
    """

    def __init__(self, spec: StudySpec | None = None, common: CommonMessage | None = None) -> None:
        self.spec, self.common = spec or joint_spec(), common
        round = 1 if common is None else 2
        id = request_id(self.spec.hash, ME, round)
        self.request = Request(
            study=sign_study(COORDINATOR, self.spec), round=1 if round == 1 else 2, request_id=id, common=common
        )
        self.parts = {name: part_of(self.spec, name, self.request.sum) for name in PEERS}
        self.sum = Sum(self.parts)
        self.replies: dict[Step, bytes] = {}
        self.boxes: dict[str, dict[str, str]] = {}  # by sender and receiver, sealed once

    def message(self, ask: Ask, by: str = "coordinator", **changes: Any) -> bytes:
        """A step under the coordinator's signature."""
        request = self.request.model_copy(update=changes)
        return encode(sign_step(key_of(by), StepRequest(request=request, ask=ask)))

    def ask(self, step: Step) -> Ask:
        """What an honest coordinator asks the site in a step, once the ones before have been replied to."""
        if step == "keys":
            return AskKeys()
        if step == "shares":
            return self.told
        if step == "input":
            return AskInput(boxes=tuple(Box(site=name, sealed=self.sealed(name)[ME]) for name in FOUR))
        if step == "consent":
            return AskConsent(survivors=FOUR)
        return AskUnmask(consents=self.consents())

    @property
    def told(self) -> AskShares:
        """The keys of all four."""
        return AskShares(keys=(self.reply("keys"), *(part.keys() for part in self.parts.values())))

    def sealed(self, sender: str) -> dict[str, str]:
        """By receiver, the boxes of a site; a site seals them once."""
        if sender not in self.boxes:
            reply = self.reply("shares") if sender == ME else self.parts[sender].shares(self.told)
            self.boxes[sender] = {box.site: box.sealed for box in content_of(reply, Boxes).boxes}
        return self.boxes[sender]

    def boxes_for(self, name: str) -> AskInput:
        return AskInput(boxes=tuple(Box(site=sender, sealed=self.sealed(sender)[name]) for sender in FOUR))

    def consents(
        self, survivors: tuple[str, ...] = FOUR, signers: Sequence[str] = FOUR
    ) -> tuple[SignedReply, ...]:
        """What sites sign; this site's own is the one that it has given."""
        asked = AskConsent(survivors=survivors)
        return tuple(
            self.reply("consent")
            if name == ME
            else self.parts[name].consent(self.told, self.boxes_for(name), asked)
            for name in signers
        )

    def reply(self, step: Step) -> SignedReply:
        """What the site has replied."""
        message = decode(self.replies[step])
        assert isinstance(message, SignedStepReply), message
        return message.signed

    def take(self, step: Step, answer: Callable[[bytes], bytes]) -> bytes:
        """Ask the site for one step, and keep its reply."""
        self.replies[step] = answer(self.message(self.ask(step)))
        return self.replies[step]

    def go_to(self, step: Step, answer: Callable[[bytes], bytes]) -> None:
        """All steps before this one."""
        for each in STEPS[: STEPS.index(step)]:
            self.take(each, answer)

    def go_through(self, answer: Callable[[bytes], bytes]) -> dict[Step, bytes]:
        """All five; the messages that the site was sent."""
        sent = {}
        for step in STEPS:
            sent[step] = self.message(self.ask(step))
            self.replies[step] = answer(sent[step])
        return sent

    @property
    def release(self) -> SignedRelease:
        """What the site has replied to `input`."""
        message = decode(self.replies["input"])
        assert isinstance(message, SignedRelease), message
        return message

    def read(self) -> list[int]:
        """The site's own answer: the sum that is read, less the vectors of the others, which are known here."""
        release = self.release.release
        assert isinstance(release, MaskedRelease)
        size = release.values.shape[0]
        values = values_of(PEERS, size)
        inputs = {ME: words(release.values.numpy())} | {
            name: self.sum.masked(self.told, {name: self.boxes_for(name)}, values, name) for name in PEERS
        }
        asked, unmask = AskConsent(survivors=FOUR), AskUnmask(consents=self.consents())
        shares = {ME: content_of(self.reply("unmask"), Shares)} | {
            name: content_of(part.unmask(self.told, self.boxes_for(name), asked, unmask), Shares)
            for name, part in self.parts.items()
        }
        reading = Reading(Roster(self.told.keys), FOUR, FOUR, self.spec.terms.threshold)
        read: NDArray[np.int64] = integers(reading.read(total(inputs.values()), shares))
        return plain_sum([read, *(-vector for vector in values.values())], size)


@dataclass
class Reads:
    """A source that counts how often it is read."""

    source: Source
    number: int = 0

    def batches(self) -> Any:
        self.number += 1
        return self.source.batches()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)
