"""Numbers and lists as a reader expects them in a sentence or a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "site"), count(4689, "patient")
    ('1 site', '4,689 patients')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: int) -> str:
    """A time in the largest unit of which it is a whole number.

    >>> duration(7 * 86_400), duration(36 * 3600), duration(60), duration(90)
    ('7 days', '36 hours', '1 minute', '90 seconds')
    """
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return count(seconds // length, unit)
    return count(seconds, "second")


def listed(names: Sequence[str]) -> str:
    """Names in a row.

    >>> listed(["UK", "ITAL", "NORW"])
    'UK, ITAL and NORW'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def some(names: Sequence[str], most: int = 12) -> str:
    """Names in a row; of many the first ones, and how many more there are.

    >>> some(["UK", "ITAL", "NORW"]), some(["UK", "ITAL", "NORW"], most=2)
    ('UK, ITAL and NORW', 'UK, ITAL and 1 more')
    """
    return listed(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most:,} more"


def reduced(names: Sequence[str], sites: int) -> str:
    """What it means that these of a study's sites are reduced to class centroids.

    >>> reduced(["NORW"], 8).split(": ")[0]
    'Reduced to class centroids (1 of 8 sites)'
    """
    known = (
        "how often each value occurs in a class of the outcome, but not which values go together in one patient"
    )
    others = (
        "No site has told that, so the columns of the pooled records are related through the outcome alone."
        if len(names) == sites
        else "In the pooled records that is taken from the other sites."
    )
    return (
        f"Reduced to class centroids ({len(names)} of {count(sites, 'site')}): {some(names)}. There were too few "
        f"patients for more at this budget, or round 2 was missed. Of such a site one knows {known}. {others}"
    )


def digits(value: float) -> str:
    """Three significant digits, trailing zeros among them.

    >>> digits(1.0), digits(0.26805), digits(123.4)
    ('1.00', '0.268', '123')
    """
    return f"{value:#.3g}".removesuffix(".")


def percent(share: float, places: int = 1) -> str:
    """A share of one as a percentage.

    >>> percent(0.0843)
    '8.4\\xa0%'
    """
    return f"{100 * share:.{places}f}\u00a0%"


def at_most(share: float) -> str:
    """An upper bound on a share of one, as a percentage: rounded up.

    >>> at_most(0.0843), at_most(0.05)
    ('8.5\\xa0%', '5.0\\xa0%')
    """
    return f"{ceil(1000 * share - 1e-9) / 10:.1f}\u00a0%"


def power_of_ten(value: float) -> str:
    """A small number with two significant digits.

    >>> power_of_ten(1e-5), power_of_ten(2.13e-5)
    ('10⁻⁵', '2.1\\xa0×\\xa010⁻⁵')
    """
    mantissa, power = f"{value:.1e}".split("e")
    times = "" if mantissa == "1.0" else f"{float(mantissa):g}\u00a0×\u00a0"
    return f"{times}10{str(int(power)).translate(_SUPERSCRIPT)}"
