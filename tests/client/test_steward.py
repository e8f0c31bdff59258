"""The steward's commands: what they show, what they refuse, and what they cost."""

import csv
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from cohortmix.client import service, steward
from cohortmix.client.database import LedgerError
from cohortmix.client.lock import replacing
from cohortmix.client.mark import FILE, HistoryError
from cohortmix.client.opening import open_site, read_policy
from cohortmix.client.policy import Policy, Refused
from cohortmix.core.meter import BudgetExceeded
from cohortmix.core.table import InputError
from cohortmix.deploy.cli import app
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import Code, Refusal, SignedRelease, SiteEntry, StudySpec, decode, encode
from cohortmix.protocol.signing import Key, sign_study

COORDINATOR, STRANGER = (Key.from_bytes(bytes([number] * 32)) for number in (7, 9))


class Desk:
    """A steward's desk: the site's folder, the studies that came in, and the commands."""

    def __init__(self, hospital: Any) -> None:
        self.hospital, self.file = hospital, hospital.site / "site.yaml"

    def study(self, mu: str = "0.1", by: Key = COORDINATOR, **changes: Any) -> StudySpec:
        return self.hospital.study(mu=mu, **{"coordinator_key": by.public_hex} | changes)

    def receive(self, study: StudySpec, by: Key = COORDINATOR) -> Path:
        path = self.hospital.folder / f"{study.hash[:16]}.json"
        path.write_bytes(encode(sign_study(by, study)))
        return path

    def approve(self, study: StudySpec, max_mu: str | None = None, by: Key = COORDINATOR) -> None:
        steward.approve(self.receive(study, by), str(study.mu) if max_mu is None else max_mu, self.file)

    def approvals(self) -> list[str]:
        return [each.study for each in Policy.load(self.hospital.config.policy_file).approvals]

    def spent(self) -> Fraction:
        ledger = self.hospital.ledger()
        try:
            return ledger.spent_mu2
        finally:
            ledger.close()

    def answer(self, study: StudySpec) -> Any:
        """What the daemon says to the coordinator's request for round 1."""
        with open_site(self.hospital.config) as site:
            return decode(site.answer(self.hospital.request(study)))

    def configure(self, **settings: Any) -> None:
        self.file.write_text(yaml.safe_dump(yaml.safe_load(self.file.read_text()) | settings))


@pytest.fixture
def desk(hospital: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COLUMNS", "100")
    return Desk(hospital)


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


# --- approve


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
def test_a_study_that_would_not_be_answered_is_not_approved(desk: Desk, changes: dict, sentence: str) -> None:
    entry = {name: changes.pop(name) for name in ("patients", "key", "name") if name in changes}
    by = changes.pop("by", COORDINATOR)
    sites = (SiteEntry(**{"name": "A", "key": desk.hospital.facts.key, "patients": 60} | entry),)
    with pytest.raises(Refused, match=sentence):
        desk.approve(desk.study(by=by, sites=sites, **changes), by=by)
    assert desk.approvals() == []


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
    for refused in (lambda: desk.approve(second), lambda: steward.preview(desk.receive(second), desk.file)):
        with pytest.raises(BudgetExceeded, match=rf"it needs a cap of 0\.1415: to allow it, raise {named}$"):
            refused()
        desk.hospital.approve(second)  # as if it had been in budget then
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
    for each in (path, altered):
        for command in (
            lambda file: steward.approve(file, "1", desk.file),
            lambda file: steward.quote(file, desk.file),
        ):
            with pytest.raises(InputError, match="not as its coordinator signed it"):
                command(each)
    path.write_bytes(encode(Refusal(code=Code.UNAVAILABLE, sentence="no")))
    with pytest.raises(InputError, match="no signed study"):
        steward.quote(path, desk.file)
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match=r"is no signed study; ask the coordinator for signed.json"):
        steward.quote(path, desk.file)
    path.write_bytes(altered.read_bytes().replace(b'"protocol":1', b'"protocol":2'))
    with pytest.raises(InputError, match="expected protocol=1, got protocol=2; install one version"):
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
        assert decode(daemon.answer(request)).code == Code.NOT_APPROVED
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
    (desk.hospital.config.mark / FILE).unlink()
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


# --- ledger


def test_the_odometer_shows_each_request_and_exports_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.configure(cap_mu="0.2")
    study = desk.study()
    desk.approve(study)
    released = desk.answer(study)
    capsys.readouterr()
    file = desk.hospital.folder / "ledger.csv"
    steward.ledger(desk.file, file)
    shown = capsys.readouterr().out
    for part in ("spent mu 0.100 of 0.200: 25.0 %", "left  mu 0.173", "study", study.hash[:12], "committed"):
        assert part in shown
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
    }


def test_an_empty_ledger_is_shown_as_one(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    steward.ledger(desk.file)
    shown = capsys.readouterr().out
    assert "spent mu 0 of 5.00: 0.0 %" in shown
    assert "no request so far" in shown
    assert "no study is approved" in shown
    desk.approve(desk.study())
    steward.revoke(desk.study().hash, desk.file)
    capsys.readouterr()
    steward.ledger(desk.file)
    assert f"revoked: [{desk.study().hash[:12]}]" in capsys.readouterr().out  # its name went with the approval


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
    """Ledger lost, mark damaged: what was spent stays spent until the ledger is put back."""
    desk.approve(desk.study())
    desk.answer(desk.study())
    newest, config = desk.hospital.config.ledger_file.read_bytes(), desk.hospital.config
    config.ledger_file.unlink()
    (config.mark / FILE).write_bytes(b"")
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
    (desk.hospital.config.mark / FILE).unlink()
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
    assert desk.spent() == desk.study().mu2 + desk.study("0.2").mu2


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
    """The patients were counted in the table that is read: not in one that two checks have put in its place."""
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
    (desk.hospital.config.mark / FILE).unlink()
    assert CliRunner().invoke(app, ["site", "ledger", *config]).exit_code == 3


def test_a_mu_is_read_as_a_decimal_and_kept_as_one(desk: Desk) -> None:
    desk.approve(desk.study(), "0.30")
    (approval,) = Policy.load(desk.hospital.config.policy_file).approvals
    assert approval.max_mu == Decimal("0.3")
