"""Below T nothing can be read: what T - 1 shares, and masked vectors, say of what is under them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from Crypto.Protocol.SecretSharing import Shamir
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_sums import SUM, Sum, key_of, names, part_of, plain_sum, seeds_of, study_of, values_of
from numpy.typing import NDArray
from scipy.stats import chisquare

from cohortmix.protocol.masking.masks import Words, integers, masks_of, own_mask, total, words
from cohortmix.protocol.masking.part import Part, Roster
from cohortmix.protocol.masking.seeds import MaskingError, Seeds
from cohortmix.protocol.masking.sharing import combine, split
from cohortmix.protocol.steps import AskInput, AskShares, Box

LEVEL = 1e-6
FIVE, T = names(5), 4
SEEDS = st.binary(min_size=16, max_size=16).map(bytes.hex)


@pytest.fixture(scope="module")
def whole() -> Sum:
    """Five sites, of which four have to be in a sum."""
    return Sum.of(study_of(5, 1, 1))


@pytest.mark.parametrize(
    "survivors", [FIVE, FIVE[1:], FIVE[:4]], ids=["all", "all but the first", "all but the last"]
)
def test_any_t_replies_give_the_sum_and_fewer_give_none(whole: Sum, survivors: tuple[str, ...]) -> None:
    told = whole.told()
    boxes, values = whole.boxes(told), values_of(FIVE)
    inputs = {site: whole.masked(told, boxes, values, site) for site in survivors}
    consents = whole.consents(told, boxes, survivors, survivors)
    replies = whole.replies(told, boxes, survivors, consents, survivors)
    reading = whole.reading(told, FIVE, survivors)
    for givers in combinations(survivors, T):
        read = reading.read(total(inputs.values()), {site: replies[site] for site in givers})
        assert integers(read).tolist() == plain_sum([values[site] for site in survivors], 7)
    for number in range(T):
        for givers in combinations(survivors, number):
            with pytest.raises(MaskingError, match=f"from 4 sites at least, got {number}: the sum cannot be read"):
                reading.read(total(inputs.values()), {site: replies[site] for site in givers})


# Shares


def share_that_gives(secret: str, shares: dict[int, str], place: int) -> str:
    """The share at a place which, with T - 1 other ones, gives this secret.

    The value at `place + 1` of the polynomial through the shares and, at 0, the secret. In the field of 2^128
    elements points are added bit by bit: moving all of them by `place + 1` brings the wanted one to 0, which is
    where `Shamir.combine` reads.
    """
    points = {0: secret} | {other + 1: share for other, share in shares.items()}
    moved = [(number ^ (place + 1), bytes.fromhex(value)) for number, value in points.items()]
    return Shamir.combine(moved, False).hex()


@st.composite
def sharings(draw: st.DrawFn) -> tuple[int, dict[int, str]]:
    """T, and T shares of a secret."""
    places = draw(st.integers(1, 12))
    threshold = draw(st.integers(1, places))
    shares = split(draw(SEEDS), threshold, places)
    chosen = draw(st.permutations(range(places)))[:threshold]
    return threshold, {place: shares[place] for place in chosen}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data(), SEEDS)
def test_fewer_than_t_shares_fit_every_secret(data: st.DataObject, candidate: str) -> None:
    """And for each secret one value of the missing share alone, so that no secret is more likely than another."""
    threshold, shares = data.draw(sharings())
    (place, true), *others = shares.items()
    fitting = share_that_gives(candidate, dict(others), place)
    assert combine(dict(others) | {place: fitting}, threshold) == candidate
    assert share_that_gives(combine(shares, threshold), dict(others), place) == true
    assert (fitting == true) == (candidate == combine(shares, threshold))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data(), SEEDS)
def test_t_shares_fit_one_secret(data: st.DataObject, secret: str) -> None:
    """Any T of them, in any order, the same one; a false share gives another one."""
    places = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, places))
    shares = dict(enumerate(split(secret, threshold, places)))
    chosen = {place: shares[place] for place in data.draw(st.permutations(range(places)))[:threshold]}
    assert combine(chosen, threshold) == secret
    place = data.draw(st.sampled_from(sorted(chosen)))
    false = f"{int(chosen[place], 16) ^ 1 << data.draw(st.integers(0, 127)):032x}"
    assert combine(chosen | {place: false}, threshold) != secret


def test_shares_of_one_secret_differ_each_time() -> None:
    first, second = (split("0f" * 16, 3, 5) for _ in range(2))
    assert len({*first, *second}) == 10


@pytest.mark.parametrize("kind", [0, 1], ids=["mask key", "own mask"])
def test_a_site_shares_its_secrets_among_t(whole: Sum, kind: int) -> None:
    """T sites together have them, whichever they are; T - 1 do not, and might as well have any other secret."""
    told = whole.told()
    boxes, secrets = whole.boxes(told), whole.parts[FIVE[0]].seeds
    secret = (secrets.mask, secrets.own)[kind]
    shares = {place: whole.parts[site].opened(told, boxes[site])[FIVE[0]][kind] for place, site in enumerate(FIVE)}
    assert len(set(shares.values())) == 5
    for known in combinations(shares.items(), T):
        assert combine(dict(known), T) == secret
    for known in combinations(shares.items(), T - 1):
        assert combine(dict(known), T - 1) != secret
        missing = next(place for place in shares if place not in dict(known))
        for candidate in ("00" * 16, "ff" * 16, secret):
            fitting = share_that_gives(candidate, dict(known), missing)
            assert combine(dict(known) | {missing: fitting}, T) == candidate
            assert (fitting == shares[missing]) == (candidate == secret)


# Masked vectors


ROOM = names(3)
VALUES = np.array([0, 1, 2, 3, 4, 5, 6], dtype=np.int64)


def sharing_of(part: Part) -> tuple[AskShares, AskInput, Roster]:
    """What a site is told where the two others have given their keys and some boxes."""
    others = [part_of(part.study, site).keys() for site in ROOM if site != part.site]
    told = AskShares(keys=(part.keys(), *others))
    boxes = AskInput(boxes=tuple(Box(site=site, sealed="0" * 96) for site in ROOM))
    return told, boxes, Roster(told.keys)


def shared_masks(part: Part, roster: Roster) -> Words:
    """What whoever has a site's mask key takes off."""
    keys = {site: theirs.mask for site, theirs in roster.keys.items()}
    return masks_of(part.site, part.seeds.mask, keys, roster.hash, len(VALUES))


