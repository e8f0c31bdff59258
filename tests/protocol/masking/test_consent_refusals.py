"""What an honest site refuses of a set of survivors, before it signs for it and before it gives its shares."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from masked_sums import OTHER_SUM, SUM, Names, Sum, content_of, key_of, names, study_of

from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.seeds import MaskingError
from cohortmix.protocol.signing import sign_reply
from cohortmix.protocol.steps import (
    AskConsent,
    AskInput,
    AskShares,
    AskUnmask,
    Box,
    Consent,
    Shares,
    SignedReply,
    StepReply,
    hash_of_sites,
)

FIVE = names(5)
ME, PEER, LAST = FIVE[0], FIVE[1], FIVE[4]
FOUR = FIVE[:4]
WHOLE = Sum.of(study_of(5, 1, 1))
TOLD = WHOLE.told()
BOXES, BOXES_OF_FOUR = WHOLE.boxes(TOLD), WHOLE.boxes(TOLD, FOUR)
PART = WHOLE.parts[ME]


def consents(survivors: Names, told: int = 5) -> tuple[SignedReply, ...]:
    """Of all survivors; `told` says of how many sites they were given boxes."""
    return WHOLE.consents(TOLD, BOXES if told == 5 else BOXES_OF_FOUR, survivors, survivors)


def unmasked(given: tuple[SignedReply, ...], survivors: Names = FOUR) -> Shares:
    """What this site gives for some consents."""
    asked = AskConsent(survivors=survivors)
    return content_of(PART.unmask(TOLD, BOXES[ME], asked, AskUnmask(consents=given)), Shares)


# Spare noise


def test_spare_noise_is_given_if_all_sites_of_the_study_are_in_the_sum_and_only_then() -> None:
    """A site that has given no keys is missing, too."""
    spare = np.arange(7)

    def given(survivors: Names, told: AskShares, boxes: AskInput) -> Array | None:
        asked = AskConsent(survivors=survivors)
        others = {site: WHOLE.boxes(told)[site] for site in survivors}
        unmask = AskUnmask(consents=WHOLE.consents(told, others, survivors, survivors))
        return content_of(PART.unmask(told, boxes, asked, unmask, spare), Shares).spare

    whole = given(FIVE, TOLD, BOXES[ME])
    assert whole is not None
    assert whole.numpy().tolist() == spare.tolist()
    assert given(FOUR, TOLD, BOXES[ME]) is None
    told = WHOLE.told(FOUR)
    assert given(FOUR, told, WHOLE.boxes(told)[ME]) is None


# Consent


@pytest.mark.parametrize("survivors", [FIVE, *(set_ for set_ in combinations(FIVE, 4) if ME in set_)])
def test_a_site_signs_a_set_of_t_sites_or_more_with_itself(survivors: Names) -> None:
    """In whichever order they are named: the negation of the refusals below."""
    signed, reversed_ = (
        PART.consent(TOLD, BOXES[ME], AskConsent(survivors=order)) for order in (survivors, survivors[::-1])
    )
    assert signed == reversed_
    assert content_of(signed, Consent).survivors not in [
        content_of(other, Consent).survivors
        for set_ in combinations(FIVE, 4)
        if set_ != survivors and ME in set_
        for other in [PART.consent(TOLD, BOXES[ME], AskConsent(survivors=set_))]
    ]


@pytest.mark.parametrize(
    ("survivors", "why"),
    [
        (FIVE[:3], "expected 4 sites at least, got 3"),
        (FIVE[:1], "expected 4 sites at least, got 1"),
        (FIVE[1:], "this one among them"),
        ((*FOUR, "SITE 05"), "of those that have sent boxes"),
        ((*FIVE[:3], FIVE[2]), "expected different sites"),
        ((*FIVE, LAST), "expected different sites"),
    ],
    ids=["fewer than T", "itself alone", "without itself", "of no site", "twice for T", "twice"],
)
def test_a_site_signs_no_other_set(survivors: Names, why: str) -> None:
    with pytest.raises(MaskingError, match=why):
        PART.consent(TOLD, BOXES[ME], AskConsent(survivors=survivors))


def test_a_site_that_has_sent_no_boxes_is_no_survivor() -> None:
    """Its secrets could not be shared out; where it has sent them, it is one."""
    asked = AskConsent(survivors=FIVE)
    with pytest.raises(MaskingError, match="of those that have sent boxes"):
        PART.consent(TOLD, BOXES_OF_FOUR[ME], asked)
    assert PART.consent(TOLD, BOXES[ME], asked)


# Unmasking


def test_t_consents_get_a_share_for_each_site_that_sent_boxes() -> None:
    """Any T of them: the share of the own mask for each site in the sum, of the mask key for each other one."""
    opened = PART.opened(TOLD, BOXES[ME])
    for given in combinations(consents(FIVE), 4):
        reply = unmasked(given, FIVE)
        assert {share.site: share.share for share in reply.shares} == {site: opened[site][1] for site in FIVE}
    reply = unmasked(consents(FOUR))
    wanted = {site: opened[site][1] for site in FOUR} | {LAST: opened[LAST][0]}
    assert {share.site: share.share for share in reply.shares} == wanted
    assert reply.own == PART.seeds.own


@pytest.mark.parametrize("survivors", [FIVE, FOUR])
def test_never_both_shares_of_one_site_are_given(survivors: Names) -> None:
    opened, reply = PART.opened(TOLD, BOXES[ME]), unmasked(consents(survivors), survivors)
    given = [share.share for share in reply.shares]
    assert sorted(share.site for share in reply.shares) == list(FIVE)
    for mask, own in opened.values():
        assert (mask in given) != (own in given)
    assert len(given) == len(FIVE)


def consent_of(name: str, signer: str, survivors: Names = FOUR, roster: str | None = None) -> SignedReply:
    """A consent in the name of a site that somebody signs."""
    content = content_of(consents(survivors)[0], Consent)
    if roster is not None:
        content = Consent(survivors=hash_of_sites(survivors, roster))
    return sign_reply(key_of(signer), StepReply(site=name, sum=SUM, content=content))


def consents_of_another_sum() -> tuple[SignedReply, ...]:
    """Of the same sites with the same keys, so that their content is that of this sum; under another sum."""
    content = content_of(consents(FOUR)[0], Consent)
    return tuple(sign_reply(key_of(site), StepReply(site=site, sum=OTHER_SUM, content=content)) for site in FOUR)


GOOD = consents(FOUR)
CONSENTS: dict[str, tuple[tuple[SignedReply, ...], str]] = {
    "fewer than T": (GOOD[:3], "expected 4 sites at least, got 3"),
    "of this site alone": (GOOD[:1], "expected 4 sites at least, got 1"),
    "one twice": ((*GOOD[:3], GOOD[2]), "'SITE 02' does not belong"),
    "over all sites": (consents(FIVE), "has signed for another set"),
    "one over all sites": ((*GOOD[:3], consents(FIVE)[3]), "'SITE 03' has signed for another set"),
    "one over a set of as many": (
        (*GOOD[:3], WHOLE.consents(TOLD, BOXES, FIVE[1:], [FIVE[3]])[0]),
        "'SITE 03' has signed for another set",
    ),
    "one of a site to which other senders were named": (
        (*GOOD[:3], consents(FOUR, told=4)[3]),
        "'SITE 03' has signed for another set",
    ),
    "one over another roster": (
        (*GOOD[:3], consent_of(FIVE[3], FIVE[3], roster="a" * 64)),
        "'SITE 03' has signed for another set",
    ),
    "one more by a site that is no survivor": (
        (*GOOD, consent_of(LAST, LAST)),
        "'SITE 04' has signed for another set",
    ),
    "one by a site that is no survivor, for T": (
        (*GOOD[:3], consent_of(LAST, LAST)),
        "'SITE 04' has signed for another set",
    ),
    "of another sum": (consents_of_another_sum(), "'SITE 00' does not belong"),
    "one of another sum": ((*GOOD[:3], consents_of_another_sum()[3]), "'SITE 03' does not belong"),
    "one that another site has signed": (
        (*GOOD[:3], consent_of(FIVE[3], LAST)),
        "'SITE 03' is not signed by this site",
    ),
    "one that the coordinator has signed": (
        (*GOOD[:3], consent_of(FIVE[3], "coordinator")),
        "'SITE 03' is not signed by this site",
    ),
    "one of no site of the study": ((*GOOD[:3], consent_of("SITE 05", "SITE 05")), "'SITE 05' does not belong"),
    "keys in place of a consent": ((*GOOD[:3], TOLD.keys[3]), "'SITE 03' does not belong"),
}


@pytest.mark.parametrize("case", CONSENTS)
def test_consents_that_do_not_hold_get_no_share(case: str) -> None:
    given, why = CONSENTS[case]
    with pytest.raises(MaskingError, match=why):
        unmasked(given)


def test_consents_of_another_sum_hold_there_alone() -> None:
    """Also where every site has the same secrets in both sums: what a consent signs names the sum, twice."""
    elsewhere = Sum({site: replace(part, sum=OTHER_SUM) for site, part in WHOLE.parts.items()})
    told = elsewhere.told()
    boxes = elsewhere.boxes(told)
    own = elsewhere.consents(told, boxes, FOUR, FOUR)
    assert elsewhere.replies(told, boxes, FOUR, own, [ME])[ME].own == PART.seeds.own
    with pytest.raises(MaskingError, match="'SITE 00' does not belong"):
        elsewhere.replies(told, boxes, FOUR, GOOD, [ME])
    with pytest.raises(MaskingError, match="'SITE 00' has signed for another set"):
        elsewhere.replies(told, boxes, FOUR, consents_of_another_sum(), [ME])


def test_a_site_checks_the_boxes_again_before_it_gives_their_shares() -> None:
    """The sites that a box came from are part of what is signed, and the boxes themselves are not."""
    boxes = BOXES[ME].boxes
    swapped = (
        boxes[0],
        *(Box(site=one.site, sealed=other.sealed) for one, other in zip(boxes[1:], boxes, strict=False)),
    )
    with pytest.raises(MaskingError, match="does not open"):
        PART.unmask(TOLD, AskInput(boxes=swapped), AskConsent(survivors=FOUR), AskUnmask(consents=GOOD))
    fewer = AskInput(boxes=boxes[:4])
    with pytest.raises(MaskingError, match="has signed for another set"):
        PART.unmask(TOLD, fewer, AskConsent(survivors=FOUR), AskUnmask(consents=GOOD))


def test_a_site_that_is_left_out_gives_nothing() -> None:
    """Its own mask's secret would come beside the shares of its mask key, which the others give: both masks.

    In the ledger a site unmasks only what it has signed, and it signs no set without itself.
    """
    others = WHOLE.consents(TOLD, BOXES, FIVE[1:], FIVE[1:])
    with pytest.raises(MaskingError):
        unmasked(others, FIVE[1:])
