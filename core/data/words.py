"""How names are written in a sentence: in quotation marks, and in a row as in "a, b and c".

It stands this low since schemas, tables, sites and studies all name things in their messages. How shares and
durations are written is in `protocol/local/wording.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMES = 12  # that a sentence spells out: a table can have thousands of columns


def in_quotes(name: object) -> str:
    r"""A name, a path or a text from outside in quotation marks, on one line.

    What cannot be printed is shown as an escape. A path is written like any text, without the name of its class.

    >>> in_quotes("Hb [g/dL]"), in_quotes("a\nb")
    ("'Hb [g/dL]'", "'a\\nb'")
    """
    return repr(str(name))


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names in a row; `last` is the word before the last one.

    >>> listed(["UK", "ITAL", "NORW"]), listed(["UK", "ITAL"], "or"), listed(["UK"])
    ('UK, ITAL and NORW', 'UK or ITAL', 'UK')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def some(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in a row; of more than `most` the first ones, and how many are left.

    >>> some(["UK", "ITAL", "NORW"]), some(["UK", "ITAL", "NORW"], most=2)
    ('UK, ITAL and NORW', 'UK, ITAL and 1 more')
    """
    return listed(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most:,} more"


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "value"), counted(2000, "value")
    ('1 value', '2,000 values')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
