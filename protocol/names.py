"""Names of sites and studies: safe as file names, with one spelling each, and easy to tell apart.

Any script may be used. Two names are confusable if they are spelt alike (apart from case, spacing, punctuation,
and letters that Unicode calls compatible) or look alike: a Cyrillic or Greek letter counts as the Latin one that
it looks like, 0 counts as o, and 1, l and i count as one letter. This refuses some pairs that a careful reader can
tell apart ("Site I" beside "Site 1"); one of the two then needs another name. Not covered: look-alikes in other
scripts (Armenian, Cherokee, ...), marks that look alike (a cedilla and a comma below), and whatever a typeface
makes alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

NAME = r"^\w(?:[\w .-]{0,62}\w)?$"
MOST_BYTES = 64

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Letters and marks without a picture: those of Unicode's Default_Ignorable_Code_Point that `NAME` would allow."""

_LOOKS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХҮЬЗБавеѕіјкмнорстухүьзбһԁԛԝӏгпΑΒΕΖΗΙΚΜΝΟΡΤΥΧαβεηικνορτυχγωϲ",
    "ABESIJKMHOPCTYXYB36abesijkmhopctyxyb36hdqwlrnABEZHIKMNOPTYXabenikvoptuxywc",
)
_ALIKE = str.maketrans("iı10|", "lllol")


def checked_name(name: str) -> str:
    """`name` itself; ValueError unless it is printable, in NFC, and short enough for a file name."""
    if len(name.encode("utf-8", "replace")) > MOST_BYTES:
        raise ValueError(f"expected a name of at most {MOST_BYTES} bytes in UTF-8")
    if not name.isprintable() or _INVISIBLE.search(name):
        raise ValueError("expected a name without letters that are drawn as nothing")
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError("expected a name in Unicode's composed form (NFC); type it again")
    return name


def composed(name: object) -> object:
    """A text in NFC, for a name that a person has typed; anything else unchanged."""
    return unicodedata.normalize("NFC", name) if isinstance(name, str) else name


@lru_cache(maxsize=4096)
def skeletons(name: str) -> tuple[str, str]:
    """How a name is spelt and how it looks; names that agree in either are confusable.

    >>> skeletons("St. Olav") == skeletons("st olav"), skeletons("UК")[1] == skeletons("UK")[1]
    (True, True)
    """
    looks = _folded(unicodedata.normalize("NFKD", name).translate(_LOOKS)).translate(_ALIKE)
    return _folded(name), looks.replace("rn", "m").replace("vv", "w")


def confusable(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names, in their order, that are confusable; None if there are none."""
    first: dict[tuple[int, str], str] = {}
    for name in names:
        for key in enumerate(skeletons(name)):
            if key in first:
                return first[key], name
            first[key] = name
    return None


def _folded(text: str) -> str:
    """Letters, digits and marks of a text, without case, in one form, and with digits of all scripts as 0 to 9."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = [
        str(unicodedata.digit(letter, letter)) if unicodedata.category(letter)[0] in "LMN" else "-"
        for letter in folded
    ]
    # A separator counts only between two digits, where it makes a difference: 1-11 and 11-1 are two wards.
    return re.sub(r"(?<![0-9])-+|-+(?![0-9])", "", re.sub("-+", "-", "".join(kept)))
