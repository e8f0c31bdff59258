"""`cohortmix site ledger`: what it shows, and what a steward signs there."""

import csv
import json
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial

import pytest
from desk import COORDINATOR, Desk
from typer.testing import CliRunner

from cohortmix.client.ledger import history
from cohortmix.client.ledger.day import today
from cohortmix.client.ledger.journal import MARK_FILE, HistoryError, LedgerError
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.steward import service, steward
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.core.steps.plan import NOISY_SHARE
from cohortmix.deploy.cli import app
from cohortmix.protocol.messages import SignedRelease
from cohortmix.protocol.signing import Key


def test_the_odometer_shows_each_request_and_exports_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.configure(cap_mu="0.2")
    study = desk.study()
    desk.approve(study)
    released = desk.answer(study)
    capsys.readouterr()
    file = desk.hospital.folder / "ledger.csv"
    steward.ledger(desk.file, file)
    shown = capsys.readouterr().out
    for part in ("spent mu 0.100 of 0.200: 25.0\u00a0%", "left  mu 0.173", "study", study.hash[:12], "committed"):
        assert part in shown
    room = (
        f"the last study, [{study.hash[:12]}], costs mu 0.100 at most: 3 more studies like this fit under the cap"
    )
    assert room in " ".join(shown.split())
    assert f"approved up to mu 0.1: study [{study.hash[:12]}], on {today()}" in shown
    line = next(line for line in shown.splitlines() if "committed" in line)
    assert line.startswith(f"{today()}  study [{study.hash[:12]}]")
    assert f"coordinator key {COORDINATOR.public_hex[:8]}" in shown
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert row == {
        "study": study.hash,
        "name": "study",
        "request": released.receipt.request_id,
        "round": "1",
        "state": "committed",
        "mu": "0.1",
        "mu2": "1/100",
        "receipt": released.receipt.hash,
        "day": today().isoformat(),
        "coordinator": COORDINATOR.public_hex,
    }


def test_an_empty_ledger_is_shown_as_one(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    steward.ledger(desk.file)
    shown = capsys.readouterr().out
    assert "spent mu 0 of 5.00: 0.0\u00a0%" in shown
    assert "no request so far" in shown
    assert "no study is approved" in shown
    desk.approve(desk.study())
    steward.revoke(desk.study().hash, desk.file)
    capsys.readouterr()
    steward.ledger(desk.file)
    shown = capsys.readouterr().out
    assert f"revoked: [{desk.study().hash[:12]}]" in shown  # without its name, which stood in the approval
    assert f"{today()}  steward         revoked [{desk.study().hash[:12]}]" in shown


def test_every_act_of_the_steward_is_shown_with_its_day_and_key(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    key = desk.hospital.facts.key
    steward.ledger(desk.file, raise_cap="6")
    steward.revoke(desk.study().hash, desk.file)
    desk.approve(desk.study())
    capsys.readouterr()
    steward.ledger(desk.file, new_key=desk.hospital.site / "second.key")
    new = Key.from_bytes((desk.hospital.site / "second.key").read_bytes()).public_hex
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    lines = [line.removeprefix(f"{today()} steward") for line in shown if line.startswith(f"{today()} steward")]
    assert lines == [
        f", key {key[:8]} raise cap to 6",
        f" revoked study [{desk.study().hash[:12]}]",
        f" approved study [{desk.study().hash[:12]}]",
        f", key {key[:8]} new key: {new[:8]}",
    ]


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        ("0.1", "no other study like this fits under the cap"),
        ("0.15", "one more study like this fits under the cap"),
        ("0.2", "3 more studies like this fit under the cap"),
    ],
)
def test_the_cost_is_said_in_studies_by_quote_and_ledger_alike(
    desk: Desk, capsys: pytest.CaptureFixture[str], cap: str, said: str
) -> None:
    """mu 0.1 once takes .01 of the cap's square; of .0225 one more fits, and not two."""
    desk.configure(cap_mu=cap)
    for released in (False, True):  # before anything is spent, and afterwards
        capsys.readouterr()
        steward.quote(desk.receive(desk.study()), desk.file)
        assert said in " ".join(capsys.readouterr().out.replace("│", " ").split())
        if not released:
            desk.approve(desk.study())
            desk.answer(desk.study())
        capsys.readouterr()
        steward.ledger(desk.file)
        assert said in " ".join(capsys.readouterr().out.split())


