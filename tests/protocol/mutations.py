"""Messages that somebody has altered on the way, in their structure or in their bytes, repeatably."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

HUGE = "9" * 400
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53 - 1, 2**53, 2**60, 2**64, -(2**63), 10**300, 0.5, 1e308, "", "x", "\x00",
    "\u202e", "a" * 70_000, [], {}, [[]], [None] * 50, {"": 0}, "0", "-1", "1/0", f"1/{HUGE}", f"{HUGE}/1", HUGE,
    "1e60", "1e-60", "1e999999999", "NaN", "-0", "0" * 64, "f" * 64, "01" + "0" * 62, "0" * 128, "A", "A===",
    "AAAAAAAA8H8=", "////////738=", "class_sums", "centroids", "refusal", "TEST", "opendp", "<f8", "<i8",
    [2**62], [0, 2**62], [2**31, 2**31], [0], [-1], [1, 2, 3, 4], "9999-12-31", "2027-02-30", "\ud7ff\uffff",
)  # fmt: skip
"""What is put in the place of a part: numbers beyond each bound, other types, other spellings."""

BYTES = (
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"\xff",
    b"\x00",
    b'"\\ud800"',
    b"9" * 5_000,
    b"1e400",
    b"NaN",
    b",,",
    b"",
)


def mutated(message: bytes, random_: random.Random) -> bytes:
    """The message with one to four alterations, of its parts or of its bytes."""
    if random_.random() < 0.25:
        return _bytes(message, random_)
    plain = json.loads(message)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        _alter(plain, random_)
    return json.dumps(plain, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass")


def _alter(plain: Any, random_: random.Random) -> None:
    """One part of `plain`, of any depth, in place: replaced, removed, repeated, swapped, or joined by another."""
    place, key = random_.choice(list(_places(plain)))
    changes: list[Callable[[], None]] = [
        lambda: place.__setitem__(key, deepcopy(random_.choice(VALUES))),
        lambda: place.__setitem__(key, deepcopy(random_.choice(VALUES))),
        lambda: place.__setitem__(key, _near(place[key], random_)),
        lambda: place.__setitem__(key, deepcopy(random_.choice([inner[at] for inner, at in _places(plain)]))),
        lambda: place.__delitem__(key),
    ]
    if isinstance(place, list):
        changes.append(lambda: place.extend([place[key]] * random_.choice((1, 40, 3000))))
    else:
        changes.append(lambda: place.__setitem__(random_.choice(("extra", "\u202e", "x" * 5000)), 1))
    random_.choice(changes)()
    if isinstance(plain, dict) and not plain:
        plain["protocol"] = 1


def _near(value: Any, random_: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + random_.choice((-1, 1, 2**40))
    if isinstance(value, str) and value:
        at = random_.randrange(len(value))
        return value[:at] + random_.choice("0123456789abcdefAZ/=+-. ") + value[at + random_.randrange(2) :]
    return value[:-1] if isinstance(value, list) else value


def _places(plain: Any) -> Iterator[tuple[Any, Any]]:
    """Each part of `plain`, as the list or dict that holds it and its place there."""
    for key in list(plain) if isinstance(plain, dict) else range(len(plain)):
        yield plain, key
        if isinstance(plain[key], dict | list):
            yield from _places(plain[key])


def _bytes(message: bytes, random_: random.Random) -> bytes:
    at, upto = sorted(random_.randrange(len(message) + 1) for _ in range(2))
    if random_.random() < 0.3:
        return message[:at]
    if random_.random() < 0.5:
        return message[:at] + random_.choice(BYTES) + message[at:]
    return message[:at] + random_.choice(BYTES) + message[min(upto, at + 8) :]
