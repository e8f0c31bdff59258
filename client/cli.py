"""Commands of one hospital, or of a researcher with one table: no server, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cohortmix.client.check import check
from cohortmix.client.data import open_all, open_table
from cohortmix.client.draft import draft
from cohortmix.client.output import require_free, write_release
from cohortmix.client.progress import step
from cohortmix.core.budget import MIN_PATIENTS, Budget
from cohortmix.core.meter import MemoryMeter
from cohortmix.core.noise import OpenDPNoise
from cohortmix.core.schema import Schema
from cohortmix.core.table import InputError, Source
from cohortmix.core.vault import Vault
from cohortmix.protocol.textfile import read_text

if TYPE_CHECKING:
    from cohortmix.core.synthesis import Release

DataFile = Annotated[Path, typer.Option("--data", help="A CSV or Parquet file, or a folder of Parquet files.")]
SchemaFile = Annotated[Path, typer.Option("--schema", help="The data dictionary of the table, in YAML.")]

MAX_EPSILON = 1e6  # beyond both, sums or noise would leave the 62 bits in which the vault is exact
MIN_MU = 1e-6

schema_commands = typer.Typer(help="The data dictionary of a table.")


@schema_commands.command("draft")
def schema_draft(data: DataFile) -> None:
    """Print a first schema of a table, with gaps for a person to fill from the data dictionary."""
    typer.echo(draft(open_all(data), name=data.name.partition(".")[0]), nl=False)


def evaluate(
    synthetic: Annotated[Path, typer.Option(help="Synthetic records, CSV or Parquet.")],
    real: Annotated[Path, typer.Option(help="Real records, CSV or Parquet.")],
    schema: SchemaFile,
    target: Annotated[
        list[str] | None,
        typer.Option(help="What to predict: a category column, or a rule such as 'AGE>=70'. May be repeated."),
    ] = None,
    more_targets: Annotated[list[str] | None, typer.Argument(metavar="[COL]...", hidden=True)] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Train on synthetic records, test on real ones. The figures are not private."""
    from cohortmix.core.evaluate import evaluate as figures  # brings in LightGBM

    if more_targets and not target:
        raise InputError(f"unexpected argument {more_targets[0]!r}; name targets with --target")
    dictionary = read_schema(schema)
    made, held = open_table(synthetic, without_key(dictionary)), open_table(real, dictionary)
    with step("evaluating on real records"):
        report = figures(made, held, dictionary, (*(target or ()), *(more_targets or ())))
    if json_file is not None:
        write_text(json_file, json.dumps(report, indent=2) + "\n")
    _print_figures(report)


def synthesize(
    data: DataFile,
    schema: SchemaFile,
    epsilon: Annotated[float, typer.Option(help="Privacy budget of each patient, above zero.")],
    out: Annotated[Path, typer.Option(help="Folder for the release; it appears as a whole or not at all.")],
    delta: Annotated[
        float | None, typer.Option(help="By default min(1e-5, 1/(10 N)) for N patients; not above 1/(10 N).")
    ] = None,
    loose_delta: Annotated[
        bool, typer.Option("--loose-delta", help="Permit a larger delta, to compare with published figures.")
    ] = False,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Synthetic records to draw; N by default, and more cost no privacy.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeatable test noise instead of the real one: NOT PRIVATE.")
    ] = None,
) -> None:
    """Make a private synthetic version of one table, without any server."""
    dictionary, budget = read_schema(schema), budget_of(epsilon, delta, loose_delta)
    require_free(out)
    source = open_checked(data, dictionary)
    patients = Vault(source, dictionary, OpenDPNoise().add, MemoryMeter(Fraction(0))).patients
    if patients < MIN_PATIENTS:
        raise InputError(
            f"the table has {patients} patients, a site needs at least {MIN_PATIENTS}; "
            f"{MIN_PATIENTS - patients} more would do"
        )
    require_affordable(budget, patients)
    with step("synthesizing"):
        release = _release(source, dictionary, budget, seed)
        records = release.records(rows)
    summary = _summary(release, len(records))
    write_release(out, release, records, summary)
    _print_release(summary, out)


def budget_of(epsilon: float, delta: float | None, loose_delta: bool) -> Budget:
    """The budget of a command; InputError if it is impossible."""
    try:
        return Budget.from_epsilon(epsilon, delta, loose_delta=loose_delta)
    except ValueError as error:
        raise InputError(str(error)) from None


