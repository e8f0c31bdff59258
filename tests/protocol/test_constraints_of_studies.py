"""Constraints on the wire: one spelling, one hash, finite figures; and without any, the bytes of before."""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.steps.adapting.constraint import MOST, Reached, parse
from cohortmix.protocol.constraints import LEAST, LONGEST, ReachedConstraint, read_constraints
from cohortmix.protocol.messages import CentroidsRelease, MessageError, StudySpec, decode, encode

TEXTS = ("drift<=0.1", "recall(dead, or worse)>=0.7", "calibration(SEX=F, dead, or worse)<=0.05")
REACHED = (
    Reached(TEXTS[0], True, 0.1 / 3, 1 / 7),
    Reached(TEXTS[1], False, 0.69, 1000.0),
    Reached(TEXTS[2], True, 0.0, 0.0),
)
SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "target": "outcome",
        "columns": {
            "SEX": {"type": "category", "values": ["F", "M"]},
            "outcome": {"type": "category", "values": ["well", "dead, or worse"]},
        },
    }
)


# --- of a study


def test_a_study_without_constraints_has_the_bytes_of_before(examples: ModuleType) -> None:
    """The hashes were stored before there were constraints."""
    for study in (examples.study(), examples.study(constraints=())):
        assert study.hash == "e7eb0c0c2f5ee628c3c8a8cd0bdaf6f479d0fe1578bcf1baaa71024484d8bc57"
        assert "constraints" not in study.plain()
    release = examples.centroids()
    assert release.hash == "78c37a0366b0bc3ea1c023308af6c16d3402059ffcf3d874707a4e867907ff0a"
    assert "constraints" not in release.plain()
    assert StudySpec.model_validate_json(json.dumps(examples.study().plain() | {"constraints": []})) == study


def test_constraints_and_their_order_are_in_the_hash(examples: ModuleType) -> None:
    study = examples.study(constraints=TEXTS)
    assert study.plain()["constraints"] == list(TEXTS)
    assert study.hash == "42e76f40c8446aa5c8ba1a9214bc977fd70376a48a7aa3803e97d7c6eeee8749"
    others = [examples.study(constraints=texts) for texts in (TEXTS[:2], TEXTS[::-1], (), ("drift<=0.2",))]
    assert len({one.hash for one in [study, *others]}) == 5
    signed = examples.signed_study(constraints=TEXTS)
    assert decode(encode(signed)) == signed


@pytest.mark.parametrize(
    "texts",
    [
        ("drift <= 0.1",),
        ("drift<=0.10",),
        ("drift<=.1",),
        ("drift<=" + "9" * 400,),  # reads as infinity
        ("recall( well)>=0.5",),
        ("calibration(SEX = F, well)<=0.5",),
        ("calibration(SEX=F,well)<=0.5",),
        ("calm",),
        ("",),
        (f"recall({'x' * LONGEST})>=0.5",),
        tuple(f"drift<=0.{number + 1}" for number in range(MOST + 1)),
        ("drift<=0.1", 0.1),
        "drift<=0.1",
    ],
)
def test_another_spelling_is_no_study(examples: ModuleType, texts: Any) -> None:
    with pytest.raises(ValidationError):
        examples.study(constraints=texts)
    signed = examples.signed_study().plain()
    signed["study"]["constraints"] = texts
    with pytest.raises(MessageError):
        decode(json.dumps(signed).encode())


PARTS = st.sampled_from(
    ["drift", "recall", "calibration", "(", ")", ",", "<=", ">=", "<", "=", " ", "\t", "\u00a0", "0", "0.50", ".1",
     "7.", "SEX", "F", "dead", "A>", "e-9", "\n"]
)  # fmt: skip
NAMES = st.text("aA(), =<>.0\t\u00a0", min_size=1, max_size=8)
NUMBERS = st.from_regex(r"\d{1,12}(\.\d{0,12})?", fullmatch=True)
WRITTEN = st.one_of(
    st.builds("drift{}<={}".format, st.sampled_from(["", " "]), NUMBERS),
    st.builds("recall({})>= {}".format, NAMES, NUMBERS),
    st.builds("calibration({}={}, {})<={}".format, NAMES, NAMES, NAMES, NUMBERS),
    st.lists(PARTS, max_size=16).map("".join),
)


