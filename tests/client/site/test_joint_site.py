"""A site in a joint study takes each step once, for one content, in its order; what it refuses reveals nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from joint_sites import (
    COORDINATOR,
    FOUR,
    KEY,
    ME,
    PEERS,
    TWO_ROUNDS,
    Others,
    Reads,
    common_facts,
    joint_site,
    joint_spec,
    plan_of,
    policy_for,
)
from masked_sums import key_of, part_of
from pydantic import ValidationError
from sites import COORDINATOR as OF_EACH
from sites import CountingNoise, asking, refused, site, study, table

from cohortmix.client.ledger import history
from cohortmix.client.ledger.history import COMMITTED, RESERVED
from cohortmix.client.ledger.journal import HistoryError, LedgerError
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Peer, Refused
from cohortmix.client.ledger.reservation import ANSWERED, PAID, Reservation
from cohortmix.client.ledger.sum_steps import TAKEN, StepConflict, Taken
from cohortmix.core.data.table import TableSource
from cohortmix.protocol.masking.seeds import new_seed
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    Code,
    MessageError,
    NoisedAnswer,
    SignedStepReply,
    StepRequest,
    decode,
    encode,
)
from cohortmix.protocol.receipts import verify_release
from cohortmix.protocol.signing import sign_reply, sign_request, sign_step, sign_study
from cohortmix.protocol.steps import (
    STEPS,
    Ask,
    AskConsent,
    AskInput,
    AskKeys,
    AskShares,
    AskUnmask,
    Shares,
    Step,
    StepReply,
)
from cohortmix.protocol.storage.hash_chain import Step as Row

CAP = Decimal(5)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:", CAP)
    yield ledger
    ledger.close()


def steps(ledger: Ledger) -> dict[str, int]:
    """How many steps of each kind that count here."""
    return {kind: len(ledger._journal.steps(kind)) for kind in (RESERVED, PAID, ANSWERED, COMMITTED, TAKEN)}


def taken(ledger: Ledger) -> list[Step]:
    """The steps of sums that were taken."""
    return [STEPS[row.part] for row in ledger._journal.steps(TAKEN)]


# --- the whole of it


def test_five_steps_bring_the_sites_answer_into_the_sum(ledger: Ledger) -> None:
    """The answer that the ledger keeps, and no other number that is like it."""
    others = Others()
    others.go_through(joint_site(ledger).answer)
    own = Reservation(ledger._journal, others.spec.hash, others.request.request_id, Fraction(0)).load(0)
    assert own is not None
    assert others.read() == own.values.tolist()
    assert own.sharers == others.spec.terms.sharers == 3
    verify_release(others.release, others.request)
    assert steps(ledger) == {RESERVED: 1, PAID: 1, ANSWERED: 1, COMMITTED: 1, TAKEN: 5}
    assert taken(ledger) == list(STEPS)


def test_the_budget_is_reserved_with_the_first_step_and_debited_once_a_sum(ledger: Ledger) -> None:
    spec, noise = joint_spec(TWO_ROUNDS), CountingNoise()
    here, plan = joint_site(ledger, spec, noise=noise), plan_of(spec)
    assert plan.fits_mixture
    for round, common in ((1, None), (2, common_facts(spec))):
        others = Others(spec, common)
        others.take("keys", here.answer)
        cost = plan.mu2_sums if round == 1 else plan.mu2_moments
        assert ledger.entries()[-1].mu2 == cost
        assert not ledger.entries()[-1].committed
        assert (steps(ledger)[PAID], noise.draws) == (round - 1, 2 * (round - 1))
        others.take("shares", here.answer)
        assert (steps(ledger)[PAID], noise.draws) == (round - 1, 2 * (round - 1))
        for step in STEPS[2:]:
            assert others.take(step, here.answer) == here.answer(others.message(others.ask(step)))
            assert (steps(ledger)[PAID], noise.draws) == (round, 2 * round), "a share and spare noise"
        assert ledger.entries()[-1].committed
        assert cost * (1 - Fraction(1, 2**20)) < others.release.receipt.mu2 <= cost
    assert ledger.spent_mu2 == spec.mu2


def test_a_study_over_the_cap_gets_no_keys(ledger: Ledger) -> None:
    ledger.reserve("f" * 64, "request-0", "f" * 64, Fraction(25), Fraction(25))
    others = Others()
    assert refused(joint_site(ledger).answer(others.message(AskKeys()))) == Code.OVER_BUDGET
    assert taken(ledger) == []


def test_an_answer_with_a_share_of_the_noise_fits_no_release_but_a_masked_one(ledger: Ledger) -> None:
    """The ledger keeps it as it keeps any answer; no message can hold it, whoever made it."""
    others = Others()
    others.go_through(joint_site(ledger).answer)
    own = Reservation(ledger._journal, others.spec.hash, others.request.request_id, Fraction(0)).load(0)
    assert own is not None
    with pytest.raises(ValidationError, match="a share of it leaves a site under masks only"):
        ClassSumsRelease(answer=NoisedAnswer.of(own))
    with pytest.raises(ValidationError, match="a share of it leaves a site under masks only"):
        ClassSumsRelease(answer=NoisedAnswer.of(replace(own, sharers=1)))
    whole = ClassSumsRelease(answer=NoisedAnswer.of(replace(own, sharers=1, spare=None, spare_sigma=0)))
    message = encode(others.release.model_copy(update={"release": whole}))
    assert decode(message)
    with pytest.raises(MessageError):
        decode(message.replace(b'"sharers":1,"sigma"', b'"sharers":2,"sigma"', 1))


@pytest.mark.parametrize("missing", [(), PEERS[2:]], ids=["nobody missing", "one missing"])
def test_spare_noise_is_given_where_no_site_is_missing_and_only_there(
    ledger: Ledger, missing: tuple[str, ...]
) -> None:
    others, there = Others(), tuple(name for name in FOUR if name not in missing)
    here = joint_site(ledger)
    others.go_to("consent", here.answer)
    others.replies["consent"] = here.answer(others.message(AskConsent(survivors=there)))
    consents = others.consents(survivors=there, signers=there)
    reply = decode(here.answer(others.message(AskUnmask(consents=consents))))
    assert isinstance(reply, SignedStepReply)
    shares, sums = reply.signed.reply.content, ledger.sum_steps(others.spec.hash, others.request.request_id)
    assert isinstance(shares, Shares)
    spare = sums.spare()
    assert spare is not None
    assert np.abs(spare).min() > 0
    if missing:
        assert shares.spare is None
    else:
        assert shares.spare is not None
        assert shares.spare.numpy().tolist() == spare.tolist()


# --- every step once, and for good


@pytest.mark.parametrize("reopened", [False, True], ids=["in one process", "by a new process each time"])
def test_between_any_two_steps_the_ledger_keeps_all_that_counts(tmp_path: Path, reopened: bool) -> None:
    """With secrets and noise that nobody can draw again: each step gives the same bytes, now and later."""
    others, path = Others(), tmp_path / "ledger.db"
    given: dict[bytes, bytes] = {}
    ledgers = [Ledger(path, CAP)]
    for step in STEPS:
        asked = others.message(others.ask(step))
        for _ in range(2):
            here = joint_site(ledgers[-1], draw=new_seed, noise=CountingNoise())
            reply = others.replies[step] = here.answer(asked)
            assert given.setdefault(asked, reply) == reply
            if reopened:
                ledgers[-1].close()
                ledgers.append(Ledger(path, CAP))
        for earlier, reply in given.items():
            assert joint_site(ledgers[-1], draw=new_seed).answer(earlier) == reply
    own = Reservation(ledgers[-1]._journal, others.spec.hash, others.request.request_id, Fraction(0)).load(0)
    assert own is not None
    assert others.read() == own.values.tolist()
    assert steps(ledgers[-1]) == {RESERVED: 1, PAID: 1, ANSWERED: 1, COMMITTED: 1, TAKEN: 5}
    ledgers[-1].close()


def other_asks(others: Others, step: Step) -> list[Ask]:
    """What would hold by itself, and is not what the site was asked first."""
    if step == "shares":
        stranger = part_of(others.spec, PEERS[2], others.request.sum, seeds="others")
        keys = others.told.keys
        return [AskShares(keys=keys[:3]), AskShares(keys=(*keys[:3], stranger.keys()))]
    if step == "input":
        boxes = others.boxes_for(ME).boxes
        return [AskInput(boxes=boxes[:3]), AskInput(boxes=(*boxes[:2], boxes[3]))]
    if step == "consent":
        return [AskConsent(survivors=FOUR[:3]), AskConsent(survivors=(ME, *PEERS[1:]))]
    return [AskUnmask(consents=others.consents(signers=FOUR[:3]))]


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_step_that_comes_back_with_another_content_is_refused_for_good(ledger: Ledger, step: Step) -> None:
    """Right after the step, and when all is done; the first content still gets the same bytes."""
    others, here = Others(), joint_site(ledger)
    for each in STEPS:
        others.take(each, here.answer)
        if STEPS.index(each) >= STEPS.index(step):
            for ask in other_asks(others, step):
                assert refused(here.answer(others.message(ask))) == Code.BAD_STEP
    for each in STEPS:
        assert here.answer(others.message(others.ask(each))) == others.replies[each]
    assert steps(ledger) == {RESERVED: 1, PAID: 1, ANSWERED: 1, COMMITTED: 1, TAKEN: 5}


@pytest.mark.parametrize("step", STEPS[1:])
def test_the_other_content_would_have_been_answered_first(ledger: Ledger, step: Step) -> None:
    """So that the test above refuses it for coming second alone."""
    for place, ask in enumerate(other_asks(conversation_to("unmask", Ledger(":memory:", CAP)), step)):
        own = Ledger(":memory:", CAP)
        others = conversation_to(step, own)
        if isinstance(ask, AskUnmask | AskInput):
            ask = other_asks(others, step)[place]
        assert b'"refusal"' not in joint_site(own).answer(others.message(ask))
        own.close()


def conversation_to(step: Step, ledger: Ledger) -> Others:
    """A site that has come to a step, which is the next one."""
    others = Others()
    others.go_to(step, joint_site(ledger).answer)
    return others


@pytest.mark.parametrize("step", STEPS)
def test_a_round_has_one_request_whatever_its_step(ledger: Ledger, step: Step) -> None:
    """With other common facts it would be another sum of the same records."""
    spec = joint_spec(TWO_ROUNDS)
    here = joint_site(ledger, spec)
    Others(spec).go_through(here.answer)
    first = Others(spec, common_facts(spec))
    first.go_to(step, here.answer)
    first.take(step, here.answer)
    halved = first.request.common.model_copy(update={"s_a": Decimal(2)}) if first.request.common else None
    before = steps(ledger)
    assert refused(here.answer(first.message(first.ask(step), common=halved))) == Code.NOT_APPROVED
    assert refused(here.answer(Others(spec, halved).message(AskKeys()))) == Code.NOT_APPROVED
    assert steps(ledger) == before


def test_what_was_lost_between_the_boxes_and_the_draw_is_drawn_for_the_same_boxes(ledger: Ledger) -> None:
    """The machine stops while the noise is drawn: the boxes are kept by then, and the answer was paid for."""
    others, noise = Others(), CountingNoise(fails_at=1)
    here = joint_site(ledger, noise=noise)
    others.go_to("input", here.answer)
    asked = others.message(others.ask("input"))
    assert refused(here.answer(asked)) == Code.UNAVAILABLE
    assert steps(ledger) == {RESERVED: 1, PAID: 1, ANSWERED: 0, COMMITTED: 0, TAKEN: 3}
    for ask in other_asks(others, "input"):
        assert refused(here.answer(others.message(ask))) == Code.BAD_STEP
    assert refused(here.answer(others.message(AskConsent(survivors=FOUR)))) == Code.BAD_STEP
    assert noise.draws == 1
    others.replies["input"] = here.answer(asked)
    assert others.release.receipt.mu2 <= others.spec.mu2
    assert steps(ledger) == {RESERVED: 1, PAID: 1, ANSWERED: 1, COMMITTED: 1, TAKEN: 3}
    for step in STEPS[3:]:
        others.take(step, here.answer)
    own = Reservation(ledger._journal, others.spec.hash, others.request.request_id, Fraction(0)).load(0)
    assert own is not None
    assert others.read() == own.values.tolist()
    assert noise.draws == 3


def test_of_two_that_take_a_step_at_once_one_counts(ledger: Ledger) -> None:
    """The shares are drawn anew at each try: both get those that were kept first."""
    others, here = Others(), joint_site(ledger)
    others.take("keys", here.answer)
    sums = ledger.sum_steps(others.spec.hash, others.request.request_id)
    seeds = sums.before("keys").seeds
    assert seeds is not None
    part = replace(others.parts[PEERS[0]], site=ME, key=KEY, seeds=seeds)
    ask = others.told
    one, other = (part.shares(ask) for _ in range(2))
    assert one != other
    assert sums.take(ask, one).reply == one
    assert sums.take(ask, other).reply == one
    with pytest.raises(StepConflict):
        sums.take(AskShares(keys=ask.keys[:3]), other)
    assert taken(ledger) == ["keys", "shares"]


# --- steps out of order


OUT_OF_ORDER = [(step, number) for step in STEPS[1:] for number in range(STEPS.index(step))]


@pytest.mark.parametrize(("step", "number"), OUT_OF_ORDER)
def test_a_step_that_comes_too_early_is_refused_and_draws_nothing(step: Step, number: int) -> None:
    """Every step after every number of the ones before it; the secrets are the same, so all else of it holds."""
    done, own = Ledger(":memory:", CAP), Ledger(":memory:", CAP)
    others, noise = Others(), CountingNoise()
    sent = others.go_through(joint_site(done).answer)
    here = joint_site(own, noise=noise)
    for each in STEPS[:number]:
        here.answer(sent[each])
    before, drawn = steps(own), noise.draws
    assert refused(here.answer(sent[step])) == Code.BAD_STEP
    assert noise.draws == drawn
    assert steps(own) == before, "nothing is reserved for it either"
    here.answer(sent[STEPS[number]])
    assert taken(own) == list(STEPS[: number + 1]), "in its order it is taken"
    done.close()
    own.close()


def test_no_consent_without_an_input_that_was_released(ledger: Ledger) -> None:
    """The boxes alone are not enough: a site whose answer is not in the sum must not sign that it is."""
    others = Others()
    here = joint_site(ledger, noise=CountingNoise(fails_at=1))
    others.go_to("input", here.answer)
    assert refused(here.answer(others.message(others.ask("input")))) == Code.UNAVAILABLE
    assert taken(ledger) == ["keys", "shares", "input"]
    assert refused(here.answer(others.message(others.ask("consent")))) == Code.BAD_STEP
    others.take("input", here.answer)
    others.take("consent", here.answer)
    assert others.reply("consent").reply.site == ME


def test_a_site_whose_ledger_was_lost_goes_on_with_no_sum() -> None:
    others, lost = Others(), Ledger(":memory:", CAP)
    sent = others.go_through(joint_site(Ledger(":memory:", CAP)).answer)
    for step in STEPS[1:]:
        assert refused(joint_site(lost, draw=new_seed).answer(sent[step])) == Code.BAD_STEP
    assert taken(lost) == []


# --- before anything is paid for or read


def test_the_steward_must_know_the_keys_of_all_but_t_sites(ledger: Ledger) -> None:
    """Three of four, this one among them; a name under another key does not count."""
    others, spec = Others(), joint_spec()
    noise = CountingNoise()
    here = joint_site(ledger, noise=noise)
    wrong = Peer(name=PEERS[1], key=key_of("somebody").public_hex)
    for policy in (
        policy_for(spec, peers=()),
        policy_for(spec, peers=PEERS[:1]),
        policy_for(spec, peers=PEERS[:1]).enrol_peers([wrong]),
        policy_for(spec, peers=PEERS[:1]).enrol_peers([Peer(name=ME, key=KEY.public_hex)]),
        policy_for(spec, peers=PEERS[:1]).enrol_peers([Peer(name="another", key=key_of(PEERS[1]).public_hex)]),
    ):
        here.policy = policy
        assert refused(here.answer(others.message(AskKeys()))) == Code.NOT_APPROVED
    assert steps(ledger) == dict.fromkeys((RESERVED, PAID, ANSWERED, COMMITTED, TAKEN), 0)
    assert noise.draws == 0
    here.policy = policy_for(spec, peers=PEERS[:2])
    others.go_through(here.answer)
    assert taken(ledger) == list(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_a_peer_that_is_struck_off_stops_every_step(ledger: Ledger, step: Step) -> None:
    others, here = Others(), joint_site(ledger)
    others.go_to(step, here.answer)
    here.policy = policy_for(others.spec, peers=PEERS[:1])
    before = steps(ledger)
    for each in STEPS[: STEPS.index(step) + 1]:
        assert refused(here.answer(others.message(others.ask(each)))) == Code.NOT_APPROVED
    assert steps(ledger) == before


def test_a_plain_request_in_a_joint_study_and_a_step_in_another_one(ledger: Ledger) -> None:
    others, here = Others(), joint_site(ledger)
    plain = encode(sign_request(COORDINATOR, others.request))
    assert refused(here.answer(plain)) == Code.NOT_APPROVED
    each = study()
    request = asking(each).request
    for ask in (AskKeys(), AskConsent(survivors=("site",))):
        message = encode(sign_step(OF_EACH, StepRequest(request=request, ask=ask)))
        assert refused(site(ledger, each).answer(message)) == Code.NOT_APPROVED
    assert ledger.entries() == ()


def test_after_its_steps_too_a_plain_request_brings_nothing(ledger: Ledger) -> None:
    """What the ledger keeps of it is a release under masks, but the answer without them lies beside it."""
    others, here = Others(), joint_site(ledger)
    others.go_through(here.answer)
    assert refused(here.answer(encode(sign_request(COORDINATOR, others.request)))) == Code.NOT_APPROVED


def test_there_is_nothing_to_preview(ledger: Ledger) -> None:
    noise = CountingNoise()
    with pytest.raises(Refused) as caught:
        joint_site(ledger, noise=noise).preview(sign_study(COORDINATOR, joint_spec()))
    assert caught.value.refusal.code == Code.NOT_APPROVED
    assert "nothing to preview" in caught.value.refusal.sentence
    assert (ledger.entries(), noise.draws) == ((), 0)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_the_coordinator_has_not_signed(ledger: Ledger, step: Step) -> None:
    others, here = Others(), joint_site(ledger)
    others.go_to(step, here.answer)
    good = others.message(others.ask(step))
    assert refused(here.answer(others.message(others.ask(step), by=PEERS[0]))) == Code.BAD_SIGNATURE
    assert refused(here.answer(good.replace(b'"signature":"', b'"signature":"00', 1)[:-130])) in (
        Code.BAD_SIGNATURE,
        Code.UNAVAILABLE,
    )
    assert len(taken(ledger)) == STEPS.index(step)


@pytest.mark.parametrize("field", ["seal", "mask"])
@pytest.mark.parametrize("point", ["00" * 32, "01" + "00" * 31])
def test_a_key_that_keeps_no_secret_stops_the_sum_before_a_record_is_read(
    ledger: Ledger, field: str, point: str
) -> None:
    others, noise, source = Others(), CountingNoise(), Reads(TableSource(table(100)))
    here = joint_site(ledger, source=source, noise=noise)
    others.take("keys", here.answer)
    part = others.parts[PEERS[2]]
    weak = part.seeds.keys.model_copy(update={field: point})
    signed = sign_reply(part.key, StepReply(site=part.site, sum=part.sum, content=weak))
    reads = source.number
    told = AskShares(keys=(*others.told.keys[:3], signed))
    assert refused(here.answer(others.message(told))) == Code.BAD_STEP
    assert (noise.draws, source.number) == (0, reads)
    assert taken(ledger) == ["keys"]
    others.take("shares", here.answer)
    assert taken(ledger) == ["keys", "shares"], "with the site's right keys it goes on"


def test_boxes_that_do_not_open_stop_the_sum_before_a_record_is_read(ledger: Ledger) -> None:
    others, noise, source = Others(), CountingNoise(), Reads(TableSource(table(100)))
    here = joint_site(ledger, source=source, noise=noise)
    others.go_to("input", here.answer)
    boxes, reads = others.boxes_for(ME).boxes, source.number
    damaged = boxes[1].model_copy(update={"sealed": "00" + boxes[1].sealed[2:]})
    for wrong in (
        (boxes[0], damaged, *boxes[2:]),
        others.boxes_for(PEERS[0]).boxes,
        boxes[:2],
        boxes[1:],
        (*boxes[:3], boxes[2]),
    ):
        assert refused(here.answer(others.message(AskInput(boxes=wrong)))) == Code.BAD_STEP
    assert (noise.draws, source.number) == (0, reads)
    assert (steps(ledger)[PAID], taken(ledger)) == (0, ["keys", "shares"])
    others.take("input", here.answer)
    assert (noise.draws, source.number > reads) == (2, True)


def test_a_second_round_without_room_for_pairs_draws_nothing(ledger: Ledger) -> None:
    """A coordinator may ask; what the first round costs is the whole budget already."""
    others, noise = Others(common=common_facts(joint_spec())), CountingNoise()
    here = joint_site(ledger, noise=noise)
    assert refused(here.answer(others.message(AskKeys()))) == Code.NOT_APPROVED
    assert (noise.draws, steps(ledger)[PAID]) == (0, 0)
    assert ledger.entries() == ()


def test_too_few_patients_are_counted_over_all_sites(ledger: Ledger) -> None:
    """A site with 100 of 400 takes part; one with 12 of 48 does not, and one with 12 of 50 does."""
    for patients, code in (((12, 12, 12, 12), Code.TOO_FEW_PATIENTS), ((12, 12, 12, 14), None)):
        entries = tuple(
            entry.model_copy(update={"patients": number})
            for entry, number in zip(joint_spec().sites, patients, strict=True)
        )
        spec = joint_spec().model_copy(update={"sites": entries})
        here = joint_site(ledger, spec, source=TableSource(table(12)))
        reply = here.answer(Others(spec).message(AskKeys()))
        if code is None:
            assert b'"refusal"' not in reply
        else:
            assert refused(reply) == code
            assert ledger.entries() == ()


# --- a study that is withdrawn in the middle


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("way", ["approval", "ledger"])
def test_a_study_that_is_revoked_gets_no_further_step_and_no_earlier_one(
    ledger: Ledger, step: Step, way: str
) -> None:
    others, here = Others(), joint_site(ledger)
    others.go_to(step, here.answer)
    policy, before = here.policy, taken(ledger)
    if way == "approval":
        here.policy = policy.revoke(others.spec.hash)
    else:
        ledger.revoke(others.spec.hash)
    for each in STEPS[: STEPS.index(step) + 1]:
        assert refused(here.answer(others.message(others.ask(each)))) == Code.NOT_APPROVED
    assert taken(ledger) == before
    here.policy = policy
    ledger.approve(others.spec.hash)
    for each in STEPS[: STEPS.index(step)]:
        assert here.answer(others.message(others.ask(each))) == others.replies[each]
    for each in STEPS[STEPS.index(step) :]:
        others.take(each, here.answer)
    assert steps(ledger)[PAID] == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_study_that_expires_gets_no_further_step_and_no_earlier_one(
    ledger: Ledger, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, also when the clock is set back."""
    clock = [date(2026, 3, 1)]
    monkeypatch.setattr(history, "today", lambda: clock[0])
    others = Others(joint_spec(expires=date(2026, 3, 5)))
    here = joint_site(ledger, others.spec)
    others.go_to(step, here.answer)
    before = taken(ledger)
    for day in (6, 1):
        clock[0] = date(2026, 3, day)
        for each in STEPS[: STEPS.index(step) + 1]:
            assert refused(here.answer(others.message(others.ask(each)))) == Code.NOT_APPROVED
    assert taken(ledger) == before
    assert steps(ledger)[PAID] == (step in STEPS[3:])


