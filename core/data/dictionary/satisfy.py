"""Satisfy: whether a record can keep rules, and the record nearest to a given one that does.

The values of a column that no rule tells apart are one interval, so that what is searched is small. A search tries
one interval after another, and after each draws the conclusions that are certain: bounds along comparisons, and
implications of which all conditions but one are decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb, inf, isnan, nan, nextafter
from typing import TypeAlias

import numpy as np

from cohortmix.core.data.dictionary.columns import Category, Column
from cohortmix.core.data.dictionary.grid import edges_of
from cohortmix.core.data.dictionary.outcome import Outcome
from cohortmix.core.data.dictionary.rules import (
    Comparison,
    Condition,
    Implication,
    Interval,
    Rule,
    at_least,
    at_most,
    extent,
)

MISSING: Interval = (nan, nan)  # compared by identity, as all of a domain
MOST_STEPS = 5_000  # of one search: rules that people state take a few dozen
MOST_CHOICES = 200  # sets of columns that are tried for the fewest to change

Domains: TypeAlias = Mapping[str, tuple[Interval, ...]]
"""What each column can be: intervals of values, and MISSING."""


class TooEntangledError(ValueError):
    """A search has taken more than MOST_STEPS."""


@dataclass(frozen=True, eq=False)
class Connected:
    """Rules that connect some columns with each other, and with no other column.

    Attributes
    ----------
    columns : of the schema.
    outcome : what a class says of a column's values.
    rules : closed.
    """

    columns: Mapping[str, Column]
    outcome: Outcome
    rules: tuple[Rule, ...]

    @classmethod
    def parts(cls, columns: Mapping[str, Column], outcome: Outcome, rules: Iterable[Rule]) -> Iterator[Connected]:
        """Rules that have no column in common, each part by itself."""
        left = list(rules)
        while left:
            part = [left.pop(0)]
            names = set(part[0].columns)
            while more := [rule for rule in left if names & set(rule.columns)]:
                left = [rule for rule in left if not names & set(rule.columns)]
                part += more
                names |= {name for rule in more for name in rule.columns}
            yield cls(columns, outcome, tuple(part))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that the rules are about, in the schema's order."""
        named = {name for rule in self.rules for name in rule.columns}
        return tuple(name for name in self.columns if name in named)

    @cached_property
    def everything(self) -> Domains:
        """All that each column can be by its declaration."""
        return {name: self._atoms(name) for name in self.names}

    @cached_property
    def by_class(self) -> tuple[Domains, ...]:
        """All that each column can be in a record of each class, as far as it can be told without a search."""
        classes = range(len(self.outcome.classes))
        return tuple(self.narrowed(self.declared(c)) or self.declared(c) for c in classes)

    def solve(self, domains: Domains, near: Mapping[str, float] | None = None) -> dict[str, float] | None:
        """Values that keep the rules, of these domains; close to `near` where there is a choice. None if none do.

        Raises
        ------
        TooEntangledError
            If it cannot be told in reasonable time.
        """
        return self._search(domains, near or {}, [MOST_STEPS])

    def witness(self, c: int) -> dict[str, float] | None:
        """Values of a record of a class that keeps the rules; raises as `solve`."""
        return self.solve(self.declared(c))

    def nearest(self, record: Mapping[str, float], c: int) -> dict[str, float]:
        """Values that keep the rules, of a record of class c: as few as possible are others than the record's."""
        free, tried = self.declared(c), 0
        own = {name: (MISSING if isnan(record[name]) else (record[name],) * 2,) for name in self.names}
        movable = [name for name in self.names if name != self.outcome.told]
        for count in range(len(movable)):
            tried += comb(len(movable), count)
            if tried > MOST_CHOICES:
                break
            for chosen in combinations(movable, count):
                found = self._tried({**own, **{name: free[name] for name in chosen}}, record)
                if found is not None:
                    return found
        return self._tried(free, record) or self.witness(c) or {}

    def _tried(self, domains: Domains, record: Mapping[str, float]) -> dict[str, float] | None:
        try:
            return self.solve(domains, record)
        except TooEntangledError:
            return None

    def narrowed(self, domains: Domains) -> Domains | None:
        """The domains without what the rules certainly exclude; None if nothing is left of one."""
        now = dict(domains)
        while True:
            before = dict(now)
            for rule in self.rules:
                conclude = _compared if isinstance(rule, Comparison) else _concluded
                now |= conclude(rule, now, self.columns)  # type: ignore[arg-type]  # each has its kind
                if not all(now[name] for name in rule.columns):
                    return None
            if now == before:
                return now

    def _search(self, domains: Domains, near: Mapping[str, float], steps: list[int]) -> dict[str, float] | None:
        steps[0] -= 1
        if steps[0] < 0:
            raise TooEntangledError("the rules are too entangled to tell if a record can keep them; state fewer")
        left = self.narrowed(domains)
        if left is None:
            return None
        name = min(left, key=lambda each: (len(left[each]) == 1, len(left[each])))
        if len(left[name]) == 1:
            return self._chosen(left, near)
        for interval in sorted(left[name], key=lambda each: _distance(each, near.get(name, nan))):
            found = self._search({**left, name: (interval,)}, near, steps)
            if found is not None:
                return found
        return None

    def _chosen(self, domains: Domains, near: Mapping[str, float]) -> dict[str, float]:
        """A value within each interval: what keeps comparisons is closed under the larger and the smaller of two
        records, so that any value left for one column leaves some for the others.
        """
        for name in self.names:
            ((low, high),) = domains[name]
            if low == low:
                wanted = near.get(name, low)
                value = low if isnan(wanted) else at_most(self.columns[name], min(max(wanted, low), high))
                domains = self.narrowed({**domains, name: ((value, value),)}) or domains
        return {name: domains[name][0][0] for name in self.names}

    def declared(self, c: int) -> Domains:
        """All that each column can be in a record of a class, without a conclusion from the rules."""
        return {name: _within(atoms, self._of_class(name, c)) for name, atoms in self.everything.items()}

    def _of_class(self, name: str, c: int) -> Interval:
        """What a class says of a column of the outcome."""
        if name not in self.outcome.columns:
            return -inf, inf
        at, column = self.outcome.columns.index(name), self.columns[name]
        for slices in reversed(self.outcome.slices[at + 1 :]):
            c //= max(slices) + 1
        cells = np.flatnonzero(np.asarray(self.outcome.slices[at]) == c % (max(self.outcome.slices[at]) + 1))
        if isinstance(column, Category):
            return float(cells[0]), float(cells[-1])
        ends = [-inf, *edges_of(column), inf]
        return ends[cells[0]], nextafter(ends[cells[-1] + 1], -inf)

    def _atoms(self, name: str) -> tuple[Interval, ...]:
        column = self.columns[name]
        low, high = extent(column)
        if isinstance(column, Category):
            known = [(float(place),) * 2 for place in range(len(column.values))]
        else:
            starts = {low} | {start for start in self._starts(name) if low < start <= high}
            ends = [*sorted(starts), nextafter(high, inf)]
            pairs = zip(ends, (nextafter(end, -inf) for end in ends[1:]), strict=False)
            known = [(at_least(column, first), at_most(column, last)) for first, last in pairs]
        return (*(atom for atom in known if atom[0] <= atom[1]), *([MISSING] if column.missing else []))

    def _starts(self, name: str) -> Iterator[float]:
        """Where values begin that a condition tells from those below."""
        for rule in self.rules:
            for condition in (*rule.left, rule.right) if isinstance(rule, Implication) else ():
                if condition.column == name:
                    yield from (start for low, high in condition.inside for start in (low, nextafter(high, inf)))


