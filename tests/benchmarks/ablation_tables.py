"""What `bench_ablation.py` says: all variants beside the whole mechanism, and what is quoted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from markdown_tables import COLUMNS, DOCUMENT, Part, figure, heading, mean_of, spread
from mechanism_variants import VARIANTS, WHOLE, Variant
from result_cells import Cell, Facts

SCRIPT = "bench_ablation.py"
QUOTED = Part(DOCUMENT, "ablation", SCRIPT)
EVERYTHING = Part(DOCUMENT, "all variants", SCRIPT)
SPLITS = {"adult": 2, "heart": 5, "stroke": 2, "support2": 2}  # more of the smallest, whose splits differ most
NAMES = {"adult": "Adult", "heart": "UCI heart", "stroke": "stroke trial", "support2": "SUPPORT2"}
BY_SCORES = ("stroke", "support2")  # where answer B is about scores; in the others it is about pair tables
BENCHMARK = {  # cells of the benchmark of utility, for comparison: setting, method, in words
    ("five", "ours"): "the same patients at 5 sites",
    ("ten", "ours"): "the same patients at 10 sites",
    ("one", "noised-steps"): "the paper's order, noise in each step",
    ("one", "published"): "the paper's order, noise in the last step (no valid guarantee)",
}
PARTS = (
    "class-centroids",
    "no-mixture",
    "no-field",
    "one-fit",
    "no-smoothing",
    "share-fixed",
    "scores",
    "tables",
    "one-prior",
    "no-class-means",
)
SITES = (("five", "ours"), ("ten", "ours"))
SCALED = (
    "share-05",
    "share-30",
    "groups-half",
    "groups-twice",
    "cells-50",
    "cells-200",
    "sigma-max-0.1",
    "sigma-max-0.4",
)
KIP = (WHOLE.name, "kip-alpha-0", "kip-alpha-1", "kip-labels")
Columns: TypeAlias = Mapping[str, tuple[str, ...]]  # heading: where it stands in a cell
RECORDS: Columns = {name: at for name, at in COLUMNS.items() if at[0] == "figures" and "condensed" not in at}
LESS_WHOLE: Columns = {
    "trees, mean of all, less whole": ("figures", "trees", "mean"),
    "logistic, mean of all, less whole": ("figures", "logistic", "mean"),
    "TVD 2, less whole": ("figures", "tvd2"),
}
CONDENSED: Columns = {
    "kernel ridge": ("figures", "condensed", "kernel ridge"),
    "decision tree on the centroids": ("figures", "condensed", "decision tree"),
    "logistic on the points": ("figures", "condensed", "logistic on points"),
    "points moved": ("figures", "condensed", "moved"),
}
NOTE = "A variant that has the figures of the class centroids has no room for a mixture there."
BySplit: TypeAlias = Mapping[int, Facts]
(MEAN, *_) = LESS_WHOLE.values()  # boosted trees, over all targets


def parts(stored: Mapping[Cell, Facts]) -> dict[Part, str]:
    """The parts of docs/benchmarks.md that say what is stored, and their lines."""
    return {QUOTED: quoted(stored), EVERYTHING: markdown(stored)}


# --- all variants


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A table of the records and one of the condensed set; mean +- sd over splits.

    Notes
    -----
    What is less the whole is the mean of the differences of those splits that both have.
    """
    columns = ["data", "variant", "splits", *RECORDS, *LESS_WHOLE, "commit"]
    records, condensed = heading(columns), heading([*columns[:3], *CONDENSED, "commit"])
    for data in SPLITS:
        rows = {variant: by_split(stored, data, "one", variant.name) for variant in variants_of(data)}
        whole = rows[WHOLE]
        for variant, facts in rows.items():
            if variant.records:
                records += _row(data, variant.summary, facts, RECORDS, whole)
            if variant is WHOLE or not variant.records:
                condensed += _row(data, variant.summary, facts, CONDENSED)
        at_one = by_split(stored, data, "one", "ours")  # the whole, of the benchmark's own run
        for at, summary in BENCHMARK.items():
            records += _row(data, summary, by_split(stored, data, *at), RECORDS, at_one)
    return "\n".join([*records, "", NOTE, "", *condensed])


def variants_of(data: str) -> list[Variant]:
    """Those that change something of this table."""
    return [each for each in VARIANTS.values() if each.scores in (None, data in BY_SCORES)]


def by_split(stored: Mapping[Cell, Facts], data: str, setting: str, method: str) -> BySplit:
    """Cells at epsilon 1, delta 1/N, with keyed noise, of the splits that the ablation has."""
    cells = [Cell(data, setting, method, 1.0, split) for split in range(SPLITS[data])]
    return {cell.split: stored[cell] for cell in cells if cell in stored}


