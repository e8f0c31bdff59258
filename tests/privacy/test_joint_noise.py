"""What conspirators see of a joint study: how much noise is left to them, and by how much a patient moves it.

The noise of OpenDP cannot be seeded, so the level is far below the number of runs that anyone will make: z'z of n
numbers is chi-square with n degrees of freedom, two-sided at 1e-7 for each of a dozen comparisons. Of LEAST
numbers or more, a variance of 2/3 or 3/2 of the expected one is missed with probability below 1e-20, and one that
counts a site too many or too few below 1e-12 (`test_level_and_power`). All other noise is keyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from joint_studies import (
    ONE_OUT,
    TWO_ROUNDS,
    Integers,
    arrow,
    carry_through,
    carry_to,
    coordinating,
    exact_sums,
    joint_consortium,
    own_answer,
    records,
    total,
)
from masked_sums import Sum, names, study_of
from numpy.typing import NDArray
from scipy.stats import chi2, chisquare

from cohortmix.core.audit.lower_bound import LowerBound, attainable, lower_bound
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.replay import Entry, Tape, distance2
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.vault import Vault
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.protocol.masking.masks import integers, words
from cohortmix.protocol.masking.masks import total as summed
from cohortmix.protocol.messages import MaskedRelease, SignedReceipt
from cohortmix.protocol.study import JointNoise

LEVEL = 1e-7
LEAST = 4_000  # numbers of a sum whose noise is tested
FOUR = {"ITAL": 40, "NORW": 30, "ROMA": 30, "UK": 20}
NOBODY_OUT = JointNoise(conspirators=1, tolerated_dropouts=0)  # of four sites: T = 4, as with ONE_OUT of five
WIDE = Schema.from_yaml(
    """
name: wide
target: outcome
columns:
  dose: {type: number, min: 0, max: 1, knots: 1000}
  rate: {type: number, min: 0, max: 1, knots: 1000}
  outcome: {type: category, values: [good, bad]}
"""
)


# --- how much noise is left


def accepts(noise: NDArray[np.float64], sigma: float, variances: float) -> bool:
    """Whether `noise` passes for draws of N(0, variances sigma^2)."""
    squares = float(noise @ noise) / (variances * sigma**2)
    return bool(chi2(len(noise)).ppf(LEVEL / 2) <= squares <= chi2(len(noise)).isf(LEVEL / 2))


def test_level_and_power() -> None:
    low, high = chi2(LEAST).ppf(LEVEL / 2), chi2(LEAST).isf(LEVEL / 2)
    for ratio in (2 / 3, 3 / 2):
        assert chi2(LEAST).cdf(high / ratio) - chi2(LEAST).cdf(low / ratio) < 1e-20
    for ratio in (3 / 4, 4 / 3):  # one site more, or one less, than there should be
        assert chi2(LEAST).cdf(high / ratio) - chi2(LEAST).cdf(low / ratio) < 1e-12


def wide(sizes: Mapping[str, int]) -> dict[str, pa.Table]:
    """Tables of numbers that are never the same."""
    rng = np.random.default_rng(3)
    return {
        name: arrow(
            pd.DataFrame(
                {"dose": rng.random(size), "rate": rng.random(size), "outcome": rng.choice(["good", "bad"], size)}
            )
        )
        for name, size in sizes.items()
    }


@dataclass(frozen=True)
class Left:
    """What a sum has beside the exact answers: all of its noise, and that of each of its sites.

    `spared` says whether the coordinator has their spare noise, which is then not in it any more.
    """

    sigma: int
    spare: int
    sharers: int
    spared: bool
    whole: NDArray[np.float64]
    of_site: Mapping[str, NDArray[np.float64]]

    def of(self, sites: float) -> float:
        """The variance of so many sites' noise, as a multiple of sigma^2."""
        return sites if self.spared else sites * (1 + self.spare**2 / self.sigma**2)

    def without(self, *conspirators: str) -> NDArray[np.float64]:
        """What is left where some sites have subtracted their own."""
        return self.whole - sum(self.of_site[site] for site in conspirators)


def noise_left(consortium: Consortium, gone: tuple[str, ...] = ()) -> Left:
    """Carry a study to its end, and take the exact answers off the sum that is read."""
    with coordinating(consortium) as coordinator:
        carry_to(consortium, coordinator, "round 1, input")
        carry_through(consortium, coordinator, gone=gone)
        there = [entry.name for entry in coordinator.spec.sites if entry.name not in gone]
        exact, read = exact_sums(consortium, coordinator, there), total(coordinator, 1)
    assert read is not None
    own = {site: own_answer(consortium, site, 1) for site in there}
    of_site = {
        site: (
            answer.values - exact[site].values - (answer.spare if answer.spare is not None and not gone else 0)
        ).astype(np.float64)
        for site, answer in own.items()
        if answer is not None
    }
    whole = (read - np.sum([answer.values for answer in exact.values()], axis=0)).astype(np.float64)
    assert len(whole) >= LEAST
    ((sigma, spare),) = {(answer.sigma, answer.spare_sigma) for answer in own.values() if answer is not None}
    return Left(sigma, spare, consortium.study.study.terms.sharers, not gone, whole, of_site)


