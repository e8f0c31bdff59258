"""The command `condense`: weighted rows for one model from the records of a release, or of a published study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from cohortmix.client.local.cli import SchemaFile
from cohortmix.client.local.release_files import read_release
from cohortmix.client.table.data import SYNTHETIC
from cohortmix.client.table.file import readable
from cohortmix.core.condensing import SIZE, Model, require_arguments, require_suited
from cohortmix.core.condensing import condense as condensed_of
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.local import folder
from cohortmix.protocol.local.progress import Quiet, step, steps
from cohortmix.protocol.local.tables import figure, print_rows
from cohortmix.protocol.local.terminal import Terminal
from cohortmix.protocol.local.textfile import read_schema

if TYPE_CHECKING:
    from cohortmix.core.release.condense.condensation import Condensed

SOME_ROWS = 100_000  # of a study that has drawn millions: a model of more takes hours and is hardly better


def condense(
    release: Annotated[Path, typer.Argument(metavar="RELEASE", help="What synthesize or a study has written.")],
    schema: SchemaFile,
    model: Annotated[
        str, typer.Option(help="tree, forest, boosted or logistic; of a time and event cox or survival-forest.")
    ],
    size: Annotated[int, typer.Option(help="How many rows.")] = SIZE,
    out: Annotated[Path, typer.Option(help="Folder for the rows; it appears as a whole or not at all.")] = Path(
        "condensed"
    ),
    evaluations: Annotated[
        int | None, typer.Option(help="How often the model is fitted; by default for half a minute or so.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search: the same seed gives the same rows.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Find a few weighted rows on which one model comes near to what all records of a release give it."""
    dictionary = read_schema(schema)
    dictionary.require_confirmed()
    require_arguments(model, size, evaluations, seed)
    require_suited(model, dictionary)
    folder.require_free(out, ())
    with step("verifying the release"):
        records, source = _verified(release, dictionary)
    from cohortmix.core.steps.progress import observed  # not loaded for other commands

    with steps() as progress, observed(progress):
        found = condensed_of(records, dictionary, cast(Model, model), size, evaluations=evaluations, seed=seed)
    facts = _facts(found, dictionary, source)
    _write(out, found, facts)
    _print(facts, out)


def _verified(release: Path, schema: Schema) -> tuple[pa.Table, dict[str, Any]]:
    """The records of a release that holds, and what its receipt or its study says.

    Raises
    ------
    InputError, ReceiptError, ManifestError
        If the folder is neither, is damaged, or is of another schema.
    """
    if not release.is_dir():
        raise InputError(f"{in_quotes(release)} is no folder: expected what synthesize or a study has written")
    records, source = _study(release) if (release / "study.json").exists() else read_release(release)
    if source["schema_hash"] != schema.hash:
        raise InputError(f"{in_quotes(release)} is of another schema than the one that is given")
    return records.slice(0, SOME_ROWS), source


def _study(release: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Of a published study: as `cohortmix verify` has it, under its coordinator's manifest."""
    from cohortmix.deploy.verify import verify
    from cohortmix.server.publish.costs import warning

    (study,) = verify([release])
    if study.files is None:
        raise InputError(f"{in_quotes(release)} has no manifest: nobody vouches for its synthetic records")
    with readable(release / "pooled.parquet"):
        records = pq.read_table(release / "pooled.parquet")
    spec, whole = study.spec, study.consortium
    facts = {"schema_hash": spec.schema_hash, "study": spec.hash, "mu": whole.mu, "delta": float(spec.delta)}
    return records, facts | {"noise": spec.noise} | warning(spec)


def _facts(found: Condensed, schema: Schema, source: Mapping[str, Any]) -> dict[str, Any]:
    """The content of condensed.json."""
    warning = {"warning": source["warning"]} if "warning" in source else {}
    kept = ("study", "patients", "mu", "epsilon", "delta", "noise")
    return warning | {
        "schema": {"name": schema.name, "hash": schema.hash, "target": schema.target_name},
        "release": {key: source[key] for key in kept if key in source},
        **found.facts,
        "version": version("cohortmix"),
    }


def _write(out: Path, found: Condensed, facts: Mapping[str, Any]) -> None:
    """Both files, or none."""
    table = pa.Table.from_pandas(found.rows, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), SYNTHETIC: json.dumps(facts).encode()}
    with folder.whole_folder(out, ()) as new:
        pq.write_table(table.replace_schema_metadata(metadata), new / "condensed.parquet")
        (new / "condensed.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _print(facts: Mapping[str, Any], out: Path) -> None:
    console = Terminal()
    if "warning" in facts:
        console.print(facts["warning"], style="bold red")
    rows = [
        (name, figure(facts["loss"][key]), figure(facts["reached"][key]))
        for name, key in (
            ("at the start", "start"),
            (f"{facts['size']} condensed rows", "condensed"),
            (f"all {facts['records']:,} records", "all records"),
        )
    ]
    print_rows(console, (f"{facts['model']} of", "loss", facts["figure"]), rows)
    console.print(
        f"{facts['evaluations']:,} evaluations; {facts['figure']} on {facts['held_out']:,} released records that "
        "no model saw"
    )
    console.print(f"written to {out}")
