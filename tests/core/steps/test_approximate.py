"""The mixture: it recovers a planted one, keeps the size constraint, and its posterior is Bayes' rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohortmix.core.steps import approximate, plan
from cohortmix.core.steps.approximate import Mixture, Moments, bounded, fit, posterior
from cohortmix.core.steps.plan import LARGEST_K, SIGMA_MAX, components, fits_of, l_min

Array = NDArray[np.float64]
SIZES = (4, 3, 2, 3, 4)
N = 10_000.0


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "STEPS", 400)
    monkeypatch.setattr(approximate, "MORE_STEPS", 400)


def planted(k: int = 3, classes: int = 2, seed: int = 1) -> Mixture:
    """Components that are far apart, each mostly of one class."""
    rng = np.random.default_rng(seed)
    means = np.concatenate([rng.dirichlet(np.full(size, 0.3), k) for size in SIZES], axis=1)
    labels = 0.9 * np.eye(classes)[np.arange(k) % classes] + 0.1 / classes
    return Mixture(weights=N * rng.dirichlet(np.full(k, 5.0)), means=means, labels=labels)


def moments(mixture: Mixture, s_b: float = 1.0, noise: bool = False) -> Moments:
    """Second moment and margins of a mixture, by definition; symmetric noise if asked."""
    rng = np.random.default_rng(0)
    feature = np.repeat(np.arange(len(SIZES)), SIZES)
    parts = mixture.weights, mixture.labels, mixture.means
    pairs = np.stack(
        [
            sum(
                (w * q[c] * np.outer(h, h) for w, q, h in zip(*parts, strict=True)),
                np.zeros((16, 16)),
            )
            for c in range(mixture.labels.shape[1])
        ]
    )
    upper = np.triu(s_b * rng.standard_normal(pairs.shape)) if noise else np.zeros_like(pairs)
    pairs = (pairs + upper + upper.transpose(0, 2, 1)) * (feature[:, None] != feature)
    margins = np.einsum("k,kc,kg->cg", mixture.weights, mixture.labels, mixture.means)
    masses = mixture.weights @ mixture.labels
    return Moments(pairs=pairs, s_b=s_b, margins=margins, margins_std=np.full(16, s_b), masses=masses, sizes=SIZES)


def chi2(found: Mixture, target: Moments, fits: int) -> Array:
    """(fits,) mean squared residual of a pair cell, in units of its noise."""
    k = len(found.weights) // fits
    parts = [slice(k * at, k * (at + 1)) for at in range(fits)]
    reached = [
        moments(Mixture(weights=fits * found.weights[at], means=found.means[at], labels=found.labels[at]))
        for at in parts
    ]
    feature = np.repeat(np.arange(len(SIZES)), SIZES)
    cells = target.pairs.shape[0] * (feature[:, None] != feature).sum()
    squares = np.array([((one.pairs - target.pairs) ** 2).sum() for one in reached])
    in_units: Array = squares / target.s_b**2 / cells
    return in_units


def records(mixture: Mixture, rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One-hot records and their classes."""
    rng = np.random.default_rng(seed)
    k = rng.choice(len(mixture.weights), rows, p=mixture.weights / mixture.weights.sum())
    starts = np.cumsum([0, *SIZES])
    x = np.zeros((rows, 16), dtype=np.float32)
    for start, size in zip(starts, SIZES, strict=False):
        shares = mixture.means[k, start : start + size]
        x[
            np.arange(rows),
            start + (rng.random(rows)[:, None] > shares.cumsum(axis=1)).sum(axis=1).clip(max=size - 1),
        ] = 1
    return x, (rng.random(rows) > mixture.labels[k, 0]).astype(np.int64)


# Fitting