def test_after_t_conspirators_the_noise_is_that_of_s_minus_t_sites(tmp_path: Path) -> None:
    """Real noise, no dropouts tolerated: sigma^2 (S - t) is accepted, 2/3 and 3/2 of it are rejected."""
    consortium = joint_consortium(
        tmp_path / "study", FOUR, seed=None, joint=NOBODY_OUT, schema=WIDE, tables=wide(FOUR)
    )
    left = noise_left(consortium)
    assert left.sharers == 3
    for conspirator in FOUR:
        noise = left.without(conspirator)
        assert accepts(noise, left.sigma, 3)
        for wrong in (2 / 3, 3 / 2):
            assert not accepts(noise, left.sigma, 3 * wrong)
    assert accepts(left.whole, left.sigma, 4), "outsiders have the noise of all sites before them"
    assert not accepts(left.whole, left.sigma, 3)
    assert accepts(left.without("ITAL", "UK"), left.sigma, 2), "and of two conspirators there was no word"
    assert not accepts(left.without("ITAL", "UK"), left.sigma, 3)
    for noise in left.of_site.values():
        assert accepts(noise, left.sigma, 1)


@pytest.mark.parametrize(("gone", "honest"), [(("NORW",), 3), ((), 4)], ids=["one missing", "nobody missing"])
def test_the_same_noise_is_left_whether_a_site_is_missing_or_not(
    gone: tuple[str, ...], honest: int, tmp_path: Path
) -> None:
    """S - t shares: of four honest sites whose spare noise is known, or of three with it."""
    sizes = FOUR | {"tiny": 1}
    consortium = joint_consortium(
        tmp_path / "study", sizes, seed=None, joint=ONE_OUT, schema=WIDE, tables=wide(sizes)
    )
    left = noise_left(consortium, gone)
    assert left.sharers == 4
    assert left.of(honest) == pytest.approx(4)
    noise = left.without("UK")
    assert accepts(noise, left.sigma, 4)
    for wrong in (2 / 3, 3 / 4, 4 / 3, 3 / 2):
        assert not accepts(noise, left.sigma, 4 * wrong)
    assert accepts(left.whole, left.sigma, left.of(honest + 1))


def test_the_noise_of_two_sites_is_not_the_same(tmp_path: Path) -> None:
    """Shares that were drawn with one seed would add up like one, and a conspirator could take off all of them."""
    left = noise_left(joint_consortium(tmp_path / "study", FOUR, joint=NOBODY_OUT, schema=WIDE, tables=wide(FOUR)))
    vectors = list(left.of_site.values())
    for place, one in enumerate(vectors):
        for other in vectors[:place]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 5 / len(one) ** 0.5
    assert accepts(left.without("UK"), left.sigma, 3), "so is the keyed noise of the tests"


# --- what one patient moves


LOW = {"AGE": 16, "SEX": "F", "SIDE": "left", "outcome": "good"}
HIGH = {"AGE": 105, "SEX": "M", "SIDE": None, "outcome": "bad"}


def with_patient(changed: tuple[str, ...], patient: Mapping[str, Any]) -> dict[str, pa.Table]:
    """Tables whose first patient at each site is LOW, or at some of them another one."""
    tables = {}
    for place, (name, size) in enumerate(FOUR.items()):
        frame = records(size, place).astype(object)
        frame.iloc[0] = pd.Series(dict(patient if name in changed else LOW))
        tables[name] = arrow(frame.astype({"AGE": "int64"}))
    return tables


@dataclass(frozen=True)
class View:
    """What the coordinator, and with it every conspirator, has seen by the end.

    Attributes
    ----------
    sums : by round, what was read.
    masked : by round and site, what was sent.
    lengths : of all replies, by place and site.
    receipts : by round and site.
    common : the frozen common facts, in bytes.
    declared : by round, the squared sensitivity that receipts state.
    """

    sums: Mapping[int, Integers]
    masked: Mapping[tuple[int, str], Integers]
    lengths: Mapping[tuple[str, str], int]
    receipts: Mapping[tuple[int, str], SignedReceipt]
    common: bytes | None
    declared: Mapping[int, int]


