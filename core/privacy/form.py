"""Forms: what a query may hold, checked before anything is paid.

Whoever chose it, a query has to be data down to its integers, and to fit the schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cohortmix.core.privacy.query import (
    Block,
    ClassMoment,
    Coordinate,
    LevelMoment,
    LevelSum,
    MomentQuery,
    Query,
    SumQuery,
    parts,
)

FORMS: dict[type, tuple[object, ...]] = {  # of each field in order; (form,) is a tuple of any length
    Block: (int, (int,), int),
    Coordinate: (int, (int,)),
    SumQuery: ((Block,), int, int),
    MomentQuery: (((int,),),),
    LevelSum: ((Coordinate,), int, int, int),
    LevelMoment: ((Coordinate,), int, int),
    ClassMoment: ((Coordinate,), ((int,),), int, int, int, int),
}


def check_query(query: object, kind: type[Query], sizes: tuple[int, ...]) -> None:
    """Raise unless a query is data down to its integers, and maps every cell of the features that it names.

    A subclass could carry code, and a cell without a slot or level would show itself as an error, only for a
    record that has it.

    Parameters
    ----------
    sizes : number of fine cells of each feature.

    Raises
    ------
    TypeError
        If it is another kind of query, or holds anything but what `FORMS` says.
    ValueError
        If an integer is out of range, or the schema has other cells.
    """
    if type(query) is not kind:
        raise TypeError(f"expected a {kind.__name__}, got {type(query).__name__}; queries are frozen descriptions")
    if not _has_form(query, kind):
        raise TypeError(f"expected integers and tuples in a {kind.__name__}; queries are frozen descriptions")
    maps = list(_maps(query))
    if any(not 0 <= column < len(sizes) or len(of_cells) != sizes[column] for column, of_cells in maps):
        raise ValueError(f"the query maps other cells than the schema has; its features have {sizes} cells")
    if isinstance(query, SumQuery | MomentQuery) and any(slot < 0 for _, slots in maps for slot in slots):
        raise ValueError("slots are integers of 0 or more")
    if isinstance(query, ClassMoment) and {len(row) for row in query.directions} != {len(query.coordinates)}:
        raise ValueError("expected one direction or more, each with an integer for every coordinate")
    if any(weight < 1 for weight in _weights(query)) or (isinstance(query, LevelSum) and query.label_weight < 0):
        raise ValueError(
            "weights, divisor, radius and unit are integers above 0; of a LevelSum, label_weight may be 0"
        )


def _has_form(value: Any, form: Any) -> bool:
    if form == (int,):
        return type(value) is tuple and set(map(type, value)) <= {int}
    if isinstance(form, tuple):
        return type(value) is tuple and all(_has_form(each, form[0]) for each in value)
    if type(value) is not form or form is int:
        return type(value) is form
    return all(_has_form(part, of) for part, of in zip(parts(value), FORMS[form], strict=True))


def _maps(query: object) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each feature that is named, with what its cells are mapped to."""
    if isinstance(query, SumQuery):
        yield from ((block.column, block.slots) for block in query.blocks)
    elif isinstance(query, MomentQuery):
        yield from enumerate(query.groups)
    elif isinstance(query, LevelSum | LevelMoment | ClassMoment):
        yield from ((coordinate.column, coordinate.levels) for coordinate in query.coordinates)


def _weights(query: object) -> tuple[int, ...]:
    """What must be above 0."""
    if isinstance(query, SumQuery):
        return (query.label_weight, query.unit, *(block.weight for block in query.blocks))
    if isinstance(query, ClassMoment):
        return (query.divisor, query.radius, query.label_weight, query.unit)
    return (query.radius, query.unit) if isinstance(query, LevelSum | LevelMoment) else ()
