"""The parts of messages that carry what `core` computes: noised answers, common facts, centroids.

Each class is the wire form of a class of `core`: `of` wraps one, `to_core` gives it back, to the last bit.

    NoisedAnswer         core/privacy/meter.py, Answer
    CommonMessage        core/steps/centroids.py, Common
    CentroidsRelease     core/steps/centroids.py, SiteCentroids; with `constraints.py`
    ClassSumsRelease     the one noised answer of round 1
    MaskedRelease        a site's part of the sum of a joint study, under masks
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import FailFast, Field, model_validator

from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps import centroids as core
from cohortmix.core.steps.scores.functions import MOST
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.constraints import AllReached, ReachedConstraint
from cohortmix.protocol.fields import Array, BigInt, Exact, Hash, Ratio, Wire, exact

CentroidKind = Literal["mixture", "class"]
MOST_FEATURES = 10_000
MOST_SHARERS = 1000  # as many as a study has sites
MOST_CELLS = 2**18  # of one feature
MOST_CENTROIDS = 100_000  # of one site; the plan of a study allows far fewer

MOST_SCORES = MOST
MOST_LEVEL = 2**13  # of a score, in steps; they are cut off at half of it

_Level = Annotated[int, Field(ge=-MOST_LEVEL, le=MOST_LEVEL)]
_Group = Annotated[int, Field(ge=0, le=MOST_CELLS)]
_GroupsOfFeature = Annotated[tuple[_Group, ...], Field(min_length=1, max_length=MOST_CELLS), FailFast()]


class ScoreMessage(Wire):
    """A score: a function on the fine cells of feature `column`, in steps of which 1,024 are a score of 1."""

    column: int = Field(ge=0, lt=MOST_FEATURES)
    levels: Annotated[tuple[_Level, ...], Field(min_length=1, max_length=MOST_CELLS), FailFast()]


class CommonMessage(Wire):
    """What the coordinator learned from round 1 and tells all sites: groups of fine cells, and pooled margins.

    `groups[j][cell]` is the group of a fine cell of feature j. `cells` (C, F) and `masses` (C,) are the pooled
    margins of the C classes on the F fine cells; `s_a` is the standard deviation of their noise, in patients.
    `scores` are there if a site of the study is asked about scores in round 2, in place of pair tables.
    """

    groups: Annotated[tuple[_GroupsOfFeature, ...], Field(max_length=MOST_FEATURES), FailFast()]
    cells: Array
    masses: Array
    s_a: Exact
    scores: Annotated[tuple[ScoreMessage, ...], Field(max_length=MOST_SCORES), FailFast()] = ()

    @classmethod
    def of(cls, common: core.Common) -> CommonMessage:
        """Wrap the common facts of `core`."""
        margins = common.margins
        return cls(
            groups=common.groups.of_cells,
            cells=Array.of(margins.cells),
            masses=Array.of(margins.masses),
            s_a=exact(margins.s_a),
            scores=tuple(ScoreMessage(column=score.column, levels=score.levels) for score in common.scores),
        )

    def to_core(self) -> core.Common:
        """The common facts as `core` takes them."""
        margins = core.Margins(cells=self.cells.numpy(), masses=self.masses.numpy(), s_a=float(self.s_a))
        scores = tuple(Coordinate(score.column, score.levels) for score in self.scores)
        return core.Common(Groups(self.groups), margins, scores)

    @model_validator(mode="after")
    def _shapes(self) -> CommonMessage:
        cells, classes = sum(len(groups) for groups in self.groups), self.masses.shape[:1]
        if self.cells.shape != (*classes, cells) or len(self.masses.shape) != 1:
            raise ValueError("expected cells (classes, fine cells) and masses (classes,)")
        _require_dtype("<f8", self.cells, self.masses)
        return self


class NoisedAnswer(Wire):
    """One noised answer of a vault: `values` and `sigma` in noise steps, of which `unit` make one patient.

    One with more than one of `sharers` has too little noise by itself, and is only kept in its site's own ledger.
    """

    values: Array
    sigma: BigInt
    unit: BigInt
    sensitivity2: BigInt
    mu2: Ratio
    question: Hash
    sharers: int = Field(default=1, ge=1, le=MOST_SHARERS)
    spare: Array | None = None
    spare_sigma: BigInt = 0

    @classmethod
    def of(cls, answer: Answer) -> NoisedAnswer:
        """Wrap an answer of the vault."""
        return cls(
            values=Array.of(answer.values),
            sigma=answer.sigma,
            unit=answer.unit,
            sensitivity2=answer.sensitivity2,
            mu2=answer.mu2,
            question=answer.question,
            sharers=answer.sharers,
            spare=None if answer.spare is None else Array.of(answer.spare),
            spare_sigma=answer.spare_sigma,
        )

    def to_core(self) -> Answer:
        """The answer as the vault gave it."""
        facts = (self.sigma, self.unit, self.sensitivity2, self.mu2, self.question, self.sharers)
        spare = None if self.spare is None else self.spare.numpy()
        return Answer(self.values.numpy(), *facts, spare, self.spare_sigma)

    @model_validator(mode="after")
    def _whole_numbers(self) -> NoisedAnswer:
        _require_dtype("<i8", self.values, *([] if self.spare is None else [self.spare]))
        if (self.spare is None) != (self.spare_sigma == 0) or (
            self.spare and self.spare.shape != self.values.shape
        ):
            raise ValueError("expected spare noise for each value, and its scale, or neither")
        return self


class ClassSumsRelease(Wire):
    """What a site releases in round 1: its noised class sums (answer A)."""

    kind: Literal["class_sums"] = "class_sums"
    answer: NoisedAnswer

    @model_validator(mode="after")
    def _protected_by_itself(self) -> ClassSumsRelease:
        _require_whole_noise(self.answer)
        return self

    @property
    def hash(self) -> str:
        """What the receipt names."""
        return sha256(self.plain())


class MaskedRelease(Wire):
    """What a site releases in a round of a joint study: its noised answer plus masks, mod 2^64.

    `values` (d,) are uniformly random to whoever does not know the masks (`protocol/masking`).
    """

    kind: Literal["masked"] = "masked"
    values: Array

    @property
    def hash(self) -> str:
        """What the receipt names."""
        return sha256(self.plain())

    @model_validator(mode="after")
    def _whole_numbers(self) -> MaskedRelease:
        _require_dtype("<i8", self.values)
        if len(self.values.shape) != 1:
            raise ValueError("expected a vector")
        return self


class CentroidsRelease(Wire):
    """What a site releases in round 2: its finished centroids and its support points.

    With K centroids, G groups and C classes: `masses` (K,) in patients, `means` (K, G), `labels` (K, C), K
    `kinds`; with S support points: `support_points` (S, G), `support_labels` (S, C). `noise_std` is the standard
    deviation of the noise of one released count, in patients. `counts` is answer D, as noised as it was drawn, if
    the round asks for it. `constraints` says what became of the study's, in its order; there are none where there
    are no support points, since nothing can keep them then.
    """

    kind: Literal["centroids"] = "centroids"
    masses: Array
    means: Array
    labels: Array
    kinds: Annotated[tuple[CentroidKind, ...], Field(max_length=MOST_CENTROIDS), FailFast()]
    noise_std: Exact
    support_points: Array
    support_labels: Array
    counts: NoisedAnswer | None = None
    constraints: AllReached = ()

    @property
    def hash(self) -> str:
        """What the receipt names."""
        return sha256(self.plain())

    @classmethod
    def of(cls, centroids: core.SiteCentroids) -> CentroidsRelease:
        """Wrap the centroids of a site."""
        return cls(
            masses=Array.of(centroids.masses),
            means=Array.of(centroids.means),
            labels=Array.of(centroids.labels),
            kinds=cast("tuple[CentroidKind, ...]", centroids.kind),  # checked by the field
            noise_std=exact(centroids.noise_std),
            support_points=Array.of(centroids.support_points),
            support_labels=Array.of(centroids.support_labels),
            counts=None if centroids.counts is None else NoisedAnswer.of(centroids.counts),
            constraints=tuple(map(ReachedConstraint.of, centroids.constraints)),
        )

    def to_core(self) -> core.SiteCentroids:
        """The centroids as `core` takes them."""
        return core.SiteCentroids(
            masses=self.masses.numpy(),
            means=self.means.numpy(),
            labels=self.labels.numpy(),
            kind=self.kinds,
            noise_std=float(self.noise_std),
            support_points=self.support_points.numpy(),
            support_labels=self.support_labels.numpy(),
            counts=None if self.counts is None else self.counts.to_core(),
            constraints=tuple(reached.to_core() for reached in self.constraints),
        )

    @model_validator(mode="after")
    def _shapes(self) -> CentroidsRelease:
        k, s = len(self.kinds), self.support_points.shape[:1]
        rows = [self.masses.shape, self.means.shape[:1], self.labels.shape[:1]]
        widths = [self.support_points.shape[1:], self.support_labels.shape[1:]]
        if rows != [(k,)] * 3 or s != self.support_labels.shape[:1]:
            raise ValueError("expected as many masses, means, labels and kinds; as many points as labels")
        if widths != [self.means.shape[1:], self.labels.shape[1:]] or any(len(width) != 1 for width in widths):
            raise ValueError("expected support points and labels as wide as the means and the labels")
        points = (self.support_points, self.support_labels)
        _require_dtype("<f8", self.masses, self.means, self.labels, *points)
        if self.counts is not None:
            _require_whole_noise(self.counts)
        return self


SiteRelease = Annotated[ClassSumsRelease | CentroidsRelease | MaskedRelease, Field(discriminator="kind")]
"""What a site releases in one round."""


def _require_whole_noise(answer: NoisedAnswer) -> None:
    """What leaves a site by itself has all of its noise."""
    if answer.sharers != 1 or answer.spare is not None:
        raise ValueError("expected an answer with all of its noise; a share of it leaves a site under masks only")


def _require_dtype(dtype: str, *arrays: Array) -> None:
    if any(array.dtype != dtype for array in arrays):
        raise ValueError(f"expected arrays of {dtype}")
