"""A joint study whose bytes are carried by hand: what is read is the sum of the sites in it, and nothing else is.

Five sites, one of them with a single patient; one may be missing, one may conspire. The noise is keyed.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from by_hand import key_of
from joint_studies import (
    FIVE,
    ONE_ROUND,
    TWO_ROUNDS,
    carry_through,
    carry_to,
    carry_without,
    coordinating,
    counts,
    exact_sums,
    joint_consortium,
    own_answer,
    sum_of_answers,
    total,
)
from scipy.stats import chi2

from cohortmix.client.ledger.history import COMMITTED, RESERVED
from cohortmix.client.ledger.reservation import ANSWERED, PAID
from cohortmix.client.ledger.sum_steps import TAKEN
from cohortmix.core.data.schema import SITE
from cohortmix.core.privacy.joint import Terms
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.protocol.masking.seeds import MaskingError
from cohortmix.protocol.messages import (
    Code,
    MaskedRelease,
    Refusal,
    SignedReceipt,
    SignedStepReply,
    decode,
    encode,
)
from cohortmix.protocol.receipts import ReceiptError, check, verify
from cohortmix.protocol.receipts import total as cost_of
from cohortmix.protocol.signing import Key, sign_receipt, sign_reply
from cohortmix.protocol.steps import (
    STEPS,
    Boxes,
    Consent,
    Shares,
    Step,
)
from cohortmix.server.coordinator import Verdict
from cohortmix.server.joint_coordinator import JointCoordinator
from cohortmix.server.publish.pool import draw
from cohortmix.server.result import ALL_SITES, StudyResult, TooFewSites

SITES = tuple(sorted(FIVE))
OTHERS = tuple(site for site in SITES if site != "UK")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """Both rounds, by all five sites."""
    consortium = joint_consortium(tmp_path_factory.mktemp("whole") / "study", mu=TWO_ROUNDS)
    with coordinating(consortium) as coordinator:
        carry_through(consortium, coordinator)
    return consortium


@pytest.fixture(scope="module")
def result(whole: Consortium, few_steps: None) -> StudyResult:
    with coordinating(whole) as coordinator:
        return coordinator.finish()


# --- what is read


@pytest.mark.parametrize("round", [1, 2], ids=["class sums", "pair tables"])
def test_what_is_read_through_the_masks_is_the_sum_of_the_sites_own_answers(whole: Consortium, round: int) -> None:
    """To the last step of the noise, without what is spare; and it is none of the sums of four of them."""
    with coordinating(whole) as coordinator:
        read = total(coordinator, round)
    assert read is not None
    np.testing.assert_array_equal(read, sum_of_answers(whole, SITES, round))
    assert not np.array_equal(read, sum_of_answers(whole, SITES, round, silent=SITES))
    for site in SITES:
        others = [other for other in SITES if other != site]
        assert not np.array_equal(read, sum_of_answers(whole, others, round)), f"{site} is not in it"


def test_each_answer_is_the_records_and_a_share_of_the_noise(whole: Consortium) -> None:
    """Five shares are in the sum, and no spare noise; the keyed noise is as large as is said of it."""
    with coordinating(whole) as coordinator:
        exact, read = exact_sums(whole, coordinator, SITES), total(coordinator, 1)
        sums = coordinator._sums_of(1)
    assert read is not None
    assert sums is not None
    (known,) = sums
    noise = (read - np.sum([answer.values for answer in exact.values()], axis=0)) / exact["UK"].sigma
    assert known.std == pytest.approx(5**0.5 * exact["UK"].sigma / exact["UK"].unit)
    squares = float(noise @ noise) / 5
    assert chi2(len(noise)).ppf(1e-6) < squares < chi2(len(noise)).isf(1e-6)
    assert squares * 4 / 3 > chi2(len(noise)).isf(1e-6), "with the spare noise of five it would not pass"


def test_what_a_site_sends_is_its_answer_under_masks(whole: Consortium) -> None:
    with coordinating(whole) as coordinator:
        sent = {site: coordinator._kept.release(site, 1).release for site in coordinator._store.answered(1)}
    assert set(sent) == set(SITES)
    for site, release in sent.items():
        own = own_answer(whole, site, 1)
        assert isinstance(release, MaskedRelease)
        assert own is not None
        assert own.sharers == 4
        assert np.abs(own.values).max() < 2**55 < np.abs(release.values.numpy().astype(float)).max()


def test_one_set_of_centroids_stands_for_all_sites(result: StudyResult) -> None:
    assert set(result.centroids) == {ALL_SITES}
    centroids = result.centroids[ALL_SITES]
    assert set(centroids.kind) == {"mixture"}
    assert centroids.masses.sum() == pytest.approx(sum(FIVE.values()))
    assert [site.entry.name for site in result.sites] == list(FIVE)
    assert result.refusals == ()


def test_each_site_has_as_many_records_as_patients(result: StudyResult) -> None:
    """A site with one patient has one record; which of them is drawn by chance."""
    drawn = draw(result)
    assert drawn[SITE].value_counts().to_dict() == FIVE
    assert set(drawn.columns) == {"AGE", "SEX", "SIDE", "outcome", SITE}
    assert draw(result, 3310)[SITE].value_counts().to_dict() == {site: 10 * size for site, size in FIVE.items()}


def test_each_sum_took_five_steps_and_was_paid_for_once(whole: Consortium) -> None:
    for site in SITES:
        assert counts(whole, site) == {RESERVED: 2, PAID: 2, ANSWERED: 2, COMMITTED: 2, TAKEN: 10}


# --- receipts


def of_both_rounds(result: StudyResult) -> list[SignedReceipt]:
    return [signed for site in result.sites for signed in site.receipts]


def test_receipts_count_the_noise_of_s_minus_t_sites(result: StudyResult) -> None:
    """mu2 = sensitivity2 / (sharers sigma^2), which is the budget of the round but for rounding."""
    spec = result.spec
    plan = spec.plan(result.schema, spec.patients)
    assert spec.terms == Terms(5, 1, 1, 1, sum(FIVE.values()))
    for signed in of_both_rounds(result):
        verify(signed, spec)
        (statement,) = signed.receipt.statements
        budget = {1: plan.mu2_sums, 2: plan.mu2_moments}[signed.receipt.round]
        assert statement.sharers == spec.terms.sites - spec.terms.conspirators == 4
        assert statement.mu2 == Fraction(statement.sensitivity2, 4 * statement.sigma**2)
        assert 3 * (statement.sigma**2 + statement.spare**2) >= 4 * statement.sigma**2
        assert budget * (1 - Fraction(1, 2**20)) < statement.mu2 <= budget
    for site in result.sites:
        spent = cost_of(signed.receipt for signed in site.receipts)
        assert [signed.receipt.round for signed in site.receipts] == [1, 2]
        assert spent.mu == pytest.approx(TWO_ROUNDS)
        assert spent.mu2 <= spec.mu2


@pytest.mark.parametrize("share", [0, Fraction(1, 2), Fraction(999_999, 1_000_000)])
def test_a_receipt_with_too_little_spare_noise_is_refused_though_its_site_signed_it(
    whole: Consortium, result: StudyResult, share: Fraction
) -> None:
    """Where a site is missing the others would be left with too little."""
    receipt = result.sites[0].receipts[0].receipt
    (statement,) = receipt.statements
    others = (statement.model_copy(update={"spare": int(statement.spare * share)}),)
    with pytest.raises(ReceiptError, match="expected spare noise of"):
        verify(sign_receipt(key_of(whole, 0), receipt.model_copy(update={"statements": others})), result.spec)


@pytest.mark.parametrize("sharers", [1, 2, 3, 5])
def test_a_receipt_that_counts_other_sites_is_refused_though_its_site_signed_it(
    whole: Consortium, result: StudyResult, sharers: int
) -> None:
    """Its own arithmetic holds; with more sites it would claim less than a patient can count on."""
    receipt = result.sites[0].receipts[0].receipt
    (statement,) = receipt.statements
    mu2 = Fraction(statement.sensitivity2, sharers * statement.sigma**2)
    others = (statement.model_copy(update={"sharers": sharers, "mu2": mu2}),)
    epsilon = receipt.epsilon * 3  # not understated, whatever the sharers
    wrong = receipt.model_copy(update={"statements": others, "mu2": mu2, "epsilon": epsilon})
    check(wrong)
    with pytest.raises(ReceiptError, match="expected sharers=4 in each statement"):
        verify(sign_receipt(key_of(whole, 0), wrong), result.spec)


def test_a_patient_at_two_sites_takes_twice_the_noise(tmp_path: Path) -> None:
    """Not sqrt(2) times: with keyed noise the two sums differ by the factor alone."""
    noises = {}
    for overlap in ("disjoint", 2):
        consortium = joint_consortium(tmp_path / f"{overlap}", overlap=overlap)
        with coordinating(consortium) as coordinator:
            assert not coordinator._whole.fits_mixture, "the whole budget is for the first sum"
            carry_through(consortium, coordinator)
            exact, read, known = (
                exact_sums(consortium, coordinator, SITES),
                total(coordinator, 1),
                coordinator._sums_of(1),
            )
        assert read is not None
        assert known is not None
        noise = (read - np.sum([answer.values for answer in exact.values()], axis=0)) / exact["UK"].unit
        noises[overlap] = noise, known[0].std
    assert noises[2][1] == pytest.approx(2 * noises["disjoint"][1])
    np.testing.assert_allclose(noises[2][0], 2 * noises["disjoint"][0], rtol=1e-6)


def test_a_plan_too_small_for_pairs_has_one_round(tmp_path: Path) -> None:
    """331 patients at mu 0.03; judged by the noise of all five sites, of which four would be enough."""
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        plan = coordinator._whole
        assert plan.surplus == Fraction(5, 4)
        carry_to(consortium, coordinator, "round 1, unmask")
        carry_without(consortium, coordinator)
        assert not coordinator.advance()
        assert coordinator.requests() == {}
        result = coordinator.finish()
    assert set(result.centroids[ALL_SITES].kind) == {"class"}
    assert result.centroids[ALL_SITES].masses.sum() == pytest.approx(331)
    assert [len(site.receipts) for site in result.sites] == [1] * 5
    assert result.sites[0].receipts[0].receipt.mu2 == pytest.approx(ONE_ROUND**2)
    assert draw(result)[SITE].value_counts().to_dict() == FIVE


def test_room_for_pairs_is_judged_by_the_noise_that_is_added(whole: Consortium) -> None:
    """A mu at which 331 patients would have room in one place, and have none with the noise of five sites."""
    with coordinating(whole) as coordinator:
        plan = coordinator._whole
        enough = Fraction(plan.mu2 * Fraction(round(10**6 * plan.shortage**2), 10**6))  # just room
        assert plan.surplus == Fraction(5, 4)
        assert not replace(plan, mu2=enough * 9 / 10).fits_mixture
        assert replace(plan, mu2=enough * 9 / 10, surplus=Fraction(1)).fits_mixture


def test_less_than_fifty_patients_are_refused_by_every_site(tmp_path: Path) -> None:
    sizes = dict.fromkeys(FIVE, 9) | {"ITAL": 13}
    consortium = joint_consortium(tmp_path / "few", sizes)
    with coordinating(consortium) as coordinator:
        assert set(carry_without(consortium, coordinator).values()) == {Verdict.LATER}
        with pytest.raises(TooFewSites, match="0 of 5 sites have replied to round 1, keys") as stopped:
            coordinator.advance()
    assert {entry.code for entry in stopped.value.refusals} == {Code.TOO_FEW_PATIENTS}
    assert all(counts(consortium, site)[RESERVED] == 0 for site in SITES)
    enough = joint_consortium(tmp_path / "enough", sizes | {"ITAL": 14})
    with coordinating(enough) as coordinator:
        assert set(carry_without(enough, coordinator).values()) == {Verdict.ACCEPTED}


# --- sites that are missing


@pytest.mark.parametrize("step", STEPS)
def test_a_site_that_drops_out_is_in_the_sum_if_its_input_came(tmp_path: Path, step: Step) -> None:
    """And not in it before; the others go on without it, and it is not asked again."""
    consortium = joint_consortium(tmp_path / "study")
    there = SITES if step in ("consent", "unmask") else OTHERS
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, f"round 1, {step}")
        carry_without(consortium, coordinator, gone=["UK"])
        assert coordinator.waiting == ("UK",)
        while coordinator.advance():
            assert "UK" not in coordinator.requests()
            carry_without(consortium, coordinator)
        result, read = coordinator.finish(), total(coordinator, 1)
    np.testing.assert_array_equal(read, sum_of_answers(consortium, there, 1, silent=["UK"]))
    assert tuple(sorted(site.entry.name for site in result.sites)) == there
    assert result.centroids[ALL_SITES].masses.sum() == pytest.approx(sum(FIVE[site] for site in there))
    assert counts(consortium, "UK")[COMMITTED] == (step in ("consent", "unmask"))
    assert set(draw(result)[SITE]) == set(there)


@pytest.mark.parametrize("step", STEPS)
def test_with_fewer_than_t_nothing_is_read_until_a_site_comes_back(tmp_path: Path, step: Step) -> None:
    """The study says who is missing, stays where it is, and is gone on with by another process."""
    consortium, stage = joint_consortium(tmp_path / "study"), f"round 1, {step}"
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, stage)
        carry_without(consortium, coordinator, gone=["UK", "NORW"])
        says = (
            f"3 of 5 sites have replied to {stage}, and a sum of fewer than 4 cannot be read by anybody; missing: "
            "NORW and UK"
        )
        for act in (coordinator.advance, coordinator.advance, coordinator.finish):
            with pytest.raises(TooFewSites, match=says):
                act()
        assert coordinator.stage == stage
        assert total(coordinator, 1) is None
        if step == "unmask":
            with pytest.raises(MaskingError, match="from 4 sites at least, got 3: the sum cannot be read"):
                coordinator._sums[1].read(coordinator._of_round(1, "UK").sum)
    with coordinating(consortium) as coordinator:
        assert coordinator.stage == stage
        assert coordinator.waiting == ("NORW", "UK")
        carry_without(consortium, coordinator, gone=["UK"])
        carry_without(consortium, coordinator, gone=["UK"])
        while coordinator.advance():
            carry_without(consortium, coordinator)
        there = SITES if step in ("consent", "unmask") else OTHERS
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, there, 1, silent=["UK"]))
    assert {counts(consortium, site)[PAID] for site in there} == {1}


def test_before_the_first_sum_nothing_is_fixed_and_the_study_says_who_is_missing(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study", mu=TWO_ROUNDS)
    with coordinating(consortium) as coordinator:
        with pytest.raises(TooFewSites, match="0 of 5 sites have replied to round 1, keys"):
            coordinator.freeze()
        assert coordinator._store.common() is None
        carry_to(consortium, coordinator, "round 2, keys")
        fixed = coordinator._store.common()
        coordinator.freeze()
        assert coordinator._store.common() == fixed is not None


def test_a_last_reply_that_comes_after_the_end_does_not_count(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, unmask")
        late = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
        carry_without(consortium, coordinator, gone=["UK"])
        assert not coordinator.advance()
        assert coordinator.accept("UK", late) is Verdict.LATER
        assert "UK" not in coordinator._store.answered("1 unmask")
        assert "UK" in {site.entry.name for site in coordinator.finish().sites}


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_reply_that_comes_after_its_step_does_not_count(tmp_path: Path, step: Step) -> None:
    """Not even where it is the site's own: which sites are in a sum does not change any more."""
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, f"round 1, {step}")
        place = coordinator.present.place
        late = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
        assert not isinstance(decode(late), Refusal)
        carry_without(consortium, coordinator, gone=["UK"])
        assert coordinator.advance()
        assert coordinator.accept("UK", late) is Verdict.LATER
        assert "UK" not in coordinator._store.answered(place)
        assert "UK" not in coordinator.requests()
        carry_without(consortium, coordinator)
        while coordinator.advance():
            assert coordinator.accept("UK", late) is Verdict.LATER
            carry_without(consortium, coordinator)
        there = SITES if step == "consent" else OTHERS
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, there, 1, silent=["UK"]))
        assert ("UK" in {site.entry.name for site in coordinator.finish().sites}) == (step == "consent")


