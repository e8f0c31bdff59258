"""Receipts: what a release cost, written by the site, checked by anyone who has its public key.

The cost is the privacy of one patient whose records are replaced by another patient's. A statement says that one
answer of d numbers had the squared L2 sensitivity Delta^2 and discrete Gaussian noise of standard deviation sigma,
both in noise steps; it is mu-GDP with mu^2 = Delta^2/sigma^2 up to kappa = d/(24 sigma^2) in total variation. Over
the statements of a receipt, and over receipts, mu^2 and kappa add up. Whatever is rounded is rounded up.

In a joint study sigma is the site's share. The sum over the sites is what is mu-GDP, with mu^2 = Delta^2/(n
sigma^2) for the n = S - t `sharers` on whose noise a patient can count where no site is missing. Where some are,
the `spare` noise of the others makes up for theirs. Delta^2 then includes the patient's overlap, and the kappa
above is more than that of the sum (core/README.md, Joint answers).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version

from cohortmix.core.privacy.gdp import epsilon_of_discrete
from cohortmix.core.privacy.noise import ceil_sqrt
from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.protocol.fields import decimal_up, ratio_text
from cohortmix.protocol.messages import (
    NEIGHBOURS,
    CentroidsRelease,
    ClassSumsRelease,
    NoisedAnswer,
    Receipt,
    Request,
    SignedReceipt,
    SignedRelease,
    SiteRelease,
    Statement,
    StudySpec,
)
from cohortmix.protocol.signing import Key, SignatureError, sign_receipt, verify_receipt
from cohortmix.protocol.study import MOST_MU

GENESIS = "0" * 64
"""`previous` of a site's first receipt."""

EPSILON_PLACES, KAPPA_PLACES = 6, 24  # decimals; kappa is about 1e-15 for an answer of a million numbers
_FLOAT_ERROR = 1 + 1e-10  # far above the relative error of an epsilon (1e-13), far below what is printed


class ReceiptError(ValueError):
    """A receipt does not hold; the text says what is wrong with it."""


@dataclass(frozen=True)
class Total:
    """What several releases cost the patients of one site together, as exact sums of mu^2 and of kappa."""

    mu2: Fraction
    kappa: Fraction

    @property
    def mu(self) -> float:
        """sqrt(mu2)."""
        return math.sqrt(self.mu2)

    def epsilon(self, delta: Decimal) -> Decimal:
        """The epsilon at `delta`, rounded up."""
        return decimal_up(_epsilon(self, delta) * _FLOAT_ERROR, EPSILON_PLACES)


def _epsilon(cost: Total, delta: Decimal) -> float:
    return epsilon_of_discrete(cost.mu, float(delta), float(cost.kappa))


def total(receipts: Iterable[Receipt]) -> Total:
    """Composition over the receipts of one site; a receipt that is given twice counts once."""
    distinct = {receipt.hash: receipt for receipt in receipts}.values()
    return _total(statement for receipt in distinct for statement in receipt.statements)


def _total(statements: Iterable[Statement]) -> Total:
    statements = tuple(statements)
    mu2 = sum((Fraction(one.sensitivity2, one.sharers * one.sigma**2) for one in statements), Fraction(0))
    kappa = sum((Fraction(one.dimension, 24 * one.sigma**2) for one in statements), Fraction(0))
    return Total(mu2, kappa)


def statement_of(name: str, answer: NoisedAnswer) -> Statement:
    """What one noised answer cost, under this name."""
    return Statement(
        question=answer.question,
        name=name,
        dimension=math.prod(answer.values.shape),
        sensitivity2=answer.sensitivity2,
        sigma=answer.sigma,
        sharers=answer.sharers,
        spare=answer.spare_sigma,
        mu2=answer.mu2,
    )


def issue(
    key: Key,
    site: str,
    request: Request,
    release: SiteRelease,
    answers: Mapping[str, NoisedAnswer],
    patients: int,
    previous: str,
) -> SignedRelease:
    """The release under a signed receipt.

    Parameters
    ----------
    answers : by name, every noised answer that the vault gave for this request; nothing else cost anything.
    patients : N of the site, which is public.
    previous : hash of the site's previous receipt, GENESIS for its first.
    """
    study = request.study.study
    statements = tuple(statement_of(name, answer) for name, answer in answers.items())
    cost = _total(statements)
    receipt = Receipt(
        site=site,
        study=study.hash,
        schema_hash=study.schema_hash,
        request_id=request.request_id,
        request_hash=request.hash,
        round=request.round,
        mu2=cost.mu2,
        statements=statements,
        epsilon=cost.epsilon(study.delta),
        delta=study.delta,
        kappa=decimal_up(cost.kappa, KAPPA_PLACES),
        noise=study.noise,
        private=study.noise != "TEST",
        warning=NOT_PRIVATE if study.noise == "TEST" else None,
        version=version("cohortmix"),
        patients=patients,
        release_hash=release.hash,
        previous=previous,
    )
    return SignedRelease(release=release, receipt=receipt, signature=sign_receipt(key, receipt).signature)


