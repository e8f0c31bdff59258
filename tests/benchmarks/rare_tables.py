"""The table of the rare class: how many of its members models find that learned from a release."""

from __future__ import annotations

from collections.abc import Mapping

from markdown_tables import DOCUMENT, Part, figure, heading, mean_of, spread
from result_cells import Cell, Facts

FILE = "rare"  # all cells stand in one file; the setting names the data set
TABLE = Part(DOCUMENT, "rare", "bench_rare.py")
SETTING = {"diabetes130": "one", "physionet2019": "natural"}  # as in the table of utility
METHODS = ("real", "ours", "label-star")  # the ceiling, the release, the floor
EPSILON = 1.0
MODELS = ("trees", "logistic")
WITHIN = 0.05  # of the recall that the real records reach
COLUMNS = {
    f"{model}: {name}": ("figures", model, path)
    for model in MODELS
    for name, path in {"recall": "recall", "average precision": "average_precision", "AUC": "auc"}.items()
}


def cells(splits: int) -> list[Cell]:
    """All cells, the first split of each data set first."""
    return [
        Cell(FILE, data, method, None if method == "real" else EPSILON, split)
        for split in range(splits)
        for data in SETTING
        for method in METHODS
    ]


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A row for each data set and method; mean +- standard deviation over the splits."""
    lines = heading(["data", "share", "method", "splits", *COLUMNS, f"recall within {_short(WITHIN)} of real"])
    for data in SETTING:
        for method in METHODS:
            facts = _facts(stored, data, method)
            if facts:
                figures = [spread(list(facts.values()), path) for path in COLUMNS.values()]
                share = _short(mean_of(list(facts.values()), ("figures", "share")))
                named = [data, share, method, str(len(facts))]
                lines.append(f"| {' | '.join([*named, *figures, _reached(stored, data, method)])} |")
    return "\n".join(lines)


def _facts(stored: Mapping[Cell, Facts], data: str, method: str) -> dict[int, Facts]:
    """Of one row, by split."""
    own = [cell for cell in stored if (cell.data, cell.setting, cell.method) == (FILE, data, method)]
    return {cell.split: stored[cell] for cell in own}


def _reached(stored: Mapping[Cell, Facts], data: str, method: str) -> str:
    """Of a release alone, whether each model does; over the splits that the real records have a figure of too."""
    if method != "ours":
        return ""
    ours, real = (_facts(stored, data, name) for name in ("ours", "real"))
    both = sorted(set(ours) & set(real))
    verdicts = []
    for model in MODELS:
        path = ("figures", model, "recall")
        sides = [[side[split] for split in both] for side in (ours, real)]
        known = both and all(figure(facts, path) is not None for side in sides for facts in side)
        yes = known and mean_of(sides[0], path) >= mean_of(sides[1], path) - WITHIN
        verdicts.append(f"{model}: {'yes' if yes else 'no'}")
    return "; ".join(verdicts)


def _short(share: float) -> str:
    return f"{share:.3f}".rstrip("0").removeprefix("0")
