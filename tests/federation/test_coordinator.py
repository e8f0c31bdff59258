"""A study step by step, with real sites and no network: bytes are carried by hand."""

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.privacy import gdp
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    Code,
    Refusal,
    SignedRelease,
    SignedRequest,
    SiteEntry,
    decode,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, issue, total
from cohortmix.protocol.signing import Key
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.result import TooFewSites
from cohortmix.server.store import NOT_ACCEPTED, Store

MU = 0.4  # of the consortia that `found` makes
LARGE, SMALL = 300, 60  # the large ones fit a mixture then, the small ones do not


def carry(consortium, coordinator, only=None):
    """Every open request to its site and the reply back; returns what became of each."""
    sites = {entry.name: consortium.site(i) for i, entry in enumerate(coordinator.spec.sites)}
    wanted = {site: request for site, request in coordinator.requests().items() if only is None or site in only}
    return {site: coordinator.accept(site, sites[site].answer(request)) for site, request in wanted.items()}


def reply_of(consortium, coordinator, index):
    return consortium.site(index).answer(coordinator.requests()[coordinator.spec.sites[index].name])


def key_of(consortium, index):
    return Key.from_bytes((consortium.site(index).folder / "key").read_bytes())


def test_two_rounds_give_every_site_its_centroids_and_two_receipts(found):
    consortium = found({"ITAL": LARGE, "NORW": LARGE + 20})
    with consortium.coordinator() as coordinator:
        assert coordinator.waiting == ("ITAL", "NORW")
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED, "NORW": Verdict.ACCEPTED}
        assert coordinator.waiting == ()
        coordinator.freeze()
        assert coordinator.waiting == ("ITAL", "NORW")
        assert set(carry(consortium, coordinator).values()) == {Verdict.ACCEPTED}
        assert coordinator.waiting == ()
        assert coordinator.requests() == {}
        result = coordinator.finish()
    for site in result.sites:
        assert [signed.receipt.round for signed in site.receipts] == [1, 2]
        assert "mixture" in site.centroids.kind
        assert site.centroids.masses.sum() == pytest.approx(site.entry.patients)
        spent = total(signed.receipt for signed in site.receipts)
        assert spent.mu == pytest.approx(MU)
        assert spent.mu <= MU


