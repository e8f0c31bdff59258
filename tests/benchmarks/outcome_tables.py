"""Tables of outcomes that are no category, and what a release is to reach on each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markdown_tables import DOCUMENT, Part, figure, heading, mean_of, spread
from result_cells import Cell, Facts

FILE = "outcomes"  # all cells stand in one file; the setting names the data set
TABLE = Part(DOCUMENT, "outcomes", "bench_outcomes.py")
EPSILONS: Mapping[str, tuple[float, ...]] = {
    "support2_survival": (1.0,),
    "metabric_survival": (1.0, 3.0),
    "gbsg2_survival": (3.0,),
    "tcga_brca": (5.0,),
    "tcga_brca_five": (5.0,),
    "tcga_brca_six": (5.0,),
    "diabetes_stay": (1.0,),
}
METHODS = ("real", "ours", "joint", "label-star")  # the ceiling, the release by either kind of noise, the floor
RELEASES = ("ours", "joint")


@dataclass(frozen=True)
class Place:
    """Where the records of a row are.

    Attributes
    ----------
    data : the data set.
    setting : one of `site_settings.SETTINGS`.
    methods : of `METHODS`.
    """

    data: str
    setting: str = "one"
    methods: tuple[str, ...] = ("real", "ours", "label-star")


AT_SITES: Mapping[str, Place] = {  # whose real records are those of the data set at one site
    "tcga_brca_five": Place("tcga_brca", "enough", ("ours", "label-star")),
    "tcga_brca_six": Place("tcga_brca", "natural", ("joint",)),
}
NUMBERS = ("diabetes_stay",)
SURVIVAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Cox: C": ("figures", "cox", "harrell_c"),
    "Uno's C": ("figures", "cox", "uno_c"),
    "Brier": ("figures", "cox", "integrated_brier"),
    "forest: C": ("figures", "random_survival_forest", "harrell_c"),
    "Uno's C ": ("figures", "random_survival_forest", "uno_c"),
    "Brier ": ("figures", "random_survival_forest", "integrated_brier"),
    "KM distance": ("figures", "km_distance"),
    "RMST / real's": ("figures", "restricted_mean_ratio"),
}
NUMBER_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "trees: R^2": ("figures", "boosted_trees", "r2"),
    "MAE": ("figures", "boosted_trees", "mean_absolute_error"),
    "Spearman": ("figures", "boosted_trees", "spearman"),
    "linear: R^2": ("figures", "linear", "r2"),
    "MAE ": ("figures", "linear", "mean_absolute_error"),
    "Spearman ": ("figures", "linear", "spearman"),
}
COX, FOREST = SURVIVAL_COLUMNS["Cox: C"], SURVIVAL_COLUMNS["forest: C"]


@dataclass(frozen=True)
class Goal:
    """What the mean over the splits of one figure is to reach.

    Attributes
    ----------
    name : of the goal, as a table has it.
    path : where the figure stands in a cell.
    reached : whether the release's figure is good enough, given that of the real records.
    """

    name: str
    path: tuple[str, ...]
    reached: Callable[[float, float], bool]

    def shown(self, ours: Sequence[Facts], real: Sequence[Facts]) -> str:
        """The goal, and yes or no; a model that could not be fitted on a split has not reached it."""
        fitted = ours and real and all(figure(facts, self.path) is not None for facts in [*ours, *real])
        yes = fitted and self.reached(mean_of(ours, self.path), mean_of(real, self.path))
        return f"{self.name}: {'yes' if yes else 'no'}"


def within(model: str, path: tuple[str, ...], most: float) -> Goal:
    """At most so far below the figure of the real records."""
    return Goal(f"{model} within {_short(most)} of real", path, lambda ours, real: ours >= real - most)


def share(name: str, path: tuple[str, ...], least: float) -> Goal:
    """At least this share of the figure of the real records."""
    return Goal(f"{name} {least:.0%} of real", path, lambda ours, real: ours >= least * real)


def _short(number: float) -> str:
    return f"{number:g}".removeprefix("0")


CURVE = Goal("KM distance <= .03", SURVIVAL_COLUMNS["KM distance"], lambda ours, real: ours <= 0.03)
AT_LEAST = Goal("Cox >= .68", COX, lambda ours, real: ours >= 0.68)
GOALS: Mapping[tuple[str, float], tuple[Goal, ...]] = {
    ("support2_survival", 1.0): (within("Cox", COX, 0.02), within("forest", FOREST, 0.025), CURVE),
    ("metabric_survival", 1.0): (within("Cox", COX, 0.035), within("forest", FOREST, 0.035), CURVE),
    ("metabric_survival", 3.0): (within("Cox", COX, 0.02), within("forest", FOREST, 0.02), CURVE),
    ("gbsg2_survival", 3.0): (within("Cox", COX, 0.05), within("forest", FOREST, 0.05)),
    ("tcga_brca", 5.0): (AT_LEAST,),
    ("tcga_brca_five", 5.0): (AT_LEAST,),
    ("tcga_brca_six", 5.0): (AT_LEAST,),
    ("diabetes_stay", 1.0): (
        share("R^2", NUMBER_COLUMNS["trees: R^2"], 0.6),
        share("Spearman", NUMBER_COLUMNS["Spearman"], 0.8),
    ),
}


def place_of(name: str) -> Place:
    """Of one of `EPSILONS`: all patients at one site, unless it says otherwise."""
    return AT_SITES.get(name, Place(name))


def cells(splits: int) -> list[Cell]:
    """All cells, the first split of each data set first."""
    return [
        Cell(FILE, data, method, epsilon, split)
        for split in range(splits)
        for data, epsilons in EPSILONS.items()
        for method in place_of(data).methods
        for epsilon in ((None,) if method == "real" else epsilons)
    ]


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A table of times to an event, and one of numbers; mean +- standard deviation over the splits."""
    survival = {cell: facts for cell, facts in stored.items() if cell.setting not in NUMBERS}
    numbers = {cell: facts for cell, facts in stored.items() if cell.setting in NUMBERS}
    return f"{_table(survival, SURVIVAL_COLUMNS)}\n\n{_table(numbers, NUMBER_COLUMNS)}"


