"""Replies to the steps of a joint study that are not what was asked: they do not count, and nothing is published.

Five sites, of which one may be missing and one may conspire. The noise is keyed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import key_of
from joint_studies import (
    FIVE,
    ONE_OUT,
    Integers,
    carry_through,
    carry_to,
    carry_without,
    coordinating,
    counts,
    joint_consortium,
    own_answer,
    step_of,
    total,
)
from mutations import mutated

from cohortmix.client.ledger.reservation import PAID
from cohortmix.core.data.table import InputError
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    MaskedRelease,
    SignedRelease,
    SignedStepReply,
    decode,
    encode,
)
from cohortmix.protocol.signing import sign_receipt, sign_reply
from cohortmix.protocol.steps import (
    STEPS,
    AskConsent,
    AskInput,
    AskShares,
    Shares,
    Step,
)
from cohortmix.server.coordinator import Verdict
from cohortmix.server.result import TooFewSites

MUTATIONS = int(os.environ.get("COHORTMIX_MUTATIONS", "3000")) // 50
"""Altered replies to each step, of those that tests/server/test_hostile_replies.py has."""
SITES = tuple(sorted(FIVE))


def test_a_lost_store_costs_the_sites_nothing(tmp_path: Path) -> None:
    """The same sites are asked the same again, and give the same bytes."""
    consortium, sums = joint_consortium(tmp_path / "study"), []
    for _ in range(2):
        with coordinating(consortium) as coordinator:
            carry_through(consortium, coordinator)
            sums.append((total(coordinator, 1), coordinator._store.replies(1)))
        for file in (consortium.root / "coordinator").glob("study.[dm]*"):
            file.unlink()
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    assert sums[0][1] == sums[1][1]
    assert {counts(consortium, site)[PAID] for site in SITES} == {1}


def altered(release: SignedRelease, consortium: Consortium, values: Any) -> bytes:
    """Another input, under a receipt that fits it and the site's own signature."""
    masked = release.release.model_copy(update={"values": values})
    receipt = release.receipt.model_copy(update={"release_hash": masked.hash})
    signed = sign_receipt(key_of(consortium, list(FIVE).index(receipt.site)), receipt)
    return encode(SignedRelease(release=masked, receipt=receipt, signature=signed.signature))


