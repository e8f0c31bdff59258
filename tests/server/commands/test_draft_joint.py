"""A STUDY.yaml with joint noise: its terms are the study's, or one sentence says what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.study import StudySpec
from cohortmix.server.budget import composed, composed_kappa
from cohortmix.server.commands.draft import draft

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOINT = {"noise": "joint", "conspirators": 1, "tolerated_dropouts": 0, "min_sites": None}
Written = Callable[..., Path]


def drafted(path: Path) -> StudySpec:
    return draft(path, "c" * 64, NOW)[0]


def test_the_terms_are_those_of_the_file_and_min_sites_follows(written: Written) -> None:
    spec = drafted(written(**JOINT))
    assert spec.joint is not None
    assert (spec.joint.conspirators, spec.joint.tolerated_dropouts, spec.min_sites) == (1, 0, 2)
    assert (spec.terms.threshold, spec.terms.sharers, spec.terms.patients) == (2, 1, 4300)
    assert drafted(written(**JOINT | {"min_sites": 2})) == spec, "it may say the same"
    assert drafted(written(noise="each")).joint is drafted(written()).joint is None


def test_delta_is_for_all_patients_together(written: Written) -> None:
    """What can be read is about all of them; of a study without joint noise, about one site's."""
    least = {"delta": 1 / 42_000}
    assert drafted(written(delta=least["delta"], epsilon=1)).delta < Decimal("0.000025")
    with pytest.raises(InputError, match=r"for the N = 4300 patients of all sites; lower it"):
        drafted(written(**JOINT, **least))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"conspirators": None}, r"needs conspirators \(.* such as 1\) and tolerated_dropouts"),
        ({"tolerated_dropouts": None}, "needs conspirators"),
        ({"conspirators": 0}, "conspirators: expected 1 or more"),
        ({"conspirators": 2}, r"expected 2 \(S - dropouts\) > S \+ conspirators, got S=2, dropouts=0, consp"),
        ({"tolerated_dropouts": 1}, r"got S=2, dropouts=1, conspirators=1; tolerate fewer of either"),
        ({"tolerated_dropouts": -1}, "tolerated_dropouts"),
        ({"min_sites": 1}, "min_sites=1 contradicts 2 sites of which 0 may be missing; leave it out"),
        ({"noise": "each"}, "are terms of a study with `noise: joint`; set that, or leave them out"),
        ({"noise": "shared"}, "noise: expected each or joint"),
    ],
)
def test_terms_that_cannot_be_are_one_sentence(written: Written, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        drafted(written(**JOINT | {"min_sites": 2} | changes))
    assert "\n" not in str(caught.value)


def test_a_study_of_each_needs_min_sites(written: Written) -> None:
    with pytest.raises(InputError, match="min_sites: this key is required"):
        drafted(written(min_sites=None))


def test_what_a_patient_bears_does_not_add_up_over_sites_but_for_more_than_declared(written: Written) -> None:
    """The noise is for the declared k; at all S sites contributions add up to S / k, not sqrt(S)."""
    mus, kappas = [0.3, 0.3], [Fraction(1, 9)] * 2
    joint, twice = drafted(written(**JOINT)), drafted(written(**JOINT | {"overlap": 2}))
    assert composed(joint, mus) == (0.3, 0.6)
    assert composed(twice, mus) == (0.3, 0.3)
    assert composed(drafted(written()), mus) == pytest.approx((0.3, 0.3 * 2**0.5))
    assert composed_kappa(joint, kappas) == Fraction(1, 9)
    assert composed_kappa(drafted(written(overlap=2)), kappas) == Fraction(2, 9)
