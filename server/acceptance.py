"""Whether a reply counts: signed by its site, for our request, within the study's budget, and of our form."""

from cohortmix.core.anonymize import sum_query
from cohortmix.core.encoding import Encoding
from cohortmix.core.query import question_hash
from cohortmix.core.schema import Schema
from cohortmix.protocol.messages import Centroids, ClassSums, Request, SignedRelease
from cohortmix.protocol.receipts import ReceiptError, verify_release


def check_release(signed: SignedRelease, request: Request, schema: Schema) -> None:
    """Raise ReceiptError unless the release can be pooled as the answer to `request`.

    Signature, study, request, release hash and cost are those of `receipts.verify_release`. The form is checked
    as well, so that one site's mistake cannot stop the study of the others.
    """
    verify_release(signed, request)
    if isinstance(signed.release, ClassSums):
        _check_sums(signed.release, schema)
    else:
        _check_centroids(signed.release, request, schema, signed.receipt.patients)


def _check_sums(sums: ClassSums, schema: Schema) -> None:
    encoding = Encoding.of(schema)
    query = sum_query(encoding)
    _expect("question", question_hash(query, schema), sums.answer.question)
    _expect("shape", (encoding.label.size * query.width,), sums.answer.values.shape)


def _check_centroids(centroids: Centroids, request: Request, schema: Schema, patients: int) -> None:
    """On the common groups and the schema's classes, and no more mass than the site has patients."""
    assert request.common is not None  # a request of round 2 has it
    _expect("groups", sum(max(groups) + 1 for groups in request.common.groups), centroids.means.shape[1])
    _expect("classes", len(schema.classes), centroids.labels.shape[1])
    parts = [part.numpy() for part in (centroids.masses, centroids.means, centroids.labels)]
    _expect("negative numbers", 0, sum(int((part < 0).sum()) for part in parts))
    _expect("mass", patients, round(float(parts[0].sum())))


def _expect(name: str, expected: object, came: object) -> None:
    if came != expected:
        raise ReceiptError(f"the release does not fit the study: expected {name}={expected}, got {came}")
