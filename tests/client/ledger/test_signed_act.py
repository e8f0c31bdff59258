"""Signed acts: who raises the cap and changes the key of a ledger, and where such an act is good."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from ledgers import CAP, HASH, KEY, LARGE, OTHER, STUDY, answer, fulfil, mu2, request, reserve, sealing, signing

from cohortmix.client.ledger.journal import HistoryError, LedgerError, LedgerJournal
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.signed_act import Act
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import SignedRelease, decode, encode
from cohortmix.protocol.signing import Key


def test_a_configured_cap_cannot_raise_what_the_ledger_has_begun_with(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    ledger.close()
    ledger = signing(path, "0.3")
    assert ledger.cap_mu == Decimal("0.2")
    with pytest.raises(BudgetExceeded, match=r"spent 0\.20, asked 0\.01, cap 0\.20"):
        ledger.reserve(STUDY, "request-2", HASH, mu2("0.01"), LARGE)
    ledger.close()


def test_a_signed_cap_and_the_configured_one_bound_together(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    ledger.raise_cap(Decimal("0.3"), KEY)
    assert ledger.cap_mu == Decimal("0.2")  # site.yaml still says so
    ledger.close()
    for configured, cap in (("0.25", "0.25"), ("0.3", "0.3"), ("0.9", "0.3"), ("0.1", "0.1")):
        ledger = signing(path, configured)
        assert ledger.cap_mu == Decimal(cap)
        ledger.close()


def test_the_cap_is_raised_by_the_sites_key_and_upwards_only(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    with pytest.raises(LedgerError, match="own key signs"):
        ledger.raise_cap(Decimal("0.3"), Key.generate())
    for lower in ("0.2", "0.1"):
        with pytest.raises(LedgerError, match=r"expected a cap above 0\.2"):
            ledger.raise_cap(Decimal(lower), KEY)
    ledger.raise_cap(Decimal("0.3"), KEY)
    ledger.close()
    with pytest.raises(LedgerError, match="acts signed by the site"):
        Ledger(path, CAP)
    with pytest.raises(LedgerError, match="is not the one that this ledger was kept under"):
        Ledger(path, CAP, key=Key.generate().public_hex)


def test_a_signed_cap_is_good_at_its_place_only(path: Path, tmp_path: Path) -> None:
    """The same act again in a longer ledger, with a chain that was written anew around it."""
    ledgers = []
    for name in ("one.db", "other.db"):
        ledger = signing(tmp_path / name, "0.2")
        ledger.reserve(STUDY if name == "one.db" else OTHER, "request-1", HASH, mu2("0.2"), LARGE)
        ledgers.append(ledger)
    ledgers[0].raise_cap(Decimal("0.3"), KEY)
    (act,) = (step for step in ledgers[0]._journal.steps("signed act"))
    with ledgers[1]._journal.transaction():
        ledgers[1]._journal.append(*act[1:6])
    for ledger in ledgers:
        ledger.close()
    signing(tmp_path / "one.db", "0.3").close()
    with pytest.raises(HistoryError, match="not by key"):
        signing(tmp_path / "other.db", "0.3")


def test_a_new_key_is_signed_with_the_one_before(path: Path) -> None:
    keys = [KEY, Key.generate(), Key.generate()]
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    for number, (old, new) in enumerate(pairwise(keys), 3):
        ledger.raise_cap(Decimal(f"0.{number}"), old)
        with pytest.raises(LedgerError, match="own key signs"):
            ledger.change_key(new, KEY.public_hex)
        ledger.change_key(old, new.public_hex)
    ledger.close()
    for former in (*keys[:2], Key.generate()):
        with pytest.raises(LedgerError, match="is not the one that this ledger was kept under"):
            Ledger(path, CAP, key=former.public_hex)
    ledger = Ledger(path, Decimal(1), key=keys[2].public_hex)
    assert ledger.cap_mu == Decimal("0.4")
    ledger.close()


def test_receipts_alone_say_whose_ledger_it_is(path: Path) -> None:
    """A site.key was replaced by hand, and the ledger holds no act; it is not called damaged."""
    ledger = signing(path, "0.3")
    fulfil(ledger, request(), answer())
    ledger.close()
    with pytest.raises(LedgerError, match=r"put that key back.* --new-key") as caught:
        Ledger(path, CAP, key=Key.generate().public_hex)
    assert not isinstance(caught.value, HistoryError)
    assert "does not hold" not in str(caught.value)
    signing(path, "0.3").close()


def test_a_reservation_says_whose_ledger_it_is_before_anything_is_signed(path: Path) -> None:
    """After a crash in the first round something is spent. While nothing is, any key opens the ledger."""
    signing(path, "0.3").close()
    Ledger(path, CAP, key=Key.generate().public_hex).close()
    ledger = signing(path, "0.3")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    ledger.close()
    with pytest.raises(LedgerError, match=r"put that key back.* --new-key"):
        Ledger(path, CAP, key=Key.generate().public_hex)
    signing(path, "0.3").close()


def test_each_receipt_is_under_the_key_of_its_time(path: Path) -> None:
    """The newest entry is under the new key; an older receipt that the site has not signed is noticed as well."""
    ledger, new = signing(path, "0.3"), Key.generate()
    fulfil(ledger, request(), answer())
    ledger.change_key(KEY, new.public_hex)
    ledger.close()
    Ledger(path, CAP, key=new.public_hex).close()
    forged = forged_copy(path)
    with pytest.raises(
        HistoryError, match="does not hold: expected an entry signed with the site's key of its time"
    ):
        Ledger(forged, CAP, key=new.public_hex)


def forged_copy(path: Path) -> Path:
    """The same steps in a journal of another file, the receipt's signature replaced by another one."""
    steps, other = LedgerJournal(path), path.with_name("forged.db")
    forged = LedgerJournal(other)
    for kind in ("reserved", "paid", "answered", "committed"):
        for step in steps.steps(kind):
            content = step.content
            if kind == "committed":
                message = decode(content)
                assert isinstance(message, SignedRelease)
                content = encode(message.model_copy(update={"signature": "0" * 128}))
            with forged.transaction():
                forged.append(kind, step.study, step.id, step.part, content)
    (act,) = (Act.model_validate_json(step.content) for step in steps.steps("signed act"))
    with forged.transaction():
        signed = Act.sign(KEY, forged.place.hash, act.act, act.cap, act.key)
        forged.append("signed act", "", "", 0, canonical(signed.plain()))
    for journal in (steps, forged):
        journal.close()
    return other


