"""The folder of a release: written as a whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.core.table import InputError

if TYPE_CHECKING:
    from cohortmix.core.synthesis import Release

FILES = frozenset({"records.parquet", "centroids.parquet", "receipt.json", "summary.json"})


def require_free(out: Path) -> None:
    """Raise InputError unless `out` is new, empty, or holds an earlier release and nothing else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; give a folder")
    others = sorted({path.name for path in out.iterdir()} - FILES) if out.exists() else []
    if others:
        raise InputError(f"{str(out)!r} holds other files, such as {others[0]!r}; give a new or empty folder")


def write_release(out: Path, release: Release, records: pd.DataFrame, summary: Mapping[str, Any]) -> None:
    """Write the files of a release into the folder `out`, which is replaced if it holds an earlier one.

    `records.parquet` has the schema's columns, `centroids.parquet` the condensed set, `receipt.json` what was
    asked of the records and what it cost, `summary.json` the figures of the whole. A release made with test
    noise says so in each of them; in a Parquet file it stands in the metadata `cohortmix`.

    Raises
    ------
    InputError
        If `out` holds anything else, or cannot be written; nothing is changed then.
    """
    receipt = release.receipt
    with _whole_folder(out.absolute()) as folder:
        _write_parquet(folder / "records.parquet", records, receipt)
        _write_parquet(folder / "centroids.parquet", release.centroids, receipt)
        (folder / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _write_parquet(path: Path, frame: pd.DataFrame, receipt: Mapping[str, Any]) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"cohortmix": json.dumps(receipt).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of `out` once everything is in it."""
    require_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            yield folder
            if out.exists():
                out.rename(Path(scratch) / "old")
            folder.rename(out)
    except OSError as error:
        raise InputError(f"cannot write {str(out)!r}: {error.strerror}") from None