def test_quote_and_ledger_count_further_studies_by_the_cost_of_the_study_alone(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A generous --max-mu changes nothing: the study costs what it costs."""
    desk.configure(cap_mu="0.2")
    said = "3 more studies like this fit under the cap"
    for answered in (False, True):
        desk.approve(desk.study(), "0.2")
        if answered:
            desk.answer(desk.study())
        quote = partial(steward.quote, desk.receive(desk.study()), desk.file)
        for show in (quote, partial(steward.ledger, desk.file)):
            capsys.readouterr()
            show()
            assert said in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_an_approval_of_an_earlier_version_counts_as_what_it_allows(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.configure(cap_mu="0.2")
    desk.approve(desk.study(), "0.2")
    file = desk.hospital.config.policy_file
    plain = json.loads(file.read_text())
    assert plain["approvals"][0].pop("mu") == "0.1"
    file.write_text(json.dumps(plain))
    capsys.readouterr()
    steward.ledger(desk.file)
    assert "costs mu 0.200 at most: no other study like this fits" in " ".join(capsys.readouterr().out.split())


def test_raising_the_cap_takes_the_configuration_and_a_signature(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.configure(cap_mu="0.1")
    desk.approve(desk.study())
    assert isinstance(desk.answer(desk.study()), SignedRelease)
    desk.configure(cap_mu="0.3")
    with pytest.raises(BudgetExceeded):
        desk.approve(desk.study("0.2"))
    steward.ledger(desk.file)
    assert "the ledger's own, 0.1, and that of site.yaml, 0.3" in " ".join(capsys.readouterr().out.split())
    steward.ledger(desk.file, raise_cap="0.3")
    desk.approve(desk.study("0.2"))
    assert isinstance(desk.answer(desk.study("0.2")), SignedRelease)
    with pytest.raises(LedgerError, match="above 0"):
        steward.ledger(desk.file, raise_cap="0.3")


def test_a_ledger_that_was_set_back_is_named_by_every_command(desk: Desk) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    for file in desk.hospital.config.state.glob("ledger.db*"):
        file.unlink()
    study = desk.receive(desk.study())
    commands: list[Callable[[], None]] = [
        lambda: steward.ledger(desk.file),
        lambda: steward.quote(study, desk.file),
        lambda: steward.preview(study, desk.file),
    ]
    for command in commands:
        with pytest.raises(HistoryError, match="set back"):
            command()
    with pytest.raises(HistoryError, match="set back"):
        steward.ledger(desk.file, renew_mark=True)


def test_a_lost_ledger_is_not_renewed_by_the_steward(desk: Desk) -> None:
    """The ledger is lost and its mark damaged: what was spent stays spent until the ledger is put back."""
    desk.approve(desk.study())
    desk.answer(desk.study())
    newest, config = desk.hospital.config.ledger_file.read_bytes(), desk.hospital.config
    config.ledger_file.unlink()
    (config.mark / MARK_FILE).write_bytes(b"")
    typed = CliRunner().invoke(app, ["site", "ledger", "--renew-mark", "-c", str(desk.file)])
    assert (typed.exit_code, "its whole cap counts as spent" in typed.stderr) == (3, True)
    assert not config.ledger_file.exists()
    for renew in (False, True):
        with pytest.raises(HistoryError, match="its whole cap counts as spent"):
            steward.ledger(desk.file, renew_mark=renew)
    config.ledger_file.write_bytes(newest)
    steward.ledger(desk.file, renew_mark=True)
    assert desk.spent() == desk.study().mu2


def test_a_lost_mark_is_renewed_by_the_steward(desk: Desk) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    (desk.hospital.config.mark / MARK_FILE).unlink()
    with pytest.raises(HistoryError, match="--renew-mark"):
        steward.ledger(desk.file)
    steward.ledger(desk.file, renew_mark=True)
    assert desk.spent() == desk.study().mu2


def test_a_key_that_was_replaced_by_hand_is_named_by_every_command(desk: Desk) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    key, config = desk.hospital.config.key, desk.hospital.config
    good, study = key.read_bytes(), desk.receive(desk.study())
    key.write_bytes(Key.generate().to_bytes())
    before = {path: path.read_bytes() for path in config.state.rglob("*") if path.suffix in (".json", ".parquet")}
    commands: list[Callable[[], None]] = [
        lambda: service.check(desk.file),
        lambda: steward.ledger(desk.file),
        lambda: steward.ledger(desk.file, new_key=desk.hospital.folder / "another.key"),
        lambda: steward.quote(study, desk.file),
        lambda: steward.approve(study, "1", desk.file),
        lambda: steward.preview(study, desk.file),
    ]
    for command in commands:
        with pytest.raises(LedgerError, match=r"not the one that this ledger was kept under.* --new-key FILE"):
            command()
    assert before == {path: path.read_bytes() for path in before}
    key.write_bytes(good)
    for command in commands[:2]:
        command()


def test_a_site_changes_its_key_and_keeps_its_ledger(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    former = desk.hospital.facts.key
    steward.ledger(desk.file, new_key=desk.hospital.site / "second.key")
    assert "public key" in capsys.readouterr().out
    with pytest.raises(
        LedgerError, match=r"is not the one that this ledger was kept under last: .* name its file"
    ):
        steward.ledger(desk.file)
    desk.configure(key="second.key")
    with pytest.raises(InputError, match="key has changed"):
        steward.quote(desk.receive(desk.study()), desk.file)
    service.check(desk.file)
    assert desk.hospital.facts.key != former
    desk.approve(desk.study("0.2"))
    assert isinstance(desk.answer(desk.study("0.2")), SignedRelease)
    assert desk.spent() == desk.study().mu2 + NOISY_SHARE * desk.study("0.2").mu2  # of two rounds the first


def test_a_steward_signs_that_the_clock_is_right_again(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was a hundred years ahead closes the ledger to studies that expire, until then."""
    study = desk.study(expires=today() + timedelta(days=30))
    with monkeypatch.context() as patched:
        patched.setattr(history, "today", lambda: date(2126, 1, 1))
        with pytest.raises(Refused, match="expired on"):
            desk.approve(study)
    with pytest.raises(Refused, match=r"The ledger has seen 2126-01-01, .* --clock-corrected"):
        desk.approve(study)
    steward.ledger(desk.file, clock_corrected=True)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{today()} steward, key {desk.hospital.facts.key[:8]} correct clock" in shown
    desk.approve(study)
    with pytest.raises(LedgerError, match="nothing to correct"):
        steward.ledger(desk.file, clock_corrected=True)


def test_no_export_takes_the_place_of_what_the_site_lives_on(desk: Desk) -> None:
    """`--csv site.key` would destroy the signing key; and nothing is signed before the refusal."""
    study, config = desk.receive(desk.study()), desk.hospital.config
    files = [desk.file, *config.files, config.ledger_file, config.policy_file, config.snapshot_folder / "new"]
    before = {path: path.read_bytes() for path in desk.hospital.folder.rglob("*") if path.is_file()}
    for file in files:
        with pytest.raises(InputError, match="needed as it is"):
            steward.ledger(desk.file, file, raise_cap="6", replace=True)
        with pytest.raises(InputError, match="needed as it is"):
            steward.quote(study, desk.file, file, replace=True)
    with pytest.raises(InputError, match="needed as it is"):
        steward.quote(study, desk.file, study, replace=True)
    new = desk.hospital.folder / "new"
    with pytest.raises(InputError, match="needed as it is"):
        steward.ledger(desk.file, new, new_key=new)
    other = desk.hospital.folder / "thesis"
    other.write_text("do not lose this")
    with pytest.raises(InputError, match="exists; give a new file"):
        steward.ledger(desk.file, other, raise_cap="6")
    assert before == {path: path.read_bytes() for path in before}
    assert not new.exists()
