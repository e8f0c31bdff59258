"""A large table from a seed, and what its two answers cost beside one plain numpy pass over the same file.

    python tests/benchmarks/large_table.py write PATH [--rows 1000000] [--columns 40]
    python tests/benchmarks/large_table.py measure PATH [--columns 40] [--keyed] [--snapshot] [--answer A B S]

`write` makes numbers and as many categories: a Parquet file, a folder of them, a CSV file, or, where PATH ends in
`.db`, the table `records` of an SQLite database. `measure` says for each answer the CPU seconds and the peak
memory of a process of its own: A class marginals, B pair tables, S score moments, and `plain`, which reads a
Parquet file and forms the moment matrix of B in numpy. With `--snapshot` answers are read as a site reads them,
from the snapshot of a table; what it costs to make that is said first, without the check.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sqlite3
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import open_snapshot, pin_snapshot
from cohortmix.client.table.sql import SqlSource
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import Question
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.scores import functions

COLUMNS, VALUES = 40, 6  # half of the columns are numbers, half categories of so many values
GROUP_ROWS = 250_000  # of a row group, and of a file of a folder
SPREADS = 20  # numbers differ in how closely they follow the common factor
MISSING = 0.02  # share of a column's cells, of every second column
ROWS_PER_PATIENT = 2


def schema(keyed: bool, columns: int = COLUMNS) -> Schema:
    """Of a table with so many columns, an even number; its first category is the target."""
    half, values = range(columns // 2), "[" + ", ".join(f"v{value}" for value in range(VALUES)) + "]"
    numbers = [f"  n{at}: {{type: number, min: 0, max: 100, missing: {_misses(at)}}}" for at in half]
    categories = [f"  c{at}: {{type: category, values: {values}, missing: {_misses(at)}}}" for at in half]
    key = "patient_key: patient\nmax_rows_per_patient: 4\n" if keyed else ""
    return Schema.from_yaml("\n".join([f"name: large\n{key}target: c0\ncolumns:", *numbers, *categories]))


def _misses(at: int) -> str:
    return "true" if at % 2 else "false"


def batches(rows: int, columns: int = COLUMNS, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """The table's records: each column follows a common factor; a patient's rows are anywhere in the table."""
    half = range(columns // 2)
    for first in range(0, rows, GROUP_ROWS):
        rng, count = np.random.default_rng([seed, first]), min(GROUP_ROWS, rows - first)
        factor = rng.normal(size=count)
        drawn = {"patient": pa.array(rng.integers(0, max(rows // ROWS_PER_PATIENT, 1), count) * 7919)}
        for at in half:
            value = np.clip(50 + 9 * factor + (4 + at % SPREADS) * rng.normal(size=count), -5, 105).round(2)
            drawn[f"n{at}"] = pa.array(value, mask=(rng.random(count) < MISSING) if at % 2 else None)
        for at in half:
            value = np.clip(2.5 + 0.6 * factor + rng.normal(size=count), 0, VALUES - 1).astype(np.int8)
            mask = (rng.random(count) < MISSING) if at % 2 else None
            texts = pa.array([f"v{value}" for value in range(VALUES)])
            drawn[f"c{at}"] = pa.DictionaryArray.from_arrays(pa.array(value, mask=mask), texts).cast(pa.string())
        yield pa.RecordBatch.from_pydict(drawn)


def write(path: Path, rows: int, columns: int = COLUMNS) -> None:
    """The table as what the name says it is."""
    records = batches(rows, columns)
    if path.suffix == ".db":
        _write_sqlite(path, records)
    elif path.suffix:
        first = next(records)
        with (pq.ParquetWriter if path.suffix == ".parquet" else pacsv.CSVWriter)(path, first.schema) as writer:
            for batch in chain([first], records):
                writer.write_batch(batch)
    else:
        path.mkdir()
        for at, batch in enumerate(records):
            pq.write_table(pa.Table.from_batches([batch]), path / f"{at:04d}.parquet")


def _write_sqlite(path: Path, records: Iterator[pa.RecordBatch]) -> None:
    with sqlite3.connect(path) as connection:
        for batch in records:
            names = batch.schema.names
            connection.execute(f"CREATE TABLE IF NOT EXISTS records ({', '.join(names)})")
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            connection.executemany(f"INSERT INTO records VALUES ({', '.join('?' * len(names))})", rows)


def open_source(path: Path, declared: Schema) -> Source:
    if path.suffix == ".db":
        return SqlSource(f"sqlite:///{path}", "records", declared)
    return open_table(path, declared)


def question(answer: str, declared: Schema) -> Question:
    """Of an answer's letter; a group of pair tables is a coarse bin, or a category's value."""
    encoding = Encoding.of(declared)
    if answer == "A":
        return sum_query(encoding)
    if answer == "B":
        return PairTables(tuple(cells.coarse or tuple(range(cells.size)) for cells in encoding.features))
    flat = np.concatenate([np.full(size, 1 / size) for size in encoding.sizes])
    return functions.question(functions.choose(encoding, flat, curved=True))


def plain(path: Path, declared: Schema) -> None:
    """What a person would write: one-hot blocks of a file's batches, and the product of each class."""
    encoding = Encoding.of(declared)
    ends = [np.linspace(0, 100, 8 + 1)[1:-1] if cells.edges else None for cells in encoding.features]
    width = 9
    total = np.zeros((VALUES, width * len(ends), width * len(ends)))
    names = [*declared.features, declared.target_name]
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        categories = [name for name in names if name.startswith("c")]
        for batch in pq.ParquetFile(file, read_dictionary=categories).iter_batches(65_536, columns=names):
            label = np.asarray(batch.column(declared.target_name).indices)
            one_hot = np.zeros((len(label), len(ends), width))
            for at, (name, edges) in enumerate(zip(declared.features, ends, strict=True)):
                column = batch.column(name)
                if edges is None:
                    code = np.asarray(column.indices.fill_null(VALUES))
                else:
                    code = np.searchsorted(edges, np.asarray(column.fill_null(np.nan)), side="right")
                one_hot[np.arange(len(label)), at, code] = 1
            psi = one_hot.reshape(len(label), -1)
            for value in range(VALUES):
                of_class = psi[label == value]
                total[value] += of_class.T @ of_class