@pytest.fixture(scope="module")
def of_a_twin(tmp_path_factory: pytest.TempPathFactory) -> dict[Step, bytes]:
    """What UK replies where nobody is missing: with the same seed, the same study and the same secrets."""
    consortium = joint_consortium(tmp_path_factory.mktemp("twin") / "study")
    replies = {}
    with coordinating(consortium) as coordinator:
        for step in STEPS:
            replies[step] = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
            carry_without(consortium, coordinator)
            coordinator.advance()
    return replies


def test_a_reply_counts_in_its_own_step_alone(tmp_path: Path, of_a_twin: dict[Step, bytes]) -> None:
    """Neither before it nor after it, whatever it is: all of these are UK's own, for this sum."""
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        for step in STEPS:
            for other in STEPS:
                if other != step:
                    assert coordinator.accept("UK", of_a_twin[other]) is Verdict.LATER, (other, step)
            assert "UK" in coordinator.waiting
            reply = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
            assert coordinator.accept("UK", reply) is Verdict.ACCEPTED
            carry_without(consortium, coordinator)
            coordinator.advance()
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, SITES, 1))


def made_up(step: Step, of_a_twin: dict[Step, bytes], coordinator: JointCoordinator, key: Key) -> bytes:
    """What a site that was not asked signs all the same, and that would be complete if it had been."""
    message = decode(of_a_twin[step])
    if not isinstance(message, SignedStepReply):
        return of_a_twin[step]
    content = message.signed.reply.content
    if isinstance(content, Boxes):
        content = Boxes(boxes=tuple(box for box in content.boxes if box.site != "UK"))
    elif isinstance(content, Shares):
        content = Shares(own=content.own, shares=tuple(share for share in content.shares if share.site != "UK"))
    elif isinstance(content, Consent):
        content = Consent(survivors=coordinator._sums[1]._consent())
    reply = message.signed.reply.model_copy(update={"content": content})
    return encode(SignedStepReply(signed=sign_reply(key, reply)))


