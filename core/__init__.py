"""cohortmix.core: pure computation; arrays and schemas in, arrays out; no files, no network."""

from typing import TYPE_CHECKING, Any

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget

if TYPE_CHECKING:
    from cohortmix.core.synthesis import synthesize

__all__ = ["Budget", "Schema", "synthesize"]


def __getattr__(name: str) -> Any:
    """`synthesize` brings JAX along: it is imported when it is asked for."""
    if name == "synthesize":
        from cohortmix.core.synthesis import synthesize

        return synthesize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
