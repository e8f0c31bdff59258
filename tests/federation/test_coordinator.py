"""A study step by step, with real sites and no network: bytes are carried by hand."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from by_hand import LARGE, MU, SMALL, ConsortiumOf, carry, key_of

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy import gdp
from cohortmix.protocol.messages import (
    SiteEntry,
)
from cohortmix.protocol.receipts import total
from cohortmix.protocol.signing import Key
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.result import TooFewSites
from cohortmix.server.store import Store


def test_two_rounds_give_every_site_its_centroids_and_two_receipts(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"ITAL": LARGE, "NORW": LARGE + 20})
    with consortium.coordinator() as coordinator:
        assert list(coordinator.waiting) == ["ITAL", "NORW"]
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED, "NORW": Verdict.ACCEPTED}
        assert list(coordinator.waiting) == []
        coordinator.freeze()
        assert list(coordinator.waiting) == ["ITAL", "NORW"]
        assert set(carry(consortium, coordinator).values()) == {Verdict.ACCEPTED}
        assert list(coordinator.waiting) == []
        assert coordinator.requests() == {}
        result = coordinator.finish()
    for site in result.sites:
        assert [signed.receipt.round for signed in site.receipts] == [1, 2]
        centroids = result.centroids[site.entry.name]
        assert "mixture" in centroids.kind
        assert centroids.masses.sum() == pytest.approx(site.entry.patients)
        spent = total(signed.receipt for signed in site.receipts)
        assert spent.mu == pytest.approx(MU)
        assert spent.mu <= MU


def test_a_site_too_small_for_a_mixture_spends_all_on_round_one_and_is_not_asked_again(
    consortium_of: ConsortiumOf,
) -> None:
    consortium = consortium_of({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        assert list(coordinator.waiting) == ["ITAL"]
        assert set(coordinator.requests()) == {"ITAL"}
        result = coordinator.finish()
    tiny, centroids = result.sites[1], result.centroids["tiny"]
    assert set(centroids.kind) == {"class"}
    assert centroids.masses.sum() == pytest.approx(SMALL)
    assert [signed.receipt.round for signed in tiny.receipts] == [1]
    assert tiny.receipts[0].receipt.mu2 == pytest.approx(MU**2)


def test_a_site_that_misses_round_two_counts_with_its_class_centroids(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        result = coordinator.finish()
        site = result.sites[0]
        plan = coordinator.plan(site.entry)
    assert set(result.centroids["ITAL"].kind) == {"class"}
    assert plan.mu2_sums < plan.mu2
    assert total(signed.receipt for signed in site.receipts).mu == pytest.approx(float(plan.mu2_sums) ** 0.5)


def test_a_plan_has_the_share_of_the_study(consortium_of: ConsortiumOf) -> None:
    """Plenty of patients, so that no site needs more of its budget for answer A than the study says."""
    consortium = consortium_of({"tiny": SMALL})
    with consortium.coordinator() as coordinator:
        entry = SiteEntry(name="many", key=key_of(consortium, 0).public_hex, patients=10**6)
        usual = coordinator.plan(entry)
        coordinator.spec = coordinator.spec.model_copy(update={"share": Fraction(3, 10)})
        assert (usual.mu2_sums, coordinator.plan(entry).mu2_sums) == (usual.mu2 * 3 / 20, usual.mu2 * 3 / 10)


def test_a_restart_between_the_rounds_loses_nothing(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"ITAL": LARGE, "tiny": SMALL})
    with consortium.coordinator() as coordinator:
        first = coordinator.requests()
        carry(consortium, coordinator, only={"ITAL"})
    with consortium.coordinator() as coordinator:
        assert list(coordinator.waiting) == ["tiny"]
        assert coordinator.requests() == {"tiny": first["tiny"]}
        carry(consortium, coordinator)
        coordinator.freeze()
        second = coordinator.requests()
    with consortium.coordinator() as coordinator:
        assert coordinator.round == 2
        assert coordinator.requests() == second
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
    with consortium.coordinator() as coordinator:
        assert list(coordinator.waiting) == []
        assert [len(site.receipts) for site in coordinator.finish().sites] == [2, 1]


def test_a_lost_store_costs_the_sites_nothing(consortium_of: ConsortiumOf, schema: Schema) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1})
    key = Key.from_bytes((consortium.root / "coordinator" / "key").read_bytes())

    def from_scratch() -> tuple[dict[str, bytes], dict[str, bytes]]:
        with Store(":memory:", consortium.study.study.hash) as store:
            coordinator = Coordinator(consortium.study, key, schema, store)
            requests = coordinator.requests()
            replies = {site: consortium.site(i).answer(requests[site]) for i, site in enumerate(requests)}
        return requests, replies

    assert from_scratch() == from_scratch()
    ledger = Ledger(consortium.site(0).folder / "ledger.sqlite", Decimal(1))
    assert ledger.spent_mu2 == pytest.approx(MU**2)
    ledger.close()


def test_the_freeze_waits_for_min_sites_and_happens_once(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, min_sites=2)
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator, only={"tiny"})
        with pytest.raises(TooFewSites, match="1 of 2 sites answered round 1, min_sites=2"):
            coordinator.freeze()
        assert coordinator.round == 1
        with pytest.raises(TooFewSites):
            coordinator.finish()
        carry(consortium, coordinator)
        early = coordinator.finish().common.margins.masses
        before = coordinator.round
        coordinator.freeze()
        assert (coordinator.finish().common.margins.masses == early).all()
        assert (before, coordinator.round) == (1, 2), "looking at what there is freezes nothing"
        frozen = coordinator.finish().common.margins.masses
        coordinator.freeze()
        assert (coordinator.finish().common.margins.masses == frozen).all()


def test_a_late_site_joins_round_two_with_the_frozen_groups(consortium_of: ConsortiumOf) -> None:
    consortium = consortium_of({"tiny": SMALL, "ITAL": LARGE})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator, only={"tiny"})
        coordinator.freeze()
        frozen = coordinator.finish().common
        assert list(coordinator.waiting) == [], "nobody waits for a site that is late"
        assert set(coordinator.requests()) == {"ITAL"}, "but it is welcome"
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
        assert list(coordinator.waiting) == ["ITAL"]
        assert carry(consortium, coordinator) == {"ITAL": Verdict.ACCEPTED}
        result = coordinator.finish()
    assert result.common.groups == frozen.groups
    assert (result.common.margins.masses == frozen.margins.masses).all()
    assert [len(site.receipts) for site in result.sites] == [1, 2]


def test_only_the_studys_own_coordinator_can_conduct_it(consortium_of: ConsortiumOf, schema: Schema) -> None:
    consortium = consortium_of({"tiny": SMALL})
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


def test_what_a_study_may_spend_is_what_its_sites_spent(consortium_of: ConsortiumOf) -> None:
    """The law of the whole: mu of each site's receipts is the study's, never more."""
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1})
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        spent = [total(s.receipt for s in site.receipts).mu for site in coordinator.finish().sites]
    assert spent == [pytest.approx(MU)] * 2
    assert gdp.compose(spent) == pytest.approx(MU * 2**0.5)
