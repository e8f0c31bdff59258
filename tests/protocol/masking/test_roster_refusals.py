"""What an honest site refuses of a list of sites and of its boxes, before it gives a share or reads a record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from masked_sums import OTHER_SUM, SUM, Sum, content_of, key_of, names, part_of, study_of

from cohortmix.protocol.masking.boxes import seal, unseal
from cohortmix.protocol.masking.part import Part, Roster
from cohortmix.protocol.masking.seeds import MaskingError, agreed, private_of, public_of
from cohortmix.protocol.signing import sign_reply
from cohortmix.protocol.steps import AskInput, AskShares, Box, Boxes, Keys, SignedReply, StepReply

FIVE = names(5)
ME, PEER, LAST = FIVE[0], FIVE[1], FIVE[4]
WHOLE = Sum.of(study_of(5, 1, 1))
TOLD = WHOLE.told()
BOXES = WHOLE.boxes(TOLD)[ME].boxes
PART = WHOLE.parts[ME]


def opens(boxes: tuple[Box, ...], told: AskShares = TOLD, part: Part = PART) -> set[str]:
    """The senders of the boxes that a site takes."""
    return set(part.opened(told, AskInput(boxes=boxes)))


def signed(name: str, content: Keys, signer: str, sum: str = SUM) -> SignedReply:
    return sign_reply(key_of(signer), StepReply(site=name, sum=sum, content=content))


# Rosters


def keys_of(name: str, seeds: str = "others") -> Keys:
    """Keys of other secrets than a site has drawn."""
    return part_of(WHOLE.study, name, seeds=seeds).seeds.keys


ALTERED = TOLD.keys[4].model_copy(
    update={"reply": TOLD.keys[4].reply.model_copy(update={"content": keys_of(LAST)})}
)
CONSENT = WHOLE.consents(TOLD, WHOLE.boxes(TOLD), FIVE, [LAST])[0]
ROSTERS: dict[str, tuple[tuple[SignedReply, ...], str]] = {
    "fewer than T sites": (TOLD.keys[:3], "expected 4 sites at least, got 3"),
    "a site twice": ((*TOLD.keys[:4], TOLD.keys[1]), "'SITE 01' does not belong"),
    "a site twice in place of another one": ((*TOLD.keys[:3], TOLD.keys[2]), "'SITE 02' does not belong"),
    "a site with two keys": ((*TOLD.keys, signed(LAST, keys_of(LAST), LAST)), "'SITE 04' does not belong"),
    "an invented site": (
        (*TOLD.keys[:4], signed("SITE 05", keys_of("SITE 05"), "SITE 05")),
        "'SITE 05' does not belong",
    ),
    "keys that another site has signed": (
        (*TOLD.keys[:4], signed(LAST, keys_of(LAST), PEER)),
        "'SITE 04' is not signed by this site",
    ),
    "keys that the coordinator has signed": (
        (*TOLD.keys[:4], signed(LAST, keys_of(LAST), "coordinator")),
        "'SITE 04' is not signed by this site",
    ),
    "keys that were altered": ((*TOLD.keys[:4], ALTERED), "'SITE 04' is not signed by this site"),
    "keys for another sum": (
        (*TOLD.keys[:4], part_of(WHOLE.study, LAST, OTHER_SUM).keys()),
        "'SITE 04' does not belong",
    ),
    "a consent in place of keys": ((*TOLD.keys[:4], CONSENT), "'SITE 04' does not belong"),
    "not this site": (TOLD.keys[1:], "expected the keys that this site has given"),
    "other keys of this site": (
        (signed(ME, keys_of(ME), ME), *TOLD.keys[1:]),
        "expected the keys that this site has given",
    ),
}


@pytest.mark.parametrize("case", ROSTERS)
def test_a_roster_that_does_not_hold_gets_no_share_and_no_input(case: str) -> None:
    replies, why = ROSTERS[case]
    told = AskShares(keys=replies)
    with pytest.raises(MaskingError, match=why):
        PART.shares(told)
    with pytest.raises(MaskingError, match=why):
        opens(BOXES, told)


@pytest.mark.parametrize("number", [4, 5])
def test_a_roster_that_holds_gets_a_box_for_each_site(number: int) -> None:
    """In whichever order it comes: the negation of the test above."""
    for replies in (TOLD.keys[:number], TOLD.keys[:number][::-1]):
        boxes = content_of(PART.shares(AskShares(keys=replies)), Boxes).boxes
        assert [box.site for box in boxes] == list(FIVE[:number])


def test_a_roster_has_one_hash_in_whichever_order_and_another_one_for_other_keys() -> None:
    assert Roster(TOLD.keys).hash == Roster(TOLD.keys[::-1]).hash
    others = [TOLD.keys[1:], (signed(ME, keys_of(ME), ME), *TOLD.keys[1:]), Sum.of(study_of(5)).told().keys[:3]]
    assert Roster(TOLD.keys).hash not in [Roster(replies).hash for replies in others]


SMALL_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
"""Points u of Curve25519 whose order divides 8, as `cr.yp.to/ecdh.html` lists them."""


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_with_which_everybody_knows_the_secret_is_refused(point: str) -> None:
    """What would follow from it is zero, whoever's the other key is."""
    private = private_of("0f" * 16, "seal")
    with pytest.raises(MaskingError, match="no X25519 key that keeps a secret"):
        agreed(private, point, "box")
    weak = keys_of(LAST).model_copy(update={"seal": point})
    with pytest.raises(MaskingError, match="no X25519 key that keeps a secret"):
        PART.shares(AskShares(keys=(*TOLD.keys[:4], signed(LAST, weak, LAST))))
    assert len(agreed(private, public_of(private_of("f0" * 16, "seal")), "box")) == 32


