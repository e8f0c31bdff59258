"""Receipts: their arithmetic, every altered byte, and the chain."""

import json
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from cohortmix.core.privacy.gdp import epsilon_of
from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    MessageError,
    Receipt,
    SignedReceipt,
    SignedRelease,
    decode,
    encode,
)
from cohortmix.protocol.receipts import (
    GENESIS,
    ReceiptError,
    Total,
    check,
    issue,
    statement_of,
    total,
    verify,
    verify_chain,
    verify_release,
)
from cohortmix.protocol.signing import sign_receipt


def test_golden_bytes(examples: ModuleType) -> None:
    receipt = examples.release().receipt
    golden = {
        "delta": "0.00001",
        "epsilon": "0.434417",
        "kappa": "0.000000000000000000001695",
        "neighbours": "replace-one-patient",
        "noise": "opendp",
        "mu2": "1/64",
        "patients": 4689,
        "previous": "0" * 64,
        "private": True,
        "release_hash": examples.release().release.hash,
        "request_hash": examples.request().hash,
        "request_id": "request-1",
        "round": 1,
        "schema_hash": "5" * 64,
        "site": "UK",
        "statements": [
            {
                "dimension": 3,
                "mu2": "1/64",
                "name": "class sums",
                "question": "a" * 64,
                "sensitivity2": "1152921504606846976",
                "sharers": 1,
                "sigma": "8589934592",
                "spare": "0",
            }
        ],
        "study": examples.study().hash,
        "unit": "patient",
        "version": receipt.version,
        "warning": None,
    }
    assert receipt.plain() == golden
    fixed = receipt.model_copy(update={"version": "0.1.0"})
    assert fixed.hash == "ab154f47821edb203f6ca3512a43a0dce1408bd785090b2b5ab6b716f308c54e"
    assert sign_receipt(examples.SITE, fixed).signature == (
        "0bb34cdbc1df7e89dfb4f5813cbeee30342b2ae0626b968728815596961d0b05"
        "acdc82903e53f769d9297c1ce0df76a88a9433ea553f25fb3556877665fe3f07"
    )


def test_numbers_are_rounded_up(examples: ModuleType) -> None:
    receipt = examples.release().receipt
    assert receipt.mu2 == sum((each.mu2 for each in receipt.statements), Fraction(0)) == Fraction(1, 64)
    exact = epsilon_of(0.125, 1e-5, 3 / (24 * 2**66))
    assert exact <= float(receipt.epsilon) <= exact + 2e-6
    assert Fraction(3, 24 * 2**66) <= Fraction(receipt.kappa) <= Fraction(3, 24 * 2**66) + Fraction(1, 10**24)
    # kappa counts: with it, epsilon is larger
    coarse = Total(Fraction(1, 64), Fraction(1, 10**6))
    assert coarse.epsilon(Decimal("0.00001")) > Total(Fraction(1, 64), Fraction(0)).epsilon(Decimal("0.00001"))


def test_every_mu_has_an_epsilon() -> None:
    """Corollary 1 with kappa has none for a large mu; the concentrated bound, never smaller otherwise, has."""
    delta, kappa = Decimal("0.00001"), Fraction(1, 10**15)
    for mu in (0.01, 0.1, 1.0, 3.0):
        exact = epsilon_of(mu, 1e-5, 1e-15)
        assert exact <= float(Total(Fraction(mu) ** 2, kappa).epsilon(delta)) <= exact * (1 + 1e-9) + 1e-6
    with pytest.raises(ValueError, match="No epsilon exists"):
        epsilon_of(10.0, 1e-5, 1e-15)
    rho = 50  # of mu = 10
    assert float(Total(Fraction(100), kappa).epsilon(delta)) == pytest.approx(
        rho + 2 * (rho * np.log(1e5)) ** 0.5, abs=2e-6
    )
    assert Total(Fraction(0), Fraction(0)).epsilon(delta) == 0


@pytest.mark.parametrize("statements", [0, 2])
def test_class_sums_are_one_answer_of_one_statement(examples: ModuleType, statements: int) -> None:
    """A release whose answer is on no statement, or beside another one, is not covered by its receipt."""
    release, request = examples.release().release, examples.request()
    answers = {("class sums", "another")[at]: release.answer for at in range(statements)}
    signed = issue(examples.SITE, "UK", request, release, answers, 4689, GENESIS)
    assert signed.receipt.mu2 == statements * release.answer.mu2
    verify(signed.signed_receipt, examples.study())
    with pytest.raises(ReceiptError, match="expected one statement"):
        verify_release(signed, request)


