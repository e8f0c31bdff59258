"""One value, one byte form; floats have none."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.protocol.canonical import canonical, sha256

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)


def test_golden_bytes() -> None:
    value = {"z": [1, -2, None, True], "a": {"é": 'x"\n', "B": ""}, "\ue000": 0, "\U00010000": 0}
    # RFC 8785 sorts keys by UTF-16 units: U+10000 is the pair D800 DC00, before U+E000.
    golden = '{"a":{"B":"","é":"x\\"\\n"},"z":[1,-2,null,true],"\U00010000":0,"\ue000":0}'
    assert canonical(value) == golden.encode()
    assert sha256(value) == "efb3e4745f748be0eee2d879d801ae0528f5729d772ad43599d6b5b223c58c9f"


@given(PLAIN)
def test_it_is_what_another_implementation_of_rfc_8785_gives(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(PLAIN)
def test_reads_back(value: object) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9), min_size=2))
def test_order_of_keys_does_not_count(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("value", [0.5, 1.0, float("nan"), [1, [2.0]], {"a": {"b": 1e300}}, ("x", 0.1)])
def test_floats_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no float"):
        canonical(value)


def test_large_integers_are_refused() -> None:
    assert canonical(2**53 - 1) == b"9007199254740991"
    with pytest.raises(ValueError, match="decimal text"):
        canonical(2**53)


def test_half_a_surrogate_pair_is_refused() -> None:
    for value in ("\ud800", {"\udfff": 1}, [["a\ud800"]]):
        with pytest.raises(ValueError, match="surrogates"):
            canonical(value)


@pytest.mark.parametrize("value", [{1: "x"}, b"bytes", {"a": {1, 2}}])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"unsupported type|keys must be strings"):
        canonical(value)