# --- what no message holds


def test_the_secrets_of_a_sum_leave_the_ledger_as_it_must_be(ledger: Ledger) -> None:
    """That of the site's own mask in the last step alone, the two others never, nor the answer without masks."""
    others, here = Others(), joint_site(ledger)
    others.go_through(here.answer)
    seeds = ledger.sum_steps(others.spec.hash, others.request.request_id).before("keys").seeds
    assert seeds is not None
    for step, reply in others.replies.items():
        assert (seeds.own.encode() in reply) == (step == "unmask")
        assert seeds.seal.encode() not in reply
        assert seeds.mask.encode() not in reply


def test_each_sum_has_secrets_of_its_own(ledger: Ledger) -> None:
    spec = joint_spec(TWO_ROUNDS)
    here, seen = joint_site(ledger, spec), set()
    for common in (None, common_facts(spec)):
        others = Others(spec, common)
        others.go_through(here.answer)
        seeds = ledger.sum_steps(spec.hash, others.request.request_id).before("keys").seeds
        assert seeds is not None
        seen |= {seeds.seal, seeds.mask, seeds.own}
    assert len(seen) == 6


# --- the ledger's history


def with_a_sum(folder: Path) -> tuple[Path, Others]:
    """A ledger in a file that has one whole sum, closed."""
    path, others = folder / "ledger.db", Others()
    ledger = Ledger(path, CAP, folder, KEY.public_hex)
    others.go_through(joint_site(ledger).answer)
    ledger.close()
    return path, others