def test_a_planted_mixture_is_recovered_from_its_exact_moments() -> None:
    truth = planted()
    target = moments(truth, s_b=10.0)
    found = fit(target, k=3, fits=3, seed=0)
    again = moments(found, s_b=10.0)
    assert np.abs(again.pairs - target.pairs).max() < 0.005 * N
    assert np.abs(again.margins - target.margins).max() < 0.005 * N
    assert chi2(found, target, fits=3).max() < 5
    x, y = records(truth, 4000, seed=2)
    best, reached = (roc_auc_score(y, posterior(m, x)[:, 1]) for m in (truth, found))
    assert reached > best - 0.005
    assert best > 0.8


def test_the_components_are_the_planted_ones() -> None:
    """Each fit's components match them one to one."""
    truth = planted()
    found = fit(moments(truth, s_b=10.0), k=3, fits=3, seed=0)
    for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
        far = np.abs(found.means[part, None] - truth.means).sum(axis=2)
        nearest = far.argmin(axis=0)
        assert sorted(nearest) == [0, 1, 2]
        assert far.min(axis=0).max() < 0.2
        np.testing.assert_allclose(3 * found.weights[part][nearest], truth.weights, atol=0.02 * N)
        np.testing.assert_allclose(found.labels[part][nearest], truth.labels, atol=0.05)


def test_independence_cannot_say_what_a_mixture_says() -> None:
    """The negation: one component has the margins, and not the pairs."""
    target = moments(planted(), s_b=10.0)
    one = fit(target, k=1, fits=2, seed=0)
    assert chi2(one, target, fits=2).min() > 50
    np.testing.assert_allclose(one.weights, N / 2, rtol=1e-5)


def test_a_fit_stops_where_the_noise_begins() -> None:
    """Discrepancy principle: below chi^2 = ENOUGH nothing more is learned; with noise chi^2 stays near one."""
    target = moments(planted(), s_b=100.0, noise=True)
    found = fit(target, k=3, fits=3, seed=0)
    assert ((chi2(found, target, fits=3) > 0.5) & (chi2(found, target, fits=3) < 1.2)).all()


