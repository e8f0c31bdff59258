"""The condensed set: centroids and inducing points as a table, and as a classifier by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Date
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, source_of
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.support import Support


@dataclass(frozen=True, eq=False, repr=False)
class PooledSupport:
    """The sites' inducing points; their predictions are averaged with weights N_s / n.

    Attributes
    ----------
    schema : the data dictionary.
    groups : the merged bins by which a table is read; in the Gaussian variant the standardized values.
    parts : the support set of each site that fitted a mixture.
    weights : (parts,) its patients.
    """

    schema: Schema
    groups: Groups | Levels
    parts: tuple[Support, ...]
    weights: NDArray[np.float64]

    @classmethod
    def of(
        cls, schema: Schema, common: Common | ClassGaussians, centroids: Mapping[str, SiteCentroids]
    ) -> PooledSupport:
        """The support points of several sites."""
        fitted = [site for site in centroids.values() if len(site.support_points)]
        parts = tuple(Support(site.support_points, site.support_labels, depth=1) for site in fitted)
        groups = common.groups if isinstance(common, Common) else common.levels
        return cls(schema, groups, parts, np.array([site.masses.sum() for site in fitted]))

    @property
    def points(self) -> NDArray[np.float64]:
        """(S, G) support points of all sites."""
        return np.concatenate([part.points for part in self.parts])

    @property
    def labels(self) -> NDArray[np.float64]:
        """(S, C) their soft labels."""
        return np.concatenate([part.labels for part in self.parts])

    def __repr__(self) -> str:
        points = sum(len(part.points) for part in self.parts)
        return f"PooledSupport({points} inducing points of {len(self.parts)} sites, schema {self.schema.name!r})"

    def predict_proba(self, table: pa.Table | pa.RecordBatch | pd.DataFrame) -> NDArray[np.float64]:
        """Class probabilities (n, C) of the rows of a table with the schema's features; classes in its order.

        Raises
        ------
        ValueError
            If no site was large enough for a mixture, so that there are no inducing points.
        """
        if not self.parts:
            raise ValueError("there are no support points: every site was too small for a mixture")
        return self.of_encoded(self.encode(table))

    def of_encoded(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Class probabilities (n, C) of records that are encoded already, (n, G)."""
        predictions = [part.predict_proba(x) for part in self.parts]
        return np.average(np.stack(predictions), axis=0, weights=self.weights)

    def encode(self, table: pa.Table | pa.RecordBatch | pd.DataFrame) -> NDArray[np.float64]:
        """Rows of a table as one-hot merged bins, or as standardized values, (n, G)."""
        encoding = Encoding.of(self.schema)
        source = source_of(table, self.schema.features)
        parts = [encoding.feature_codes(batch) for batch in source.batches()]
        if not parts or not sum(map(len, parts)):
            raise InputError("the table is empty: it holds no record")
        codes = np.concatenate(parts)
        if isinstance(self.groups, Levels):
            return self.groups.of_cells(codes)
        return self.groups.one_hot(codes).astype(np.float64)


def centroid_table(
    schema: Schema, common: Common | ClassGaussians, centroids: Mapping[str, SiteCentroids]
) -> pd.DataFrame:
    """All released rows: site, kind (mixture, class, gaussian, support), mass, noise_std, soft labels, means.

    A column `AGE: 16 to 55` holds the share of the centroid's patients whose AGE lies there; `outcome: dead` the
    share with that class. `noise_std` is the standard deviation of the noise of one cell, in patients: of a pair
    table at a site with a mixture (on its class rows too, though they come from answer A), else of answer A. In
    the Gaussian variant a column `AGE` holds the mean in the units of AGE, and `noise_std` is that of the mass.
    """
    frames = [_site_table(name, site) for name, site in centroids.items()]
    if not isinstance(common, Common):
        levels = common.levels
        return _labelled(schema, frames, lambda means: pd.DataFrame(levels.in_units(means)))
    encoding = Encoding.of(schema)
    names = [
        f"{cells.name}: {text}"
        for feature, cells in enumerate(encoding.features)
        for text in group_names(cells, common.groups.members(feature))
    ]
    return _labelled(schema, frames, lambda means: pd.DataFrame(means, columns=names))


def group_names(cells: Cells, members: list[list[int]]) -> list[str]:
    """What each merged bin of a feature means, in words; `members` are the fine cells of each."""
    return [_range(cells, inside) for inside in members]


def _range(cells: Cells, inside: list[int]) -> str:
    if inside == [cells.missing]:
        return "missing"
    if isinstance(cells.column, Category):
        values = ["missing" if cell == cells.missing else cells.column.values[cell] for cell in inside]
        return " | ".join(values)
    low, high = cells.interval(inside[0])[0], cells.interval(inside[-1])[1]
    if isinstance(cells.column, Date):
        return f"{low} to {high}"
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _site_table(name: str, site: SiteCentroids) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    support = len(site.support_points)
    head = pd.DataFrame(
        {
            "site": name,
            "kind": [*site.kind, *["support"] * support],
            "mass": [*site.masses, *[np.nan] * support],
            "noise_std": site.noise_std,
        }
    )
    labels = np.concatenate([site.labels, site.support_labels])
    return head, np.hstack([labels, np.concatenate([site.means, site.support_points])])


def _labelled(
    schema: Schema,
    frames: list[tuple[pd.DataFrame, NDArray[np.float64]]],
    named: Callable[[NDArray[np.float64]], pd.DataFrame],
) -> pd.DataFrame:
    """Heads, soft labels and named means side by side."""
    labels = [f"{schema.target_name}: {value}" for value in schema.classes]
    head = pd.concat([frame for frame, _ in frames], ignore_index=True)
    body = np.concatenate([values for _, values in frames])
    soft = pd.DataFrame(body[:, : len(labels)], columns=labels)
    return pd.concat([head, soft, named(body[:, len(labels) :])], axis=1)
