"""Sums through masks in one process: sites with fixed keys and secrets, and who carries what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.protocol.masking.masks import Words, integers, total
from cohortmix.protocol.masking.part import Part, Roster
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.masking.seeds import DrawSeed, Seeds
from cohortmix.protocol.messages import SiteEntry, StudySpec
from cohortmix.protocol.signing import Key
from cohortmix.protocol.steps import (
    SEED_BYTES,
    AskConsent,
    AskInput,
    AskShares,
    AskUnmask,
    Box,
    Boxes,
    Shares,
    SignedReply,
    Step,
)
from cohortmix.protocol.study import JointNoise

SUM, OTHER_SUM = "7" * 64, "8" * 64
"""The hashes of what is asked in two sums."""

Integers = NDArray[np.int64]
Names = tuple[str, ...]
Content = TypeVar("Content")


def names(count: int) -> Names:
    """Of so many sites, in their order."""
    return tuple(f"SITE {number:02}" for number in range(count))


@cache
def key_of(name: str) -> Key:
    """What a site signs with."""
    return Key.from_bytes(sha256(name.encode()).digest())


@cache
def study_of(sites: int, conspirators: int = 1, dropouts: int = 0, **changes: Any) -> StudySpec:
    """A joint study of sites with 100 patients each."""
    values: dict[str, Any] = {
        "name": "stroke",
        "schema_hash": "5" * 64,
        "target": "outcome",
        "mu": Decimal("0.268"),
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": tuple(SiteEntry(name=name, key=key_of(name).public_hex, patients=100) for name in names(sites)),
        "min_sites": sites - dropouts,
        "round_deadline_seconds": 600,
        "joint": JointNoise(conspirators=conspirators, tolerated_dropouts=dropouts),
        "version": "0.1.0",
        "coordinator_key": key_of("coordinator").public_hex,
    }
    return StudySpec(**values | changes)


def seeds_of(name: str) -> DrawSeed:
    """The same secrets each time, and others for each name and purpose."""
    return lambda purpose: sha256(f"{name} {purpose}".encode()).digest()[:SEED_BYTES]


def part_of(study: StudySpec, name: str, sum: str = SUM, seeds: str = "") -> Part:
    """A site's part in a sum; `seeds` names other secrets than the usual ones."""
    return Part(study, sum, name, key_of(name), Seeds.draw(seeds_of(f"{name} {sum} {seeds}")))


def values_of(sites: Iterable[str], size: int = 7) -> dict[str, Integers]:
    """By site, integers from the whole range, the same ones each time; the first two are its ends."""
    values = {}
    for place, site in enumerate(sites):
        random = np.random.default_rng(place)
        values[site] = random.integers(-(2**63), 2**63 - 1, size, dtype=np.int64, endpoint=True)
        values[site][:2] = [2**63 - 1, -(2**63)][:size]
    return values


def plain_sum(values: Iterable[Integers], size: int) -> list[int]:
    """The sum mod 2^64, from -2^63 to 2^63 - 1, in Python's integers and without masks."""
    totals = [sum(column) for column in zip(*(vector.tolist() for vector in values), strict=True)]
    return [(total + 2**63) % 2**64 - 2**63 for total in totals or [0] * size]


@dataclass(frozen=True)
class Sum:
    """The sites of one sum; what a coordinator has carried so far is the arguments of a method."""

    parts: Mapping[str, Part]

    @classmethod
    def of(cls, study: StudySpec) -> Sum:
        """All sites of a study."""
        return cls({entry.name: part_of(study, entry.name) for entry in study.sites})

    @property
    def study(self) -> StudySpec:
        """It is the same one at each site."""
        return next(iter(self.parts.values())).study

    @property
    def threshold(self) -> int:
        """T."""
        return self.study.terms.threshold

    def told(self, sites: Iterable[str] | None = None) -> AskShares:
        """The keys that these sites have given, or all."""
        return AskShares(keys=tuple(self.parts[site].keys() for site in sites or self.parts))

    def boxes(self, told: AskShares, senders: Iterable[str] | None = None) -> dict[str, AskInput]:
        """By receiver, the boxes of these sites, or of all that were told."""
        sealed = {sender: self.sealed(told, sender) for sender in senders or Roster(told.keys).keys}
        receivers = Roster(told.keys).keys
        return {
            to: AskInput(boxes=tuple(Box(site=sender, sealed=sealed[sender][to]) for sender in sealed))
            for to in receivers
        }

    def sealed(self, told: AskShares, sender: str) -> dict[str, str]:
        """By receiver, the boxes of one site."""
        boxes = content_of(self.parts[sender].shares(told), Boxes)
        return {box.site: box.sealed for box in boxes.boxes}

    def consents(
        self, told: AskShares, boxes: Mapping[str, AskInput], survivors: Names, signers: Iterable[str]
    ) -> tuple[SignedReply, ...]:
        """What these sites sign of a set of survivors."""
        asked = AskConsent(survivors=survivors)
        return tuple(self.parts[site].consent(told, boxes[site], asked) for site in signers)

    def replies(
        self,
        told: AskShares,
        boxes: Mapping[str, AskInput],
        survivors: Names,
        consents: tuple[SignedReply, ...],
        givers: Iterable[str],
    ) -> dict[str, Shares]:
        """By site, what these sites give to take the masks off."""
        asked, unmask = AskConsent(survivors=survivors), AskUnmask(consents=consents)
        return {
            site: content_of(self.parts[site].unmask(told, boxes[site], asked, unmask), Shares) for site in givers
        }

    def reading(self, told: AskShares, senders: Iterable[str], survivors: Iterable[str]) -> Reading:
        """The coordinator's."""
        return Reading(Roster(told.keys), senders, survivors, self.threshold)

    def read(self, values: Mapping[str, Integers], gone: Mapping[str, Step]) -> Integers:
        """The whole sum; `gone` says from which step on a site is silent."""

        def left(step: Step) -> Names:
            return tuple(site for site in self.parts if site not in gone or later(gone[site], step))

        told = self.told(left("keys"))
        boxes = self.boxes(told, left("shares"))
        survivors = left("input")
        inputs = {site: self.masked(told, boxes, values, site) for site in survivors}
        consents = self.consents(told, boxes, survivors, left("consent"))
        replies = self.replies(told, boxes, survivors, consents, left("unmask"))
        return integers(self.reading(told, left("shares"), survivors).read(total(inputs.values()), replies))

    def masked(
        self, told: AskShares, boxes: Mapping[str, AskInput], values: Mapping[str, Integers], site: str
    ) -> Words:
        """What a site sends, once its boxes have opened."""
        self.parts[site].opened(told, boxes[site])
        return self.parts[site].masked(told, boxes[site], values[site])


def later(one: Step, other: Step) -> bool:
    """Whether a step comes after another one."""
    order: tuple[Step, ...] = ("keys", "shares", "input", "consent", "unmask")
    return order.index(one) > order.index(other)


def content_of(signed: SignedReply, kind: type[Content]) -> Content:
    """What a reply to a step holds."""
    if not isinstance(signed.reply.content, kind):
        raise TypeError(f"expected {kind.__name__}")
    return signed.reply.content
