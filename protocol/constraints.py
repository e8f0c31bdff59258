"""Constraints on the inducing points as they cross the wire: what a study asks for, and what became of it.

Both are public, and neither costs any privacy: the inducing points follow from released answers alone. A
constraint travels as its text, in the one spelling that `core/steps/adapting/constraint.py` gives it, so that one
study has one hash. A study without constraints, and a release that says nothing of any, have the bytes that they
had before there were constraints.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import not_
from typing import Annotated

from pydantic import AfterValidator, FailFast, Field

from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.adapting.constraint import MOST, Constraint, Reached, parse, require
from cohortmix.protocol.fields import Exact, Wire, exact

LONGEST = 500
"""Letters of one constraint at most: the names of a column, a value and a class, and a limit."""

LEAST = 1e-30
"""Smaller figures are told as zero: they are rounding, and the decimals of a message end soon after."""


def _one_spelling(text: str) -> str:
    if str(parse(text)) != text:
        raise ValueError("expected a constraint in its one spelling, such as 'drift<=0.1', got another")
    return text


ConstraintText = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_one_spelling)]
"""A constraint in its one spelling."""

Constraints = Annotated[tuple[ConstraintText, ...], FailFast(), Field(max_length=MOST, exclude_if=not_)]
"""Those of a study; they are no part of its bytes where there are none."""


class ReachedConstraint(Wire):
    """What became of a constraint: whether the inducing points keep it, the figure, and its multiplier."""

    constraint: ConstraintText
    met: bool
    value: Exact
    multiplier: Exact

    @classmethod
    def of(cls, reached: Reached) -> ReachedConstraint:
        """Wrap what Adapt has reached; ValueError for a release without inducing points, which reaches nothing."""
        if reached.value is None or reached.multiplier is None:
            raise ValueError("expected the figures of inducing points, got none; leave the constraint out")
        value, multiplier = (exact(0.0 if one < LEAST else one) for one in (reached.value, reached.multiplier))
        return cls(constraint=reached.constraint, met=reached.met, value=value, multiplier=multiplier)

    def to_core(self) -> Reached:
        """As `core` has it."""
        return Reached(self.constraint, self.met, float(self.value), float(self.multiplier))


AllReached = Annotated[tuple[ReachedConstraint, ...], FailFast(), Field(max_length=MOST, exclude_if=not_)]
"""Of a release; no part of its bytes where there are none."""


def read_constraints(texts: Iterable[str], schema: Schema) -> tuple[Constraint, ...]:
    """Constraints from their texts, in any spelling; InputError unless the schema has what they name.

    What is checked is what the one spelling says, which is all that a site will see.
    """
    constraints = tuple(parse(str(parse(text))) for text in texts)
    require(constraints, schema)
    return constraints