@pytest.fixture(scope="module")
def views() -> dict[str, NDArray[np.uint64]]:
    """Of 600 sums with the same values: what is sent, and what is left of it where one kind of mask is known."""
    study, seen = study_of(3), []
    for number in range(600):
        secrets = Seeds.draw(seeds_of(f"sum {number}"))
        part = Part(study, SUM, ROOM[1], key_of(ROOM[1]), secrets)
        told, boxes, roster = sharing_of(part)
        sent, own = part.masked(told, boxes, VALUES), own_mask(secrets.own, roster.hash, len(VALUES))
        shared = shared_masks(part, roster)
        seen.append((sent, sent - shared, sent - own, sent - shared - own))
    names_of_views = ("as sent", "without the shared masks", "without the own mask", "without masks")
    return dict(zip(names_of_views, map(np.concatenate, zip(*seen, strict=True)), strict=True))


def p_value(vector: NDArray[np.uint64]) -> float:
    """That its bytes are uniform (chi-square)."""
    return float(chisquare(np.bincount(vector.view(np.uint8), minlength=256)).pvalue)


@pytest.mark.parametrize("view", ["as sent", "without the shared masks", "without the own mask"])
def test_a_masked_vector_is_uniform(views: dict[str, NDArray[np.uint64]], view: str) -> None:
    """By itself, and as long as one of its two kinds of mask is not known; and no word comes twice."""
    assert p_value(views[view]) > LEVEL
    assert len(set(views[view].tolist())) == views[view].size
    by_place = views[view].reshape(-1, len(VALUES))
    assert all(p_value(np.ascontiguousarray(by_place[:, place])) > LEVEL for place in range(len(VALUES)))


def test_without_both_masks_the_values_are_there(views: dict[str, NDArray[np.uint64]]) -> None:
    """The negation of the test above, and the test of uniformity rejects what is not."""
    assert (views["without masks"].reshape(-1, len(VALUES)) == words(VALUES)).all()
    assert p_value(views["without masks"]) < LEVEL


def test_a_masked_vector_fits_other_values_with_another_secret(whole: Sum) -> None:
    """The coordinator has all masks that a site shares, and T - 1 shares of its own mask's secret.

    Each secret that these shares fit gives other values under the same masked vector. That one of them is the true
    one shows only in the check value that the site has announced, which is hard to invert, like a key.
    """
    told = whole.told()
    boxes, part, values = whole.boxes(told), whole.parts[FIVE[0]], values_of(FIVE)[FIVE[0]]
    roster = Roster(told.keys)
    shares = {
        place: whole.parts[site].opened(told, boxes[site])[FIVE[0]][1] for place, site in enumerate(FIVE[:4])
    }
    known, keys = dict(list(shares.items())[: T - 1]), {site: keys.mask for site, keys in roster.keys.items()}
    left = part.masked(told, boxes[FIVE[0]], values) - masks_of(FIVE[0], part.seeds.mask, keys, roster.hash, 7)
    for candidate in ("00" * 16, "ff" * 16, part.seeds.own):
        fitting = share_that_gives(candidate, known, T - 1)
        secret = combine(known | {T - 1: fitting}, T)
        possible = integers(left - own_mask(secret, roster.hash, 7))
        assert ((possible == values) == (candidate == part.seeds.own)).all()
