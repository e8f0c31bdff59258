"""What a release costs: each part is charged with its own seconds, and documents show what is stored."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bench_speed
import large_table
import peer_synthesizers
import pytest
import result_cells
import speed_cells
import speed_tables
from peer_synthesizers import PeerStoppedError
from result_cells import Cell, Facts, read
from speed_cells import Clock, Size, StoppedError

SVG = "{http://www.w3.org/2000/svg}"


# --- tables of a seed


@pytest.mark.parametrize("columns", [10, 40])
def test_a_table_has_the_columns_of_its_schema(columns: int) -> None:
    schema = large_table.schema(keyed=False, columns=columns)
    (batch,) = large_table.batches(50, columns)
    assert len(schema.columns) == columns
    assert set(schema.columns) < set(batch.schema.names)
    assert batch == next(large_table.batches(50, columns))


# --- seconds of each part


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The clocks of the processor and of the wall, which a test sets."""
    seconds = {"cpu": 0.0, "wall": 0.0}
    monkeypatch.setattr("speed_cells.time.process_time", lambda: seconds["cpu"])
    monkeypatch.setattr("speed_cells.time.monotonic", lambda: seconds["wall"])
    return seconds


def test_a_part_is_charged_with_what_passes_until_it_reports(now: dict[str, float]) -> None:
    """The first word of the answers ends the check."""
    clock = Clock(limit=100)
    for part, cpu, wall in (
        ("answers", 2.0, 3.0),
        ("answers", 6.0, 8.0),
        ("mixture", 7.0, 10.0),
        ("pool", 9.0, 13.0),
    ):
        now["cpu"], now["wall"] = cpu, wall
        clock(part)
    cpu_of = {part: spent["cpu seconds"] for part, spent in clock.parts.items()}
    assert cpu_of == {"check": 2.0, "answers": 4.0, "mixture": 1.0, "records": 2.0}
    assert clock.parts["mixture"]["seconds"] == 2.0
    assert (clock.facts["cpu seconds"], clock.facts["seconds"]) == (9.0, 13.0)


def test_what_takes_longer_than_it_may_is_stopped(now: dict[str, float]) -> None:
    clock = Clock(limit=5)
    now["cpu"] = 5.0
    clock("answers")
    now["cpu"] = 5.1
    with pytest.raises(StoppedError):
        clock("answers")


@pytest.fixture
def stored_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where cells are stored."""
    monkeypatch.setattr(result_cells, "RESULTS", tmp_path / "results")
    return tmp_path


@pytest.mark.parametrize("method", ["ours", "answers"])
def test_a_release_is_measured_part_by_part(stored_in: Path, method: str) -> None:
    """The parts add up to the whole, and what is stored can be repeated. So few patients give class centroids."""
    size, path = Size(100, 20), stored_in / "table.parquet"
    large_table.write(path, size.rows, size.columns)
    speed_cells.compute(path, 600, size.cell(method), "a command", False)
    (facts,) = read().values()
    parts = facts["parts"]
    assert set(parts) == {"check", "answers"} | ({"records"} if method == "ours" else set())
    assert sum(part["cpu seconds"] for part in parts.values()) == pytest.approx(facts["cpu seconds"], abs=0.01)
    assert facts["peak GB"] >= max(part["peak GB"] for part in parts.values()) >= facts["GB before"] > 0
    assert facts["patients"] == [100]
    assert facts["budget"]["delta"] == 1 / 100
    assert {"command", "commit", "versions", "machine"} <= set(facts)


@pytest.mark.parametrize("ending", ["parquet", "csv", "db"])
def test_an_answer_is_measured_from_a_snapshot_too(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same answer as from the table itself."""
    path, folder, sums = tmp_path / f"t.{ending}", tmp_path / "snapshot", []
    folder.mkdir()
    large_table.write(path, 300, 4)
    large_table.pin(path, True, 4, folder)
    assert ".cells" in capsys.readouterr().out
    for snapshot in (None, folder):
        large_table.run(path, True, 4, "B", snapshot)
        sums += re.findall(r"sum of the answer (-?\d+)", capsys.readouterr().out)
    assert len(sums) == 2
    assert sums[0] == sums[1]