def view_of(consortium: Consortium, common: bytes | None = None) -> View:
    """Carry a study to its end; the common facts of another one may be given, so that both ask the same again."""
    with coordinating(consortium) as coordinator:
        store = coordinator._store
        if common is not None:
            store.keep_common(common)
        carry_through(consortium, coordinator)
        rounds = range(1, coordinator._rounds + 1)
        signed = {
            (round, site): coordinator._kept.release(site, round)
            for round in rounds
            for site in sorted(store.answered(round))
        }
        steps = ("keys", "consent", "unmask")  # the boxes are new each time, by Shamir's own randomness
        places: list[int | str] = [*rounds, *(f"{round} {step}" for round in rounds for step in steps)]
        sums = {round: total(coordinator, round) for round in rounds}
        lengths = {
            (str(place), site): len(reply) for place in places for site, reply in store.replies(place).items()
        }
        kept = store.common()
    one = {round: released.receipt.statements[0] for (round, _), released in signed.items()}
    return View(
        {round: values for round, values in sums.items() if values is not None},
        {
            place: released.release.values.numpy()
            for place, released in signed.items()
            if isinstance(released.release, MaskedRelease)
        },
        lengths,
        {place: released.signed_receipt for place, released in signed.items()},
        kept,
        {round: statement.sensitivity2 for round, statement in one.items()},
    )


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> tuple[View, View]:
    """Of D and of D', in which one patient at ITAL is another one; with the same noise and the same secrets."""
    folder = tmp_path_factory.mktemp("replayed")
    terms: dict[str, Any] = {"mu": TWO_ROUNDS * 2, "joint": NOBODY_OUT}
    one = view_of(joint_consortium(folder / "one", FOUR, tables=with_patient((), HIGH), **terms))
    tables = with_patient(("ITAL",), HIGH)
    return one, view_of(joint_consortium(folder / "other", FOUR, tables=tables, **terms), one.common)


@pytest.mark.parametrize("round", [1, 2], ids=["class sums", "pair tables"])
def test_a_patient_at_one_site_moves_the_sum_by_the_declared_sensitivity(
    views: tuple[View, View], round: int
) -> None:
    """By not more; and the bound is reached, by a patient who is another one in all columns."""
    one, other = views
    assert one.common == other.common, "both were asked the same in round 2"
    assert one.declared == other.declared
    assert 0.999 < distance2(one.sums[round], other.sums[round]) / one.declared[round] <= 1


def test_nothing_else_in_the_view_of_the_coalition_moves(views: tuple[View, View]) -> None:
    """The inputs of the three others are the same to the bit; the one that moves does so by as much as the sum."""
    one, other = views
    for (round, site), masked in one.masked.items():
        moved = words(other.masked[round, site]) - words(masked)
        expected = words(other.sums[round]) - words(one.sums[round])
        assert np.array_equal(moved, expected if site == "ITAL" else 0 * expected), (round, site)
    assert one.lengths == other.lengths
    assert set(one.receipts) == set(other.receipts)
    for key, signed in one.receipts.items():
        changed = {"release_hash", "previous"} if key[1] == "ITAL" else set()
        first, second = (receipt.receipt.plain() for receipt in (signed, other.receipts[key]))
        assert {name for name in first if first[name] != second[name]} <= changed, key


def moved_by(sites: tuple[str, ...], folder: Path, **terms: Any) -> float:
    """By how much a patient at all of these sites moves the sum: the squared distance, as a share of Delta^2."""
    sums = []
    for changed in ((), sites):
        tables = with_patient(changed, HIGH)
        consortium = joint_consortium(
            folder / "_".join((str(terms), *changed)), FOUR, tables=tables, joint=NOBODY_OUT, **terms
        )
        sums.append(view_of(consortium))
    return distance2(sums[0].sums[1], sums[1].sums[1]) / sums[0].declared[1]


def test_a_patient_at_two_sites_needs_an_overlap_of_two(tmp_path: Path) -> None:
    """Where none is declared the sum moves by 2 Delta, not by the sqrt(2) Delta to which costs of sites add up."""
    both = ("ITAL", "NORW")
    assert moved_by(both, tmp_path) > 2 * 1.99
    assert 0.999 < moved_by(both, tmp_path, overlap=2) <= 1


# --- what a masked input says by itself


def p_value(vector: Integers) -> float:
    """That its bytes are uniform (chi-square, 255 degrees of freedom)."""
    return float(chisquare(np.bincount(vector.view(np.uint8), minlength=256)).pvalue)


@pytest.mark.parametrize("round", [1, 2])
@pytest.mark.parametrize("table", [0, 1], ids=["D", "D'"])
def test_the_input_of_one_site_is_uniform_whoever_the_patient_is(
    views: tuple[View, View], table: int, round: int
) -> None:
    masked = views[table].masked[round, "ITAL"]
    assert p_value(masked) > LEVEL
    assert len(set(masked.tolist())) == len(masked)


