"""Answer D in a study: values that the patients of all its sites share are in its records, within the budget."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from by_hand import carry, key_of, reply_of
from counting import IMPUTED, SCHEMA, SIZES, both_rounds, counting_consortium, share_of_imputed
from joint_studies import carry_through, coordinating

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.privacy.questions.question import question_hash
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.point_masses import COST, question
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    CentroidsRelease,
    CommonMessage,
    Refusal,
    Request,
    SignedRelease,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import ReceiptError, verify_release
from cohortmix.protocol.signing import sign_receipt, sign_request
from cohortmix.protocol.study import JointNoise
from cohortmix.server.coordinator import Verdict
from cohortmix.server.publish.pool import draw
from cohortmix.server.result import ALL_SITES, StudyResult

pytestmark = pytest.mark.usefixtures("points_stay")


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return counting_consortium(tmp_path_factory.mktemp("each") / "study")


@pytest.fixture(scope="module")
def result(each: Consortium, few_steps: None) -> StudyResult:
    with each.coordinator() as coordinator:
        return both_rounds(each, coordinator)


# --- what it is for


def test_the_records_have_the_value_as_often_as_the_patients_of_all_sites(result: StudyResult) -> None:
    """A site alone is too small: what its own counts are worth, a third of the patients say three times worse."""
    assert [(point.feature, point.value) for point in result.points] == [("urine", IMPUTED)]
    drawn = draw(result)
    assert share_of_imputed(drawn) == pytest.approx(0.3, abs=0.05)
    by_site = [share_of_imputed(rows) for _, rows in drawn.groupby("site")]
    assert min(by_site) > 0.2
    assert drawn["urine"].nunique() > 1000, "the others stay spread out"


def test_without_the_answer_they_have_not(tmp_path: Path, few_steps: None) -> None:
    consortium = counting_consortium(tmp_path / "study", point_masses=False)
    with consortium.coordinator() as coordinator:
        made = both_rounds(consortium, coordinator)
    assert made.points == ()
    assert share_of_imputed(draw(made)) < 0.03
    assert {len(receipt.receipt.statements) for site in made.sites for receipt in site.receipts} == {1}
    assert made.spec.plain()["point_masses"] is False


def test_a_study_without_such_values_asks_nothing(tmp_path: Path, few_steps: None) -> None:
    """And its sites then have the whole round for pairs."""
    consortium = counting_consortium(tmp_path / "study", imputed=0.0)
    with consortium.coordinator() as coordinator:
        made = both_rounds(consortium, coordinator)
    assert made.points == ()
    assert {len(receipt.receipt.statements) for site in made.sites for receipt in site.receipts} == {1}


def test_a_site_missing_from_round_2_is_not_counted(tmp_path: Path, few_steps: None) -> None:
    """Nor does it stop the others, whose counts stand for it; one too small for pairs is not even asked."""
    consortium = counting_consortium(tmp_path / "study", {**SIZES, "tiny": 60})
    with consortium.coordinator() as coordinator:
        made = both_rounds(consortium, coordinator, silent=("UK",))
        looks, share = coordinator._looks
    assert {name for name, site in made.centroids.items() if site.counts is not None} == {"ITAL", "NORW"}
    assert [(point.feature, point.value) for point in made.points] == [("urine", IMPUTED)]
    assert share_of_imputed(draw(made)) == pytest.approx(0.3, abs=0.06)
    assert share > 0
    assert looks
    costs = {site.entry.name: [signed.receipt.mu2 for signed in site.receipts] for site in made.sites}
    assert {name: len(paid) for name, paid in costs.items()} == {"ITAL": 2, "NORW": 2, "UK": 1, "tiny": 1}


# --- what it costs


def test_the_counts_are_paid_from_round_2_and_nothing_is_spent_beyond_the_study(
    each: Consortium, result: StudyResult
) -> None:
    with each.coordinator() as coordinator:
        looks, share = coordinator._looks
    assert 0 < share <= COST
    for place, site in enumerate(result.sites):
        plan = result.spec.plan(SCHEMA, site.entry.patients).looking(looks, share)
        first, second = (signed.receipt for signed in site.receipts)
        assert [one.name for one in second.statements] == ["second moments", "value counts"]
        pairs, counts = second.statements
        assert counts.question == question_hash(question(looks), SCHEMA)
        for cost, budget in ((pairs.mu2, plan.mu2_moments), (counts.mu2, plan.mu2_looks)):
            assert budget * (1 - Fraction(1, 2**20)) < cost <= budget
        assert first.mu2 + second.mu2 <= result.spec.mu2
        ledger = Ledger(each.site(place).folder / "ledger.sqlite", Decimal(1000))
        reserved = sum((entry.mu2 for entry in ledger.entries()), Fraction(0))
        ledger.close()
        assert reserved == result.spec.mu2, "with or without counts, as the quote has it"


def test_asked_again_a_site_gives_the_same_bytes(each: Consortium, result: StudyResult) -> None:
    with each.coordinator() as coordinator:
        for place, site in enumerate(result.sites):
            asked = coordinator._made(site.entry.name, 2)
            kept = coordinator._store.reply(site.entry.name, 2)
            assert each.site(place).answer(asked) == kept


# --- what a coordinator can do


def asked_with(consortium: Consortium, common: CommonMessage, place: int = 0) -> bytes:
    study = consortium.study
    name = study.study.sites[place].name
    request = Request(study=study, round=2, request_id=request_id(study.study.hash, name, 2), common=common)
    return encode(sign_request(consortium.key, request))


def test_a_site_counts_what_follows_from_the_common_facts_and_nothing_that_is_named(
    tmp_path: Path, few_steps: None
) -> None:
    """Of other margins other cells; a request has no place in which a coordinator could name some."""
    consortium = counting_consortium(tmp_path / "study", imputed=0.0)
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        common = coordinator._kept.common()
        assert common is not None
        assert coordinator._looks == ((), Fraction(0))
    cells = common.cells.numpy().copy()
    cells[:, :20] *= 0.5 / cells[:, :20].sum(axis=1, keepdims=True)  # of urine, whose cells come first
    size = len(common.groups[0])
    cells[:, 20:size] *= 0.5 / cells[:, 20:size].sum(axis=1, keepdims=True)
    cells[:, :size] *= 0.6
    cells[:, 11] += 0.4
    other = common.model_copy(update={"cells": Array.of(cells)})
    looks, share = pipeline.looks_of_study(consortium.study.study.counting(SCHEMA), other.to_core())
    assert [(look.feature, look.cell) for look in looks] == [(0, 11)]
    reply = decode(consortium.site(0).answer(asked_with(consortium, other)))
    assert isinstance(reply, SignedRelease)
    assert reply.receipt.statements[1].question == question_hash(question(looks), SCHEMA)
    assert reply.receipt.statements[1].mu2 <= share * consortium.study.study.mu2
    plain = Request(study=consortium.study, round=2, request_id=reply.receipt.request_id, common=other).plain()
    for key in ("looks", "cells", "point_masses"):
        with pytest.raises(ValueError, match="Extra inputs"):
            Request.model_validate({**plain, key: [[0, 3]]})


def test_a_study_that_does_not_permit_it_is_never_counted(tmp_path: Path, few_steps: None) -> None:
    """Whatever the margins say."""
    consortium = counting_consortium(tmp_path / "study", point_masses=False)
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        common = coordinator._kept.common()
        assert common is not None
    permitted = consortium.study.study.model_copy(update={"point_masses": True})
    assert pipeline.looks_of_study(permitted.counting(SCHEMA), common.to_core())[0]
    reply = decode(consortium.site(0).answer(asked_with(consortium, common)))
    assert isinstance(reply, SignedRelease)
    assert [one.name for one in reply.receipt.statements] == ["second moments"]
    study = consortium.study.model_copy(update={"study": permitted})
    name = permitted.sites[0].name
    request = Request(study=study, round=2, request_id=request_id(permitted.hash, name, 2), common=common)
    refusal = decode(consortium.site(0).answer(encode(sign_request(consortium.key, request))))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "BAD_SIGNATURE"


# --- what a site can do


def test_counts_that_a_site_cannot_have_are_not_taken(tmp_path: Path, few_steps: None) -> None:
    consortium = counting_consortium(tmp_path / "study")
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        reply = reply_of(consortium, coordinator, 0)
        message = decode(reply)
        assert isinstance(message, SignedRelease)
        release, receipt = message.release, message.receipt
        assert isinstance(release, CentroidsRelease)
        assert release.counts is not None
        counts, sigma = release.counts, release.counts.sigma
        values = counts.values.numpy()
        beyond = values.copy()
        beyond[0] = SIZES["ITAL"] * counts.unit + 13 * sigma
        below = values.copy()
        below[0] = -13 * sigma
        pairs, counted = receipt.statements

        def verdict(update: dict[str, object] | None, statements: object = receipt.statements) -> Verdict:
            altered = None if update is None else counts.model_copy(update=update)
            other = release.model_copy(update={"counts": altered})
            said = receipt.model_copy(update={"release_hash": other.hash, "statements": statements})
            signed = SignedRelease(
                release=other, receipt=said, signature=sign_receipt(key_of(consortium, 0), said).signature
            )
            return coordinator.accept("ITAL", encode(signed))

        stated, wrong = "expected a second statement", list[tuple[str, dict[str, object] | None]]()
        wrong += [(stated, None), ("expected unit=", {"unit": counts.unit * 2})]
        wrong += [("numbers beyond N and the noise", {"values": Array.of(other)}) for other in (beyond, below)]
        wrong += [(stated, {"values": Array.of(values[1:])}), ("shape", {"values": Array.of(values[None])})]
        wrong += [
            (stated, {"sigma": sigma * 2}),
            (stated, {"question": "0" * 64}),
            (stated, {"mu2": counts.mu2 / 2}),
        ]
        for sentence, update in wrong:
            assert verdict(update) is Verdict.LATER, update
            assert sentence in coordinator._store.refusals()[-1].sentence
        for statements in ((pairs,), (counted, pairs), (pairs, counted, counted)):
            assert verdict({}, statements) is Verdict.LATER
        assert coordinator.accept("ITAL", reply) is Verdict.ACCEPTED


def test_a_receipt_states_the_counts_that_are_released(each: Consortium, result: StudyResult) -> None:
    """And what is counted beside them, or without them, is no release of this study."""
    with each.coordinator() as coordinator:
        message = decode(coordinator._store.reply("ITAL", 2))
        request = coordinator._of_round(2, "ITAL")
    assert isinstance(message, SignedRelease)
    verify_release(message, request)
    release, receipt = message.release, message.receipt
    assert isinstance(release, CentroidsRelease)
    for counts, statements in ((release.counts, receipt.statements[:1]), (None, receipt.statements)):
        other = release.model_copy(update={"counts": counts})
        cost = sum((one.mu2 for one in statements), Fraction(0))
        said = receipt.model_copy(update={"release_hash": other.hash, "statements": statements, "mu2": cost})
        signature = sign_receipt(key_of(each, 0), said).signature
        with pytest.raises(ReceiptError, match="expected a second statement where counts of values are released"):
            verify_release(SignedRelease(release=other, receipt=said, signature=signature), request)


def test_what_one_answer_saves_is_not_another_s(tmp_path: Path, few_steps: None) -> None:
    """A receipt whose sum is right and whose counts have less noise than the plan's, and the pairs more."""
    consortium = counting_consortium(tmp_path / "study")
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        message = decode(reply_of(consortium, coordinator, 0))
        assert isinstance(message, SignedRelease)
        assert isinstance(message.release, CentroidsRelease)
        assert message.release.counts is not None
        pairs, counted = message.receipt.statements
        less = counted.sigma * 9 // 10
        spent = Fraction(counted.sensitivity2, less**2)
        sigma = int((Fraction(pairs.sensitivity2) / (pairs.mu2 - spent + counted.mu2)) ** Fraction(1, 2)) + 1
        more = Fraction(pairs.sensitivity2, sigma**2)
        counts = message.release.counts.model_copy(update={"sigma": less, "mu2": spent})
        release = message.release.model_copy(update={"counts": counts})
        statements = (
            pairs.model_copy(update={"sigma": sigma, "mu2": more}),
            counted.model_copy(update={"sigma": less, "mu2": spent}),
        )
        receipt = message.receipt.model_copy(
            update={
                "release_hash": release.hash,
                "statements": statements,
                "mu2": more + spent,
                "kappa": message.receipt.kappa * 2,
                "epsilon": message.receipt.epsilon * 2,
            }
        )
        signature = sign_receipt(key_of(consortium, 0), receipt).signature
        altered = SignedRelease(release=release, receipt=receipt, signature=signature)
        assert coordinator.accept("ITAL", encode(altered)) is Verdict.LATER
        assert "sigma of the counts of values" in coordinator._store.refusals()[-1].sentence