def test_a_good_release_is_verified(examples: ModuleType) -> None:
    for study_round in (1, 2):
        signed = examples.release(study_round)
        verify(signed.signed_receipt, examples.study())
        verify_release(signed, examples.request(study_round))


def test_every_altered_byte_of_a_receipt_is_noticed(examples: ModuleType) -> None:
    good = examples.release().signed_receipt
    data = encode(good)
    for position in range(len(data)):
        altered = bytes([*data[:position], data[position] ^ 1, *data[position + 1 :]])
        with pytest.raises((ReceiptError, MessageError)):
            verify(cast(SignedReceipt, decode(altered)), examples.study())


def _with_statement(receipt: Receipt, **changes: Any) -> Receipt:
    statement = receipt.statements[0].model_copy(update=changes)
    return receipt.model_copy(update={"statements": (statement,), "mu2": statement.mu2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu2": Fraction(1, 65)}, "sum of its statements"),
        ({"statements": ()}, "sum of its statements"),
        ({"kappa": Decimal(0)}, "kappa"),
        ({"epsilon": Decimal("0.3")}, "epsilon"),
        ({"delta": Decimal(0)}, "0 < delta < 1"),
        ({"delta": Decimal(1)}, "0 < delta < 1"),
        ({"private": False}, "private=True"),
        ({"warning": NOT_PRIVATE}, "private=True"),
        ({"noise": "TEST"}, "private=False"),
        ({"noise": "TEST", "private": False}, "warning"),
        ({"noise": "TEST", "warning": NOT_PRIVATE}, "private=False"),
        ({"noise": "TEST", "private": False, "warning": "fine"}, "warning"),
    ],
)
def test_arithmetic_of_a_signed_receipt(examples: ModuleType, changes: dict[str, Any], message: str) -> None:
    """A site may sign what is wrong; the signature alone proves nothing."""
    receipt = examples.release().receipt
    check(receipt)
    wrong = receipt.model_copy(update=changes)
    with pytest.raises(ReceiptError, match=message):
        check(wrong)
    with pytest.raises(ReceiptError):
        verify(sign_receipt(examples.SITE, wrong), examples.study())


@pytest.mark.parametrize("changes", [{"sigma": 2**34}, {"sensitivity2": 2**61}, {"mu2": Fraction(1, 128)}])
def test_statement_is_a_quotient(examples: ModuleType, changes: dict[str, Any]) -> None:
    with pytest.raises(ReceiptError, match=r"sensitivity2/\(sharers sigma\^2\)"):
        check(_with_statement(examples.release().receipt, **changes))
    zero = _with_statement(examples.release().receipt, sigma=0, sensitivity2=0, mu2=Fraction(0))
    with pytest.raises(ReceiptError, match=r"sensitivity2/\(sharers sigma\^2\)"):
        check(zero)


@pytest.mark.parametrize(("sensitivity2", "sigma"), [(10**390, 1), (10**9, 10)])
def test_numbers_beyond_all_bounds_are_refused(examples: ModuleType, sensitivity2: int, sigma: int) -> None:
    """What a site writes can be wrong, and must not stop the one who checks it."""
    huge = Fraction(sensitivity2, sigma**2)
    with pytest.raises(ReceiptError, match="mu <= 1000"):
        check(_with_statement(examples.release().receipt, sensitivity2=sensitivity2, sigma=sigma, mu2=huge))


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "0" * 64},
        {"schema_hash": "0" * 64},
        {"delta": Decimal("0.1"), "epsilon": Decimal(1)},
        {"patients": 4690},
        {"site": "NORW"},
        {"site": "FRAN"},
        {"noise": "TEST", "private": False, "warning": NOT_PRIVATE},
    ],
)
def test_receipt_of_another_study(examples: ModuleType, changes: dict[str, Any]) -> None:
    wrong = sign_receipt(examples.SITE, examples.release().receipt.model_copy(update=changes))
    with pytest.raises(ReceiptError):
        verify(wrong, examples.study())


def test_receipt_over_the_mu_of_the_study(examples: ModuleType) -> None:
    cheap = {"mu": Decimal("0.125")}
    verify(examples.release(**cheap).signed_receipt, examples.study(**cheap))
    cheap = {"mu": Decimal("0.124")}
    with pytest.raises(ReceiptError, match=r"at most mu=0\.124"):
        verify(examples.release(**cheap).signed_receipt, examples.study(**cheap))


