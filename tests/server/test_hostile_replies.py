"""Nothing that comes over the wire stops a study: 100,000 altered replies were tried (COHORTMIX_MUTATIONS).

Whatever is altered, a reply is either the site's own, as it signed it, or turned down with a sentence; also one
that the site itself has signed so.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from mutations import mutated
from one_site import BY_CLASS, CENTROIDS, COMMON, COORDINATOR, MOMENTS, PLAN, SCHEMA, SITE, STUDY, SUMS
from pydantic import ValidationError

from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    MOST_KEYS,
    CentroidsRelease,
    ClassSumsRelease,
    Code,
    CommonMessage,
    MessageError,
    NoisedAnswer,
    Receipt,
    Refusal,
    Request,
    SignedRelease,
    SignedRequest,
    decode,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, ReceiptError, issue
from cohortmix.protocol.signing import sign_receipt, sign_study
from cohortmix.server import coordinator as module
from cohortmix.server import kept
from cohortmix.server.acceptance import check_release, most_components
from cohortmix.server.coordinator import LONGEST_SENTENCE, Coordinator, Verdict
from cohortmix.server.store import NOT_ACCEPTED, Store

MUTATIONS = int(os.environ.get("COHORTMIX_MUTATIONS", "3000"))


def coordinator() -> Coordinator:
    return Coordinator(sign_study(COORDINATOR, STUDY), COORDINATOR, SCHEMA, Store(":memory:", STUDY.hash))


def request_of(coordinator: Coordinator) -> Request:
    message = decode(coordinator.requests()["UK"])
    assert isinstance(message, SignedRequest)
    return message.request


@pytest.fixture(scope="module")
def answers() -> tuple[bytes, bytes]:
    """The site's answers to both rounds of the study."""
    here = coordinator()
    first = answer_to(request_of(here))
    assert here.accept("UK", first) is Verdict.ACCEPTED
    here.freeze()
    return first, answer_to(request_of(here))


def answer_to(request: Request) -> bytes:
    release = ClassSumsRelease(answer=NoisedAnswer.of(SUMS)) if request.round == 1 else CENTROIDS
    drawn = {"class sums": SUMS} if request.round == 1 else {"second moments": MOMENTS}
    of_wire = {name: NoisedAnswer.of(answer) for name, answer in drawn.items()}
    return encode(issue(SITE, "UK", request, release, of_wire, STUDY.sites[0].patients, GENESIS))


def test_altered_replies_raise_nothing_and_only_the_sites_own_counts(answers: tuple[bytes, bytes]) -> None:
    chance, outcomes = random.Random(12), Counter[str]()
    refusal = encode(Refusal(code=Code.OVER_BUDGET, sentence="spent 0.20, asked 0.15, cap 0.30"))
    for number in range(MUTATIONS):
        if number % 500 == 0:
            here = coordinator()
            here.requests()
        original = (answers[0], answers[1], refusal)[number % 3]
        reply = mutated(original, chance)
        verdict = here.accept("UK", reply)
        outcomes[verdict.name] += 1
        if verdict in (Verdict.ACCEPTED, Verdict.KNOWN):
            assert decode(reply) == decode(original), "it says what the site has signed"
        else:
            assert verdict is Verdict.LATER
    assert outcomes["LATER"] > MUTATIONS * 0.9
    assert all(len(entry.sentence) <= LONGEST_SENTENCE for entry in here._store.refusals())


def test_no_altered_reply_needs_the_last_resort(answers: tuple[bytes, bytes]) -> None:
    """Where `accept` would catch a fault of ours, there is none: each reply is one of the two expected errors."""
    chance, here = random.Random(13), coordinator()
    request = request_of(here)
    for number in range(MUTATIONS):
        with suppress(MessageError, ReceiptError):
            message = decode(mutated(answers[number % 2], chance))
            if isinstance(message, SignedRelease):
                check_release(message, request, PLAN)


def test_what_a_site_signs_itself_raises_nothing_either(answers: tuple[bytes, bytes]) -> None:
    """A hostile site has its key: receipt and signature fit each other and the altered release."""
    chance, here = random.Random(14), coordinator()
    first = request_of(here)
    here.accept("UK", answers[0])
    here.freeze()
    requests = first, request_of(here)
    reached = 0
    for number in range(MUTATIONS):
        try:
            message = decode(mutated(answers[number % 2], chance))
        except MessageError:
            continue
        if not isinstance(message, SignedRelease):
            continue
        receipt = message.receipt.model_copy(update={"release_hash": message.release.hash, "site": "UK"})
        signed = message.model_copy(
            update={"receipt": receipt, "signature": sign_receipt(SITE, receipt).signature}
        )
        reached += 1
        with suppress(ReceiptError):
            check_release(signed, requests[number % 2], PLAN)
    assert reached > MUTATIONS / 20


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": 10**100, "mu2": Fraction(SUMS.sensitivity2, 10**200)},
        {"values": Array.of(np.zeros(0, np.int64))},
        {"values": Array(dtype="<i8", shape=(0, 2**24), data="")},
        {"sensitivity2": 0, "sigma": 1, "mu2": Fraction(0)},
        {"unit": -(10**150)},
    ],
)
def test_signed_numbers_at_each_bound_are_turned_down(change: dict[str, object]) -> None:
    request = request_of(coordinator())
    answer = NoisedAnswer.of(SUMS)
    altered = answer.model_copy(update=change)
    signed = issue(SITE, "UK", request, ClassSumsRelease(answer=altered), {"class sums": answer}, 400, GENESIS)
    with pytest.raises(ReceiptError):
        check_release(signed, request, PLAN)


