"""The same request to a site again: the same bytes, and nothing is drawn or charged a second time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sites import (
    CAP,
    COORDINATOR,
    LARGE,
    SMALL,
    STRANGER,
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
from cohortmix.client.ledger.policy import Refused
from cohortmix.core.data.table import Source, TableSource
from cohortmix.protocol.messages import CentroidsRelease, ClassSumsRelease, Code, encode, request_id
from cohortmix.protocol.receipts import verify_release
from cohortmix.protocol.signing import sign_study


@dataclass
class CountedSource:
    """A table that counts how often it is read."""

    source: Source
    reads: int = 0

    @property
    def names(self) -> tuple[str, ...]:
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
    noise, spec = CountingNoise(), study()
    hospital = site(ledger, spec, noise=noise)
    shown = hospital.preview(sign_study(COORDINATOR, spec))
    assert (noise.draws, ledger.spent_mu2) == (1, spec.mu2)
    message = asking(spec)
    assert hospital.answer(encode(message)) == shown
    verify_release(release(shown), message.request)
    assert (noise.draws, ledger.spent_mu2) == (1, spec.mu2)


def test_a_preview_is_refused_as_a_request_is(ledger: Ledger) -> None:
    hospital = site(ledger, study())
    cases = {
        Code.BAD_SIGNATURE: sign_study(STRANGER, study()),
        Code.NOT_APPROVED: sign_study(COORDINATOR, study(name="another")),
    }
    for code, signed in cases.items():
        with pytest.raises(Refused) as caught:
            hospital.preview(signed)
        assert caught.value.refusal.code == code
    assert ledger.spent_mu2 == 0


@pytest.mark.parametrize("id", ["request-2", "of another site", "of another study", "of another round"])
def test_a_round_of_a_study_is_one_request(ledger: Ledger, id: str) -> None:
    """A coordinator cannot have a round computed, or the table read, as often as it likes."""
    spec, noise = study(LARGE), CountingNoise()
    ids = {
        "of another site": request_id(spec.hash, "elsewhere", 1),
        "of another study": request_id(study().hash, "site", 1),
        "of another round": request_id(spec.hash, "site", 2),
    }
    hospital = site(ledger, spec, noise=noise)
    assert refused(hospital.answer(encode(asking(spec, id=ids.get(id, id))))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == 0
    assert noise.draws == 0
    release(hospital.answer(encode(asking(spec))))


def test_one_id_has_one_content(ledger: Ledger) -> None:
    spec = study(LARGE)
    hospital = site(ledger, spec)
    first = release(hospital.answer(encode(asking(spec))))
    common = common_of(spec, first)
    release(hospital.answer(encode(asking(spec, 2, common=common))))
    spent = ledger.spent_mu2
    other = common.model_copy(update={"s_a": common.s_a + 1})
    assert refused(hospital.answer(encode(asking(spec, 2, common=other)))) == Code.NOT_APPROVED
    assert ledger.spent_mu2 == spent


@pytest.mark.parametrize(("mu", "asks"), [(SMALL, False), (LARGE, True)])
def test_a_round_that_asks_nothing_opens_no_table(ledger: Ledger, mu: str, asks: bool) -> None:
    """A site too small for a mixture answers round 2 from its first answer, for free: no record is read again."""
    source, spec = CountedSource(TableSource(table())), study(mu)
    hospital = site(ledger, spec, source=source)
    first = release(hospital.answer(encode(asking(spec))))
    before = source.reads
    second = release(hospital.answer(encode(asking(spec, 2, common=common_of(spec, first)))))
    assert isinstance(second.release, CentroidsRelease)
    assert (source.reads > before, second.receipt.mu2 > 0) == (asks, asks)


def test_a_crash_after_the_draw_buys_no_second_draw() -> None:
    ledger, noise, data = BrittleLedger(":memory:", CAP), CountingNoise(), encode(asking(study()))
    hospital = site(ledger, study(), noise=noise)
    assert refused(hospital.answer(data)) == Code.UNAVAILABLE
    assert (noise.draws, ledger.spent_mu2, ledger.receipts()) == (1, study().mu2, ())
    reply = release(hospital.answer(data))
    assert (noise.draws, ledger.spent_mu2) == (1, study().mu2)
    assert isinstance(reply.release, ClassSumsRelease)
    uninterrupted = Ledger(":memory:", CAP)
    plain = release(site(uninterrupted, study(), noise=CountingNoise()).answer(data))
    assert reply == plain  # the answer that was stored is the one that is released
    for opened in (ledger, uninterrupted):
        opened.close()


def test_a_crash_in_the_draw_is_charged_once(ledger: Ledger) -> None:
    noise, data = CountingNoise(fails_at=1), encode(asking(study()))
    hospital = site(ledger, study(), noise=noise)
    assert refused(hospital.answer(data)) == Code.UNAVAILABLE
    assert ledger.spent_mu2 == study().mu2
    release(hospital.answer(data))
    assert (noise.draws, ledger.spent_mu2) == (2, study().mu2)
