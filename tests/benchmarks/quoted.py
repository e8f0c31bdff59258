"""What the README quotes: which cells, and its table of them, which a command writes between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cells import PUBLISHED_DELTA, RESULTS, WITHOUT_BUDGET, Cell
from datasets import SPLITS
from methods import OTHERS
from tables import Facts, figure, spread

README, TABLE = Path(__file__).parents[2] / "README.md", RESULTS / "TABLE.md"
BEGIN, END = "<!-- begin: python tests/benchmarks/utility.py --readme -->", "<!-- end -->"
OURS = ("ours", "ours-more")
FLOORS = ("label-star", "gaussian-floor")
COLUMNS = {  # of the README's table; the other methods are in TABLE alone
    "real": "real records",
    "ours": "this project",
    "ours-more": "more rows: 4 N, at least 24,000",
    "real noise": "one run, real noise",
    "label-star": "floor: label histograms",
    "gaussian-floor": "floor: Gaussians",
    "published": "ClustMix as published (no valid guarantee)",
    "mst": "MST",
    "aim": "AIM",
}
DECLARED, ALL_TARGETS = "declared", "mean"
ROWS = {  # of each block, and where their figures stand; TABLE has the condensed set too
    "boosted trees": (("trees", DECLARED), ("trees", ALL_TARGETS)),
    "logistic": (("logistic", DECLARED), ("logistic", ALL_TARGETS)),
    "quadratic discriminants": (("quadratic", DECLARED), ("quadratic", ALL_TARGETS)),
    "TVD of columns / pairs": (("tvd1",), ("tvd2",)),
}


@dataclass(frozen=True)
class Block:
    """Rows of the table that share data, setting and budget."""

    title: str
    data: str
    setting: str
    methods: tuple[str, ...] = (*OURS, "real", *FLOORS)
    epsilon: float = 1.0
    own_delta: bool = False
    real_noise: bool = True

    def cells(self, method: str) -> Iterator[Cell]:
        """Of all splits; of the slow peers, of one."""
        without = method in WITHOUT_BUDGET
        for split in range(1 if method in OTHERS else SPLITS):
            own = self.own_delta and not without
            yield Cell(self.data, self.setting, method, None if without else self.epsilon, split, own)

    def facts(self, method: str, stored: Mapping[Cell, Facts]) -> list[Facts]:
        """What is stored of a method, or of the run with the real source."""
        cells = [self.real_run] if method == "real noise" else self.cells(method)
        return [stored[cell] for cell in cells if cell in stored]

    @property
    def real_run(self) -> Cell:
        """The run with the real source."""
        return Cell(self.data, self.setting, "ours", self.epsilon, 0, self.own_delta, real_noise=True)

    @property
    def budget(self) -> str:
        """In words."""
        delta = "ours" if self.own_delta else f"{PUBLISHED_DELTA.get(self.data, '1/N *')}"
        return f"epsilon {self.epsilon:g}, delta {delta}"


ALL = (*OURS, "real", *FLOORS, "noised-steps", "published")
BLOCKS = (
    Block("UCI Adult, one site", "adult", "one", (*ALL, *OTHERS)),
    Block("— at our own delta", "adult", "one", OURS, own_delta=True),
    Block("— epsilon 0.2", "adult", "one", OURS, 0.2, real_noise=False),
    Block("— epsilon 10", "adult", "one", OURS, 10.0, real_noise=False),
    Block("UCI Adult, 1,000 patients", "adult", "few", (*OURS, *FLOORS)),
    Block("UCI Adult, 5 IID sites", "adult", "five", (*OURS, *FLOORS)),
    Block("UCI Adult, 10 IID sites", "adult", "ten", OURS),
    Block("UCI Adult, 5 sites skewed by age", "adult", "skew", OURS),
    Block("Stroke trial, 8 networks", "stroke", "natural", (*OURS, "real", "own", *FLOORS), own_delta=True),
    Block("— epsilon 0.2", "stroke", "natural", OURS, 0.2, own_delta=True, real_noise=False),
    Block("— epsilon 10", "stroke", "natural", OURS, 10.0, own_delta=True, real_noise=False),
    Block("Stroke trial, all patients at one site", "stroke", "one", (*ALL, *OTHERS)),
    Block("UCI heart, 4 hospitals", "heart", "natural", (*OURS, "real", "own", *FLOORS)),
    Block("— epsilon 10", "heart", "natural", OURS, 10.0, real_noise=False),
    Block("UCI heart, all patients at one site", "heart", "one", (*ALL, "mst", "aim", "dpgan")),
    # ClustMix as published would fit 354 to 1,415 clusters to 213,605 records: it was stopped after ten minutes.
    Block("Credit card fraud, one site", "creditcard", "one"),
    Block("ISOLET, vowels, one site", "isolet", "one", ALL),
    Block("MNIST, one site", "mnist", "one", ("ours", "real", "gaussian-floor")),
    Block("Diabetes, 130 hospitals as one site", "diabetes130", "one"),
    Block("PhysioNet 2019, 2 hospitals", "physionet2019", "natural", (*OURS, "real", "own", *FLOORS)),
)


def cells(peers: bool) -> list[Cell]:
    """All that the table needs, the first split of each block first; the slow peers by themselves."""
    found = [
        cell
        for block in BLOCKS
        for method in block.methods
        if (method in OTHERS) == peers
        for cell in block.cells(method)
    ]
    if not peers:
        found += [block.real_run for block in BLOCKS if block.real_noise]
    return sorted(found, key=lambda cell: cell.split)


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """The README's table, and a sentence for each block with real sites; what this project lacks is left out."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for block in BLOCKS:
        facts = {method: block.facts(method, stored) for method in COLUMNS}
        if splits := len(facts["ours"]):
            fewer = f", {splits} of {SPLITS} splits" if splits < SPLITS else ""
            lines.append(f"| **{block.title}**, {block.budget}{fewer} |" + " |" * len(COLUMNS))
            lines += [row for name, paths in ROWS.items() if (row := _row(name, paths, facts))]
    return "\n".join([*lines, "", *(told for block in BLOCKS if (told := _own(block, stored)))])


