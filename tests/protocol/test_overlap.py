"""In how many sites one patient can have records: one rule for quotes, receipts, reports and simulations."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from cohortmix.protocol.local.wording import overlap_in_words
from cohortmix.protocol.overlap import Overlap, parse_overlap, sites_per_patient

OVERLAPS = [("disjoint", 1), ("unknown", 3), (1, 1), (2, 2), (7, 3)]
NONE_OF_THE_THREE = [0, -1, True, 1.5, "most", "2", None]


@pytest.mark.parametrize(("overlap", "sites"), OVERLAPS)
def test_no_patient_is_at_more_sites_than_the_study_has(overlap: Any, sites: int) -> None:
    assert sites_per_patient(overlap, 3) == sites


@pytest.mark.parametrize("overlap", NONE_OF_THE_THREE)
def test_another_overlap_is_refused(overlap: Any) -> None:
    with pytest.raises(ValueError, match="overlap must be"):
        sites_per_patient(overlap, 3)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "some", "Disjoint", "\u0662", "12345", None, [2]])
def test_what_a_person_writes_is_one_of_the_three_or_refused(text: object) -> None:
    for overlap, _ in OVERLAPS:
        assert parse_overlap(str(overlap)) == overlap
    with pytest.raises(ValueError, match="expected disjoint, unknown, or a whole number above zero, got"):
        parse_overlap(text)


@pytest.mark.parametrize("overlap", [0, 10_001, True, "some", None])
def test_a_message_holds_no_other_one(overlap: object) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Overlap)
    assert [adapter.validate_python(each, strict=True) for each, _ in OVERLAPS] == [each for each, _ in OVERLAPS]
    with pytest.raises(ValidationError):
        adapter.validate_python(overlap, strict=True)


def test_each_of_them_has_its_words() -> None:
    assert [overlap_in_words(overlap) for overlap in ("disjoint", "unknown", 1, 1000)] == [
        "no patient has records at two sites",
        "a patient can have records at every site",
        "no patient has records at more than 1 site",
        "no patient has records at more than 1,000 sites",
    ]
