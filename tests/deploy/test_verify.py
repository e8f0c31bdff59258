"""Receipts of several studies: one history of each site, whatever key signed for it."""

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cohortmix.deploy.verify import verify
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    NoisedAnswer,
    Receipt,
    Request,
    SiteEntry,
    StudySpec,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, ReceiptError, issue, total
from cohortmix.protocol.signing import Key, sign_study
from cohortmix.server.publish.costs import costs

COORDINATOR, FIRST, SECOND = (Key.from_bytes(bytes([part] * 32)) for part in (1, 2, 3))
SIGMA, N = 2**33, 400
SUMS = NoisedAnswer(
    values=Array.of(np.array([7])),
    sigma=SIGMA,
    unit=2**20,
    sensitivity2=2**60,
    mu2=Fraction(2**60, SIGMA**2),
    question="a" * 64,
)

Given = Callable[..., tuple[Path, Receipt]]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """given("study", key, previous): the one receipt file of a study of this name, and what it says."""

    def make(name: str, key: Key, previous: str, site: str = "UK") -> tuple[Path, Receipt]:
        study = StudySpec(
            name=name,
            schema_hash="5" * 64,
            target="y",
            mu=Decimal("0.2"),
            delta=Decimal("0.00001"),
            overlap="disjoint",
            sites=(SiteEntry(name=site, key=key.public_hex, patients=N),),
            min_sites=1,
            round_deadline_seconds=600,
            version="0.1.0",
            coordinator_key=COORDINATOR.public_hex,
        )
        request = Request(study=sign_study(COORDINATOR, study), round=1, request_id="request-1")
        signed = issue(key, site, request, ClassSumsRelease(answer=SUMS), {"class sums": SUMS}, N, previous)
        folder = tmp_path / name / "receipts"
        folder.mkdir(parents=True)
        (tmp_path / name / "study.json").write_bytes(encode(request.study))
        (tmp_path / name / "summary.json").write_text(json.dumps(costs(study, {site: total([signed.receipt])})))
        (folder / f"{site}-1.json").write_bytes(encode(signed.signed_receipt))
        return folder / f"{site}-1.json", signed.receipt

    return make


def test_a_site_may_change_its_key_and_go_on(given: Given) -> None:
    zero, r0 = given("zero", FIRST, GENESIS)
    one, r1 = given("one", FIRST, r0.hash)
    two, _ = given("two", SECOND, r1.hash)
    assert [each.spec.name for each in verify([zero, one, two, one])] == ["zero", "one", "two"]


@pytest.mark.parametrize("key", [FIRST, SECOND])
def test_a_fork_shows_with_the_same_key_and_with_a_changed_one(given: Given, key: Key) -> None:
    zero, r0 = given("zero", FIRST, GENESIS)
    one, _ = given("one", FIRST, r0.hash)
    two, _ = given("two", key, r0.hash)
    for part in ([zero, one], [zero, two]):
        verify(part)
    for seen in ([zero, one, two], [two, one]):
        with pytest.raises(ReceiptError, match=f"fork: 2 receipts follow {r0.hash[:12]}"):
            verify(seen)


def test_two_sites_of_one_name_both_have_a_first_receipt_but_one_site_has_not_two(given: Given) -> None:
    here, _ = given("here", FIRST, GENESIS)
    there, _ = given("there", SECOND, GENESIS)
    again, _ = given("again", FIRST, GENESIS)
    assert len(verify([here, there])) == 2
    with pytest.raises(ReceiptError, match="fork: 2 receipts follow 000000000000"):
        verify([here, there, again])


def test_sites_of_two_names_have_a_history_each(given: Given) -> None:
    uk, _ = given("one", FIRST, GENESIS, site="UK")
    italy, _ = given("two", FIRST, GENESIS, site="ITAL")
    assert len(verify([uk, italy])) == 2
