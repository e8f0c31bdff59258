"""Arguments: what a person passes in Python, checked before anything is read or spent.

A wrong one gets a sentence that says what was expected, what came and what to write instead. Otherwise it would
show only where it is used, after the budget is spent, or never: `accept_degraded="no"` counts as true.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes, listed

MOST_ROWS = 10_000_000
"""Records that one call draws at most. All of them are in memory at once: a million records of 23 columns take
1.1 GiB and a few minutes, so that ten million are what a large workstation holds. The limit is public, and is
looked at before anything is computed or spent."""


def require_kind(name: str, value: object, kind: type, cure: str) -> None:
    """Raise InputError unless the value is of this class; `cure` says what to write instead."""
    if not isinstance(value, kind):
        raise InputError(f"expected {name} to be a {kind.__name__}, got {kind_of(value)}; {cure}")


def require_truth(name: str, value: object) -> None:
    """Raise InputError unless the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"expected {name} to be True or False, got {kind_of(value)}")


def require_whole(name: str, value: object, least: int, most: int | None = None, reason: str = "") -> None:
    """Raise InputError unless the value is a whole number within bounds; `reason` says why not more."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"expected {name} to be a whole number, got {kind_of(value)}")
    value = int(value)
    if value < least:
        raise InputError(f"expected {name} to be at least {least}, got {name}={value}")
    if most is not None and value > most:
        raise InputError(f"expected {name} to be at most {most:,}, got {name}={value:,}; {reason}")


def require_share(name: str, value: object) -> None:
    """Raise InputError unless the value is a number in [0, 1]."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"expected {name} to be a number between 0 and 1, got {kind_of(value)}")
    if not 0 <= float(value) <= 1:
        raise InputError(f"expected {name} to be between 0 and 1, got {name}={float(value):g}")


def require_one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise InputError unless the value is one of these texts."""
    if not (isinstance(value, str) and value in choices):
        got = in_quotes(value) if isinstance(value, str) else kind_of(value)
        raise InputError(f"expected {name} to be {listed([in_quotes(one) for one in choices], 'or')}, got {got}")


def require_methods(name: str, value: object, methods: Sequence[str], cure: str) -> None:
    """Raise InputError unless the value has these attributes; `cure` says what to write instead."""
    if isinstance(value, type) or any(not hasattr(value, method) for method in methods):
        raise InputError(f"expected {name} to have {listed(methods)}, got {kind_of(value)}; {cure}")


def kind_of(value: object) -> str:
    """The name of a value's class; never the value, which may be from a record."""
    return type(value).__name__