def pin(path: Path, keyed: bool, columns: int, folder: Path) -> None:
    declared, before = schema(keyed, columns), process_time()
    pin_snapshot(folder, open_source(path, declared), declared, lambda copy: None)
    sizes = {file.suffix: file.stat().st_size / 2**20 for file in folder.iterdir()}
    print(
        f"snapshot {process_time() - before:6.1f} CPU s; "
        + ", ".join(f"{n} {s:.0f} MiB" for n, s in sizes.items())
    )


def run(path: Path, keyed: bool, columns: int, answer: str, snapshot: Path | None) -> None:
    declared = schema(keyed, columns)
    before = process_time()
    if answer == "plain":
        plain(path, declared)
    else:
        source = open_source(path, declared) if snapshot is None else open_snapshot(snapshot, declared)
        vault = Vault(source, declared, KeyedNoise(1).add, MemoryMeter(Fraction(100)))
        opened = process_time()
        values = vault.answer(question(answer, declared), Fraction(1)).values
        print(f"  open {opened - before:7.1f} CPU s; sum of the answer {values.sum()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{answer:>6} {process_time() - before:8.1f} CPU s  {peak:8.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "measure"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=COLUMNS, help="an even number")
    parser.add_argument(
        "--keyed", action="store_true", help="with a patient key: two rows of a patient on average"
    )
    parser.add_argument("--snapshot", action="store_true", help="read as a site does, from a snapshot")
    parser.add_argument("--answer", nargs="+", choices=("A", "B", "S", "plain"), default=("plain", "A", "B", "S"))
    given = parser.parse_args()
    if given.what == "write":
        write(given.path, given.rows, given.columns)
        return
    with TemporaryDirectory(dir=given.path.parent) as name:
        folder = Path(name) if given.snapshot else None
        if folder is not None:
            apart(pin, given.path, given.keyed, given.columns, folder)
        for answer in given.answer:
            apart(run, given.path, given.keyed, given.columns, answer, folder)


def apart(function: Callable[..., None], *arguments: object) -> None:
    """In a process of its own, so that its peak of memory is its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()


if __name__ == "__main__":
    main()
