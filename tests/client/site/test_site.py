"""What a site answers, and what it costs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from sites import (
    CAP,
    KEY,
    LARGE,
    SCHEMA,
    SMALL,
    CountingNoise,
    asking,
    common_of,
    refused,
    release,
    site,
    study,
    table,
)

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.reservation import ANSWERED, Reservation
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.protocol.messages import CentroidsRelease, ClassSumsRelease, Code, SignedRelease, decode, encode
from cohortmix.protocol.receipts import total, verify_chain, verify_release


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:", CAP)
    yield ledger
    ledger.close()


def test_round_one(ledger: Ledger) -> None:
    message = asking(study())
    reply = release(site(ledger, study()).answer(encode(message)))
    verify_release(reply, message.request)
    assert isinstance(reply.release, ClassSumsRelease)
    assert reply.receipt.patients == 120
    assert total([reply.receipt]).mu2 <= ledger.spent_mu2 == study().mu2  # no mixture fits: answer A takes all
    assert (reply.receipt.private, reply.receipt.warning) == (False, "NOT PRIVATE: test noise")


def test_real_noise_makes_a_private_receipt(ledger: Ledger) -> None:
    spec = study(noise="opendp")
    message = asking(spec)
    reply = release(site(ledger, spec, noise=OpenDPNoise()).answer(encode(message)))
    verify_release(reply, message.request)
    assert (reply.receipt.private, reply.receipt.warning) == (True, None)


@dataclass
class Known:
    """Test noise that says anything of itself; the site cannot tell."""

    name: str
    private: bool
    scales: list[int] = field(default_factory=list)

    def add(self, values: Any, sigma: int, purpose: str) -> Any:
        self.scales.append(sigma)
        return KeyedNoise(1).add(values, sigma, purpose)


def test_what_a_source_says_of_itself_changes_no_number() -> None:
    """A real source gets the same sums and scales as a test source, and its numbers are released alike."""
    released = []
    for source in (Known("opendp", True), Known("TEST", False)):
        ledger, spec = Ledger(":memory:", CAP), study(LARGE, noise=source.name)
        hospital = site(ledger, spec, noise=source)
        first = release(hospital.answer(encode(asking(spec))))
        second = release(hospital.answer(encode(asking(spec, 2, common=common_of(spec, first)))))
        assert isinstance(first.release, ClassSumsRelease)
        stated = [statement for signed in (first, second) for statement in signed.receipt.statements]
        assert [statement.sigma for statement in stated] == source.scales
        assert len(stated) == 2
        kept = [step.content for step in ledger._journal.steps(ANSWERED)]
        released.append((first.release, stated, kept))
        ledger.close()
    assert released[0] == released[1]


def test_round_two_of_a_small_site_is_free(ledger: Ledger) -> None:
    spec = study(SMALL)
    hospital = site(ledger, spec)
    first = release(hospital.answer(encode(asking(spec))))
    message = asking(spec, 2, common=common_of(spec, first))
    second = release(hospital.answer(encode(message)))
    verify_release(second, message.request)
    assert isinstance(second.release, CentroidsRelease)
    assert set(second.release.kinds) == {"class"}
    assert second.receipt.statements == ()
    assert second.receipt.mu2 == 0
    assert ledger.spent_mu2 == spec.mu2


def test_both_rounds_cost_the_mu_of_the_study(ledger: Ledger) -> None:
    spec, noise = study(LARGE), CountingNoise()
    hospital = site(ledger, spec, noise=noise)
    first = release(hospital.answer(encode(asking(spec))))
    message = asking(spec, 2, common=common_of(spec, first))
    second = release(hospital.answer(encode(message)))
    verify_release(second, message.request)
    assert isinstance(second.release, CentroidsRelease)
    assert "mixture" in second.release.kinds
    assert second.release.masses.numpy().sum() == pytest.approx(120)
    spent = total([first.receipt, second.receipt]).mu2
    assert ledger.spent_mu2 == spec.mu2
    assert spec.mu2 * (1 - Fraction(1, 10**9)) < spent <= spec.mu2
    assert noise.draws == 2
    verify_chain([first.receipt, second.receipt], complete=True)
    assert hospital.answer(encode(message)) == encode(second)
    assert noise.draws == 2


@pytest.mark.parametrize(("asked_for", "mu"), [(1, LARGE), (2, LARGE), (2, SMALL)])
def test_an_answer_without_a_name_on_the_receipt_is_not_released(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, asked_for: int, mu: str
) -> None:
    """If a round draws more answers than it names, the reply is a refusal, and nothing is committed."""
    spec, step = study(mu), {1: "class_sums", 2: "centroids" if mu == LARGE else "class_centroids"}[asked_for]
    hospital, plain = site(ledger, spec), getattr(pipeline, step)
    opened: list[Any] = []

    def asks_once_more(*given: Any) -> Any:
        result = plain(*given)
        vaults = [argument for argument in given if isinstance(argument, Vault)] or [hospital._vault(opened[-1])]
        vaults[0].answer(sum_query(Encoding.of(SCHEMA)), Fraction(1, 10**9))
        return result

    reserve = hospital._reserve

    def reserved(*given: Any) -> Any:
        opened.append(reserve(*given))
        return opened[-1]

    monkeypatch.setattr(hospital, "_reserve", reserved)
    message = asking(spec)
    if asked_for == 2:
        first = release(hospital.answer(encode(message)))
        message = asking(spec, 2, common=common_of(spec, first))
    # Make room for one more question, which the ledger would keep and pay for.
    monkeypatch.setattr(Reservation, "debit", lenient(Reservation.debit))
    monkeypatch.setattr(pipeline, step, asks_once_more)
    before = len(ledger.receipts())
    assert refused(hospital.answer(encode(message))) == Code.UNAVAILABLE
    assert len(ledger.receipts()) == before == asked_for - 1


def lenient(debit: Any) -> Any:
    """The same method for a reservation with room for one more question."""

    def more(reserved: Any, index: int, question: str, mu2: Fraction) -> None:
        reserved.mu2 += mu2 if index else 0
        debit(reserved, index, question, mu2)

    return more


def test_replies_cost_what_the_receipt_says() -> None:
    """Guarantee: over all replies mu^2 <= the receipts' sum <= what was reserved <= cap^2."""
    studies = [study(mu, name=f"study {mu}") for mu in ("3", "2.5", "2", "1.5", "1", "0.5")]
    cap, noise = Decimal(2), CountingNoise()
    ledger = Ledger(":memory:", cap)
    hospital = site(ledger, *studies, noise=noise)
    replies = {hospital.answer(encode(asking(spec))) for spec in studies for _ in range(2)}
    replies |= {hospital.answer(encode(asking(spec, id="request-2"))) for spec in studies}
    released = [message for data in replies if isinstance(message := decode(data), SignedRelease)]
    assert 1 < len(released) == noise.draws == len(ledger.receipts())
    assert len(replies) > len(released)  # some were refused
    answers = [
        signed.release.answer.to_core() for signed in released if isinstance(signed.release, ClassSumsRelease)
    ]
    cost = sum((Fraction(answer.sensitivity2, answer.sigma**2) for answer in answers), Fraction(0))
    assert cost == total(signed.receipt for signed in released).mu2
    assert cost <= ledger.spent_mu2 <= Fraction(cap) ** 2
    ledger.close()


def test_public_facts(ledger: Ledger) -> None:
    """Two rows for each patient: the number of patients is public, the number of rows is not."""
    schema = SCHEMA.model_copy(update={"patient_key": "ID"})
    rows = pd.concat([table(60), table(60)], ignore_index=True).assign(ID=[str(n % 60) for n in range(120)])
    hospital = site(ledger, source=TableSource(rows), schema=schema)
    facts = decode(hospital.describe())
    assert facts == hospital.description
    assert (facts.patients, facts.site, facts.key) == (60, "site", KEY.public_hex)
    assert facts.columns == ("AGE", "SEX", "outcome")
    assert b"120" not in hospital.describe()
    assert "120" not in repr(hospital)
