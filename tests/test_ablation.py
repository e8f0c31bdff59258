"""The ablation: every variant changes what it says and nothing else, and puts the product back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ablation_tables
import bench_ablation
import jax
import numpy as np
import pandas as pd
import pytest
import result_cells
import scoring
from mechanism_variants import VARIANTS, WHOLE, Change, Variant, planned
from public_data import Dataset
from result_cells import Cell, Facts, read

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.release import learning, maximum_entropy
from cohortmix.core.single_release import Release
from cohortmix.core.steps import adapt, approximate, pipeline, plan
from cohortmix.core.steps.scores import couplings
from cohortmix.core.synthesis import synthesize

SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "target": "outcome",
        "columns": {
            "dose": {"type": "number", "min": 0, "max": 10, "missing": True},
            "sex": {"type": "category", "values": ["F", "M"]},
            "outcome": {"type": "category", "values": ["well", "ill"]},
        },
    }
)


def made(rows: int) -> pd.DataFrame:
    """Patients of whom those with a high dose are ill more often."""
    rng = np.random.default_rng(0)
    dose = 10 * rng.random(rows) ** 2
    return pd.DataFrame(
        {
            "dose": np.where(rng.random(rows) < 0.1, np.nan, dose),
            "sex": np.where(rng.random(rows) < dose / 20, "F", "M"),
            "outcome": np.where(rng.random(rows) < dose / 10, "ill", "well"),
        }
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few components, chains and steps."""
    for module, name, value in (
        (plan, "LARGEST_K", 8),
        (plan, "LARGEST_FITS", 2),
        (approximate, "MORE_STEPS", approximate.CHUNK),
        (maximum_entropy, "CHAINS", 512),
        (learning, "SWEEPS", 10),
        (learning, "AVERAGED", 4),
        (pipeline, "TARGETS", 500),
        (pipeline, "adapt", partial(adapt.adapt, steps=10)),
    ):
        monkeypatch.setattr(module, name, value)
    # What is compiled here runs once: to optimise it would take longer than to run it.
    jax.config.update("jax_disable_most_optimizations", True)  # type: ignore[no-untyped-call]
    yield
    jax.config.update("jax_disable_most_optimizations", False)  # type: ignore[no-untyped-call]
    jax.clear_caches()  # type: ignore[no-untyped-call]


def release() -> Release:
    """Of so few patients and so small a budget that there is hardly room for answer B."""
    budget = Budget.from_epsilon(0.2, 1e-3, loose_delta=True)
    return synthesize(made(600), SCHEMA, budget, noise=KeyedNoise(0), support=5, accept_degraded=True)


# --- variants


