"""Outcome: what the patients of a release are divided by; its classes are public, and every record is in one.

The classes of a category are its values. A number has slices, which are intervals of its declared range; a time to
an event has a class for each event and slice of time; a table without a target has one class for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from math import ceil
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

from cohortmix.core.data.cell import category_text
from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.dictionary.grid import cuts, edges_of, limits

SLICES = 4  # of a number or a time that declares no `slices`
EVERYBODY = "all"  # the one class of a table without a target
EXAMPLE = "such as {time: DAYS, event: DEATH}"
UNDECIDED = "?"  # in a draft
HAPPENED = ("1", "true", "yes")  # what an event that happened is called where a schema does not say


@dataclass(frozen=True)
class Survival:
    """How long a patient was followed, and whether the event ended it or the patient left before (censored).

    Attributes
    ----------
    time : a number column, above zero.
    event : a category column.
    happened : the value of `event` that says that it happened; every other one is censored, for an analysis of
        this event. The schema may leave it out where the values are no and yes, 0 and 1, or truth values.
    """

    time: str
    event: str
    happened: str | None = None

    def __str__(self) -> str:
        return f"{self.time}, {self.event}"


def _as_target(value: object) -> object:
    """A column's name, nothing, or the keys of `Survival`."""
    if value in ("", UNDECIDED):
        raise ValueError(f"choose the outcome: a column, a time and its event, {EXAMPLE}, or null for none")
    if value is None or isinstance(value, str | Survival):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"expected the name of a column, null, or a time and an event, {EXAMPLE}")
    unknown = [str(key) for key in value if key not in ("time", "event", "happened")]
    if unknown or not {"time", "event"} <= set(value):
        raise ValueError(f"expected the keys time and event, and perhaps happened, {EXAMPLE}")
    if not all(isinstance(value[key], str) for key in ("time", "event")):
        raise ValueError("expected the name of a column behind time and behind event")
    happened = value.get("happened")
    if happened is not None and not isinstance(happened, bool | int | str):
        raise ValueError("expected one of the event's values behind happened")
    return Survival(value["time"], value["event"], None if happened is None else category_text(happened))


def _as_plain(target: str | Survival | None) -> str | dict[str, str] | None:
    """As it is written."""
    if not isinstance(target, Survival):
        return target
    return {key: text for key, text in asdict(target).items() if text is not None}


Target = Annotated[str | Survival | None, PlainValidator(_as_target), PlainSerializer(_as_plain)]
"""What a schema writes: a category or number column, `{time: COLUMN, event: COLUMN}`, or null."""