def test_a_site_too_small_for_a_mixture_spends_all_on_round_one_and_is_not_asked_again(found):
    consortium = found({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        assert coordinator.waiting == ("ITAL",)
        assert set(coordinator.requests()) == {"ITAL"}
        tiny = coordinator.finish().sites[1]
    assert set(tiny.centroids.kind) == {"class"}
    assert tiny.centroids.masses.sum() == pytest.approx(SMALL)
    assert [signed.receipt.round for signed in tiny.receipts] == [1]
    assert tiny.receipts[0].receipt.mu2 == pytest.approx(MU**2)


def test_a_site_that_misses_round_two_counts_with_its_class_centroids(found):
    consortium = found({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        site = coordinator.finish().sites[0]
        plan = coordinator.plan(site.entry)
    assert set(site.centroids.kind) == {"class"}
    assert plan.mu2_sums < plan.mu2
    assert total(signed.receipt for signed in site.receipts).mu == pytest.approx(float(plan.mu2_sums) ** 0.5)


def test_a_plan_has_the_share_of_the_study(found):
    """Plenty of patients, so that no site needs more of its budget for answer A than the study says."""
    consortium = found({"tiny": SMALL})
    with consortium.coordinator() as coordinator:
        entry = SiteEntry(name="many", key=key_of(consortium, 0).public_hex, patients=10**6)
        usual = coordinator.plan(entry)
        coordinator.spec = coordinator.spec.model_copy(update={"share": Fraction(3, 10)})
        assert (usual.mu2_sums, coordinator.plan(entry).mu2_sums) == (usual.mu2 * 3 / 20, usual.mu2 * 3 / 10)


def test_a_duplicated_reply_is_not_counted_twice(found):
    consortium = found({"tiny": SMALL, "wee": SMALL + 1})
    with consortium.coordinator() as coordinator:
        reply = reply_of(consortium, coordinator, 0)
        assert coordinator.accept("tiny", reply) is Verdict.ACCEPTED
        assert coordinator.accept("tiny", reply) is Verdict.KNOWN
        assert coordinator.answered == ("tiny",)
        coordinator.freeze()
        assert coordinator.finish().common.margins.masses.sum() == pytest.approx(SMALL)


def test_a_second_draw_for_one_request_does_not_count_and_is_noted(found):
    consortium = found({"tiny": SMALL}, seed=None)
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


def test_a_reply_signed_by_another_site_is_refused(found):
    consortium = found({"tiny": SMALL, "wee": SMALL + 1})
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
def test_a_release_that_does_not_fit_the_study_is_refused_though_its_site_signed_it(found, change):
    consortium = found({"tiny": SMALL})
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
        changes = {
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


def test_a_release_that_costs_more_than_its_round_is_refused_though_its_site_signed_it(found):
    """Within the study's mu by itself, but not together with round 2."""
    consortium = found({"ITAL": LARGE})
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


def test_a_damaged_or_replayed_release_is_refused_and_the_true_one_still_counts(found):
    consortium, other = found({"tiny": SMALL}), found({"tiny": SMALL}, folder="other", name="another study")
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
def test_what_is_no_message_is_refused_and_noted(found, reply):
    with found({"tiny": SMALL}).coordinator() as coordinator:
        assert coordinator.accept("tiny", reply) is Verdict.LATER
        assert coordinator.waiting == ("tiny",)
        with pytest.raises(TooFewSites) as caught:
            coordinator.finish()
        assert [(entry.site, entry.round, entry.code) for entry in caught.value.refusals] == [
            ("tiny", 1, NOT_ACCEPTED)
        ]


@pytest.mark.parametrize("code", list(Code))
def test_a_refusal_costs_the_others_nothing_and_ends_no_wait(found, code):
    """It is not signed: whatever it says, the site is asked again."""
    consortium = found({"tiny": SMALL, "wee": SMALL + 1})
    refusal = encode(Refusal(code=code, sentence="Not\x1b[2J yet."))
    with consortium.coordinator() as coordinator:
        assert coordinator.accept("tiny", refusal) is Verdict.LATER
        assert coordinator.accept("tiny", refusal) is Verdict.LATER
        assert coordinator.waiting == ("tiny", "wee")
        coordinator.give_up("tiny")
        assert coordinator.waiting == ("wee",)
        carry(consortium, coordinator)
        coordinator.freeze()
        result = coordinator.finish()
        assert [site.entry.name for site in result.sites] == ["wee"]
        (noted,) = result.refusals
        assert (noted.site, noted.code, noted.sentence) == ("tiny", code, "Not [2J yet."), "once, and printable"
    with consortium.coordinator() as coordinator:
        assert set(coordinator.requests()) == {"tiny"}


def test_a_restart_between_the_rounds_loses_nothing(found):
    consortium = found({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        first = coordinator.requests()
        carry(consortium, coordinator, only={"ITAL"})
    with consortium.coordinator() as coordinator:
        assert coordinator.waiting == ("tiny",)
        assert coordinator.requests() == {"tiny": first["tiny"]}
        carry(consortium, coordinator)
        coordinator.freeze()
        second = coordinator.requests()
    with consortium.coordinator() as coordinator:
        assert coordinator.round == 2
        assert coordinator.requests() == second
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
    with consortium.coordinator() as coordinator:
        assert coordinator.waiting == ()
        assert [len(site.receipts) for site in coordinator.finish().sites] == [2, 1]


def test_a_lost_store_costs_the_sites_nothing(found, schema):
    consortium = found({"tiny": SMALL, "wee": SMALL + 1})
    key = Key.from_bytes((consortium.root / "coordinator" / "key").read_bytes())

    def from_scratch():
        with Store(":memory:", consortium.study.study.hash) as store:
            coordinator = Coordinator(consortium.study, key, schema, store)
            requests = coordinator.requests()
            replies = {site: consortium.site(i).answer(requests[site]) for i, site in enumerate(requests)}
        return requests, replies

    assert from_scratch() == from_scratch()
    ledger = Ledger(consortium.site(0).folder / "ledger.sqlite", Decimal(1))
    assert ledger.spent_mu2 == pytest.approx(MU**2)
    ledger.close()


def test_the_freeze_waits_for_min_sites_and_happens_once(found):
    consortium = found({"tiny": SMALL, "wee": SMALL + 1}, min_sites=2)
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator, only={"tiny"})
        with pytest.raises(TooFewSites, match="1 of 2 sites answered round 1, min_sites=2"):
            coordinator.freeze()
        assert coordinator.round == 1
        with pytest.raises(TooFewSites):
            coordinator.finish()
        carry(consortium, coordinator)
        early = coordinator.finish().common.margins.masses
        assert coordinator.round == 1, "looking at what there is freezes nothing"
        coordinator.freeze()
        assert (coordinator.finish().common.margins.masses == early).all()
        assert coordinator.round == 2
        frozen = coordinator.finish().common.margins.masses
        coordinator.freeze()
        assert (coordinator.finish().common.margins.masses == frozen).all()


def test_a_late_site_joins_round_two_with_the_frozen_groups(found):
    consortium = found({"tiny": SMALL, "ITAL": LARGE})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator, only={"tiny"})
        coordinator.freeze()
        frozen = coordinator.finish().common
        assert coordinator.waiting == (), "nobody waits for a site that is late"
        assert set(coordinator.requests()) == {"ITAL"}, "but it is welcome"
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
        assert coordinator.waiting == ("ITAL",)
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
        result = coordinator.finish()
    assert result.common.groups == frozen.groups
    assert (result.common.margins.masses == frozen.margins.masses).all()
    assert [len(site.receipts) for site in result.sites] == [1, 2]


def test_only_the_studys_own_coordinator_can_conduct_it(found, schema):
    consortium = found({"tiny": SMALL})
    key = Key.from_bytes((consortium.root / "coordinator" / "key").read_bytes())
    other = schema.model_copy(update={"name": "another"})
    forged = consortium.study.model_copy(update={"signature": "0" * 128})
    with Store(":memory:", consortium.study.study.hash) as store:
        Coordinator(consortium.study, key, schema, store)
        with pytest.raises(ValueError, match="coordinator_key"):
            Coordinator(consortium.study, Key.generate(), schema, store)
        with pytest.raises(ValueError, match="schema_hash"):
            Coordinator(consortium.study, key, other, store)
        with pytest.raises(ValueError, match="signature"):
            Coordinator(forged, key, schema, store)


def test_what_a_study_may_spend_is_what_its_sites_spent(found):
    """The law of the whole: mu of each site's receipts is the study's, never more."""
    consortium = found({"tiny": SMALL, "wee": SMALL + 1})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        spent = [total(s.receipt for s in site.receipts).mu for site in coordinator.finish().sites]
    assert spent == [pytest.approx(MU)] * 2
    assert gdp.compose(spent) == pytest.approx(MU * 2**0.5)
