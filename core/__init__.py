"""cohortmix.core: pure computation; arrays and schemas in, arrays out; no files, no network."""

from typing import TYPE_CHECKING, Any

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget

if TYPE_CHECKING:
    from cohortmix.core.synthesis import synthesize

__all__ = ["Budget", "Schema", "synthesize"]


def __getattr__(name: str) -> Any:
    """The names of `__all__` that are loaded when they are first used."""
    if name == "synthesize":
        from cohortmix.core.synthesis import synthesize  # imported here: it brings in JAX

        return synthesize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