# --- joint noise


def test_in_a_joint_study_the_counts_are_in_the_second_sum(tmp_path: Path, few_steps: None) -> None:
    """Behind the pairs, each with its own noise; nobody is asked in a further round."""
    joint = JointNoise(conspirators=1, tolerated_dropouts=1)
    consortium = counting_consortium(tmp_path / "study", {**SIZES, "tiny": 5}, joint=joint, min_sites=None)
    with coordinating(consortium) as coordinator:
        carry_through(consortium, coordinator)
        made, sums = coordinator.finish(), coordinator._sums_of(2)
        looks, share = coordinator._looks
    assert set(made.centroids) == {ALL_SITES}
    assert [(point.feature, point.value) for point in made.points] == [("urine", IMPUTED)]
    assert share_of_imputed(draw(made)) == pytest.approx(0.3, abs=0.05)
    assert sums is not None
    assert [len(each.values) for each in sums][1] == question(looks).dimension(2)
    total = sum(SIZES.values()) + 5
    plan = replace(made.spec.plan(SCHEMA, total)).looking(looks, share)
    for site in made.sites:
        _, second = (signed.receipt for signed in site.receipts)
        assert [one.name for one in second.statements] == ["second moments", "value counts"]
        assert second.mu2 <= plan.mu2_second
        assert sum(signed.receipt.mu2 for signed in site.receipts) <= made.spec.mu2
        assert second.statements[1].sharers == made.spec.terms.sharers
    noise = float(np.median(np.abs(sums[1].estimate))) / 0.6745  # of values that hardly anybody has
    assert noise == pytest.approx(sums[1].std, rel=0.5)


def test_in_a_joint_study_a_missing_site_is_made_up_for(tmp_path: Path, few_steps: None) -> None:
    joint = JointNoise(conspirators=1, tolerated_dropouts=1)
    consortium = counting_consortium(tmp_path / "study", {**SIZES, "SPAI": 500}, joint=joint, min_sites=None)
    with coordinating(consortium) as coordinator:
        while coordinator.stage != "round 2, keys":
            carry(consortium, coordinator)
            coordinator.advance()
        carry_through(consortium, coordinator, gone=["SPAI"])
        made = coordinator.finish()
    assert [(point.feature, point.value) for point in made.points] == [("urine", IMPUTED)]
    assert share_of_imputed(draw(made)) == pytest.approx(0.3, abs=0.06)


def test_without_the_answer_a_joint_study_has_no_such_records(tmp_path: Path, few_steps: None) -> None:
    joint = JointNoise(conspirators=1, tolerated_dropouts=0)
    consortium = counting_consortium(tmp_path / "study", joint=joint, min_sites=None, point_masses=False)
    with coordinating(consortium) as coordinator:
        carry_through(consortium, coordinator)
        made = coordinator.finish()
    assert made.points == ()
    assert share_of_imputed(draw(made)) < 0.03
