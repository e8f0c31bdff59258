"""Which replies count: with real sites and no network, bytes are carried by hand, damaged and forged."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from by_hand import LARGE, SMALL, ConsortiumOf, carry, key_of, reply_of

from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    Code,
    Refusal,
    SignedRelease,
    SignedRequest,
    decode,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, issue
from cohortmix.server.coordinator import Verdict
from cohortmix.server.result import TooFewSites
from cohortmix.server.store import NOT_ACCEPTED


def test_a_duplicated_reply_is_not_counted_twice(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1})
    with consortium.coordinator() as coordinator:
        reply = reply_of(consortium, coordinator, 0)
        assert coordinator.accept("tiny", reply) is Verdict.ACCEPTED
        assert coordinator.accept("tiny", reply) is Verdict.KNOWN
        assert coordinator.answered == ("tiny",)
        coordinator.freeze()
        assert coordinator.finish().common.margins.masses.sum() == pytest.approx(SMALL)


def test_a_second_draw_for_one_request_does_not_count_and_is_noted(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL}, seed=None)
    with consortium.coordinator() as coordinator:
        request = coordinator.requests()["tiny"]
        first = consortium.site(0).answer(request)
        for file in consortium.site(0).folder.glob("ledger.sqlite*"):
            file.unlink()
        second = consortium.site(0).answer(request)
        assert first != second
        assert coordinator.accept("tiny", first) is Verdict.ACCEPTED
        assert coordinator.accept("tiny", second) is Verdict.REFUSED
        coordinator.freeze()
        result = coordinator.finish()
    signed = decode(first)
    assert isinstance(signed, SignedRelease)
    assert [signed.receipt for signed in result.sites[0].receipts] == [signed.receipt]
    assert ["ledger set back" in entry.sentence for entry in result.refusals] == [True]


def test_a_reply_signed_by_another_site_is_refused(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1})
    with consortium.coordinator() as coordinator:
        of_wee = reply_of(consortium, coordinator, 1)
        assert coordinator.accept("tiny", of_wee) is Verdict.LATER

        request = decode(coordinator.requests()["wee"])
        assert isinstance(request, SignedRequest)
        signed = decode(of_wee)
        assert isinstance(signed, SignedRelease)
        sums = signed.release
        assert isinstance(sums, ClassSumsRelease)
        forged = issue(
            key_of(consortium, 0), "wee", request.request, sums, {"class sums": sums.answer}, SMALL + 1, GENESIS
        )
        assert coordinator.accept("wee", encode(forged)) is Verdict.LATER
        assert coordinator.answered == ()
        assert coordinator.accept("wee", of_wee) is Verdict.ACCEPTED


@pytest.mark.parametrize("change", ["values", "question", "unit", "no unit", "noise", "too much", "too little"])
def test_a_release_that_does_not_fit_the_study_is_refused_though_its_site_signed_it(
    consortium_of: ConsortiumOf, change: str
) -> None:
    consortium = consortium_of({"tiny": SMALL})
    with consortium.coordinator() as coordinator:
        reply = reply_of(consortium, coordinator, 0)
        request, signed = decode(coordinator.requests()["tiny"]), decode(reply)
        assert isinstance(request, SignedRequest)
        assert isinstance(signed, SignedRelease)
        assert isinstance(signed.release, ClassSumsRelease)
        answer = signed.release.answer
        numbers, largest = answer.values.numpy(), np.arange(answer.values.shape[0]) == 0
        beyond, loud = 13 * answer.sigma, 2**57
        nothing = {"unit": 0, "sensitivity2": 0, "mu2": Fraction(0), "values": Array.of(numbers * 0)}
        changes: dict[str, dict[str, Any]] = {
            "values": {"values": Array.of(numbers[:-1])},
            "question": {"question": "0" * 64},
            "unit": {"unit": answer.unit // 2},
            "no unit": nothing,
            "noise": {"sigma": loud, "mu2": Fraction(answer.sensitivity2, loud**2)},
            "too much": {"values": Array.of(np.where(largest, SMALL * answer.unit + beyond, numbers))},
            "too little": {"values": Array.of(np.where(largest, -beyond, numbers))},
        }
        altered = answer.model_copy(update=changes[change])
        sums = ClassSumsRelease(answer=altered)
        wrong = issue(
            key_of(consortium, 0), "tiny", request.request, sums, {"class sums": altered}, SMALL, GENESIS
        )
        assert coordinator.accept("tiny", encode(wrong)) is Verdict.LATER
        assert coordinator.accept("tiny", reply) is Verdict.ACCEPTED
        coordinator.freeze()


def test_a_release_that_costs_more_than_its_round_is_refused_though_its_site_signed_it(
    consortium_of: ConsortiumOf,
) -> None:
    """Within the study's mu by itself, but not together with round 2."""
    consortium = consortium_of({"ITAL": LARGE})
    with consortium.coordinator() as coordinator:
        request = decode(coordinator.requests()["ITAL"])
        assert isinstance(request, SignedRequest)
        reply = decode(reply_of(consortium, coordinator, 0))
        assert isinstance(reply, SignedRelease)
        assert isinstance(reply.release, ClassSumsRelease)
        answer, less = reply.release.answer, reply.release.answer.sigma * 4 // 5
        dear = answer.model_copy(update={"sigma": less, "mu2": Fraction(answer.sensitivity2, less**2)})
        release = ClassSumsRelease(answer=dear)
        signed = issue(
            key_of(consortium, 0), "ITAL", request.request, release, {"class sums": dear}, LARGE, GENESIS
        )
        assert signed.receipt.mu2 < coordinator.spec.mu2
        assert coordinator.accept("ITAL", encode(signed)) is Verdict.LATER
        assert coordinator.accept("ITAL", encode(reply)) is Verdict.ACCEPTED