def less(facts: BySplit, whole: BySplit, path: Sequence[str]) -> str:
    """Mean difference of those splits that both have; nothing where there is none."""
    pairs = [(figure(facts[split], path), figure(whole[split], path)) for split in facts if split in whole]
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    return f"{np.mean(gaps):+.3f}".replace("0.", ".", 1) if gaps and facts is not whole else ""


def _row(data: str, summary: str, facts: BySplit, columns: Columns, whole: BySplit | None = None) -> list[str]:
    """One line, or none where nothing is stored."""
    shown = [spread(list(facts.values()), path) for path in columns.values()]
    if whole is not None:
        shown += [less(facts, whole, path) for path in LESS_WHOLE.values()]
    line = [data, summary, str(len(facts)), *shown, ", ".join(sorted(_commits(facts)))]
    return [f"| {' | '.join(line)} |"] if facts else []


def _commits(facts: BySplit) -> set[str]:
    return {stored["commit"] for stored in facts.values()}


# --- what is quoted


def quoted(stored: Mapping[Cell, Facts]) -> str:
    """Each part on each data set, by the mean over all targets; then what is said of Adult alone.

    Raises
    ------
    ValueError
        If a variant that is quoted has no cell on Adult.
    """
    whole = {data: by_split(stored, data, "one", WHOLE.name) for data in SPLITS}
    at_one = {data: by_split(stored, data, "one", "ours") for data in SPLITS}
    lines = heading(["", *(NAMES[data] for data in SPLITS)])
    shown = [f"{spread(list(facts.values()), MEAN)}{_fewer(facts, data)}" for data, facts in whole.items()]
    lines.append(f"| {WHOLE.summary} | {' | '.join(shown)} |")
    for name in PARTS:
        changed = {
            data: by_split(stored, data, "one", name) if VARIANTS[name] in variants_of(data) else {}
            for data in SPLITS
        }
        lines.append(_gaps(VARIANTS[name].summary, changed, whole))
    for at in SITES:
        lines.append(_gaps(BENCHMARK[at], {data: by_split(stored, data, *at) for data in SPLITS}, at_one))
    sentences = f"{_scaled(stored, whole['adult'])} {_inducing_points(stored)}"
    return "\n".join([*lines, "", f"Commits of the cells: {_commits_by_data(stored)}. {sentences}"])


def _gaps(summary: str, facts: Mapping[str, BySplit], whole: Mapping[str, BySplit]) -> str:
    shown = [
        f"{less(cells, whole[data], MEAN)}{_fewer(cells, data)}" if cells else "" for data, cells in facts.items()
    ]
    return f"| {summary} | {' | '.join(shown)} |"


def _fewer(facts: BySplit, data: str) -> str:
    """How many splits, where some are missing."""
    return "" if len(facts) == SPLITS[data] else f" ({len(facts)} of {SPLITS[data]} splits)"


def _commits_by_data(stored: Mapping[Cell, Facts]) -> str:
    commits = {
        data: set().union(*(_commits(by_split(stored, data, "one", each.name)) for each in variants_of(data)))
        for data in SPLITS
    }
    return "; ".join(f"{NAMES[data]} {', '.join(sorted(some))}" for data, some in commits.items())


def _scaled(stored: Mapping[Cell, Facts], whole: BySplit) -> str:
    gaps = [less(by_split(stored, "adult", "one", name), whole, MEAN) for name in SCALED]
    least, most = min(gaps, key=float), max(gaps, key=float)
    return (
        "Answer A's share, the patients of a group, cells and sigma_max, each a third to twice as large, change "
        f"Adult by {least} to {most}."
    )


def _inducing_points(stored: Mapping[Cell, Facts]) -> str:
    """Of the splits that all variants of the inducing points have."""
    facts = {name: by_split(stored, "adult", "one", name) for name in KIP}
    splits = set.intersection(*map(set, facts.values()))
    if not splits:
        raise ValueError(f"expected cells of {', '.join(KIP)} on one split of adult; run {SCRIPT} --data adult")
    common = {name: [cells[split] for split in splits] for name, cells in facts.items()}
    ridge = {
        name: f"{mean_of(cells, CONDENSED['kernel ridge']):.3f}".lstrip("0") for name, cells in common.items()
    }
    moved = {name: f"{100 * mean_of(cells, CONDENSED['points moved']):.0f} %" for name, cells in common.items()}
    return (
        f"Kernel ridge on 50 support points of Adult reaches {ridge['kip-alpha-1']} before KIP, "
        f"{ridge['kip-labels']} with adapted labels alone, {ridge[WHOLE.name]} with points and labels; with alpha "
        f"0 {ridge['kip-alpha-0']}, and the points move by {moved['kip-alpha-0']} in place of {moved[WHOLE.name]}."
    )