def check(receipt: Receipt) -> None:
    """Raise ReceiptError unless the receipt's numbers follow from its statements.

    The mu2 of each statement is sensitivity2/(sharers sigma^2), their sum is that of the receipt, kappa and
    epsilon are not understated, and test noise is marked as not private.
    """
    for one in receipt.statements:
        if one.sigma <= 0 or one.sensitivity2 < 0 or one.mu2 * one.sharers * one.sigma**2 != one.sensitivity2:
            raise ReceiptError(
                f"statement {one.name!r}: expected mu2 = sensitivity2/(sharers sigma^2), got "
                f"mu2={ratio_text(one.mu2)}"
            )
    cost = _total(receipt.statements)
    if receipt.mu2 != cost.mu2:
        raise ReceiptError(
            f"expected mu2={ratio_text(cost.mu2)}, the sum of its statements, got {ratio_text(receipt.mu2)}"
        )
    if cost.mu2 > MOST_MU**2:  # perhaps beyond every float, so it is not printed
        raise ReceiptError(f"expected mu <= {MOST_MU}, the sum of its statements is more")
    if not 0 < float(receipt.delta) < 1:
        raise ReceiptError(f"expected 0 < delta < 1, got delta={receipt.delta}")
    if Fraction(receipt.kappa) < cost.kappa:
        raise ReceiptError(f"expected kappa of at least {float(cost.kappa):.6g}, got kappa={receipt.kappa}")
    if float(receipt.epsilon) < _epsilon(cost, receipt.delta):
        raise ReceiptError(
            f"expected epsilon of at least {cost.epsilon(receipt.delta)} at delta={receipt.delta}, got "
            f"epsilon={receipt.epsilon}"
        )
    test = receipt.noise == "TEST"
    if receipt.private == test or receipt.warning != (NOT_PRIVATE if test else None):
        raise ReceiptError(f"expected private={not test} with noise={receipt.noise}, and its warning to agree")


def verify(signed: SignedReceipt, study: StudySpec) -> None:
    """Raise ReceiptError unless a site of the study has signed this receipt, for this study and within its mu."""
    receipt, entry = signed.receipt, study.site(signed.receipt.site)
    if entry is None:
        raise ReceiptError(f"site={receipt.site!r} does not take part in study {study.name!r}")
    try:
        verify_receipt(signed, entry.key)
    except SignatureError as error:
        raise ReceiptError(f"receipt of {receipt.site!r}: {error}") from None
    expected = {
        "study": study.hash,
        "schema_hash": study.schema_hash,
        "delta": study.delta,
        "noise": study.noise,
        "neighbours": NEIGHBOURS,
        "patients": entry.patients,
    }
    _expect(receipt, expected)
    check(receipt)
    terms = study.terms
    if any(one.sharers != terms.sharers for one in receipt.statements):
        raise ReceiptError(
            f"receipt of {receipt.site!r}: expected sharers={terms.sharers} in each statement, the sites on "
            "whose noise a patient of this study can count"
        )
    if any(one.spare != ceil_sqrt(terms.spare * one.sigma**2) for one in receipt.statements):
        raise ReceiptError(
            f"receipt of {receipt.site!r}: expected spare noise of {float(terms.spare) ** 0.5:.4g} sigma in each "
            f"statement, for the {terms.dropouts} sites that may be missing"
        )
    if receipt.mu2 > study.mu2:
        raise ReceiptError(
            f"expected at most mu={study.mu}, got mu={math.sqrt(receipt.mu2):.6g} from {receipt.site!r}"
        )


def verify_release(signed: SignedRelease, request: Request) -> None:
    """Raise ReceiptError unless this answers `request`, and its receipt covers all that was released."""
    verify(signed.signed_receipt, request.study.study)
    _expect(
        signed.receipt,
        {
            "request_id": request.request_id,
            "request_hash": request.hash,
            "round": request.round,
            "release_hash": signed.release.hash,
        },
    )
    kind = "masked" if request.study.study.joint else {1: "class_sums", 2: "centroids"}[request.round]
    if signed.release.kind != kind:
        raise ReceiptError(f"expected {kind} in round {request.round} of this study, got {signed.release.kind}")
    release, statements = signed.release, signed.receipt.statements
    stated = [(one.question, one.dimension, one.sensitivity2, one.sigma, one.mu2) for one in statements]
    if isinstance(release, ClassSumsRelease):
        if stated != [_facts(release.answer)]:
            raise ReceiptError("expected one statement, that of the released class sums")
    elif isinstance(release, CentroidsRelease):
        counts = [] if release.counts is None else [_facts(release.counts)]
        if stated[1:] != counts:
            raise ReceiptError(
                "expected a second statement where counts of values are released, that of these counts"
            )


def _facts(answer: NoisedAnswer) -> tuple[object, ...]:
    """What its statement says of a released answer, without the limits of a statement."""
    dimension = math.prod(answer.values.shape)
    return answer.question, dimension, answer.sensitivity2, answer.sigma, answer.mu2


def _expect(receipt: Receipt, facts: Mapping[str, object]) -> None:
    for name, value in facts.items():
        if getattr(receipt, name) != value:
            raise ReceiptError(
                f"receipt of {receipt.site!r}: expected {name}={value}, got {getattr(receipt, name)}"
            )


def verify_chain(receipts: Sequence[Receipt], complete: bool = False) -> None:
    """Raise ReceiptError if a site's receipts show two histories of its ledger.

    Two receipts that name the same predecessor mean that the ledger was set back and its budget spent twice.

    Parameters
    ----------
    receipts : of one site, in any order; a coordinator sees only those of its own studies.
    complete : whether they must be the whole chain, from the first receipt on and without a gap.
    """
    chain = {receipt.hash: receipt for receipt in receipts}
    if len({receipt.site for receipt in chain.values()}) > 1:
        raise ReceiptError("expected the receipts of one site, got those of several")
    followers = Counter(receipt.previous for receipt in chain.values())
    forks = [previous for previous, count in followers.items() if count > 1]
    if forks:
        raise ReceiptError(
            f"fork: {followers[forks[0]]} receipts follow {forks[0][:12]}...; the ledger of the site was set back"
        )
    if complete and set(followers) - set(chain) != ({GENESIS} if chain else set()):
        raise ReceiptError("the chain has a gap: expected every receipt back to the first one")
