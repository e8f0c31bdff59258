"""Cells: what one value of a table says, as a text, a number, a day or a truth value.

Each function looks at one value alone, so that no patient can change how another one is read. A value that a file
holds as text stays a text: `414`, `414.0` and `414.00` are three codes, and only a schema that declares numbers
makes numbers of them.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from math import isfinite, nan
from zoneinfo import ZoneInfo

NULL_TEXTS = ("", "na", "nan", "null")  # how files write "no value", in any case of letters
TRUTH_TEXTS = ("false", "true")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")  # not Python's 3_2, which is a sample's code
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,37})(\.0{0,9})?", re.ASCII)  # longer ones are no codes
_LONGEST = 1100  # digits of a number that is written out, binary or decimal; a float has 1024
_DAY = re.compile(r"\d{4}-\d\d-\d\d|\d{8}", re.ASCII)


def category_text(value: object) -> str:
    """The text under which a category or a patient key is compared.

    A text is itself, without blanks around it and in Unicode's normal form C. A number that arrives typed reads
    the same in each type, since a null elsewhere turns a column of whole numbers into floats: 1.0 reads `1`.

    >>> [category_text(value) for value in (" 414.0 ", 414.0, Decimal("1.50"), True, b"F")]
    ['414.0', '414', '1.5', 'true', 'F']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return _digits(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e16 and -0.0 read as the whole numbers that they are
    return unicodedata.normalize("NFC", text_of(value).strip())


def text_of(value: object) -> str:
    """Any value as text; bytes as the UTF-8 that they are, and as `\\xff` where they are none."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        return hex(value)  # Python writes no more digits, and no column has such a value
    return str(value).encode(errors="backslashreplace").decode()  # half of a surrogate pair is no text either


def _digits(value: Decimal) -> str:
    """A decimal number, exactly, without zeros at its end; as it stands where it is none, or far too long."""
    if not value.is_finite() or abs(value.adjusted()) > _LONGEST:
        return str(value)
    digits = format(value, "f") if value else "0"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def whole_text(text: str) -> str | None:
    """The whole number that a text writes, in its shortest form; None if it writes none.

    >>> [whole_text(text) for text in ("7", "+7.0", "-0", "007", "7.5")]
    ['7', '7', '0', None, None]
    """
    return str(int(text.partition(".")[0])) if _WHOLE.fullmatch(text) else None


def number_of(value: object) -> float:
    """The finite number that a value writes, with a decimal point and no thousands separator; NaN if none."""
    text = (value if isinstance(value, str) else text_of(value)).strip()
    number = float(text) if _NUMBER.fullmatch(text) else nan
    return number if isfinite(number) else nan


def day_of(value: object, timezone: str | None) -> float:
    """The calendar day of a date or a time as its proleptic ordinal; NaN if it is neither.

    Parameters
    ----------
    value : a date or datetime, or a text as ISO 8601 has them.
    timezone : where the day counts, for a time that states its offset from UTC; None for the day as it is written.
    """
    time = time_of(value)
    if time is None:
        return nan
    if timezone is not None and time.tzinfo is not None:
        try:
            time = time.astimezone(ZoneInfo(timezone))
        except (OverflowError, ValueError):  # at the ends of the calendar, Python's and pandas'
            return nan
    return float(time.toordinal())


def time_of(value: object) -> datetime | None:
    """A date or a time as datetime has it, a date at midnight; None if it is neither.

    A time of day that cannot be, such as 24:30, makes the whole value unreadable.
    """
    if isinstance(value, datetime):
        return value if value == value else None  # pandas' NaT is a datetime, and equals nothing
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    text = category_text(value)  # a null elsewhere makes 20200101.0 of 20200101
    found = _DAY.match(text)
    if found is None:
        return None
    try:
        day, rest = date.fromisoformat(found.group()), text[found.end() :].lstrip(" T")
        if not rest:
            return datetime(day.year, day.month, day.day)
        return datetime.fromisoformat(f"{day.isoformat()}T{_padded(rest)}")
    except ValueError:
        return None


def _padded(time: str) -> str:
    """PostgreSQL writes an offset of whole hours as `+01`; ISO 8601 has blanks nowhere."""
    return time.replace(" ", "").replace("UTC", "Z")
