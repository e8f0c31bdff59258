"""A hospital's site: bytes of a request in, bytes of a release or a refusal out.

Every check comes before the reservation, the reservation before the vault, the commit before the reply. No
exception leaves the site. No refusal depends on a record, only on the request, the schema, the public number of
patients, the policy and the ledger.
"""

from __future__ import annotations

import logging
import threading
from fractions import Fraction
from importlib.metadata import version

from cohortmix.client.ledger.ledger import Ledger, RequestConflict
from cohortmix.client.ledger.policy import Policy, Refused
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.client.site.counted import looks
from cohortmix.client.site.joint_sum import JointSum
from cohortmix.client.site.request import read_request, require_common, require_constraints
from cohortmix.client.site.room import require_room
from cohortmix.core.data.patients import count_patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.core.privacy.meter import Answer, BudgetExceeded
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.masking.seeds import DrawSeed, new_seed
from cohortmix.protocol.messages import (
    ANSWER_NAMES,
    CentroidsRelease,
    ClassSumsRelease,
    Code,
    Description,
    NoisedAnswer,
    Refusal,
    Request,
    SignedStepReply,
    SignedStudy,
    SiteRelease,
    StepRequest,
    StudySpec,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import issue
from cohortmix.protocol.signing import Key, SignatureError, verify_study
from cohortmix.protocol.steps import AskInput

logger = logging.getLogger("cohortmix.site")


class Site:
    """One hospital: its table, its rules and its key.

    Parameters
    ----------
    name : the name that studies give it.
    source : its table; the same rows at every reading.
    schema : the data dictionary, every line confirmed by a person.
    ledger : one for all snapshots of the same patients, since they share one budget.
    policy : what is approved; it may be replaced while the site runs.
    key : signs the receipts.
    noise : the real source, or one for tests, which answers only studies that declare test noise; their receipts
        say "NOT PRIVATE".
    draw : a new secret of a joint study's masks for a purpose; another source is for tests that repeat every byte.

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
        draw: DrawSeed = new_seed,
    ) -> None:
        schema.require_confirmed()
        self.name, self.policy = name, policy
        self._source, self._schema, self._ledger, self._key, self._noise = source, schema, ledger, key, noise
        self._draw = draw
        self._patients = count_patients(source, schema).number
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
        """The encoded reply to an encoded `SignedRequest` or `SignedStep`; the same one gets the same bytes.

        Guarantee
        ---------
        test_replies_cost_what_the_receipt_says. Unit: patient, replaced by another, N fixed. Over everything this
        method ever returns, mu^2 is at most the sum of its receipts' mu2, which is at most the ledger's cap^2.
        Of a joint study this holds for what can be read of it, unless more than t sites conspire
        (core/README.md, Joint answers). Public: the request, the schema, N, the policy, the ledger.
        """
        try:
            with self._one_request:
                asked = read_request(data)
                return self._fulfil(asked) if isinstance(asked, Request) else self._take(asked)
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
            Where `answer` would refuse, and for a joint study. The text of any other exception may hold a record:
            the coordinator must not see it.
        """
        if study.study.joint is not None:
            raise Refused(
                Code.NOT_APPROVED,
                "Of a joint study there is nothing to preview: what this site sends is random by itself.",
            )
        try:
            verify_study(study)
        except SignatureError:
            raise Refused(Code.BAD_SIGNATURE, "The study is not signed by its coordinator.") from None
        request = Request(study=study, round=1, request_id=request_id(study.study.hash, self.name, 1))
        with self._one_request:
            return self._fulfil(request)

    def _fulfil(self, request: Request) -> bytes:
        study = request.study.study
        if study.joint is not None:
            raise Refused(Code.NOT_APPROVED, "The rounds of a joint study are asked for in steps.")
        plan, approved_mu2 = self._admit(request)
        own_sums = None if request.common is None else self._own_class_sums(study)
        reserved = self._reserve(request, plan, approved_mu2)
        return reserved if isinstance(reserved, bytes) else self._release(request, plan, own_sums, reserved)

    def _take(self, step: StepRequest) -> bytes:
        """The reply to a step of a joint study; the budget of its round is reserved with the first step."""
        request, ask, study = step.request, step.ask, step.request.study.study
        if study.joint is None:
            raise Refused(Code.NOT_APPROVED, "Only a joint study is asked for in steps.")
        plan, approved_mu2 = self._admit(request)
        if request.round == 2 and not plan.fits_mixture:
            raise Refused(Code.NOT_APPROVED, "This study has too few patients for a second round.")
        self.policy.require_peers(study, self._key.public_hex)
        steps = self._ledger.sum_steps(study.hash, request.request_id)
        own = JointSum(
            self.name, self._key, request, steps, lambda purpose: self._draw(f"{request.sum} {purpose}")
        )
        own.require_turn(ask)
        reserved = self._reserve(request, plan, approved_mu2)
        if not isinstance(ask, AskInput):
            return encode(SignedStepReply(signed=own.reply(ask, isinstance(reserved, bytes))))
        own.begin_input(ask)
        if isinstance(reserved, bytes):
            return reserved
        return self._commit(request, plan, reserved, own.masked(ask, self._parts_of_sum(request, plan, reserved)))

    def _admit(self, request: Request) -> tuple[Plan, Fraction]:
        """What a request is for, and the most that its study may cost; Refused by public facts or the ledger."""
        study = request.study.study
        approved_mu2 = self.policy.approved_mu2(study)
        self._check_study(study)
        if request.request_id != request_id(study.hash, self.name, request.round):
            raise Refused(
                Code.NOT_APPROVED, "Each round of a study is one request; its id follows from the study."
            )
        plan = study.plan(self._schema, self._patients)
        if request.common is not None:
            require_common(request.common, study, self._schema, plan.by_scores)
            # A coordinator can make no more be counted, nor paid, than the study permits.
            plan = plan.looking(*looks(study, self._schema, request.common))
        require_room(plan, request.common, study.terms)
        return plan, approved_mu2

    def _check_study(self, study: StudySpec) -> None:
        if study.expired(self._ledger.today):
            self._ledger.keep_today()
            raise Refused(Code.NOT_APPROVED, "The study has expired.")
        if study.version != (installed := version("cohortmix")):
            raise Refused(
                Code.UNKNOWN_VERSION,
                f"The study was made with cohortmix {study.version}, this site runs {installed}; install the "
                "same version.",
            )
        if (study.schema_hash, study.target) != (self._schema.hash, self._schema.target_name):
            raise Refused(Code.UNKNOWN_COLUMN, "The study's schema is not the one that this site serves.")
        require_constraints(study, self._schema)
        if study.noise != self._noise.name or self._noise.private == (study.noise == "TEST"):
            raise Refused(
                Code.NOT_APPROVED, f"This site's noise source is {self._noise.name!r}, the study's is not."
            )
        if (self._patients if study.joint is None else study.patients) < MIN_PATIENTS:
            whose = "A site needs" if study.joint is None else "All sites of a joint study together need"
            raise Refused(Code.TOO_FEW_PATIENTS, f"{whose} at least {MIN_PATIENTS} patients.")
        entry = study.site(self.name)
        if entry is None or (entry.key, entry.patients) != (self._key.public_hex, self._patients):
            raise Refused(
                Code.NOT_APPROVED, "The study does not name this site with its key and number of patients."
            )

    def _own_class_sums(self, study: StudySpec) -> NoisedAnswer:
        """The answer of round 1 as it was released: round 2 starts from it, and reads nothing for it again."""
        releases = [signed.release for signed in self._ledger.releases(study.hash)]
        sums = [release.answer for release in releases if isinstance(release, ClassSumsRelease)]
        if not sums:
            raise Refused(Code.UNAVAILABLE, "This site has not answered round 1 of the study; ask for it first.")
        return sums[-1]

    def _reserve(self, request: Request, plan: Plan, approved_mu2: Fraction) -> Reservation | bytes:
        study, id = request.study.study, request.request_id
        cost = plan.mu2_sums if request.round == 1 else plan.mu2_second
        try:
            return self._ledger.reserve(
                study.hash, id, request.hash, cost, approved_mu2, coordinator=study.coordinator_key
            )
        except BudgetExceeded as error:
            raise Refused(Code.OVER_BUDGET, str(error)) from None
        except RequestConflict as error:
            raise Refused(Code.NOT_APPROVED, str(error)) from None

    def _release(
        self, request: Request, plan: Plan, own_sums: NoisedAnswer | None, reserved: Reservation
    ) -> bytes:
        return self._commit(request, plan, reserved, self._compute(request, plan, own_sums, reserved))

    def _commit(self, request: Request, plan: Plan, reserved: Reservation, release: SiteRelease) -> bytes:
        asked = 1 if request.round == 1 else plan.fits_mixture + bool(plan.looks)
        names = ANSWER_NAMES[request.round][:asked]
        # Strict: an answer without a name would be missing from the receipt.
        answers = dict(zip(names, reserved.answers(), strict=True))
        return self._ledger.commit(
            reserved,
            lambda previous: issue(self._key, self.name, request, release, answers, self._patients, previous),
        )

    def _compute(
        self, request: Request, plan: Plan, own_sums: NoisedAnswer | None, reserved: Reservation
    ) -> SiteRelease:
        if request.common is None or own_sums is None:
            return ClassSumsRelease(answer=NoisedAnswer.of(pipeline.class_sums(self._vault(reserved), plan)))
        common, sums = request.common.to_core(), own_sums.to_core()
        if not plan.fits_mixture:  # round 2 is free then, so no vault is opened: a free request reads no record
            return CentroidsRelease.of(pipeline.class_centroids(plan, common, sums))
        # The seed follows from what was released and requested, so the same request computes the same centroids.
        seed = bytes.fromhex(sha256([own_sums.plain(), reserved.study, reserved.request_id]))
        return CentroidsRelease.of(pipeline.centroids(self._vault(reserved), plan, common, sums, seed))

    def _parts_of_sum(self, request: Request, plan: Plan, reserved: Reservation) -> tuple[Answer, ...]:
        """This site's answers, with its share of the noise: not protected by it, and sent under masks only."""
        vault, terms = self._vault(reserved), request.study.study.terms
        if request.common is None:
            return (pipeline.class_sums(vault, plan, terms),)
        return pipeline.pairs(vault, plan, request.common.to_core(), terms)

    def _vault(self, reserved: Reservation) -> Vault:
        return Vault(self._source, self._schema, self._noise.add, reserved)
