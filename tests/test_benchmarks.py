"""The benchmarks' folder: every module has a use and a name of its own; every cell has one whole line."""

from __future__ import annotations

import ast
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import PathFinder
from pathlib import Path

import bench_condense
import bench_frontier
import bench_many_sites
import bench_simulation
import federated_rivals
import noised_condensation
import numpy as np
import pytest
import result_cells
import speed_cells
from markdown_tables import DOCUMENT
from mechanism_variants import VARIANTS
from result_cells import RESULTS, Cell
from synthesizers import METHODS

from cohortmix.core.data.schema import Schema
from cohortmix.core.release.condense.models import MODELS
from cohortmix.core.release.condense.search import fit_rows
from cohortmix.core.release.condense.seen import Floats

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "tests" / "benchmarks"
MODULES = sorted(BENCHMARKS.rglob("*.py"))
PACKAGES = ("core", "protocol", "client", "server", "deploy")
STORED = sorted(RESULTS.glob("*.jsonl"))


def name_of(path: Path) -> str:
    return path.name


# --- modules


def is_command(path: Path) -> bool:
    return '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_name_of_its_own(path: Path) -> None:
    """Nothing installed, nothing of the standard library, of our packages or tests is called so."""
    elsewhere = [folder for folder in sys.path if folder and not Path(folder).resolve().is_relative_to(BENCHMARKS)]
    ours = {part.stem for package in PACKAGES for part in [ROOT / package, *(ROOT / package).rglob("*")]}
    assert path.stem not in sys.stdlib_module_names
    assert path.stem not in ours
    assert PathFinder.find_spec(path.stem, elsewhere) is None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """A command its command line as well."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert not is_command(path) or f"python {path.relative_to(ROOT)}" in docstring


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_used(path: Path) -> None:
    """A command is named by the Makefile or docs/benchmarks.md, or another module runs it; others are imported."""
    sources = {other: other.read_text(encoding="utf-8") for other in MODULES if other != path}
    if is_command(path):
        named = [(ROOT / "Makefile").read_text("utf-8"), (ROOT / "docs" / "benchmarks.md").read_text("utf-8")]
        assert any(path.name in text for text in [*named, *sources.values()])
    else:
        assert any(re.search(rf"^(from|import) {path.stem}\b", text, re.MULTILINE) for text in sources.values())


# --- what is stored


@pytest.mark.parametrize("path", STORED, ids=name_of)
def test_what_is_stored_is_what_would_be_written(path: Path) -> None:
    """Whole lines, each cell once, in their order; of methods and variants that there are."""
    stored = result_cells.read_file(path)
    assert list(stored) == sorted(stored, key=lambda cell: cell.order)
    assert path.read_text(encoding="utf-8") == "".join(f"{json.dumps(facts)}\n" for facts in stored.values())
    for cell, facts in stored.items():
        assert cell.method in {"own", *METHODS, *VARIANTS, *federated_rivals.METHODS, *speed_cells.METHODS}
        assert {"cell", "figures", "patients", "budget", "command", "commit", "versions", "machine"} <= set(facts)


def test_no_variant_has_the_name_of_a_method() -> None:
    """Both have their lines in the same files."""
    assert not set(VARIANTS) & {"own", *METHODS}
    assert not set(federated_rivals.RIVALS) & {"own", *METHODS, *VARIANTS}


def test_documents_say_what_condensed_rows_reach() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md."""
    rows, text = json.loads(bench_condense.FILE.read_text()), DOCUMENT.read_text(encoding="utf-8")
    assert bench_condense.TABLE.filled(text, bench_condense.markdown(rows)) == text
    assert {row["model"] for row in rows} >= {"tree", "logistic", "cox"}