@pytest.mark.usefixtures("quick")
def test_every_variant_changes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole nothing, and the others the records; those of the inducing points are below."""
    monkeypatch.setattr(pipeline, "adapt", partial(adapt.adapt, steps=0))
    original = release().records()
    for variant in VARIANTS.values():
        if variant.records and not variant.scores:
            with variant.applied():
                assert release().records().equals(original) == (variant is WHOLE), variant.name
    assert release().records().equals(original)


@pytest.mark.usefixtures("quick")
def test_variants_of_scores_change_a_release_by_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "adapt", partial(adapt.adapt, steps=0))
    monkeypatch.setattr(couplings, "CHAINS", 512)
    monkeypatch.setattr(couplings, "FEWEST_CHAINS", 512)
    with VARIANTS["scores"].applied():
        original = release().records()
        for variant in VARIANTS.values():
            if variant.scores and variant.name != "tables":
                with variant.applied():
                    assert not release().records().equals(original), variant.name
        assert release().records().equals(original)


@pytest.mark.usefixtures("quick")
def test_inducing_points_are_adapted_otherwise() -> None:
    """And the mixture, of which records are drawn, is the same. Points that are held still do not move."""
    moved, labels, original = {}, {}, release().site
    for variant in VARIANTS.values():
        if variant.name.startswith("kip") or variant is WHOLE:
            with variant.applied(), bench_ablation.adaptations() as adapted:
                site = release().site
            moved[variant.name], labels[variant.name] = adapted[0], site.support_labels
            assert (site.means == original.means).all()
            assert np.array_equal(site.support_labels, original.support_labels) == (variant is WHOLE)
    assert moved["kip-alpha-0"] > moved["whole"] > moved["kip-labels"] == moved["kip-alpha-1"] == 0
    assert not np.array_equal(labels["kip-labels"], labels["kip-alpha-1"])


@pytest.mark.usefixtures("quick")
def test_the_product_is_put_back() -> None:
    """Also where a variant fails."""

    def values(variant: Variant) -> list[Any]:
        return [getattr(change.owner, change.name) for change in variant.changes]

    def fails(variant: Variant, original: list[Any]) -> None:
        with variant.applied():
            assert all(a != b for a, b in zip(values(variant), original, strict=True))
            raise MemoryError

    for variant in VARIANTS.values():
        original = values(variant)
        with pytest.raises(MemoryError):
            fails(variant, original)
        assert values(variant) == original


@pytest.mark.parametrize(("name", "value"), [("SIGMA_MAX", plan.SIGMA_MAX), ("NO_SUCH_NAME", 0.1)])
def test_a_variant_that_changes_nothing_is_refused(name: str, value: float) -> None:
    """A constant that the product has itself, and one that it has no more."""
    with pytest.raises(AssertionError, match=name), Change(plan, name, value).made():
        pass
    with Change(plan, "SIGMA_MAX", 0.3).made():
        assert vars(plan)["SIGMA_MAX"] == 0.3


@pytest.mark.usefixtures("quick")
def test_a_plan_that_changes_nothing_is_refused() -> None:
    with planned(alpha=0.5).made(), pytest.raises(AssertionError, match="alpha"):
        release()


@pytest.mark.usefixtures("quick")
def test_a_variant_is_stored_with_what_it_takes_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = Dataset("made", made(600), SCHEMA, np.full(600, "made"), np.arange(600) % 4 == 0)
    monkeypatch.setattr(result_cells, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_ablation, "load", lambda name, split: data)
    monkeypatch.setattr(bench_ablation, "resolved", lambda cell, n: Budget.from_epsilon(8).resolve(n))
    monkeypatch.setitem(scoring.TARGETS, "made", {"outcome": (), "sex=F": ()})
    whole, still = (Cell("made", "one", name, 1.0, 0) for name in ("whole", "kip-alpha-1"))
    for cell in (whole, still):
        bench_ablation.compute(cell, "a command")
    stored = read()
    assert {"trees", "logistic", "tvd1", "tvd2", "condensed"} <= set(stored[whole]["figures"])
    assert set(stored[still]["figures"]) == {"condensed"}  # its records are those of the whole
    moved = {cell: stored[cell]["figures"]["condensed"]["moved"] for cell in (still, whole)}
    assert moved[still] == 0 < moved[whole]
    assert {"command", "commit", "versions", "machine", "seconds", "budget"} <= set(stored[whole])


# --- tables


def facts(trees: float, tvd: float) -> dict[str, Any]:
    model = {"targets": {"income": trees}, "mean": trees}
    return {"figures": {"trees": model, "logistic": model, "tvd1": tvd, "tvd2": tvd}, "commit": "abc"}


def test_a_variant_is_shown_where_it_changes_something() -> None:
    """Scores in place of tables, where there are tables; and the other way round."""
    names = {data: {each.name for each in ablation_tables.variants_of(data)} for data in ablation_tables.SPLITS}
    assert "scores" in names["adult"]
    assert "tables" not in names["adult"]
    assert "tables" in names["support2"]
    assert "scores" not in names["support2"]
    assert all({"whole", "class-centroids"} <= of_data for of_data in names.values())


def test_a_difference_is_that_of_the_same_splits() -> None:
    """The whole has .8 and .9, a variant .85 on the second split alone: that is .05 less, and not as much."""
    stored: dict[Cell, Facts] = {
        Cell("adult", "one", "whole", 1.0, 0): facts(0.8, 0.1),
        Cell("adult", "one", "whole", 1.0, 1): facts(0.9, 0.1),
        Cell("adult", "one", "no-field", 1.0, 1): facts(0.85, 0.13),
        Cell("adult", "one", "ours", 1.0, 0): facts(0.8, 0.1),
        Cell("adult", "one", "published", 1.0, 0): facts(0.7, 0.2),
    }
    rows = ablation_tables.markdown(stored).splitlines()
    (whole,) = (row for row in rows if "as it is" in row and ".850 +- .071" in row)
    (variant,) = (row for row in rows if "no maximum-entropy model" in row)
    (published,) = (row for row in rows if "no valid guarantee" in row)
    assert "+." not in whole
    assert variant.endswith("| -.050 | -.050 | +.030 | abc |")
    assert published.endswith("| -.100 | -.100 | +.100 | abc |")


def test_what_is_quoted_has_splits_and_commits() -> None:
    """A split that is missing is told, and KIP's figures are of the splits that all have, or refused."""

    def one(name: str, split: int, trees: float, ridge: float = 0.9) -> dict[Cell, Facts]:
        stored = facts(trees, 0.1)
        stored["figures"]["condensed"] = {"kernel ridge": ridge, "moved": 0.1}
        return {Cell("adult", "one", name, 1.0, split): stored}

    stored: dict[Cell, Facts] = {}
    for name in {*ablation_tables.PARTS, *ablation_tables.SCALED, *ablation_tables.KIP}:
        stored |= one(name, 0, 0.7) | one(name, 1, 0.7)
    stored |= one("whole", 0, 0.8) | one("whole", 1, 0.9) | one("kip-alpha-1", 1, 0.8, ridge=0.8)
    text = ablation_tables.quoted(stored)
    assert "| one fit of the mixture, not their average | -.150 |" in text
    assert "Adult abc;" in text
    assert ".850 before KIP" in text
    for name in ("one-fit", "kip-alpha-1"):
        del stored[Cell("adult", "one", name, 1.0, 1)]
    fewer = ablation_tables.quoted(stored)
    assert "| one fit of the mixture, not their average | -.100 (1 of 2 splits) |" in fewer
    assert ".900 before KIP" in fewer
    del stored[Cell("adult", "one", "kip-alpha-1", 1.0, 0)]
    with pytest.raises(ValueError, match="expected cells of whole, kip-alpha-0, kip-alpha-1, kip-labels"):
        ablation_tables.quoted(stored)


def test_documents_say_what_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md."""
    for part, lines in ablation_tables.parts(read()).items():
        text = part.document.read_text(encoding="utf-8")
        assert part.filled(text, lines) == text, part.name
