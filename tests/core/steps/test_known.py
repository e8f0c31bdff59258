"""Values that count as nothing: what is known keeps its proportions; a clean table is read as it always was."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import answer_a, read_sums
from cohortmix.core.steps.known import available_cases, known_pairs, known_shares
from cohortmix.core.synthesis import synthesize

SCHEMA = Schema.from_yaml("""
name: t
target: y
columns:
  lab: {type: number, min: 0, max: 400, outside: clip}
  ward: {type: category, values: [A, B, C, D]}
  sex: {type: category, values: [F, M]}
  mark: {type: category, values: [p, q], missing: true}
  y: {type: category, values: [alive, dead]}
""")
ENCODING = Encoding.of(SCHEMA)
LAB, WARD, SEX, MARK = range(4)
N = 6000


def table(lab_missing: float = 0.4, ward_unknown: float = 0.2, by_class: float = 0.0) -> pd.DataFrame:
    """Labs that nobody has above 200, wards C and D that nobody is in; gaps at random, or more among the dead."""
    rng = np.random.default_rng(5)
    dead = rng.random(N) < 0.4
    lab = rng.gamma(2, 20 + 10 * dead).clip(0, 200)
    lab[rng.random(N) < lab_missing + by_class * dead] = np.nan
    ward = np.where(rng.random(N) < 0.25, "B", "A").astype(object)
    ward[rng.random(N) < ward_unknown] = "Z"
    mark = rng.choice(np.array(["p", "q", None], dtype=object), N, p=[0.3, 0.3, 0.4])
    return pd.DataFrame(
        {
            "lab": lab,
            "ward": ward,
            "sex": rng.choice(["F", "M"], N),
            "mark": mark,
            "y": np.where(dead, "dead", "alive"),
        }
    )


def shares(frame: pd.DataFrame, mu2: Fraction = Fraction(1), key: int = 1) -> np.ndarray:
    vault = Vault(TableSource(frame), SCHEMA, KeyedNoise(key).add, MemoryMeter(mu2))
    answer = answer_a(vault, ENCODING, mu2)
    return known_shares(read_sums(ENCODING, answer.estimate, answer.std), ENCODING, N)


def test_the_share_that_is_known_is_read_off_the_sums() -> None:
    found = shares(table())
    np.testing.assert_allclose(found[:, LAB], 0.6, atol=0.03)
    np.testing.assert_allclose(found[:, WARD], 0.8, atol=0.03)
    assert found[0, LAB] == found[1, LAB]  # that of all, where no class stands out
    np.testing.assert_array_equal(found[:, [SEX, MARK]], 1)


def test_a_class_that_stands_out_has_its_own() -> None:
    found = shares(table(0.1, by_class=0.5))
    np.testing.assert_allclose(found[:, LAB], [0.9, 0.4], atol=0.03)


@pytest.mark.parametrize("mu2", [Fraction(1, 100), Fraction(1, 10), Fraction(1), Fraction(100)])
def test_a_clean_table_is_taken_as_it_is(mu2: Fraction) -> None:
    """Whatever the noise: the sums are not touched, so that releases of clean tables are what they were."""
    clean = table(0, 0)
    for key in range(25):
        np.testing.assert_array_equal(shares(clean, mu2, key), 1)


def test_a_gap_below_the_noise_is_not_invented() -> None:
    few = table(0.002, 0)
    np.testing.assert_array_equal(shares(few, Fraction(1, 100)), 1)
    assert (shares(few, Fraction(10_000))[:, LAB] < 1).all()


def test_sums_are_scaled_to_all_patients() -> None:
    vault = Vault(TableSource(table()), SCHEMA, KeyedNoise(1).add, MemoryMeter(Fraction(1)))
    answer = answer_a(vault, ENCODING, Fraction(1))
    sums = read_sums(ENCODING, answer.estimate, answer.std)
    known = known_shares(sums, ENCODING, N)
    scaled = available_cases(sums, ENCODING, known)
    for j, block in enumerate(ENCODING.blocks):
        np.testing.assert_allclose(scaled.cells[:, block], sums.cells[:, block] / known[:, [j]])
        assert scaled.cells[:, block].sum() == pytest.approx(N, rel=0.02)


def test_of_two_features_the_table_says_how_many_have_both() -> None:
    """Missing together, or each by itself; and never outside of what the two shares allow."""
    known, masses, sizes = np.array([[0.6, 0.6, 1.0]]), np.array([1000.0]), (2, 3, 2)
    for both in (0.6, 0.36, 0.2):
        pairs = np.zeros((1, 7, 7))
        pairs[0, :2, 2:5] = 1000 * both / 6
        pairs[0, :5, 5:] = 77.0  # noise cannot move what is known without it
        pairs += pairs.transpose(0, 2, 1)
        found = known_pairs(pairs, sizes, masses, known)[0]
        assert found[0, 1] == found[1, 0] == pytest.approx(both)
        assert found[0, 2] == found[2, 1] == pytest.approx(0.6)
    pairs[0, :2, 2:5], pairs[0, 2:5, :2] = 1e6, -1e6
    found = known_pairs(pairs, sizes, masses, known)[0]
    assert (found[0, 1], found[1, 0]) == pytest.approx((0.6, 0.2))


@pytest.mark.usefixtures("points_stay")
def test_values_that_are_known_keep_their_shares_in_the_records() -> None:
    """What counts as nothing was spread over the declared range: labs above 200 and wards C and D."""
    frame = table()
    release = synthesize(frame, SCHEMA, Budget.from_epsilon(5.0), noise=KeyedNoise(2))
    made, real = release.records(N), frame.dropna(subset=["lab"])
    assert made["lab"].mean() == pytest.approx(real["lab"].mean(), rel=0.05)
    assert (made["lab"] > 205).mean() < 0.01
    assert made["ward"].value_counts(normalize=True).get("A", 0) == pytest.approx(0.75, abs=0.02)
    assert made["ward"].isin(["C", "D"]).mean() < 0.01
    assert made["mark"].isna().mean() == pytest.approx(0.4, abs=0.03)  # declared: missing stays missing
    dead = made.groupby("y")["lab"].mean()
    assert dead["dead"] - dead["alive"] == pytest.approx(
        real.groupby("y")["lab"].mean().diff().iloc[-1], abs=6
    )  # and with them what they say about the outcome


def one_class_unknown(n: int, seed: int = 0) -> tuple[Schema, pd.DataFrame]:
    """Of the well nobody has a readable grade, and all of the ill have N; a number shows no gap."""
    schema = Schema.from_yaml(
        "name: t\ntarget: y\ncolumns:\n  grade: {type: category, values: [N, X, Z]}\n"
        "  lab: {type: number, min: 0, max: 10}\n  sex: {type: category, values: [F, M]}\n"
        "  y: {type: category, values: [well, ill]}"
    )
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.5
    table = pd.DataFrame(
        {
            "grade": np.where(ill, "N", "?"),
            "lab": rng.uniform(0, 5, n) + 4 * ill,
            "sex": rng.choice(["F", "M"], n),
            "y": np.where(ill, "ill", "well"),
        }
    )
    return schema, table


@pytest.mark.usefixtures("points_stay")
@pytest.mark.parametrize(("n", "epsilon", "share"), [(400, 1000.0, 0.99), (4000, 5.0, 0.97), (4000, 1000.0, 0.99)])
def test_a_value_that_nobody_has_is_not_made_up_for_a_class_of_which_nothing_is_known(
    n: int, epsilon: float, share: float
) -> None:
    schema, table = one_class_unknown(n)
    for key in (1, 2, 3):
        made = synthesize(table, schema, Budget.from_epsilon(epsilon), noise=KeyedNoise(key)).records(4000)
        assert (made["grade"] == "N").mean() >= share
        lab = made.groupby("y")["lab"].mean()
        assert lab["ill"] - lab["well"] == pytest.approx(4, abs=0.4)


def test_a_class_of_which_nothing_is_known_has_the_shares_of_the_others() -> None:
    """With two classes that are known, in the shares of both together."""
    schema = Schema.from_yaml(
        "name: t\ntarget: y\ncolumns:\n  grade: {type: category, values: [N, X, Z]}\n"
        "  sex: {type: category, values: [F, M]}\n  y: {type: category, values: [a, b, c]}"
    )
    table = pd.DataFrame({"y": ["a"] * 3000 + ["b"] * 1000 + ["c"] * 2000, "sex": "F"})
    table["grade"] = np.repeat(["N", "X", "?"], [3000, 1000, 2000])
    vault = Vault(TableSource(table), schema, KeyedNoise(1).add, MemoryMeter(Fraction(100)))
    encoding = Encoding.of(schema)
    answer = answer_a(vault, encoding, Fraction(100))
    sums = read_sums(encoding, answer.estimate, answer.std)
    known = known_shares(sums, encoding, 6000)
    assert known[:2, 0] == pytest.approx(1, abs=0.01)
    assert known[2, 0] == 0
    filled = available_cases(sums, encoding, known).cells[:, encoding.blocks[0]]
    np.testing.assert_allclose(filled[2] / 2000, [0.75, 0.25, 0], atol=0.005)
    pairs = np.zeros((3, 5, 5))
    assert (known_pairs(pairs, (3, 2), np.array([3000.0, 1000, 2000]), known)[2, 0] == 0).all()
