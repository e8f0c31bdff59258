"""Rule sets: random rules of a small schema, and what they say, worked out by looking at all of its records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from hypothesis import strategies as st

NAN = float("nan")
SMALL = """
name: t
target: y
columns:
  a: {type: number, min: 0, max: 3, integer: true}
  b: {type: number, min: 1, max: 4, integer: true, missing: true}
  c: {type: number, min: 0.5, max: 2.5, decimals: 1, knots: 4}
  d: {type: category, values: [p, q, r], missing: true}
  y: {type: category, values: [s, t]}
rules:
"""
DOMAIN: dict[str, list[float]] = {
    "a": [0, 1, 2, 3],
    "b": [1, 2, 3, 4, NAN],
    "c": [round(0.5 + i / 10, 1) for i in range(21)],
    "d": [0, 1, 2, NAN],
    "y": [0, 1],
}
NAMES = {"d": ["p", "q", "r"], "y": ["s", "t"]}


@dataclass(frozen=True)
class Side:
    """A condition, and what it says of a value, by itself."""

    column: str
    sign: str
    value: float

    def __str__(self) -> str:
        if self.sign in ("missing", "known"):
            return f"{self.column} {self.sign}"
        value = NAMES[self.column][int(self.value)] if self.column in NAMES else f"{self.value:g}"
        return f"{self.column}{self.sign}{value}"

    def says(self, record: dict[str, float]) -> bool | None:
        x = record[self.column]
        if self.sign in ("missing", "known"):
            return (x != x) == (self.sign == "missing")
        if x != x:
            return None
        v = self.value
        return {"=": x == v, "!=": x != v, "<": x < v, "<=": x <= v, ">": x > v, ">=": x >= v}[self.sign]


@st.composite
def sides(draw: Any) -> Side:
    column = draw(st.sampled_from(["a", "b", "c", "d", "y"]))
    signs = ["=", "!="] if column in NAMES else ["=", "!=", "<", "<=", ">", ">="]
    sign = draw(st.sampled_from(signs + (["missing", "known"] if column in "bd" else [])))
    return Side(column, sign, draw(st.sampled_from([v for v in DOMAIN[column] if v == v])))


comparisons = st.tuples(st.sampled_from(["a<b", "b<=a", "a<=c", "c<b", "b<c", "c<=a", "b<a"]))
implications = st.tuples(st.lists(sides(), min_size=1, max_size=2), sides())
rule_sets: Any = st.lists(comparisons | implications, min_size=1, max_size=4)


def text_of(rule: Any) -> str:
    return str(rule[0]) if len(rule) == 1 else " and ".join(map(str, rule[0])) + f" -> {rule[1]}"


def orders(rules: Any) -> set[tuple[str, str, bool]]:
    """Comparisons and what follows from them."""
    found = {(rule[0][0], rule[0][-1], "=" not in rule[0]) for rule in rules if len(rule) == 1}
    for _ in range(4):
        found |= {(x, v, s or t) for x, y, s in found for u, v, t in found if y == u and x != v}
    return found


def keeps(record: dict[str, float], rules: Any, closed: set[tuple[str, str, bool]]) -> bool:
    for low, high, strict in closed:
        if record[low] > record[high] or (strict and record[low] == record[high]):
            return False
    both = (rule for rule in rules if len(rule) == 2)
    return not any(
        all(side.says(record) is True for side in left) and right.says(record) is False for left, right in both
    )


def uses(record: dict[str, float], rule: Any) -> bool:
    if len(rule) == 1:
        return all(record[name] == record[name] for name in (rule[0][0], rule[0][-1]))
    return all(side.says(record) is True for side in (*rule[0], rule[1]))


def all_records() -> Iterator[dict[str, float]]:
    return (dict(zip(DOMAIN, values, strict=True)) for values in product(*DOMAIN.values()))
