"""cohortmix.core: pure computation; arrays and schemas in, arrays out; no files, no network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cohortmix.core.condensing import condense
    from cohortmix.core.data.schema import Schema
    from cohortmix.core.privacy.budget import Budget
    from cohortmix.core.synthesis import synthesize

__all__ = ["Budget", "Schema", "condense", "synthesize"]


_PLACES = {
    "Budget": "privacy.budget",
    "Schema": "data.schema",
    "condense": "condensing",
    "synthesize": "synthesis",
}


def __getattr__(name: str) -> Any:
    """The names of `__all__`, loaded when they are first used: the last one brings in JAX."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
