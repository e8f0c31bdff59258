"""One set of survivors: no two of them are both unmasked while 2 T > S + t, and with 2 T = S + t two can be.

The conspirators sign every set that they are in, an honest site one set only, as its ledger makes sure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, product

import pytest
from masked_sums import Names, Sum, names, study_of, values_of

from cohortmix.core.privacy.joint import Terms
from cohortmix.protocol.masking.masks import integers, masks_of, own_mask
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.seeds import MaskingError
from cohortmix.protocol.masking.sharing import combine

Signers = Mapping[Names, frozenset[str]]


def sets_of(sites: Iterable[str], fewest: int) -> list[Names]:
    """Each set of so many sites or more."""
    every = tuple(sites)
    return [chosen for size in range(fewest, len(every) + 1) for chosen in combinations(every, size)]


def signatures(sites: Names, conspirators: int, fewest: int) -> Iterator[Signers]:
    """Each way in which two sets of survivors come to their consents."""
    for pair in combinations(sets_of(sites, fewest), 2):
        for conspiring in combinations(sites, conspirators):
            honest = [site for site in sites if site not in conspiring]
            for choice in product(pair, repeat=len(honest)):
                signed = dict(zip(honest, choice, strict=True))
                yield {
                    chosen: frozenset(site for site in chosen if signed.get(site, chosen) == chosen)
                    for chosen in pair
                }


class Unmasking:
    """Which consents make a site give its shares; each set of them is tried once."""

    def __init__(self, sites: int, conspirators: int, dropouts: int) -> None:
        self.whole = Sum.of(study_of.__wrapped__(sites, conspirators, dropouts))
        self.told = self.whole.told()
        self.boxes = self.whole.boxes(self.told)
        self._known: dict[tuple[Names, frozenset[str]], bool] = {}

    def given(self, survivors: Names, signers: frozenset[str]) -> bool:
        """Whether the survivors give what they have, for these consents."""
        if (survivors, signers) not in self._known:
            self._known[survivors, signers] = self._given(survivors, signers)
        return self._known[survivors, signers]

    def _given(self, survivors: Names, signers: frozenset[str]) -> bool:
        if not signers:
            return False
        try:
            consents = self.whole.consents(self.told, self.boxes, survivors, sorted(signers))
            self.whole.replies(self.told, self.boxes, survivors, consents, survivors[:1])
        except MaskingError:
            return False
        return True


@pytest.mark.parametrize(
    ("sites", "conspirators", "dropouts"), [(3, 1, 0), (4, 1, 1), (4, 2, 0), (4, 3, 0), (5, 1, 1), (5, 2, 1)]
)
def test_no_two_sets_of_survivors_are_both_unmasked(sites: int, conspirators: int, dropouts: int) -> None:
    """Of all ways in which the sites may sign; each set by itself is unmasked if all of its sites sign."""
    unmasking = Unmasking(sites, conspirators, dropouts)
    for signers in signatures(names(sites), conspirators, 1):
        assert not all(unmasking.given(chosen, signed) for chosen, signed in signers.items()), signers
    for chosen in sets_of(names(sites), 1):
        assert unmasking.given(chosen, frozenset(chosen)) == (len(chosen) >= sites - dropouts)


@pytest.mark.parametrize(("sites", "conspirators", "dropouts"), [(3, 1, 1), (4, 2, 1), (5, 1, 2), (5, 3, 1)])
def test_the_bound_is_tight(sites: int, conspirators: int, dropouts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 2 T = S + t, which the terms refuse, two sets of survivors are both unmasked in some way."""
    with pytest.raises(ValueError, match="tolerate fewer"):
        Terms(sites, conspirators, dropouts)
    monkeypatch.setattr(Terms, "__post_init__", lambda terms: None)
    assert 2 * Terms(sites, conspirators, dropouts).threshold == sites + conspirators
    unmasking = Unmasking(sites, conspirators, dropouts)
    ways = signatures(names(sites), conspirators, sites - dropouts)
    assert any(all(unmasking.given(chosen, signed) for chosen, signed in signers.items()) for signers in ways)


def test_beyond_the_bound_two_conspirators_read_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four sites with T = 3, each of two honest ones signs its own set, and one's vector is without masks."""
    monkeypatch.setattr(Terms, "__post_init__", lambda terms: None)
    unmasking = Unmasking(4, 2, 1)
    whole, told, boxes = unmasking.whole, unmasking.told, unmasking.boxes
    victim, honest, *conspirators = whole.parts
    values = values_of(whole.parts)
    sent = whole.masked(told, boxes, values, victim)
    replies = {
        site: whole.replies(told, boxes, chosen, whole.consents(told, boxes, chosen, chosen), [site])[site]
        for site, chosen in ((victim, (victim, *conspirators)), (honest, (honest, *conspirators)))
    }
    shares = {
        place: whole.parts[site].opened(told, boxes[site])[victim][0]
        for place, site in enumerate(whole.parts)
        if site in conspirators
    }
    shares[1] = next(share.share for share in replies[honest].shares if share.site == victim)
    roster = Roster(told.keys)
    keys = {site: theirs.mask for site, theirs in roster.keys.items()}
    shared = masks_of(victim, combine(shares, 3), keys, roster.hash, 7)
    read = integers(sent - own_mask(replies[victim].own, roster.hash, 7) - shared)
    assert (read == values[victim]).all()
