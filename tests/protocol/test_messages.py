"""Messages: golden bytes, round trips, and everything that is not a message."""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cohortmix.core.privacy.budget import Budget
from cohortmix.protocol.fields import exact
from cohortmix.protocol.messages import (
    MAX_BYTES,
    CentroidsRelease,
    Code,
    Description,
    Message,
    MessageError,
    NoisedAnswer,
    Refusal,
    Request,
    SignedRelease,
    SiteEntry,
    VersionError,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.signing import sign_request

REFUSAL = Refusal(code=Code.OVER_BUDGET, sentence="spent 0.20, asked 0.15, cap 0.30")


def _all(examples: ModuleType) -> dict[str, Message]:
    release = examples.release()
    return {
        "study": examples.signed_study(),
        "request": sign_request(examples.COORDINATOR, examples.request(2)),
        "release": release,
        "centroids": examples.release(2),
        "receipt": release.signed_receipt,
        "refusal": REFUSAL,
        "description": Description(
            site="UK", key="a" * 64, patients=9, schema_hash="5" * 64, columns=("AGE", "SEX"), version="0.1.0"
        ),
    }


def test_golden_bytes_of_a_refusal() -> None:
    assert encode(REFUSAL) == (
        b'{"code":"OVER_BUDGET","protocol":1,"sentence":"spent 0.20, asked 0.15, cap 0.30","type":"refusal"}'
    )


def test_golden_bytes_of_a_study(examples: ModuleType) -> None:
    golden = {
        "alpha": "0.5",
        "coordinator_key": "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8",
        "delta": "0.00001",
        "expires": None,
        "joint": None,
        "loose_delta": False,
        "min_sites": 2,
        "mu": "0.268",
        "name": "stroke",
        "neighbours": "replace-one-patient",
        "noise": "opendp",
        "overlap": "disjoint",
        "point_masses": True,
        "protocol": 1,
        "public_data": False,
        "round_deadline_seconds": 600,
        "schema_hash": "5" * 64,
        "share": "3/20",
        "sites": [
            {"key": examples.SITE.public_hex, "name": "UK", "patients": 4689},
            {"key": examples.OTHER.public_hex, "name": "NORW", "patients": 394},
        ],
        "target": "outcome",
        "variant": "cells",
        "version": "0.1.0",
    }
    assert examples.study().plain() == golden
    assert examples.study().hash == "e7eb0c0c2f5ee628c3c8a8cd0bdaf6f479d0fe1578bcf1baaa71024484d8bc57"


def test_a_study_expires_after_its_last_day(examples: ModuleType) -> None:
    last = date(2027, 1, 31)
    study = examples.study(expires=last)
    assert study.plain()["expires"] == "2027-01-31"
    assert decode(encode(examples.signed_study(expires=last))) == examples.signed_study(expires=last)
    assert [study.expired(date(2027, *day)) for day in ((1, 30), (1, 31), (2, 1))] == [False, False, True]
    assert not examples.study().expired(date.max)


def test_golden_hashes(examples: ModuleType) -> None:
    assert examples.request(1).hash == "644f25209c3b4dc052f9bb5ba7123fc0fa32397a144fd0cac826d6bd5b858ae1"
    assert examples.request(2).hash == "a8b3f0acd7b484d528c71de2da30c40195adab866b6649e5f1e23b8c6ad781ac"
    assert examples.release().release.hash == "23608ebf85a6f42be24299504090c6ecdffe24c33e18148d5f07120f3e3ac786"
    assert examples.release(2).release.hash == "78c37a0366b0bc3ea1c023308af6c16d3402059ffcf3d874707a4e867907ff0a"


@pytest.mark.parametrize("name", ["study", "request", "release", "centroids", "receipt", "refusal", "description"])
def test_round_trip(examples: ModuleType, name: str) -> None:
    message = _all(examples)[name]
    data = encode(message)
    assert decode(data) == message
    assert encode(decode(data)) == data
    loose = json.dumps(json.loads(data), indent=2).encode()  # other spacing, the same message
    assert encode(decode(loose)) == data


def test_counts_of_values_leave_a_site_with_all_of_their_noise(examples: ModuleType) -> None:
    plain, whole = examples.centroids().plain(), examples.answer()
    kept = CentroidsRelease.model_validate_json(json.dumps(plain | {"counts": whole.plain()}))
    assert kept.counts == whole
    assert kept.hash != examples.centroids().hash
    assert CentroidsRelease.of(kept.to_core()) == kept
    spare = {"spare": whole.values.plain(), "spare_sigma": "1"}
    for share in (whole.plain() | {"sharers": 2}, whole.plain() | spare):
        with pytest.raises(ValidationError, match="leaves a site under masks only"):
            CentroidsRelease.model_validate_json(json.dumps(plain | {"counts": share}))


def test_every_part_of_a_request_is_in_its_hash(examples: ModuleType) -> None:
    request: Request = examples.request(2)
    common = examples.common()
    others = [
        examples.request(1),
        examples.request(2, "request-2"),
        examples.request(2, mu=Decimal("0.269")),
        request.model_copy(update={"common": common.model_copy(update={"groups": ((0, 0),)})}),
        request.model_copy(update={"common": common.model_copy(update={"masses": common.cells})}),
        request.model_copy(update={"common": common.model_copy(update={"s_a": Decimal(1)})}),
    ]
    assert len({each.hash for each in [request, *others]}) == 1 + len(others)


def test_a_request_id_is_one_of_its_study_site_and_round() -> None:
    ids = {request_id(*asked) for asked in (("a" * 64, "UK", 1), ("b" * 64, "UK", 1), ("a" * 64, "NO", 1))}
    assert len(ids | {request_id("a" * 64, "UK", 2)}) == 4
    assert request_id("a" * 64, "UK", 1) == "e45989bd905688af81252d40c4316914"  # golden: it is asked again


def test_version_comes_first() -> None:
    data = b'{"protocol":2,"type":"a message that protocol 1 does not know","body":[0.5]}'
    with pytest.raises(VersionError, match="protocol=2"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"type":"refusal"}',
        b'{"protocol":"1"}',
        b"\xff\xfe",
        b'{"protocol":1}',
        b"[" * 9999,
    ],
)
def test_other_bytes_are_not_a_message(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)