def test_documents_show_the_frontier_that_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md and docs/frontier.svg."""
    rows, text = json.loads(bench_frontier.FILE.read_text()), DOCUMENT.read_text(encoding="utf-8")
    assert bench_frontier.TABLE.filled(text, bench_frontier.markdown(rows)) == text
    assert bench_frontier.FIGURE.read_text(encoding="utf-8") == bench_frontier.figure(rows)
    assert {(row["data"], row["by"]) for row in rows} == {
        (d, b) for d in bench_frontier.DATA for b in ("alpha", "limit")
    }


def test_a_limit_on_the_drift_is_kept_and_lies_on_the_frontier_of_alpha() -> None:
    """Of all that is stored, no point found by alpha has both a smaller drift and a clearly smaller loss."""
    rows = json.loads(bench_frontier.FILE.read_text())
    for limit in (row for row in rows if row["by"] == "limit"):
        assert limit["drift"] <= limit["value"]
        nearer = [row for row in rows if row["data"] == limit["data"] and row["drift"] <= limit["drift"]]
        assert limit["loss"] <= 1.02 * min(row["loss"] for row in nearer)


def test_noise_on_each_look_costs_what_the_release_costs() -> None:
    """T looks of sensitivity CLIP / n; fewer or more of them cost the same together, and more of them see less."""
    rng, n, mu = np.random.default_rng(0), 200, 0.3
    label = rng.integers(0, 2, n)
    judges = {}
    for looks in (4, 16):
        sigma = noised_condensation.sigma_of(n, mu, looks)
        assert looks * (noised_condensation.CLIP / n / sigma) ** 2 == pytest.approx(mu**2)
        none = np.empty(0, dtype=np.intp)
        judges[looks] = noised_condensation.NoisedJudge(
            np.zeros((n, 1)), np.empty((0, 0)), (none, none), label, sigma, np.random.default_rng(1)
        )
    scores = np.full((n, 2), 0.5)
    found = {looks: [judge.of_scores(scores) for _ in range(400)] for looks, judge in judges.items()}
    for looks, judge in judges.items():
        assert np.std(found[looks]) == pytest.approx(judge.sigma, rel=0.15)
        assert np.mean(found[looks]) == pytest.approx(np.log(2), abs=4 * judge.sigma / 20)
    assert judges[16].sigma == pytest.approx(2 * judges[4].sigma)


def test_no_record_counts_more_than_the_clip() -> None:
    none = np.empty(0, dtype=np.intp)
    label, rng = np.zeros(10, dtype=np.int64), np.random.default_rng(0)
    judge = noised_condensation.NoisedJudge(np.zeros((10, 1)), np.empty((0, 0)), (none, none), label, 0.0, rng)
    wrong = np.tile([0.0, 1.0], (10, 1))
    assert judge.of_scores(wrong) == noised_condensation.CLIP
    changed = wrong.copy()
    changed[0] = [1.0, 0.0]
    assert judge.of_scores(wrong) - judge.of_scores(changed) == pytest.approx(noised_condensation.CLIP / 10)


def wrong_pairs(records: Floats) -> float:
    """The exact share of pairs in wrong order, of records whose columns are time, event and risk."""
    time, label, risk = records.T
    rng = np.random.default_rng(0)
    judge = noised_condensation.NoisedOrder.among(risk[:, None], label.astype(np.int64), time, 0.0, rng)
    return judge.of_scores(risk)


@pytest.mark.parametrize("rows", [3, 10, 51, 200])
def test_a_record_moves_the_share_of_pairs_in_wrong_order_by_two_nths(rows: int) -> None:
    """At most, with whatever it is replaced; and a record that all others outlive does, to the last pair."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        one = rng.integers(0, [5, 2, 4], size=(rows, 3)).astype(float)
        other = one.copy()
        other[rng.integers(rows)] = rng.integers(0, [5, 2, 4])
        assert abs(wrong_pairs(one) - wrong_pairs(other)) <= noised_condensation.CLIP / rows + 1e-12
    one = np.column_stack([np.arange(rows), np.ones(rows), np.arange(rows, 0, -1)]).astype(float)
    other = one.copy()
    other[0, 2] = -1
    assert wrong_pairs(one) == 0
    assert wrong_pairs(other) == pytest.approx(noised_condensation.CLIP / rows)


def test_pairs_are_known_by_who_had_the_event_first_and_equal_risks_are_half_wrong() -> None:
    """Of three records each meets both others; the second is censored before the third ends: no pair."""
    rng, time, label = np.random.default_rng(0), np.array([1.0, 2.0, 3.0]), np.array([1, 0, 1])
    judge = noised_condensation.NoisedOrder.among(np.zeros((3, 1)), label, time, 0.0, rng)
    assert sorted(zip(*(side.tolist() for side in judge.pairs), strict=True)) == [(0, 1), (0, 2)]
    found = [judge.of_scores(np.array(risk)) for risk in ([3.0, 1.0, 2.0], [2.0, 2.0, 3.0], [0.0, 1.0, 2.0])]
    assert found == pytest.approx([0, 1.5 / 3, 2 / 3])


def test_rows_for_survival_are_found_under_noise() -> None:
    """From public values alone where noise hides all, and better than those where it hides little."""
    schema = Schema.model_validate(
        {
            "name": "made",
            "target": {"time": "days", "event": "died"},
            "columns": {
                "risk": {"type": "number", "min": -3, "max": 3},
                "other": {"type": "number", "min": -3, "max": 3},
                "days": {"type": "number", "min": 0.01, "max": 100},
                "died": {"type": "category", "values": [0, 1]},
            },
        }
    )
    rng = np.random.default_rng(0)
    risk = rng.standard_normal(400).clip(-3, 3)
    x = np.column_stack([risk, rng.standard_normal(400)])
    real = noised_condensation.Known(x, np.ones(400, dtype=np.int64), rng.exponential(np.exp(-risk)) + 0.01)
    reached = list[float]()
    for mu in (1e-9, 1e9):
        pool, points = noised_condensation.condensed_under_noise(real, schema, "cox", 10, mu, 60, 0)
        reached.append(bench_condense.measure(real)(fit_rows(MODELS["cox"], pool, points)) or 0.0)
    assert reached[1] > 0.7
    assert reached[1] >= reached[0]


