"""What a site refuses, at no cost, and that its refusals say nothing of a record."""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sites import (
    CAP,
    COORDINATOR,
    KEY,
    LARGE,
    SCHEMA,
    STRANGER,
    asking,
    common_of,
    refused,
    release,
    site,
    study,
    table,
)

from cohortmix.client.ledger import history
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site import room
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema, SchemaError
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.steps.bins import MAX_GROUPS
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    Code,
    CommonMessage,
    Refusal,
    Request,
    SignedRelease,
    SignedRequest,
    SignedStudy,
    SiteEntry,
    decode,
    encode,
)
from cohortmix.protocol.receipts import verify_release
from cohortmix.protocol.signing import sign_request, sign_study


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:", CAP)
    yield ledger
    ledger.close()


def test_empty_policy_allows_nothing(ledger: Ledger) -> None:
    hospital = site(ledger, study(), policy=Policy())
    assert refused(hospital.answer(encode(asking(study())))) == Code.NOT_APPROVED
    assert refused(site(ledger).answer(encode(asking(study())))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0


def test_constraints_that_do_not_fit_the_schema_are_refused_before_they_cost(ledger: Ledger) -> None:
    """The names in them are the coordinator's; a steward can have approved them by the study's hash alone."""
    for texts in (
        ("recall(dead)>=0.5",),
        ("recall(ill)>=1.5",),
        ("calibration(AGE=16, ill)<=0.1",),
        ("calibration(outcome=ill, ill)<=0.1",),
        ("drift<=0.1", "drift<=0.2"),
    ):
        spec = study(LARGE, constraints=texts)
        reply = site(ledger, spec).answer(encode(asking(spec)))
        assert refused(reply) == Code.UNKNOWN_COLUMN
        assert b"constraints" in reply
    assert ledger.spent_mu2 == 0
    assert not ledger.entries()
    fitting = study(LARGE, constraints=("drift<=0.1", "calibration(SEX=F, ill)<=0.1"))
    release(site(ledger, fitting).answer(encode(asking(fitting))))


def test_a_study_with_a_constraint_that_nobody_can_read_is_no_message(ledger: Ledger) -> None:
    """However it is signed."""
    good = study(LARGE, constraints=("drift<=0.1",))
    for text in ("drift <=0.1", "calm", "", "recall(" + " " * 490):
        bad = good.model_copy(update={"constraints": (text,)})
        reply = decode(site(ledger, good, bad).answer(encode(asking(bad))))
        assert isinstance(reply, Refusal)
        assert (reply.code, reply.sentence) == (
            Code.UNAVAILABLE,
            "The bytes are not a message of this protocol.",
        )
    assert ledger.spent_mu2 == 0


def test_a_study_that_has_expired_is_refused(ledger: Ledger) -> None:
    today = datetime.now(UTC).date()
    past, current = (study(expires=today + timedelta(days=days)) for days in (-1, 1))
    hospital = site(ledger, past, current)
    assert refused(hospital.answer(encode(asking(past)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0
    release(hospital.answer(encode(asking(current))))


def test_a_clock_that_is_set_back_revives_no_study(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger has seen a later day, whatever the clock says now: reservations and decisions show it the day."""
    clock = [date(2026, 3, 1)]
    monkeypatch.setattr(history, "today", lambda: clock[0])
    short, long, other = (
        study(name=name, expires=date(2026, 3, day)) for name, day in (("s", 5), ("l", 20), ("o", 8))
    )
    hospital = site(ledger, short, long, other)
    sent = hospital.answer(encode(asking(short)))
    assert release(sent)
    clock[0] = date(2026, 3, 6)
    release(hospital.answer(encode(asking(long))))
    clock[0] = date(2026, 3, 1)
    assert hospital.answer(encode(asking(short))) != sent
    assert refused(hospital.answer(encode(asking(short)))) == Code.NOT_APPROVED
    release(hospital.answer(encode(asking(other))))
    clock[0] = date(2026, 3, 9)
    ledger.revoke(long.hash)
    clock[0] = date(2026, 3, 1)
    assert refused(hospital.answer(encode(asking(other)))) == Code.NOT_APPROVED
    assert ledger.today == date(2026, 3, 9)
    assert [entry.day for entry in ledger.entries()] == [date(2026, 3, day) for day in (1, 6, 6)]


def test_a_refusal_as_expired_is_kept_and_a_clock_set_back_revives_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else has happened since the study expired; however often it is asked for, one step a day."""
    clock = [date(2026, 3, 6)]
    monkeypatch.setattr(history, "today", lambda: clock[0])
    short = study(expires=date(2026, 3, 5))
    here = site(ledger, short)
    steps = ledger._journal.place.steps
    for _ in range(3):
        assert refused(here.answer(encode(asking(short)))) == Code.NOT_APPROVED
    assert ledger._journal.place.steps == steps + 1
    clock[0] = date(2026, 3, 1)
    assert refused(here.answer(encode(asking(short)))) == Code.NOT_APPROVED
    assert ledger.today == date(2026, 3, 6)
    assert ledger._journal.place.steps == steps + 1


def test_a_release_that_could_not_be_sent_is_refused_before_it_is_paid_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital, message = site(ledger, study()), encode(asking(study()))
    monkeypatch.setattr(room, "MAX_BYTES", room.REST)
    assert refused(hospital.answer(message)) == Code.UNKNOWN_COLUMN
    assert ledger.entries() == ()
    monkeypatch.undo()
    reply = hospital.answer(message)
    released = release(reply).release
    assert isinstance(released, ClassSumsRelease)
    (numbers,) = released.answer.values.shape
    assert len(reply) <= room.NUMBER * numbers + room.REST


def test_a_revoked_study_is_refused(ledger: Ledger) -> None:
    hospital = site(ledger, study())
    release(hospital.answer(encode(asking(study()))))
    hospital.policy = Policy(coordinators=(COORDINATOR.public_hex,))
    assert refused(hospital.answer(encode(asking(study())))) == Code.NOT_APPROVED


def test_signatures(ledger: Ledger) -> None:
    spec = study()
    good = asking(spec)
    request = good.request
    altered = request.model_copy(
        update={"study": SignedStudy(study=study("0.29"), signature=request.study.signature)}
    )
    forged = [
        SignedRequest(request=request, signature="0" * 128),
        SignedRequest(request=asking(spec, id="request-2").request, signature=good.signature),
        sign_request(STRANGER, request),
        sign_request(COORDINATOR, altered),
        sign_request(COORDINATOR, request.model_copy(update={"study": sign_study(STRANGER, spec)})),
    ]
    hospital = site(ledger, spec, study("0.29"))
    assert [refused(hospital.answer(encode(message))) for message in forged] == [Code.BAD_SIGNATURE] * len(forged)
    assert ledger.spent_mu2 == 0
    release(hospital.answer(encode(good)))


def test_a_coordinator_that_is_not_enrolled(ledger: Ledger) -> None:
    theirs = study(coordinator_key=STRANGER.public_hex)
    signed = sign_request(STRANGER, Request(study=sign_study(STRANGER, theirs), round=1, request_id="request-1"))
    assert refused(site(ledger, theirs).answer(encode(signed))) == Code.NOT_APPROVED


@pytest.mark.parametrize(
    ("declared", "source"), [("opendp", KeyedNoise(1)), ("TEST", OpenDPNoise())], ids=["test site", "real site"]
)
def test_the_noise_source_must_be_the_declared_one(ledger: Ledger, declared: str, source: NoiseSource) -> None:
    spec = study(noise=declared)
    assert refused(site(ledger, spec, noise=source).answer(encode(asking(spec)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0


@pytest.mark.parametrize("change", [{"schema_hash": "0" * 64}, {"target": "SEX"}])
def test_another_schema(ledger: Ledger, change: dict[str, str]) -> None:
    spec = study(**change)
    assert refused(site(ledger, spec).answer(encode(asking(spec)))) == Code.UNKNOWN_COLUMN


@pytest.mark.parametrize(
    "entry",
    [
        SiteEntry(name="elsewhere", key=KEY.public_hex, patients=120),
        SiteEntry(name="site", key=STRANGER.public_hex, patients=120),
        SiteEntry(name="site", key=KEY.public_hex, patients=121),
    ],
)
def test_the_study_must_name_this_site(ledger: Ledger, entry: SiteEntry) -> None:
    spec = study(sites=(entry,))
    assert refused(site(ledger, spec).answer(encode(asking(spec)))) == Code.NOT_APPROVED


@pytest.mark.parametrize("patients", [MIN_PATIENTS - 1, MIN_PATIENTS])
def test_too_few_patients(ledger: Ledger, patients: int) -> None:
    spec = study(sites=(SiteEntry(name="site", key=KEY.public_hex, patients=patients),))
    reply = site(ledger, spec, source=TableSource(table(patients))).answer(encode(asking(spec)))
    if patients < MIN_PATIENTS:
        assert refused(reply) == Code.TOO_FEW_PATIENTS
    else:
        release(reply)


def test_over_the_cap(ledger: Ledger) -> None:
    ledger.reserve("f" * 64, "request-0", "f" * 64, Fraction(24), Fraction(24))
    spec, another = study("2"), study("2", name="another")
    message = decode(site(ledger, spec).answer(encode(asking(spec))))
    assert isinstance(message, SignedRelease)  # 24 + 0.15 * 4 <= 25
    message = decode(site(ledger, another).answer(encode(asking(another))))
    assert isinstance(message, Refusal)
    assert message.code == Code.OVER_BUDGET
    assert "spent 4.9598, asked 0.7746, cap 5.00" in message.sentence


def test_round_two_needs_round_one(ledger: Ledger) -> None:
    spec = study(LARGE)
    other = Ledger(":memory:", CAP)
    first = release(site(other, spec).answer(encode(asking(spec))))
    second = asking(spec, 2, common=common_of(spec, first))
    assert refused(site(ledger, spec).answer(encode(second))) == Code.UNAVAILABLE
    assert ledger.spent_mu2 == 0
    other.close()


def test_common_groups_must_fit_the_schema(ledger: Ledger) -> None:
    spec = study(LARGE)
    hospital = site(ledger, spec)
    good = common_of(spec, release(hospital.answer(encode(asking(spec)))))
    age, sex = good.groups
    wrong: list[dict[str, Any]] = [
        {"groups": (age,)},
        {"groups": (age, sex, sex)},
        {"groups": (sex, age)},
        {"groups": (age[:-1], sex)},
        {"groups": (age, (0, 2, 3))},  # an empty group
        {"groups": (age, (0, 1, 7))},
        {"groups": (age, ())},
        {"cells": good.masses},
        {"masses": good.cells},
        {"cells": Array.of(-good.cells.numpy())},
        {"masses": Array.of(np.zeros(2))},
    ]
    spent, unsent = ledger.spent_mu2, 0
    for change in wrong:
        common = good.model_copy(update=change)
        try:
            message = asking(spec, 2, common=common)
        except ValidationError:  # no message can hold it, and other bytes are refused as such
            unsent += 1
            continue
        assert refused(hospital.answer(encode(message))) == Code.UNKNOWN_COLUMN, change
    assert unsent <= 6
    beyond = asking(spec, 2, common=good.model_copy(update={"groups": (age, (0, 1, 10**9))}))
    assert refused(hospital.answer(encode(beyond))) == Code.UNAVAILABLE  # no message holds such a group
    assert ledger.spent_mu2 == spent


def test_the_number_of_groups_is_capped(ledger: Ledger) -> None:
    values = ", ".join(f"v{number}" for number in range(MAX_GROUPS + 1))
    schema = Schema.from_yaml(
        f"name: wide\ntarget: outcome\ncolumns:\n  CODE: {{type: category, values: [{values}]}}\n"
        "  outcome: {type: category, values: [well, ill]}\n"
    )
    spec = study(schema_hash=schema.hash)
    cells = Array.of(np.full((2, MAX_GROUPS + 1), 1 / (MAX_GROUPS + 1)))
    masses = Array.of(np.array([30.0, 30.0]))
    rows = table().assign(CODE="v1")[["CODE", "outcome"]]
    hospital = site(ledger, spec, source=TableSource(rows), schema=schema)
    for groups, code in ((MAX_GROUPS + 1, Code.UNKNOWN_COLUMN), (MAX_GROUPS, Code.UNAVAILABLE)):
        of = tuple(min(cell, groups - 1) for cell in range(MAX_GROUPS + 1))
        common = CommonMessage(groups=(of,), cells=cells, masses=masses, s_a=Decimal(1))
        assert refused(hospital.answer(encode(asking(spec, 2, common=common)))) == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.UNAVAILABLE),
        (b"\x80\x04K\x01.", Code.UNAVAILABLE),
        (b'{"protocol":1}', Code.UNAVAILABLE),
        (b'{"protocol":2,"type":"request"}', Code.UNKNOWN_VERSION),
        (encode(Refusal(code=Code.UNAVAILABLE, sentence="no")), Code.UNAVAILABLE),
        (encode(sign_study(COORDINATOR, study())), Code.UNAVAILABLE),
        (bytes(65 * 2**20), Code.UNAVAILABLE),
    ],
)
def test_other_bytes(ledger: Ledger, data: bytes, code: Code) -> None:
    assert refused(site(ledger, study()).answer(data)) == code


def test_an_unconfirmed_schema_is_not_served(ledger: Ledger) -> None:
    draft = Schema.from_yaml(SCHEMA.to_yaml().replace("max: 105.0", "max: 105.0\n    confirmed: false"))
    with pytest.raises(SchemaError, match="AGE"):
        site(ledger, schema=draft)


# --- what no refusal and no log says


class _FailingSource(TableSource):
    """A table whose reader fails after the site was opened, with a record in the error's text."""

    reads = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.reads += 1
        if self.reads > 1:
            raise ValueError("cannot parse 'Jane Doe, 1931'")
        return super().batches()


def test_an_exception_leaves_only_its_type(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = site(ledger, study(), source=_FailingSource(table())).answer(encode(asking(study())))
    assert refused(reply) == Code.UNAVAILABLE
    assert b"Jane" not in reply
    assert "Jane" not in caplog.text
    assert [record.message for record in caplog.records if record.name == "cohortmix.site"] == [
        "no answer: ValueError"
    ]


@pytest.mark.parametrize("column", ["AGE", "SEX", "outcome"])
@pytest.mark.parametrize(
    "value", [None, "", "nan", "-inf", "1e999", "9" * 400, "\x00", "F", "ill", "1931-01-01", "=cmd()"]
)
def test_no_code_depends_on_a_cell(ledger: Ledger, column: str, value: str | None) -> None:
    rows = table().astype("str")
    rows.loc[17, column] = value
    rows[column] = rows[column].where(rows.index != 18, None)
    hospital = site(ledger, study(), source=TableSource(pa.Table.from_pandas(rows, preserve_index=False)))
    verify_release(release(hospital.answer(encode(asking(study())))), asking(study()).request)