def test_a_cell_that_is_stopped_is_stored_as_such(stored_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This project and a peer; another failure of a peer keeps its words."""
    path = stored_in / "table.parquet"
    large_table.write(path, 200, 4)
    speed_cells.compute(path, 0, Size(200, 4).cell("ours"), "a command", False)
    monkeypatch.setattr(peer_synthesizers, "synthesize", _stopped)
    for method in ("aim", "mst"):
        speed_cells.compute(path, 7, Size(200, 4).cell(method), "a command", False)
    stored = {cell.method: facts for cell, facts in read().items()}
    assert stored["ours"]["stopped"] == 0
    assert stored["aim"]["stopped"] == 7
    assert "stopped" not in stored["mst"]
    assert stored["mst"]["failed"] == "no room"


def _stopped(name: str, *arguments: object, limit: int) -> None:
    raise PeerStoppedError("too long") if name == "aim" else peer_synthesizers.PeerFailedError("no room")


# --- which cells


@pytest.mark.parametrize("size", [Size(1_000, 40), Size(10_000, 40, 25)])
def test_a_cell_says_its_size(size: Size) -> None:
    assert Size.of(size.cell("ours")) == size


def test_what_is_larger_than_what_was_stopped_is_not_tried() -> None:
    """Unless there is more time; and what was stopped is tried again with more."""
    stored: dict[Cell, Facts] = {
        Size(10_000, 40).cell("aim"): {"stopped": 600},
        Size(10_000, 10).cell("aim"): {"cpu seconds": 9.0},
    }
    larger, wider, narrow = (Size(*size).cell("aim") for size in ((100_000, 40), (10_000, 100), (10_000, 20)))
    for cell in (larger, wider):
        assert not bench_speed.is_due(cell, stored, 600)
        assert bench_speed.is_due(cell, stored, 601)
    assert bench_speed.is_due(narrow, stored, 600)
    assert bench_speed.is_due(Size(100_000, 40).cell("mst"), stored, 600)
    assert not bench_speed.is_due(Size(10_000, 40).cell("aim"), stored, 600)
    assert bench_speed.is_due(Size(10_000, 40).cell("aim"), stored, 900)
    assert not bench_speed.is_due(Size(10_000, 10).cell("aim"), stored, 900)


def test_the_grid_has_every_axis_and_every_peer() -> None:
    """Peers know one site; of ten million rows the answers alone are measured."""
    wanted = argparse.Namespace(
        over=["rows", "columns", "sites"],
        rows=[*bench_speed.ROWS, bench_speed.LARGEST],
        columns=bench_speed.COLUMNS,
        method=list(speed_cells.METHODS),
    )
    cells = bench_speed.grid(wanted)
    assert len(cells) == len(set(cells)) == 9 * 5 + 2 * 2 + 1
    assert {cell.method for cell in cells if Size.of(cell).sites > 1} == {"ours", "joint"}
    assert [cell.method for cell in cells if Size.of(cell).rows == bench_speed.LARGEST] == ["answers"]


# --- table and figure


def measured(seconds: float) -> dict[str, Any]:
    part = {"cpu seconds": seconds / 4, "seconds": seconds / 2, "peak GB": 0.5}
    return {"cpu seconds": seconds, "seconds": 2 * seconds, "peak GB": 0.75, "parts": {"answers": part}}


JOINT = {part: {"cpu seconds": 1.5} for part in ("round 1, keys", "answers", "round 1, input", "messages")}
STORED: dict[Cell, Facts] = {
    Size(1_000, 40).cell("ours"): {**measured(4.0), "variant": "classes"},
    Size(10_000, 40).cell("ours"): {**measured(40.0), "variant": "cells", "again": measured(20.0)},
    Size(100_000, 40).cell("ours"): {**measured(400.0), "variant": "cells"},
    Size(10_000, 10).cell("ours"): {**measured(10.0), "variant": "cells"},
    Size(10_000, 40, 8).cell("joint"): {**measured(80.0), "mixtures": 1, "parts": JOINT},
    Size(10_000, 10).cell("aim"): {"cpu seconds": 123.4, "seconds": 200.0, "peak GB": 0.2},
    Size(10_000, 40).cell("aim"): {"stopped": 600},
    Size(10_000, 40).cell("mst"): {"failed": "no room"},
    Size(10_000_000, 40).cell("answers"): measured(50.0),
    Cell("adult", "one", "ours", 1.0, 0): measured(7.0),
}


def test_the_table_has_a_row_for_each_measurement() -> None:
    rows = [line.split(" | ") for line in speed_tables.markdown(STORED).splitlines()[2:]]
    assert len(rows) == 10  # one of them the second release in a process; none of the cell of another benchmark
    by_name = {(row[0].strip("| "), row[1], row[3]): row for row in rows}
    usual = by_name["10,000", "40", "this project"]
    assert usual[5] == "10"  # the answers
    assert usual[-3:] == ["40", "80", "0.8 |"]
    assert by_name["10,000", "40", "this project, once compiled"][-3] == "20"
    joint = by_name["10,000", "40", "this project, joint noise"]
    assert (joint[5], joint[10]) == ("1.5", "4.5")  # steps of rounds are messages
    assert by_name["1,000", "40", "this project (class centroids alone)"][-3] == "4.0"


def test_the_table_shows_what_was_stopped_and_what_failed() -> None:
    stopped, failed = (
        next(line for line in speed_tables.markdown(STORED).splitlines() if name in line)
        for name in ("| 10,000 | 40 | 1 | AIM", "MST")
    )
    assert stopped.endswith("| > 600 |  |  |")
    assert ": no room" in failed
    assert failed.endswith("| - |  |  |")


def test_the_sentence_says_what_is_stored() -> None:
    said = " ".join(speed_tables.sentence(STORED).split())
    assert said.endswith(": 10 columns 10 (AIM 123), 40 columns 40 (MST -, AIM >600); 0.8 GB.")


def dots(colour: str) -> list[tuple[float, float]]:
    drawn = ElementTree.fromstring(speed_tables.figure(STORED))
    found = [dot.attrib for dot in drawn.iter(f"{SVG}circle") if dot.get("stroke") == colour]
    return [(float(dot["cx"]), float(dot["cy"])) for dot in found]


def test_equal_ratios_are_equal_distances_in_the_figure() -> None:
    """Of 1,000, 10,000 and 100,000 patients with 4, 40 and 400 seconds."""
    (x1, y1), (x2, y2), (x3, y3) = dots("#1b4f72")[:3]
    assert x1 < x2 < x3
    assert y1 > y2 > y3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)


def test_the_figure_shows_every_measurement_of_one_site() -> None:
    """Both panels have those with 10,000 patients and 40 columns; what was stopped is an arrow, not a dot."""
    drawn = ElementTree.fromstring(speed_tables.figure(STORED))
    arrows = [path for path in drawn.iter(f"{SVG}path") if path.get("class") == "stopped"]
    assert len(dots("#1b4f72")) == 3 + 2 + 2 * 1  # over patients, over columns, and once more in both
    assert len(dots("#d55e00")) == 1
    assert [arrow.get("stroke") for arrow in arrows] == ["#d55e00"] * 2
    labels = {text.text for text in drawn.iter(f"{SVG}text")}
    assert {"CPU seconds", "1,000", "100,000", "10", "40"} <= labels
    assert {"this project", "MST", "MST, mbi 2", "AIM", "DP-CTGAN"} <= labels
    assert {speed_tables.ROWS_AXIS, speed_tables.COLUMNS_AXIS} <= labels


def test_documents_say_what_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md, docs/speed.svg and README.md."""
    for part, lines in speed_tables.parts(read()).items():
        text = part.document.read_text(encoding="utf-8")
        assert part.filled(text, lines) == text, part.document.name
    assert speed_tables.FIGURE.read_text(encoding="utf-8") == speed_tables.figure(read())
