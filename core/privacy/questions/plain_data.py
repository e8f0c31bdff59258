"""Plain data: what a question may be made of, checked before anything is paid.

Whoever chose it, a question has to be data down to its integers: a subclass could carry code. And it has to map
every cell of the features that it names: a cell without a slot or level would show itself as an error, only for a
record that has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_type_hints


def parts(value: Any) -> list[Any]:
    """The fields in their declared order, whatever the order in which they were set."""
    return [getattr(value, field.name) for field in fields(value)]


def require_plain(question: object) -> None:
    """Raise TypeError unless everything in a question is of exactly the type that its field declares."""
    if not _is(question, type(question)):
        raise TypeError(
            f"expected integers and tuples in a {type(question).__name__}; questions are frozen descriptions"
        )


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of this type exactly, and all that it holds is of the types that its fields declare."""
    inner = get_args(kind)[:1]  # (T,) of a tuple[T, ...], else nothing
    if inner == (int,):
        return type(value) is tuple and set(map(type, value)) <= {int}
    if inner:
        return type(value) is tuple and all(_is(part, inner[0]) for part in value)
    if type(value) is not kind or kind is int:
        return type(value) is kind
    declared = get_type_hints(kind)
    return all(_is(getattr(value, field.name), declared[field.name]) for field in fields(kind))


def require_maps(maps: Iterable[tuple[int, tuple[int, ...]]], sizes: tuple[int, ...]) -> None:
    """Raise ValueError unless each (feature, image of each of its cells) fits features of so many cells."""
    if any(not 0 <= column < len(sizes) or len(images) != sizes[column] for column, images in maps):
        raise ValueError(f"the question maps other cells than the schema has; its features have {sizes} cells")


def require_least(least: int, what: str, numbers: Iterable[int]) -> None:
    """Raise ValueError for a number below `least`."""
    if any(number < least for number in numbers):
        raise ValueError(f"expected {what} of {least} or more")
