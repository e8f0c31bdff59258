"""Exchange: records that break a rule exchange values with others until none does.

Two records of one class exchange their values of one column, where fewer rules are broken afterwards: no column's
distribution moves, in no class, and as partners are sought among near values first, what goes together hardly does
either. Where no exchange helps, since too few values fit, a record takes a value of another one of its class; and
where that does not help, the fewest of its values are replaced by the nearest that keep the rules (`satisfy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.satisfy import Connected
from cohortmix.core.data.schema import Schema

ROUNDS = 256  # of exchanges within a site and class, then as many within a class, then as many of taking, at most
STUCK = 8  # rounds in which no exchange helped, after which a record may also hand its fault on to its partner
IN_VAIN = 64  # such rounds, after which none is expected to help
WHOLE = 16  # round from which on a partner is sought among all, and not among near values

Column = NDArray[np.float64]
Rows = NDArray[np.int64]


def keep(
    values: dict[str, Column], label: Rows, site: Rows | None, schema: Schema, rng: np.random.Generator
) -> None:
    """Change values, in place, so that the rules of the schema hold in each record.

    Parameters
    ----------
    values : of each column (n,), as `dictionary.rules` sees them.
    label : (n,) classes, which stay.
    site : (n,) of each record, where there are several.
    """
    for connected in schema.connected:
        part = _Part(connected, {name: values[name] for name in connected.names}, label)
        within = label if site is None else label + site * len(schema.classes)
        for strata, first in ((within, 0), (label, WHOLE)):
            rows = part.broken_rows()
            if len(rows):
                _exchanged(part, rows, strata, first, rng)
        _taken(part, rng)
        part.repair()


@dataclass(frozen=True, eq=False)
class _Part:
    """Columns that rules connect; `values` are changed in place."""

    connected: Connected
    values: dict[str, Column]
    label: Rows

    @cached_property
    def movable(self) -> tuple[str, ...]:
        """The columns that the class does not tell."""
        return tuple(name for name in self.connected.names if name != self.connected.outcome.told)

    @cached_property
    def concerned(self) -> NDArray[np.bool_]:
        """(movable, rules) which rule is about which column."""
        return np.array([[name in rule.columns for rule in self.connected.rules] for name in self.movable])

    def broken(self, rows: Rows | slice = slice(None), **replaced: Column) -> NDArray[np.bool_]:
        """(rules, rows) which rules these records break, with other values of a column where they are given."""
        values = {name: column[rows] for name, column in self.values.items()} | replaced
        return np.array([rule.broken(values) for rule in self.connected.rules])

    def broken_rows(self) -> Rows:
        """The records that break a rule."""
        return np.flatnonzero(self.broken().any(axis=0))

    def to_move(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """For each record a column of one of the rules that it breaks, by its place among the movable."""
        candidates = self.concerned.astype(np.int64) @ self.broken(rows) > 0
        return np.asarray((rng.random(candidates.shape) * candidates).argmax(axis=0))

    def repair(self) -> None:
        """Replace the fewest values of each record that still breaks a rule."""
        known: dict[tuple[str, ...], dict[str, float]] = {}
        for row in self.broken_rows():
            record = {name: float(column[row]) for name, column in self.values.items()}
            key = (str(self.label[row]), *map(repr, record.values()))  # a text, since NaN equals nothing
            if key not in known:
                known[key] = self.connected.nearest(record, int(self.label[row]))
            for name, value in known[key].items():
                self.values[name][row] = value


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Records by stratum, and by their values of one column in it; kept when two of them exchange values."""

    order: Rows
    place: Rows
    first: Rows  # of each record's stratum
    end: Rows

    @classmethod
    def of(cls, column: Column, strata: Rows, rng: np.random.Generator) -> _Sorted:
        order = np.lexsort((rng.random(len(column)), np.nan_to_num(column, nan=np.inf), strata))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        in_order = strata[order]
        ends = (np.searchsorted(in_order, strata, side) for side in ("left", "right"))
        return cls(order, place, *ends)

    def partners(self, rows: Rows, reach: float, rng: np.random.Generator) -> Rows:
        """For each record another of its stratum, at most a share `reach` of the stratum away."""
        first, end, place = self.first[rows], self.end[rows], self.place[rows]
        most = np.ceil(reach * (end - first)).astype(np.int64)
        low, high = np.maximum(first, place - most), np.minimum(end, place + most + 1)
        return np.asarray(self.order[low + (rng.random(len(rows)) * (high - low)).astype(np.int64)])

    def exchange(self, one: Rows, other: Rows) -> None:
        """The same where these have exchanged their values."""
        places = self.place[one], self.place[other]
        self.place[one], self.place[other] = places[1], places[0]
        self.order[self.place[one]], self.order[self.place[other]] = one, other