@dataclass(frozen=True)
class Outcome:
    """The classes that a target makes.

    Attributes
    ----------
    columns : what a record's class is read from; the first divides the classes before the second does.
    slices : for each of them the part to which each of its cells belongs, 0, 1, ...
    classes : a name for each of the C combinations of parts.
    told : the column whose value the class alone tells, and which is no feature; None of a number or of nothing.
    survival : the time and the event, with `happened` filled in; None of any other target.
    """

    columns: tuple[str, ...]
    slices: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    told: str | None
    survival: Survival | None = None

    @classmethod
    def of(cls, target: str | Survival | None, columns: Mapping[str, Column]) -> Outcome:
        """Of the columns that a schema declares.

        Raises
        ------
        ValueError
            If the target is no such column, may be missing, or makes fewer than two classes.
        """
        if target is None:
            return cls((), (), (EVERYBODY,), None)
        if isinstance(target, Survival):
            return cls._of_survival(target, columns)
        column = _declared(target, columns, "target", (Category, Number))
        if isinstance(column, Category):
            if len(column.values) < 2:
                raise ValueError(f"target={target!r} declares one class; declare at least two")
            return cls((target,), (_own(column),), column.values, target)
        slices, names = _slices(column)
        if len(names) < 2:
            raise ValueError(f"target={target!r} has one slice; declare `slices` within its bounds")
        return cls((target,), (slices,), names, None)

    @classmethod
    def _of_survival(cls, target: Survival, columns: Mapping[str, Column]) -> Outcome:
        event = _declared(target.event, columns, "event", (Category,))
        time = _declared(target.time, columns, "time", (Number,))
        assert isinstance(event, Category)
        assert isinstance(time, Number)
        if time.min <= 0:
            raise ValueError(f"time={target.time!r} needs min above 0, got min={time.min:g}")
        if len(event.values) < 2:
            raise ValueError(f"event={target.event!r} declares one value; declare one for those without it too")
        slices, names = _slices(time)
        classes = tuple(f"{value}, {name}" for value, name in product(event.values, names))
        happened = Survival(target.time, target.event, _happened(target, event))
        return cls((target.event, target.time), (_own(event), slices), classes, target.event, happened)

    def places_told(self, column: Column) -> NDArray[np.float64]:
        """(C,) of each class the value of the column that it tells, by its place among the declared ones."""
        assert isinstance(column, Category)
        return np.repeat(np.arange(len(column.values), dtype=float), len(self.classes) // len(column.values))

    def example(self, number: int, columns: Mapping[str, Column]) -> dict[str, str]:
        """A value of each of the outcome's columns, as a text, that a record of this class can have."""
        values = {}
        for name, slices in zip(reversed(self.columns), reversed(self.slices), strict=True):
            number, part = divmod(number, max(slices) + 1)
            column: Any = columns[name]
            cell = slices.index(part)
            values[name] = column.values[cell] if isinstance(column, Category) else _first(column, cell)
        return values

    def possible(self, name: str, size: int) -> NDArray[np.bool_] | None:
        """(C, size) in which cells of a feature a record of each class can be; None if in all of them."""
        if name not in self.columns or name == self.told:
            return None
        slices = np.asarray(self.slices[self.columns.index(name)])
        own = np.arange(len(self.classes)) % (slices.max() + 1)  # the column stands last
        return np.asarray(own[:, None] == slices[:size])


def _first(column: Number, cell: int) -> str:
    """The smallest value in a cell of a number."""
    low = edges_of(column)[cell - 1] if cell else limits(column)[0]
    return repr(ceil(low)) if column.integer else repr(low)


def _declared(name: str, columns: Mapping[str, Column], key: str, types: tuple[type, ...]) -> Any:
    column = columns.get(name)
    if column is None:
        raise ValueError(f"{key}={name!r} is not one of the columns; name one of them")
    if not isinstance(column, types):
        wanted = " or a ".join(kind.__name__.lower() for kind in types)
        raise ValueError(f"{key}={name!r} has type {column.type}; it must be a {wanted} column")
    if column.missing:
        unknown = "declare a class for unknown outcomes"
        cure = unknown if isinstance(column, Category) else "leave patients without it out"
        raise ValueError(f"{key}={name!r} may not be missing; {cure}")
    return column


def _own(column: Category) -> tuple[int, ...]:
    """Every value is a part by itself."""
    return tuple(range(len(column.values)))


def _slices(column: Number) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The slice of each cell of a number, and the slices' names: between declared cuts, or between usual ones."""
    edges = np.asarray(edges_of(column))
    usual = column.slices is None and len(edges)
    begins = {int(np.abs(edges - cut).argmin()) for cut in _usual_cuts(column)} if usual else set()
    begins |= set(np.flatnonzero(np.isin(edges, cuts(column))).tolist())
    slice_of = np.concatenate([[0], np.isin(np.arange(len(edges)), sorted(begins)).cumsum()])
    ends = [limits(column)[0], *(float(edges[at]) for at in sorted(begins)), limits(column)[1]]
    short, exact = ([_name(column, *ends, digits) for ends in pairwise(ends)] for digits in (6, 17))
    return tuple(slice_of.tolist()), tuple(short if len(set(short)) == len(short) else exact)


def _usual_cuts(column: Number) -> NDArray[np.float64]:
    """SLICES equal steps on a scale that suits times, stays and most measurements: they are skewed to the right.

    That of the square root of the distance from zero, or log(1 + x) where the column declares it.
    """
    low, high = limits(column)
    if column.transform == "log1p":
        return np.expm1(np.linspace(np.log1p(low), np.log1p(high), SLICES + 1)[1:-1])
    first, last = (float(np.sign(end) * np.sqrt(abs(end))) for end in (low, high))
    root = np.linspace(first, last, SLICES + 1)[1:-1]
    return np.asarray(np.sign(root) * root**2)


def _name(column: Number, low: float, high: float, digits: int) -> str:
    """A slice holds its lower end, and all below the upper one; of whole numbers it holds both."""
    if not column.integer:
        return f"{low:.{digits}g} to {high:.{digits}g}"
    low, high = np.ceil(low), np.floor(high)
    return f"{low:.16g}" if low == high else f"{low:.16g} to {high:.16g}"


def _happened(target: Survival, event: Category) -> str:
    if target.happened is not None:
        if target.happened not in event.values:
            raise ValueError(f"happened={target.happened!r} is not one of the values of {target.event!r}")
        return target.happened
    known = [value for value in event.values if value.lower() in HAPPENED]
    if len(known) != 1 or len(event.values) != 2:
        raise ValueError(
            f"event={target.event!r}: which of its values says that the event happened? "
            "Write it behind `happened`, as in {time: DAYS, event: STATUS, happened: died}"
        )
    return known[0]
