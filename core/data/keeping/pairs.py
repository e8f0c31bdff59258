"""Pairs: what rules of two columns say of pairs of merged bins, some of which no record can have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.dictionary.grid import is_whole
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema

Array = NDArray[np.float64]

PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a cell, at which a rule is asked of a number


def shares_allowed(schema: Schema, groups: Groups, cells: Array) -> Iterator[tuple[int, int, Array]]:
    """Of each two features that a rule is about, in order, the share of their pairs of values that keep all such
    rules, (m, m) by their merged bins.

    Parameters
    ----------
    cells : (F,) distributions of the features, side by side.
    """
    encoding, named = Encoding.of(schema), list(schema.features)
    weights = groups.membership * np.maximum(cells, 1e-12)[:, None]
    weights = weights / weights.sum(axis=0)
    for part in schema.connected:
        features = sorted(named.index(name) for name in part.names if name in named)
        for i, j in combinations(features, 2):
            rules = [rule for rule in part.rules if set(rule.columns) == {named[i], named[j]}]
            if rules:
                allowed = _of_cells(encoding.features[i], encoding.features[j], rules)
                one, other = (weights[encoding.blocks[at], groups.blocks[at]] for at in (i, j))
                yield i, j, one.T @ allowed @ other


def forbidden(schema: Schema, groups: Groups, cells: Array) -> NDArray[np.bool_] | None:
    """(G, G) which pairs of merged bins no record can have; None where there are none."""
    out = np.zeros((sum(groups.sizes),) * 2, dtype=bool)
    for i, j, share in shares_allowed(schema, groups, cells):
        out[groups.blocks[i], groups.blocks[j]] = share <= 0
        out[groups.blocks[j], groups.blocks[i]] = share.T <= 0
    return out if out.any() else None


def _of_cells(one: Cells, other: Cells, rules: list[Any]) -> Array:
    """(m, m) the share of the pairs of places of two fine cells that keep the rules."""
    places, others = _places(one), _places(other)
    total = np.zeros((one.size, other.size))
    for x in places:
        for y in others:
            values = {one.name: np.repeat(x, other.size), other.name: np.tile(y, one.size)}
            kept = ~np.any([rule.broken(values) for rule in rules], axis=0)
            total += kept.reshape(total.shape)
    return np.asarray(total / (len(places) * len(others)))


def _places(cells: Cells) -> list[Array]:
    """(m,) values of each cell, NaN for the slot of missing ones: a category's own, or some of a number's."""
    if isinstance(cells.column, Category):
        known = np.arange(cells.size, dtype=np.float64)
        return [np.where(known == cells.missing, np.nan, known)]
    ends = np.array([cells.ends(code) for code in range(cells.size - (cells.missing >= 0))])
    found = [ends[:, 0] + place * (ends[:, 1] - ends[:, 0]) for place in PLACES]
    found = [np.round(values) if is_whole(cells.column) else values for values in found]
    return [np.append(values, np.full(cells.size - len(values), np.nan)) for values in found]
