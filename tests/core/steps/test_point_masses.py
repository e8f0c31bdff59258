"""Point masses: values that many share are looked for where cells hold much, found, and drawn as they are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from cohortmix.core import Budget, Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.sampling import PointMass, with_points
from cohortmix.core.dimensions import most_kappa
from cohortmix.core.single_release import Release
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.point_masses import (
    COST,
    ENOUGH_NOISES,
    LEAST_NOISES,
    MOST_COUNTED,
    MOST_VALUES,
    RUNS,
    Look,
    choose,
    question,
    read,
)
from cohortmix.core.synthesis import synthesize

N = 7000
pytestmark = pytest.mark.usefixtures("points_stay")
SCHEMA = Schema.from_yaml(
    """
name: points
target: outcome
columns:
  bilirubin: {type: number, min: 0, max: 60, decimals: 3, missing: true}
  saturation: {type: number, min: 50, max: 100, decimals: 1}
  urine: {type: number, integer: true, min: 0, max: 10000}
  lactate: {type: number, min: 0, max: 30}
  age: {type: number, integer: true, min: 18, max: 100}
  outcome: {type: category, values: [well, ill]}
"""
)
ENCODING = Encoding.of(SCHEMA)
MU2 = Fraction(1, 10)


def patients(imputed: float = 0.3, seed: int = 1) -> pd.DataFrame:
    """A share `imputed` has bilirubin of 1.01, urine of 2502, lactate of 2.05; saturation ends at 100."""
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 15, N).clip(18, 100).round()
    table = pd.DataFrame(
        {
            "bilirubin": np.exp(rng.normal(0, 0.9, N)).round(3),
            "saturation": rng.normal(99 if imputed else 80, 3, N).clip(50, 100).round(1),
            "urine": rng.gamma(4, 600, N).round(),
            "lactate": np.exp(rng.normal(0.6, 0.6, N)),
            "age": age,
            "outcome": np.where(rng.random(N) < 1 / (1 + np.exp((60 - age) / 10)), "well", "ill"),
        }
    )
    for name, value in {"bilirubin": 1.01, "urine": 2502, "lactate": 2.05}.items():
        table.loc[rng.random(N) < imputed, name] = value
    return table


def release(table: pd.DataFrame, point_masses: bool = True) -> Release:
    return synthesize(
        table, SCHEMA, Budget.from_epsilon(1.0), noise=KeyedNoise(5), high_order=False, point_masses=point_masses
    )


def test_values_that_many_share_are_drawn_as_they_are(few_steps: None) -> None:
    """To three decimals, one, none, and where no decimals are declared; the other values stay spread out."""
    real, made = patients(), release(patients())
    drawn = made.records()
    for name, value in {"bilirubin": 1.01, "urine": 2502, "lactate": 2.05, "saturation": 100}.items():
        assert (drawn[name] == value).mean() == pytest.approx((real[name] == value).mean(), abs=0.04), name
        assert drawn[name].nunique() > 0.3 * real[name].nunique()
    assert {point.feature for point in made.site.points} == {"bilirubin", "saturation", "urine", "lactate"}
    assert len(made.answers) == 3
    assert made.answers[-1].mu2 <= COST * made.answers[0].mu2 / Fraction(15, 100)
    assert made.receipt["epsilon"] <= 1


def test_kappa_covers_the_values(few_steps: None) -> None:
    """At a budget where e^epsilon kappa counts, the receipt still says no more than was asked for."""
    budget = Budget.from_epsilon(22.0)
    made = synthesize(patients(), SCHEMA, budget, noise=KeyedNoise(5), high_order=False, support=5)
    assert len(made.answers) == 3
    assert len(made.answers[-1].values) > 500
    without, covered = (budget.resolve(N, most_kappa(SCHEMA, values=values)).mu for values in (0, MOST_COUNTED))
    assert made.budget.mu == covered < without
    assert made.receipt["epsilon"] <= 22


def test_without_the_answer_they_are_not(few_steps: None) -> None:
    made = release(patients(), point_masses=False)
    assert len(made.answers) == 2
    assert made.site.points == ()
    assert (made.records()["bilirubin"] == 1.01).mean() < 0.05


def test_a_smooth_table_has_no_point_masses(few_steps: None) -> None:
    """A cell near a mode may hold more than those beside it, and be looked into, for next to nothing."""
    made = release(patients(imputed=0))
    assert made.site.points == ()
    assert made.answers[-1].mu2 <= COST * made.answers[0].mu2 / Fraction(15, 100)


# Which cells


def margins(**heavy: dict[int, float]) -> Margins:
    """Even cells, but shares `heavy` of some; exact."""
    cells = []
    for feature in ENCODING.features:
        found = np.full(feature.size, 1.0 / feature.size)
        for cell, share in heavy.get(feature.name, {}).items():
            found[cell] = share
        others = np.ones(feature.size, dtype=bool)
        others[list(heavy.get(feature.name, {}))] = False
        found[others] *= (1 - found[~others].sum()) / found[others].sum()
        cells.append(found)
    return Margins(cells=np.stack([np.concatenate(cells)] * 2), masses=np.array([3000.0, 4000.0]), s_a=10.0)


def chosen(found: Margins, patients: int = N, encoding: Encoding = ENCODING) -> tuple[tuple[Look, ...], Fraction]:
    return choose(encoding, found, np.ones(len(encoding.features)), patients, MU2)


def test_only_cells_above_the_noise_are_looked_into_and_the_cost_is_what_they_need() -> None:
    looks, cost = chosen(margins(urine={40: 0.5}), N)
    assert [(look.feature, look.cell) for look in looks] == [(2, 40)]
    assert looks[0].mass == pytest.approx(0.5)
    for share, cell in ((0.5, 40), (0.15, 41)):
        _, cost = chosen(margins(urine={cell: share}), N)
        s = np.sqrt(2 / float(cost * MU2))
        assert LEAST_NOISES * s < share * N
        assert cost == COST or share * N / s == pytest.approx(ENOUGH_NOISES, rel=0.02)
    assert chosen(margins(), N) == ((), Fraction(0))
    assert chosen(margins(urine={40: 0.5}), 300) == ((), Fraction(0))
    assert chosen(margins(age={40: 0.5}), N) == (
        (),
        Fraction(0),
    )  # a cell of one value has nothing inside


def test_all_heavy_cells_of_a_column_are_looked_into_at_the_price_of_one() -> None:
    """Each patient is counted once in a column: only what is lost in the noise is left out."""
    one, cost = chosen(margins(urine={40: 0.3}), N)
    two, same = chosen(margins(urine={40: 0.3, 60: 0.25, 75: 0.02}), N)
    assert [look.cell for look in one] == [40]
    assert [look.cell for look in two] == [40, 60]
    assert same == cost


def test_more_columns_cost_more_and_the_lightest_are_left_out() -> None:
    both = margins(urine={40: 0.5}, saturation={70: 0.4})
    looks, cost = chosen(both, N)
    assert {look.feature for look in looks} == {1, 2}
    assert chosen(margins(urine={40: 0.5}), N)[1] < cost <= COST
    few = chosen(margins(urine={40: 0.5}, saturation={70: 0.1}), 1500)[0]
    assert {look.feature for look in few} == {2}


def test_what_the_page_says_of_seven_thousand_patients() -> None:
    """One column shows a value that a fourteenth of them share, four columns values of a seventh (and of .13)."""
    mu2 = Fraction(Budget.from_epsilon(1.0).resolve(N).mu) ** 2
    four = ("bilirubin", "saturation", "urine", "lactate")
    for names, least in ((four[:1], 1 / 14), (four, 0.13)):
        for share, enough in ((least, True), (0.85 * least, False)):
            heavy = margins(**{name: {70: share} for name in names})
            looks, _ = choose(ENCODING, heavy, np.ones(len(ENCODING.features)), N, mu2)
            assert ({look.feature for look in looks} == {SCHEMA.features.index(name) for name in names}) is enough


def test_no_more_values_are_counted_than_kappa_knows() -> None:
    heavy = margins(
        **{name: {50: 0.2, 70: 0.2, 90: 0.2} for name in ("bilirubin", "saturation", "urine", "lactate")}
    )
    looks, _ = chosen(heavy, 10**7)
    assert len({look.feature for look in looks}) == 4
    for look in looks:
        assert 1 < len(look.edges) - 1 <= max(MOST_VALUES, RUNS)
    asked = question(looks)
    asked.check(ENCODING.sizes)
    assert asked.dimension(2) == sum(len(look.edges) - 1 for look in looks) <= MOST_COUNTED


@pytest.mark.parametrize("name", ["bilirubin", "saturation", "urine"])
def test_every_value_of_a_cell_has_a_slot_and_no_other_value_has_one(name: str) -> None:
    feature = SCHEMA.features.index(name)
    cells = ENCODING.features[feature]
    for cell in (60, 90, cells.size - (cells.missing >= 0) - 1 - 2 * (name == "urine")):  # its last has one value
        looks = chosen(margins(**{name: {cell: 0.5}}), N)[0]
        (values,) = question(looks).values
        (grid,) = question(looks).grid
        low, high = cells.ends(cell)
        scale = {"bilirubin": 1000, "saturation": 10, "urine": 1}[name]
        written = np.arange(round(low * scale) - 3, round(high * scale) + 4) / scale
        slots = np.array(values.slots)[np.searchsorted(grid[1], written, side="right")]
        in_cell = np.searchsorted(np.array(cells.edges), written, side="right") == cell
        assert ((slots >= 0) == in_cell).all()
        assert looks[0].single
        within = slots[in_cell & (written <= high)]
        np.testing.assert_array_equal(within, np.arange(len(within)))


def test_cells_side_by_side_share_an_edge() -> None:
    looks = tuple(
        Look(2, cell, 0.3, edges, 2, first=cell == 0, last=cell == 2)
        for cell, edges in ((0, (-1, 1, 3)), (1, (3, 5)), (2, (9, 11)))
    )
    (values,) = question(looks).values
    assert values.edges == (-1, 1, 3, 5, 9, 11)
    assert values.slots == (0, 0, 1, 2, -1, 3, 3)  # what is beyond the bounds is in the first cell, or in the last
    (values,) = question(looks[1:2]).values
    assert (values.edges, values.slots) == ((3, 5), (-1, 0, -1))


# What an answer says


class Answer:
    def __init__(self, counts: np.ndarray, std: float) -> None:
        self.estimate, self.std = counts, std


LOOK = Look(1, 90, 0.5, tuple(range(199, 240, 2)), 20, first=False, last=False)


def test_what_stands_out_is_a_point_mass_and_the_rest_stays_spread() -> None:
    counts = np.full(20, 50.0)
    counts[7], counts[11] = 1500, 1050
    points = read(ENCODING, (LOOK,), Answer(counts, 30.0), N)
    assert [(point.feature, point.cell, point.value) for point in points] == [
        ("saturation", 90, 10.7),
        ("saturation", 90, 11.1),
    ]
    others = (3500 - 2550) / 18
    np.testing.assert_allclose([point.share for point in points], [(1500 - others) / 3500, (1050 - others) / 3500])


def test_noise_alone_has_no_point_masses() -> None:
    """Of 2,000 answers of 20 values, at five standard deviations: one among 3.5 million is false."""
    rng = np.random.default_rng(3)
    for _ in range(2000):
        counts = 3500 / 20 + rng.normal(0, 30, 20)
        assert read(ENCODING, (LOOK,), Answer(counts, 30.0), N) == ()


def test_a_cell_never_gives_more_than_it_holds() -> None:
    counts = np.zeros(20)
    counts[:2] = 2500
    points = read(ENCODING, (LOOK,), Answer(counts, 30.0), N)
    assert sum(point.share for point in points) == pytest.approx(1)


def test_where_values_are_counted_together_the_plainest_is_taken() -> None:
    """People round what they write."""
    denominator = 1 << 30
    edges = tuple(int(edge * denominator) for edge in (1.9871, 2.0361, 2.0629, 2.1))
    counts = np.array([10.0, 3000.0, 10.0])
    look = replace(LOOK, edges=edges, denominator=denominator)
    assert read(ENCODING, (look,), Answer(counts, 30.0), N)[0].value == 2.05


# How they are drawn


def test_points_have_their_shares_of_their_cell_alone() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([3, 4, 5], 1000).astype(np.int32)
    points = [PointMass("x", 4, 1.5, 0.5), PointMass("x", 4, 1.7, 0.2), PointMass("x", 5, 9.0, 1.0)]
    drawn = with_points(np.zeros(3000), codes, points, rng)
    assert (drawn[codes == 3] == 0).all()
    assert (drawn[codes == 5] == 9).all()
    assert [np.isclose((drawn[codes == 4] == value).mean(), share, atol=2e-3) for value, share in (
        (1.5, 0.5), (1.7, 0.2), (0, 0.3),
    )] == [True] * 3  # fmt: skip
    assert (with_points(np.zeros(3000), codes, (), rng) == 0).all()


def test_edges_ascend_without_declared_decimals() -> None:
    for cell in range(5, ENCODING.features[3].size - 1, 7):
        for look in chosen(margins(lactate={cell: 0.5, cell + 1: 0.3}), 10**6)[0]:
            assert all(low < high for low, high in pairwise(look.edges))
