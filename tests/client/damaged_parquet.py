"""Damage to one row group of a Parquet file: its footer still says that it can be read."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq


def damage_a_row_group(path: Path, group: int) -> None:
    """Overwrite the beginning of each of its columns, where the header of their first page is."""
    data, chunks = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(group)
    for at in range(chunks.num_columns):
        chunk = chunks.column(at)
        first = chunk.dictionary_page_offset or chunk.data_page_offset
        data[first : first + 16] = b"\xff" * 16
    path.write_bytes(data)
