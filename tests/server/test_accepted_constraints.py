"""What a site says of the study's constraints counts if it is said of each, in order, and can be so."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from mutations import mutated
from one_site import BY_CLASS, CENTROIDS, COMMON, MOMENTS, PLAN, SCHEMA, SITE, STUDY, asked, signed

from cohortmix.core.steps.adapting.constraint import parse
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.constraints import ReachedConstraint
from cohortmix.protocol.messages import CentroidsRelease, MessageError, SignedRelease, StudySpec, decode
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import Key, sign_receipt
from cohortmix.protocol.study import JointNoise
from cohortmix.server.acceptance import check_release

TEXTS = ("drift<=0.1", "recall(dead)>=0.7", "calibration(sex=F, dead)<=0.05")
HELD = replace(PLAN, constraints=tuple(map(parse, TEXTS)))


def reached(text: str, met: bool, value: str, multiplier: str = "0") -> ReachedConstraint:
    return ReachedConstraint(constraint=text, met=met, value=Decimal(value), multiplier=Decimal(multiplier))


GOOD = (reached(TEXTS[0], True, "0.1"), reached(TEXTS[1], False, "0.69", "31.5"), reached(TEXTS[2], True, "0.05"))


def check(constraints: Any, content: CentroidsRelease = CENTROIDS, plan: Plan = HELD) -> None:
    request, release = asked(COMMON), content.model_copy(update={"constraints": tuple(constraints)})
    check_release(signed(request, release, {"second moments": MOMENTS}), request, plan)


def test_the_plan_of_a_study_has_its_constraints() -> None:
    each = STUDY.model_copy(update={"constraints": TEXTS})
    assert each.plan(SCHEMA, 400).constraints == HELD.constraints
    assert STUDY.plan(SCHEMA, 400).constraints == ()
    sites = tuple(
        STUDY.sites[0].model_copy(update={"name": name, "key": Key.from_bytes(bytes([at + 1] * 32)).public_hex})
        for at, name in enumerate("ABC")
    )
    noise = JointNoise(conspirators=1, tolerated_dropouts=0)
    joint = StudySpec(**dict(each) | {"sites": sites, "min_sites": 3, "joint": noise})
    assert joint.plan(SCHEMA, 400).constraints == HELD.constraints


def test_what_fits_the_study_is_accepted() -> None:
    check(GOOD)
    check((), plan=PLAN)
    check((), BY_CLASS)


WRONG: dict[str, tuple[tuple[ReachedConstraint, ...], str]] = {
    "none": ((), "expected constraints="),
    "one missing": (GOOD[:2], "expected constraints="),
    "another order": (GOOD[::-1], "expected constraints="),
    "one twice": ((*GOOD[:2], GOOD[1]), "expected constraints="),
    "one more": ((*GOOD, reached("recall(alive)>=0.1", True, "1")), "expected constraints="),
    "a looser limit": ((reached("drift<=0.2", True, "0.1"), *GOOD[1:]), "expected constraints="),
    "another class": ((GOOD[0], reached("recall(alive)>=0.7", False, "0"), GOOD[2]), "expected constraints="),
    "met beyond a drift": ((reached(TEXTS[0], True, "0.1001"), *GOOD[1:]), "met beyond their limit=0, got 1"),
    "met below a recall": (
        (GOOD[0], reached(TEXTS[1], True, "0.69"), GOOD[2]),
        "met beyond their limit=0, got 1",
    ),
    "met beyond a distance": ((*GOOD[:2], reached(TEXTS[2], True, "0.051")), "met beyond their limit=0, got 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_said_of_the_studys_constraints_is_refused(what: str) -> None:
    constraints, sentence = WRONG[what]
    with pytest.raises(ReceiptError, match=sentence):
        check(constraints)


def test_nothing_is_said_where_the_study_asks_nothing_or_there_is_nothing_to_hold() -> None:
    with pytest.raises(ReceiptError, match="expected constraints=\\[\\]"):
        check(GOOD, plan=PLAN)
    with pytest.raises(ReceiptError, match="expected constraints=\\[\\]"):
        check(GOOD, BY_CLASS)


def altered(plain: list[Any], chance: random.Random) -> Any:
    """Other JSON than `plain`."""
    while True:
        with suppress(ValueError, RecursionError):
            return json.loads(mutated(json.dumps(plain).encode(), chance))


def test_whatever_a_hostile_site_says_of_them_raises_nothing_else() -> None:
    """It has its key: receipt and signature fit the altered release."""
    chance, request, reached = random.Random(15), asked(COMMON), 0
    content = CENTROIDS.model_copy(update={"constraints": GOOD})
    good, plain = signed(request, content, {"second moments": MOMENTS}), content.plain()
    check_release(good, request, HELD)
    for _ in range(1000):
        said = plain | {"constraints": altered(plain["constraints"], chance)}
        try:
            message = decode(json.dumps(good.plain() | {"release": said}).encode("utf-8", "surrogatepass"))
        except MessageError:
            continue
        assert isinstance(message, SignedRelease)
        assert isinstance(message.release, CentroidsRelease)
        receipt = message.receipt.model_copy(update={"release_hash": message.release.hash})
        reached += 1
        try:
            signature = sign_receipt(SITE, receipt).signature
            check_release(
                SignedRelease(release=message.release, receipt=receipt, signature=signature), request, HELD
            )
        except ReceiptError:
            continue
        assert [one.constraint for one in message.release.constraints] == list(TEXTS)
    assert reached > 20