def _within(atoms: tuple[Interval, ...], bounds: Interval) -> tuple[Interval, ...]:
    """The parts of intervals between two bounds, of MISSING all of it."""
    low, high = bounds
    cut = [atom if isnan(atom[0]) else (max(atom[0], low), min(atom[1], high)) for atom in atoms]
    return tuple(atom for atom in cut if not atom[0] > atom[1])


def _distance(atom: Interval, value: float) -> float:
    if isnan(value) or isnan(atom[0]):
        return 0.0 if isnan(value) and isnan(atom[0]) else 1e300 if isnan(atom[0]) else 0.0
    return max(atom[0] - value, value - atom[1], 0.0)


def _compared(
    rule: Comparison, domains: Domains, columns: Mapping[str, Column]
) -> dict[str, tuple[Interval, ...]]:
    """What a comparison leaves of its columns: one that may be missing bounds nothing."""
    low, high = domains[rule.lower], domains[rule.upper]
    if MISSING not in low and low:
        start = min(atom[0] for atom in low)
        start = at_least(columns[rule.upper], nextafter(start, inf) if rule.strict else start)
        high = _within(high, (start, inf))
    if MISSING not in high and high:
        end = max(atom[1] for atom in high)
        end = at_most(columns[rule.lower], nextafter(end, -inf) if rule.strict else end)
        low = _within(low, (-inf, end))
    return {rule.lower: low, rule.upper: high}


def _concluded(
    rule: Implication, domains: Domains, columns: Mapping[str, Column]
) -> dict[str, tuple[Interval, ...]]:
    """What an implication leaves of its columns, where all of its conditions but one are decided."""
    del columns
    open_: list[tuple[Condition, bool]] = []  # what is not certain, and what it must not be
    for condition, wanted in (*((each, True) for each in rule.left), (rule.right, False)):
        certain = {condition.of(atom[0]) is wanted for atom in domains[condition.column]}
        if certain == {False}:
            return {}
        if certain != {True}:
            open_.append((condition, wanted))
    if len(open_) > 1:
        return {}
    condition, wanted = open_[0] if open_ else (rule.right, False)
    atoms = domains[condition.column]
    return {condition.column: tuple(atom for atom in atoms if condition.of(atom[0]) is not wanted)}
