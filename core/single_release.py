"""Release: what one table gave, and what can be had from it; everything but `checked` may be published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from cohortmix.core.arguments import MOST_ROWS, require_whole
from cohortmix.core.condensing import SIZE, Model, condense
from cohortmix.core.condensing import require_arguments as require_condensable
from cohortmix.core.data.schema import SITE, Schema
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import ResolvedBudget
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.core.release.condensed import PooledSupport, centroid_table
from cohortmix.core.release.lost import Lost
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.release.pool import Pool
from cohortmix.core.release.records import draw
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.utility.checks.check import Checked

if TYPE_CHECKING:
    from cohortmix.core.release.condense.condensation import Condensed

FOR_A_MODEL = 10_000  # records from which a condensed set is made, at least: fewer would add noise of drawing
Variant = Literal["cells", "scores", "gaussian"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Release:
    """A differentially private release of one table: everything in it but `checked` may be published.

    Attributes
    ----------
    schema : the data dictionary.
    common : merged bins and margins, or the class Gaussians.
    site : finished centroids and support points.
    answers : the noised answers from which both were computed.
    budget : mu, epsilon, delta.
    patients : N.
    noise : name of the noise source.
    private : whether it was a source of privacy; if not, every output says so.
    checked : what the check found in the table. NOT PRIVATE: for the holder of the table alone, in memory; no file
        of a release and no receipt has it.
    """

    schema: Schema
    common: Common | ClassGaussians
    site: SiteCentroids
    answers: tuple[Answer, ...]
    budget: ResolvedBudget
    patients: int
    noise: str
    private: bool
    checked: Checked = field(default=Checked({}), repr=False, metadata={"stays": True})

    def __repr__(self) -> str:
        """A few lines for the screen; the arrays are in the attributes."""
        warning = f" ({self._warning})" if self._warning else ""
        schema, budget, site = self.schema, self.budget, self.site
        return "\n".join(
            [
                f"Release of {self.patients:,} patients{warning}",
                f"  schema {schema.name!r}, {len(schema.columns)} columns, variant {self.variant!r}",
                f"  mu {budget.mu:.4g}, epsilon {budget.epsilon:.4g}, delta {budget.delta:.3g}; noise "
                f"{self.noise}",
                f"  holds {len(site.masses)} centroids (.centroids), {len(site.support_points)} inducing points "
                "(.support);",
                "  .records(n) draws rows, .receipt says what was asked and spent",
                *[f"  {self.unmet}"] * bool(self.unmet),
                *["  it could not carry everything: .lost says what"] * bool(paragraph(self.lost)),
            ]
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or written of a release: all but what the check found."""
        return self.__dict__ | {"checked": Checked({})}

    @property
    def centroids(self) -> pd.DataFrame:
        """The condensed set; `core.release.condensed.centroid_table` says what its columns are."""
        return self._marked(centroid_table(self.schema, self.common, {SITE: self.site}).drop(columns=SITE))

    @cached_property
    def pool(self) -> Pool:
        """What records are drawn from, unless the variant is Gaussian."""
        assert isinstance(self.common, Common)
        return Pool.of(self.schema, self.common, {SITE: self.site})

    @cached_property
    def support(self) -> PooledSupport:
        """The kernel inducing points, which are a classifier by themselves."""
        return PooledSupport.of(self.schema, self.common, {SITE: self.site})

    @property
    def lost(self) -> Lost:
        """What it could not carry, by what it holds and the schema; in words: `core.release.lost_in_words`."""
        pairs_asked = len(self.answers) > 1
        return Lost.of(self.schema, self.common, {SITE: self.site}, pairs_asked=pairs_asked)

    def records(self, n: int | None = None, seed: int = 0) -> pd.DataFrame:
        """`n` synthetic rows (N by default) in the columns, types and units of the schema.

        Raises
        ------
        InputError
            If `n` or `seed` is no whole number, is negative, or `n` is above `MOST_ROWS`.
        """
        n = self.patients if n is None else n
        reason = "records are made in memory; draw more in several calls, with another seed for each"
        require_whole("n", n, 0, max(MOST_ROWS, self.patients), reason)
        require_whole("seed", seed, 0)
        if isinstance(self.common, ClassGaussians):
            return self._marked(self.common.records(self.schema, n, seed))
        return self._marked(draw(self.pool, self.schema, n, seed).drop(columns=SITE))

    def condense(
        self,
        model: Model,
        size: int = SIZE,
        *,
        records: int | None = None,
        evaluations: int | None = None,
        seed: int = 0,
    ) -> Condensed:
        """A few weighted rows for one model, as `core.condensing.condense` has it, from `records` drawn ones.

        By default N are drawn, or `FOR_A_MODEL` where there are fewer patients.

        Raises
        ------
        InputError
            As `condense` and `records` do.
        """
        require_condensable(model, size, evaluations, seed)
        number = max(self.patients, FOR_A_MODEL) if records is None else records
        found = condense(self.records(number), self.schema, model, size, evaluations=evaluations, seed=seed)
        self._marked(found.rows)
        return replace(found, facts={"warning": self._warning, **found.facts}) if self._warning else found

    @property
    def variant(self) -> Variant:
        """What was asked of pairs of columns: tables of cells, moments of scores, or moments of numbers alone."""
        if isinstance(self.common, ClassGaussians):
            return "gaussian"
        return "scores" if self.common.scores else "cells"

    @property
    def receipt(self) -> dict[str, Any]:
        """What was asked of the records and what it cost, in plain data."""
        mu2 = sum((answer.mu2 for answer in self.answers), Fraction(0))
        kappa = sum(gdp.kappa(len(answer.values), answer.sigma) for answer in self.answers)
        mu = float(mu2) ** 0.5
        facts: dict[str, Any] = {
            "schema_hash": self.schema.hash,
            "unit": "patient",
            "neighbours": "replace-one-patient",
            "patients": self.patients,
            "mu": mu,
            "mu2": str(mu2),
            "epsilon": gdp.epsilon_of_discrete(mu, self.budget.delta, kappa),
            "delta": self.budget.delta,
            "loose_delta": self.budget.loose,
            "kappa": kappa,
            "noise": self.noise,
            "variant": self.variant,
            "degraded_to_class_centroids": set(self.site.kind) == {"class"},
            "statements": [_statement(answer) for answer in self.answers],
        }
        if self.site.constraints:
            facts["constraints"] = [reached.facts for reached in self.site.constraints]
        return facts if self.private else {"warning": NOT_PRIVATE, **facts}

    @property
    def unmet(self) -> str:
        """In one sentence the constraints that the inducing points do not keep; empty if they keep all."""
        return "; ".join(reached.sentence for reached in self.site.constraints if not reached.met)

    @property
    def _warning(self) -> str:
        """What every output says of noise that gives no privacy; empty for the real one."""
        return "" if self.private else NOT_PRIVATE

    def _marked(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self._warning:
            frame.attrs["warning"] = self._warning
        return frame


def _statement(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "dimension": len(answer.values),
        "sensitivity2": str(answer.sensitivity2),
        "sigma": str(answer.sigma),
        "mu2": str(answer.mu2),
    }
