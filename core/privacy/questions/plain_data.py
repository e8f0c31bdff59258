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
        raise TypeError(f"expected integers and tuples in a {type(question).__name__}, a frozen description")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of this type exactly, and all that it holds is of the types that its fields declare."""
    if kind is int:
        return type(value) is int
    if get_args(kind):  # (T, ...) of a tuple[T, ...]
        return type(value) is tuple and all(_is(part, get_args(kind)[0]) for part in value)
    declared = [get_type_hints(kind)[field.name] for field in fields(kind)]
    return type(value) is kind and all(map(_is, parts(value), declared))


def require_maps(maps: Iterable[tuple[int, tuple[int, ...]]], sizes: tuple[int, ...]) -> None:
    """Raise ValueError unless each (feature, image of each of its cells) fits features of so many cells."""
    if any(not 0 <= column < len(sizes) or len(images) != sizes[column] for column, images in maps):
        raise ValueError(f"the question maps other cells than the schema has; its features have {sizes} cells")


def require_least(least: int, what: str, numbers: Iterable[int]) -> None:
    """Raise ValueError for a number below `least`."""
    if any(number < least for number in numbers):
        raise ValueError(f"expected {what} of {least} or more")
