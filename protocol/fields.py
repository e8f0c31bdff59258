"""Field types of the messages: exact numbers as texts, arrays as bytes, names and keys in one spelling each."""

from __future__ import annotations

import base64
import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from cohortmix.protocol.names import NAME, checked_name, composed
from cohortmix.protocol.points import is_weak

_DIGITS = 400  # of a numerator or denominator: more than any sum of mu^2 has, and still cheap to compute with
_RATIO = re.compile(rf"(\d{{1,{_DIGITS}}})/(\d{{1,{_DIGITS}}})", re.ASCII)
_WHOLE_DIGITS = 160  # a squared sensitivity has 40, since the vault's sums end at 2^62
_WHOLE = re.compile(rf"-?\d{{1,{_WHOLE_DIGITS}}}", re.ASCII)
_EXPONENT = 60  # decimals lie between 1e-60 and 1e60
_LONGEST_DECIMAL = 200  # characters: 121 digits, and room for zeros that a person has typed
MOST_PATIENTS = 10**10
"""More than there are people; the limit keeps every number that depends on it within the range of a float."""

MOST_NUMBERS = 2**24
"""Longest axis of an array: twice as many numbers as the longest message can hold."""


def _to_decimal(value: object) -> Decimal:
    if isinstance(value, float | bool):
        raise ValueError(f"expected an exact decimal such as Decimal('0.268'), got a {type(value).__name__}")
    if isinstance(value, str) and len(value) > _LONGEST_DECIMAL:
        value = "nan"
    try:
        number = Decimal(value) if isinstance(value, str | int | Decimal) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or number.is_signed() or max(abs(exponent), number.adjusted()) > _EXPONENT:
        raise ValueError("expected a decimal number such as 0.268, not negative, with 60 places at most")
    return number


def decimal_text(number: Decimal) -> str:
    """The one spelling of a decimal: without an exponent, and without zeros at the end.

    >>> decimal_text(Decimal("1E-5")), decimal_text(Decimal("2.50"))
    ('0.00001', '2.5')
    """
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: float) -> Decimal:
    """The shortest decimal that reads back as exactly this float.

    >>> exact(0.1), float(exact(1 / 3)) == 1 / 3
    (Decimal('0.1'), True)
    """
    return Decimal(repr(float(value)))


def decimal_up(value: float | Fraction, places: int) -> Decimal:
    """The least decimal with `places` places that is not below `value`."""
    return _rounded(value, places, ROUND_CEILING)


def decimal_down(value: float | Fraction, places: int) -> Decimal:
    """The greatest decimal with `places` places that is not above `value`.

    >>> decimal_down(0.26812, 3), decimal_up(0.26812, 3)
    (Decimal('0.268'), Decimal('0.269'))
    """
    return _rounded(value, places, ROUND_FLOOR)


def _rounded(value: float | Fraction, places: int, rounding: str) -> Decimal:
    scaled = Fraction(value) * 10**places  # a float is a fraction, so nothing is lost before the rounding
    steps = math.ceil(scaled) if rounding == ROUND_CEILING else math.floor(scaled)
    with localcontext(prec=_DIGITS):
        return Decimal(steps).scaleb(-places)


def _to_ratio(value: object) -> Fraction:
    if isinstance(value, Fraction):
        if not 0 <= value.numerator < 10**_DIGITS > value.denominator:
            raise ValueError(f"expected a fraction, not negative, whose parts have at most {_DIGITS} digits")
        return value
    match = _RATIO.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[2]):
        raise ValueError("expected a fraction 'p/q' of whole numbers, not negative, such as '3/20'")
    return Fraction(int(match[1]), int(match[2]))


def ratio_text(number: Fraction) -> str:
    """The one spelling of a fraction: in lowest terms, always with a denominator.

    >>> ratio_text(Fraction(6, 40)), ratio_text(Fraction(2))
    ('3/20', '2/1')
    """
    return f"{number.numerator}/{number.denominator}"


def _to_whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_WHOLE_DIGITS:
        return value
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise ValueError("expected a whole number as a decimal text, such as '4294967296'")
    return int(value)


Exact = Annotated[Decimal, BeforeValidator(_to_decimal), PlainSerializer(decimal_text, when_used="json")]
"""A non-negative decimal, as text on the wire: mu, epsilon, delta, alpha."""

Ratio = Annotated[Fraction, BeforeValidator(_to_ratio), PlainSerializer(ratio_text, when_used="json")]
"""A non-negative fraction, as "p/q" on the wire: mu^2 and shares of it."""

BigInt = Annotated[int, BeforeValidator(_to_whole), PlainSerializer(str, when_used="json")]
"""A whole number of at most 160 digits, as text on the wire: readers of JSON lose digits beyond 2^53."""

HEX_64 = r"^[0-9a-f]{64}$"


def _no_weak_key(public_hex: str) -> str:
    if is_weak(bytes.fromhex(public_hex)):
        raise ValueError("expected an Ed25519 public key that names somebody, got a point of small order")
    return public_hex


Hash = Annotated[str, Field(pattern=HEX_64)]
"""SHA-256, lower-case hexadecimal."""

PublicKey = Annotated[str, Field(pattern=HEX_64), AfterValidator(_no_weak_key)]
"""Raw Ed25519 public key, lower-case hexadecimal; not of small order, and in its only spelling (`points.py`)."""

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""Ed25519 signature, lower-case hexadecimal."""

Name = Annotated[str, Field(pattern=NAME), AfterValidator(checked_name)]
"""A name that is also a safe file name, of at most 64 bytes in NFC: letters, digits, and " .-_" between them."""

TypedName = Annotated[Name, BeforeValidator(composed)]
"""A name as a person types it, in Unicode's composed or decomposed form."""

Patients = Annotated[int, Field(ge=1, le=MOST_PATIENTS)]
"""The number of a site's patients."""

Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+!-]{1,40}$")]
"""A package version."""

RequestId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
"""The id of a request; `messages.request_id` makes it."""


class Wire(BaseModel):
    """Base of everything that crosses the wire: frozen, strictly typed, without unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    def plain(self) -> dict[str, Any]:
        """The message as dicts, lists, texts and whole numbers, as `canonical` takes it."""
        return self.model_dump(mode="json")


class Array(Wire):
    """An array as its little-endian bytes in base64, so that no bit of a number is lost."""

    dtype: Literal["<i8", "<f8"]
    shape: tuple[Annotated[int, Field(ge=0, le=MOST_NUMBERS)], ...] = Field(max_length=3)
    data: str

    @model_validator(mode="after")
    def _complete(self) -> Array:
        content = base64.b64decode(self.data, validate=True)
        if len(content) != 8 * math.prod(self.shape):
            raise ValueError(f"expected 8 bytes a number for shape={self.shape}, got {len(content)} bytes")
        if self.dtype == "<f8" and not np.isfinite(np.frombuffer(content, "<f8")).all():
            raise ValueError("expected finite numbers only")
        return self

    @classmethod
    def of(cls, values: NDArray[Any]) -> Array:
        """Wrap integers (as int64) or finite floats (as float64)."""
        dtype: Literal["<i8", "<f8"] = "<i8" if np.issubdtype(values.dtype, np.integer) else "<f8"
        content = np.ascontiguousarray(values, dtype=dtype).tobytes()
        return cls(dtype=dtype, shape=tuple(values.shape), data=base64.b64encode(content).decode())

    def numpy(self) -> NDArray[Any]:
        """The array, read-only."""
        return np.frombuffer(base64.b64decode(self.data), self.dtype).reshape(self.shape)
