"""What `evaluate` prints: how well models predict, and where synthetic and real records differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cohortmix.protocol.local.tables import UNDEFINED, figure
from cohortmix.protocol.local.terminal import Terminal, compact_table
from cohortmix.protocol.local.wording import percent

MOST_COLUMNS, MOST_PAIRS = 10, 5  # on the terminal; --json has every column
MOST_VALUES, MOST_STRATA = 3, 8
QUANTILES = ("1", "50", "99")  # in percent
SIDES = ("real", "synthetic")
WAYS = {"tstr": "TSTR", "trtr": "TRTR", "trts": "TRTS"}
MODELS = {
    "boosted_trees": "boosted trees",
    "linear": "linear model",
    "cox": "Cox model",
    "random_survival_forest": "survival forest",
}
FIGURES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "recall": "recall",
    "r2": "R^2",
    "mean_absolute_error": "mean absolute error",
    "spearman": "Spearman correlation",
    "harrell_c": "Harrell's C",
    "uno_c": "Uno's C",
    "integrated_brier": "integrated Brier score",
}


def print_figures(report: Mapping[str, Any], places: int = 3) -> None:
    """Print the report of `core.utility.evaluate.evaluate`."""
    console = Terminal()
    console.print(
        "Figures on real records are NOT PRIVATE: they stay with whoever holds the records.", style="bold"
    )
    _print_targets(console, report["targets"], places)
    tvd, count = report["tvd"], report["records"]
    console.print(
        f"total variation distance: columns {tvd['columns']:.{places}f}, pairs of columns "
        f"{tvd['pairs']:.{places}f}; records: synthetic {count['synthetic']:,}, real {count['real']:,}"
    )
    if report["weighted"]:
        console.print("each real row weighs 1/m where its patient has m rows, in every figure, as in a release")
    _print_copies(console, report["copies"])
    console.print()
    _print_columns(console, report)
    _print_pairs(console, report)


def _print_targets(console: Terminal, targets: Sequence[Mapping[str, Any]], places: int) -> None:
    """The AUC of all classes in one table; what else there is of each target in another."""
    classes = [target for target in targets if target["kind"] == "classification"]
    if classes:
        table = compact_table(("target", "AUC synthetic", "AUC real"))
        for target in classes:
            table.add_row(target["target"], *(figure(target[key], places) for key in ("auc", "ceiling_auc")))
        console.print(table)
    for target in targets:
        _print_notes(console, target)
    if targets:
        console.print("TSTR: trained on synthetic records, tested on real ones; TRTR: on other real ones")
        console.print("TRTS: trained on real records, tested on synthetic ones")
    for target in targets:
        if target["kind"] == "survival":
            _print_curves(console, target)
        _print_models(console, target, places)
    if targets:
        console.print()


def _print_notes(console: Terminal, target: Mapping[str, Any]) -> None:
    name = target["target"]
    nothing = target["kind"] == "classification" and None in (target["auc"], target["ceiling_auc"])
    if target["merged"]:
        console.print(f"{name}: its {target['merged']:,} rarest values are scored as one class")
    if target["reason"]:
        why = ", so that a model has nothing to tell apart" if nothing else ""
        console.print(f"{name}: {target['reason']}{why}")


def _print_models(console: Terminal, target: Mapping[str, Any], places: int) -> None:
    if not target["models"]:
        return
    table = compact_table((target["target"], *WAYS.values()))
    several = len(target["models"]) > 1
    for model, ways in target["models"].items():
        for name in ways["tstr"]:
            label = f"{MODELS[model]}: {FIGURES[name]}" if several else FIGURES[name]
            table.add_row(label, *(_number(ways[way][name], name, places) for way in WAYS))
    console.print(table)
    rare = target.get("smallest")
    if rare:
        console.print(
            f"precision, calibration and recall are of {rare['class']}: {percent(rare['share'])} of real records"
        )


def _number(value: float | None, name: str, places: int) -> str:
    """A figure; an error is in the units of the column, which can be of any size."""
    return _value(value) if name == "mean_absolute_error" else figure(value, places)


def _print_curves(console: Terminal, target: Mapping[str, Any]) -> None:
    """Kaplan-Meier curves, of all records and by strata."""
    rows = [("all", target["curves"])]
    if target["strata"]:
        groups = target["strata"]["groups"]
        rows += [(group["name"], group) for group in groups[:MOST_STRATA]]
    table = compact_table(
        (target["target"], "KM distance", "at", "restricted mean", "censored"), left=("restricted mean",)
    )
    for name, group in rows:
        mean = _change(*(_value(group["restricted_mean"][side]) for side in SIDES))
        censored = _change(
            *(UNDEFINED if (c := group["censored"][side]) is None else percent(c) for side in SIDES)
        )
        table.add_row(name, figure(group["distance"]), _value(group["distance_at"]), mean, censored)
    console.print(table)
    if target["strata"] and len(groups) > MOST_STRATA:
        console.print(f"{len(groups) - MOST_STRATA} smaller strata of {target['strata']['column']}: see --json")
    console.print(f"curves, means and Uno's C are up to {target['horizon']:.6g}; real -> synthetic")


def _print_copies(console: Terminal, copies: Mapping[str, Any]) -> None:
    shares = {key: _share(share) for key, share in copies.items()}
    console.print(f"copies of a real record: {shares['share']} of the synthetic ones; of one in a random half")
    console.print(
        f"of them: {shares['of_a_half']}, where real records of the other half have {shares['by_chance']}"
    )


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


def _share(share: float | None) -> str:
    return UNDEFINED if share is None else percent(share)


def _value(value: float | str | None) -> str:
    return UNDEFINED if value is None else f"{value:.6g}" if isinstance(value, float) else value
