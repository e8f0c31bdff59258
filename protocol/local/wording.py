"""How numbers and facts are written for a reader, in a sentence or a table, on a terminal or in a report.

How names are written is in `core/data/words.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from cohortmix.core.data.words import in_quotes, listed, some
from cohortmix.protocol.overlap import Overlap

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


def overlap_in_words(overlap: Overlap) -> str:
    """What a study declares about patients of several sites, as a statement.

    >>> overlap_in_words("disjoint"), overlap_in_words(2)
    ('no patient has records at two sites', 'no patient has records at more than 2 sites')
    """
    if overlap == "disjoint":
        return "no patient has records at two sites"
    if overlap == "unknown":
        return "a patient can have records at every site"
    return f"no patient has records at more than {count(overlap, 'site')}"


def reduced(names: Sequence[str], sites: int) -> str:
    """What it means for the pooled records that some of a study's sites gave class centroids only.

    Parameters
    ----------
    names : these sites.
    sites : how many sites the study has.

    >>> reduced(["NORW"], 8).split(": ")[0]
    'Reduced to class centroids (1 of 8 sites)'
    """
    others = (
        "No site tells that, so the columns of the pooled records are related through the outcome at most."
        if len(names) == sites
        else "In the pooled records that is taken from the other sites."
    )
    return (
        f"Reduced to class centroids ({len(names)} of {count(sites, 'site')}): {some(names)}. There were too few "
        "patients for more at this budget, or round 2 was missed. Such a site tells how often each value occurs "
        f"(in each class of the outcome, if there is one), but not which values go together in one patient. "
        f"{others}"
    )


def asked_of_points(constraints: Sequence[str]) -> str:
    """What a study asks of inducing points, and that nobody pays for it.

    >>> asked_of_points(["drift<=0.1"])
    "inducing points have to keep 'drift<=0.1': that is computed from noised answers alone, and costs no privacy"
    """
    kept = listed([in_quotes(text) for text in constraints])
    return f"inducing points have to keep {kept}: that is computed from noised answers alone, and costs no privacy"


def digits(value: float) -> str:
    """Three significant digits, trailing zeros among them; from a thousand on, the whole number.

    >>> digits(0.26805), digits(1.0), digits(79.96), digits(999.6), digits(1234.5), digits(0.0)
    ('0.268', '1.00', '80.0', '1,000', '1,234', '0')
    """
    if not value or value >= 999.5:  # which would round to 1.00e+03
        return f"{value:,.0f}"
    return f"{value:#.3g}".removesuffix(".")


def percent(share: float, places: int = 1) -> str:
    """A share of one as a percentage; a space that does not break keeps the sign with its number.

    >>> percent(0.0843), percent(0.25, 0)
    ('8.4\\xa0%', '25\\xa0%')
    """
    return f"{100 * share:.{places}f}\u00a0%"


def at_most(share: float) -> str:
    """An upper bound on a share of one, as a percentage: rounded up.

    >>> at_most(0.0843), at_most(0.05)
    ('8.5\\xa0%', '5.0\\xa0%')
    """
    return f"{ceil(1000 * share - 1e-9) / 10:.1f}\u00a0%"


def whole_percent(share: float) -> str:
    """A share of one as a whole percentage, rounded down: all but one of many are not yet all of them.

    >>> whole_percent(0.004), whole_percent(0.996), whole_percent(1.0)
    ('under 1\\xa0%', '99\\xa0%', '100\\xa0%')
    """
    return f"{int(100 * share)}\u00a0%" if share >= 0.01 else "under 1\u00a0%"


def power_of_ten(value: float) -> str:
    """A small number with two significant digits.

    >>> power_of_ten(1e-5), power_of_ten(2.13e-5)
    ('10⁻⁵', '2.1\\xa0×\\xa010⁻⁵')
    """
    mantissa, power = f"{value:.1e}".split("e")
    times = "" if mantissa == "1.0" else f"{float(mantissa):g}\u00a0×\u00a0"
    return f"{times}10{str(int(power)).translate(_SUPERSCRIPT)}"
