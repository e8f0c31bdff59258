"""Masks cancel: the sum that is read is the sum of the survivors' vectors, exactly, whoever leaves and when."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_sums import Integers, Sum, key_of, names, part_of, plain_sum, study_of, values_of

from cohortmix.protocol.masking.masks import integers, masks_of, own_mask, total, words
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.signing import sign_reply
from cohortmix.protocol.steps import STEPS, AskInput, AskShares, Step

FIVE = names(5)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])


def expected(values: Mapping[str, Integers], gone: Mapping[str, Step], size: int) -> list[int]:
    """The sum of the sites whose inputs came: those that stay, and those that leave after the input."""
    there = [site for site in values if gone.get(site) not in ("keys", "shares", "input")]
    return plain_sum([values[site] for site in there], size)


@pytest.mark.parametrize("dropouts", [0, 1])
@pytest.mark.parametrize("conspirators", [1, 2])
def test_every_set_of_survivors_gives_the_sum(dropouts: int, conspirators: int) -> None:
    """Each set of sites that may leave, each of them at each step; and a site's own vector is not the sum."""
    whole, values = Sum.of(study_of(5, conspirators, dropouts)), values_of(FIVE)
    for number in range(dropouts + 1):
        for sites, steps in product(combinations(FIVE, number), product(STEPS, repeat=number)):
            gone = dict(zip(sites, steps, strict=True))
            read = whole.read(values, gone).tolist()
            assert read == expected(values, gone, 7), gone
            assert read not in [vector.tolist() for vector in values.values()]


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("step", STEPS)
def test_vectors_of_any_length(size: int, step: Step) -> None:
    values = values_of(FIVE, size)
    read = Sum.of(study_of(5, 1, 1)).read(values, {FIVE[2]: step})
    assert (read.dtype, read.shape) == (np.dtype(np.int64), (size,))
    assert read.tolist() == expected(values, {FIVE[2]: step}, size)


