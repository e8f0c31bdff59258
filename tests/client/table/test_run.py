"""Runs of row groups: together they are the file, and no other bytes are read than those that were hashed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_parquet import damage_a_row_group

from cohortmix.client.table import run as run_module
from cohortmix.client.table.data import open_table
from cohortmix.client.table.parquet_file import Columns, common_types
from cohortmix.client.table.run import RunSource, files_at, opened, runs_of, seal
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import BATCH_ROWS, InputError, Source

SCHEMA = Schema.from_yaml(
    """
name: t
target: y
columns:
  x: {type: number, min: 0, max: 10}
  y: {type: category, values: [a, b]}
"""
)
CHANGED = r"t\.parquet' has changed since the table was checked; run `cohortmix site check`"


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def write(path: Path, groups: int = 5, seed: int = 0, size: int = 1000) -> Path:
    rng = np.random.default_rng(seed)
    table = pa.table({"x": rng.uniform(0, 10, groups * size), "y": rng.choice(["a", "b"], groups * size)})
    pq.write_table(table, path, row_group_size=size)
    return path


def sealed(location: Path | str, name: str = "") -> list[RunSource]:
    with opened(str(location), name) as file:
        runs = list(runs_of(file, name))
        columns = Columns(common_types(("x", "y"), [("t", pq.read_schema(file))]), SCHEMA)
    return [RunSource(str(location), seal(RunSource(str(location), run, columns)), columns) for run in runs]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of five row groups, each of which is a run."""
    monkeypatch.setattr(run_module, "RUN_BYTES", 1)
    return write(tmp_path / "t.parquet")


@pytest.mark.parametrize(("most", "runs"), [(1, 5), (12_000, 3), (1 << 26, 1)])
def test_runs_are_the_file(path: Path, most: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "RUN_BYTES", most)
    pieces = sealed(path)
    assert len(pieces) == runs
    assert pieces[0].run.first == 0
    assert [piece.run.first for piece in pieces[1:]] == [piece.run.last for piece in pieces[:-1]]
    expected = rows(open_table(path, SCHEMA))
    assert [row for piece in pieces for row in rows(pickle.loads(pickle.dumps(piece)))] == expected
    assert rows(sealed(path.as_uri())[0]) == expected[: len(rows(pieces[0]))]
    assert rows(sealed(path.parent.as_uri(), path.name)[0]) == rows(pieces[0])


def test_a_large_row_group_is_read_in_batches(path: Path) -> None:
    (piece,) = sealed(write(path, 1, size=BATCH_ROWS + 10))
    assert [batch.num_rows for batch in piece.batches()] == [BATCH_ROWS, 10]


def test_row_groups_that_overlap_are_one_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_span", lambda group: (4, 400))
    (piece,) = sealed(path)
    assert rows(piece) == rows(open_table(path, SCHEMA))


def test_a_byte_that_changed_is_never_read(path: Path) -> None:
    pieces, content = sealed(path), path.read_bytes()
    for at, piece in enumerate(pieces):
        flipped = bytearray(content)
        flipped[piece.run.start + 100] ^= 1
        path.write_bytes(flipped)
        for other in pieces[:at] + pieces[at + 1 :]:
            assert len(rows(other)) == 1000
        with pytest.raises(InputError, match=CHANGED):
            rows(piece)
    flipped = bytearray(content)
    flipped[-20] ^= 1  # of the footer, which says where everything is
    for damage in (bytes(flipped), content[:-1], content + b"x", b""):
        path.write_bytes(damage)
        for piece in pieces:
            with pytest.raises(InputError, match=CHANGED):
                rows(piece)
    path.write_bytes(content)
    assert len(rows(pieces[0])) == 1000


def test_a_good_file_in_the_place_of_the_checked_one_is_not_read(path: Path) -> None:
    piece, *_ = sealed(path)
    write(path, seed=1)
    with pytest.raises(InputError, match=CHANGED):
        rows(piece)
    path.unlink()
    with pytest.raises(InputError, match=r"t\.parquet' cannot be read; see that it is there, whole, and open"):
        rows(piece)


def test_what_was_hashed_is_what_is_decoded(path: Path) -> None:
    """A file that is exchanged after it was read: the rows are still the checked ones."""
    (piece,) = sealed(write(path, 1, size=BATCH_ROWS * 2))
    expected, reading = rows(piece), piece.batches()
    first = next(reading)
    write(path, 1, seed=1, size=BATCH_ROWS * 2)
    assert first.to_pylist() + [row for batch in reading for row in batch.to_pylist()] == expected


def test_a_row_group_that_cannot_be_read(path: Path) -> None:
    """It was so when it was pinned: the others can be read, and of this one a sentence is said."""
    damage_a_row_group(path, 2)
    pieces = sealed(path)
    for at, piece in enumerate(pieces):
        if at != 2:
            assert len(rows(piece)) == 1000
    with pytest.raises(InputError, match=r"t\.parquet' cannot be read as Parquet: the file is damaged"):
        rows(pieces[2])


def test_a_file_without_columns_is_one_run(path: Path) -> None:
    """Which columns are missing is then said as it is of every file."""
    pq.write_table(pa.table({"x": [1]}).select([]), path)
    with opened(str(path), "") as file:
        assert [(each.first, each.last) for each in runs_of(file, "")] == [(0, 1)]
    with pytest.raises(InputError, match="the table has none of the columns 'x' and 'y'"):
        sealed(path)


def test_a_name_that_is_not_utf_8(path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff"))
    folder.mkdir()
    write(path.parent / "whole.parquet").rename(path.parent / "\udcff.parquet")
    for location in (folder, path.parent):
        with pytest.raises(InputError, match="is not UTF-8; rename it"):
            files_at(str(location))


def test_the_files_of_a_location(path: Path) -> None:
    folder = path.parent
    for name in ("b 2.parquet", "a%20.pq", "notes.txt"):
        write(folder / name)
    for location in (str(folder), folder.as_uri(), f"{folder}/"):
        assert files_at(location) == ["a%20.pq", "b 2.parquet", "t.parquet"]
        assert len(rows(sealed(location, "b 2.parquet")[0])) == len(rows(sealed(location, "a%20.pq")[0])) == 1000
    assert files_at(str(path)) == [""]
    (folder / "empty").mkdir()
    for location, said in (
        (str(folder / "empty"), "empty' holds no .parquet file, or is not there"),
        (str(folder / "nowhere"), "nowhere' holds no .parquet file, or is not there"),
        ("relative", "'relative' cannot be reached; expected a path, or a URI such as s3://BUCKET/FOLDER"),
        ("ftp://host/folder", "'ftp://host/folder' cannot be reached"),
    ):
        with pytest.raises(InputError, match=said):
            files_at(location)
    for damage in (b"", b"PAR1", bytes(100)):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="cannot be read"):
            sealed(folder, path.name)
