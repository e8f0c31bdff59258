"""Who is first? For each table, epsilon and measure, in docs/benchmarks.md: this project, a floor or a peer.

All have the first split of the same records at one site, delta 1/N, and as many rows as there are patients. Peers
without a valid guarantee take no part. Floors take no part in the CPU seconds: they do next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markdown_tables import DOCUMENT, Part, figure, heading
from peer_terms import ADDED, FEDERATED, NONE, PEERS
from result_cells import Cell, Facts

WINS = Part(DOCUMENT, "wins", "bench_utility.py")
TABLES = {
    "adult": "UCI Adult",
    "stroke": "stroke trial",
    "heart": "UCI heart",
    "creditcard": "card fraud",
    "diabetes130": "diabetes, 130 hospitals",
    "physionet2019": "PhysioNet 2019",
    "support2": "SUPPORT2",
    "wdbc": "breast cancer, Wisconsin",
    "metabric": "METABRIC",
    "gbsg2": "GBSG2",
}
EPSILONS = (0.2, 1.0, 5.0, 10.0)
OURS, OUR_NAME = "ours", "this project"
FLOORS = {"label-star": "label histograms", "gaussian-floor": "Gaussians"}
VALID = tuple(name for name, peer in PEERS.items() if peer.neighbours != NONE)
TITLES = {OURS: OUR_NAME, **FLOORS, **{name: peer.title for name, peer in {**PEERS, **FEDERATED}.items()}}


@dataclass(frozen=True)
class Measure:
    """A figure, where it stands in a cell, and whether more of it is better."""

    title: str
    path: tuple[str, ...]
    more: bool = False
    with_floors: bool = True

    def shown(self, value: float) -> str:
        """As a share, or in seconds."""
        return f"{value:.3f}".removeprefix("0") if self.path[0] == "figures" else f"{value:.0f} s"


MEASURES = (
    Measure("declared target", ("figures", "trees", "declared"), more=True),
    Measure("mean over targets", ("figures", "trees", "mean"), more=True),
    Measure("TVD of columns", ("figures", "tvd1")),
    Measure("TVD of pairs", ("figures", "tvd2")),
    Measure("CPU", ("cpu seconds",), with_floors=False),
)


@dataclass(frozen=True)
class Race:
    """Those who have a figure, the best first.

    Attributes
    ----------
    places : method and figure; equal figures in the order of TITLES.
    """

    measure: Measure
    places: tuple[tuple[str, float], ...]

    @property
    def decided(self) -> bool:
        """Whether this project and somebody else have run."""
        return len(self.places) > 1 and self.place_of(OURS) > 0

    @property
    def with_peers(self) -> bool:
        """Whether it is held against more than floors."""
        return self.decided and any(name in PEERS for name, _ in self.places)

    def place_of(self, method: str) -> int:
        """Counted from 1; 0 if it has no figure. Who has the same figure as shown shares a place."""
        figures = dict(self.places)
        if method not in figures:
            return 0
        own = self.measure.shown(figures[method])
        return 1 + next(place for place, (_, value) in enumerate(self.places) if self.measure.shown(value) == own)

    def alike(self) -> Race:
        """Without those that protect a record added or removed only."""
        kept = [(name, value) for name, value in self.places if not _weaker(name)]
        return Race(self.measure, tuple(kept))

    def words(self) -> str:
        """Who is first, and where this project stands if it is not."""
        if not self.decided:
            return ""
        best, value = self.places[0]
        own = self.place_of(OURS)
        if own == 1:
            return f"**{OUR_NAME} {self.measure.shown(dict(self.places)[OURS])}**, 1 of {len(self.places)}"
        ours = self.measure.shown(dict(self.places)[OURS])
        star = "*" if _weaker(best) else ""
        return f"{TITLES[best]}{star} {self.measure.shown(value)}; {ours}, {own} of {len(self.places)}"


def _weaker(name: str) -> bool:
    return name in PEERS and PEERS[name].neighbours == ADDED


def cells(peers: bool) -> Iterator[Cell]:
    """What the table needs: the peers, or this project and the floors."""
    for epsilon in (1.0, *(other for other in EPSILONS if other != 1)):
        for data in TABLES:
            for method in PEERS if peers else (OURS, *FLOORS):
                yield Cell(data, "one", method, epsilon, 0)


def race(stored: Mapping[Cell, Facts], data: str, epsilon: float, measure: Measure) -> Race:
    """Of one table at one epsilon."""
    methods = (OURS, *(FLOORS if measure.with_floors else ()), *VALID)
    found = [(method, stored.get(Cell(data, "one", method, epsilon, 0))) for method in methods]
    known = [
        (method, value)
        for method, facts in found
        if facts is not None and (value := figure(facts, measure.path)) is not None
    ]
    return Race(measure, tuple(sorted(known, key=lambda place: -place[1] if measure.more else place[1])))


def wins_table(stored: Mapping[Cell, Facts]) -> str:
    """How often this project is first where a peer has run, and then every race."""
    races = {
        (data, epsilon, measure): race(stored, data, epsilon, measure)
        for data in TABLES
        for epsilon in EPSILONS
        for measure in MEASURES
    }
    lines = [*_tally(races), "", *heading(["table", "epsilon", *(measure.title for measure in MEASURES)])]
    for data, title in TABLES.items():
        for epsilon in EPSILONS:
            words = [races[data, epsilon, measure].words() for measure in MEASURES]
            if any(words):
                lines.append(f"| {title} | {epsilon:g} | {' | '.join(words)} |")
    return "\n".join(lines)


def _tally(races: Mapping[tuple[str, float, Measure], Race]) -> list[str]:
    lines = heading(["this project is first", *(measure.title for measure in MEASURES)])
    for epsilon in EPSILONS:
        for alike in (False, True):
            row = [
                _share([race for (_, at, of), race in races.items() if at == epsilon and of == measure], alike)
                for measure in MEASURES
            ]
            among = "among those for a record replaced" if alike else "among all"
            if any(row):
                lines.append(f"| epsilon {epsilon:g}, {among} | {' | '.join(row)} |")
    return lines


def _share(races: list[Race], alike: bool) -> str:
    held = [other for race in races if (other := race.alike() if alike else race).with_peers]
    return f"{sum(race.place_of(OURS) == 1 for race in held)} of {len(held)}" if held else ""
