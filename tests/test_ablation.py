"""The ablation: every variant changes what it says and nothing else, and puts the product back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.release import maximum_entropy, pool
from cohortmix.core.steps import adapt, approximate, pipeline, plan
from cohortmix.core.synthesis import Release, synthesize

BENCHMARKS = Path(__file__).parent / "benchmarks"
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
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The benchmark's modules, which name each other as scripts do, with few components, chains and steps."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for module, name, value in (
        (plan, "LARGEST_K", 8),
        (plan, "LARGEST_FITS", 2),
        (approximate, "MORE_STEPS", approximate.CHUNK),
        (maximum_entropy, "CHAINS", 512),
        (maximum_entropy, "SWEEPS", 10),
        (pool, "CHAINS", 512),
        (pipeline, "TARGETS", 500),
        (pipeline, "adapt", partial(adapt.adapt, steps=10)),
    ):
        monkeypatch.setattr(module, name, value)
    names = ("ablation", "ablation_quoted", "ablation_table", "cells", "datasets", "targets", "variants")
    jax.config.update("jax_disable_most_optimizations", True)  # what is compiled here runs once
    yield SimpleNamespace(**{name: import_module(name) for name in names})
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def release() -> Release:
    """Of so few patients and so small a budget that there is hardly room for answer B."""
    budget = Budget.from_epsilon(0.2, 1e-3, loose_delta=True)
    return synthesize(made(600), SCHEMA, budget, noise=KeyedNoise(0), support=5, accept_degraded=True)


def test_every_variant_changes_what_it_says(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole nothing, and the others the records; those of the inducing points are below."""
    monkeypatch.setattr(pipeline, "adapt", partial(adapt.adapt, steps=0))
    own = release().records()
    for variant in bench.variants.VARIANTS.values():
        if variant.records:
            with variant.applied():
                assert release().records().equals(own) == (variant is bench.variants.WHOLE), variant.name
    assert release().records().equals(own)


def test_inducing_points_are_adapted_otherwise(bench: Any) -> None:
    """And the mixture, of which records are drawn, is the same. Points that are held still do not move."""
    moved, labels, own = {}, {}, release().site
    for variant in bench.variants.VARIANTS.values():
        if variant.name.startswith("kip") or variant is bench.variants.WHOLE:
            with variant.applied(), bench.ablation.adapted() as seen:
                site = release().site
            moved[variant.name], labels[variant.name] = seen[0], site.support_labels
            assert (site.means == own.means).all()
            assert np.array_equal(site.support_labels, own.support_labels) == (variant is bench.variants.WHOLE)
    assert moved["kip-alpha-0"] > moved["whole"] > moved["kip-labels"] == moved["kip-alpha-1"] == 0
    assert not np.array_equal(labels["kip-labels"], labels["kip-alpha-1"])


def test_the_product_is_put_back(bench: Any) -> None:
    """Also where a variant fails."""

    def names(variant: Any) -> list[Any]:
        return [getattr(change.owner, change.name) for change in variant.changes]

    def fails(variant: Any, own: list[Any]) -> None:
        with variant.applied():
            assert all(a != b for a, b in zip(names(variant), own, strict=True))
            raise MemoryError

    for variant in bench.variants.VARIANTS.values():
        own = names(variant)
        with pytest.raises(MemoryError):
            fails(variant, own)
        assert names(variant) == own


@pytest.mark.parametrize(("name", "value"), [("SIGMA_MAX", plan.SIGMA_MAX), ("NO_SUCH_NAME", 0.1)])
def test_a_variant_that_changes_nothing_is_refused(bench: Any, name: str, value: float) -> None:
    """A constant that the product has itself, and one that it has no more."""
    with pytest.raises(AssertionError, match=name), bench.variants.Change(plan, name, value).made():
        pass
    with bench.variants.Change(plan, "SIGMA_MAX", 0.3).made():
        assert plan.SIGMA_MAX == 0.3


def test_a_plan_that_changes_nothing_is_refused(bench: Any) -> None:
    with bench.variants.planned(alpha=0.5).made(), pytest.raises(AssertionError, match="alpha"):
        release()


