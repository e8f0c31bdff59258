"""Studies of wide tables: sites are asked about scores, chosen by the coordinator from the first answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from by_hand import carry
from joint_studies import ONE_OUT, arrow, carry_through, coordinating, joint_consortium, total
from wide_tables import PAIRS, RHO, SCHEMA, patients

from cohortmix.client.ledger.policy import Refused
from cohortmix.client.site.request import require_common
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.steps.anonymize import noise_a, pair_query
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.protocol.study import JointNoise
from cohortmix.server.publish.pool import draw
from cohortmix.server.publish.publish import _noise_of_a_count
from cohortmix.server.result import ALL_SITES, StudyResult

SIZES = {"ITAL": 1_500, "NORW": 1_000, "UK": 800}
NOBODY_OUT = JointNoise(conspirators=1, tolerated_dropouts=0)


def tables() -> dict[str, pa.Table]:
    return {name: arrow(patients(size, seed)) for seed, (name, size) in enumerate(SIZES.items())}


def correlations(records: pd.DataFrame) -> Any:
    return [
        records[f"a{pair}"].astype(float).corr(records[f"b{pair}"].astype(float), "spearman")
        for pair in range(2, PAIRS)
    ]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    folder = tmp_path_factory.mktemp("joint") / "study"
    consortium = joint_consortium(folder, mu=0.6, schema=SCHEMA, tables=tables(), joint=NOBODY_OUT)
    with coordinating(consortium) as coordinator:
        carry_through(consortium, coordinator)
    return consortium


def test_a_joint_study_reads_the_sum_of_score_moments(joint: Consortium, few_steps: None) -> None:
    with coordinating(joint) as coordinator:
        common = coordinator._kept.common()
        assert common is not None
        plan, result = coordinator._whole, coordinator.finish()
        asked, read = pair_query(plan, common.to_core()), total(coordinator, 2)
    assert plan.by_scores
    assert isinstance(asked, ScoreMoment)
    assert read is not None
    assert len(read) == asked.dimension(2)
    assert (read < 0).any(), "moments have signs, and the range in which they are checked has"
    assert result.centroids[ALL_SITES].model is not None
    assert np.mean(correlations(draw(result, 20_000))) == pytest.approx(RHO, abs=0.2)


def test_a_sum_beyond_what_patients_can_give_is_noticed_on_either_side(joint: Consortium) -> None:
    from cohortmix.protocol.receipts import ReceiptError
    from cohortmix.server.acceptance import check_total

    with coordinating(joint) as coordinator:
        parts, plan, read = coordinator._parts(2), coordinator._whole, total(coordinator, 2)
        ((question, noise, _),) = parts
        assert read is not None
        edge, variance = plan.patients * question.largest << noise.shift, 3 * noise.sigma**2
        check_total(read, parts, [variance], plan.patients)
        for beyond in (2 * edge + 20 * noise.sigma, -2 * edge - 20 * noise.sigma):
            other = read.copy()
            other[0] = beyond
            with pytest.raises(ReceiptError, match="1 numbers that 3300 patients"):
                check_total(other, parts, [variance], plan.patients)


@pytest.mark.parametrize(
    ("largest", "mu"),
    [(300, 0.25), (4_500, 8.0)],
    ids=["scores of all, classes of the rest", "tables of all, scores of the rest"],
)
def test_what_is_asked_does_not_change_where_a_site_is_missing(
    largest: int, mu: float, tmp_path: Path, few_steps: None
) -> None:
    """The rule looks at the patients of the whole study, and at nobody who replied."""
    sizes = {"A": largest, **dict.fromkeys("BCDE", 90 if largest < 1_000 else 1_000)}
    of_site = {name: arrow(patients(size, seed)) for seed, (name, size) in enumerate(sizes.items())}
    consortium = joint_consortium(tmp_path / "study", mu=mu, schema=SCHEMA, tables=of_site, joint=ONE_OUT)
    with coordinating(consortium) as coordinator:
        whole = coordinator._whole
        rest = replace(whole, patients=whole.patients - largest)
        assert (whole.by_scores, rest.by_scores) in ((True, False), (False, True))
        carry_through(consortium, coordinator, gone=["A"])
        result = coordinator.finish()
    assert (result.centroids[ALL_SITES].model is not None) == whole.by_scores
    assert set(result.centroids[ALL_SITES].kind) == {"mixture"}
    assert {len(site.receipts) for site in result.sites} == {2}


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory, few_steps: None) -> tuple[Consortium, StudyResult]:
    """Sites that add all of the noise themselves."""
    sized = {"ITAL": 2_500, "NORW": 2_000}
    of_site = {name: arrow(patients(size, seed)) for seed, (name, size) in enumerate(sized.items())}
    folder = tmp_path_factory.mktemp("each") / "study"
    consortium = Consortium.create(folder, of_site, SCHEMA, Terms(budget=Budget.from_mu(0.8), seed=1))
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        carry(consortium, coordinator)
        return consortium, coordinator.finish()


def test_sites_are_asked_about_scores_if_all_of_them_can_be(each: tuple[Consortium, StudyResult]) -> None:
    """One with too few patients, or with so many that it has tables, and all have tables as far as they can."""
    _, result = each
    for size in (60, 10**6):
        first, *others = result.spec.sites
        other = result.spec.model_copy(update={"sites": (first.model_copy(update={"patients": size}), *others)})
        assert not any(other.plan(SCHEMA, entry.patients).by_scores for entry in other.sites)
    by_scores = {entry.name: result.spec.plan(SCHEMA, entry.patients).by_scores for entry in result.spec.sites}
    assert by_scores == {"ITAL": True, "NORW": True}
    kinds = {name: set(centroids.kind) for name, centroids in result.centroids.items()}
    assert kinds == {"ITAL": {"mixture"}, "NORW": {"mixture"}}
    assert result.refusals == ()
    assert np.mean(correlations(draw(result, 20_000))) > 0.1, "some of it, though mixtures have few steps here"


def test_the_report_has_the_noise_of_a_count_and_not_the_precision_of_a_fit(
    joint: Consortium, each: tuple[Consortium, StudyResult]
) -> None:
    """Where no pairs were counted `noise_std` of the centroids is another thing: a thousandth of it."""
    _, result = each
    for name, centroids in result.centroids.items():
        site = result.spec.site(name)
        assert site is not None
        plan = result.spec.plan(SCHEMA, site.patients)
        count = noise_a(Encoding.of(SCHEMA), float(plan.mu2_sums))
        assert _noise_of_a_count(result, name) == pytest.approx(count)
        assert count > 10 * centroids.noise_std
    with coordinating(joint) as coordinator:
        together = coordinator.finish()
    assert _noise_of_a_count(together, ALL_SITES) == together.common.margins.s_a


def test_a_site_takes_no_scores_that_do_not_fit(each: tuple[Consortium, StudyResult]) -> None:
    consortium, result = each
    with consortium.coordinator() as coordinator:
        common = coordinator._kept.common()
    assert common is not None
    require_common(common, result.spec, SCHEMA, by_scores=True)
    first, *others = common.scores
    for scores in (
        (),
        (first.model_copy(update={"column": len(SCHEMA.features)}), *others),
        (first.model_copy(update={"levels": first.levels[1:]}), *others),
        (first, first, first, first, *others),
    ):
        with pytest.raises(Refused, match="scores do not fit"):
            require_common(common.model_copy(update={"scores": scores}), result.spec, SCHEMA, by_scores=True)
    require_common(common.model_copy(update={"scores": ()}), result.spec, SCHEMA, by_scores=False)