@pytest.mark.parametrize(
    "change",
    [{"type": "reply"}, {"code": "OTHER"}, {"sentence": ""}, {"sentence": "x" * 301}, {"more": 1}, {"code": None}],
)
def test_altered_fields_are_refused(change: dict[str, Any]) -> None:
    plain = REFUSAL.plain()
    assert decode(json.dumps(plain).encode()) == REFUSAL
    with pytest.raises(MessageError):
        decode(json.dumps(plain | change).encode())


def test_errors_repeat_no_value() -> None:
    secret = "Jane Doe, 1931"
    data = json.dumps({"protocol": 1, "type": "refusal", "code": secret, "sentence": ""}).encode()
    with pytest.raises(MessageError) as caught:
        decode(data)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_size_limit() -> None:
    data = encode(REFUSAL)
    assert decode(data, limit=len(data)) == REFUSAL
    with pytest.raises(MessageError, match="at most"):
        decode(data, limit=len(data) - 1)
    with pytest.raises(MessageError, match=str(MAX_BYTES)):
        decode(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"mu": Decimal(0)},
        {"mu": Decimal("1000.1")},
        {"mu": 0.268},
        {"delta": Decimal(0)},
        {"delta": Decimal(1), "loose_delta": True},
        {"delta": Decimal("0.0000214")},  # 1/(10 * 4689) is 0.00002133
        {"share": Fraction(1)},
        {"share": Fraction(0)},
        {"alpha": Decimal("1.01")},
        {"overlap": 0},
        {"overlap": "some"},
        {"sites": ()},
        {"min_sites": 3},
        {"neighbours": "add-or-remove"},
        {"noise": "numpy"},
        {"protocol": 2},
        {"unknown": 1},
    ],
)
def test_impossible_studies_are_refused(examples: ModuleType, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        examples.study(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"delta": Decimal("0.0000213")},
        {"delta": Decimal("0.001"), "loose_delta": True},
        {"overlap": 2},
        {"overlap": "unknown"},
        {"alpha": Decimal(1)},
        {"alpha": Decimal(0)},
    ],
)
def test_possible_studies_differ_in_hash(examples: ModuleType, change: dict[str, Any]) -> None:
    assert examples.study(**change).hash != examples.study().hash


def test_delta_of_a_budget_is_a_delta_of_a_study(examples: ModuleType) -> None:
    """1/(10 N) as a float is above the fraction for every other N; both places compare alike."""
    entry = examples.study().sites[0]
    for patients in range(10_001, 10_101):
        delta = exact(Budget.from_epsilon(1.0).resolve(patients).delta)
        sites = (entry.model_copy(update={"patients": patients}),)
        examples.study(sites=sites, min_sites=1, delta=delta)
        with pytest.raises(ValidationError, match="loose_delta"):
            examples.study(sites=sites, min_sites=1, delta=delta + Decimal("1e-12"))


def test_sites_are_distinct(examples: ModuleType) -> None:
    uk, norway = examples.study().sites
    for twin in (norway.model_copy(update={"name": "uk"}), norway.model_copy(update={"key": uk.key})):
        with pytest.raises(ValidationError, match="distinct"):
            examples.study(sites=(uk, twin))
    assert examples.study().site("NORW") == norway
    assert examples.study().site("norw") is None


def test_common_belongs_to_round_two(examples: ModuleType) -> None:
    first, second = examples.request(1), examples.request(2)
    for study_round, common in ((1, second.common), (2, first.common)):
        fields: dict[str, Any] = {"round": study_round, "common": common}
        with pytest.raises(ValidationError, match="round 2 and only there"):
            Request(study=first.study, request_id="request-1", **fields)


@pytest.mark.parametrize("name", ["masses", "means", "labels", "kinds", "support_points", "support_labels"])
def test_shapes_of_centroids_agree(examples: ModuleType, name: str) -> None:
    plain = examples.centroids().plain()
    plain[name] = ["class"] if name == "kinds" else {"dtype": "<f8", "shape": [0, 3], "data": ""}
    release = examples.release(2).plain() | {"release": plain}
    with pytest.raises(MessageError):
        decode(json.dumps(release).encode())


def test_a_frozen_message_cannot_be_altered(examples: ModuleType) -> None:
    with pytest.raises(ValidationError):
        examples.study().mu = Decimal(9)


def test_core_objects_survive(examples: ModuleType) -> None:
    answer = examples.answer().to_core()
    assert answer.values.tolist() == [2**40, -(2**41), 7]
    assert NoisedAnswer.of(answer) == examples.answer()
    message = decode(encode(examples.release()))
    assert isinstance(message, SignedRelease)
    assert message.release == examples.release().release
    core = examples.common().to_core()
    np.testing.assert_array_equal(core.margins.cells, [[0.25, 0.75], [0.5, 0.5]])
    assert type(examples.common()).of(core) == examples.common()
    centroids = examples.centroids()
    assert type(centroids).of(centroids.to_core()) == centroids


def test_site_entry_needs_a_patient() -> None:
    with pytest.raises(ValidationError):
        SiteEntry(name="UK", key="a" * 64, patients=0)
