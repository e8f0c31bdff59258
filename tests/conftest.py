"""Fixtures of several folders, where tests find what they share, and how many threads share a sum."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

FOLDERS = (
    "benchmarks",
    "benchmarks/peers",
    "core",
    "client",
    "deploy",
    "docs",
    "federation",
    "privacy",
    "protocol",
    "server",
)
# A module beside the tests that is none itself, as `core/vaults.py`, is imported by its bare name.
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in FOLDERS]
pytest.register_assert_rewrite(
    "by_hand", "commands", "damages", "hospitals", "kills", "ledgers", "loopback", "report_page", "sites"
)

# Before numpy is loaded, for this process and its children: Ray gives a worker one thread where nobody says
# otherwise, and a sum of floats by another number of threads differs in its last digits. Where cores are shared,
# threads wait for each other by spinning: with eight busy processes on two cores, products of small matrices took
# thirty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# JAX compiles what it gets as a whole, and not in 32 parts at once, which takes a fifth of processor time more.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

# A run on several processes ends when its last file does: files of twenty seconds of processor time or more begin
# first. Each process is given its second file with its first one.
LONGEST = (
    "deploy/test_loopback.py",  # three hospitals, whose processes are killed
    "deploy/test_loopback_joint.py",  # four hospitals, one of which is waited for
    "deploy/test_demo.py",  # computes, while the two before it mostly wait
    "federation/test_engine.py",  # Ray
    "test_examples.py",
    "core/steps/test_known.py",
    "privacy/test_faults.py",  # a copy of the repository for each planted fault
    "core/steps/scores/test_model.py",
    "client/local/test_cli.py",
    "core/test_bad_input.py",
    "core/release/test_score_model.py",
    "core/test_rules_kept.py",
    "core/test_outcomes.py",
    "federation/test_scores_study.py",
    "federation/test_outcomes.py",
    "privacy/test_audit_edges.py",
    "docs/test_running.py",
    "core/test_synthesis.py",
    "core/test_parity.py",
    "test_ablation.py",
    "deploy/test_audit.py",
    "federation/test_pooling.py",
    "federation/test_simulation.py",
    "privacy/test_audit.py",
    "client/table/test_cluster.py",  # Ray, and workers that die
    "client/table/test_sql.py",
    "client/site/test_daemon_faults.py",
    "test_peers.py",
    "core/steps/test_progress.py",
    "core/steps/test_point_masses.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, and all others as they were collected."""
    rank = {Path(__file__).parent / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="module")
def few_steps() -> Iterator[None]:
    """Mixtures and inducing points in seconds: fewer fits, Adam steps and targets; nothing else changes."""
    from cohortmix.core.gaussian import model as gaussian
    from cohortmix.core.steps import approximate, pipeline, plan
    from cohortmix.core.steps.adapt import adapt

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"STEPS": 100, "MORE_STEPS": 100}.items():
            patch.setattr(approximate, name, value)
        for name, value in {"CENTROIDS": 60, "LARGEST_FITS": 3}.items():
            patch.setattr(plan, name, value)
        for module in (pipeline, gaussian):
            patch.setattr(module, "TARGETS", 500)
            patch.setattr(module, "adapt", partial(adapt, steps=20))
        yield


@pytest.fixture
def points_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inducing points stay where they start, for tests of records alone: to adapt them is a quarter of a release.

    `core/test_synthesis.py` holds that no record depends on them.
    """
    from cohortmix.core.steps import pipeline
    from cohortmix.core.steps.support import Support

    def stay(points: Any, labels: Any, *targets: Any, **terms: Any) -> Support:
        return Support(points, labels, depth=1)

    monkeypatch.setattr(pipeline, "adapt", stay)