@given(WRITTEN)
def test_the_one_spelling_reads_as_itself(text: str) -> None:
    """Else what a draft writes would be refused as a study."""
    try:
        once = str(parse(text))
    except InputError:
        return
    assert str(parse(once)) == once


@pytest.mark.parametrize(
    "text",
    [
        "recall(" + " " * 490,
        "calibration(" + " " * 240 + "," + " " * 240,
        "calibration(" + ", " * 240,
        "calibration(" + " ,)" * 160 + "<=",
        "calibration(" + "=," * 240 + "\n",
        "calibration(A" + " =" * 200 + "\n, b)<=0.1",
        "recall(" + ")>=1" * 120 + "x",
        "drift<=" + "1" * 490 + "x",
    ],
)
def test_no_text_takes_long_to_refuse(examples: ModuleType, text: str) -> None:
    """Anybody can send a study: with several ways to read the blanks, some of these took minutes and hours."""
    assert len(text) <= LONGEST
    for _ in range(16):
        with pytest.raises(ValidationError):
            examples.study(constraints=(text,))


def test_texts_are_read_as_the_one_spelling_says() -> None:
    assert [str(one) for one in read_constraints([" drift <= .10", TEXTS[2]], SCHEMA)] == ["drift<=0.1", TEXTS[2]]
    for texts, sentence in (
        (["recall(ill)>=0.5"], "expected the class 'well' or 'dead, or worse', got 'ill'"),
        (["calibration(AGE=1, well)<=0.1"], "'AGE' is not in the schema"),
        (["drift<=0.1", "drift<=0.2"], "got two for the same"),
        (["recall(well)>=1.5"], "expected a limit between 0 and 1"),
    ):
        with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
            read_constraints(texts, SCHEMA)


# --- of a release


def with_points(examples: ModuleType, *reached: Reached) -> CentroidsRelease:
    core = examples.centroids().to_core()
    return CentroidsRelease.of(
        replace(core, support_points=core.means, support_labels=core.labels, constraints=reached)
    )


def test_what_became_of_constraints_survives_the_wire(examples: ModuleType) -> None:
    release = with_points(examples, *REACHED)
    assert release.to_core().constraints == REACHED, "to the last bit"
    assert CentroidsRelease.of(release.to_core()) == release
    assert CentroidsRelease.model_validate_json(json.dumps(release.plain())) == release
    assert len({with_points(examples, *some).hash for some in (REACHED, REACHED[:2], REACHED[::-1], ())}) == 4


@pytest.mark.parametrize("figure", ["value", "multiplier"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", "-0", "1e400", "", None, 0.5, True])
def test_figures_are_finite_and_not_negative(examples: ModuleType, figure: str, number: object) -> None:
    plain = with_points(examples, *REACHED).plain()
    plain["constraints"][1][figure] = "0.25"
    CentroidsRelease.model_validate_json(json.dumps(plain))
    plain["constraints"][1][figure] = number
    with pytest.raises(ValidationError):
        CentroidsRelease.model_validate_json(json.dumps(plain))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_site_sends_no_other_figures(number: float) -> None:
    for reached in (Reached(TEXTS[0], False, number, 0.0), Reached(TEXTS[0], False, 0.1, number)):
        with pytest.raises(ValidationError):
            ReachedConstraint.of(reached)
    with pytest.raises(ValueError, match="leave the constraint out"):
        ReachedConstraint.of(Reached(TEXTS[0], False, None, None))


def test_the_smallest_figures_do_not_keep_a_release_from_leaving() -> None:
    """It was paid for: a denormal number has more decimals than the wire."""
    for tiny in (5e-324, 1e-45, np.nextafter(LEAST, 0), 0.0, -0.0):
        assert ReachedConstraint.of(Reached(TEXTS[0], True, tiny, tiny)).to_core().value == 0
    for small in (LEAST, np.nextafter(LEAST, 1), np.nextafter(0.1, 1), 1e9):
        assert ReachedConstraint.of(Reached(TEXTS[0], True, 0.1, small)).to_core().multiplier == small
