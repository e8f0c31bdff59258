"""A joint study, stage by stage: who is asked for what, which reply counts, and what can be read in the end.

    round 1    five steps (`protocol/steps.py`) bring the sum of all sites' class sums; it fixes the merged bins
    round 2    five steps bring the sum of their pair tables, and behind it that of their counts of values, if any;
               no round 2 where all patients are too few for pairs
    finish     Approximate and Adapt, once, from these two sums

A stage waits for the sites that ended the one before, up to the study's deadline. With fewer than T of them it
does not end, and nothing can be read; it goes on where the study is run again.
"""

from __future__ import annotations

from dataclasses import replace

from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.words import listed
from cohortmix.core.steps import bins, pipeline
from cohortmix.core.steps.anonymize import Total
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.masking.seeds import MaskingError
from cohortmix.protocol.messages import (
    CommonMessage,
    Refusal,
    Request,
    SignedRelease,
    SignedStepReply,
    SignedStudy,
    SiteEntry,
    StepRequest,
    decode,
    encode,
)
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import Key, sign_step
from cohortmix.protocol.steps import Shares
from cohortmix.server.acceptance import Part, check_release, check_spare, check_total, parts_of_sum
from cohortmix.server.coordinator import Coordinator, Round
from cohortmix.server.kept import freeze
from cohortmix.server.result import ALL_SITES, SiteResult, StudyResult, TooFewSites
from cohortmix.server.stages import Stage, present, stages
from cohortmix.server.store import Place, Store
from cohortmix.server.sum_round import SumRound


