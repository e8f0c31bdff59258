"""How many groups all columns together may have: public, and the same at the sites and between them.

The second moment (answer B) has a number for each class and each pair of groups, so their number is limited by
what a site can hold, sign and send. Both sides need the same limit: groups beyond what the sites accept would be
found out in round 2, when round 1 is paid for.
"""

from __future__ import annotations

from math import isqrt

from cohortmix.core.encoding import Cells, Encoding
from cohortmix.core.schema import Category

MAX_GROUPS = 2000
"""Most groups of all columns together."""

MAX_PAIRS = 48_000_000
"""Most numbers of answer B: 11 bytes for each are 528 MB, and a step of a site's ledger holds 537 MB. This is less
than MAX_GROUPS only from 24 classes on."""


def most_groups_together(encoding: Encoding) -> int:
    """The most groups that all features together may have."""
    return min(MAX_GROUPS, isqrt(2 * MAX_PAIRS // encoding.label.size))


def fewest_groups(cells: Cells) -> int:
    """The fewest groups of a feature that say anything: two, and the slot of a number's missing values."""
    return min(cells.size, 2 if isinstance(cells.column, Category) or cells.missing < 0 else 3)


def fits_pairs(encoding: Encoding) -> bool:
    """Whether any grouping within the limit says anything of every feature."""
    return sum(map(fewest_groups, encoding.features)) <= most_groups_together(encoding)
