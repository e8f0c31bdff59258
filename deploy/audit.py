"""The command `audit`: does the mechanism keep what it claims? On public tables only."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cohortmix.client.cli import open_checked, print_rows, read_schema, write_text
from cohortmix.client.progress import steps
from cohortmix.core.lower_bound import RUNS, TIGHT, runs_needed
from cohortmix.core.neighbours import Cohort
from cohortmix.core.noise import OpenDPNoise
from cohortmix.core.table import InputError, Source

if TYPE_CHECKING:
    from cohortmix.core.audit import Audit
    from cohortmix.core.replay import Replays
    from cohortmix.core.schema import Schema

PATIENTS = 2000  # of the table, drawn at random where it has more
MOST_SENTENCES = 10
FAILED = 1  # exit status


def audit(
    data: Annotated[
        Path | None, typer.Option(help="A public table, CSV or Parquet; by default the stroke trial of the demo.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="The data dictionary of the table, in YAML.")] = None,
    runs: Annotated[
        int, typer.Option(min=100, help="Draws of the noise on each of two neighbours, for the lower bound.")
    ] = RUNS,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings to this file.")] = None,
) -> None:
    """Test the guarantee on a public table: replays on neighbours, and a lower bound on mu.

    An audit looks at exact answers, so the table must be public. Exit status 1: the guarantee was seen to fail
    (of the lower bound this can be chance, at most one time in twenty).
    """
    source, dictionary = _public_table(data, schema)

    from cohortmix.core.audit import audit as audited  # brings in JAX

    cohort = Cohort.of(source, dictionary, PATIENTS)
    with steps() as report:
        found = audited(cohort, OpenDPNoise(), runs=runs, report=_by_tenths(report))
    facts = summary(found, dictionary)
    if json_file is not None:
        write_text(json_file, json.dumps(facts, indent=2) + "\n")
    _print(found, facts)
    if found.violations:
        raise typer.Exit(FAILED)


def summary(found: Audit, schema: Schema) -> dict[str, Any]:
    """The findings in plain data."""
    bound = found.bound
    return {
        "version": version("cohortmix"),
        "measured_on": "public data",
        "schema": {"name": schema.name, "hash": schema.hash},
        "patients": found.patients,
        "noise": found.noise,
        "replays": {
            "whole_pipeline": _replays(found.whole),
            "vault_worst_pairs": _replays(found.named),
            "vault_random_pairs": _replays(found.at_random),
        },
        "lower_bound": asdict(bound) | {"pair": found.furthest, "enough_runs": bound.enough},
        "violations": list(found.violations),
    }


def claim(found: Audit) -> str:
    """The sentence of an audit; what was measured is rounded down."""
    bound = found.bound
    measured = floor(bound.measured * 100) / 100
    return (
        f"claimed mu {bound.claimed:.2f}, measured at least {measured:.2f} "
        f"(at version {version('cohortmix')} on public data)"
    )


def _public_table(data: Path | None, schema: Path | None) -> tuple[Source, Schema]:
    if (data is None) != (schema is None):
        raise InputError("give both --data and --schema, or neither for the stroke trial of the demo")
    if data is None or schema is None:
        from cohortmix.deploy.tour import DATA

        data, schema = DATA / "stroke.parquet", DATA / "schema.yaml"
    dictionary = read_schema(schema)
    return open_checked(data, dictionary), dictionary


def _by_tenths(report: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Report a part when a further tenth of it is done."""
    tenths: dict[str, int] = {}

    def progress(part: str, done: int, total: int) -> None:
        if tenths.get(part) != 10 * done // total:
            tenths[part] = 10 * done // total
            report(part, done, total)

    return progress


def _replays(replays: Replays) -> dict[str, Any]:
    return {
        "pairs": replays.pairs,
        "largest_share_of_sensitivity2": [replays.reached[at] for at in sorted(replays.reached)],
        "violations": len(replays.violations),
    }


def _print(found: Audit, facts: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    rows = [
        (name.replace("_", " "), one["pairs"], *_shares(one["largest_share_of_sensitivity2"]), one["violations"])
        for name, one in facts["replays"].items()
    ]
    print_rows(console, ("replayed on neighbours", "pairs", "moved, A", "moved, B", "violations"), rows)
    console.print("moved: the largest squared distance of two exact answers, as a share of sensitivity^2\n")
    for sentence in found.violations[:MOST_SENTENCES]:
        console.print(f"VIOLATION: {sentence}", style="bold red")
    if len(found.violations) > MOST_SENTENCES:
        console.print(f"and {len(found.violations) - MOST_SENTENCES} more", style="bold red")
    _print_bound(console, found)


def _print_bound(console: Console, found: Audit) -> None:
    bound = found.bound
    console.print(
        f"{bound.confidence:.0%} confidence, {bound.runs:,} draws a side, neighbours {found.furthest!r}: "
        f"false alarms at most {bound.fpr:.4f}, misses at most {bound.fnr:.4f}"
    )
    if not bound.enough:
        console.print(
            f"so few draws show about mu {bound.attainable:.2f} at this confidence, however tight the claim; "
            f"--runs {runs_needed(bound.claimed, bound.confidence)} would show {TIGHT:.0%} of it",
            style="bold yellow",
        )
    console.print(claim(found), style="bold")


def _shares(reached: Sequence[float]) -> tuple[str | None, str | None]:
    shown = [f"{share:.4f}" for share in reached]
    return shown[0] if shown else None, shown[1] if len(shown) > 1 else None
