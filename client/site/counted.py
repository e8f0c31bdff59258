"""Which cells a site looks into in round 2: found here, from what all sites are told, and not named by anybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from cohortmix.core.data.schema import Schema
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.point_masses import Look
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.messages import CommonMessage
from cohortmix.protocol.study import StudySpec


def looks(study: StudySpec, schema: Schema, common: CommonMessage) -> tuple[tuple[Look, ...], Fraction]:
    """As `pipeline.looks_of_study`. Each message of round 2 asks again, so what was found last is kept.

    Parameters
    ----------
    schema : that of the study.
    """
    return _found(_Facts(sha256([study.hash, common.plain()]), study, schema, common))


@dataclass(frozen=True)
class _Facts:
    """What the cells follow from, and its hash, by which it is compared: a study names the hash of its schema."""

    hash: str
    study: StudySpec = field(compare=False)
    schema: Schema = field(compare=False)
    common: CommonMessage = field(compare=False)


@lru_cache(maxsize=4)
def _found(facts: _Facts) -> tuple[tuple[Look, ...], Fraction]:
    return pipeline.looks_of_study(facts.study.counting(facts.schema), facts.common.to_core())
