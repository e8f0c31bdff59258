"""Commands of one hospital, or of a researcher with one table: no server, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cohortmix.client.check import check
from cohortmix.client.data import open_all, open_table
from cohortmix.client.draft import draft
from cohortmix.client.progress import step
from cohortmix.core.schema import Schema
from cohortmix.core.table import InputError
from cohortmix.core.vault import Source

DataFile = Annotated[Path, typer.Option("--data", help="A CSV or Parquet file, or a folder of Parquet files.")]
SchemaFile = Annotated[Path, typer.Option("--schema", help="The data dictionary of the table, in YAML.")]

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


def read_schema(path: Path) -> Schema:
    """The schema in a file.

    Raises
    ------
    InputError
        If the file cannot be read.
    SchemaError
        If it is no schema.
    """
    try:
        return Schema.from_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the schema {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read the schema {str(path)!r}: it is not UTF-8 text") from None


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