def test_a_damaged_or_replayed_release_is_refused_and_the_true_one_still_counts(
    consortium_of: ConsortiumOf,
) -> None:
    consortium, other = (
        consortium_of({"tiny": SMALL}),
        consortium_of({"tiny": SMALL}, folder="other", name="another study"),
    )
    random = np.random.default_rng(0)
    with consortium.coordinator() as coordinator, other.coordinator() as elsewhere:
        reply = reply_of(consortium, coordinator, 0)
        damaged = [reply[:length] for length in random.integers(0, len(reply), 40)]
        for bit in random.integers(0, 8 * len(reply), 160):
            flipped = bytearray(reply)
            flipped[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(flipped))
        damaged.append(reply_of(other, elsewhere, 0))
        assert {coordinator.accept("tiny", each) for each in damaged} == {Verdict.LATER}
        assert coordinator.answered == ()
        assert coordinator.accept("tiny", reply) is Verdict.ACCEPTED
        assert coordinator.accept("tiny", json.dumps(json.loads(reply)).encode()) is Verdict.KNOWN, (
            "by its receipt"
        )


@pytest.mark.parametrize("reply", [b"", b"{}", b"not JSON", b'{"protocol":2}'])
def test_what_is_no_message_is_refused_and_noted(consortium_of: ConsortiumOf, reply: bytes) -> None:
    with consortium_of({"tiny": SMALL}).coordinator() as coordinator:
        assert coordinator.accept("tiny", reply) is Verdict.LATER
        assert list(coordinator.waiting) == ["tiny"]
        with pytest.raises(TooFewSites) as caught:
            coordinator.finish()
        assert [(entry.site, entry.round, entry.code) for entry in caught.value.refusals] == [
            ("tiny", 1, NOT_ACCEPTED)
        ]


@pytest.mark.parametrize("code", list(Code))
def test_a_refusal_costs_the_others_nothing_and_ends_no_wait(consortium_of: ConsortiumOf, code: Code) -> None:
    """It is not signed: whatever it says, the site is asked again."""
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1})
    refusal = encode(Refusal(code=code, sentence="Not\x1b[2J yet."))
    with consortium.coordinator() as coordinator:
        assert coordinator.accept("tiny", refusal) is Verdict.LATER
        assert coordinator.accept("tiny", refusal) is Verdict.LATER
        assert list(coordinator.waiting) == ["tiny", "wee"]
        coordinator.give_up("tiny")
        assert list(coordinator.waiting) == ["wee"]
        carry(consortium, coordinator)
        coordinator.freeze()
        result = coordinator.finish()
        assert [site.entry.name for site in result.sites] == ["wee"]
        (noted,) = result.refusals
        assert (noted.site, noted.code, noted.sentence) == ("tiny", code, "Not [2J yet."), "once, and printable"
    with consortium.coordinator() as coordinator:
        assert set(coordinator.requests()) == {"tiny"}