def test_release_belongs_to_its_request(examples: ModuleType) -> None:
    signed = examples.release()
    for other in (examples.request(2), examples.request(1, "request-2"), examples.request(mu=Decimal("0.3"))):
        with pytest.raises(ReceiptError):
            verify_release(signed, other)


def test_release_belongs_to_its_receipt(examples: ModuleType) -> None:
    signed = examples.release()
    moved = examples.answer().model_copy(update={"values": Array.of(np.array([2**40, -(2**41), 8]))})
    swapped = SignedRelease(
        release=ClassSumsRelease(answer=moved), receipt=signed.receipt, signature=signed.signature
    )
    with pytest.raises(ReceiptError, match="release_hash"):
        verify_release(swapped, examples.request())


def test_receipt_covers_the_release(examples: ModuleType) -> None:
    """A site that released more exactly than it states, or another kind of thing, is found out."""
    request, content = examples.request(), ClassSumsRelease(answer=examples.answer(sigma=2**32))
    understated = issue(examples.SITE, "UK", request, content, {"class sums": examples.answer()}, 4689, GENESIS)
    with pytest.raises(ReceiptError, match="one statement"):
        verify_release(understated, request)
    honest = {"class sums": examples.answer()}
    wrong_kind = issue(examples.SITE, "UK", request, examples.centroids(), honest, 4689, GENESIS)
    with pytest.raises(ReceiptError, match="round 1"):
        verify_release(wrong_kind, request)


def test_test_noise_is_marked(examples: ModuleType) -> None:
    receipt = examples.release(noise="TEST").receipt
    assert (receipt.private, receipt.warning) == (False, "NOT PRIVATE: test noise")
    verify(sign_receipt(examples.SITE, receipt), examples.study(noise="TEST"))


def _chain(examples: ModuleType, length: int) -> list[Receipt]:
    receipts: list[Receipt] = []
    for number in range(length):
        previous = receipts[-1].hash if receipts else GENESIS
        receipts.append(examples.release(previous=previous, request_id=f"request-{number}").receipt)
    return receipts


def test_chain(examples: ModuleType) -> None:
    chain = _chain(examples, 4)
    verify_chain([], complete=True)
    verify_chain(chain[::-1], complete=True)
    verify_chain([chain[0], chain[3], chain[3]])  # what one coordinator sees; a copy is no second receipt
    for part in (chain[1:], [chain[0], chain[2]]):
        with pytest.raises(ReceiptError, match="gap"):
            verify_chain(part, complete=True)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_fork(examples: ModuleType, position: int) -> None:
    chain = _chain(examples, 3)
    twin = examples.release(previous=chain[position].previous, request_id="request-x").receipt
    with pytest.raises(ReceiptError, match="fork"):
        verify_chain([*chain, twin])


def test_chain_of_two_sites(examples: ModuleType) -> None:
    chain = _chain(examples, 2)
    with pytest.raises(ReceiptError, match="one site"):
        verify_chain([chain[0], chain[1].model_copy(update={"site": "NORW"})])


def test_total_adds_squares(examples: ModuleType) -> None:
    chain = _chain(examples, 4)
    cost = total([*chain, chain[0]])
    assert cost.mu2 == Fraction(4, 64)
    assert cost.mu == 0.25
    assert cost.kappa == 4 * Fraction(3, 24 * 2**66)
    assert total([]) == Total(Fraction(0), Fraction(0))


def test_each_answer_counts_with_its_own_sigma(examples: ModuleType) -> None:
    answers = [examples.answer(sigma) for sigma in (2**33, 2**35)]
    statements = tuple(statement_of(f"answer {number}", answer) for number, answer in enumerate(answers))
    cost = total([examples.release().receipt.model_copy(update={"statements": statements})])
    assert cost.mu2 == answers[0].mu2 + answers[1].mu2 == Fraction(17, 16) * answers[0].mu2
    assert cost.kappa == Fraction(17, 16) * Fraction(3, 24 * 2**66)


def test_receipt_file_is_readable_json(examples: ModuleType) -> None:
    plain = json.loads(encode(examples.release().signed_receipt))
    assert plain["type"] == "receipt"
    assert plain["receipt"]["mu2"] == "1/64"
