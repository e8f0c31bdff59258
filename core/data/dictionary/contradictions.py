"""Contradictions: rules that no record can keep, or that say nothing, are refused with the rules named.

There has to be a record of every class; of every comparison one in which both columns are known; and of every
implication one in which both of its sides are true. A search decides it, so that rules which records can keep are
refused only if the search would take too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from cohortmix.core.data.dictionary.columns import Column
from cohortmix.core.data.dictionary.outcome import Outcome
from cohortmix.core.data.dictionary.rules import Comparison, Rule, closed
from cohortmix.core.data.dictionary.satisfy import MISSING, Connected, Domains, TooEntangledError
from cohortmix.core.data.words import listed


def require_consistent(
    columns: Mapping[str, Column], outcome: Outcome, rules: Sequence[Rule], target: str
) -> None:
    """Raise ValueError, with the rules named, unless records can keep them.

    Parameters
    ----------
    rules : as stated, those of columns included.
    target : in words.
    """
    circle = _circle([rule for rule in rules if isinstance(rule, Comparison)])
    if circle:
        raise ValueError(f"{_named(circle)}: no values keep a circle of comparisons; correct one of them")

    def parts(of: Iterable[Rule]) -> list[Connected]:
        return list(Connected.parts(columns, outcome, closed(of)))

    def useless(rule: Rule, some: list[Rule]) -> bool:
        return not _has_a_use(parts([rule, *some]), rule)

    def excluded(c: int, some: Sequence[Rule]) -> bool:
        return any(part.witness(c) is None for part in parts(some))

    stated = parts(rules)
    for rule in rules:
        if not _has_a_use(stated, rule):
            others = [other for other in _needed(rules, partial(useless, rule)) if other.text != rule.text]
            what = f"it contradicts {_named(others)}" if others else "its columns' bounds and values exclude it"
            raise ValueError(f"rule {rule.text!r} can hold in no record: {what}; correct one of them")
    for c, name in enumerate(outcome.classes):
        if any(part.witness(c) is None for part in stated):
            needed = _needed(rules, partial(excluded, c))
            raise ValueError(f"{_named(needed)}: no record with {target}={name!r} keeps this; correct one of them")


def _circle(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Comparisons that lead from a column back to it, one of them strict; none if there are no such."""
    edges = list(comparisons)
    for first in (edge for edge in edges if edge.strict):
        reached: dict[str, list[Comparison]] = {first.upper: [first]}
        left = [first.upper]
        while left:
            name = left.pop()
            for edge in edges:
                if edge.lower == name and edge.upper not in reached:
                    reached[edge.upper] = [*reached[name], edge]
                    left.append(edge.upper)
        if first.lower in reached:
            return reached[first.lower]
    return []


def _has_a_use(parts: Sequence[Connected], rule: Rule) -> bool:
    """Whether a record can keep all rules in which this one says something: false only if that is certain."""
    part = next(part for part in parts if rule.columns[0] in part.names)
    for c in range(len(part.outcome.classes)):
        try:
            if part.solve(_in_use(part.declared(c), rule)) is not None:
                return True
        except TooEntangledError:
            return True
    return False


def _in_use(domains: Domains, rule: Rule) -> Domains:
    """Where a rule says something: both columns known, or both sides true."""
    left = dict(domains)
    if isinstance(rule, Comparison):
        for name in rule.columns:
            left[name] = tuple(atom for atom in left[name] if atom is not MISSING)
        return left
    for condition in (*rule.left, rule.right):
        atoms = left[condition.column]
        left[condition.column] = tuple(atom for atom in atoms if condition.of(atom[0]))
    return left


def _needed(rules: Sequence[Rule], refused: Callable[[list[Rule]], bool]) -> list[Rule]:
    """Rules that are refused together, and not without any one of them."""
    kept = list(rules)
    for rule in rules:
        fewer = [other for other in kept if other is not rule]
        if refused(fewer):
            kept = fewer
    return kept


def _named(rules: Sequence[Rule]) -> str:
    """Each once, as it was written."""
    texts = list(dict.fromkeys(repr(rule.text) for rule in rules))
    return f"{'rule' if len(texts) == 1 else 'rules'} {listed(texts)}"
