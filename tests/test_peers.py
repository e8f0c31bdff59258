"""Peers of the benchmark: their budgets and bounds hold, and tables show who is first and what failed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import pairwise
from math import exp, sqrt
from pathlib import Path
from typing import Any

import cell_runs
import mean_embedding
import noisy_em
import numpy as np
import pandas as pd
import peer_synthesizers
import pytest
import random_mixing
import result_cells
from markdown_tables import markdown
from peer_synthesizers import PeerFailedError
from peer_tables import peer_table
from peer_terms import FEDERATED, LIMIT, PEERS
from record_vectors import Vectors, gaussian_mu
from result_cells import Cell, Facts
from win_tables import MEASURES, TABLES, race, wins_table

from cohortmix.core.privacy import gdp

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "benchmarks" / "peers"
DOMAIN: dict[str, dict[str, Any]] = {
    "age": {"size": 32, "ordered": True, "missing": False},
    "dose": {"size": 33, "ordered": True, "missing": True},
    "ward": {"size": 4, "ordered": False, "missing": False},
    "outcome": {"size": 2, "ordered": False, "missing": False},
}


def coded(rows: int, seed: int) -> pd.DataFrame:
    """Codes at random."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.integers(0, column["size"], rows) for name, column in DOMAIN.items()})


# --- terms


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 10.0])
def test_two_steps_of_a_halved_budget_are_the_whole_one(epsilon: float) -> None:
    """(2 e, d + e^e d), as for groups of two."""
    e, d = PEERS["mst-replace"].budget(epsilon, 1e-4)
    assert (2 * e, d * (1 + exp(e))) == pytest.approx((epsilon, 1e-4))
    assert PEERS["mst"].budget(epsilon, 1e-4) == (epsilon, 1e-4)


def test_every_peer_is_a_method_of_its_script_and_has_an_environment() -> None:
    for peer in {**PEERS, **FEDERATED}.values():
        tree = ast.parse((FOLDER / peer.script).read_text(encoding="utf-8"))
        assert peer.method in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        named = peer.environment.removeprefix(".venv").removeprefix("-")
        assert named in ("", "peers") or (FOLDER / f"{named}.txt").exists()
        assert f"{peer.environment}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_requirements_are_pinned_and_name_no_index() -> None:
    for file in FOLDER.glob("*.txt"):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.+-]+", line) for line in lines), file.name


def test_the_limit_is_the_one_that_is_documented() -> None:
    said = f"{LIMIT // 60} minutes of CPU"
    for name in ("docs/benchmarks.md", "Makefile"):
        assert said in (ROOT / name).read_text(encoding="utf-8")


# --- bounds of what is written here


def test_vectors_and_codes_are_the_same_records() -> None:
    vectors, table = Vectors.of(DOMAIN), coded(300, 0)
    numbers, values = vectors.split(table)
    pd.testing.assert_frame_equal(vectors.join(numbers, values), table)
    x = vectors.encode(table)
    assert x.shape == (300, vectors.width) == (300, 2 + 2 + 4 + 2)
    pd.testing.assert_frame_equal(vectors.decode(x, np.random.default_rng(0)), table)


def test_a_peak_of_memory_is_that_of_the_process_alone() -> None:
    """Not what its parent holds when it starts it."""
    held = np.ones(75_000_000)
    program = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import peer_frame; print(peer_frame.peak_gb())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.01 < float(done.stdout) < held.nbytes / 1e9


def test_mu_is_that_of_the_product() -> None:
    for epsilon, delta in ((0.2, 1e-5), (1.0, 1e-3), (10.0, 1e-4)):
        assert gaussian_mu(epsilon, delta) == pytest.approx(gdp.mu_of(epsilon, delta), rel=1e-6)


def test_a_mean_of_records_moves_by_its_bound_at_most() -> None:
    vectors = Vectors.of(DOMAIN)
    x, other = vectors.encode(coded(2_000, 0)), vectors.encode(coded(2_000, 1))
    moved = np.linalg.norm(x - other, axis=1).max()
    bound = sqrt(len(vectors.numbers) + 2 * len(vectors.values))
    assert 0.7 * bound < moved <= bound


