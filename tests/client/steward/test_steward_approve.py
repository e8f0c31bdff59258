"""`cohortmix site approve`: which studies are approved, and what the steward reads where one is not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from desk import COORDINATOR, STRANGER, Desk

from cohortmix.client.ledger.policy import Policy, Refused
from cohortmix.client.steward import steward
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import Code, Refusal, SignedRelease, SiteEntry, encode


def test_an_approved_study_is_answered_and_no_other(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    study, other = desk.study(), desk.study("0.2")
    assert desk.answer(study).code == Code.NOT_APPROVED
    desk.approve(study)
    assert "mu 0.100, that is epsilon" in capsys.readouterr().out  # the quote comes first
    assert isinstance(desk.answer(study), SignedRelease)
    assert desk.answer(other).code == Code.NOT_APPROVED


def test_approving_twice_is_approving_once(desk: Desk) -> None:
    for _ in range(2):
        desk.approve(desk.study())
        written = desk.hospital.config.policy_file.read_bytes()
    assert desk.approvals() == [desk.study().hash]
    desk.approve(desk.study())
    assert desk.hospital.config.policy_file.read_bytes() == written


YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema_hash": "5" * 64}, "schema is 555555555555"),
        ({"patients": 61}, "counts 61 patients here, the checked table has 60"),
        ({"key": STRANGER.public_hex}, "does not name A with this site's key"),
        ({"name": "B"}, "does not name A"),
        ({"by": STRANGER}, "is not enrolled"),
        ({"expires": YESTERDAY}, f"expired on {YESTERDAY}"),
        ({"noise": "TEST"}, "not private"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_study_that_would_not_be_answered_is_not_approved(
    desk: Desk, changes: dict[str, Any], sentence: str
) -> None:
    entry: dict[str, Any] = {name: changes.pop(name) for name in ("patients", "key", "name") if name in changes}
    named: dict[str, Any] = {"name": "A", "key": desk.hospital.facts.key, "patients": 60} | entry
    by = changes.pop("by", COORDINATOR)
    sites = (SiteEntry(**named),)
    with pytest.raises(Refused, match=sentence):
        desk.approve(desk.study(by=by, sites=sites, **changes), by=by)
    assert desk.approvals() == []


def test_a_study_whose_constraints_do_not_fit_the_schema_is_not_approved(desk: Desk) -> None:
    with pytest.raises(InputError, match=r"the study's constraints do not fit its schema: .* got 'dead'"):
        desk.approve(desk.study(constraints=("recall(dead)>=0.5",)))
    assert desk.approvals() == []
    desk.approve(desk.study(constraints=("recall(ill)>=0.5",)))
    assert len(desk.approvals()) == 1


def test_a_study_above_the_stewards_limit_is_not_approved(desk: Desk) -> None:
    with pytest.raises(Refused, match=r"costs mu 0\.1, and --max-mu allows 0\.09; .*: give --max-mu 0\.1,"):
        desk.approve(desk.study(), "0.09")
    for limit in ("", "-1", "nan", "0,1"):
        with pytest.raises(InputError, match="expected --max-mu as a decimal"):
            desk.approve(desk.study(), limit)
    assert desk.approvals() == []
    desk.approve(desk.study(), "0.11")
    assert desk.approvals() == [desk.study().hash]


def test_a_study_over_the_cap_is_not_approved(desk: Desk) -> None:
    desk.configure(cap_mu="0.15")
    desk.approve(desk.study())
    assert isinstance(desk.answer(desk.study()), SignedRelease)
    desk.approve(desk.study())  # it has begun, and is not counted twice
    with pytest.raises(BudgetExceeded, match=r"spent 0\.10, asked 0\.12, cap 0\.15"):
        desk.approve(desk.study("0.12"))
    assert desk.approvals() == [desk.study().hash]


SITES, LEDGERS = (
    r"`cap_mu` in site\.yaml \({}\)",
    r"the ledger's own \({}\), by `cohortmix site ledger --raise-cap`",
)


@pytest.mark.parametrize(
    ("configured", "signed", "named"),
    [
        ("0.11", None, f"{SITES.format('0.11')} and {LEDGERS.format('0.1')}"),
        ("0.9", None, LEDGERS.format("0.1")),
        ("0.12", "0.3", SITES.format("0.12")),
    ],
)
def test_over_the_cap_it_is_said_which_cap_and_how_much_is_needed(
    desk: Desk, configured: str, signed: str | None, named: str
) -> None:
    desk.configure(cap_mu="0.1")
    desk.approve(desk.study())
    desk.answer(desk.study())
    desk.configure(cap_mu=configured)
    if signed is not None:
        steward.ledger(desk.file, raise_cap=signed)
    second = desk.study("0.1", name="second")
    attempts: list[Callable[[], object]] = [
        lambda: desk.approve(second),
        lambda: steward.preview(desk.receive(second), desk.file),
    ]
    for refused in attempts:
        with pytest.raises(BudgetExceeded, match=rf"it needs a cap of 0\.1415: to allow it, raise {named}$"):
            refused()
        desk.hospital.approve(second)  # as if it had fitted the budget then
    desk.configure(cap_mu="0.1415")
    if signed is None:
        steward.ledger(desk.file, raise_cap="0.1415")
    desk.approve(second)


@pytest.mark.parametrize("cause", ["--max-mu", "cap", "coordinator"])
def test_what_is_refused_is_refused_before_the_quote(
    desk: Desk, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = desk.study()
    desk.configure(cap_mu="0.05" if cause == "cap" else "5")
    desk.configure(coordinators=[(STRANGER if cause == "coordinator" else COORDINATOR).public_hex])
    capsys.readouterr()
    with pytest.raises((Refused, BudgetExceeded)):
        desk.approve(study, "0.01" if cause == "--max-mu" else "1")
    assert capsys.readouterr().out == ""
    desk.configure(cap_mu="5", coordinators=[COORDINATOR.public_hex])
    desk.approve(study)
    assert "at most" in capsys.readouterr().out


def test_a_study_that_is_not_as_it_was_signed_is_not_read(desk: Desk) -> None:
    path = desk.receive(desk.study(), by=STRANGER)  # it names the coordinator, and the stranger signed it
    altered = desk.receive(desk.study("0.2"))
    altered.write_bytes(altered.read_bytes().replace(b'"mu":"0.2"', b'"mu":"0.1"'))
    commands: list[Callable[[Path], object]] = [
        lambda file: steward.approve(file, "1", desk.file),
        lambda file: steward.quote(file, desk.file),
    ]
    for file in (path, altered):
        for command in commands:
            with pytest.raises(InputError, match="not as its coordinator signed it"):
                command(file)
    path.write_bytes(encode(Refusal(code=Code.UNAVAILABLE, sentence="no")))
    with pytest.raises(InputError, match="no signed study"):
        steward.quote(path, desk.file)
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match=r"is no signed study; ask the coordinator for signed.json"):
        steward.quote(path, desk.file)
    path.write_bytes(altered.read_bytes().replace(b'"protocol":1', b'"protocol":2'))
    with pytest.raises(InputError, match="expected protocol=1, got protocol=2; install the same version"):
        steward.quote(path, desk.file)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read the study .*: No such file"):
        steward.quote(path, desk.file)
    assert desk.approvals() == []


def test_the_draft_is_told_from_the_signed_study(desk: Desk) -> None:
    """The coordinator's folder has study.json beside signed.json; a steward may be sent the wrong one."""
    path = desk.hospital.folder / "study.json"
    path.write_bytes(canonical(desk.study().plain()))
    for command in (steward.quote, steward.preview, lambda file, config: steward.approve(file, "1", config)):
        with pytest.raises(InputError, match=r"study.json' is the draft of a study, .* for signed.json") as caught:
            command(path, desk.file)
        assert "union" not in str(caught.value)


def test_a_mu_is_read_as_a_decimal_and_kept_as_one(desk: Desk) -> None:
    desk.approve(desk.study(), "0.30")
    (approval,) = Policy.load(desk.hospital.config.policy_file).approvals
    assert approval.max_mu == Decimal("0.3")
