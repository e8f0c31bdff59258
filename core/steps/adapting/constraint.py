"""Constraints on the inducing points: what Adapt has to keep while it serves the classifier (Eq. 6).

A constraint has one text, on the command line, in a study and in a release: `drift<=0.1`, `recall(dead)>=0.8`,
`calibration(SEX=F, dead)<=0.05`. It names public things alone: a class, a column, a value, a limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes, listed
from cohortmix.core.steps.adapting.subgroup import Subgroup

MOST = 16  # constraints together: each has a multiplier and a column of weights
DIGITS = range(4, 12)  # of a value that is shown
ROUNDING = 1e-9  # beyond a limit, which is within it
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
# Without blanks at its ends: there is then one way to read the blanks around it. With many ways, a text of 500
# blanks that a stranger sends took minutes.
_NAME = r"(\S(?:.*?\S)??)"
_DRIFT = re.compile(rf"\s*drift\s*<=\s*{_NUMBER}\s*", re.ASCII)
_RECALL = re.compile(rf"\s*recall\s*\(\s*{_NAME}\s*\)\s*>=\s*{_NUMBER}\s*", re.ASCII)
_CALIBRATION = re.compile(rf"\s*calibration\s*\(\s*{_NAME}\s*,\s*{_NAME}\s*\)\s*<=\s*{_NUMBER}\s*", re.ASCII)


@dataclass(frozen=True)
class Drift:
    """The points stay where the density is: ||X_s - X_0||_F^2 / ||X_0||_F^2 is at most `most` (Eq. 6)."""

    most: float

    def __str__(self) -> str:
        return f"drift<={_decimal(self.most)}"

    def holds(self, value: float) -> bool:
        """Whether points with this drift keep it."""
        return value <= self.most + ROUNDING

    def require(self, schema: Schema) -> None:
        """Raise InputError unless the limit is not negative."""
        if not 0 <= self.most < float("inf"):
            raise InputError(f"constraint {in_quotes(str(self))}: expected a limit of 0 or more")


@dataclass(frozen=True)
class Recall:
    """The classifier finds at least this share of a class, among records of the released mixture.

    Each record counts for the class with its posterior, and is found where no other class has a larger answer.
    """

    label: str
    least: float

    def __str__(self) -> str:
        return f"recall({self.label})>={_decimal(self.least)}"

    def holds(self, value: float) -> bool:
        """Whether points with this recall keep it."""
        return value >= self.least - ROUNDING

    def require(self, schema: Schema) -> None:
        """Raise InputError unless the class is declared and the share is in [0, 1]."""
        _require_class(self, self.label, schema)
        _require_share(self, self.least)


@dataclass(frozen=True)
class Calibration:
    """In a subgroup, the mean predicted probability of a class is within a distance of the class's share.

    Among records of the released mixture: |mean p_c - mean y_c|, over those of the subgroup.
    """

    group: Subgroup
    label: str
    within: float

    def __str__(self) -> str:
        return f"calibration({self.group}, {self.label})<={_decimal(self.within)}"

    def holds(self, value: float) -> bool:
        """Whether points with this distance keep it."""
        return value <= self.within + ROUNDING

    def require(self, schema: Schema) -> None:
        """Raise InputError unless the class and the subgroup are declared and the distance is in [0, 1]."""
        _require_class(self, self.label, schema)
        self.group.require(schema)
        _require_share(self, self.within)


Constraint: TypeAlias = Drift | Recall | Calibration


@dataclass(frozen=True)
class Reached:
    """What became of a constraint; post-processing of released values, like the points themselves.

    Attributes
    ----------
    constraint : its text.
    met : whether the points keep it.
    value : the drift, recall or distance that they have; of an unmet one, the closest that was reached.
        None where a release has no inducing points.
    multiplier : lambda, what one unit of the limit costs in the classifier's loss; 0 where the limit is slack.
    """

    constraint: str
    met: bool
    value: float | None
    multiplier: float | None

    @property
    def facts(self) -> dict[str, str | bool | float | None]:
        """Plain data, for a receipt."""
        return {name: getattr(self, name) for name in ("constraint", "met", "value", "multiplier")}

    @property
    def sentence(self) -> str:
        """One sentence, for a person."""
        text = in_quotes(self.constraint)
        if self.value is None:
            return f"{text} has nothing to hold for: the release has no inducing points"
        if not self.met and parse(self.constraint).holds(self.value):
            return f"{text} has nothing to hold for: no released record is of the class or in the subgroup"
        return f"{text} was {'met' if self.met else 'not met'}, with {self.shown}"

    @property
    def shown(self) -> str:
        """The value, in as many digits as tell a missed limit from one that is kept; empty where there is none."""
        if self.value is None:
            return ""
        texts = [f"{self.value:.{digits}g}" for digits in DIGITS]
        missed = parse(self.constraint)
        apart = (text for text in texts if self.met or not missed.holds(float(text)))
        return next(apart, texts[0])


def parse(text: str) -> Constraint:
    """A constraint from its text; InputError, in one sentence, if that is none."""
    if match := _DRIFT.fullmatch(text):
        return Drift(float(match[1]))
    if match := _RECALL.fullmatch(text):
        return Recall(match[1], float(match[2]))
    if match := _CALIBRATION.fullmatch(text):
        return Calibration(Subgroup.parse(match[1]), match[2], float(match[3]))
    raise InputError(
        f"expected a constraint such as {in_quotes('drift<=0.1')}, {in_quotes('recall(dead)>=0.8')} or "
        f"{in_quotes('calibration(SEX=F, dead)<=0.05')}, got {in_quotes(text)}"
    )


def require(constraints: Sequence[Constraint], schema: Schema) -> None:
    """Raise InputError unless each can be told from the schema, and none is there twice."""
    if len(constraints) > MOST:
        raise InputError(f"expected at most {MOST} constraints, got {len(constraints)}")
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise InputError(
                f"expected constraints to be Drift, Recall or Calibration, got {type(constraint).__name__}; "
                "write them with cohortmix.core.steps.adapting.constraint, or parse their text"
            )
        constraint.require(schema)
    subjects = [str(constraint).rpartition("=")[0] for constraint in constraints]
    if len(set(subjects)) < len(subjects):
        raise InputError("expected one limit for each constraint, got two for the same; keep the stricter one")


def _require_class(constraint: Constraint, label: str, schema: Schema) -> None:
    if label not in schema.classes:
        known = listed([in_quotes(name) for name in schema.classes[:10]], "or")
        text = in_quotes(str(constraint))
        raise InputError(f"constraint {text}: expected the class {known}, got {in_quotes(label)}")


def _require_share(constraint: Constraint, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"constraint {in_quotes(str(constraint))}: expected a limit between 0 and 1")


def _decimal(value: float) -> str:
    """The shortest text of a number that `parse` reads as the same one: without an exponent."""
    return np.format_float_positional(value, trim="-")
