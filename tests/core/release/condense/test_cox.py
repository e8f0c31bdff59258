"""Cox regression with weights: the maximum of the weighted partial likelihood, and that of scikit-survival."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from cohortmix.core.release.condense.cox import fit_cox
from cohortmix.core.release.condense.judge import Pairs, _concordance, _pairs
from cohortmix.core.release.condense.models import Standard
from cohortmix.core.release.condense.seen import Seen

RNG = np.random.default_rng(0)
N = 120
Z = RNG.normal(size=(N, 4))
TIME = np.ceil(10 * RNG.exponential(np.exp(-Z @ [1.0, -0.5, 0, 0.2])))  # with ties
EVENT = RNG.random(N) < 0.7
WEIGHT = RNG.integers(1, 5, N).astype(np.float64)


def test_a_weight_is_a_number_of_equal_rows() -> None:
    rows = np.repeat(np.arange(N), WEIGHT.astype(int))
    weighted = fit_cox(Z, TIME, EVENT, WEIGHT, 0.5)
    repeated = fit_cox(Z[rows], TIME[rows], EVENT[rows], np.ones(len(rows)), 0.5)
    np.testing.assert_allclose(weighted, repeated, atol=1e-4)
    assert np.abs(weighted - fit_cox(Z, TIME, EVENT, np.ones(N), 0.5)).max() > 0.01


def test_it_is_what_scikit_survival_finds() -> None:
    linear = pytest.importorskip("sksurv.linear_model", reason="scikit-survival is not installed")
    from sksurv.util import Surv

    rows = np.repeat(np.arange(N), WEIGHT.astype(int))
    # Without a ridge, since theirs stands beside a mean log likelihood and ours beside its sum.
    theirs = linear.CoxPHSurvivalAnalysis(ties="breslow").fit(Z[rows], Surv.from_arrays(EVENT[rows], TIME[rows]))
    np.testing.assert_allclose(fit_cox(Z, TIME, EVENT, WEIGHT, 0.0), theirs.coef_, atol=1e-3)


def test_a_ridge_shrinks_and_separation_ends() -> None:
    small, large = fit_cox(Z, TIME, EVENT, WEIGHT, 0.1), fit_cox(Z, TIME, EVENT, WEIGHT, 1000.0)
    assert np.linalg.norm(large) < np.linalg.norm(small) / 2
    apart = fit_cox(-np.arange(6.0)[:, None], np.arange(1.0, 7), np.ones(6, dtype=bool), np.ones(6), 1.0)
    assert np.isfinite(apart).all()
    assert apart[0] > 0


@pytest.mark.parametrize("seed", range(80))
def test_rare_values_and_unequal_weights_end_near_the_maximum(seed: int) -> None:
    """Where a Newton step goes so far that a hazard is smaller than any float; against scipy's own search."""
    rng = np.random.default_rng(seed)
    rare = (rng.random((60, 12)) < 0.04).astype(np.float64)
    z = (rare - rare.mean(axis=0)) / np.maximum(rare.std(axis=0), 1e-9)
    time, event, weight = rng.exponential(size=60), rng.random(60) < 0.7, np.exp(rng.normal(0, 4, 60))
    order = np.argsort(-time, kind="stable")

    def loss(b: np.ndarray) -> float:
        risk = z[order] @ b
        at_risk = np.logaddexp.accumulate(risk + np.log(weight[order]))
        return float(-(weight * event)[order] @ (risk - at_risk) + (b @ b) / 2)

    found = fit_cox(z, time, event, weight, 1.0)
    best = minimize(loss, found, method="BFGS").fun
    assert loss(found) <= best + 0.02 * (1 + abs(best))


def pairs(time: list[float], event: list[int]) -> Pairs:
    seen = Seen.__new__(Seen)
    object.__setattr__(seen, "time", np.array(time))
    object.__setattr__(seen, "label", np.array(event))
    object.__setattr__(seen, "x", np.zeros((len(time), 1)))
    return _pairs(seen, np.random.default_rng(0), 100)


def test_pairs_are_all_in_which_one_had_the_event_before_the_other_s_time() -> None:
    first, second = pairs([5, 1, 3, 3, 2], [1, 1, 0, 1, 1])
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {
        (1, 0), (1, 2), (1, 3), (1, 4), (4, 0), (4, 2), (4, 3), (3, 0),
    }  # fmt: skip


def test_concordance_is_that_of_scikit_survival() -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason="scikit-survival is not installed")
    time, event, risk = RNG.permutation(N) + 1.0, RNG.random(N) < 0.6, RNG.normal(size=N).round(1)
    theirs = metrics.concordance_index_censored(event, time, risk)[0]
    seen = Seen.__new__(Seen)
    for name, value in (("time", time), ("label", event.astype(int)), ("x", np.zeros((N, 1)))):
        object.__setattr__(seen, name, value)
    every = _pairs(seen, np.random.default_rng(0), 10**6)
    assert _concordance(risk, every) == pytest.approx(theirs)
    assert _concordance(-risk, every) == pytest.approx(1 - theirs)


def test_standardized_columns_have_weighted_means_and_a_missing_value_is_the_mean() -> None:
    x = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    standard = Standard.of(x, np.array([1.0, 3.0, 2.0]))
    assert standard.mean == pytest.approx([2.5, 5.0])
    z = standard(x)
    assert z[2].tolist() == [0, 0]
    assert (z[:, 1] == 0).all()
    assert z[0, 0] * 1 + z[1, 0] * 3 == pytest.approx(0)
