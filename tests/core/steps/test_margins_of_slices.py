"""Margins of slices: each is drawn to the slices beside it, an event's to its own, and none to another event's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.steps.anonymize import ClassSums
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.margins import project

TEXT = """
name: followed
target: {target}
columns:
  grade: {{type: category, values: [1, 2, 3, 4]}}
  days: {{type: number, min: 1, max: 1600, integer: true, slices: {slices}}}
  dead: {{type: category, values: [0, 1]}}
"""
SURVIVAL = "{time: days, event: dead}"
SLICES = "[100, 400, 900]"
PATIENTS = 4000


def encoding(target: str = SURVIVAL, slices: str = SLICES) -> Encoding:
    return Encoding.of(Schema.from_yaml(TEXT.format(target=target, slices=slices)))


def grades(of: Encoding, step: float) -> NDArray[np.float64]:
    """(C, 4) of each class: of who died, low grades the longer it took, by `step` a slice; of others the same."""
    slices = of.label.size // 2
    shift = np.concatenate([np.zeros(slices), step * (np.arange(slices) - (slices - 1) / 2) - 0.8])
    weight = np.exp(np.outer(shift, np.arange(4) - 1.5))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def sums(of: Encoding, shares: NDArray[np.float64], s_a: float, seed: int = 0) -> ClassSums:
    """Answer A of classes of equally many patients, whose other values are uniform where a class can have them."""
    mass, rng = PATIENTS / of.label.size, np.random.default_rng(seed)
    cells = []
    for feature, possible in zip(of.features, of.possible, strict=True):
        even = np.ones((of.label.size, feature.size)) if possible is None else possible
        true = shares if feature.name == "grade" else even / even.sum(axis=1, keepdims=True)
        cells.append(mass * true + s_a * rng.normal(size=true.shape))
    ones = np.ones(of.label.size)
    return ClassSums(
        cells=np.concatenate(cells, axis=1),
        masses=mass * ones,
        masses_std=s_a,
        s_a=s_a,
        summed=ones.astype(np.int64),
    )


def error(found: Margins, of: Encoding, shares: NDArray[np.float64]) -> float:
    """Squared distance of the grades from the true ones."""
    return float(((found.cells[:, of.blocks[0]] - shares) ** 2).sum())


def to_all(of: Encoding, answer: ClassSums) -> Margins:
    """Where every class is shrunk to all of them at once, as those of a category are."""
    base = answer.cells.sum(axis=0)
    cells = np.concatenate([np.maximum(base[block], 1) / np.maximum(base[block], 1).sum() for block in of.blocks])
    return project(
        answer, of, PATIENTS, Margins(cells=np.tile(cells, (of.label.size, 1)), masses=answer.masses, s_a=1)
    )


@pytest.mark.parametrize("step", [0.0, 0.2])
@pytest.mark.parametrize("slices", [SLICES, "[50, 150, 300, 600, 900, 1200]"])
def test_slices_learn_from_those_beside_them(step: float, slices: str) -> None:
    of = encoding(slices=slices)
    shares = grades(of, step)
    near = far = 0.0
    for seed in range(10):
        answer = sums(of, shares, s_a=40.0, seed=seed)
        near += error(project(answer, of, PATIENTS), of, shares)
        far += error(to_all(of, answer), of, shares)
    assert near < 0.8 * far


def test_clear_slices_are_as_they_were_counted() -> None:
    """However different from the one beside them."""
    of = encoding()
    shares = grades(of, step=0.0)
    shares[5] = shares[5][::-1]
    found = project(sums(of, shares, s_a=1e-6), of, PATIENTS)
    np.testing.assert_allclose(found.cells[:, of.blocks[0]], shares, atol=1e-4)


def test_an_event_says_nothing_about_the_other() -> None:
    """All that is known of who died may change; who did not, changes as little as everybody together does."""
    of = encoding()
    one, other = grades(of, 0.0), grades(of, 0.0)
    one[4:], other[4:] = [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]
    alive = [project(sums(of, shares, s_a=5.0), of, PATIENTS).cells[:4, of.blocks[0]] for shares in (one, other)]
    dead = [project(sums(of, shares, s_a=5.0), of, PATIENTS).cells[4:, of.blocks[0]] for shares in (one, other)]
    assert np.abs(alive[0] - alive[1]).max() < 0.05
    assert np.abs(dead[0] - dead[1]).min(axis=0)[[0, 3]].min() > 0.4


@pytest.mark.parametrize("target", [SURVIVAL, "days"])
@pytest.mark.parametrize("s_a", [1.0, 50.0, 1000.0])
def test_a_time_stays_within_its_slice(target: str, s_a: float) -> None:
    of = encoding(target, "[100, 400, 900, 1200]")
    place = [feature.name for feature in of.features].index("days")
    possible, block = of.possible[place], of.blocks[place]
    assert possible is not None
    assert not possible.all()
    shares = np.tile([0.4, 0.3, 0.2, 0.1], (of.label.size, 1))
    found = project(sums(of, shares, s_a), of, PATIENTS)
    assert not found.cells[:, block][~possible].any()
    for own in of.blocks:
        np.testing.assert_allclose(found.cells[:, own].sum(axis=1), 1)
