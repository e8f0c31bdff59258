"""The folder of a release: written as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.client.table.data import SYNTHETIC
from cohortmix.protocol.local import folder

if TYPE_CHECKING:
    from cohortmix.core.single_release import Release

FILES = frozenset({"records.parquet", "centroids.parquet", "receipt.json", "summary.json"})


def require_free(out: Path) -> None:
    """Raise InputError unless `out` is new or empty: a release that cannot be made again is never replaced."""
    folder.require_free(out, ())


def drawn(release: Release, rows: int | None) -> pa.Table | None:
    """Synthetic records, `rows` of them or one for each patient; None if there is not enough memory for any.

    A release is paid for, so that too many rows must not end it: where there is no memory for them, there are as
    many as patients.
    """
    for number in dict.fromkeys((rows, None)):
        try:
            return pa.Table.from_pandas(release.records(number), preserve_index=False)
        except MemoryError:
            continue
    return None


def write_release(out: Path, release: Release, records: pa.Table | None, summary: Mapping[str, Any]) -> None:
    """Write the files of a release into the folder `out`, which must be new or empty.

    `records.parquet` has the schema's columns, `centroids.parquet` the condensed set, `receipt.json` what was
    asked of the records and what it cost, `summary.json` the figures of the whole. A release made with test
    noise says so in each of them; in a Parquet file it stands in the metadata `cohortmix`. Without
    `records` there is no `records.parquet`.

    Raises
    ------
    InputError
        If `out` holds anything, or cannot be written; nothing is changed then.
    """
    receipt = release.receipt
    with folder.whole_folder(out, ()) as new:
        centroids = pa.Table.from_pandas(release.centroids, preserve_index=False)
        _write_parquet(new / "centroids.parquet", centroids, receipt)
        if records is not None:
            _write_parquet(new / "records.parquet", records, receipt)
        (new / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
        (new / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _write_parquet(path: Path, table: pa.Table, receipt: Mapping[str, Any]) -> None:
    metadata = {**(table.schema.metadata or {}), SYNTHETIC: json.dumps(receipt).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
