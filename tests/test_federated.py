"""Federated rivals: copies of their code are patched or refused, and what is stored says how it was made."""

from __future__ import annotations

from pathlib import Path

import bench_federated
import pytest
import result_cells
from federated_rivals import OURS, RIVALS, SITES, cell_of
from result_cells import Cell, Facts
from rival_patches import Patch, patched_copy


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "theirs").mkdir(parents=True)
    (folder / "theirs" / "noise.py").write_text("scale = 1\n")
    (folder / "data").mkdir()
    return folder


def test_a_copy_is_patched_and_the_checkout_is_not(checkout: Path, tmp_path: Path) -> None:
    patched_copy(checkout, ["theirs"], [Patch("theirs/noise.py", "scale = 1", "scale = 2", "")], tmp_path / "copy")
    assert (tmp_path / "copy/theirs/noise.py").read_text() == "scale = 2\n"
    assert (checkout / "theirs/noise.py").read_text() == "scale = 1\n"
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["theirs"]


def test_a_checkout_of_another_commit_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^theirs/noise.py: expected 'sigma', to patch it \(why\); not found"):
        patched_copy(checkout, ["theirs"], [Patch("theirs/noise.py", "sigma", "", "why")], tmp_path / "copy")


def test_every_patch_has_a_reason() -> None:
    assert all(patch.reason and patch.old != patch.new for rival in RIVALS.values() for patch in rival.patches)


def test_what_is_stored_says_how_it_was_made() -> None:
    """The neighbour relation of every figure; of a rival its commit and patches, as they stand in the code."""
    stored = result_cells.read_file(result_cells.RESULTS / "federated.jsonl")
    for cell, facts in stored.items():
        assert cell == cell_of(cell.setting, cell.method, cell.split)
        assert cell.setting in SITES
        assert facts["neighbours"]
        assert facts["figures"] or facts["stopped"]
        if cell.method not in OURS:
            assert facts["rival commit"]
            patches = RIVALS[cell.method].patches
            assert facts["patches"] == [f"{patch.file}: {patch.reason}" for patch in patches]


def test_a_table_has_a_row_for_each_method_and_says_what_was_stopped() -> None:
    figures = {"trees": {"targets": {"income": 0.9}, "mean": 0.8}, "tvd2": 0.05}
    stored: dict[Cell, Facts] = {
        cell_of("5 sites", "ours", 0): {"figures": figures, "cpu seconds": 3.2},
        cell_of("100 sites", "augflaim", 0): {"figures": {}, "stopped": "not finished"},
    }
    lines = bench_federated.table(stored).splitlines()
    assert "| ours | 0 | 0.900 / 0.800; 0.050; 3 s |  |  |" in lines
    assert "| augflaim | 0 |  |  | not finished |" in lines