@pytest.mark.parametrize("round", [1, 2])
def test_the_sum_that_is_read_is_not(views: tuple[View, View], round: int) -> None:
    assert p_value(views[0].sums[round]) < LEVEL


# --- a lower bound on mu


RUNS = 300  # sums a side; so many show 0.6 of a tight claim of 1 and more
SEX = ClassMarginals((Block(1, (0, 1), 1 << 20),), 1 << 20, 1 << 20)
CLAIM = Fraction(1)  # mu^2


SCHEMA_OF_TWO = Schema.from_yaml(
    """
name: two
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  SEX: {type: category, values: [F, M]}
  outcome: {type: category, values: [good, bad]}
"""
)


def entry_of(table: pd.DataFrame, noise: NoiseSource, sum: Sum) -> Entry:
    """What the noise of one site is added to, and its scale."""
    tape = Tape(noise)
    vault = Vault(TableSource(table), SCHEMA_OF_TWO, tape.add, MemoryMeter(CLAIM))
    vault.answer(SEX, CLAIM, sum.study.terms)
    return tape.entries[0]


@dataclass(frozen=True)
class Coalition:
    """The coordinator and the last site or sites of four; the first site has the patient.

    The masks are those of one sum; noise is new in each.
    """

    sum: Sum
    entries: tuple[tuple[Entry, Entry], ...]  # by site, about D and about D'
    noise: NoiseSource

    @classmethod
    def of(cls) -> Coalition:
        sum, noise = Sum.of(study_of(4, 1, 0)), KeyedNoise(11)
        tables = [records(30, place) for place in range(4)]
        others = [table.copy() for table in tables]
        others[0].loc[0, ["SEX", "outcome"]] = ["M", "bad"]
        tables[0].loc[0, ["SEX", "outcome"]] = ["F", "good"]
        pairs = zip(tables, others, strict=True)
        return cls(sum, tuple((entry_of(a, noise, sum), entry_of(b, noise, sum)) for a, b in pairs), noise)

    def statistics(self, side: int, conspirators: int, runs: int) -> NDArray[np.float64]:
        """Of so many sums about D or D': the likelihood ratio of what is left without the last sites' own."""
        told = self.sum.told()
        boxes, everyone = self.sum.boxes(told), names(4)
        consents = self.sum.consents(told, boxes, everyone, everyone)
        replies = self.sum.replies(told, boxes, everyone, consents, everyone)
        reading = self.sum.reading(told, everyone, everyone)
        direction = (self.entries[0][1].exact - self.entries[0][0].exact) / float(self.entries[0][0].sigma) ** 2
        seen = []
        for run in range(runs):
            values = {
                site: self.noise.add(entry[side].exact, entry[side].sigma, f"{site} {side} {run}")
                for site, entry in zip(everyone, self.entries, strict=True)
            }
            masked = [part.masked(told, boxes[site], values[site]) for site, part in self.sum.parts.items()]
            read = integers(reading.read(summed(masked), replies))
            own = np.sum([values[site] for site in everyone[4 - conspirators :]], axis=0)
            known = np.sum([entry[0].exact for entry in self.entries[: 4 - conspirators]], axis=0)
            seen.append(float((read - own - known) @ direction))
        return np.array(seen)

    def bound(self, conspirators: int, runs: int = RUNS) -> LowerBound:
        null, alternative = (self.statistics(side, conspirators, runs) for side in (0, 1))
        return lower_bound(null, alternative, claimed=float(CLAIM) ** 0.5)


@pytest.fixture(scope="module")
def coalition() -> Coalition:
    return Coalition.of()


def test_what_one_conspirator_can_tell_apart_is_below_the_claim_and_not_far_below(coalition: Coalition) -> None:
    bound = coalition.bound(conspirators=1)
    assert attainable(1.0, RUNS) > 0.6
    assert bound.holds
    assert 0.3 * bound.claimed < bound.measured <= bound.claimed


def test_three_conspirators_where_one_was_expected_see_more_than_was_claimed(coalition: Coalition) -> None:
    """The noise of one site is left of three that were counted: sqrt(3) of the claim."""
    bound = coalition.bound(conspirators=3)
    assert not bound.holds
    assert bound.measured > 1.1 * bound.claimed


def test_the_claim_is_that_of_the_patient_who_moves_most(coalition: Coalition) -> None:
    (one, other), *others = coalition.entries
    moved = distance2(one.exact, other.exact)
    assert 0.999 < moved / (CLAIM * 3 * one.sigma**2) <= 1
    assert all(np.array_equal(a.exact, b.exact) for a, b in others)
