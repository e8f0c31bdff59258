"""A site: what it answers, what it refuses, and that neither costs more than its receipts say."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cohortmix.client.ledger import Ledger
from cohortmix.client.policy import Policy, Refused
from cohortmix.client.site import MAX_GROUPS, Site
from cohortmix.core import pipeline
from cohortmix.core.budget import MIN_PATIENTS
from cohortmix.core.noise import NoiseSource, OpenDPNoise
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.schema import Schema, SchemaError
from cohortmix.core.table import Source, TableSource
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    Centroids,
    ClassSums,
    Code,
    Common,
    Refusal,
    Request,
    SignedRelease,
    SignedRequest,
    SignedStudy,
    SiteEntry,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import total, verify_chain, verify_release
from cohortmix.protocol.signing import Key, sign_request, sign_study

KEY, COORDINATOR, STRANGER = (Key.from_bytes(bytes([number] * 32)) for number in (1, 2, 3))
SMALL, LARGE = "0.05", "4"  # at 120 patients: class centroids only, and a mixture
CAP = Decimal(5)
SCHEMA = Schema.from_yaml(
    """
name: small
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  SEX: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


def table(patients: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    age = rng.integers(16, 105, patients)
    ill = rng.random(patients) < age / 120
    return pd.DataFrame(
        {"AGE": age, "SEX": rng.choice(["F", "M"], patients), "outcome": np.where(ill, "ill", "well")}
    )


def study(mu: str = SMALL, **changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "study",
        "schema_hash": SCHEMA.hash,
        "target": "outcome",
        "mu": Decimal(mu),
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": (SiteEntry(name="site", key=KEY.public_hex, patients=120),),
        "min_sites": 1,
        "round_deadline_seconds": 60,
        "noise": "TEST",
        "version": "0.1.0",
        "coordinator_key": COORDINATOR.public_hex,
    }
    return StudySpec(**values | changes)


def asking(about: StudySpec, round: int = 1, id: str | None = None, common: Common | None = None) -> SignedRequest:
    id = id or request_id(about.hash, "site", round)
    request = Request(study=sign_study(COORDINATOR, about), round=round, request_id=id, common=common)
    return sign_request(COORDINATOR, request)


@dataclass
class CountingNoise:
    """A real source that counts its draws and can fail at one of them."""

    source: NoiseSource = field(default_factory=lambda: KeyedNoise(1))
    draws: int = 0
    fails_at: int = -1

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def private(self) -> bool:
        return self.source.private

    def add(self, values: Any, sigma: int, purpose: str) -> Any:
        self.draws += 1
        if self.draws == self.fails_at:
            raise OSError("the machine stopped")
        return self.source.add(values, sigma, f"{purpose}:{self.draws}")  # no two draws are the same


@dataclass
class CountedSource:
    """A table that counts how often it is read."""

    source: Source
    reads: int = 0

    @property
    def names(self) -> Sequence[str]:
        return self.source.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.reads += 1
        return self.source.batches()


class BrittleLedger(Ledger):
    """A ledger whose machine stops at the first commit, after everything was drawn."""

    stops = True

    def commit(self, *arguments: Any) -> bytes:
        if self.stops:
            self.stops = False
            raise OSError("the machine stopped")
        return super().commit(*arguments)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:", CAP)
    yield ledger
    ledger.close()


def site(ledger: Ledger, *approved: StudySpec, source: Source | None = None, **changes: Any) -> Site:
    policy = Policy(coordinators=(COORDINATOR.public_hex,))
    for each in approved:
        policy = policy.approve(each)
    values: dict[str, Any] = {
        "name": "site",
        "source": source or TableSource(table()),
        "schema": SCHEMA,
        "ledger": ledger,
        "policy": policy,
        "key": KEY,
        "noise": KeyedNoise(1),
    }
    return Site(**values | changes)


def release(data: bytes) -> SignedRelease:
    message = decode(data)
    assert isinstance(message, SignedRelease), message
    return message


def refused(data: bytes) -> Code:
    message = decode(data)
    assert isinstance(message, Refusal), message
    return message.code


def common_of(about: StudySpec, first: SignedRelease) -> Common:
    assert isinstance(first.release, ClassSums)
    plan = pipeline.Plan(SCHEMA, about.mu2, 120, about.share, float(about.alpha))
    return Common.of(pipeline.common([plan], [first.release.answer.to_core()]))


# --- what it answers


def test_round_one(ledger: Ledger) -> None:
    asked = asking(study())
    reply = release(site(ledger, study()).answer(encode(asked)))
    verify_release(reply, asked.request)
    assert isinstance(reply.release, ClassSums)
    assert reply.receipt.patients == 120
    assert total([reply.receipt]).mu2 <= ledger.spent_mu2 == study().mu2  # too small for a mixture: all for A
    assert (reply.receipt.private, reply.receipt.warning) == (False, "NOT PRIVATE: test noise")


def test_real_noise_makes_a_private_receipt(ledger: Ledger) -> None:
    about = study(noise="opendp")
    asked = asking(about)
    reply = release(site(ledger, about, noise=OpenDPNoise()).answer(encode(asked)))
    verify_release(reply, asked.request)
    assert (reply.receipt.private, reply.receipt.warning) == (True, None)


def test_round_two_of_a_small_site_is_free(ledger: Ledger) -> None:
    about = study(SMALL)
    here = site(ledger, about)
    first = release(here.answer(encode(asking(about))))
    asked = asking(about, 2, common=common_of(about, first))
    second = release(here.answer(encode(asked)))
    verify_release(second, asked.request)
    assert isinstance(second.release, Centroids)
    assert set(second.release.kinds) == {"class"}
    assert second.receipt.statements == ()
    assert second.receipt.mu2 == 0
    assert ledger.spent_mu2 == about.mu2


def test_both_rounds_cost_the_mu_of_the_study(ledger: Ledger) -> None:
    about, noise = study(LARGE), CountingNoise()
    here = site(ledger, about, noise=noise)
    first = release(here.answer(encode(asking(about))))
    asked = asking(about, 2, common=common_of(about, first))
    second = release(here.answer(encode(asked)))
    verify_release(second, asked.request)
    assert isinstance(second.release, Centroids)
    assert "mixture" in second.release.kinds
    assert second.release.masses.numpy().sum() == pytest.approx(120)
    spent = total([first.receipt, second.receipt]).mu2
    assert ledger.spent_mu2 == about.mu2
    assert about.mu2 * (1 - Fraction(1, 10**9)) < spent <= about.mu2
    assert noise.draws == 2
    verify_chain([first.receipt, second.receipt], complete=True)
    assert here.answer(encode(asked)) == encode(second)
    assert noise.draws == 2


def test_replies_cost_what_the_receipt_says() -> None:
    """Guarantee: over all replies mu^2 <= the receipts' sum <= what was reserved <= cap^2."""
    studies = [study(mu, name=f"study {mu}") for mu in ("3", "2.5", "2", "1.5", "1", "0.5")]
    cap, noise = Decimal(2), CountingNoise()
    ledger = Ledger(":memory:", cap)
    here = site(ledger, *studies, noise=noise)
    replies = {here.answer(encode(asking(each))) for each in studies for _ in range(2)}
    replies |= {here.answer(encode(asking(each, id="request-2"))) for each in studies}
    released = [message for data in replies if isinstance(message := decode(data), SignedRelease)]
    assert 1 < len(released) == noise.draws == len(ledger.receipts())
    assert len(replies) > len(released)  # some were refused
    answers = [each.release.answer.to_core() for each in released if isinstance(each.release, ClassSums)]
    cost = sum((Fraction(each.sensitivity2, each.sigma**2) for each in answers), Fraction(0))
    assert cost == total(each.receipt for each in released).mu2
    assert cost <= ledger.spent_mu2 <= Fraction(cap) ** 2
    ledger.close()


def test_public_facts(ledger: Ledger) -> None:
    """Two rows for each patient: the number of patients is public, the number of rows is not."""
    schema = SCHEMA.model_copy(update={"patient_key": "ID"})
    rows = pd.concat([table(60), table(60)], ignore_index=True).assign(ID=[str(n % 60) for n in range(120)])
    here = site(ledger, source=TableSource(rows), schema=schema)
    facts = decode(here.describe())
    assert facts == here.description
    assert (facts.patients, facts.site, facts.key) == (60, "site", KEY.public_hex)
    assert facts.columns == ("AGE", "SEX", "outcome")
    assert b"120" not in here.describe()
    assert "120" not in repr(here)


# --- the same request


def test_the_same_request_gets_the_same_bytes(tmp_path: Path) -> None:
    """Also after a restart, and it is neither charged nor drawn again."""
    data, replies, noise = encode(asking(study())), set(), CountingNoise()
    for _ in range(3):
        ledger = Ledger(tmp_path / "ledger.db", CAP)
        replies.add(site(ledger, study(), noise=noise).answer(data))
        assert ledger.spent_mu2 == study().mu2
        ledger.close()
    assert len(replies) == 1
    assert noise.draws == 1
    release(replies.pop())


def test_a_preview_is_what_the_coordinator_gets_later(ledger: Ledger) -> None:
    noise, about = CountingNoise(), study()
    here = site(ledger, about, noise=noise)
    shown = here.preview(sign_study(COORDINATOR, about))
    assert (noise.draws, ledger.spent_mu2) == (1, about.mu2)
    asked = asking(about)
    assert here.answer(encode(asked)) == shown
    verify_release(release(shown), asked.request)
    assert (noise.draws, ledger.spent_mu2) == (1, about.mu2)


def test_a_preview_is_refused_as_a_request_is(ledger: Ledger) -> None:
    here = site(ledger, study())
    cases = {
        Code.BAD_SIGNATURE: sign_study(STRANGER, study()),
        Code.NOT_APPROVED: sign_study(COORDINATOR, study(name="another")),
    }
    for code, signed in cases.items():
        with pytest.raises(Refused) as caught:
            here.preview(signed)
        assert caught.value.refusal.code == code
    assert ledger.spent_mu2 == 0


@pytest.mark.parametrize("id", ["request-2", "of another site", "of another study", "of another round"])
def test_a_round_of_a_study_is_one_request(ledger: Ledger, id: str) -> None:
    """A coordinator cannot have a round computed, or the table read, as often as it likes."""
    about, noise = study(LARGE), CountingNoise()
    ids = {
        "of another site": request_id(about.hash, "elsewhere", 1),
        "of another study": request_id(study().hash, "site", 1),
        "of another round": request_id(about.hash, "site", 2),
    }
    here = site(ledger, about, noise=noise)
    assert refused(here.answer(encode(asking(about, id=ids.get(id, id))))) == Code.NOT_APPROVED
    assert (ledger.spent_mu2, noise.draws) == (0, 0)
    release(here.answer(encode(asking(about))))


def test_one_id_has_one_content(ledger: Ledger) -> None:
    about = study(LARGE)
    here = site(ledger, about)
    first = release(here.answer(encode(asking(about))))
    common = common_of(about, first)
    release(here.answer(encode(asking(about, 2, common=common))))
    spent = ledger.spent_mu2
    other = common.model_copy(update={"s_a": common.s_a + 1})
    assert refused(here.answer(encode(asking(about, 2, common=other)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == spent


@pytest.mark.parametrize(("mu", "asks"), [(SMALL, False), (LARGE, True)])
def test_a_round_that_asks_nothing_opens_no_table(ledger: Ledger, mu: str, asks: bool) -> None:
    """A site too small for a mixture answers round 2 from its first answer, for free: no record is read again."""
    source, about = CountedSource(TableSource(table())), study(mu)
    here = site(ledger, about, source=source)
    first = release(here.answer(encode(asking(about))))
    before = source.reads
    second = release(here.answer(encode(asking(about, 2, common=common_of(about, first)))))
    assert isinstance(second.release, Centroids)
    assert (source.reads > before, second.receipt.mu2 > 0) == (asks, asks)


def test_a_crash_after_the_draw_buys_no_second_draw() -> None:
    ledger, noise, data = BrittleLedger(":memory:", CAP), CountingNoise(), encode(asking(study()))
    here = site(ledger, study(), noise=noise)
    assert refused(here.answer(data)) == Code.UNAVAILABLE
    assert (noise.draws, ledger.spent_mu2, ledger.receipts()) == (1, study().mu2, ())
    reply = release(here.answer(data))
    assert (noise.draws, ledger.spent_mu2) == (1, study().mu2)
    assert isinstance(reply.release, ClassSums)
    uninterrupted = Ledger(":memory:", CAP)
    plain = release(site(uninterrupted, study(), noise=CountingNoise()).answer(data))
    assert reply == plain  # the answer that was stored is the one that is released
    for each in (ledger, uninterrupted):
        each.close()


def test_a_crash_in_the_draw_is_charged_once(ledger: Ledger) -> None:
    noise, data = CountingNoise(fails_at=1), encode(asking(study()))
    here = site(ledger, study(), noise=noise)
    assert refused(here.answer(data)) == Code.UNAVAILABLE
    assert ledger.spent_mu2 == study().mu2
    release(here.answer(data))
    assert (noise.draws, ledger.spent_mu2) == (2, study().mu2)


# --- what it refuses


def test_empty_policy_allows_nothing(ledger: Ledger) -> None:
    here = site(ledger, study(), policy=Policy())
    assert refused(here.answer(encode(asking(study())))) == Code.NOT_APPROVED
    assert refused(site(ledger).answer(encode(asking(study())))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0


def test_a_study_that_has_expired_is_refused(ledger: Ledger) -> None:
    today = datetime.now(UTC).date()
    past, current = (study(expires=today + timedelta(days=days)) for days in (-1, 1))
    here = site(ledger, past, current)
    assert refused(here.answer(encode(asking(past)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0
    release(here.answer(encode(asking(current))))


def test_a_revoked_study_is_refused(ledger: Ledger) -> None:
    here = site(ledger, study())
    release(here.answer(encode(asking(study()))))
    here.policy = Policy(coordinators=(COORDINATOR.public_hex,))
    assert refused(here.answer(encode(asking(study())))) == Code.NOT_APPROVED


def test_signatures(ledger: Ledger) -> None:
    about = study()
    good = asking(about)
    request = good.request
    altered = request.model_copy(
        update={"study": SignedStudy(study=study("0.29"), signature=request.study.signature)}
    )
    forged = [
        SignedRequest(request=request, signature="0" * 128),
        SignedRequest(request=asking(about, id="request-2").request, signature=good.signature),
        sign_request(STRANGER, request),
        sign_request(COORDINATOR, altered),
        sign_request(COORDINATOR, request.model_copy(update={"study": sign_study(STRANGER, about)})),
    ]
    here = site(ledger, about, study("0.29"))
    assert [refused(here.answer(encode(each))) for each in forged] == [Code.BAD_SIGNATURE] * len(forged)
    assert ledger.spent_mu2 == 0
    release(here.answer(encode(good)))


def test_a_coordinator_that_is_not_enrolled(ledger: Ledger) -> None:
    theirs = study(coordinator_key=STRANGER.public_hex)
    signed = sign_request(STRANGER, Request(study=sign_study(STRANGER, theirs), round=1, request_id="request-1"))
    assert refused(site(ledger, theirs).answer(encode(signed))) == Code.NOT_APPROVED


@pytest.mark.parametrize(
    ("declared", "source"), [("opendp", KeyedNoise(1)), ("TEST", OpenDPNoise())], ids=["test site", "real site"]
)
def test_the_noise_source_must_be_the_declared_one(ledger: Ledger, declared: str, source: NoiseSource) -> None:
    about = study(noise=declared)
    assert refused(site(ledger, about, noise=source).answer(encode(asking(about)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0


@pytest.mark.parametrize("change", [{"schema_hash": "0" * 64}, {"target": "SEX"}])
def test_another_schema(ledger: Ledger, change: dict[str, str]) -> None:
    about = study(**change)
    assert refused(site(ledger, about).answer(encode(asking(about)))) == Code.UNKNOWN_COLUMN


@pytest.mark.parametrize(
    "entry",
    [
        SiteEntry(name="elsewhere", key=KEY.public_hex, patients=120),
        SiteEntry(name="site", key=STRANGER.public_hex, patients=120),
        SiteEntry(name="site", key=KEY.public_hex, patients=121),
    ],
)
def test_the_study_must_name_this_site(ledger: Ledger, entry: SiteEntry) -> None:
    about = study(sites=(entry,))
    assert refused(site(ledger, about).answer(encode(asking(about)))) == Code.NOT_APPROVED


@pytest.mark.parametrize("patients", [MIN_PATIENTS - 1, MIN_PATIENTS])
def test_too_few_patients(ledger: Ledger, patients: int) -> None:
    about = study(sites=(SiteEntry(name="site", key=KEY.public_hex, patients=patients),))
    reply = site(ledger, about, source=TableSource(table(patients))).answer(encode(asking(about)))
    if patients < MIN_PATIENTS:
        assert refused(reply) == Code.TOO_FEW_PATIENTS
    else:
        release(reply)


def test_over_the_cap(ledger: Ledger) -> None:
    ledger.reserve("f" * 64, "request-0", "f" * 64, Fraction(24), Fraction(24))
    about, another = study("2"), study("2", name="another")
    message = decode(site(ledger, about).answer(encode(asking(about))))
    assert isinstance(message, SignedRelease)  # 24 + 0.15 * 4 <= 25
    message = decode(site(ledger, another).answer(encode(asking(another))))
    assert isinstance(message, Refusal)
    assert message.code == Code.OVER_BUDGET
    assert "spent 4.9598, asked 0.7746, cap 5.00" in message.sentence


def test_round_two_needs_round_one(ledger: Ledger) -> None:
    about = study(LARGE)
    other = Ledger(":memory:", CAP)
    first = release(site(other, about).answer(encode(asking(about))))
    second = asking(about, 2, common=common_of(about, first))
    assert refused(site(ledger, about).answer(encode(second))) == Code.UNAVAILABLE
    assert ledger.spent_mu2 == 0
    other.close()


def test_common_groups_must_fit_the_schema(ledger: Ledger) -> None:
    about = study(LARGE)
    here = site(ledger, about)
    good = common_of(about, release(here.answer(encode(asking(about)))))
    age, sex = good.groups
    wrong = [
        {"groups": (age,)},
        {"groups": (age, sex, sex)},
        {"groups": (sex, age)},
        {"groups": (age[:-1], sex)},
        {"groups": (age, (0, 2, 3))},  # an empty group
        {"groups": (age, (0, 1, 10**9))},
        {"groups": (age, ())},
        {"cells": good.masses},
        {"masses": good.cells},
        {"cells": Array.of(-good.cells.numpy())},
        {"masses": Array.of(np.zeros(2))},
    ]
    spent = ledger.spent_mu2
    for change in wrong:
        asked = asking(about, 2, common=good.model_copy(update=change))
        assert refused(here.answer(encode(asked))) == Code.UNKNOWN_COLUMN, change
    assert ledger.spent_mu2 == spent


def test_the_number_of_groups_is_capped(ledger: Ledger) -> None:
    values = ", ".join(f"v{number}" for number in range(MAX_GROUPS + 1))
    schema = Schema.from_yaml(
        f"name: wide\ntarget: outcome\ncolumns:\n  CODE: {{type: category, values: [{values}]}}\n"
        "  outcome: {type: category, values: [well, ill]}\n"
    )
    about = study(schema_hash=schema.hash)
    cells = Array.of(np.full((2, MAX_GROUPS + 1), 0.1))
    masses = Array.of(np.array([60.0, 60.0]))
    rows = table().assign(CODE="v1")[["CODE", "outcome"]]
    here = site(ledger, about, source=TableSource(rows), schema=schema)
    for groups, code in ((MAX_GROUPS + 1, Code.UNKNOWN_COLUMN), (MAX_GROUPS, Code.UNAVAILABLE)):
        of = tuple(min(cell, groups - 1) for cell in range(MAX_GROUPS + 1))
        common = Common(groups=(of,), cells=cells, masses=masses, s_a=Decimal(1))
        assert refused(here.answer(encode(asking(about, 2, common=common)))) == code


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


# --- what nobody learns


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
    here = site(ledger, study(), source=TableSource(pa.Table.from_pandas(rows, preserve_index=False)))
    verify_release(release(here.answer(encode(asking(study())))), asking(study()).request)