def filled(text: str, stored: Mapping[Cell, Facts]) -> str:
    """A text with the table between its marks."""
    return put(text, BEGIN, markdown(stored), END)


def put(text: str, begin: str, lines: str, end: str) -> str:
    """A text with these lines, and nothing else, between two marks."""
    before, rest = text.split(begin)
    return f"{before}{begin}\n{lines}\n{end}{rest.split(end, 1)[1]}"


def _row(name: str, paths: Sequence[tuple[str, ...]], facts: Mapping[str, Sequence[Facts]]) -> str:
    """A line of a block; the deviation over splits is shown for this project, and for all in TABLE."""
    cells = []
    for method, each in facts.items():
        shown = [spread(each, ("figures", *path)) for path in paths]
        if method not in OURS:
            shown = [one.split(" +- ")[0] for one in shown]
        cells.append(" / ".join(one or "–" for one in shown) if any(shown) else "")
    return f"| {name} | {' | '.join(cells)} |" if any(cells) else ""


def _own(block: Block, stored: Mapping[Cell, Facts]) -> str:
    """What the sites of a block reach alone, and how many of them the pooled release serves better."""
    facts, pooled = block.facts("own", stored), block.facts("ours", stored)
    if not facts or not pooled or block.epsilon != 1:
        return ""
    told = []
    for model, name in (("trees", "boosted trees"), ("logistic", "logistic regression")):
        alone = {site: _mean(facts, ("figures", model, site)) for site in facts[0]["figures"][model]}
        least, most = min(alone, key=alone.__getitem__), max(alone, key=alone.__getitem__)
        better = [site for site, each in alone.items() if _mean(pooled, ("figures", model, DECLARED)) > each]
        span = f"{alone[least]:.3f} ({least}) to {alone[most]:.3f} ({most})".replace("0.", ".")
        told.append(f"{name} {span}, and the pooled release serves {len(better)} of {len(alone)} better")
    return f"- {block.title}, a site's own real records alone: {'; '.join(told)}."


def _mean(facts: Sequence[Facts], path: tuple[str, ...]) -> float:
    return float(np.mean([value for each in facts if (value := figure(each, path)) is not None]))
