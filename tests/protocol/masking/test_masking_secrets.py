"""Seeds of a sum: drawn once, told to nobody but as shares, and of no use for another sum."""

from __future__ import annotations

from dataclasses import replace

import pytest
from masked_sums import OTHER_SUM, Sum, content_of, key_of, names, part_of, seeds_of, study_of

from cohortmix.protocol.masking.boxes import unseal
from cohortmix.protocol.masking.masks import own_mask
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.seeds import MaskingError, Seeds, check_of, new_seed, private_of, public_of
from cohortmix.protocol.steps import SEED_BYTES, AskInput, AskShares, Box, Boxes, SignedReply

FIVE = names(5)
WHOLE = Sum.of(study_of(5, 1, 1))
TOLD = WHOLE.told()
PART = WHOLE.parts[FIVE[0]]


def hidden(secrets: Seeds, but: str = "") -> list[str]:
    """The seeds, but one, and the private keys that follow from them."""
    privates = [private_of(secrets.seal, "seal"), private_of(secrets.mask, "mask")]
    seeds = [seed for seed in (secrets.seal, secrets.mask, secrets.own) if seed != but]
    return [*seeds, *(private.private_bytes_raw().hex() for private in privates)]


def text_of(*replies: SignedReply) -> str:
    return "".join(reply.model_dump_json() for reply in replies)


def test_secrets_are_three_seeds_that_are_drawn_one_by_one() -> None:
    """Each for its purpose; from the system's source they are never the same."""
    asked: list[str] = []

    def seed(purpose: str) -> bytes:
        asked.append(purpose)
        return bytes([len(asked)]) * SEED_BYTES

    assert Seeds.draw(seed) == Seeds(seal="01" * 16, mask="02" * 16, own="03" * 16)
    assert asked == ["seal", "mask", "own"]
    drawn = [Seeds.draw() for _ in range(20)]
    seeds = {seed for secrets in drawn for seed in (secrets.seal, secrets.mask, secrets.own)}
    assert len(seeds) == 60
    assert {len(new_seed("own")) for _ in range(20)} == {SEED_BYTES}
    assert all(len(set(bytes.fromhex(seed))) > 4 for seed in seeds)


def test_no_public_message_of_a_site_holds_a_secret() -> None:
    """Neither its keys, nor its boxes, nor its consent; and the probe finds one that is there."""
    boxes = WHOLE.boxes(TOLD)
    for part in WHOLE.parts.values():
        consent = WHOLE.consents(TOLD, boxes, FIVE, [part.site])
        text = text_of(part.keys(), part.shares(TOLD), *consent)
        assert not [secret for secret in hidden(part.seeds) if secret in text]
        for shares in part.opened(TOLD, boxes[part.site]).values():
            assert not [share for share in shares if share in text]
    assert [secret for secret in hidden(PART.seeds) if secret in PART.seeds.model_dump_json()]


@pytest.mark.parametrize("survivors", [FIVE, FIVE[:4]])
def test_the_last_message_gives_the_own_mask_s_secret_and_no_other(survivors: tuple[str, ...]) -> None:
    boxes = WHOLE.boxes(TOLD)
    consents = WHOLE.consents(TOLD, boxes, survivors, survivors)
    replies = WHOLE.replies(TOLD, boxes, survivors, consents, survivors)
    for site, reply in replies.items():
        text, secrets = reply.model_dump_json(), WHOLE.parts[site].seeds
        assert secrets.own in text
        assert not [secret for secret in hidden(secrets, secrets.own) if secret in text]


def test_keys_are_always_the_same_bytes() -> None:
    """Asked again, also after a crash; other ones for another sum, for another site and for other secrets."""
    again = part_of(study_of(5, 1, 1), FIVE[0])
    assert text_of(PART.keys()) == text_of(PART.keys()) == text_of(again.keys())
    others = [replace(PART, sum=OTHER_SUM), WHOLE.parts[FIVE[1]], part_of(WHOLE.study, FIVE[0], seeds="others")]
    assert text_of(PART.keys()) not in [text_of(other.keys()) for other in others]


def test_shares_are_new_each_time() -> None:
    """So the first reply must be kept: boxes of two replies fit together in no sum."""
    first, second = (content_of(PART.shares(TOLD), Boxes).boxes for _ in range(2))
    assert [box.site for box in first] == [box.site for box in second] == list(FIVE)
    assert not {box.sealed for box in first} & {box.sealed for box in second}
    way = (Roster(TOLD.keys).hash, FIVE[0], FIVE[0])
    private = private_of(PART.seeds.seal, "seal")
    opened = [unseal(private, PART.seeds.keys.seal, way, boxes[0].sealed) for boxes in (first, second)]
    assert len({share for shares in opened for share in shares}) == 4


def test_the_boxes_of_a_site_differ_from_receiver_to_receiver() -> None:
    sealed = [box.sealed for part in WHOLE.parts.values() for box in content_of(part.shares(TOLD), Boxes).boxes]
    assert len(set(sealed)) == 25


def test_what_follows_from_a_seed_differs_from_purpose_to_purpose() -> None:
    """The check value of an own mask is announced, so the mask must not follow from it."""
    seed = "0f" * 16
    roster = Roster(TOLD.keys).hash
    follows = [
        check_of(seed),
        own_mask(seed, roster, 4).tobytes().hex(),
        own_mask(seed, "a" * 64, 4).tobytes().hex(),
        own_mask(check_of(seed)[:32], roster, 4).tobytes().hex(),
        *(private_of(seed, purpose).private_bytes_raw().hex() for purpose in ("seal", "mask")),
        *(public_of(private_of(seed, purpose)) for purpose in ("seal", "mask")),
        seed * 2,
    ]
    assert len(set(follows)) == len(follows)
    assert check_of(seed) == check_of(seed) != check_of("f0" * 16)
    assert (own_mask(seed, roster, 4) == own_mask(seed, roster, 9)[:4]).all()


def test_public_keys_are_those_of_the_seeds() -> None:
    secrets = Seeds.draw(seeds_of("some site"))
    keys = secrets.keys
    assert keys.seal == public_of(private_of(secrets.seal, "seal"))
    assert keys.mask == public_of(private_of(secrets.mask, "mask"))
    assert keys.check == check_of(secrets.own)
    assert len({keys.seal, keys.mask, keys.check}) == 3


def test_the_text_of_a_refusal_holds_no_secret() -> None:
    """It crosses the wire, and goes into a log."""
    boxes = WHOLE.boxes(TOLD)[FIVE[0]].boxes
    wrong = [(boxes[0], Box(site=FIVE[1], sealed=boxes[2].sealed), *boxes[2:]), boxes[1:], boxes[:2]]
    said = []
    for changed in wrong:
        with pytest.raises(MaskingError) as caught:
            PART.opened(TOLD, AskInput(boxes=changed))
        said.append(str(caught.value))
    with pytest.raises(MaskingError) as caught:
        PART.shares(AskShares(keys=TOLD.keys[1:]))
    said.append(str(caught.value))
    shares = [share for pair in PART.opened(TOLD, AskInput(boxes=boxes)).values() for share in pair]
    assert len(said) == 4
    assert not [secret for secret in (*hidden(PART.seeds), *shares) for text in said if secret in text]
    assert not [text for text in said if key_of(FIVE[0]).to_bytes().hex() in text]


def test_printing_a_part_shows_no_secret() -> None:
    """As with a signing key: what is printed in an error or a log is public."""
    printed = f"{PART} {PART!r} {PART.seeds} {PART.seeds!r}"
    assert not [secret for secret in hidden(PART.seeds) if secret in printed]
