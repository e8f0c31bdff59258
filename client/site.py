"""A hospital's site: bytes of a request in, bytes of a release or a refusal out.

Every check comes before the reservation, the reservation before the vault, the commit before the reply. No
exception crosses, and no refusal depends on a record: it depends on the request, the schema, the public number
of patients, the policy and the ledger.
"""

from __future__ import annotations

import logging
import threading
from fractions import Fraction
from importlib.metadata import version

import numpy as np

from cohortmix.client.ledger import Ledger, RequestConflict
from cohortmix.client.policy import Policy, Refused
from cohortmix.client.reservation import Reservation
from cohortmix.client.room import require_room
from cohortmix.core import pipeline
from cohortmix.core.anonymize import blocks_of
from cohortmix.core.budget import MIN_PATIENTS
from cohortmix.core.encoding import Encoding
from cohortmix.core.grouping import most_groups_together
from cohortmix.core.meter import BudgetExceeded, MemoryMeter
from cohortmix.core.noise import NoiseSource
from cohortmix.core.schema import Schema
from cohortmix.core.table import Source
from cohortmix.core.vault import Vault
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.messages import (
    ANSWER_NAMES,
    Centroids,
    ClassSums,
    Code,
    Common,
    Description,
    MessageError,
    NoisedAnswer,
    Refusal,
    Release,
    Request,
    SignedRequest,
    SignedStudy,
    StudySpec,
    VersionError,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import issue
from cohortmix.protocol.signing import Key, SignatureError, verify_request, verify_study

ROUNDING = 1e-6
"""How far the margins that a coordinator sends may be from distributions."""

logger = logging.getLogger("cohortmix.site")


class Site:
    """One hospital: its table, its rules and its key.

    Parameters
    ----------
    name : as the studies name it.
    source : its table; the same rows at every reading.
    schema : the data dictionary, every line confirmed by a person.
    ledger : all snapshots of the same patients share one.
    policy : may be replaced while the site runs.
    key : signs the receipts.
    noise : a test source is good for studies that say so, whose receipts say "NOT PRIVATE".

    Raises
    ------
    SchemaError
        If a line of the schema is not confirmed.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        schema: Schema,
        ledger: Ledger,
        policy: Policy,
        key: Key,
        noise: NoiseSource,
    ) -> None:
        schema.require_confirmed()
        self.name, self.policy = name, policy
        self._source, self._schema, self._ledger, self._key, self._noise = source, schema, ledger, key, noise
        self._patients = Vault(source, schema, noise.add, MemoryMeter(Fraction(0))).patients
        self._one_request = threading.Lock()

    @property
    def description(self) -> Description:
        """The public facts of this site."""
        return Description(
            site=self.name,
            key=self._key.public_hex,
            patients=self._patients,
            schema_hash=self._schema.hash,
            columns=tuple(self._schema.columns),
            version=version("cohortmix"),
        )

    def describe(self) -> bytes:
        """The encoded `description`."""
        return encode(self.description)

    def answer(self, data: bytes) -> bytes:
        """The encoded reply to an encoded `SignedRequest`; the same request gets the same bytes.

        Guarantee
        ---------
        test_replies_cost_what_the_receipt_says. Unit: patient, replaced by another, N fixed. Over everything this
        method ever returns, mu^2 is at most the sum of its receipts' mu2, which is at most the ledger's cap^2.
        Public: the request, the schema, N, the policy, the ledger.
        """
        try:
            with self._one_request:
                return self._fulfil(_read(data))
        except Refused as refused:
            logger.info("refused: %s", refused.refusal.code)
            return encode(refused.refusal)
        except Exception as error:
            # The type alone: an exception's text can hold a value of a record.
            logger.error("no answer: %s", type(error).__name__)
            sentence = "The site could not answer; its own log says why."
            return encode(Refusal(code=Code.UNAVAILABLE, sentence=sentence))

    def preview(self, study: SignedStudy) -> bytes:
        """The encoded release of round 1, paid for here and now; the coordinator's request gets the same bytes.

        Raises
        ------
        Refused
            As `answer` would refuse. Any other exception is not for the coordinator's eyes.
        """
        try:
            verify_study(study)
        except SignatureError:
            raise Refused(Code.BAD_SIGNATURE, "The study is not signed by its coordinator.") from None
        asked = Request(study=study, round=1, request_id=request_id(study.study.hash, self.name, 1))
        with self._one_request:
            return self._fulfil(asked)

    def _fulfil(self, request: Request) -> bytes:
        study = request.study.study
        approved_mu2 = self.policy.approved_mu2(study)
        self._check_study(study)
        if request.request_id != request_id(study.hash, self.name, request.round):
            raise Refused(
                Code.NOT_APPROVED, "Each round of a study is one request; its id follows from the study."
            )
        plan = pipeline.Plan(self._schema, study.mu2, self._patients, study.share, float(study.alpha))
        own = None
        if request.common is not None:
            _check_common(request.common, study, self._schema)
            own = self._own_class_sums(study)
        require_room(plan, request.common)
        cost = plan.mu2_sums if request.round == 1 else plan.mu2_moments
        reserved = self._reserve(request, cost, approved_mu2)
        return reserved if isinstance(reserved, bytes) else self._release(request, plan, own, reserved)

    def _check_study(self, study: StudySpec) -> None:
        if study.expired(self._ledger.today):
            self._ledger.keep_today()
            raise Refused(Code.NOT_APPROVED, "The study has expired.")
        if study.version != (own := version("cohortmix")):
            raise Refused(
                Code.UNKNOWN_VERSION,
                f"The study was made with cohortmix {study.version}, this site runs {own}; install one version.",
            )
        if (study.schema_hash, study.target) != (self._schema.hash, self._schema.target):
            raise Refused(Code.UNKNOWN_COLUMN, "The study's schema is not the one that this site serves.")
        if study.noise != self._noise.name or self._noise.private == (study.noise == "TEST"):
            raise Refused(
                Code.NOT_APPROVED, f"This site's noise source is {self._noise.name!r}, the study's is not."
            )
        if self._patients < MIN_PATIENTS:
            raise Refused(Code.TOO_FEW_PATIENTS, f"A site needs at least {MIN_PATIENTS} patients.")
        entry = study.site(self.name)
        if entry is None or (entry.key, entry.patients) != (self._key.public_hex, self._patients):
            raise Refused(
                Code.NOT_APPROVED, "The study does not name this site with its key and number of patients."
            )

    def _own_class_sums(self, study: StudySpec) -> NoisedAnswer:
        releases = [signed.release for signed in self._ledger.releases(study.hash)]
        sums = [release.answer for release in releases if isinstance(release, ClassSums)]
        if not sums:
            raise Refused(Code.UNAVAILABLE, "This site has not answered round 1 of the study; ask for it first.")
        return sums[-1]

    def _reserve(self, request: Request, cost: Fraction, approved_mu2: Fraction) -> Reservation | bytes:
        study, id = request.study.study, request.request_id
        try:
            return self._ledger.reserve(
                study.hash, id, request.hash, cost, approved_mu2, coordinator=study.coordinator_key
            )
        except BudgetExceeded as error:
            raise Refused(Code.OVER_BUDGET, str(error)) from None
        except RequestConflict as error:
            raise Refused(Code.NOT_APPROVED, str(error)) from None

    def _release(
        self, request: Request, plan: pipeline.Plan, own: NoisedAnswer | None, reserved: Reservation
    ) -> bytes:
        release = self._compute(request, plan, own, reserved)
        names = ANSWER_NAMES[request.round] if request.round == 1 or plan.fits_mixture else ()
        answers = dict(zip(names, reserved.answers(), strict=True))  # one without a name would be off the receipt
        return self._ledger.commit(
            reserved,
            lambda previous: issue(self._key, self.name, request, release, answers, self._patients, previous),
        )

    def _compute(
        self, request: Request, plan: pipeline.Plan, own: NoisedAnswer | None, reserved: Reservation
    ) -> Release:
        if request.common is None or own is None:
            return ClassSums(answer=NoisedAnswer.of(pipeline.class_sums(self._vault(reserved), plan)))
        common = request.common.to_core()
        if not plan.fits_mixture:  # nothing is asked, so the table is not opened: a free request reads no record
            return Centroids.of(pipeline.class_centroids(plan, common, own.to_core()))
        seed = bytes.fromhex(sha256([own.plain(), reserved.study, reserved.request_id]))
        return Centroids.of(pipeline.centroids(self._vault(reserved), plan, common, own.to_core(), seed))

    def _vault(self, reserved: Reservation) -> Vault:
        return Vault(self._source, self._schema, self._noise.add, reserved)


def _read(data: bytes) -> Request:
    """The request, once both its signatures are found good."""
    try:
        signed = decode(data)
        if not isinstance(signed, SignedRequest):
            raise Refused(Code.UNAVAILABLE, "The site answers signed requests only.")
        verify_request(signed)
    except VersionError as error:
        raise Refused(Code.UNKNOWN_VERSION, str(error)) from None
    except MessageError:
        raise Refused(Code.UNAVAILABLE, "The bytes are not a message of this protocol.") from None
    except SignatureError:
        raise Refused(
            Code.BAD_SIGNATURE, "The study or the request is not signed by the study's coordinator."
        ) from None
    return signed.request


def _check_common(common: Common, study: StudySpec, schema: Schema) -> None:
    """The groups put each fine cell of each feature into one group, and leave none empty; margins are margins."""
    encoding, classes = Encoding.of(schema), len(schema.classes)
    sizes, most = encoding.sizes, most_groups_together(encoding)
    partition = tuple(len(of) for of in common.groups) == sizes and all(
        set(of) == set(range(len(set(of)))) for of in common.groups
    )
    if not partition or common.cells.shape != (classes, sum(sizes)) or not _are_margins(common, study, sizes):
        raise Refused(Code.UNKNOWN_COLUMN, "The common groups and margins do not fit this site's schema.")
    if sum(len(set(of)) for of in common.groups) > most:
        raise Refused(Code.UNKNOWN_COLUMN, f"The common groups are more than {most}.")


def _are_margins(common: Common, study: StudySpec, sizes: tuple[int, ...]) -> bool:
    """Distributions of each feature, and masses above zero of no more patients than the study has."""
    cells, masses = common.cells.numpy(), common.masses.numpy()
    most = sum(entry.patients for entry in study.sites) * (1 + ROUNDING)
    if (cells < 0).any() or (cells > 1 + ROUNDING).any() or (masses <= 0).any() or (masses > most).any():
        return False
    sums = np.stack([cells[:, block].sum(axis=1) for block in blocks_of(sizes)])
    return bool((abs(sums - 1) <= ROUNDING).all() and masses.sum() <= most and common.s_a > 0)
