"""What the README quotes: which cells, and its table of them, which a command writes between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cells import PUBLISHED_DELTA, WITHOUT_BUDGET, Cell
from datasets import SPLITS
from methods import OTHERS
from tables import Facts, figure, spread

HEAD = (
    "",
    "boosted trees: declared / all",
    "logistic: declared / all",
    "discriminants",
    "condensed set alone: ridge / tree",
    "TVD 1 / 2",
    "CPU s / GB",
    "splits",
)
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- begin: python tests/benchmarks/utility.py --readme -->", "<!-- end -->"
OURS = ("ours", "ours-4n")
FLOORS = ("label-star", "gaussian-floor")
NAMES = {
    "real": "real records",
    "ours": "**this project**",
    "ours-4n": "**this project**, 4 times as many rows",
    "label-star": "floor: label x column histograms",
    "gaussian-floor": "floor: class Gaussians",
    "noised-steps": "the paper's order, noise at each step",
    "published": "ClustMix as published, no valid guarantee",
    "mst": "MST (dpmm)",
    "aim": "AIM (dpmm)",
    "dpgan": "DP-CTGAN (SmartNoise)",
    "pategan": "PATE-GAN (SmartNoise)",
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

    @property
    def real(self) -> Cell:
        """The run with the real source."""
        return Cell(self.data, self.setting, "ours", self.epsilon, 0, self.own_delta, real_noise=True)


ALL = (*OURS, "real", *FLOORS, "noised-steps", "published")
BLOCKS = (
    Block("UCI Adult, one site", "adult", "one", (*ALL, *OTHERS)),
    Block("— at our own delta", "adult", "one", OURS, own_delta=True),
    Block("— epsilon 0.2", "adult", "one", OURS, 0.2, real_noise=False),
    Block("— epsilon 10", "adult", "one", OURS, 10.0, real_noise=False),
    Block("— 1,000 patients", "adult", "few", (*OURS, *FLOORS)),
    Block("UCI Adult, 5 IID sites", "adult", "five", (*OURS, *FLOORS)),
    Block("— 10 IID sites", "adult", "ten", OURS),
    Block("— 5 sites skewed by age", "adult", "skew", OURS),
    Block("Stroke trial, 8 networks", "stroke", "natural", (*OURS, "real", "own", *FLOORS), own_delta=True),
    Block("— all patients at one site", "stroke", "one", (*ALL, *OTHERS)),
    Block("UCI heart, 4 hospitals", "heart", "natural", (*OURS, "real", "own", *FLOORS)),
    Block("— all patients at one site", "heart", "one", (*ALL, "mst", "aim", "dpgan")),
    Block("Credit card fraud, one site", "creditcard", "one", ALL),
    Block("ISOLET, vowels, one site", "isolet", "one", ALL),
    Block("MNIST, one site", "mnist", "one", (*OURS, "real", "gaussian-floor")),
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
        found += [block.real for block in BLOCKS if block.real_noise]
    return sorted(found, key=lambda cell: cell.split)


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """The README's table; a row whose cells are not stored is left out, and so is a block without rows."""
    lines = [
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
    ]
    for block in BLOCKS:
        rows = [row for method in block.methods if (row := _row(block, method, stored))]
        if rows:
            lines += [f"| **{block.title}**, {_budget(block)} |" + " |" * (len(HEAD) - 1), *rows]
    return "\n".join(lines)


def filled(text: str, stored: Mapping[Cell, Facts]) -> str:
    """A text with the table between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{markdown(stored)}\n{END}{rest.split(END, 1)[1]}"


def _row(block: Block, method: str, stored: Mapping[Cell, Facts]) -> str:
    facts = [stored[cell] for cell in block.cells(method) if cell in stored]
    if not facts:
        return ""
    if method == "own":
        return _own(block, facts, stored)
    row = _line(NAMES[method], facts)
    if method == "ours" and block.real_noise and block.real in stored:
        row += "\n" + _line("— one run with the real source", [stored[block.real]])
    return row


def _line(name: str, facts: Sequence[Facts]) -> str:
    models = [
        _pair(facts, ("figures", model, "declared"), ("figures", model, "mean")) for model in ("trees", "logistic")
    ]
    discriminant = spread(facts, ("figures", "discriminant", "declared"))
    condensed = _pair(facts, ("figures", "condensed", "kernel ridge"), ("figures", "condensed", "decision tree"))
    distance = _pair(facts, ("figures", "tvd1"), ("figures", "tvd2"))
    cost = _pair(facts, ("cpu seconds",), ("peak GB",))
    return f"| {' | '.join([name, *models, discriminant, condensed, distance, cost, str(len(facts))])} |"


def _pair(facts: Sequence[Facts], *paths: tuple[str, ...]) -> str:
    return " / ".join(found for path in paths if (found := spread(facts, path)))


def _own(block: Block, facts: Sequence[Facts], stored: Mapping[Cell, Facts]) -> str:
    """The range over sites of what each reaches alone, and how many of them the pooled release serves better."""
    pooled = [stored[cell] for cell in block.cells("ours") if cell in stored]
    columns = []
    for model in ("trees", "logistic"):
        alone = {site: _mean(facts, ("figures", model, site)) for site in facts[0]["figures"][model]}
        least, most = min(alone, key=alone.__getitem__), max(alone, key=alone.__getitem__)
        span = f"{alone[least]:.3f} ({least}) to {alone[most]:.3f} ({most})".replace("0.", ".")
        if pooled:
            reached = _mean(pooled, ("figures", model, "declared"))
            span += f"; pooled serves {sum(reached > each for each in alone.values())} of {len(alone)} better"
        columns.append(span)
    return f"| a site's own real records | {' | '.join(columns)} | | | | | {len(facts)} |"


def _mean(facts: Sequence[Facts], path: tuple[str, ...]) -> float:
    return float(np.mean([value for each in facts if (value := figure(each, path)) is not None]))


def _budget(block: Block) -> str:
    delta = "ours" if block.own_delta else f"{PUBLISHED_DELTA.get(block.data, '1/N *')}"
    return f"epsilon {block.epsilon:g}, delta {delta}"
