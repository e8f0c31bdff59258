"""What is reconstructed is compared with what was announced: a sum is read as it is, or not at all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from masked_sums import Names, Sum, names, plain_sum, study_of, values_of

from cohortmix.protocol.masking.masks import Words, integers, total
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.masking.seeds import MaskingError
from cohortmix.protocol.steps import Share, Shares

FIVE, SEVEN = names(5), names(7)
FALSE = "0f" * 16


class Case:
    """A sum up to the point where the coordinator has the replies to the last step."""

    def __init__(self, sites: Names, dropouts: int, left: Names = ()) -> None:
        whole = Sum.of(study_of(len(sites), 1, dropouts))
        self.survivors = tuple(site for site in sites if site not in left)
        told, values = whole.told(), values_of(sites)
        boxes = whole.boxes(told)
        self.inputs: dict[str, Words] = {site: whole.masked(told, boxes, values, site) for site in self.survivors}
        consents = whole.consents(told, boxes, self.survivors, self.survivors)
        self.replies = whole.replies(told, boxes, self.survivors, consents, self.survivors)
        self.sum = plain_sum([values[site] for site in self.survivors], 7)
        self._reading: Reading = whole.reading(told, sites, self.survivors)
        self.parts = whole.parts
        self.opened = {site: whole.parts[site].opened(told, boxes[site]) for site in self.survivors}

    def read(self, replies: Mapping[str, Shares]) -> list[int]:
        """The sum that the coordinator gets out of these."""
        read: list[int] = integers(self._reading.read(total(self.inputs.values()), replies)).tolist()
        return read

    def read_or_none(self, replies: Mapping[str, Shares]) -> list[int] | None:
        """None if it gets none."""
        try:
            return self.read(replies)
        except MaskingError:
            return None


def without(replies: Mapping[str, Shares], *silent: str) -> dict[str, Shares]:
    """The replies of the others."""
    return {site: reply for site, reply in replies.items() if site not in silent}


def with_share(replies: Mapping[str, Shares], giver: str, of: str, share: str) -> dict[str, Shares]:
    """One share replaced."""
    shares = tuple(Share(site=of, share=share) if one.site == of else one for one in replies[giver].shares)
    return {**replies, giver: replies[giver].model_copy(update={"shares": shares})}


def with_own(replies: Mapping[str, Shares], site: str, own: str) -> dict[str, Shares]:
    """One site's own secret replaced."""
    return {**replies, site: replies[site].model_copy(update={"own": own})}


@pytest.fixture(scope="module")
def complete() -> Case:
    """Five sites, T = 4, all of them in the sum."""
    return Case(FIVE, 1)


@pytest.fixture(scope="module")
def one_left() -> Case:
    """Five sites, T = 4, of which the last has sent boxes and no input."""
    return Case(FIVE, 1, FIVE[4:])


@pytest.mark.parametrize("giver", FIVE[:4])
def test_a_false_share_of_a_survivor_s_secret_is_noticed(complete: Case, giver: str) -> None:
    """Where that site is silent, so that it is needed; where it is there, its own word is enough."""
    false = with_share(complete.replies, giver, FIVE[4], FALSE)
    assert complete.read(without(complete.replies, FIVE[4])) == complete.sum
    with pytest.raises(MaskingError, match="the shares of the mask of 'SITE 04' do not fit together"):
        complete.read(without(false, FIVE[4]))
    assert complete.read(false) == complete.sum


@pytest.mark.parametrize("giver", FIVE[:4])
def test_a_false_share_of_the_secret_of_a_site_that_dropped_out_is_noticed(one_left: Case, giver: str) -> None:
    assert one_left.read(one_left.replies) == one_left.sum
    with pytest.raises(MaskingError, match="the shares of the key of 'SITE 04' do not fit together"):
        one_left.read(with_share(one_left.replies, giver, FIVE[4], FALSE))


def test_the_share_of_the_other_secret_is_noticed(complete: Case, one_left: Case) -> None:
    """A share of the own mask for one of the mask key, and the other way round."""
    silent, giver = FIVE[4], FIVE[0]
    mask, own = complete.opened[giver][silent]
    with pytest.raises(MaskingError, match="the mask of 'SITE 04'"):
        complete.read(without(with_share(complete.replies, giver, silent, mask), silent))
    assert complete.read(without(with_share(complete.replies, giver, silent, own), silent)) == complete.sum
    mask, own = one_left.opened[giver][silent]
    with pytest.raises(MaskingError, match="the key of 'SITE 04'"):
        one_left.read(with_share(one_left.replies, giver, silent, own))
    assert one_left.read(with_share(one_left.replies, giver, silent, mask)) == one_left.sum


@pytest.mark.parametrize("site", FIVE[:4])
def test_a_false_secret_of_an_own_mask_is_not_used(one_left: Case, site: str) -> None:
    """It is noticed; the shares of the others say what it is, and where one of them is false there is no sum."""
    false = with_own(one_left.replies, site, FALSE)
    assert one_left.read(false) == one_left.sum
    giver = next(other for other in FIVE if other != site)
    with pytest.raises(MaskingError, match=f"the shares of the mask of '{site}' do not fit together"):
        one_left.read(with_share(false, giver, site, FALSE))
    fewer = false[giver].model_copy(
        update={"shares": tuple(share for share in false[giver].shares if share.site != site)}
    )
    with pytest.raises(MaskingError, match=f"expected shares of '{site}' from 4 sites at least, got 3"):
        one_left.read(false | {giver: fewer})


def test_another_site_s_secret_is_not_taken_for_one_s_own(one_left: Case) -> None:
    """It fits what that other site has announced."""
    false = with_own(one_left.replies, FIVE[0], one_left.replies[FIVE[1]].own)
    assert one_left.read(false) == one_left.sum
    with pytest.raises(MaskingError, match="expected shares of 'SITE 00'"):
        one_left.read(false | {FIVE[1]: false[FIVE[1]].model_copy(update={"shares": false[FIVE[1]].shares[1:]})})


def test_whatever_one_site_says_the_sum_is_true_or_none() -> None:
    """Of seven sites one dropped out and one is silent at the end, so that five shares have to do, which is T."""
    case = Case(SEVEN, 2, SEVEN[6:])
    replies = without(case.replies, SEVEN[5])
    assert case.read(replies) == case.sum
    for giver in SEVEN[:5]:
        assert case.read(with_own(replies, giver, FALSE)) == case.sum
        for site in SEVEN:
            read = case.read_or_none(with_share(replies, giver, site, FALSE))
            assert read == (None if site in SEVEN[5:] else case.sum)


def test_with_more_than_t_replies_a_false_one_gives_no_other_sum() -> None:
    """A false share among those that are taken spoils the sum, and one beyond them changes nothing."""
    case = Case(SEVEN, 2)
    read = [
        case.read_or_none(without(with_share(case.replies, giver, SEVEN[3], FALSE), SEVEN[3]))
        for giver in SEVEN
        if giver != SEVEN[3]
    ]
    assert read.count(None) == 5
    assert read.count(case.sum) == 1
