"""`synthesize`: one table, no server. What a study does at a site and between sites, in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import pandas as pd
import pyarrow as pa

from cohortmix.core.arguments import (
    kind_of,
    require_kind,
    require_methods,
    require_one_of,
    require_share,
    require_truth,
    require_whole,
)
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source, source_of
from cohortmix.core.dimensions import most_kappa
from cohortmix.core.gaussian import model as gaussian
from cohortmix.core.gaussian.learn import learn
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.privacy.budget import MIN_PATIENTS, Budget, ResolvedBudget
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.reduced import require_groups, require_mixture
from cohortmix.core.single_release import Release, Variant
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.adapting.constraint import Constraint, parse
from cohortmix.core.steps.adapting.constraint import require as require_possible
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.plan import SUPPORT, TARGETS, Plan
from cohortmix.core.steps.point_masses import MOST_COUNTED
from cohortmix.core.utility.checks.check import MOST_UNREADABLE, Checked, check


def synthesize(
    table: pa.Table | pa.RecordBatch | pd.DataFrame | Source,
    schema: Schema,
    budget: Budget,
    *,
    noise: NoiseSource | None = None,
    alpha: float = 0.5,
    constraints: Sequence[Constraint | str] = (),
    support: int = SUPPORT,
    variant: Variant | None = None,
    max_unreadable: float = MOST_UNREADABLE,
    checked: Checked | None = None,
    accept_degraded: bool = False,
    high_order: bool = True,
    point_masses: bool = True,
) -> Release:
    """A private synthetic version of one table.

    Parameters
    ----------
    table : rows with the schema's columns (and its patient key); a DataFrame, a pyarrow Table or RecordBatch, or a
        `Source`.
    schema : the confirmed data dictionary.
    budget : what may be spent; delta is resolved against N when it is not given.
    noise : OpenDP's exact discrete Gaussian by default.
    alpha : weight of the density in Eq. 6 (`core.steps.adapt`).
    constraints : what the inducing points have to keep (`core.steps.adapting.constraint`), or the texts of that:
        `drift<=0.1`, `recall(dead)>=0.8`, `calibration(SEX=F, dead)<=0.05`. The receipt says what became of each;
        one that cannot be met is no error here, since the answers are paid for (`Release.unmet`).
    support : S, the number of kernel inducing points.
    variant : chosen by `core.gaussian.model.suits` and `Plan.by_scores`, from the schema, N and mu, unless it is
        given.
    max_unreadable : the largest share of a column's values that may be no number, or no date.
    checked : what `core.utility.checks.check.check` found in this table, if the caller has checked it already.
    accept_degraded : permits a release of class centroids alone, where there are too few patients for a mixture.
    high_order : whether products of three to five features are measured, where schema, N and mu leave little noise
        on them (`Plan.most_products`).
    point_masses : whether cells that hold clearly more patients than those beside them are looked into for the
        values that these patients share (`core.steps.point_masses`).

    Returns
    -------
    Release

    Raises
    ------
    InputError
        The table does not fit the schema, by `core.utility.checks.check`, there are fewer than 50 patients, or an
        argument has the wrong type or is out of range; nothing is spent.
    DegradedError
        Schema, N and mu leave room for class centroids alone, and `accept_degraded` is not set; nothing is spent.
    SchemaError
        A line of the schema is unconfirmed.
    ValueError
        The budget is impossible.

    Guarantee
    ---------
    test_synthesize_costs_what_it_says. mu-GDP for the replacement of one patient, mu^2 = the sum over the
    answers of their mu2 <= the budget's mu^2: only `Vault` answers depend on records. Public: the schema, N.
    """
    _require_arguments(schema, budget, noise, alpha, support, variant)
    held = _constraints(constraints, schema)
    require_share("max_unreadable", max_unreadable)
    switches = {"accept_degraded": accept_degraded, "high_order": high_order, "point_masses": point_masses}
    for name, switch in switches.items():
        require_truth(name, switch)
    if checked is not None:
        require_kind("checked", checked, Checked, "leave it out")
    schema.require_confirmed()
    source = source_of(table, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    checked = checked or check(source, schema, max_unreadable)
    noise = noise or OpenDPNoise()
    meter = MemoryMeter(Fraction(0))  # nothing can be spent before the budget is resolved, which takes N
    vault = Vault(source, schema, noise.add, meter)
    if vault.patients < MIN_PATIENTS:
        raise InputError(f"{vault.patients} patients are too few: a release needs at least {MIN_PATIENTS}")
    scores = None if variant is None else variant == "scores"
    mu2 = _mu2(budget.resolve(vault.patients))
    plan = Plan(schema, mu2, vault.patients, alpha=alpha, support=support, scores=scores, constraints=held)
    chosen = variant or ("gaussian" if gaussian.suits(plan) else "scores" if plan.by_scores else "cells")
    resolved = budget.resolve(vault.patients, _most_kappa(plan, chosen, high_order, point_masses))
    meter.limit = _mu2(resolved)
    plan = replace(plan, mu2=meter.limit, scores=chosen == "scores")
    if chosen == "gaussian":
        _require_known(schema, checked, max_unreadable)
    else:
        _require_room(plan, scores, resolved.delta, accept_degraded)
    model = _gaussians(vault, plan) if chosen == "gaussian" else _cells(vault, plan, high_order, point_masses)
    return Release(
        schema=schema,
        common=model[0],
        site=model[1],
        answers=tuple(meter.answers.values()),
        budget=resolved,
        patients=vault.patients,
        noise=noise.name,
        private=noise.private,
        checked=checked,
    )


def _require_arguments(
    schema: object, budget: object, noise: object, alpha: object, support: object, variant: object
) -> None:
    """Raise InputError for an argument of the wrong type, or out of range, before a record is read."""
    require_kind("schema", schema, Schema, "read a file's text with Schema.from_yaml")
    require_kind("budget", budget, Budget, "write Budget.from_epsilon(1.0)")
    if noise is not None:
        require_methods("noise", noise, ("name", "private", "add"), "leave it out for the real noise")
    require_share("alpha", alpha)
    drawn = f"the points are learned from {TARGETS:,} records that are drawn from the mixture"
    require_whole("support", support, 1, TARGETS, drawn)
    if variant is not None:
        require_one_of("variant", variant, get_args(Variant))


def _require_room(plan: Plan, scores: bool | None, delta: float, accept_degraded: bool) -> None:
    """Raise unless there is room for a mixture, or class centroids alone will do."""
    require_mixture(replace(plan, scores=scores), delta, most_kappa(plan.schema), accept_degraded)
    if plan.fits_mixture:
        require_groups(plan.schema)
    elif plan.constraints:
        raise InputError(
            f"{plan.patients} patients leave no room for inducing points at this budget, so that nothing can keep "
            "the constraints; leave them out"
        )


def _constraints(constraints: object, schema: Schema) -> tuple[Constraint, ...]:
    """As declared, or from their texts; InputError unless the schema has what they name."""
    if isinstance(constraints, str) or not isinstance(constraints, Sequence):
        raise InputError(f"expected constraints to be a list, got {kind_of(constraints)}; write ['drift<=0.1']")
    parsed = tuple(parse(one) if isinstance(one, str) else one for one in constraints)
    require_possible(parsed, schema)
    return parsed


def _require_known(schema: Schema, checked: Checked, most: float) -> None:
    """The Gaussian variant takes a value that counts as nothing for the mean, which shortens distances.

    A share `most` of such values is allowed in a column that may not be missing.
    """
    for name, fit in checked.columns.items():
        nothing = fit.undeclared + fit.unreadable + fit.empty
        if not schema.columns[name].missing and nothing > most * (fit.values + fit.empty):
            raise InputError(
                f"column {name!r}: {nothing:,} of {fit.values + fit.empty:,} values count as nothing, which the "
                "Gaussian variant would take for the mean; declare `missing: true`, or choose variant='cells'"
            )


def _most_kappa(plan: Plan, chosen: Variant, high_order: bool, point_masses: bool) -> float:
    """Of all answers that the release can ask for."""
    products = plan.most_products if high_order and chosen == "cells" else 0
    values = MOST_COUNTED if point_masses and chosen != "gaussian" and plan.fits_mixture else 0
    return most_kappa(plan.schema, chosen, products, values)


def _cells(
    vault: Vault, plan: Plan, high_order: bool, point_masses: bool
) -> tuple[Common | ClassGaussians, SiteCentroids]:
    own = pipeline.class_sums(vault, plan)
    common = pipeline.common([plan], [own], pairs=plan.fits_mixture)
    if high_order:
        plan = pipeline.with_products(plan, common, own)
    if point_masses:
        plan = pipeline.with_looks(plan, common, own)
    return common, pipeline.with_points(plan, pipeline.centroids(vault, plan, common, own, _seed(own)))


def _gaussians(vault: Vault, plan: Plan) -> tuple[Common | ClassGaussians, SiteCentroids]:
    model, last = learn(vault, plan)
    return model, gaussian.centroids(model, plan, _seed(last))


def _mu2(resolved: ResolvedBudget) -> Fraction:
    return Fraction(resolved.mu) ** 2


def _seed(answer: Answer) -> bytes:
    """The seed of post-processing: from a released answer, never from a key of noise."""
    return hashlib.sha256(answer.values.tobytes()).digest()
