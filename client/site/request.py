"""A request as the site must find it: signed by its coordinator, with common facts that fit the site's schema."""

from __future__ import annotations

from collections import Counter

import numpy as np

from cohortmix.client.ledger.policy import Refused
from cohortmix.core.data.encoding import Encoding, blocks_of
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.steps.bins import most_groups_together
from cohortmix.core.steps.scores.functions import most_of_column
from cohortmix.protocol.messages import (
    Code,
    CommonMessage,
    MessageError,
    Request,
    SignedRequest,
    SignedStep,
    StepRequest,
    StudySpec,
    VersionError,
    decode,
)
from cohortmix.protocol.signing import SignatureError, verify_request, verify_step

ROUNDING = 1e-6
"""How far the margins that a coordinator sends may be from distributions: they are sums of floats."""


def read_request(data: bytes) -> Request | StepRequest:
    """The request, or the step of one, that a coordinator has signed, in a study that it has signed.

    Raises
    ------
    Refused
        For another version of the protocol, bytes that are no signed request, or a wrong signature.
    """
    try:
        signed = decode(data)
        if isinstance(signed, SignedStep):
            verify_step(signed)
            return signed.step
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


def require_common(common: CommonMessage, study: StudySpec, schema: Schema, by_scores: bool = False) -> None:
    """Raise Refused unless the common groups and margins of round 2 fit the schema.

    The groups put each fine cell of each feature into one group and leave none empty; the margins are
    distributions, and masses of no more patients than the study has.

    Parameters
    ----------
    by_scores : whether this site is asked about scores, of which there must be some then.
    """
    encoding, classes, groups = Encoding.of(schema), len(schema.classes), Groups(common.groups)
    sizes, most = encoding.sizes, most_groups_together(encoding)
    partition = groups.cells == sizes and groups.are_partitions
    if not partition or common.cells.shape != (classes, sum(sizes)) or not _are_margins(common, study, sizes):
        raise Refused(Code.UNKNOWN_COLUMN, "The common groups and margins do not fit this site's schema.")
    if sum(groups.sizes) > most:
        raise Refused(Code.UNKNOWN_COLUMN, f"Expected at most {most} common groups, got {sum(groups.sizes)}.")
    of_column = Counter(score.column for score in common.scores)
    fit = all(score.column < len(sizes) and len(score.levels) == sizes[score.column] for score in common.scores)
    fit = fit and all(of_column[column] <= most_of_column(encoding.features[column]) for column in of_column)
    if not fit or (by_scores and not common.scores):
        raise Refused(Code.UNKNOWN_COLUMN, "The common scores do not fit this site's schema and study.")


def require_constraints(study: StudySpec, schema: Schema) -> None:
    """Raise Refused unless the schema has the classes, columns and values that the study's constraints name."""
    try:
        study.held(schema)
    except InputError:
        raise Refused(
            Code.UNKNOWN_COLUMN, "The study's constraints on the inducing points do not fit this site's schema."
        ) from None


def _are_margins(common: CommonMessage, study: StudySpec, sizes: tuple[int, ...]) -> bool:
    """Whether there are a distribution of each feature in each class, and masses above zero."""
    cells, masses = common.cells.numpy(), common.masses.numpy()
    most = sum(entry.patients for entry in study.sites) * (1 + ROUNDING)
    if (cells < 0).any() or (cells > 1 + ROUNDING).any() or (masses <= 0).any() or (masses > most).any():
        return False
    sums = np.stack([cells[:, block].sum(axis=1) for block in blocks_of(sizes)])
    return bool((abs(sums - 1) <= ROUNDING).all() and masses.sum() <= most and common.s_a > 0)
