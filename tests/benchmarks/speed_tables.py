"""What is stored of `bench_speed.py`: a table for docs/benchmarks.md, a sentence for README.md, and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import fill

from markdown_tables import DOCUMENT, NOTES, README, Part, heading
from peer_terms import PEERS as TERMS
from result_cells import Cell, Facts
from speed_cells import DATA, METHODS, PEERS, Size
from speed_figure import Lines, Point, draw

SCRIPT = "bench_speed.py"
TABLE, SENTENCE = Part(DOCUMENT, "speed", SCRIPT), Part(README, "speed", SCRIPT)
FIGURE = DOCUMENT.with_name("speed.svg")
USUAL = Size(10_000, 40)  # what the figure's panels have in common
QUOTED = (Size(10_000, 10), USUAL)  # by the README
PARTS = ("check", "answers", "mixture", "inducing points", "dependences", "records", "messages")
LINE = 119  # letters of a line of the README
IN_README = ("mst", "aim", "dpctgan")
AGAIN = "once compiled"  # a second release in the same process
TITLES = {
    "ours": "this project",
    "joint": "this project, joint noise",
    "answers": "this project, class marginals and pair tables alone",
    **{name: TERMS[name].title for name in PEERS},
}
VARIANTS = {"classes": "class centroids alone", "scores": "by scores", "gaussian": "class Gaussians"}
ROWS_AXIS, COLUMNS_AXIS = f"patients, {USUAL.columns} columns", f"columns, {USUAL.rows:,} patients"


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A row for each measurement: CPU seconds of each part, and of all; wall time and peak memory."""
    lines = heading(["patients", "columns", "sites", "method", *PARTS, "CPU s", "wall s", "GB"])
    for size, method, facts in _measured(stored):
        beginning = [f"{size.rows:,}", str(size.columns), str(size.sites)]
        for name, run in _runs(method, facts).items():
            lines.append(f"| {' | '.join([*beginning, name + _remarks(method, run), *_figures(run)])} |")
    return "\n".join(lines)


def sentence(stored: Mapping[Cell, Facts]) -> str:
    """Of the tables that are QUOTED: what a release costs, and what peers cost."""
    costs, peaks = [], []
    for size in QUOTED:
        ours = stored[size.cell("ours")]
        known = [(TITLES[name], stored.get(size.cell(name))) for name in IN_README]
        peers = ", ".join(f"{title} {_seconds(facts)}" for title, facts in known if facts is not None)
        costs.append(f"{size.columns} columns {_seconds(ours)}" + (f" ({peers})" if peers else ""))
        peaks.append(ours["peak GB"])
    release = f"a release of {USUAL.rows:,} patients and as many records"
    said = f"CPU seconds for {release}: {', '.join(costs)}; {max(peaks):.1f} GB."
    return fill(said.replace("> ", ">"), LINE)


def figure(stored: Mapping[Cell, Facts]) -> str:
    """The text of an SVG file: CPU seconds over rows, and over columns."""
    sizes = _sizes(stored)
    return draw(
        {
            ROWS_AXIS: _lines(stored, {size: size.rows for size in sizes if size.columns == USUAL.columns}),
            COLUMNS_AXIS: _lines(stored, {size: size.columns for size in sizes if size.rows == USUAL.rows}),
        }
    )


def parts(stored: Mapping[Cell, Facts]) -> dict[Part, str]:
    """What belongs into the documents."""
    return {TABLE: markdown(stored), SENTENCE: sentence(stored)}


def _measured(stored: Mapping[Cell, Facts]) -> Iterator[tuple[Size, str, Facts]]:
    """By sites, columns beside the usual ones, rows, and the order of METHODS."""
    cells = [(Size.of(cell), cell.method, facts) for cell, facts in stored.items() if cell.data == DATA]
    methods = list(METHODS)

    def order(row: tuple[Size, str, Facts]) -> tuple[int, bool, int, int, int]:
        size, method, _ = row
        return size.sites, size.columns != USUAL.columns, size.columns, size.rows, methods.index(method)

    yield from sorted(cells, key=order)


def _runs(method: str, facts: Facts) -> dict[str, Facts]:
    """A cell's measurement by its name, and that of a release that was made once more."""
    runs = {TITLES[method]: facts}
    return runs | {f"{TITLES[method]}, {AGAIN}": facts["again"]} if "again" in facts else runs


def _remarks(method: str, facts: Facts) -> str:
    """What stands behind a method's name."""
    remarks = NOTES.get(method, "")
    if facts.get("variant", "cells") != "cells":
        remarks += f" ({VARIANTS[facts['variant']]})"
    if "mixtures" in facts:
        remarks += "" if facts["mixtures"] else f" ({VARIANTS['classes']})"
    return remarks + (f": {facts['failed']}".replace("|", "/") if "failed" in facts else "")


def _figures(facts: Facts) -> list[str]:
    """A row's numbers; empty where there is none."""
    spent: dict[str, float] = {}
    for part, taken in facts.get("parts", {}).items():  # what is in no other part is a step of a round
        column = part if part in PARTS else "messages"
        spent[column] = spent.get(column, 0.0) + taken["cpu seconds"]
    wall, peak = facts.get("seconds"), facts.get("peak GB")
    return [
        *(_rounded(spent[part]) if part in spent else "" for part in PARTS),
        _seconds(facts),
        "" if wall is None else _rounded(wall),
        "" if peak is None else f"{peak:.1f}",
    ]


def _seconds(facts: Facts) -> str:
    if "stopped" in facts:
        return f"> {facts['stopped']:,}"
    return _rounded(facts["cpu seconds"]) if "cpu seconds" in facts else "-"


def _rounded(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _sizes(stored: Mapping[Cell, Facts]) -> list[Size]:
    sizes = {Size.of(cell) for cell in stored if cell.data == DATA and cell.method != "answers"}
    return sorted(size for size in sizes if size.sites == 1)


def _lines(stored: Mapping[Cell, Facts], axis: Mapping[Size, int]) -> Lines:
    """A line for each method, and one for a release that was made once more; what failed leaves a gap."""
    lines: dict[str, list[Point]] = {TITLES["ours"]: [], f"{TITLES['ours']}, {AGAIN}": []}
    lines |= {TITLES[name]: [] for name in PEERS}
    for size, along in axis.items():
        for method in ("ours", *PEERS):
            for name, facts in _runs(method, stored.get(size.cell(method), {})).items():
                if "stopped" in facts:
                    lines[name].append(Point(along, facts["stopped"], stopped=True))
                elif "cpu seconds" in facts:
                    lines[name].append(Point(along, facts["cpu seconds"]))
    return lines
