"""Exact numbers and arrays survive the wire; rounding goes the way it says."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from cohortmix.protocol.fields import (
    Array,
    BigInt,
    Exact,
    Name,
    Ratio,
    Wire,
    decimal_down,
    decimal_up,
    exact,
)


class _Numbers(Wire):
    decimal: Exact = Decimal(0)
    ratio: Ratio = Fraction(0)
    whole: BigInt = 0
    name: Name = "site"


@given(st.integers(0, 10**30), st.integers(0, 30), st.fractions(min_value=0), st.integers(-(2**200), 2**200))
def test_numbers_round_trip(digits: int, places: int, ratio: Fraction, whole: int) -> None:
    numbers = _Numbers(decimal=Decimal(digits).scaleb(-places), ratio=ratio, whole=whole)
    plain = numbers.plain()
    assert all(isinstance(text, str) for text in plain.values())
    again = _Numbers.model_validate(plain)
    assert (again.decimal, again.ratio, again.whole) == (numbers.decimal, ratio, whole)


def test_one_number_has_one_spelling() -> None:
    spellings = ["0.10", "1e-1", "0.1"]
    assert {_Numbers(decimal=Decimal(text)).plain()["decimal"] for text in spellings} == {"0.1"}
    assert _Numbers.model_validate({"ratio": "6/40"}).plain()["ratio"] == "3/20"


@pytest.mark.parametrize("value", [0.1, "nan", "inf", "-0.1", "1e99", "1e-99", "x", True, None, "9" * 5000])
def test_decimals_that_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        _Numbers.model_validate({"decimal": value})


@pytest.mark.parametrize("value", [0.15, "0.15", "1/0", "-1/2", "1/-2", "1 / 2", "٣/٤", "1/" + "9" * 401])
def test_fractions_that_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        _Numbers.model_validate({"ratio": value})


@pytest.mark.parametrize("value", [1.0, "1.0", "0x10", "", True, "9" * 401])
def test_whole_numbers_that_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        _Numbers.model_validate({"whole": value})


@pytest.mark.parametrize("name", ["UK", "São Paulo", "site-1.b_c", "x" * 64])
def test_names(name: str) -> None:
    assert _Numbers(name=name).name == name


@pytest.mark.parametrize("name", ["", "..", ".git", "a/b", "a\\b", " a", "a ", "a\n", "x" * 65])
def test_names_are_safe_file_names(name: str) -> None:
    with pytest.raises(ValidationError):
        _Numbers(name=name)


@given(st.floats(0, 1e6), st.integers(0, 12))
def test_rounding_brackets_the_value(value: float, places: int) -> None:
    down, up = decimal_down(value, places), decimal_up(value, places)
    assert Fraction(down) <= Fraction(value) <= Fraction(up)
    assert up - down in (0, Decimal(1).scaleb(-places))


@given(st.floats(1e-40, 1e40))
def test_exact_reads_back_as_the_same_float(value: float) -> None:
    assert float(
        _Numbers.model_validate({"decimal": _Numbers(decimal=exact(value)).plain()["decimal"]}).decimal
    ) == (value)


@given(
    hnp.arrays(np.int64, hnp.array_shapes(max_dims=3, max_side=4))
    | hnp.arrays(
        np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(allow_nan=False, width=64)
    )
)
def test_arrays_keep_every_bit(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        with pytest.raises(ValidationError, match="finite"):
            Array.of(values)
        return
    again = Array.model_validate_json(Array.of(values).model_dump_json()).numpy()
    assert again.shape == values.shape
    assert again.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "change", [{"shape": [3]}, {"data": "AAAA"}, {"data": "!"}, {"dtype": "|O"}, {"dtype": "<f4"}, {"shape": [-2]}]
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    plain = Array.of(np.array([1, 2])).model_dump(mode="json")
    Array.model_validate_json(_json(plain))
    with pytest.raises(ValidationError):
        Array.model_validate_json(_json(plain | change))


def _json(plain: dict[str, object]) -> str:
    import json

    return json.dumps(plain)