def test_an_input_that_no_patients_could_give_spoils_the_sum_and_is_noticed(tmp_path: Path) -> None:
    """A random vector in place of a masked answer: nothing is published of it, and nobody can say whose it was."""
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, input")
        reply = decode(consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"]))
        assert isinstance(reply, SignedRelease)
        assert isinstance(reply.release, MaskedRelease)
        values = reply.release.values
        other = values.of(np.random.default_rng(1).integers(-(2**63), 2**63 - 1, values.shape, dtype=np.int64))
        short = values.of(values.numpy()[1:])
        assert coordinator.accept("UK", altered(reply, consortium, short)) is Verdict.LATER, "too few numbers"
        assert coordinator.accept("UK", altered(reply, consortium, other)) is Verdict.ACCEPTED
        carry_to(consortium, coordinator, "round 1, unmask")
        carry_without(consortium, coordinator)
        with pytest.raises(TooFewSites, match="numbers that 331 patients and the noise cannot give"):
            coordinator.advance()
        assert total(coordinator, 1) is None
        with pytest.raises(TooFewSites):
            coordinator.finish()


def spared(reply: bytes, consortium: Consortium, spare: Array | None) -> bytes:
    """A reply to the last step with other spare noise, under its site's own signature."""
    message = decode(reply)
    assert isinstance(message, SignedStepReply)
    content = message.signed.reply.content.model_copy(update={"spare": spare})
    said = message.signed.reply.model_copy(update={"content": content})
    return encode(SignedStepReply(signed=sign_reply(key_of(consortium, list(FIVE).index(said.site)), said)))


def test_spare_noise_that_cannot_be_a_site_s_own_is_not_taken_off(tmp_path: Path) -> None:
    """It would move the sum by whatever a site likes; its masks come off by the others' shares."""
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, unmask")
        reply = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
        (part,) = coordinator._parts(1)
        own, most = own_spare(consortium, "UK"), 12 * part.noise.spare
        size = len(own)
        for wrong in (
            None,
            own[1:],
            np.full(size, most + 1),
            np.full(size, -most - 1),
            np.full(size, 2**63 - 1),
            np.full(size, -(2**63)),
            own.astype(float),
        ):
            altered = spared(reply, consortium, None if wrong is None else Array.of(wrong))
            assert coordinator.accept("UK", altered) is Verdict.LATER
        edge = spared(reply, consortium, Array.of(np.full(size, most)))
        assert coordinator.accept("UK", edge) is Verdict.ACCEPTED


def test_spare_noise_that_no_site_has_signed_is_not_taken_off_what_is_read(tmp_path: Path) -> None:
    """Somebody who can write to the store could else move a sum by as much as the range allows.

    Nor is what a site has signed, but for another sum, as for the same study run before under another name.
    """
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, unmask")
        carry_without(consortium, coordinator)
        place, kept = coordinator.present.place, coordinator._store.reply
        message = decode(kept("UK", place))
        assert isinstance(message, SignedStepReply)
        content = message.signed.reply.content
        assert isinstance(content, Shares)
        other = content.model_copy(update={"spare": Array.of(own_spare(consortium, "UK") + 5)})
        said = message.signed.reply.model_copy(update={"content": other})
        altered = encode(SignedStepReply(signed=message.signed.model_copy(update={"reply": said})))
        elsewhere = sign_reply(
            key_of(consortium, list(FIVE).index("UK")), said.model_copy(update={"sum": coordinator.spec.hash})
        )
        of_another_sum = encode(SignedStepReply(signed=elsewhere))
        for site, wrong in (("UK", altered), ("ITAL", kept("UK", place)), ("UK", of_another_sum)):
            with pytest.MonkeyPatch.context() as patch:
                reads = {(site, place): wrong}
                patch.setattr(coordinator._store, "reply", lambda *at: reads.get(at) or kept(*at))  # noqa: B023
                with pytest.raises(InputError, match=f"a reply that '{site}' has not signed"):
                    coordinator.advance()
        assert total(coordinator, 1) is None
        coordinator.advance()
        assert total(coordinator, 1) is not None


def own_spare(consortium: Consortium, site: str) -> Integers:
    """The spare noise of a site, as its ledger keeps it."""
    own = own_answer(consortium, site, 1)
    assert own is not None
    assert own.spare is not None
    return own.spare


def test_spare_noise_is_not_taken_off_where_a_site_is_missing(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, unmask", gone=["NORW"])
        reply = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
        altered = spared(reply, consortium, Array.of(own_spare(consortium, "UK")))
        assert coordinator.accept("UK", altered) is Verdict.LATER
        assert coordinator.accept("UK", reply) is Verdict.ACCEPTED


def test_a_reply_of_another_site_or_another_step_does_not_count(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study")
    italy = consortium.site(list(FIVE).index("ITAL"))
    with coordinating(consortium) as coordinator:
        keys = italy.answer(coordinator.requests()["ITAL"])
        assert coordinator.accept("UK", keys) is Verdict.LATER
        assert coordinator.accept("nobody", keys) is Verdict.LATER
        carry_to(consortium, coordinator, "round 1, shares")
        assert coordinator.accept("ITAL", keys) is Verdict.LATER
        assert coordinator.answered == ()
        assert coordinator.accept("ITAL", italy.answer(coordinator.requests()["ITAL"])) is Verdict.ACCEPTED


@pytest.mark.parametrize("step", STEPS)
def test_an_altered_reply_raises_nothing_and_does_not_count(
    tmp_path: Path, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    """Bits, texts and parts of it: it is turned down with a sentence, or says what the site has signed."""
    consortium, chance = joint_consortium(tmp_path / "study"), random.Random(5)
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, f"round 1, {step}")
        reply = consortium.site(list(FIVE).index("UK")).answer(coordinator.requests()["UK"])
        for _ in range(MUTATIONS):
            altered = mutated(reply, chance)
            if coordinator.accept("UK", altered) is not Verdict.LATER:
                assert decode(altered) == decode(reply)
        assert coordinator.accept("UK", reply) in (Verdict.ACCEPTED, Verdict.KNOWN)
    assert "cannot be checked" not in caplog.text, "a fault of ours, which is caught as the last resort"


def test_every_site_is_told_the_same_and_each_its_own_boxes(tmp_path: Path) -> None:
    consortium = joint_consortium(tmp_path / "study")
    with coordinating(consortium) as coordinator:
        asked = {}
        for step in STEPS:
            asked[step] = {site: step_of(message) for site, message in coordinator.requests().items()}
            assert len({one.request.sum for one in asked[step].values()}) == 1
            assert len({one.request.request_id for one in asked[step].values()}) == 5
            carry_without(consortium, coordinator)
            coordinator.advance()
    for step in ("keys", "shares", "consent", "unmask"):
        assert len({one.ask for one in asked[step].values()}) == 1, step
    boxes = [one.ask.boxes for one in asked["input"].values() if isinstance(one.ask, AskInput)]
    assert len({box.sealed for each in boxes for box in each}) == 25
    shares, consent = asked["shares"]["UK"].ask, asked["consent"]["UK"].ask
    assert isinstance(shares, AskShares)
    assert isinstance(consent, AskConsent)
    assert consent.survivors == tuple(key.reply.site for key in shares.keys) == SITES
    assert ONE_OUT.tolerated_dropouts == 1