@pytest.mark.parametrize("point", SMALL_ORDER[:2])
def test_a_weak_mask_key_is_refused_before_a_record_is_read(point: str) -> None:
    """Else one conspirator makes every honest site pay for an answer that it can then not mask."""
    weak = keys_of(LAST).model_copy(update={"mask": point})
    with pytest.raises(MaskingError, match="no X25519 key that keeps a secret"):
        PART.shares(AskShares(keys=(*TOLD.keys[:4], signed(LAST, weak, LAST))))


# Boxes


def stranger(site: str) -> Box:
    return BOXES[1].model_copy(update={"site": site})


def test_boxes_that_hold_are_opened() -> None:
    """Of T sites or more, in whichever order: the negation of each refusal below."""
    assert opens(BOXES) == opens(BOXES[::-1]) == set(FIVE)
    assert opens(BOXES[:4]) == set(FIVE[:4])


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        (BOXES[:3], "expected 4 sites at least, got 3"),
        (BOXES[1:], "and of this one"),
        ((*BOXES[:4], stranger("SITE 05")), "of sites that have given keys"),
        ((*BOXES, BOXES[1]), "expected one box of each site"),
        ((*BOXES[:3], BOXES[2]), "expected one box of each site"),
        ((*BOXES[:4], stranger(LAST)), "the box from 'SITE 04' does not open"),
        ((*BOXES[:1], stranger(LAST), *BOXES[2:4], BOXES[4].model_copy(update={"site": PEER})), "does not open"),
    ],
    ids=["fewer than T", "not its own", "of no site", "twice", "twice for T", "of another sender", "swapped"],
)
def test_boxes_that_do_not_hold(boxes: tuple[Box, ...], why: str) -> None:
    with pytest.raises(MaskingError, match=why):
        opens(boxes)


def test_a_box_of_a_site_that_is_not_in_the_roster_is_refused() -> None:
    """It is a site of the study, and has sealed a box for this one, but under another roster."""
    with pytest.raises(MaskingError, match="of sites that have given keys"):
        opens(BOXES, WHOLE.told(FIVE[:4]))


@pytest.mark.parametrize("place", range(0, 96, 5))
def test_a_box_with_one_altered_digit_does_not_open(place: int) -> None:
    sealed = BOXES[1].sealed
    digit = f"{int(sealed[place], 16) ^ 1:x}"
    altered = Box(site=PEER, sealed=sealed[:place] + digit + sealed[place + 1 :])
    with pytest.raises(MaskingError, match="the box from 'SITE 01' does not open"):
        opens((BOXES[0], altered, *BOXES[2:]))


def other_roster() -> str:
    fewer = WHOLE.told(FIVE[:4])
    return WHOLE.sealed(fewer, PEER)[ME]


def other_sum() -> str:
    elsewhere = Sum({site: part_of(WHOLE.study, site, OTHER_SUM) for site in FIVE})
    return elsewhere.sealed(elsewhere.told(), PEER)[ME]


@pytest.mark.parametrize(
    "sealed",
    [
        lambda: WHOLE.sealed(TOLD, PEER)[LAST],
        other_roster,
        other_sum,
        lambda: WHOLE.sealed(TOLD, ME)[PEER],
        lambda: WHOLE.sealed(TOLD, ME)[ME],
    ],
    ids=["another receiver", "another roster", "another sum", "the other direction", "this site itself"],
)
def test_a_box_that_was_sealed_for_something_else_does_not_open(sealed: Callable[[], str]) -> None:
    with pytest.raises(MaskingError, match="the box from 'SITE 01' does not open"):
        opens((BOXES[0], Box(site=PEER, sealed=sealed()), *BOXES[2:]))
    assert opens((BOXES[0], Box(site=PEER, sealed=WHOLE.sealed(TOLD, PEER)[ME]), *BOXES[2:])) == set(FIVE)


def test_only_its_receiver_and_its_sender_open_a_box() -> None:
    """Another key does not, nor does the right one on another way; the coordinator has neither."""
    seeds = {site: WHOLE.parts[site].seeds.seal for site in FIVE}
    private = {site: private_of(seed, "seal") for site, seed in seeds.items()}
    public = {site: public_of(key) for site, key in private.items()}
    way = ("a" * 64, ME, PEER)
    box = seal(private[ME], public[PEER], way, "0f" * 16, "f0" * 16)
    assert unseal(private[PEER], public[ME], way, box) == ("0f" * 16, "f0" * 16)
    assert unseal(private[ME], public[PEER], way, box) == ("0f" * 16, "f0" * 16)
    for reader in FIVE[2:]:
        for sender in FIVE:
            with pytest.raises(MaskingError, match="does not open"):
                unseal(private[reader], public[sender], way, box)
    for other in (("b" * 64, ME, PEER), ("a" * 64, PEER, ME), ("a" * 64, ME, LAST), ("a" * 64, LAST, PEER)):
        with pytest.raises(MaskingError, match="does not open"):
            unseal(private[PEER], public[ME], other, box)
