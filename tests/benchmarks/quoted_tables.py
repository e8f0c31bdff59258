"""What is quoted of `bench_utility.py`: which cells, the tables of docs/benchmarks.md and that of README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cell_runs import PUBLISHED_DELTA, WITHOUT_BUDGET
from joint_tables import JOINT, joint_table
from markdown_tables import DOCUMENT, README, Part, heading, markdown, mean_of, spread
from peer_tables import NETWORKS, PEER, network_cell, network_table, peer_table
from peer_terms import FEDERATED
from public_data import SPLITS
from public_tables import LOADERS
from result_cells import Cell, Facts
from win_tables import WINS, wins_table
from win_tables import cells as cells_of_wins

SCRIPT = "bench_utility.py"
IN_README = Part(README, "benchmarks", SCRIPT)
QUOTED = Part(DOCUMENT, "utility", SCRIPT)
EVERYTHING = Part(DOCUMENT, "all cells", SCRIPT)
OURS = ("ours", "ours-more")
FLOORS = ("label-star", "gaussian-floor")
COLUMNS = {  # of the quoted table; the other methods stand in the table of all cells alone
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
TREES = (("trees", DECLARED), ("trees", ALL_TARGETS))
ROWS: Mapping[str, tuple[tuple[str, ...], ...]] = {  # of each block, and where their figures stand
    "boosted trees": TREES,
    "logistic": (("logistic", DECLARED), ("logistic", ALL_TARGETS)),
    "quadratic discriminants": (("quadratic", DECLARED), ("quadratic", ALL_TARGETS)),
    "TVD of columns / pairs": (("tvd1",), ("tvd2",)),
}
README_COLUMNS: Mapping[str, tuple[str, ...]] = {  # of several methods, the best in each figure
    "this project": ("ours",),
    "real records": ("real",),
    "best floor": FLOORS,
    "MST": ("mst",),
    "AIM": ("aim",),
}


@dataclass(frozen=True)
class Block:
    """Rows of the quoted table that share data, setting and budget."""

    title: str
    data: str
    setting: str
    methods: tuple[str, ...] = (*OURS, "real", *FLOORS)
    epsilon: float = 1.0
    own_delta: bool = False
    real_noise: bool = True

    def cells(self, method: str) -> Iterator[Cell]:
        """Of all splits."""
        without = method in WITHOUT_BUDGET
        for split in range(SPLITS):
            own = self.own_delta and not without
            yield Cell(self.data, self.setting, method, None if without else self.epsilon, split, own)

    def facts(self, method: str, stored: Mapping[Cell, Facts]) -> list[Facts]:
        """What is stored of a method, or of the run with the real source."""
        cells = [self.real_run] if method == "real noise" else self.cells(method)
        return [stored[cell] for cell in cells if cell in stored and "failed" not in stored[cell]]

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
    Block("UCI Adult, one site", "adult", "one", ALL),
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
    Block("Stroke trial, all patients at one site", "stroke", "one", ALL),
    Block("UCI heart, 4 hospitals", "heart", "natural", (*OURS, "real", "own", *FLOORS)),
    Block("— epsilon 10", "heart", "natural", OURS, 10.0, real_noise=False),
    Block("UCI heart, all patients at one site", "heart", "one", ALL),
    # ClustMix as published would fit 354 to 1,415 clusters to 213,605 records: it was stopped after ten minutes.
    Block("Credit card fraud, one site", "creditcard", "one"),
    Block("ISOLET, vowels, one site", "isolet", "one", ALL),
    Block("MNIST, one site", "mnist", "one", ("ours", "real", "gaussian-floor")),
    Block("Diabetes, 130 hospitals as one site", "diabetes130", "one"),
    Block("PhysioNet 2019, 2 hospitals", "physionet2019", "natural", (*OURS, "real", "own", *FLOORS)),
)
README_ROWS = (  # one for each data set: at one site, where peers can be compared; PhysioNet's hospitals are real
    Block("UCI Adult", "adult", "one"),
    Block("International Stroke Trial", "stroke", "one"),
    Block("UCI heart disease", "heart", "one"),
    Block("Credit card fraud", "creditcard", "one"),
    Block("ISOLET, vowels", "isolet", "one"),
    Block("MNIST, digits", "mnist", "one"),
    Block("Diabetes, 130 hospitals", "diabetes130", "one"),
    Block("PhysioNet 2019, 2 hospitals", "physionet2019", "natural"),
)


def cells(peers: bool) -> list[Cell]:
    """All that the quoted tables need, the first split of each block first; the slow peers by themselves."""
    if peers:
        return [*cells_of_wins(peers=True), *map(network_cell, FEDERATED)]
    listed = [cell for block in BLOCKS for method in block.methods for cell in block.cells(method)]
    listed += [block.real_run for block in BLOCKS if block.real_noise]
    return sorted(dict.fromkeys([*listed, *cells_of_wins(peers=False)]), key=lambda cell: cell.split)


def parts(stored: Mapping[Cell, Facts]) -> dict[Part, str]:
    """The parts of documents that say what is stored, and their lines."""
    everything = {cell: facts for cell, facts in stored.items() if cell.data in LOADERS}  # no federated rivals
    return {
        IN_README: readme_table(stored),
        QUOTED: quoted_table(stored),
        JOINT: joint_table(stored),
        WINS: wins_table(stored),
        PEER: peer_table(stored),
        NETWORKS: network_table(stored),
        EVERYTHING: markdown(everything),
    }


def readme_table(stored: Mapping[Cell, Facts]) -> str:
    """A row for each data set at epsilon 1; boosted trees, the declared target / the mean over all targets."""
    lines = heading(["", *README_COLUMNS])
    for block in README_ROWS:
        columns = [
            [mean for method in methods if (mean := _means(block.facts(method, stored)))]
            for methods in README_COLUMNS.values()
        ]
        shown = [" / ".join(map(_short, map(max, zip(*means, strict=True)))) or "-" for means in columns]
        lines.append(f"| {block.title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def quoted_table(stored: Mapping[Cell, Facts]) -> str:
    """The blocks, and a sentence for each with real sites; a block that lacks this project is left out."""
    lines = heading(["", *COLUMNS.values()])
    for block in BLOCKS:
        facts = {method: block.facts(method, stored) for method in COLUMNS}
        if splits := len(facts["ours"]):
            fewer = f", {splits} of {SPLITS} splits" if splits < SPLITS else ""
            lines.append(f"| **{block.title}**, {block.budget}{fewer} |" + " |" * len(COLUMNS))
            lines += [row for name, paths in ROWS.items() if (row := _row(name, paths, facts))]
    return "\n".join([*lines, "", *(line for block in BLOCKS if (line := _sites_alone(block, stored)))])


def _means(facts: Sequence[Facts]) -> tuple[float, ...]:
    """Boosted trees: the declared target and the mean over all; nothing where nothing is stored."""
    return tuple(mean_of(facts, ("figures", *path)) for path in TREES) if facts else ()


def _short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def _row(name: str, paths: Sequence[tuple[str, ...]], facts: Mapping[str, Sequence[Facts]]) -> str:
    """A line of a block; the deviation over splits is shown for this project, and for all in the table of all."""
    columns = []
    for method, stored in facts.items():
        shown = [spread(stored, ("figures", *path)) for path in paths]
        if method not in OURS:
            shown = [figure.split(" +- ")[0] for figure in shown]
        columns.append(" / ".join(figure or "–" for figure in shown) if any(shown) else "")
    return f"| {name} | {' | '.join(columns)} |" if any(columns) else ""


def _sites_alone(block: Block, stored: Mapping[Cell, Facts]) -> str:
    """What the sites of a block reach alone, and how many of them the pooled release serves better."""
    facts, pooled = block.facts("own", stored), block.facts("ours", stored)
    if not facts or not pooled or block.epsilon != 1:
        return ""
    sentences = []
    for model, name in (("trees", "boosted trees"), ("logistic", "logistic regression")):
        alone = {site: mean_of(facts, ("figures", model, site)) for site in facts[0]["figures"][model]}
        least, most = min(alone, key=alone.__getitem__), max(alone, key=alone.__getitem__)
        reached = mean_of(pooled, ("figures", model, DECLARED))
        better = sum(reached > area for area in alone.values())
        span = f"{_short(alone[least])} ({least}) to {_short(alone[most])} ({most})"
        sentences.append(f"{name} {span}, and the pooled release serves {better} of {len(alone)} better")
    return f"- {block.title}, a site's own real records alone: {'; '.join(sentences)}."