@pytest.mark.parametrize("delta", ["0." + "9" * 60, "1e-60"])
def test_a_delta_next_to_none_or_to_one_raises_nothing_else(delta: str, answers: tuple[bytes, bytes]) -> None:
    here = coordinator()
    here.requests()
    message = decode(answers[0])
    assert isinstance(message, SignedRelease)
    receipt = message.receipt.model_copy(update={"delta": Decimal(delta)})
    signed = message.model_copy(update={"receipt": receipt, "signature": sign_receipt(SITE, receipt).signature})
    assert here.accept("UK", encode(signed)) is Verdict.LATER


def test_nothing_is_computed_before_the_signature_is_checked(
    answers: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cohortmix.protocol import receipts

    def never(*arguments: object) -> None:
        raise AssertionError("computed from a receipt that nobody signed")

    message = decode(answers[0])
    assert isinstance(message, SignedRelease)
    unsigned = message.model_copy(update={"signature": "1" * 128})
    here = coordinator()
    here.requests()
    monkeypatch.setattr(receipts, "check", never)
    monkeypatch.setattr(receipts, "_expect", never)
    assert here.accept("UK", encode(unsigned)) is Verdict.LATER
    with pytest.raises(ReceiptError, match="signature"):  # `accept` would make a note of any exception
        check_release(unsigned, request_of(here), PLAN)
    with pytest.raises(AssertionError, match="nobody signed"):
        check_release(message, request_of(here), PLAN)


def test_a_fault_of_ours_over_one_reply_is_noted_and_stops_nothing(
    answers: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*arguments: object) -> None:
        raise ZeroDivisionError("of record 17")

    here = coordinator()
    here.requests()
    monkeypatch.setattr(module, "check_release", faulty)
    assert here.accept("UK", answers[0]) is Verdict.LATER
    (noted,) = here._store.refusals()
    assert (noted.code, noted.sentence) == (NOT_ACCEPTED, "it cannot be checked: ZeroDivisionError")


def test_replies_are_decoded_once_and_the_next_coordinator_decodes_each_once(
    answers: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, decoded = Store(":memory:", STUDY.hash), Counter[bytes]()

    def counting(data: bytes) -> object:
        decoded[data] += 1
        return decode(data)

    for reader in (module, kept):  # of what comes in, and of what comes back from the store
        monkeypatch.setattr(reader, "decode", counting)
    here = Coordinator(sign_study(COORDINATOR, STUDY), COORDINATOR, SCHEMA, store)
    here.requests()
    here.accept("UK", answers[0])
    here.freeze()
    here.requests()
    here.accept("UK", answers[1])
    for _ in range(3):
        here.finish()
    assert [decoded[answer] for answer in answers] == [1, 1]
    again = Coordinator(sign_study(COORDINATOR, STUDY), COORDINATOR, SCHEMA, store)
    for _ in range(3):
        again.finish()
    assert [decoded[answer] for answer in answers] == [2, 2]


def many(centroids: CentroidsRelease, kind: str, times: int) -> CentroidsRelease:
    """The same centroids, split so often."""
    k = len(centroids.kinds)

    def repeated(array: Array, by: int = 1) -> Array:
        return Array.of(np.repeat(array.numpy() / by, times, axis=0))

    return centroids.model_copy(
        update={
            "masses": repeated(centroids.masses, times),
            "means": repeated(centroids.means),
            "labels": repeated(centroids.labels),
            "kinds": (kind,) * (k * times),
        }
    )


def test_a_site_has_no_more_centroids_than_its_plan() -> None:
    request = Request(
        study=sign_study(COORDINATOR, STUDY), round=2, request_id="request-1", common=CommonMessage.of(COMMON)
    )
    most = most_components(PLAN)
    of_plan = BY_CLASS.model_copy(update={"noise_std": Decimal(repr(PLAN.s_b))})
    drawn = {"second moments": NoisedAnswer.of(MOMENTS)}

    def check(release: CentroidsRelease) -> None:
        check_release(issue(SITE, "UK", request, release, drawn, 400, GENESIS), request, PLAN)

    assert most >= 2
    check(many(of_plan, "mixture", most // 2))
    with pytest.raises(ReceiptError, match="mixture centroids above the plan's"):
        check(many(of_plan, "mixture", most // 2 + 1))
    with pytest.raises(ReceiptError, match="class centroids above one a class"):
        check(many(BY_CLASS, "class", 2))


def test_a_message_is_bounded_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key of a message takes a hundred times its bytes until it is refused."""
    keys = b'{"protocol":1,' + b",".join(b'"%d":1' % number for number in range(MOST_KEYS)) + b"}"
    with pytest.raises(MessageError, match="at most 32768 keys"):
        decode(keys)


def test_names_of_keys_do_not_reach_a_sentence() -> None:
    plain = {"protocol": 1, "type": "refusal", "code": "UNAVAILABLE", "sentence": "x", "\x1b[2J" + "y" * 9000: 1}
    with pytest.raises(MessageError) as caught:
        decode(json.dumps(plain).encode())
    assert str(caught.value) == "not a message of protocol 1: refusal.(unknown): extra_forbidden"


@pytest.mark.parametrize("field", ["patients", "round"])
def test_numbers_of_a_receipt_fit_its_canonical_form(answers: tuple[bytes, bytes], field: str) -> None:
    message = decode(answers[0])
    assert isinstance(message, SignedRelease)
    with pytest.raises(ValidationError):
        Receipt.model_validate_json(json.dumps(message.receipt.plain() | {field: 2**60}))
