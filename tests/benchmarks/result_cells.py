"""Cells: what one method reached on one split of one data set in one setting, kept as one line of a file.

`results/DATA.jsonl` has a line for each cell: its figures, and what it takes to repeat them (command,
commit, versions, machine). A cell that has a line is not computed again, so that the grid grows from run to run.
Every `bench_*.py` that measures utility reads its figures here. Lines are sorted by setting, method, budget and
split, so that a cell that is computed again changes one line of a diff.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from cohortmix.protocol.storage.durable import SHOWN, locked, replace_file

RESULTS = Path(__file__).parent / "results"
Facts: TypeAlias = Mapping[str, Any]  # a line: "cell", "figures", costs, and what it takes to repeat them


@dataclass(frozen=True)
class Cell:
    """A place in the grid.

    Attributes
    ----------
    method : one of `synthesizers.METHODS` or "own"; in the ablation one of `mechanism_variants.VARIANTS`.
    epsilon : of each site; None for methods that have no budget.
    split : of the data set, and the key of the test noise.
    own_delta : delta is the product's, min(1e-5, 1/(10 N)), in place of 1/N; N of the largest site.
    real_noise : the real source of noise in place of the keyed one.
    """

    data: str
    setting: str
    method: str
    epsilon: float | None
    split: int
    own_delta: bool = False
    real_noise: bool = False

    @property
    def file_name(self) -> str:
        """The file that has its line."""
        return f"{self.data}.jsonl"

    @property
    def row(self) -> Cell:
        """The same for every split: what a row of a table stands for."""
        return replace(self, split=0)

    @property
    def order(self) -> tuple[str, str, float, bool, bool, int]:
        """Where its line stands among those of its file."""
        return self.setting, self.method, self.epsilon or 0.0, self.own_delta, self.real_noise, self.split


def read() -> dict[Cell, Facts]:
    """All cells that are stored, file by file.

    Raises
    ------
    ValueError
        As `read_file` has it.
    """
    stored: dict[Cell, Facts] = {}
    for path in sorted(RESULTS.glob("*.jsonl")):
        stored |= read_file(path)
    return stored


def read_file(path: Path) -> dict[Cell, Facts]:
    """The cells of one file, in the order of its lines.

    Raises
    ------
    ValueError
        If a line is cut short or is no cell, if a cell belongs into another file, or if it has two lines: a figure
        that is left out, or one that another hides, would change tables unseen.
    """
    stored: dict[Cell, Facts] = {}
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    if rest:
        raise ValueError(
            f"{path.name}: expected a line break at its end, got {rest[-60:]!r}; restore the last line"
        )
    for number, line in enumerate(lines, start=1):
        where = f"{path.name}, line {number}"
        cell, facts = _parsed(line, where)
        if cell.file_name != path.name:
            raise ValueError(f"{where}: expected cells of {path.stem}, got {cell}; move it to {cell.file_name}")
        if cell in stored:
            raise ValueError(f"{where}: a second line for {cell}; delete the one that does not hold")
        stored[cell] = facts
    return stored


def write(cell: Cell, facts: Facts) -> None:
    """Put a cell's line into its file, in place of the one that it may have; all others stay as they are.

    Several processes may write at once. A process that is killed leaves the file as it was.

    Raises
    ------
    ValueError
        As `read_file` has it; nothing is written then.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / cell.file_name
    with locked(RESULTS):
        stored = read_file(path) if path.exists() else {}
        stored[cell] = facts
        lines = (f"{json.dumps(stored[kept])}\n" for kept in sorted(stored, key=lambda kept: kept.order))
        replace_file(path, "".join(lines).encode(), SHOWN)


def _parsed(line: str, where: str) -> tuple[Cell, Facts]:
    try:
        facts = json.loads(line)
        return Cell(**facts["cell"]), facts
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: expected one whole cell as JSON, got {line[:60]!r}; restore the line, or delete it and "
            "compute the cell again"
        ) from error
