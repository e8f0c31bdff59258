"""A CSV file as a source of record batches, every cell as text.

A reader that infers the type of a column would let one record change how all others are read. All columns of the
file are looked at, since a quotation mark that is left open in any of them swallows the records that follow.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from cohortmix.client.table.file import readable
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

HEADER_BYTES = 1 << 20  # more than any header has; of a file without a line end no more is read
BLOCK_BYTES = 1 << 22  # that pyarrow reads at a time; no record may be longer
LINE_ENDS = ("\r", "\n")


class CsvSource:
    """The columns of a CSV file, every cell as text."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._path = path
        self._header, self._delimiter = csv_header(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of the file, a block of it at a time."""
        with (
            readable(self._path),
            pacsv.open_csv(
                str(self._path),
                read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    # As bytes, since a column that is not handed on may be in any encoding.
                    column_types={
                        name: pa.string() if name in self.names else pa.binary() for name in self._header
                    },
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            if reader.schema.names != self._header:  # a column under another name would be read by a guessed type
                raise InputError(
                    f"{in_quotes(self._path)}: the column names are not on one line; write them on one"
                )
            for batch in reader:
                if any(
                    pc.any(pc.match_substring(cells, end)).as_py() for cells in batch.columns for end in LINE_ENDS
                ):
                    raise InputError(
                        f"{in_quotes(self._path)}: a cell spans several lines; is a quotation mark open? "
                        "If the text is meant so, remove its column or the line breaks in it"
                    )
                yield batch.select(list(self.names))


def csv_header(path: Path) -> tuple[list[str], str]:
    """Column names, and the delimiter: the one of `,` `;` and tab that gives the most names."""
    with readable(path), pa.input_stream(str(path), compression="detect") as stream:
        line = re.split(
            "|".join(LINE_ENDS), stream.read(HEADER_BYTES).decode("utf-8-sig", errors="ignore"), maxsplit=1
        )[0]
        if not line.strip():
            raise InputError(f"{in_quotes(path)} is empty: expected a line of column names and a line per record")
        splits = {delimiter: next(csv.reader([line], delimiter=delimiter)) for delimiter in ",;\t"}
    delimiter = max(splits, key=lambda character: len(splits[character]))
    return splits[delimiter], delimiter