def test_an_embedded_record_has_norm_one_and_moves_by_two_at_most() -> None:
    vectors = Vectors.of(DOMAIN)
    frequencies = np.random.default_rng(0).standard_normal((2, mean_embedding.FEATURES // 2)) * 5
    numbers, values = vectors.split(coded(500, 0))
    blocks = np.hstack([np.eye(size)[values[:, at]] for at, size in enumerate([2, 4])])
    phi = np.asarray(mean_embedding.embedding(np, numbers, blocks, frequencies, 2))
    assert np.linalg.norm(phi, axis=1) == pytest.approx(np.ones(500))
    assert np.linalg.norm(phi[:, None, :50] - phi[None, :, :50], axis=2).max() <= 2


def test_sums_of_an_iteration_move_by_their_bound_at_most() -> None:
    """Whatever the mixture: two records with other responsibilities."""
    vectors, rng = Vectors.of(DOMAIN), np.random.default_rng(0)
    bound = sqrt(2) * sqrt(1 + 2 * len(vectors.numbers) + len(vectors.values))
    x = vectors.encode(coded(400, 0))
    weights = rng.dirichlet(np.full(3, 0.1), size=400)
    parts = [noisy_em._sums(x[[row]], weights[[row]], 2) for row in range(400)]
    moved = max(float(np.linalg.norm(a - b)) for a, b in pairwise(parts))
    assert 0.5 * bound < moved <= bound


def test_mixing_takes_as_many_records_as_the_budget_asks_for() -> None:
    """A larger budget needs more of them for noise that is worth its sampling; the noise shrinks with epsilon."""
    (few, noise), (more, other) = (random_mixing.mixing(1_000, epsilon, 1e-3) for epsilon in (0.2, 10.0))
    assert few <= more
    assert min(noise, other) >= random_mixing.LEAST
    assert (
        random_mixing._spent(1_000, few, noise, 1e-3) <= 0.2 < random_mixing._spent(1_000, few, noise / 1.5, 1e-3)
    )


@pytest.mark.parametrize("method", [random_mixing.dpmix, noisy_em.dpem])
def test_records_are_of_the_domain(method: Any) -> None:
    made = method(coded(300, 0), DOMAIN, 1.0, 1e-3, 0)
    assert list(made) == list(DOMAIN)
    assert len(made) == 300
    assert all(made[name].between(0, column["size"] - 1).all() for name, column in DOMAIN.items())


# --- what fails


def test_an_error_is_stored_in_place_of_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*args: object) -> None:
        raise peer_synthesizers.PeerFailedError("ValueError: too few")

    monkeypatch.setattr(result_cells, "RESULTS", tmp_path)
    monkeypatch.setattr(peer_synthesizers, "synthesize", fails)
    cell = Cell("stroke", "one", "pategan", 1.0, 0)
    cell_runs.compute(cell, "a command")
    (facts,) = result_cells.read().values()
    assert facts["figures"] == {}
    assert facts["failed"] == "ValueError: too few"
    assert cell_runs.pending([cell]) == []
    assert "ValueError: too few" in markdown({cell: facts})
    assert "PATE-GAN, stroke at 1: `ValueError: too few`" in peer_table({cell: facts})


def test_an_error_names_no_place_of_a_machine() -> None:
    place = "/" + "root/x.y/site-packages/torch/nn.py"
    assert peer_synthesizers._short(f"Traceback\n\nOSError: {place} is missing") == "OSError: nn.py is missing"


# --- who is first


def facts(declared: float, seconds: float = 3.0) -> dict[str, Any]:
    model = {"targets": {"outcome": declared}, "mean": declared / 2}
    return {"figures": {"trees": model, "tvd1": 0.1, "tvd2": 0.2}, "cpu seconds": seconds}


def test_who_is_first_and_where_this_project_stands() -> None:
    """One without a guarantee takes no part; one with a weaker promise is marked, and left out among its like."""
    areas = {"ours": 0.8, "mst": 0.9, "privbayes-replace": 0.7, "dpctgan": 0.99, "label-star": 0.75}
    stored: dict[Cell, Facts] = {Cell("heart", "one", name, 1.0, 0): facts(area) for name, area in areas.items()}
    held = race(stored, "heart", 1.0, MEASURES[0])
    assert [name for name, _ in held.places] == ["mst", "ours", "label-star", "privbayes-replace"]
    assert held.words() == "MST* .900; .800, 2 of 4"
    assert held.alike().words() == "**this project .800**, 1 of 3"
    table = wins_table(stored)
    assert "| epsilon 1, among all | 0 of 1 | 0 of 1 | 1 of 1 | 1 of 1 | 1 of 1 |" in table
    assert "| epsilon 1, among those for a record replaced | 1 of 1 |" in table


def test_the_tally_does_not_count_where_floors_alone_compete() -> None:
    stored: dict[Cell, Facts] = {
        Cell("heart", "one", name, 5.0, 0): facts(area) for name, area in (("ours", 0.8), ("label-star", 0.7))
    }
    table = wins_table(stored)
    assert "among all" not in table
    assert "**this project .800**, 1 of 2" in table


def test_what_is_not_run_has_no_winner() -> None:
    stored: dict[Cell, Facts] = {Cell("heart", "one", "mst", 1.0, 0): facts(0.9)}
    assert race(stored, "heart", 1.0, MEASURES[0]).words() == ""
    assert TABLES["heart"] not in wins_table(stored)


@pytest.mark.parametrize(
    ("number", "raised"), [("TERM", InterruptedError), ("INT", InterruptedError), ("KILL", PeerFailedError)]
)
def test_a_peer_that_a_person_has_ended_has_not_failed(
    tmp_path: Path, number: str, raised: type[Exception]
) -> None:
    """It would be stored as the peer's own fault; what memory has ended is one."""
    with pytest.raises(raised):
        peer_synthesizers._run(["sh", "-c", f"kill -{number} $$"], tmp_path, 5)
    with pytest.raises(PeerFailedError, match="no such thing"):
        peer_synthesizers._run(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path, 5)
