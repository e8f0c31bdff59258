"""Suggestions: what the names of columns alone say about columns of one measurement, for a draft of a schema.

`HR_min`, `HR_mean` and `HR_max` are missing together, and none of them is below the first. `with` and `after` in a
schema say so, but few people know of these keys. A draft therefore writes them where names imply them, on lines
that a person has to confirm. No value of a record is looked at: what holds in the records is not public, and a
rule that happens to hold in them need not hold in all patients.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cohortmix.core.data.words import some

MINIMUM, MAXIMUM = "minimum", "maximum"
SUMMARIES = {
    "min": MINIMUM, "minimum": MINIMUM, "lowest": MINIMUM,
    "max": MAXIMUM, "maximum": MAXIMUM, "highest": MAXIMUM,
    "mean": "mean", "avg": "mean", "average": "mean",
    "median": "median", "first": "first", "last": "last",
}  # fmt: skip
"""Words for what sums up the values of one measurement."""
NOT_TOGETHER = frozenset({"count", "n", "num", "number", "sd", "std", "stddev", "var", "se", "sum", "total"})
"""Words for what is not missing together with them: a count is 0 where nothing was measured, and a standard
deviation is missing where there was one value."""
BETWEEN = (
    "mean",
    "median",
    "first",
    "last",
)  # what lies between minimum and maximum; of these none is the largest

EARLIER = (
    (("admission", "admitted", "admit", "adm"), ("discharge", "discharged", "disch")),
    (("birth", "born", "dob"), ("death", "died", "dod")),
    (("start", "started", "begin"), ("end", "ended", "stop", "stopped")),
    (("first", "earliest"), ("last", "latest")),
    (("entry", "in"), ("exit", "out")),
)
"""Words for the earlier and the later one of two dates; of numbers they say nothing, since a last weight may be
lower."""
OF_A_DATE = frozenset(
    {"date", "day", "dt", "time", "datetime", "of", "at", "on"}
)  # words that tell no dates apart

PRESSURES = ((("diastolic", "dia", "dbp"), ("systolic", "sys", "sbp")),)
NAMES_OF_PEOPLE = ("name",)  # a first name is not the first of a patient's names

Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Suggestion:
    """What a draft suggests for one column.

    Attributes
    ----------
    partner : for the key `with`; None for no suggestion.
    before : for the key `after`; None for no suggestion.
    why : one line, for the person who confirms it.
    """

    partner: str | None = None
    before: str | None = None
    why: str = ""


def suggested(types: Mapping[str, str]) -> dict[str, Suggestion]:
    """By column, what its name and those of the others imply; a column of which nothing follows is left out.

    Parameters
    ----------
    types : by column, in the order of the table, `number`, `date` or `category`; only columns that may be missing.
    """
    tokens = {name: _tokens(name) for name in types}
    found: dict[str, Suggestion] = {}
    for measurement in _measurements(tokens):
        found |= _of_measurement(measurement, types)
    dates = [name for name, kind in types.items() if kind == "date"]
    for first, second in _pairs(dates, {name: _without(tokens[name], OF_A_DATE) for name in dates}, EARLIER):
        if found.get(second, Suggestion()).before is None:  # minimum and maximum have said it already
            found[second] = _later(found.get(second, Suggestion()), first)
    for low, high in _pairs(_single_readings(types, tokens), tokens, PRESSURES):
        why = f"with {low}: one reading gives both; after {low}: a systolic pressure is never below it"
        found[high] = Suggestion(low, low, why)
    return found


def repeated(types: Mapping[str, str]) -> dict[str, str]:
    """By the first column of a series such as `sbp_1, sbp_2`, one line on `with`, which the names do not imply.

    A second reading may be missing where the first one is there: a person has to know.
    """
    series: dict[Tokens, list[str]] = defaultdict(list)
    for name, kind in types.items():
        tokens = _tokens(name)
        if kind == "number" and len(tokens) > 1 and tokens[-1].isdecimal():
            series[tokens[:-1]].append(name)
    return {
        names[
            0
        ]: f"if {some(names, 3)} are always taken together, write `with` and the name of the first in the others"
        for names in series.values()
        if len(names) > 1
    }


def _single_readings(types: Mapping[str, str], tokens: Mapping[str, Tokens]) -> list[str]:
    """Numbers that sum up nothing: the means of two pressures need not be of the same readings."""
    sums = {*SUMMARIES, *NOT_TOGETHER}
    return [name for name, kind in types.items() if kind == "number" and sums.isdisjoint(tokens[name])]


def _measurements(tokens: Mapping[str, Tokens]) -> Iterator[dict[str, str]]:
    """Columns that sum up one measurement: for each of `SUMMARIES` the column."""
    by_stem: dict[Tokens, list[tuple[str, str]]] = defaultdict(list)
    for name, words in tokens.items():
        for stem, summary in _stems(words):
            by_stem[stem].append((summary, name))
    for columns in by_stem.values():
        summaries = dict(columns)
        if (
            len(summaries) == len(columns) > 1
        ):  # with two columns of one kind, names do not say what belongs together
            yield summaries


def _stems(words: Tokens) -> Iterator[tuple[Tokens, str]]:
    """What is measured and how it is summed up; nothing where both ends of a name, or neither, say so."""
    at_ends = [at for at in (0, len(words) - 1) if words and words[at] in SUMMARIES]
    if len(words) > 1 and len(at_ends) == 1:
        at = at_ends[0]
        stem = (*words[:at], *words[at + 1 :])
        if stem[-1:] != NAMES_OF_PEOPLE:
            yield stem, SUMMARIES[words[at]]


def _of_measurement(columns: Mapping[str, str], types: Mapping[str, str]) -> Iterator[tuple[str, Suggestion]]:
    leader = next(name for name in types if name in columns.values())
    order = _order({kind: name for kind, name in columns.items() if types[name] != "category"}, types)
    for kind, name in columns.items():
        partner, before = leader if name != leader else None, order.get(name)
        why = [f"with {partner}: summaries of one measurement are missing together"] if partner else []
        why += [f"after {before}: this {kind} is never below it"] if before else []
        if why:
            yield name, Suggestion(partner, before, "; ".join(why))


def _order(columns: Mapping[str, str], types: Mapping[str, str]) -> dict[str, str]:
    """By column, the one that it is never below, of the same type; columns by their kind of summary."""
    lowest, highest = columns.get(MINIMUM), columns.get(MAXIMUM)
    between = [columns[kind] for kind in BETWEEN if kind in columns]
    pairs: list[tuple[str | None, str | None]] = [(name, lowest) for name in between]
    # A column has one `after`: the maximum is put above one of those between, and so above the minimum as well.
    pairs += [(highest, below) for below in (*between[:1], lowest)]
    order: dict[str, str] = {}
    for later, earlier in pairs:
        if later is not None and earlier is not None and types[later] == types[earlier]:
            order.setdefault(later, earlier)
    return order


def _later(already: Suggestion, first: str) -> Suggestion:
    order = f"after {first}: of these two dates, this is the later one by its name"
    return Suggestion(already.partner, first, f"{already.why}; {order}" if already.why else order)


def _pairs(
    names: Iterable[str], tokens: Mapping[str, Tokens], words: Sequence[tuple[Tokens, Tokens]]
) -> Iterator[tuple[str, str]]:
    """The columns whose names differ in one word alone, which stands in both of a pair of `words`."""
    columns: dict[tuple[int, Tokens], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for name in names:
        places = [
            (number, side, at)
            for at, word in enumerate(tokens[name])
            for number, pair in enumerate(words)
            for side in (0, 1)
            if word in pair[side]
        ]
        if len(places) == 1:
            number, side, at = places[0]
            rest = (*tokens[name][:at], *tokens[name][at + 1 :])
            columns[number, rest][side].append(name)
    for low, high in columns.values():
        if len(low) == len(high) == 1:
            yield low[0], high[0]


def _tokens(name: str) -> Tokens:
    """The words of a name in lower case: `maxHeart-rate` has three, and so has `max_heart_rate`.

    >>> _tokens("maxHeart-rate"), _tokens("HRMin"), _tokens("sbp_1"), _tokens("HbA1c")
    (('max', 'heart', 'rate'), ('hr', 'min'), ('sbp', '1'), ('hb', 'a1c'))
    """
    parts = re.split(r"[\W_]+|(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])", name)
    return tuple(part.lower() for part in parts if part)


def _without(words: Tokens, generic: frozenset[str]) -> Tokens:
    """A name without its generic words, also where they are written together with another, as in `admittime`."""
    short = (re.sub(r"(?<=.)(?:datetime|date|time)$", "", word) for word in words if word not in generic)
    return tuple(short)
