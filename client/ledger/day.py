"""The day that is written into a step of the ledger."""

from __future__ import annotations

from datetime import UTC, date, datetime


def today() -> date:
    """The day by this machine's clock, in UTC, so that all hospitals of a study write the same one."""
    return datetime.now(UTC).date()
