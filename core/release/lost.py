"""Lost: what a release could not carry, by public facts and released values alone.

Noise takes the small first: pairs of columns where patients are few, rare classes, columns in which few patients
differ, rare values of a category. Records look the same with and without them, so whoever uses them has to be
told. All of it follows from the schema and from what is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.denoise import CLASS_RADIUS, LABEL
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.plan import RARE

MOST_NOISE = 0.5  # of a correlation in the Gaussian variant, above which the answer says next to nothing
ALIKE = 1e-9  # distance of two class centroids that are the same but for rounding


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What a release, or the pooled releases of a study, could not carry; all public.

    Attributes
    ----------
    target : the outcome's column, or the time and the event; None of a table without one.
    sliced : the number or the time whose slices the classes are; None of a category.
    pairs : why nothing is known of values that go together within a class; None where something is.
    classes_in_noise : classes of so few patients that noise hides what sets them apart.
    classes_without_pairs : other classes that have class centroids alone, where the rest have a mixture.
    columns_alone : columns of which nothing but their distribution is left: noise hides the few patients who have
        a value outside of the commonest merged bin.
    columns_without_pairs : other columns that go with the outcome at most, since they have no score.
    values_merged : by other column, how many values of a category are counted together, as one rest.
    """

    target: str | None
    sliced: str | None = None
    pairs: Literal["not measured", "too noisy"] | None = None
    classes_in_noise: tuple[str, ...] = ()
    classes_without_pairs: tuple[str, ...] = ()
    columns_alone: tuple[str, ...] = ()
    columns_without_pairs: tuple[str, ...] = ()
    values_merged: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        schema: Schema,
        common: Common | ClassGaussians,
        centroids: Mapping[str, SiteCentroids],
        *,
        pairs_asked: bool,
    ) -> Lost:
        """What the releases of one site or more could not carry.

        Parameters
        ----------
        common : merged bins, pooled margins and scores; or the class Gaussians.
        centroids : by site, what it has released.
        pairs_asked : whether any site was asked about pairs of columns.
        """
        if isinstance(common, ClassGaussians):
            return cls._of_gaussians(schema, common)
        encoding, noise = Encoding.of(schema), _noise(common, centroids)
        fitted = _patients_in_mixtures(centroids) > 0
        faint = common.margins.masses < RARE * max(noise, _noise_of_masses(common))
        can_differ = np.array([len(bins) > 1 for bins in _bins_of_values(encoding, common.groups)])
        alone = _patients_apart(encoding, common.groups, centroids) < RARE * noise * sqrt(len(fitted))
        silent = ~alone & ~_with_scores(encoding, common) & bool(common.scores and fitted.any())
        nothing = not fitted.any() and len(schema.features) > 1
        return cls(
            target=_target(schema),
            sliced=next(iter(encoding.sliced), None),
            pairs=("too noisy" if pairs_asked else "not measured") if nothing else None,
            classes_in_noise=_named(schema.classes, faint),
            classes_without_pairs=_named(schema.classes, ~faint & ~fitted & fitted.any()),
            columns_alone=_named(schema.features, alone & can_differ),
            columns_without_pairs=_named(schema.features, silent & can_differ),
            values_merged=_merged_values(encoding, common.groups, ~alone),
        )

    @classmethod
    def _of_gaussians(cls, schema: Schema, model: ClassGaussians) -> Lost:
        """Of the Gaussian variant, in which no values are merged."""
        # Noise has taken all differences; of one class there are none.
        alike = len(model.masses) > 1 and float(np.ptp(model.scores, axis=0).max()) < ALIKE
        noisy = len(schema.features) > 1 and _noise_of_correlations(model) > MOST_NOISE
        return cls(
            target=_target(schema),
            sliced=next(iter(Encoding.of(schema).sliced), None),
            pairs="too noisy" if noisy else None,
            classes_in_noise=_named(schema.classes, (model.masses < RARE * model.masses_std) | alike),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """As plain data for a summary, without the names of the outcome, which are there already."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in plain.items() if key not in ("target", "sliced")}


def _target(schema: Schema) -> str | None:
    return None if schema.target is None else schema.target_name


def _named(names: tuple[str, ...], marked: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, mark in zip(names, marked, strict=True) if mark)


def _patients_in_mixtures(centroids: Mapping[str, SiteCentroids]) -> NDArray[np.float64]:
    """(C,) patients of each class whom components of a fitted mixture stand for, at all sites."""
    parts = [(np.array(site.kind) == "mixture") * site.masses @ site.labels for site in centroids.values()]
    return np.asarray(np.sum(parts, axis=0))


def _noise(common: Common, centroids: Mapping[str, SiteCentroids]) -> float:
    """Standard deviation of what says most: a cell of answer A or of measured pair tables, in patients."""
    of_pairs = [site.noise_std for site in centroids.values() if "mixture" in site.kind and not common.scores]
    return min(common.margins.s_a, float(np.linalg.norm(of_pairs))) if of_pairs else common.margins.s_a


def _noise_of_masses(common: Common) -> float:
    """Standard deviation of the patients of a class: answer A weighs the class by sqrt(D / 4)."""
    return common.margins.s_a / sqrt(len(common.groups) / 4)


def _noise_of_correlations(model: ClassGaussians) -> float:
    """About the standard deviation of a correlation within the classes, of K coordinates of variance 1.

    The label's entry of a moment has LABEL^2 CLASS_RADIUS^2 K times the weight, and is known to `masses_std`.
    """
    weight = (LABEL * CLASS_RADIUS) ** 2 * len(model.levels.axes)
    return float(weight * model.masses_std * sqrt(len(model.masses)) / model.masses.sum())


def _bins_of_values(encoding: Encoding, groups: Groups) -> list[tuple[int, ...]]:
    """For each feature, the merged bin of each fine cell but the last one, if it is for missing values."""
    return [
        merged[: cells.size - (cells.missing >= 0)]
        for cells, merged in zip(encoding.features, groups, strict=True)
    ]


def _patients_apart(
    encoding: Encoding, groups: Groups, centroids: Mapping[str, SiteCentroids]
) -> NDArray[np.float64]:
    """(D,) patients who have a value, but none in the commonest merged bin, by what was released."""
    patients, apart = np.sum([site.masses @ site.means for site in centroids.values()], axis=0), []
    for block, bins in zip(groups.blocks, _bins_of_values(encoding, groups), strict=True):
        held = patients[block][sorted(set(bins))]
        apart.append(held.sum() - held.max())
    return np.array(apart)


def _with_scores(encoding: Encoding, common: Common) -> NDArray[np.bool_]:
    """(D,) which columns have a score that says anything."""
    telling = {score.column for score in common.scores if any(score.levels)}
    return np.array([number in telling for number in range(len(encoding.features))])


def _merged_values(encoding: Encoding, groups: Groups, asked: NDArray[np.bool_]) -> dict[str, int]:
    """By category of those `asked` (D,) for, how many of its values share the bin for the rest."""
    merged: dict[str, int] = {}
    for cells, bins, take in zip(encoding.features, _bins_of_values(encoding, groups), asked, strict=True):
        largest = Counter(bins).most_common(1)[0][1]
        if take and isinstance(cells.column, Category) and largest > 1:
            merged[cells.name] = largest
    return merged
