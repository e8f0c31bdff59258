"""What a study would cost a site's patients, and how noisy its answers would be: from public numbers alone.

These are the schema, the number of patients N, the study, and the sums of the ledger. No record is looked at, so a
quote costs no budget, and a steward may ask for as many as they like.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np

from cohortmix.client.steward.spending import Spending
from cohortmix.core.data.dictionary.columns import Category, Date
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.dimensions import kappa_of_study
from cohortmix.core.privacy import gdp
from cohortmix.core.reduced import require_groups
from cohortmix.core.steps import anonymize, point_masses
from cohortmix.core.steps.plan import Plan, components, fits_of, l_min
from cohortmix.core.steps.point_masses import COST, MOST_COUNTED
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.overlap import sites_per_patient
from cohortmix.protocol.receipts import Total
from cohortmix.protocol.study import JointNoise, usual_conspirators

FALSE_ALARMS = (0.01, 0.05)
"""Shares of non-members that an attacker takes for members; for each, the share of members found is bounded."""


@dataclass(frozen=True)
class Attack:
    """An attacker who knows every other record and takes this share of non-members for members."""

    false_alarms: float
    members_found_at_most: float


@dataclass(frozen=True)
class Overlap:
    """What the study costs a patient of several sites: as declared, and if the patient were at all of them."""

    declared: str
    sites: int
    mu: float
    epsilon: float
    worst_mu: float
    worst_epsilon: float


@dataclass(frozen=True)
class Mixtures:
    """The mixtures that round 2 can be expected to give.

    Attributes
    ----------
    components : the most that one fit has; 0 where there is room for class centroids only.
    fits : how many fits are averaged.
    smallest : l_min, the least patients of a component.
    pair_noise : s_B, standard deviation of one cell of a pair table, in patients; 0 where scores are measured.
    score_noise : standard deviation of a correlation of two scores; 0 where pair tables are measured.
    """

    components: int
    fits: int
    smallest: float
    pair_noise: float
    score_noise: float = 0.0


@dataclass(frozen=True)
class Mode:
    """What one of the two modes of noise gives at the study's mu, of the patients that its sums are over.

    Attributes
    ----------
    noise : "each", where every site adds all of the noise to its own answers, or "joint".
    patients : N of this site, or of all sites together.
    count, count_share : standard deviation of the noise of one count of round 1, in patients and as a share of N.
    components : of a mixture's fit, at most; 0 where there is room for class centroids only.
    """

    noise: str
    patients: int
    count: float
    count_share: float
    components: int


@dataclass(frozen=True)
class Trust:
    """Whom a patient's protection depends on, beside this site: nobody, or in a joint study all sites but t.

    Attributes
    ----------
    sites, conspirators, threshold : S, t and T of the study; 1, 0 and 1 where each site adds all of the noise.
    names : the other sites.
    """

    sites: int
    conspirators: int
    threshold: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class ColumnNoise:
    """The noise of round 1 on one column, before anything smooths it.

    Attributes
    ----------
    cells : how many are counted in each class: values of a category, or bins of a number's range, and one for
        missing.
    cell, cell_share : standard deviation of one count, in patients and as a share of N.
    mean, mean_share : standard deviation of the mean of a class of N/C patients, in the column's unit (days for
        a date) and as a share of its range; None for a category.
    """

    name: str
    type: str
    unit: str | None
    range: str
    cells: int
    cell: float
    cell_share: float
    mean: float | None
    mean_share: float | None


@dataclass(frozen=True)
class Quote:
    """What a study would cost; mu and epsilon are those of this site's patients.

    `counted` is the most values that round 2 counts besides, in cells that hold clearly more than those beside
    them, and `counted_mu` the most that it takes for it; 0 where it counts none. `noise` is the study's mode, and
    `modes` what either would give; of a study that is not joint, the other one is shown for a tenth of the sites
    as conspirators, and no dropouts. `constraints` are what the inducing points have to keep, which costs nothing.
    `more_like_it` is how many further studies of the same cost the cap allows after this one.
    """

    study: str
    hash: str
    site: str
    patients: int
    classes: int
    mu: float
    epsilon: float
    delta: float
    loose_delta: bool
    round_mu: tuple[float, float]
    attacks: tuple[Attack, ...]
    advantage: float
    overlap: Overlap
    mixtures: Mixtures
    counted: int
    counted_mu: float
    noise: str
    modes: tuple[Mode, ...]
    trust: Trust
    constraints: tuple[str, ...]
    columns: tuple[ColumnNoise, ...]
    spent_mu: float
    after_mu: float
    cap_mu: float
    affordable: bool
    more_like_it: int

    def plain(self) -> dict[str, Any]:
        """The quote as JSON can hold it."""
        return asdict(self)


def quote(study: StudySpec, schema: Schema, site: str, patients: int, spending: Spending) -> Quote:
    """What a study would cost the patients of a site.

    Parameters
    ----------
    schema : the one that the study names.
    patients : N of the site.

    Raises
    ------
    InputError
        If the site would measure pairs of more columns than it ever does, or the study's constraints name what the
        schema does not have.
    """
    kappa = Fraction(kappa_of_study(schema, study.point_masses))
    plan, mu = study.plan(schema, patients), float(study.mu)
    if plan.fits_mixture:
        require_groups(schema)
    counts = study.point_masses and plan.fits_mixture and point_masses.possible(Encoding.of(schema))
    after = spending.after(study.mu2)
    return Quote(
        study=study.name,
        hash=study.hash,
        site=site,
        patients=patients,
        classes=len(schema.classes),
        mu=mu,
        epsilon=_epsilon(study.mu2, kappa, study),
        delta=float(study.delta),
        loose_delta=study.loose_delta,
        round_mu=(sqrt(plan.mu2_sums), sqrt(plan.mu2_second)),
        attacks=tuple(Attack(share, gdp.detection_rate(mu, share)) for share in FALSE_ALARMS),
        advantage=gdp.advantage(mu),
        overlap=_overlap(study, kappa),
        mixtures=_mixtures(plan) if plan.fits_mixture else Mixtures(0, 0, 0.0, 0.0),
        counted=MOST_COUNTED if counts else 0,
        counted_mu=sqrt(COST * study.mu2) if counts else 0.0,
        noise="each" if study.joint is None else "joint",
        modes=_modes(study, schema, patients),
        trust=_trust(study, site),
        constraints=study.constraints,
        columns=_columns(schema, plan.patients, float(plan.mu2_sums / plan.surplus)),
        spent_mu=sqrt(spending.spent),
        after_mu=sqrt(after),
        cap_mu=sqrt(spending.cap),
        affordable=after <= spending.cap,
        more_like_it=spending.more(study.mu2),
    )


def _epsilon(mu2: Fraction, kappa: Fraction, study: StudySpec) -> float:
    """The epsilon at the study's delta, rounded up as in a receipt; kappa is the most that answers can have."""
    return float(Total(mu2, kappa).epsilon(study.delta))


