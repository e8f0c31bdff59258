"""Names have one spelling, are drawn, fit a file name, and two that can be confused are found."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cohortmix.protocol.fields import Name, TypedName
from cohortmix.protocol.names import MOST_BYTES, confusable, skeletons

NAME: TypeAdapter[str] = TypeAdapter(Name)
TYPED: TypeAdapter[str] = TypeAdapter(TypedName)


@pytest.mark.parametrize(
    "name", ["UK", "M\xfcnchen", "Universit\xe9 3", "東京大学", "Ἀθῆναι", "Київ", "تهران", "é" * 32]
)
def test_names_of_any_script(name: str) -> None:
    assert NAME.validate_python(unicodedata.normalize("NFC", name))


@pytest.mark.parametrize(
    "name",
    [
        "Mu\u0308nchen",
        "é" * 33,
        "東" * 22,
        "a\u200db",
        "a\u3164b",
        "a\u115fb",
        "a\ufe0fb",
        "a\u202eb",
        "a\x00b",
        "\ud800",
    ],
)
def test_names_that_are_drawn_otherwise_than_spelt_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


def test_a_person_may_type_either_form() -> None:
    assert TYPED.validate_python("Mu\u0308nchen") == "M\xfcnchen"
    with pytest.raises(ValidationError):
        TYPED.validate_python("a\u3164b")


CONFUSABLE = [
    ("UK", "uk"), ("UK", "UК"), ("ASA", "АЅА"), ("Νorth", "North"), ("ν", "Ν"), ("St. Olav", "St Olav"),
    ("St Olav", "StOlav"), ("site-1", "site 1"), ("site 1", "site l"), ("site 1", "site I"), ("A0", "AO"),
    ("Straße", "STRASSE"), ("Ａ", "A"), ("modern", "modem"), ("٣", "3"), ("ё", "ë"), ("Ⅳ", "IV"), ("ﬁ", "fi"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), CONFUSABLE)
def test_names_that_can_be_confused(one: str, other: str) -> None:
    assert confusable(["between", one, other]) == (one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("München", "Munchen"), ("site-1", "site-2"), ("1-11", "11-1"), ("UK", "UA"), ("Київ", "Харків")],
)
def test_names_that_cannot(one: str, other: str) -> None:
    assert confusable([one, other]) is None


def test_sites_that_are_dealt_out_are_never_confused() -> None:
    assert confusable(f"site-{number:04d}" for number in range(1000)) is None
    assert confusable(f"site-{number}" for number in range(1000)) is None


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_a_name_is_confused_with_itself_however_it_is_cased_or_composed(text: str) -> None:
    for other in (unicodedata.normalize("NFD", text), unicodedata.normalize("NFKC", text), text.casefold()):
        assert skeletons(other)[0] == skeletons(text)[0]


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=70))
def test_a_name_that_is_allowed_is_a_safe_file_name(text: str) -> None:
    try:
        name = NAME.validate_python(text)
    except ValidationError:
        return
    assert len(name.encode()) <= MOST_BYTES
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|\n')
    assert name == unicodedata.normalize("NFC", name)
    assert name.strip(" .") == name