def test_a_variant_is_stored_with_what_it_takes_to_repeat_it(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = made(600)
    held_out = np.arange(600) % 4 == 0
    data = bench.datasets.Dataset("made", table, SCHEMA, np.full(600, "made"), held_out)
    monkeypatch.setattr(bench.ablation, "RESULTS", tmp_path)
    monkeypatch.setattr(bench.ablation, "load", lambda name, split: data)
    monkeypatch.setattr(bench.ablation, "resolved", lambda cell, n: Budget.from_epsilon(8).resolve(n))
    monkeypatch.setitem(bench.targets.TARGETS, "made", {"outcome": (), "sex=F": ()})
    for name in ("whole", "kip-alpha-1"):
        bench.ablation.compute(bench.ablation.Ablated("made", "one", name, 1.0, 0), "a command")
    whole, still = (
        facts for _, facts in sorted(bench.cells.read(tmp_path).items(), key=lambda each: -len(each[1]["figures"]))
    )
    assert {"trees", "logistic", "tvd1", "tvd2", "condensed"} <= set(whole["figures"])
    assert set(still["figures"]) == {"condensed"}  # its records are those of the whole
    assert still["figures"]["condensed"]["moved"] == 0 < whole["figures"]["condensed"]["moved"]
    assert {"command", "commit", "versions", "machine", "seconds", "budget"} <= set(whole)


# --- the table


def facts(trees: float, tvd: float) -> dict[str, Any]:
    model = {"targets": {"income": trees}, "mean": trees}
    return {"figures": {"trees": model, "logistic": model, "tvd1": tvd, "tvd2": tvd}, "commit": "abc"}


def test_a_difference_is_that_of_the_same_splits(bench: Any) -> None:
    """The whole has .8 and .9, a variant .85 on the second split alone: that is .05 less, and not as much."""
    cell = bench.cells.Cell
    stored = {
        cell("adult", "one", "whole", 1.0, 0): facts(0.8, 0.1),
        cell("adult", "one", "whole", 1.0, 1): facts(0.9, 0.1),
        cell("adult", "one", "no-field", 1.0, 1): facts(0.85, 0.13),
    }
    others = {
        cell("adult", "one", "ours", 1.0, 0): facts(0.8, 0.1),
        cell("adult", "one", "published", 1.0, 0): facts(0.7, 0.2),
    }
    rows = bench.ablation_table.markdown(stored, others).splitlines()
    (whole,) = (row for row in rows if "as it is" in row and ".850 +- .071" in row)
    (variant,) = (row for row in rows if "no field" in row)
    (published,) = (row for row in rows if "no valid guarantee" in row)
    assert "+." not in whole
    assert variant.endswith("| -.050 | -.050 | +.030 | abc |")
    assert published.endswith("| -.100 | -.100 | +.100 | abc |")


def test_what_the_readme_says_has_splits_and_commits(bench: Any) -> None:
    """A split that is missing is told, and KIP's figures are of the splits that all have, or refused."""

    def of(name: str, split: int, trees: float, ridge: float = 0.9) -> dict[Any, Any]:
        found = facts(trees, 0.1)
        found["figures"]["condensed"] = {"kernel ridge": ridge, "moved": 0.1}
        return {bench.cells.Cell("adult", "one", name, 1.0, split): found}

    quoted, stored = bench.ablation_quoted, {}
    for name in {*quoted.PARTS, *quoted.SCALED, *quoted.KIP}:
        stored |= of(name, 0, 0.7) | of(name, 1, 0.7)
    stored |= of("whole", 0, 0.8) | of("whole", 1, 0.9) | of("kip-alpha-1", 1, 0.8, ridge=0.8)
    text = quoted.markdown(stored, {})
    assert "| one fit of the mixture, not their average | -.150 |" in text
    assert "Adult abc;" in text
    assert ".850 before KIP" in text
    for name in ("one-fit", "kip-alpha-1"):
        del stored[bench.cells.Cell("adult", "one", name, 1.0, 1)]
    fewer = quoted.markdown(stored, {})
    assert "| one fit of the mixture, not their average | -.100 (1 of 2 splits) |" in fewer
    assert ".900 before KIP" in fewer
    del stored[bench.cells.Cell("adult", "one", "kip-alpha-1", 1.0, 0)]
    with pytest.raises(ValueError, match="expected cells of whole, kip-alpha-0, kip-alpha-1, kip-labels"):
        quoted.markdown(stored, {})


def test_the_table_is_what_is_stored(bench: Any) -> None:
    """And what the README says of it; if not, `python tests/benchmarks/ablation.py --readme` writes both."""
    ablated, stored = (bench.cells.read(BENCHMARKS / "results" / name) for name in ("ablation", "utility"))
    text = bench.ablation_table.markdown(ablated, stored)
    assert bench.ablation.TABLE.read_text(encoding="utf-8") == text + "\n"
    readme = bench.ablation.README.read_text(encoding="utf-8")
    assert bench.ablation_quoted.filled(readme, ablated, stored) == readme