def require_affordable(budget: Budget, patients: int) -> None:
    """Raise InputError for a delta too large for so many patients, or a budget too far from 1 to be exact."""
    if budget.epsilon is not None and budget.epsilon > MAX_EPSILON:
        raise InputError(f"epsilon={budget.epsilon:g} protects nobody: expected at most {MAX_EPSILON:g}")
    try:
        mu = budget.resolve(patients).mu
    except ValueError as error:
        raise InputError(str(error)) from None
    if mu < MIN_MU:
        raise InputError(f"this budget is mu={mu:.3g}, expected mu >= {MIN_MU:g}; raise epsilon or delta")


def read_schema(path: Path) -> Schema:
    """The schema in a file.

    Raises
    ------
    InputError
        If the file cannot be read.
    SchemaError
        If it is no schema.
    """
    return Schema.from_yaml(read_text(path, "the schema"))


def open_checked(data: Path, schema: Schema) -> Source:
    """A table whose records fit the schema, each line of which a person has confirmed; errors as `check`."""
    schema.require_confirmed()
    source = open_table(data, schema)
    with step("checking the table"):
        check(source, schema)
    return source


def without_key(schema: Schema) -> Schema:
    """The schema of synthetic records, which belong to no patient."""
    return schema.model_copy(update={"patient_key": None})


def write_text(path: Path, text: str) -> None:
    """Write a file; InputError if that is not possible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from None


def print_rows(console: Console, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A compact table; a figure that is not defined is a dash."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    console.print(table)


def figure(value: float | None, places: int = 3) -> str | None:
    """A figure of a report as text."""
    return None if value is None else f"{value:.{places}f}"


def _release(source: Source, schema: Schema, budget: Budget, seed: int | None) -> Release:
    from cohortmix.core.synthesis import synthesize as release_of  # brings in JAX

    if seed is None:
        return release_of(source, schema, budget)
    from cohortmix.core.noise_keyed import KeyedNoise  # only a command that asks for test noise imports it

    return release_of(source, schema, budget, noise=KeyedNoise(seed))


def _summary(release: Release, rows: int) -> dict[str, Any]:
    receipt, schema = release.receipt, release.schema
    warning = {"warning": receipt["warning"]} if "warning" in receipt else {}
    return warning | {
        "schema": {"name": schema.name, "hash": schema.hash, "target": schema.target},
        "n": receipt["patients"],
        "mu": receipt["mu"],
        "epsilon": receipt["epsilon"],
        "delta": receipt["delta"],
        "loose_delta": receipt["loose_delta"],
        "noise": receipt["noise"],
        "centroids": len(release.site.masses),
        "support": len(release.site.support_points),
        "degraded_to_class_centroids": receipt["degraded_to_class_centroids"],
        "rows": rows,
        "seconds": None,  # it grows with the number of rows, which is not public
        "version": version("cohortmix"),
    }


def _print_release(summary: dict[str, Any], out: Path) -> None:
    console = Console(soft_wrap=True, highlight=False)
    if "warning" in summary:
        console.print(summary["warning"], style="bold red")
    figures = (summary["n"], f"{summary['mu']:.4g}", f"{summary['epsilon']:.4g}", f"{summary['delta']:.3g}")
    header = ("N", "mu", "epsilon", "delta", "noise", "centroids", "records")
    print_rows(console, header, [(*figures, summary["noise"], summary["centroids"], summary["rows"])])
    if summary["loose_delta"]:
        console.print("delta is above 1/(10 N): for comparisons with published figures only")
    if summary["degraded_to_class_centroids"]:
        console.print("too few patients for this budget: one centroid per class, without pairs of columns")
    console.print(f"written to {out}")


def _print_figures(report: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        "Figures on real records are NOT PRIVATE: they stay with whoever holds the records.", style="bold"
    )
    targets = [(one["target"], figure(one["auc"]), figure(one["ceiling_auc"])) for one in report["targets"]]
    print_rows(console, ("target", "AUC synthetic", "AUC real"), targets)
    tvd, count = report["tvd"], report["records"]
    console.print(
        f"total variation distance: columns {tvd['columns']:.3f}, pairs of columns {tvd['pairs']:.3f}; "
        f"records: synthetic {count['synthetic']:,}, real {count['real']:,}"
    )