def test_a_ledger_with_steps_of_sums_opens_and_says_the_same(tmp_path: Path) -> None:
    path, others = with_a_sum(tmp_path)
    ledger = Ledger(path, CAP, tmp_path, KEY.public_hex)
    rows: list[Row] = ledger._journal.steps(TAKEN)
    kept = [ledger._journal.read(row, Taken) for row in rows]
    assert [one.ask.step for one in kept] == list(STEPS)
    assert [one.seeds is not None for one in kept] == [True, False, False, False, False]
    assert [one.reply is None for one in kept] == [False, False, True, False, False]
    assert [len(ledger.receipts()), len(ledger.entries())] == [1, 1]
    for step in STEPS:
        assert joint_site(ledger).answer(others.message(others.ask(step))) == others.replies[step]
    ledger.close()


EDITS = {
    "the survivors": ("consent", b'"survivors":["SITE 00"', b'"survivors":["SITE 01"'),
    "a seed": ("keys", b'"seeds":{"mask":"', b'"seeds":{"mask":"0'),
    "a box": ("shares", b'"sealed":"', b'"sealed":"f'),
    "which step it is": ("unmask", b'"step":"unmask"', b'"step":"unmusk"'),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_step_that_was_altered_closes_the_ledger(tmp_path: Path, edit: str) -> None:
    path, _ = with_a_sum(tmp_path)
    step, old, new = EDITS[edit]
    with closing(sqlite3.connect(path)) as editor, editor:
        where = "kind = ? AND part = ?", (TAKEN, STEPS.index(step))
        ((content,),) = editor.execute(f"SELECT content FROM steps WHERE {where[0]}", where[1]).fetchall()
        assert old in content
        edited = content.replace(old, new, 1)[: len(content)]
        editor.execute(f"UPDATE steps SET content = ? WHERE {where[0]}", (edited, *where[1]))
    with pytest.raises(HistoryError, match="was altered"):
        Ledger(path, CAP, tmp_path, KEY.public_hex)


@pytest.mark.parametrize("mark", [True, False], ids=["with its mark", "without a mark"])
def test_steps_that_were_taken_away_are_missed(tmp_path: Path, mark: bool) -> None:
    """A ledger that was set back would sign for another set of sites: that is what the mark is for."""
    path, others = with_a_sum(tmp_path)
    with closing(sqlite3.connect(path)) as editor, editor:
        editor.execute("DELETE FROM steps WHERE kind = ? AND part >= 3", (TAKEN,))
    if mark:
        with pytest.raises(HistoryError, match="set back"):
            Ledger(path, CAP, tmp_path, KEY.public_hex)
    else:
        ledger = Ledger(path, CAP, None, KEY.public_hex)
        other = others.message(AskConsent(survivors=FOUR[:3]))
        assert b'"refusal"' not in joint_site(ledger).answer(other), "it has no memory of its first consent"
        ledger.close()


def test_a_step_that_would_not_read_back_is_not_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    others, here = Others(), joint_site(ledger)
    others.take("keys", here.answer)
    monkeypatch.setattr("cohortmix.client.ledger.sum_steps.step_content", _full)
    assert refused(here.answer(others.message(others.told))) == Code.UNAVAILABLE
    assert taken(ledger) == ["keys"]
    monkeypatch.undo()
    others.take("shares", here.answer)
    assert taken(ledger) == ["keys", "shares"]


def _full(*_: object) -> bytes:
    raise LedgerError("the disk is full")
