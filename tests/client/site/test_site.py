"""A site: what it answers, and that the same request neither costs nor draws again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sites import (
    CAP,
    COORDINATOR,
    KEY,
    LARGE,
    SCHEMA,
    SMALL,
    STRANGER,
    asking,
    common_of,
    refused,
    release,
    site,
    study,
    table,
)

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.reservation import ANSWERED, Reservation
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import Source, TableSource
from cohortmix.core.privacy.noise import NoiseSource, OpenDPNoise
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    Code,
    SignedRelease,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import total, verify_chain, verify_release
from cohortmix.protocol.signing import sign_study


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


# --- what it answers


def test_round_one(ledger: Ledger) -> None:
    asked = asking(study())
    reply = release(site(ledger, study()).answer(encode(asked)))
    verify_release(reply, asked.request)
    assert isinstance(reply.release, ClassSumsRelease)
    assert reply.receipt.patients == 120
    assert total([reply.receipt]).mu2 <= ledger.spent_mu2 == study().mu2  # too small for a mixture: all for A
    assert (reply.receipt.private, reply.receipt.warning) == (False, "NOT PRIVATE: test noise")


def test_real_noise_makes_a_private_receipt(ledger: Ledger) -> None:
    about = study(noise="opendp")
    asked = asking(about)
    reply = release(site(ledger, about, noise=OpenDPNoise()).answer(encode(asked)))
    verify_release(reply, asked.request)
    assert (reply.receipt.private, reply.receipt.warning) == (True, None)


@dataclass
class Known:
    """Test noise under any name; the site cannot know."""

    name: str
    private: bool
    scales: list[int] = field(default_factory=list)

    def add(self, values: Any, sigma: int, purpose: str) -> Any:
        self.scales.append(sigma)
        return KeyedNoise(1).add(values, sigma, purpose)


def test_what_a_source_says_of_itself_changes_no_number() -> None:
    """The real source is given the same sums and scales as those of the tests, and its numbers are released."""
    released = []
    for source in (Known("opendp", True), Known("TEST", False)):
        ledger, about = Ledger(":memory:", CAP), study(LARGE, noise=source.name)
        here = site(ledger, about, noise=source)
        first = release(here.answer(encode(asking(about))))
        second = release(here.answer(encode(asking(about, 2, common=common_of(about, first)))))
        assert isinstance(first.release, ClassSumsRelease)
        stated = [each for signed in (first, second) for each in signed.receipt.statements]
        assert [each.sigma for each in stated] == source.scales
        assert len(stated) == 2
        kept = [step.content for step in ledger._journal.steps(ANSWERED)]
        released.append((first.release, stated, kept))
        ledger.close()
    assert released[0] == released[1]


def test_round_two_of_a_small_site_is_free(ledger: Ledger) -> None:
    about = study(SMALL)
    here = site(ledger, about)
    first = release(here.answer(encode(asking(about))))
    asked = asking(about, 2, common=common_of(about, first))
    second = release(here.answer(encode(asked)))
    verify_release(second, asked.request)
    assert isinstance(second.release, CentroidsRelease)
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
    assert isinstance(second.release, CentroidsRelease)
    assert "mixture" in second.release.kinds
    assert second.release.masses.numpy().sum() == pytest.approx(120)
    spent = total([first.receipt, second.receipt]).mu2
    assert ledger.spent_mu2 == about.mu2
    assert about.mu2 * (1 - Fraction(1, 10**9)) < spent <= about.mu2
    assert noise.draws == 2
    verify_chain([first.receipt, second.receipt], complete=True)
    assert here.answer(encode(asked)) == encode(second)
    assert noise.draws == 2


@pytest.mark.parametrize(("asked_for", "mu"), [(1, LARGE), (2, LARGE), (2, SMALL)])
def test_an_answer_without_a_name_on_the_receipt_is_not_released(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, asked_for: int, mu: str
) -> None:
    """A round that draws more, or less, than it says: the reply is a refusal, and nothing is committed."""
    about, step = study(mu), {1: "class_sums", 2: "centroids" if mu == LARGE else "class_centroids"}[asked_for]
    here, plain, opened = site(ledger, about), getattr(pipeline, step), []

    def asks_once_more(*given: Any) -> Any:
        done = plain(*given)
        vault = next((each for each in given if isinstance(each, Vault)), None) or here._vault(opened[-1])
        vault.noisy_sum(sum_query(Encoding.of(SCHEMA)), Fraction(1, 10**9))
        return done

    reserve = here._reserve
    monkeypatch.setattr(here, "_reserve", lambda *given: opened.append(reserve(*given)) or opened[-1])
    asked = asking(about)
    if asked_for == 2:
        first = release(here.answer(encode(asked)))
        asked = asking(about, 2, common=common_of(about, first))
    # Room for one question more, which the ledger would keep and pay for.
    monkeypatch.setattr(Reservation, "debit", lenient(Reservation.debit))
    monkeypatch.setattr(pipeline, step, asks_once_more)
    before = len(ledger.receipts())
    assert refused(here.answer(encode(asked))) == Code.UNAVAILABLE
    assert len(ledger.receipts()) == before == asked_for - 1


def lenient(debit: Any) -> Any:
    """The same, of a reservation with room for a little more."""

    def more(reserved: Any, index: int, question: str, mu2: Fraction) -> None:
        reserved.mu2 += mu2 if index else 0
        debit(reserved, index, question, mu2)

    return more


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
    answers = [each.release.answer.to_core() for each in released if isinstance(each.release, ClassSumsRelease)]
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
    assert isinstance(second.release, CentroidsRelease)
    assert (source.reads > before, second.receipt.mu2 > 0) == (asks, asks)


def test_a_crash_after_the_draw_buys_no_second_draw() -> None:
    ledger, noise, data = BrittleLedger(":memory:", CAP), CountingNoise(), encode(asking(study()))
    here = site(ledger, study(), noise=noise)
    assert refused(here.answer(data)) == Code.UNAVAILABLE
    assert (noise.draws, ledger.spent_mu2, ledger.receipts()) == (1, study().mu2, ())
    reply = release(here.answer(data))
    assert (noise.draws, ledger.spent_mu2) == (1, study().mu2)
    assert isinstance(reply.release, ClassSumsRelease)
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