@pytest.mark.parametrize(
    ("less", "above", "shown"), [(0.009, 0.031, "yes, yes"), (0.011, 0.031, "no, yes"), (0.009, 0.029, "yes, no")]
)
def test_condensed_rows_are_near_enough_and_above_noise_or_not(less: float, above: float, shown: str) -> None:
    row: bench_condense.Facts = dict.fromkeys(bench_condense.NAMES, 0.5)
    row |= {"release": 0.7, "condensed": 0.7 - less, "noised": 0.7 - less - above, "centroids": None}
    line = bench_condense.markdown([{**row, "data": "made", "model": "cox", "cpu seconds": 1.0}]).splitlines()[2]
    assert line.endswith(f"|  | 1 | {shown} |")


def test_documents_say_what_many_sites_cost() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md."""
    many, whole = (json.loads(file.read_text()) for file in (bench_many_sites.FILE, bench_simulation.FILE))
    parts = {
        bench_many_sites.TABLE: bench_many_sites.markdown(many),
        bench_simulation.PROCESS: bench_simulation.process_table(whole),
        bench_simulation.FLOWER: bench_simulation.flower_table(whole),
    }
    for part, lines in parts.items():
        text = part.document.read_text(encoding="utf-8")
        assert part.filled(text, lines) == text, part.name


# --- reading and writing

FIRST, SECOND, THIRD = (Cell("made", "one", "ours", 1.0, split) for split in range(3))


def line(cell: Cell, mean: float = 0.5) -> str:
    return json.dumps({"cell": vars(cell), "figures": {"mean": mean}}) + "\n"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(result_cells, "RESULTS", tmp_path)
    return tmp_path


def write(cell: Cell, mean: float) -> None:
    result_cells.write(cell, json.loads(line(cell, mean)))


def test_a_line_is_put_in_its_place_and_the_others_keep_their_bytes(folder: Path) -> None:
    for cell in (THIRD, FIRST, SECOND):
        write(cell, 0.5)
    file = folder / "made.jsonl"
    assert file.read_text() == line(FIRST) + line(SECOND) + line(THIRD)
    write(SECOND, 0.25)
    assert file.read_text() == line(FIRST) + line(SECOND, 0.25) + line(THIRD)
    assert list(result_cells.read()) == [FIRST, SECOND, THIRD]


def test_another_data_set_has_another_file(folder: Path) -> None:
    other = Cell("other", "one", "ours", 1.0, 0)
    write(FIRST, 0.5)
    write(other, 0.5)
    assert sorted(file.name for file in folder.iterdir()) == ["made.jsonl", "other.jsonl"]
    assert set(result_cells.read()) == {FIRST, other}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(FIRST) + line(SECOND)[:-1], "expected a line break at its end"),
        (line(FIRST) + line(SECOND)[:40], "expected a line break at its end"),
        (line(FIRST) + line(SECOND)[:40] + "\n", "line 2: expected one whole cell"),
        (line(FIRST)[:40] + line(SECOND), "line 1: expected one whole cell"),
        (line(FIRST) + "\n" + line(SECOND), "line 2: expected one whole cell"),
        (line(FIRST) + '{"figures": {}}\n', "line 2: expected one whole cell"),
        (line(FIRST) + line(FIRST, 0.25), "line 2: a second line for Cell"),
        (line(FIRST) + line(Cell("other", "one", "ours", 1.0, 0)), "line 2: expected cells of made,"),
    ],
    ids=["no end", "half of a line", "cut line", "lines run together", "empty", "no cell", "twice", "elsewhere"],
)
def test_a_damaged_file_is_neither_read_nor_written(folder: Path, text: str, message: str) -> None:
    file = folder / "made.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^made.jsonl.*{message}"):
        result_cells.read()
    with pytest.raises(ValueError, match=message):
        write(THIRD, 0.5)
    assert file.read_text() == text


def test_a_run_that_is_killed_leaves_the_file_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object) -> Path:
        raise KeyboardInterrupt

    write(FIRST, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(SECOND, 0.5)
    assert (folder / "made.jsonl").read_text() == line(FIRST)
    assert list(result_cells.read()) == [FIRST]
    write(SECOND, 0.5)
    assert list(result_cells.read()) == [FIRST, SECOND]


def test_writers_at_once_lose_no_line(folder: Path) -> None:
    cells = [Cell("made", "one", method, 1.0, split) for method in ("ours", "real") for split in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda cell: write(cell, 0.5), cells))
    assert list(result_cells.read()) == cells
