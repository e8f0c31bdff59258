"""Figures of predicted classes: those of scikit-learn, closed forms, and by weight what copied rows would give."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss

from cohortmix.core.utility.classification import Smallest, calibration, figures, in_groups, recall


def sample(seed: int, rows: int = 400, classes: int = 2) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), rows)
    return np.array([rng.choice(classes, p=p) for p in scores]), scores


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    label, scores = sample(0, classes=classes)
    weight = np.random.default_rng(1).uniform(0.1, 1, len(label))
    for weights in (None, weight):
        smallest = Smallest.of(label, weights, classes)
        found = figures(label, scores, weights, smallest)
        member, predicted = label == smallest.number, scores[:, smallest.number]
        precision = average_precision_score(member, predicted, sample_weight=weights)
        assert found["average_precision"] == pytest.approx(precision, abs=1e-12)
        p = scores if classes > 2 else scores[:, 1]
        brier = brier_score_loss(label, p, sample_weight=weights, labels=np.arange(classes))
        assert found["brier"] == pytest.approx(brier, abs=1e-12)


def test_the_smallest_class_is_that_of_the_weights_and_one_that_occurs() -> None:
    label = np.array([0, 0, 0, 2, 2])
    assert Smallest.of(label, None, 3) == Smallest(2, 0.4)
    by_weight = Smallest.of(label, np.array([0.1, 0.1, 0.1, 1, 1]), 3)
    assert by_weight.number == 0
    assert by_weight.share == pytest.approx(0.3 / 2.3)
    assert Smallest.of(np.array([0, 1]), None, 2).number == 1


def test_probabilities_that_are_right_have_slope_one_and_intercept_zero_and_others_have_not() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(-1, 1.5, 200_000)
    member = rng.random(len(x)) < expit(x)
    slope, intercept = calibration(member, expit(x), None)
    assert slope == pytest.approx(1, abs=0.02)
    assert intercept == pytest.approx(0, abs=0.02)
    extreme, _ = calibration(member, expit(2 * x), None)
    assert extreme == pytest.approx(0.5, abs=0.01)
    _, too_low = calibration(member, expit(x - 0.7), None)
    assert too_low == pytest.approx(0.7, abs=0.02)


def test_the_slope_is_that_of_a_logistic_regression_also_by_weight() -> None:
    label, scores = sample(3)
    weight = np.random.default_rng(4).integers(1, 4, len(label))
    copied = np.repeat(np.arange(len(label)), weight)
    by_weight = calibration(label == 1, scores[:, 1], weight / 3.0)
    by_copies = calibration(label[copied] == 1, scores[copied, 1], None)
    assert by_weight == pytest.approx(by_copies, rel=1e-5)
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(scores[copied, 1:]), label[copied])
    assert by_weight[0] == pytest.approx(model.coef_[0, 0], rel=1e-4)


def test_where_no_finite_slope_or_intercept_is_the_likeliest_there_is_none() -> None:
    member = np.array([False, False, True, True])
    assert calibration(member, np.array([0.1, 0.2, 0.7, 0.8]), None)[0] is None  # told apart
    assert calibration(member, np.full(4, 0.3), None)[0] is None
    assert calibration(member, np.full(4, 0.3), None)[1] == pytest.approx(-logit(0.3))
    assert calibration(member, np.array([0.0, 1, 0, 1]), None) == (None, None)
    assert calibration(np.ones(4, dtype=bool), np.full(4, 0.3), None) == (None, None)
    assert calibration(member, np.array([0.1, 0.6, 0.5, 0.8]), None)[0] is not None


def test_recall_is_at_the_share_of_the_class() -> None:
    member = np.array([True, False, True, False, False, False])
    assert recall(member, np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1]), None, 2 / 6) == 0.5  # two are called so
    assert recall(member, np.array([0.9, 0.1, 0.8, 0.3, 0.2, 0.1]), None, 2 / 6) == 1
    assert recall(member, np.array([0.1, 0.8, 0.2, 0.9, 0.3, 0.3]), None, 2 / 6) == 0
    assert recall(member, np.full(6, 0.5), None, 2 / 6) == pytest.approx(2 / 6)  # a guess finds the share
    assert recall(np.zeros(6, dtype=bool), np.full(6, 0.5), None, 2 / 6) is None


def test_all_figures_count_a_record_by_its_weight() -> None:
    label, scores = sample(5, rows=60)
    m = np.random.default_rng(6).integers(1, 4, 60)
    copied = np.repeat(np.arange(60), m)
    smallest = Smallest.of(label, None, 2)
    plain = figures(label, scores, None, smallest)
    weighted = figures(label[copied], scores[copied], (1 / m)[copied], smallest)
    assert weighted == pytest.approx(plain, rel=1e-5)
    assert figures(label[copied], scores[copied], None, smallest) != pytest.approx(plain, rel=1e-5)


def test_groups_are_of_equally_many_records_in_order() -> None:
    predicted = np.random.default_rng(7).permutation(100) / 100
    found = in_groups(predicted, predicted * 2, None)
    assert len(found) == 10
    for place, group in enumerate(found):
        assert group["predicted"] == pytest.approx(place / 10 + 0.045)
        assert group["real"] == pytest.approx(2 * group["predicted"])
        assert group["low"] < group["real"] < group["high"]
    assert len(in_groups(np.full(9, 0.5), np.arange(9), None)) == 1