def chunks_of(monkeypatch: pytest.MonkeyPatch, target: Moments, k: int) -> int:
    """How often a fit takes CHUNK steps; at most 400 of them, and 800 where it is far from its target."""
    calls, advance = [], approximate._advance

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return advance(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(approximate, "_advance", counted)
        patch.setattr(approximate, "MORE_STEPS", 800)
        fit(target, k=k, fits=3, seed=0)
    return len(calls)


def test_steps_end_with_the_noise_and_go_on_where_it_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, noise = moments(planted(), s_b=1e6), moments(planted(), s_b=100.0, noise=True)
    assert chunks_of(monkeypatch, reached, k=3) * approximate.CHUNK < 400
    assert chunks_of(monkeypatch, noise, k=3) * approximate.CHUNK == 400  # chi^2 near one is noise
    assert chunks_of(monkeypatch, moments(planted()), k=1) * approximate.CHUNK == 800  # and far above, a poor fit


def of_size(bins: int, classes: int) -> Moments:
    """Moments of which the sizes alone count."""
    empty = np.broadcast_to(0.0, (classes, bins, bins))
    return Moments(
        pairs=empty,
        s_b=1.0,
        margins=empty[:, 0],
        margins_std=empty[0, 0],
        masses=empty[:, 0, 0],
        sizes=(2,) * (bins // 2),
    )


@pytest.mark.parametrize(("bins", "classes"), list(product((100, 300, 700, 1000, 2000), (2, 6, 20, 100))))
@pytest.mark.parametrize(("k", "fits"), [(30, 20), (300, 2)])
def test_what_a_fit_costs_is_bounded(
    monkeypatch: pytest.MonkeyPatch, bins: int, classes: int, k: int, fits: int
) -> None:
    """As many steps, fits and components as are asked for, where there is room; within WORK in any case."""
    monkeypatch.undo()  # the usual steps
    asked, of_a_step = k * fits * approximate.MORE_STEPS, classes * bins**2
    cost = bounded(of_size(bins, classes), k, fits)
    fewest = classes * approximate.CHUNK  # a component for each class
    assert cost.k * cost.fits * cost.most <= max(approximate.WORK / of_a_step, fewest)
    assert cost.steps <= min(cost.most, approximate.STEPS)
    assert cost.most >= approximate.LEAST_STEPS or cost.k * cost.fits <= classes
    if asked * of_a_step <= approximate.WORK:
        assert cost == (k, fits, approximate.STEPS, approximate.MORE_STEPS)
    else:
        assert (
            cost.k * cost.fits * cost.most > 0.4 * approximate.WORK / of_a_step
        )  # what there is room for is used


def test_a_fit_without_room_for_its_components_has_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    target = moments(planted(k=6))
    monkeypatch.setattr(approximate, "WORK", 3.5 * 2 * 16**2 * approximate.LEAST_STEPS)
    found = fit(target, k=6, fits=2, seed=0)
    assert len(found.weights) == 3
    assert found.weights.sum() == pytest.approx(N)
    monkeypatch.setattr(approximate, "WORK", 1e12)
    assert len(fit(target, k=6, fits=2, seed=0).weights) == 12


def test_the_class_margins_are_matched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pairs say little, answer A still does."""
    monkeypatch.setattr(approximate, "ENOUGH", 0.0)
    exact = moments(planted())
    target = replace(exact, s_b=1000.0, margins_std=np.full(16, 10.0))
    found = fit(target, k=3, fits=3, seed=0)
    reached = np.einsum("k,kc,kg->cg", found.weights, found.labels, found.means)
    np.testing.assert_allclose(reached, exact.margins, atol=0.02 * N)
    rough = replace(exact, s_b=1000.0, margins_std=np.full(16, 1e6))
    other = fit(rough, k=3, fits=3, seed=0)
    missed = np.einsum("k,kc,kg->cg", other.weights, other.labels, other.means) - exact.margins
    assert np.abs(missed).max() > 0.02 * N


def test_centroids_are_distributions_and_masses_are_patients() -> None:
    found = fit(moments(planted(4, classes=3), s_b=30.0, noise=True), k=3, fits=3, seed=1)
    assert found.weights.shape == (9,)
    assert found.weights.sum() == pytest.approx(N, rel=1e-5)
    assert found.means.min() >= 0
    starts = np.cumsum([0, *SIZES])
    for start, end in pairwise(starts):
        np.testing.assert_allclose(found.means[:, start:end].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.labels.sum(axis=1), 1, rtol=1e-5)


def test_the_seed_decides_the_starts() -> None:
    target = moments(planted(), s_b=50.0, noise=True)
    first, again, other = (fit(target, k=2, fits=2, seed=seed).means for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# Size constraint


def lopsided(s_b: float) -> Moments:
    """A planted component of 2 % of the patients."""
    truth = planted()
    cells = [np.eye(size)[[0, 1, size - 1]] for size in SIZES]  # far from the others
    means = 0.9 * np.concatenate(cells, axis=1) + 0.1 * truth.means
    return moments(replace(truth, weights=N * np.array([0.6, 0.38, 0.02]), means=means), s_b)


def test_every_component_of_a_fit_keeps_l_min_patients() -> None:
    k = components(N, 100.0)
    found = fit(lopsided(100.0), k=k, fits=1, seed=0)
    assert k == 20
    np.testing.assert_allclose(found.weights, l_min(100.0), rtol=1e-4)  # there is room for no more
    loose = fit(lopsided(100.0), k=k - 5, fits=1, seed=0).weights
    assert l_min(100.0) * (1 - 1e-5) <= loose.min() < loose.max()


def test_it_is_the_constraint_that_keeps_a_component_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same small component, fitted with and without room below it."""
    free = fit(lopsided(2.0), k=3, fits=3, seed=0)
    assert 3 * free.weights.min() < 1000
    monkeypatch.setattr(plan, "SIGMA_MAX", 2.0 / 1500)
    held = fit(lopsided(2.0), k=3, fits=3, seed=0)
    assert 3 * held.weights.min() >= 1500 * (1 - 1e-5)


@pytest.mark.parametrize(
    ("patients", "s_b", "k"),
    [
        (99.9, 20.0, 0),
        (100.0, 20.0, 1),
        (199.9, 20.0, 1),
        (200.1, 20.0, 2),
        (1e9, 20.0, LARGEST_K),
        (100.0, np.inf, 0),
    ],
)
def test_there_are_as_many_components_as_have_room(patients: float, s_b: float, k: int) -> None:
    assert components(patients, s_b) == k
    assert k * l_min(s_b) <= patients or k == 0


def test_l_min_bounds_the_noise_of_a_cell() -> None:
    assert l_min(20.0) == 20.0 / SIGMA_MAX == pytest.approx(100.0)


def test_more_fits_are_averaged_where_components_are_few() -> None:
    fits = [fits_of(k) for k in (1, 5, 100, 300)]
    assert fits == sorted(fits, reverse=True)
    assert fits[0] == plan.LARGEST_FITS
    assert fits_of(300) * 300 <= plan.CENTROIDS
    assert fits_of(10**6) == 1


@pytest.mark.parametrize("k", [1, 2])
def test_a_fit_of_one_or_two_components(k: int) -> None:
    found = fit(moments(planted(), s_b=1000.0), k=k, fits=2, seed=0)
    assert found.means.shape == (2 * k, 16)
    assert np.isfinite(found.means).all()
    assert found.weights.sum() == pytest.approx(N, rel=1e-5)


def test_classes_without_anyone_do_no_harm() -> None:
    truth = planted(3, classes=3)
    nobody = moments(replace(truth, labels=truth.labels * [1, 1, 0]), s_b=10.0)
    found = fit(nobody, k=3, fits=3, seed=0)
    assert np.isfinite(found.means).all()
    assert (found.weights @ found.labels)[2] < 0.01 * N


# Posterior


def bayes(mixture: Mixture, x: Array) -> Array:
    """p(y | x) by enumerating the components, in plain probabilities."""
    joint = np.array(
        [
            w * q * np.prod([h[cell] for cell in np.flatnonzero(x)])
            for w, q, h in zip(mixture.weights, mixture.labels, mixture.means, strict=True)
        ]
    ).sum(axis=0)
    return np.asarray(joint / joint.sum())


def test_the_posterior_is_bayes_rule() -> None:
    mixture = planted(4, classes=3)
    x = np.array(
        [
            np.concatenate([np.eye(s)[c] for s, c in zip(SIZES, at, strict=True)])
            for at in product(*map(range, SIZES))
        ]
    )
    found = posterior(mixture, x.astype(np.float32))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, [bayes(mixture, row) for row in x], atol=2e-4)
    assert found.std(axis=0).min() > 0.05


def test_an_unknown_cell_says_nothing() -> None:
    """A block of zeros leaves the other blocks to decide; no block at all, the masses."""
    mixture = planted()
    nothing = posterior(mixture, np.zeros((1, 16), dtype=np.float32))[0]
    np.testing.assert_allclose(nothing, mixture.weights @ mixture.labels / N, atol=1e-5)
    x = np.zeros((1, 16), dtype=np.float32)
    x[0, 4] = 1
    np.testing.assert_allclose(posterior(mixture, x)[0], bayes(mixture, x[0]), atol=1e-5)


def test_many_records_are_read_in_parts() -> None:
    x, _ = records(planted(), 9000, seed=3)
    np.testing.assert_allclose(posterior(planted(), x)[:50], posterior(planted(), x[:50]), atol=1e-6)


def test_a_cell_that_no_component_has_does_not_break_the_posterior() -> None:
    mixture = planted()
    means = mixture.means.copy()
    means[:, 0] = 0
    x = np.zeros((1, 16), dtype=np.float32)
    x[0, 0] = 1
    found = posterior(replace(mixture, means=means), x)
    np.testing.assert_allclose(found[0], mixture.weights @ mixture.labels / N, atol=1e-5)
