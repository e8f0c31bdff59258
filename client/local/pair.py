"""The two tables of `evaluate`: synthetic records and real ones, not swapped, and not one table twice."""

from __future__ import annotations

import filecmp
from pathlib import Path

from cohortmix.client.table.data import is_synthetic
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes


def require_pair(synthetic: Path, real: Path) -> None:
    """Raise InputError for one table given twice, or for a release of ours in the place of the real records.

    Either would give figures that look excellent and say nothing. What cannot be read is left to its reader.
    """
    if _same(synthetic, real):
        raise InputError(
            f"--synthetic {in_quotes(synthetic)} and --real {in_quotes(real)} are the same table; give the "
            "synthetic records and the real ones"
        )
    if _is_synthetic(real):
        raise InputError(
            f"--real {in_quotes(real)} holds synthetic records, as its metadata says; are the two tables swapped?"
        )


def _is_synthetic(path: Path) -> bool:
    try:
        return is_synthetic(path)
    except InputError:
        return False


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return False
    if one.samefile(other):
        return True
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