def _table(stored: Mapping[Cell, Facts], columns: Mapping[str, tuple[str, ...]]) -> str:
    lines = heading(["data", "epsilon", "method", "splits", *columns, "goals"])
    for row in dict.fromkeys(cell.row for cell in sorted(stored, key=_order) if cell.data == FILE):
        facts = [stored[cell] for cell in stored if cell.row == row]
        epsilon = "" if row.epsilon is None else f"{row.epsilon:g}"
        named = [row.setting, epsilon, row.method, str(len(facts))]
        figures = [spread(facts, path) for path in columns.values()]
        lines.append(f"| {' | '.join([*named, *figures, _goals(row, stored)])} |")
    return "\n".join(lines)


def _order(cell: Cell) -> tuple[int, float, int]:
    return list(EPSILONS).index(cell.setting), cell.epsilon or 0.0, METHODS.index(cell.method)


def _goals(row: Cell, stored: Mapping[Cell, Facts]) -> str:
    """Of a release alone; on the splits that the real records have a figure of as well."""
    if row.method not in RELEASES or row.epsilon is None:
        return ""
    ours = {cell.split: facts for cell, facts in stored.items() if cell.row == row}
    real_row = Cell(FILE, place_of(row.setting).data, "real", None, 0)
    real = {cell.split: facts for cell, facts in stored.items() if cell.row == real_row}
    both = sorted(set(ours) & set(real))
    pair = [ours[split] for split in both], [real[split] for split in both]
    return "; ".join(goal.shown(*pair) for goal in GOALS.get((row.setting, row.epsilon), ()))