class JointCoordinator(Coordinator):
    """The state of a joint study; parameters and errors as `Coordinator`."""

    def __init__(self, study: SignedStudy, key: Key, schema: Schema, store: Store) -> None:
        super().__init__(study, key, schema, store)
        self._whole = self.spec.plan(schema, self.spec.patients)
        self._rounds = 2 if self._whole.fits_mixture else 1
        self._sums = {round: SumRound(store, self._kept, self.spec, round) for round in (1, 2)}
        self._under_way = present(store, self._rounds)
        self._hashes: dict[int, str] = {}  # of what a round asks, which every reply names

    @property
    def present(self) -> Stage:
        """The stage that is under way; the last one when all have ended."""
        return self._under_way or stages(self._rounds)[-1]

    @property
    def round(self) -> Round:
        """The round of the present stage."""
        return 2 if self.present.round == 2 else 1

    @property
    def stage(self) -> str:
        """What is under way, in words."""
        return self.present.name

    @property
    def waiting(self) -> tuple[str, ...]:
        """Sites whose reply to the present stage is still to come; only those of the one before are asked."""
        return self.due

    @property
    def answered(self) -> tuple[str, ...]:
        """Sites whose reply to the present stage is kept."""
        return tuple(sorted(self._store.answered(self.present.place)))

    def begin(self, now: float) -> float:
        """Note that the present stage has begun; return when it ends: each stage waits as long as a round."""
        self._store.keep_moment(f"round {self.round}", now)
        return self._store.keep_moment(self.stage, now) + self.spec.round_deadline_seconds

    def advance(self) -> bool:
        """End the present stage with the sites that have replied; whether there is another one.

        Raises
        ------
        TooFewSites
            Below T replies, or where the sum cannot be read from those that came.
        """
        stage = self._under_way
        if stage is None:
            return False
        replied = tuple(site for site in self._asked(stage) if site in self._store.answered(stage.place))
        if len(replied) < self.spec.terms.threshold:
            raise self._too_few(stage, replied)
        if stage.step == "unmask":
            self._read(stage.round)
        self._sums[stage.round].end(stage.step, replied)
        self._under_way = present(self._store, self._rounds)
        return self._under_way is not None

    def freeze(self) -> None:
        """Fix the common groups and margins from the first sum, once it is read; TooFewSites before."""
        if self._kept.total(1) is None:
            raise self._too_few(self.present, self.answered)
        if self._store.common() is None:
            self._store.keep_common(freeze(self._common(), self.spec, self._key))

    def finish(self) -> StudyResult:
        """What the study knows by now: from both sums, or from the first one alone where the second is not read.

        Raises
        ------
        TooFewSites
            If no sum can be read yet.
        """
        sums, second = self._sums_of(1), self._sums_of(2)
        if sums is None:
            raise self._too_few(self.present, self.answered)
        (first,) = sums
        common, plan = (self._kept.common() or self._common()).to_core(), self._plan(1)
        points: tuple[PointMass, ...] = ()
        if second is None:
            centroids = pipeline.class_centroids(plan, common, first)
        else:
            seed = bytes.fromhex(sha256([self.spec.hash, self._store.receipts()]))
            plan = plan.looking(*self._looks)
            centroids = pipeline.approximate_and_adapt(plan, common, first, second[0], seed)
            points = pipeline.points_of_study([plan] * len(second[1:]), [first], second[1:])
        receipts = [self._kept.receipts(round) for round in (1, 2)]
        sites = tuple(
            SiteResult(entry, tuple(of_round[entry.name] for of_round in receipts if entry.name in of_round))
            for entry in self._in_sum(1)
        )
        return StudyResult(
            self._study, self._schema, common, sites, {ALL_SITES: centroids}, self._store.refusals(), points
        )

    def _asked(self, stage: Stage) -> tuple[str, ...]:
        """The sites that a stage asks: all, those in the first sum, or those with which the stage before ended."""
        if stage == Stage(1, "keys"):
            return tuple(sorted(entry.name for entry in self.spec.sites))
        if stage.step == "keys":
            return self._sums[1].ended("input")
        order = stages(self._rounds)
        return self._sums[stage.round].ended(order[order.index(stage) - 1].step)

    def _next(self) -> dict[str, Place]:
        """By site, the stage that it is asked for; none of those that have replied to it."""
        if self._under_way is None:
            return {}
        place = self._under_way.place
        replied = self._store.answered(place) | self._given_up
        return {site: place for site in self._asked(self._under_way) if site not in replied}

    def _made(self, site: str, place: Place) -> bytes:
        stage = self.present
        ask = self._sums[stage.round].ask(stage.step, site)
        return encode(sign_step(self._key, StepRequest(request=self._of_round(self.round, site), ask=ask)))

    def _hash_of(self, request: Request) -> str:
        """`Request.sum`, once for each round."""
        if request.round not in self._hashes:
            self._hashes[request.round] = request.sum
        return self._hashes[request.round]

    def _checked(self, site: str, reply: bytes) -> SignedRelease | SignedStepReply | Refusal:
        """What a reply says; ReceiptError unless it is what the present stage asks this site for."""
        message, stage, entry = decode(reply), self.present, self.spec.site(site)
        if isinstance(message, Refusal):
            return message
        if entry is None or self._under_way is None or site not in self._asked(stage):
            raise ReceiptError(f"site={site!r} is not asked in {stage.name}")
        request = self._of_round(self.round, site)
        if isinstance(message, SignedRelease) and message.receipt.site == site and stage.step == "input":
            check_release(message, request, self._asked_of(self.round))
            return message
        if isinstance(message, SignedStepReply):
            self._sums[stage.round].check(message.signed, self._hash_of(request), entry, stage.step)
            content = message.signed.reply.content
            if isinstance(content, Shares) and content.spare is not None:
                check_spare(content.spare.numpy(), self._parts(self.round))
            return message
        raise ReceiptError(f"expected the reply of site={site!r} to {stage.name}")

    def _place(self, message: SignedRelease | SignedStepReply) -> tuple[Place, str]:
        return super()._place(message) if isinstance(message, SignedRelease) else (self.present.place, "")

    def _read(self, round: int) -> None:
        """Take the masks off, check what is left, keep it; and after round 1 fix what round 2 asks for."""
        if self._kept.total(round) is None:
            sum = self._hash_of(self._of_round(self.round, self.spec.sites[0].name))  # at each site the same
            try:
                values, spared = self._sums[round].read(sum)
                variances, patients = self._variances(round, spared), self._plan(round).patients
                check_total(values, self._parts(round), variances, patients)
            except (MaskingError, ReceiptError) as error:
                raise TooFewSites(str(error), self._store.refusals()) from None
            self._kept.keep_total(round, values, variances, self._key)
        if round == 1 and self._rounds == 2:
            self.freeze()

    def _asked_of(self, round: int) -> Plan:
        """The plan of all sites, with what a round asks for."""
        return self._whole.looking(*self._looks) if round == 2 else self._whole

    def _parts(self, round: int) -> list[Part]:
        return parts_of_sum(self.spec, self._asked_of(round), self._kept.common() if round == 2 else None)

    def _sums_of(self, round: int) -> tuple[Total, ...] | None:
        """A sum that was read, by its questions, with the noise that really is in it; None before."""
        total = self._kept.total(round)
        if total is None:
            return None
        values, share = total.values.numpy(), self._plan(round).patients / self._plan(1).patients
        return tuple(
            Total(values[place], variance, question.unit << noise.shift, share)
            for (question, noise, place), variance in zip(self._parts(round), total.variances, strict=True)
        )

    def _variances(self, round: int, spared: int) -> tuple[int, ...]:
        """Of the noise in a sum from which the spare noise of some sites was taken off, in noise steps^2."""
        sites, noises = len(self._in_sum(round)), [part.noise for part in self._parts(round)]
        return tuple(int(sites * noise.sigma**2 + (sites - spared) * noise.spare**2) for noise in noises)

    def _in_sum(self, round: int) -> list[SiteEntry]:
        names = self._sums[round].ended("input")
        return [entry for entry in self.spec.sites if entry.name in names]

    def _plan(self, round: int) -> Plan:
        """The plan for the patients of the sites in the sum of this round; what is asked stays the same."""
        patients = sum(entry.patients for entry in self._in_sum(round))
        return replace(self._whole, patients=patients, scores=self._whole.by_scores)

    def _common(self) -> CommonMessage:
        totals = self._sums_of(1)
        assert totals is not None  # asked for after it was read
        two, plans = self._rounds == 2, [self._plan(1)]
        return CommonMessage.of(pipeline.common(plans, totals, pairs=two, numbers=bins.MAX_MASKED))

    def _too_few(self, stage: Stage, replied: tuple[str, ...]) -> TooFewSites:
        missing = [entry.name for entry in self.spec.sites if entry.name not in replied]
        return TooFewSites(
            f"{len(replied)} of {len(self.spec.sites)} sites have replied to {stage.name}, and a sum of fewer "
            f"than {self.spec.terms.threshold} cannot be read by anybody; missing: {listed(missing)}; run the "
            "study again: a site that has replied pays nothing to be asked again",
            self._store.refusals(),
        )
