"""The steward's commands: quotes, previews and revocations; what they show, and how every command ends."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from desk import STRANGER, Desk
from typer.testing import CliRunner

from cohortmix.client.ledger.journal import MARK_FILE, HistoryError
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.site.lock import replacing
from cohortmix.client.site.opening import open_site, read_policy
from cohortmix.client.steward import service, steward
from cohortmix.core.data.table import InputError
from cohortmix.deploy.cli import app
from cohortmix.protocol.messages import Code, Refusal, SignedRelease, decode

# --- quote


def test_a_quote_says_what_is_asked_and_costs_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk.hospital.folder / "quote.json"
    steward.quote(desk.receive(desk.study("0.268")), desk.file, file)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for part in (
        "mu 0.268",
        "epsilon 1.00 at delta 1e-05",
        "at most 8.5 % of the members",
        "cap 5.00",
        "AGE",
        "SEX",
    ):
        assert part in shown
    assert json.loads(file.read_text())["mu"] == 0.268
    assert desk.spent() == 0
    assert desk.approvals() == []


def test_a_quote_reads_no_record(desk: Desk) -> None:
    """The table and its snapshot are gone; public numbers are enough."""
    for path in (desk.hospital.folder / "records.parquet", *desk.hospital.config.snapshot_folder.iterdir()):
        path.unlink()
    steward.quote(desk.receive(desk.study()), desk.file)


def test_a_quote_needs_a_checked_table_of_this_schema(desk: Desk) -> None:
    study, schema = desk.receive(desk.study()), desk.hospital.config.schema_file
    schema.write_text(schema.read_text().replace("max: 100", "max: 110"))
    with pytest.raises(InputError, match="schema has changed"):
        steward.quote(study, desk.file)
    desk.hospital.config.description_file.unlink()
    with pytest.raises(InputError, match="not been checked yet; run `cohortmix site check`"):
        steward.quote(study, desk.file)


# --- revoke


@pytest.mark.parametrize("form", ["file", "hash", "prefix"])
def test_a_revoked_study_is_refused_at_once_and_what_was_committed_stays(desk: Desk, form: str) -> None:
    study = desk.study()
    desk.approve(study)
    with open_site(desk.hospital.config) as daemon:
        request = desk.hospital.request(study)
        assert isinstance(decode(daemon.answer(request)), SignedRelease)
        steward.revoke(
            {"file": str(desk.receive(study)), "hash": study.hash, "prefix": study.hash[:6]}[form], desk.file
        )
        daemon.policy = read_policy(desk.hospital.config)  # as the daemon does for each request
        refusal = decode(daemon.answer(request))
        assert isinstance(refusal, Refusal)
        assert refusal.code == Code.NOT_APPROVED
    assert desk.spent() == study.mu2
    ledger = desk.hospital.ledger()
    assert len(ledger.receipts()) == 1
    ledger.close()


def test_a_backup_does_not_approve_again_what_was_revoked(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revoked, kept, config = desk.study(), desk.study("0.2"), desk.hospital.config
    for study in (revoked, kept):
        desk.approve(study)
    backup = shutil.copytree(config.state, tmp_path / "backup")
    steward.revoke(revoked.hash, desk.file)
    newest = config.ledger_file.read_bytes()
    shutil.rmtree(config.state)
    shutil.copytree(backup, config.state)
    with pytest.raises(HistoryError, match="put the newest ledger back"):
        desk.answer(revoked)
    config.ledger_file.write_bytes(newest)
    assert sorted(desk.approvals()) == sorted([revoked.hash, kept.hash])  # as the old file has it
    assert desk.answer(revoked).code == Code.NOT_APPROVED
    with pytest.raises(Refused, match=r"was revoked here; .*`cohortmix site approve"):
        steward.preview(desk.receive(revoked), desk.file)
    assert desk.spent() == 0
    assert isinstance(desk.answer(kept), SignedRelease)
    capsys.readouterr()
    steward.ledger(desk.file)
    shown = capsys.readouterr().out
    assert f"revoked: study [{revoked.hash[:12]}]" in shown
    assert f"approved up to mu 0.2: study [{kept.hash[:12]}]" in shown
    desk.approve(kept)
    assert "had been revoked" not in capsys.readouterr().out
    desk.approve(revoked)
    assert "had been revoked here; this approval lifts that" in capsys.readouterr().out
    steward.ledger(desk.file)
    assert f"approved up to mu 0.1: study [{revoked.hash[:12]}]" in capsys.readouterr().out
    assert isinstance(desk.answer(revoked), SignedRelease)


def test_a_study_is_revoked_also_where_the_ledger_cannot_be_opened(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.approve(desk.study())
    desk.answer(desk.study())
    (desk.hospital.config.mark / MARK_FILE).unlink()
    capsys.readouterr()
    with pytest.raises(HistoryError, match="is not there"):
        steward.revoke(desk.study().hash, desk.file)
    assert desk.approvals() == []
    assert "the approval is withdrawn; that" in capsys.readouterr().err
    steward.ledger(desk.file, renew_mark=True)
    desk.approve(other := desk.study("0.2"))
    steward.revoke(other.hash, desk.file)
    assert "withdrawn; that" not in capsys.readouterr().err


def test_a_study_that_is_not_approved_has_nothing_to_revoke(desk: Desk) -> None:
    file = desk.receive(desk.study())
    with pytest.raises(InputError, match="is not approved here: there is nothing to revoke"):
        steward.revoke(str(file), desk.file)
    desk.approve(desk.study())
    steward.revoke(str(file), desk.file)
    assert desk.approvals() == []


def test_what_names_no_study_or_several_revokes_none(desk: Desk) -> None:
    studies = [desk.study(f"0.{number}") for number in range(101, 118)]
    desk.hospital.approve(*studies)
    firsts = [study.hash[0] for study in studies]
    twice = next(first for first in firsts if firsts.count(first) > 1)  # 17 hashes, 16 digits
    for start in (twice, "", "f" * 64, "nothing.json"):
        with pytest.raises(InputError, match="approved stud"):
            steward.revoke(start, desk.file)
    assert len(desk.approvals()) == len(studies)


# --- preview


def test_a_preview_is_what_the_coordinator_gets(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    study = desk.study("2")
    desk.approve(study)
    capsys.readouterr()
    steward.preview(desk.receive(study), desk.file)
    shown = capsys.readouterr().out
    for part in ("This is what will leave", "well", "ill", "AGE", "F "):
        assert part in shown
    spent = desk.spent()
    assert spent > 0
    released = desk.answer(study)
    assert released.receipt.hash[:12] in shown
    assert desk.spent() == spent  # the coordinator's request found it there
    steward.preview(desk.receive(study), desk.file)
    again = capsys.readouterr().out
    first, second = (said.splitlines() for said in (shown, again))
    assert first[:-1] == second[:-1]
    assert first[-1].startswith("spent: mu ")
    assert second[-1].startswith("nothing new was spent: this release was made before, for mu ")
    assert desk.spent() == spent


def test_no_check_replaces_the_table_while_a_site_is_open(desk: Desk) -> None:
    """Patients were counted in the table that is open: it must not be another one when it is read."""
    config, table = desk.hospital.config, desk.hospital.folder / "records.parquet"
    first, last = pd.read_parquet(table), pd.read_parquet(table).assign(id=range(100, 160))
    last = pd.concat([last, last.assign(id=range(200, 260))])
    with open_site(config) as opened:
        before = {path.name: path.read_bytes() for path in config.snapshot_folder.iterdir()}
        for records in (first, last):
            records.to_parquet(table)
            with pytest.raises(InputError, match="another process reads the table"):
                service.check(desk.file)
        with open_site(config) as beside:
            assert beside.description.patients == opened.description.patients == 60
    assert before == {path.name: path.read_bytes() for path in config.snapshot_folder.iterdir()}
    for records, patients in ((first, 60), (last, 120)):
        records.to_parquet(table)
        service.check(desk.file)
        assert desk.hospital.facts.patients == patients


def test_no_site_opens_while_its_table_is_replaced(desk: Desk) -> None:
    desk.approve(desk.study())
    commands: list[Callable[[], None]] = [
        lambda: service.check(desk.file),
        lambda: steward.preview(desk.receive(desk.study()), desk.file),
    ]
    with replacing(desk.hospital.config.snapshot_folder):
        for command in commands:
            with pytest.raises(InputError, match="try again when"):
                command()
    assert desk.spent() == 0
    for command in commands:
        command()


def test_a_preview_needs_the_stewards_own_yes(desk: Desk) -> None:
    with pytest.raises(Refused, match=r"not approved here; .* `cohortmix site approve STUDY.json --max-mu 0\.1`"):
        steward.preview(desk.receive(desk.study()), desk.file)
    assert desk.spent() == 0
    desk.approve(desk.study())
    desk.configure(coordinators=[STRANGER.public_hex])
    with pytest.raises(Refused, match="is not enrolled"):
        steward.preview(desk.receive(desk.study()), desk.file)
    assert desk.spent() == 0


def test_every_refusal_is_a_sentence_and_a_status(desk: Desk) -> None:
    """0 done, 2 wrong input, 3 refused by policy or budget; the commands as they are typed."""
    study, large = (str(desk.receive(desk.study(mu))) for mu in ("0.1", "6"))
    config = ("-c", str(desk.file))
    typed = {
        ("quote", study, *config): (0, ""),
        ("approve", study, "--max-mu", "much", *config): (2, "expected --max-mu as a decimal"),
        ("approve", study, "--max-mu", "0.05", *config): (3, "--max-mu allows 0.05"),
        ("approve", large, "--max-mu", "6", *config): (3, "spent 0.00, asked 6.00, cap 5.00"),
        ("preview", study, *config): (3, "is not approved here"),
        ("revoke", "f" * 64, *config): (2, "no approved study"),
        ("ledger", *config): (0, ""),
        ("ledger", "--raise-cap", "-3", *config): (2, "expected --raise-cap as a decimal"),
    }
    for arguments, (status, sentence) in typed.items():
        result = CliRunner().invoke(app, ["site", *arguments])
        assert (result.exit_code, sentence in result.stderr) == (status, True), arguments
        assert "Traceback" not in result.output
    desk.hospital.approve(desk.study())
    desk.answer(desk.study())
    (desk.hospital.config.mark / MARK_FILE).unlink()
    assert CliRunner().invoke(app, ["site", "ledger", *config]).exit_code == 3


def test_a_quote_says_why_the_site_would_not_answer(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    steward.quote(desk.receive(desk.study()), desk.file)
    assert "would not answer" not in capsys.readouterr().out
    steward.quote(desk.receive(desk.study(by=STRANGER), by=STRANGER), desk.file)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"would not answer the study: The coordinator {STRANGER.public_hex} is not enrolled; once you" in shown
    steward.quote(desk.receive(desk.study(noise="TEST")), desk.file)
    assert "would not answer the study: The study asks for test noise" in capsys.readouterr().out
