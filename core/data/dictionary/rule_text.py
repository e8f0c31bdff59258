"""Rule texts: the rules of a schema as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from math import inf, nextafter
from typing import NamedTuple

from cohortmix.core.data.cell import category_text, number_of, whole_text
from cohortmix.core.data.dictionary.columns import Category, Column, Date
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.dictionary.rules import (
    Comparison,
    Condition,
    Implication,
    Interval,
    Rule,
    at_least,
    declared,
)

EXAMPLES = "such as `DBP < SBP`, `PREGNANT=yes -> SEX=F` or `AGE < 18 and SEX=F -> WARD=A|B`"
ORDERS = ("<=", ">=", "<", ">")
STATES = {"missing": ((), True), "known": (((-inf, inf),), False)}
_TOKEN = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|(->|<=|>=|!=|[<>=|])|((?:(?!->|!=)[^\s<>=|'"])+))""")


class Token(NamedTuple):
    """A part of a rule: an operator, a word, or a text in quotes, which is never a word of the language."""

    text: str
    kind: str


def parse(text: str, columns: Mapping[str, Column]) -> Rule:
    """One rule of these columns.

    Raises
    ------
    ValueError
        With the rule, what was expected and what came.
    """
    try:
        return _rule(text, list(_tokens(text)), columns)
    except ValueError as error:
        raise ValueError(f"rule {text!r}: {error}") from None


def _rule(text: str, tokens: list[Token], columns: Mapping[str, Column]) -> Rule:
    sides = list(_split(tokens, "->", "operator"))
    if len(sides) == 1:
        return _comparison(text, tokens, columns)
    if len(sides) > 2:
        raise ValueError("expected one `->`; write a rule for each")
    left, right = (list(_split(side, "and", "word")) for side in sides)
    if len(right) > 1:
        raise ValueError("expected one condition behind `->`; write a rule for each")
    return Implication(tuple(_condition(part, columns) for part in left), _condition(right[0], columns), text)


def _tokens(text: str) -> Iterator[Token]:
    at, text = 0, text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"expected a comparison or an implication, {EXAMPLES}")
        one, two, operator, word = found.groups()
        quoted = one if one is not None else two
        yield Token(*((quoted, "quoted") if quoted is not None else (operator or word, _kind(operator))))
        at = found.end()


def _kind(operator: str | None) -> str:
    return "word" if operator is None else "operator"


def _split(tokens: list[Token], at: str, kind: str) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token == (at, kind):
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _comparison(text: str, tokens: list[Token], columns: Mapping[str, Column]) -> Comparison:
    """Of two columns, of numbers or of dates."""
    left, operator, right = _around(tokens)
    if operator not in ORDERS:
        raise ValueError(f"expected a comparison of two columns or an implication, {EXAMPLES}")
    names = [_name(left, columns), _name(right, columns)]
    kinds = [declared(columns, name).type for name in names]
    for name, kind in zip(names, kinds, strict=True):
        if kind == "category":
            raise ValueError(f"{name!r} is a category; compare two numbers or two dates")
    if kinds[0] != kinds[1]:
        raise ValueError(f"{names[0]!r} is a {kinds[0]} and {names[1]!r} a {kinds[1]}; compare two of one type")
    if names[0] == names[1]:
        raise ValueError(f"{names[0]!r} is compared with itself")
    lower, upper = names if operator.startswith("<") else reversed(names)
    return Comparison(lower, upper, len(operator) == 1, text)


def _around(tokens: list[Token]) -> tuple[list[Token], str, list[Token]]:
    """What stands before the first operator, the operator, and what stands behind it."""
    for at, token in enumerate(tokens):
        if token.kind == "operator":
            return tokens[:at], token.text, tokens[at + 1 :]
    return tokens, "", []


def _condition(tokens: list[Token], columns: Mapping[str, Column]) -> Condition:
    left, operator, right = _around(tokens)
    if not operator and len(left) > 1 and left[-1].kind == "word" and left[-1].text in STATES:
        return _state(_name(left[:-1], columns), left[-1].text, columns)
    if operator in ("", "|"):
        raise ValueError(f"expected a condition such as `SEX=F`, `AGE>=18` or `LAB missing`, {EXAMPLES}")
    name = _name(left, columns)
    column = declared(columns, name)
    if operator in ORDERS:
        return Condition(name, _beyond(name, column, operator, _text(right)))
    values = [_value(name, column, _text(part)) for part in _split(right, "|", "operator")]
    inside = tuple((value, value) for value in sorted(set(values)))
    return Condition(name, inside if operator == "=" else tuple(_others(inside)))


def _state(name: str, state: str, columns: Mapping[str, Column]) -> Condition:
    if not declared(columns, name).missing:
        raise ValueError(f"{name!r} is never missing; write `missing: true` for it, or leave the rule out")
    return Condition(name, *STATES[state])


def _name(tokens: list[Token], columns: Mapping[str, Column]) -> str:
    name = _text(tokens)
    declared(columns, name)
    return name


def _text(tokens: list[Token]) -> str:
    if not tokens or any(token.kind == "operator" for token in tokens):
        raise ValueError(f"expected a name or a value on both sides of a sign, {EXAMPLES}")
    return " ".join(token.text for token in tokens)


def _beyond(name: str, column: Column, operator: str, text: str) -> tuple[Interval, ...]:
    """The values on one side of a number or a date."""
    if isinstance(column, Category):
        raise ValueError(f"{name!r} is a category; its values have no order, name some with `=`")
    value = _number(name, column, text)
    if operator.startswith("<"):
        return ((-inf, value if operator == "<=" else nextafter(value, -inf)),)
    return ((value if operator == ">=" else nextafter(value, inf), inf),)


def _others(inside: Iterable[Interval]) -> Iterator[Interval]:
    """All values but these, in their order."""
    low = -inf
    for value, _ in inside:
        yield low, nextafter(value, -inf)
        low = nextafter(value, inf)
    yield low, inf


def _value(name: str, column: Column, text: str) -> float:
    """A declared value of a category by its place; a number or a date as it is."""
    if not isinstance(column, Category):
        value = _number(name, column, text)
        if value != at_least(column, value):
            raise ValueError(f"{name!r} is not recorded so finely that it could be {text}")
        return value
    read = category_text(text)
    forms = (read, whole_text(read) if column.numeric else None, read.lower() if column.holds_truth else None)
    places = {category_text(value): place for place, value in enumerate(column.values)}
    found = next((places[form] for form in forms if form in places), None)
    if found is None:
        raise ValueError(f"{text!r} is not one of the values of {name!r}")
    return float(found)


def _number(name: str, column: Column, text: str) -> float:
    """A number or the ordinal of a day, within the bounds of the column."""
    if isinstance(column, Date):
        try:
            value = float(date.fromisoformat(text).toordinal())
        except ValueError:
            raise ValueError(f"expected a day such as 2027-01-31 for {name!r}, got {text!r}") from None
    else:
        value = number_of(text)
    low, high = bounds(column)  # type: ignore[arg-type]  # of a number or a date
    if not low <= value <= high:
        if value != value:
            raise ValueError(f"expected a number for {name!r}, got {text!r}")
        raise ValueError(f"{text} lies outside of the bounds of {name!r}")
    return value
