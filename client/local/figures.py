"""What `evaluate` prints: how well models predict, and where synthetic and real records differ most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortmix.protocol.local.tables import UNDEFINED, figure
from cohortmix.protocol.local.terminal import Terminal, compact_table
from cohortmix.protocol.local.wording import percent

MOST_COLUMNS, MOST_PAIRS = 10, 5  # on the terminal; --json has every column
MOST_VALUES = 3
QUANTILES = ("1", "50", "99")  # in percent
SIDES = ("real", "synthetic")


def print_figures(report: Mapping[str, Any], places: int = 3) -> None:
    """Print the report of `core.utility.evaluate.evaluate`."""
    console = Terminal()
    console.print(
        "Figures on real records are NOT PRIVATE: they stay with whoever holds the records.", style="bold"
    )
    targets = compact_table(("target", "AUC synthetic", "AUC real"))
    for target in report["targets"]:
        targets.add_row(target["target"], *(figure(target[key], places) for key in ("auc", "ceiling_auc")))
    console.print(targets)
    for target in report["targets"]:
        if target["merged"]:
            console.print(f"{target['target']}: its {target['merged']:,} rarest values are scored as one class")
        if target["reason"]:
            console.print(f"{target['target']}: {target['reason']}, so that a model has nothing to tell apart")
    tvd, count = report["tvd"], report["records"]
    console.print(
        f"total variation distance: columns {tvd['columns']:.{places}f}, pairs of columns "
        f"{tvd['pairs']:.{places}f}; records: synthetic {count['synthetic']:,}, real {count['real']:,}"
    )
    if report["weighted"]:
        console.print("each real row weighs 1/m where its patient has m rows, in every figure, as in a release")
    console.print()
    _print_columns(console, report)
    _print_pairs(console, report)


def _print_columns(console: Terminal, report: Mapping[str, Any]) -> None:
    columns = report["columns"]
    table = compact_table(
        ("column, worst first", "TVD", "missing", "real -> synthetic"), left=("real -> synthetic",)
    )
    for column in columns[:MOST_COLUMNS]:
        missing = _change(*(percent(column["missing"][side]) for side in SIDES))
        table.add_row(column["column"], figure(column["tvd"]), missing, _details(column))
    console.print(table)
    if len(columns) > MOST_COLUMNS:
        console.print(f"{len(columns) - MOST_COLUMNS} more columns are nearer than these: see --json")


def _print_pairs(console: Terminal, report: Mapping[str, Any]) -> None:
    pairs = [f"{' with '.join(pair['columns'])} {figure(pair['tvd'])}" for pair in report["pairs"][:MOST_PAIRS]]
    console.print(f"pairs of columns, worst first: {'; '.join(pairs)}")


def _details(column: Mapping[str, Any]) -> str:
    """The median and both ends of a number or date, or the values of a category whose shares differ most."""
    if column["type"] == "category":
        shares = (
            (value["value"], *(percent(value[side]) for side in SIDES)) for value in column["values"][:MOST_VALUES]
        )
        return "; ".join(f"{value}: {_change(real, synthetic)}" for value, real, synthetic in shares)
    quantiles = column["quantiles"]
    return "; ".join(
        f"{percent(int(at) / 100, 0)}: {_change(*(_value(quantiles[at][side]) for side in SIDES))}"
        for at in QUANTILES
    )


def _change(real: str, synthetic: str) -> str:
    return real if real == synthetic else f"{real} -> {synthetic}"


def _value(value: float | str | None) -> str:
    return UNDEFINED if value is None else f"{value:.6g}" if isinstance(value, float) else value