def _overlap(study: StudySpec, kappa: Fraction) -> Overlap:
    """mu of k sites is sqrt(k) mu, since all sites of a study have one mu (Dong, Roth and Su, Corollary 3.3).

    The noise of a joint study is for k sites already; at all S of them a patient bears S / k times its mu.
    """
    sites = len(study.sites)
    k = sites_per_patient(study.overlap, sites)
    bears, worst = (k, sites) if study.joint is None else (1, Fraction(sites, k) ** 2)
    return Overlap(
        str(study.overlap),
        sites,
        sqrt(bears * study.mu2),
        _epsilon(bears * study.mu2, bears * kappa, study),
        sqrt(worst * study.mu2),
        _epsilon(worst * study.mu2, (sites if study.joint is None else 1) * kappa, study),
    )


def _modes(study: StudySpec, schema: Schema, patients: int) -> tuple[Mode, ...]:
    """Both modes; only the study's own where the other one is not possible for so few sites."""
    sites = len(study.sites)
    each = study.model_copy(update={"joint": None})
    other = JointNoise(conspirators=usual_conspirators(sites), tolerated_dropouts=0)
    joint = study.model_copy(update={"joint": study.joint or other})
    modes = [_mode("each", each.plan(schema, patients))]
    return (*modes, _mode("joint", joint.plan(schema, patients))) if sites > 1 else tuple(modes)


def _mode(noise: str, plan: Plan) -> Mode:
    s_a = anonymize.noise_a(Encoding.of(plan.schema), float(plan.mu2_sums / plan.surplus))
    k = components(plan.patients, plan.s_b) if plan.fits_mixture else 0
    return Mode(noise, plan.patients, s_a, s_a / plan.patients, k)


def _trust(study: StudySpec, site: str) -> Trust:
    terms = study.terms
    names = tuple(entry.name for entry in study.sites if entry.name != site)
    return Trust(terms.sites, terms.conspirators, terms.threshold, names)


def _mixtures(plan: Plan) -> Mixtures:
    k = components(plan.patients, plan.s_b)
    if plan.by_scores:
        return Mixtures(k, 1, l_min(plan.s_b), 0.0, plan.score_noise)
    return Mixtures(k, fits_of(k), l_min(plan.s_b), plan.s_b)


def _columns(schema: Schema, patients: int, mu2: float) -> tuple[ColumnNoise, ...]:
    encoding = Encoding.of(schema)
    s_a = anonymize.noise_a(encoding, mu2)
    return tuple(_column(cells, s_a, patients, len(schema.classes)) for cells in encoding.features)


def _column(cells: Cells, s_a: float, patients: int, classes: int) -> ColumnNoise:
    column = cells.column
    s_a = s_a / anonymize.weight_of(cells) if cells.coarse is None else s_a
    mean = None if isinstance(column, Category) else s_a * _leverage(cells) / (patients / classes)
    extent = None if isinstance(column, Category) else _number(column.max) - _number(column.min)
    return ColumnNoise(
        name=cells.name,
        type=column.type,
        unit="days" if isinstance(column, Date) else column.unit,
        range=_range(cells),
        cells=cells.size if cells.coarse is None else max(cells.coarse) + 1,
        cell=s_a,
        cell_share=s_a / patients,
        mean=mean,
        mean_share=None if mean is None or extent is None else mean / extent,
    )


def _leverage(cells: Cells) -> float:
    """Standard deviation of a column's sum where each counted cell has noise of standard deviation 1.

    The sum is read off the counts as sum_k (m_k - m) count_k, m_k the middle of cell k and m that of the range,
    so the noises add to sqrt(sum_k (m_k - m)^2).
    """
    values = cells.size - (cells.missing >= 0)
    runs = np.asarray((cells.coarse or range(cells.size))[:values])
    ends = np.array([[_number(end) for end in cells.interval(code)] for code in range(values)])
    middles = np.array([(ends[runs == k, 0].min() + ends[runs == k, 1].max()) / 2 for k in np.unique(runs)])
    return float(np.linalg.norm(middles - (ends.min() + ends.max()) / 2))


def _number(value: float | date) -> float:
    return float(value.toordinal()) if isinstance(value, date) else float(value)


def _range(cells: Cells) -> str:
    column = cells.column
    if isinstance(column, Category):
        return f"{len(column.values)} values"
    if isinstance(column, Date):
        return f"{column.min} to {column.max}"
    return f"{column.min:g} to {column.max:g}" + (f" {column.unit}" if column.unit else "")