def _exchanged(part: _Part, rows: Rows, strata: Rows, first: int, rng: np.random.Generator) -> None:
    """Exchange values within strata, for ROUNDS at most."""
    by_column: dict[int, _Sorted] = {}
    found_at = WHOLE
    for number in range(ROUNDS):
        reach = len(strata) ** (min(1.0, max(number, first) / WHOLE) - 1.0)  # of a stratum, from one record to all
        moved = part.to_move(rows, rng)
        for at, one in [(at, rows[moved == at]) for at in np.unique(moved).tolist()]:
            if at not in by_column:
                by_column[at] = _Sorted.of(part.values[part.movable[at]], strata, rng)
            one, other = _pairs(one, by_column[at].partners(one, reach, rng), len(strata))
            helped, moved_on = _outcomes(part, part.movable[at], one, other)
            found_at = max(found_at, number * bool(helped.any()))
            accepted = helped | moved_on if number - found_at > STUCK else helped
            one, other = one[accepted], other[accepted]
            column = part.values[part.movable[at]]
            column[one], column[other] = column[other], column[one]
            by_column[at].exchange(one, other)
            rows = np.union1d(rows, other)
        rows = rows[part.broken(rows).any(axis=0)]
        if not len(rows) or number - found_at > IN_VAIN:
            return


def _pairs(one: Rows, other: Rows, records: int) -> tuple[Rows, Rows]:
    """The pairs in which no record is that is in an earlier pair."""
    number = np.arange(len(one))
    earliest = np.full(records, len(one))
    np.minimum.at(earliest, np.concatenate([one, other]), np.concatenate([number, number]))
    alone = (earliest[one] == number) & (earliest[other] == number) & (one != other)
    return one[alone], other[alone]


def _outcomes(part: _Part, name: str, one: Rows, other: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether two records together break fewer rules with their values of a column exchanged.

    And whether they break as many, and the first one fewer.
    """
    column, both = part.values[name], np.concatenate([one, other])
    exchanged = np.concatenate([column[other], column[one]])
    fewer = part.broken(both).sum(axis=0) - part.broken(both, **{name: exchanged}).sum(axis=0)
    together = fewer[: len(one)] + fewer[len(one) :]
    return together > 0, (together == 0) & (fewer[: len(one)] > 0)


def _taken(part: _Part, rng: np.random.Generator) -> None:
    """Records that still break a rule take a value from another record of their class."""
    rows = part.broken_rows()
    if not len(rows):
        return
    order = np.argsort(part.label, kind="stable")
    in_order = part.label[order]
    first, end = (np.searchsorted(in_order, part.label[rows], side) for side in ("left", "right"))
    found_at = 0
    for number in range(ROUNDS):
        donor = order[first + (rng.random(len(rows)) * (end - first)).astype(np.int64)]
        moved = part.to_move(rows, rng)
        for at in np.unique(moved).tolist():
            own, name = rows[moved == at], part.movable[at]
            value = part.values[name][donor[moved == at]]
            fewer = part.broken(own, **{name: value}).sum(axis=0) < part.broken(own).sum(axis=0)
            part.values[name][own[fewer]] = value[fewer]
            found_at = max(found_at, number * bool(fewer.any()))
        still = part.broken(rows).any(axis=0)
        rows, first, end = rows[still], first[still], end[still]
        if not len(rows) or number - found_at > IN_VAIN:
            return