@st.composite
def sums(draw: st.DrawFn) -> tuple[Sum, dict[str, Integers], dict[str, Step], int]:
    """A study, a vector for each site, and who leaves from which step on."""
    sites = draw(st.integers(2, 12))
    conspirators = draw(st.integers(1, sites - 1))
    dropouts = draw(st.integers(0, (sites - conspirators - 1) // 2))
    size = draw(st.sampled_from([0, 1, 7]))
    vectors = draw(st.lists(st.lists(INT64, min_size=size, max_size=size), min_size=sites, max_size=sites))
    gone = draw(st.dictionaries(st.sampled_from(names(sites)), st.sampled_from(STEPS), max_size=dropouts))
    values = {site: np.array(vector, dtype=np.int64) for site, vector in zip(names(sites), vectors, strict=True)}
    return Sum.of(study_of(sites, conspirators, dropouts)), values, gone, size


@settings(max_examples=20, deadline=None, derandomize=True)
@given(sums())
def test_sites_may_leave_at_any_step(case: tuple[Sum, dict[str, Integers], dict[str, Step], int]) -> None:
    whole, values, gone, size = case
    assert whole.read(values, gone).tolist() == expected(values, gone, size)


def test_sums_wrap_at_the_ends_of_int64() -> None:
    """Five times 2^63 - 1 is 2^63 - 5 mod 2^64: whoever asks for a sum bounds the vectors beforehand."""
    values = {site: np.full(2, 2**63 - 1, dtype=np.int64) for site in FIVE}
    assert Sum.of(study_of(5)).read(values, {}).tolist() == [2**63 - 5] * 2


@settings(deadline=None, derandomize=True)
@given(st.lists(INT64, max_size=20))
def test_words_stand_for_integers(values: list[int]) -> None:
    """Also where an array is a part of another one, and not contiguous."""
    vector = np.array(values, dtype=np.int64)
    assert words(vector).tolist() == [value % 2**64 for value in values]
    assert integers(words(vector)).tolist() == values
    assert integers(words(np.stack([vector, vector + np.int64(1)], axis=1)[:, 0])).tolist() == values


def test_a_site_s_input_is_not_changed_by_the_sum() -> None:
    """What was sent is signed: a sum that was added up in its place would no longer fit."""
    inputs = [words(vector) for vector in values_of(FIVE).values()]
    before = [vector.tolist() for vector in inputs]
    assert total(inputs).tolist() == [sum(column) % 2**64 for column in zip(*before, strict=True)]
    assert [vector.tolist() for vector in inputs] == before


# Who shares a mask with whom


def without_own_masks(whole: Sum, shown: Mapping[str, tuple[AskShares, AskInput]]) -> list[int]:
    """The sum of masked vectors, each less its site's own mask; by site, what it was told."""
    values, left = values_of(whole.parts), []
    for site, (told, boxes) in shown.items():
        sharing = Roster(told.keys).of(box.site for box in boxes.boxes)
        own = own_mask(whole.parts[site].seeds.own, sharing.hash, 7)
        left.append(integers(whole.parts[site].masked(told, boxes, values[site]) - own))
    return plain_sum(left, 7)


def test_sites_that_were_shown_one_roster_share_masks_that_cancel() -> None:
    whole = Sum.of(study_of(5, 1, 1))
    for senders in (FIVE, FIVE[1:], FIVE[:4]):
        told = whole.told(senders)
        shown = {site: (told, boxes) for site, boxes in whole.boxes(told).items()}
        values = [values_of(FIVE)[site] for site in senders]
        assert without_own_masks(whole, shown) == plain_sum(values, 7)


def test_sites_that_were_shown_different_rosters_share_no_mask() -> None:
    """Neither where a site is missing from one of them, nor where its boxes are, nor where its keys are others."""
    whole = Sum.of(study_of(5, 1, 1))
    told, fewer = whole.told(), whole.told(FIVE[:4])
    boxes, boxes_of_fewer, boxes_of_four = whole.boxes(told), whole.boxes(fewer), whole.boxes(told, FIVE[:4])
    twin = part_of(whole.study, FIVE[4], seeds="others")
    other_keys = AskShares(keys=(*told.keys[:4], twin.keys()))
    lists = [
        {site: (fewer, boxes_of_fewer[site]) for site in FIVE[:2]},
        {site: (told, boxes_of_four[site]) for site in FIVE[:2]},
        {site: (other_keys, boxes[site]) for site in FIVE[:2]},
    ]
    values = plain_sum(values_of(FIVE).values(), 7)
    for shown in lists:
        mixed = {site: (told, boxes[site]) for site in FIVE} | shown
        assert not set(zip(range(7), without_own_masks(whole, mixed), strict=True)) & set(enumerate(values))


def test_two_masks_of_one_pair_are_opposite_under_one_roster_only() -> None:
    """Also where both rosters have the same keys of these two sites, and differ in a third one alone."""
    whole = Sum.of(study_of(5, 1, 1))
    one, other = (whole.parts[site] for site in FIVE[:2])
    keys = {part.site: part.seeds.keys.mask for part in (one, other)}
    twin = part_of(whole.study, FIVE[4], seeds="others").keys()
    rosters = [
        Roster(whole.told().keys),
        Roster(whole.told(FIVE[:4]).keys),
        Roster((*whole.told().keys[:4], twin)),
    ]
    masks = [
        [masks_of(part.site, part.seeds.mask, keys, roster.hash, 7) for roster in rosters] for part in (one, other)
    ]
    assert all(mask.all() for masks_of_site in masks for mask in masks_of_site)
    for (place, mine), (elsewhere, theirs) in product(enumerate(masks[0]), enumerate(masks[1])):
        assert (mine + theirs).any() == (mine + theirs).all() == (place != elsewhere)


@pytest.mark.parametrize("flipped", [False, True], ids=["the same bytes", "the same point in other bytes"])
def test_a_site_that_copies_a_key_takes_no_mask_off(flipped: bool) -> None:
    """A conspirator gives an honest site's mask key as its own, and cannot compute a thing with it.

    If masks followed from keys alone, a third site would have the same mask in common with both, and would add one
    and subtract the other where its name lies between theirs. Its own mask it gives away in the last step.
    """
    whole = Sum.of(study_of(3))
    below, victim, above = whole.parts
    told = whole.told()
    copied = Roster(told.keys).keys[below].mask
    if flipped:  # X25519 does not read the highest bit
        copied = copied[:-2] + f"{int(copied[-2:], 16) ^ 0x80:02x}"
    reply = told.keys[2].reply
    content = reply.content.model_copy(update={"mask": copied})
    copy = sign_reply(key_of(above), reply.model_copy(update={"content": content}))
    keys = {site: theirs.mask for site, theirs in Roster((*told.keys[:2], copy)).keys.items()}
    assert masks_of(victim, whole.parts[victim].seeds.mask, keys, "a" * 64, 7).all()