def test_an_earlier_key_signs_nothing_after_its_successor(path: Path) -> None:
    """A daemon runs on while the steward replaces the key: with its receipt no key would open the ledger."""
    daemon, steward, new = signing(path, "0.3"), signing(path, "0.3"), Key.generate()
    reserved = reserve(daemon, message := request())
    reserved.debit(0, answer().question, answer().mu2)
    reserved.store(0, answer())
    steward.change_key(KEY, new.public_hex)
    for step in (
        lambda: daemon.commit(reserved, sealing(message, answer())),
        lambda: daemon.reserve(OTHER, "request-2", HASH, mu2("0.01"), LARGE),
        lambda: daemon.raise_cap(Decimal("0.9"), KEY),
    ):
        with pytest.raises(LedgerError, match="replaced while this ledger was open"):
            step()
    steward.reserve(OTHER, "request-2", HASH, mu2("0.01"), LARGE)
    with pytest.raises(LedgerError, match="not signed with the site's key"):
        steward.commit(reserved, sealing(message, answer()))  # under the former key
    for opened in (daemon, steward):
        opened.close()
    Ledger(path, CAP, key=new.public_hex).close()


def test_before_anything_is_spent_the_configuration_alone_is_the_cap(path: Path) -> None:
    for configured in ("0.2", "0.3"):
        ledger = signing(path, configured)
        assert ledger.cap_mu == Decimal(configured)
        ledger.close()
