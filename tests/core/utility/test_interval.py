"""The interval of a difference of two AUCs: it covers, it is no wider than needed, and a second way agrees."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cohortmix.core.utility.evaluate import auc
from cohortmix.core.utility.interval import Difference, auc_difference

COVERED = range(271, 297)  # of 300 intervals at 95 %; fewer or more say another level, but rarely
STRENGTH = 1.2  # of the first model; an AUC of .80


def sample(
    rng: np.random.Generator, patients: int, gain: float, rows: int = 1, classes: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores of two models that share much of what they see, and whose each record is."""
    owner = np.repeat(np.arange(patients), rows)
    label = rng.choice(classes, patients, p=[0.7, *[0.3 / (classes - 1)] * (classes - 1)])[owner]
    signal = np.eye(classes)[label]
    shared = rng.normal(size=(patients, classes))[owner]
    noise = [rng.normal(size=(len(label), classes)) * 0.5 for _ in range(2)]
    return label, STRENGTH * signal + shared + noise[0], (STRENGTH + gain) * signal + shared + noise[1], owner


def test_the_estimate_is_the_difference_of_the_areas() -> None:
    for classes in (2, 3):
        label, first, second, _ = sample(np.random.default_rng(0), 300, 0.4, classes=classes)
        first, second = first.round(1), second.round(1)  # ties count half
        found = auc_difference(label, first, second)
        assert found is not None
        areas = [auc(label, scores) for scores in (first, second)]
        assert areas[0] is not None
        assert areas[1] is not None
        assert found.estimate == pytest.approx(areas[1] - areas[0], abs=1e-12)
        assert found.low < found.estimate < found.high


def test_the_variance_is_that_of_delong() -> None:
    """Over all pairs of a member and another record, written out as in the paper."""
    label, first, second, _ = sample(np.random.default_rng(1), 120, 0.3)
    member = label == 1
    components = []
    for scores in (first[:, 1], second[:, 1]):
        pairs = (scores[member][:, None] > scores[~member]) + 0.5 * (scores[member][:, None] == scores[~member])
        components.append((pairs.mean(axis=1), pairs.mean(axis=0)))
    s10, s01 = (np.cov(components[0][side], components[1][side]) for side in (0, 1))
    contrast = np.array([-1, 1])
    variance = contrast @ (s10 / member.sum() + s01 / (~member).sum()) @ contrast
    found = auc_difference(label, first, second)
    assert found is not None
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (4, 2), (1, 3)])
def test_a_bootstrap_over_patients_agrees(rows: int, classes: int) -> None:
    rng = np.random.default_rng(2)
    label, first, second, owner = sample(rng, 300, 0.3, rows, classes)
    drawn = []
    for _ in range(400):
        take = np.concatenate([np.arange(rows) + rows * each for each in rng.integers(300, size=300)])
        areas = [auc(label[take], scores[take]) for scores in (first, second)]
        assert areas[0] is not None
        assert areas[1] is not None
        drawn.append(areas[1] - areas[0])
    found = auc_difference(label, first, second, owner)
    assert found is not None
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.15)


@pytest.mark.parametrize("rows", [1, 5])
def test_it_covers_the_difference_of_all_patients(rows: int) -> None:
    """And intervals half as wide do not."""
    rng = np.random.default_rng(3)
    label, first, second, _ = sample(rng, 100_000, 0.3)
    truth = roc_auc_score(label, second[:, 1]) - roc_auc_score(label, first[:, 1])
    covered = halved = 0
    for _ in range(300):
        found = auc_difference(*sample(rng, 150, 0.3, rows))
        assert found is not None
        covered += found.low <= truth <= found.high
        halved += abs(truth - found.estimate) <= (found.high - found.low) / 4
    assert covered in COVERED
    assert halved not in COVERED


def test_records_of_one_patient_are_not_counted_as_others() -> None:
    """Each patient's record ten times over says no more than once."""
    label, first, second, owner = sample(np.random.default_rng(4), 200, 0.2)
    once = auc_difference(label, first, second)
    again = [np.repeat(each, 10, axis=0) for each in (label, first, second, owner)]
    known, naive = auc_difference(*again), auc_difference(*again[:3])
    assert once is not None
    assert known is not None
    assert naive is not None
    assert known.high - known.low == pytest.approx(once.high - once.low, rel=0.02)
    assert naive.high - naive.low < 0.4 * (once.high - once.low)


def test_where_nothing_can_be_said_nothing_is_said() -> None:
    scores = np.random.default_rng(5).normal(size=(20, 2))
    assert auc_difference(np.zeros(20, dtype=np.int64), scores, scores) is None
    single = auc_difference(np.eye(20, dtype=np.int64)[3], scores, -scores)
    assert single is not None
    assert (single.low, single.high) == (-1.0, 1.0)
    same = auc_difference(np.arange(20) % 2, scores, scores)
    assert same == Difference(0.0, 0.0, 0.0)
