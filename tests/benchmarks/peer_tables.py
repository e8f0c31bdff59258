"""Tables of peers in docs/benchmarks.md: what each reached on each table, and the federated networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markdown_tables import DOCUMENT, Part, heading, spread
from peer_terms import FEDERATED, PEERS
from result_cells import Cell, Facts
from win_tables import FLOORS, OURS, TABLES, TITLES

PEER = Part(DOCUMENT, "peers", "bench_utility.py")
NETWORKS = Part(DOCUMENT, "networks", "bench_utility.py")
FIGURES = (("trees", "declared"), ("trees", "mean"))
NETWORK_ROWS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "boosted trees": tuple(("figures", *path) for path in FIGURES),
    "logistic": (("figures", "logistic", "declared"), ("figures", "logistic", "mean")),
    "TVD of columns / pairs": (("figures", "tvd1"), ("figures", "tvd2")),
    "CPU seconds": (("cpu seconds",),),
}
SITES = {"ours": "noise of each", "joint": "joint noise"}  # of this project, beside the networks


def peer_table(stored: Mapping[Cell, Facts]) -> str:
    """Epsilon 1: a row for each method, a column for each table; then what failed, and how."""
    lines = heading(["method", "neighbours", *TABLES.values()])
    for method in (OURS, *FLOORS, *PEERS):
        found = [stored.get(Cell(data, "one", method, 1.0, 0)) for data in TABLES]
        if any(found):
            note = PEERS[method].note if method in PEERS else "the records of a patient replaced"
            lines.append(f"| {TITLES[method]} | {note} | {' | '.join(map(_shown, found))} |")
    return "\n".join([*lines, "", *_failures(stored)])


def _shown(facts: Facts | None) -> str:
    """Declared target / mean over targets; TVD of pairs; CPU seconds."""
    if facts is None:
        return "-"
    if "failed" in facts:
        return "failed"
    areas = " / ".join(spread([facts], ("figures", *path)) for path in FIGURES)
    return f"{areas}; {spread([facts], ('figures', 'tvd2'))}; {facts['cpu seconds']:.0f} s"


def _failures(stored: Mapping[Cell, Facts]) -> Iterator[str]:
    """A line for each error, with the tables and epsilons on which it occurred."""
    where: dict[tuple[str, str], list[str]] = {}
    for cell, facts in stored.items():
        if "failed" in facts and cell.method in {**PEERS, **FEDERATED}:
            where.setdefault((cell.method, facts["failed"]), []).append(f"{cell.data} at {cell.epsilon:g}")
    for (method, error), cells in where.items():
        yield f"- {TITLES[method]}, {', '.join(cells)}: `{error.replace('`', '').replace('|', '/')}`"


def network_table(stored: Mapping[Cell, Facts]) -> str:
    """The stroke trial's networks at epsilon 1: this project, and the adversarial networks of two papers."""
    methods = {**SITES, **{name: peer.title for name, peer in FEDERATED.items()}}
    found = {method: stored.get(network_cell(method)) for method in methods}
    lines = heading(["", *methods.values()])
    for title, paths in NETWORK_ROWS.items():
        row = [" / ".join(spread([facts], path) for path in paths) if facts else "" for facts in found.values()]
        lines.append(f"| {title} | {' | '.join(row)} |")
    for title, key in (("rounds", "rounds"), ("megabytes on the wire", "bytes")):
        row = [_traffic(facts, key) for facts in found.values()]
        lines.append(f"| {title} | {' | '.join(row)} |")
    return "\n".join(lines)


def _traffic(facts: Facts | None, key: str) -> str:
    """What this project sends is measured by `bench_joint_cost.py`; it asks once or twice, in one round each."""
    if facts is None or key not in facts:
        return ""
    return f"{facts[key]:.0f}" if key == "rounds" else f"{facts[key] / 1e6:.1f}"


def network_cell(method: str) -> Cell:
    """Of the first split, at the product's delta, as the block of the networks."""
    return Cell("stroke", "natural", method, 1.0, 0, own_delta=True)