def test_a_site_that_missed_a_step_does_not_come_in_at_the_next_one(
    tmp_path: Path, of_a_twin: dict[Step, bytes]
) -> None:
    """It would be in the sum without being in the list of keys, and the others would refuse to go on."""
    consortium = joint_consortium(tmp_path / "study")
    key = key_of(consortium, list(FIVE).index("UK"))
    with coordinating(consortium) as coordinator:
        carry_without(consortium, coordinator, gone=["UK"])
        for step in STEPS[1:]:
            assert coordinator.advance()
            assert coordinator.present.step == step
            assert coordinator.accept("UK", made_up(step, of_a_twin, coordinator, key)) is Verdict.LATER
            assert "UK" not in coordinator._store.answered(coordinator.present.place)
            carry_without(consortium, coordinator)
        assert not coordinator.advance()
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, OTHERS, 1))


def test_a_site_that_replies_twice_counts_once_and_sends_the_same_bytes(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study")
    uk = consortium.site(list(FIVE).index("UK"))
    with coordinating(consortium) as coordinator:
        for step in STEPS:
            assert coordinator.present.step == step
            asked = coordinator.requests()["UK"]
            first, second = uk.answer(asked), uk.answer(asked)
            assert first == second
            assert [coordinator.accept("UK", reply) for reply in (first, second)] == [
                Verdict.ACCEPTED,
                Verdict.KNOWN,
            ]
            carry_without(consortium, coordinator)
            assert coordinator.advance() == (step != "unmask")
        np.testing.assert_array_equal(total(coordinator, 1), sum_of_answers(consortium, SITES, 1))
    assert counts(consortium, "UK") == {RESERVED: 1, PAID: 1, ANSWERED: 1, COMMITTED: 1, TAKEN: 5}


def test_a_site_in_the_first_sum_alone_is_made_up_for_in_the_second(tmp_path: Path, few_steps: None) -> None:
    """The second sum stands for the patients of the first one; a site that was in neither is not asked again."""
    consortium = joint_consortium(tmp_path / "study", mu=TWO_ROUNDS)
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, consent")
        carry_to(consortium, coordinator, "round 2, keys", gone=["UK"])
        assert set(coordinator.requests()) == set(SITES), "it is in the first sum"
        carry_through(consortium, coordinator, gone=["UK"])
        sums = coordinator._sums_of(1), coordinator._sums_of(2)
        result = coordinator.finish()
        np.testing.assert_array_equal(total(coordinator, 2), sum_of_answers(consortium, OTHERS, 2))
    assert all(each is not None for each in sums)
    (first,), (second,) = (each or () for each in sums)
    assert [first.share, second.share] == pytest.approx([1, 271 / 331])
    (of_first,), (of_second,) = (signed.receipt.statements for signed in result.sites[0].receipts)
    assert first.variance == 5 * of_first.sigma**2 + of_first.spare**2, "UK has not given its spare noise"
    assert second.variance == 4 * (of_second.sigma**2 + of_second.spare**2), "with UK missing nobody has"
    assert second.std * second.unit == pytest.approx(second.variance**0.5 * 331 / 271)
    assert result.centroids[ALL_SITES].masses.sum() == pytest.approx(331)
    assert [len(site.receipts) for site in result.sites] == [2, 2, 2, 1, 2]


def test_a_site_that_missed_the_first_sum_is_not_asked_for_the_second(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study", mu=TWO_ROUNDS)
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, shares")
        carry_to(consortium, coordinator, "round 2, keys", gone=["UK"])
        assert set(coordinator.requests()) == set(OTHERS)
        assert coordinator.finish().centroids[ALL_SITES].masses.sum() == pytest.approx(271)
