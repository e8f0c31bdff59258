"""The snapshot: what was checked is what is served, whatever happens to the source or in between."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_parquet import damage_a_row_group

from cohortmix.client.site.lock import exclusive, reading, replacing
from cohortmix.client.table import snapshot
from cohortmix.client.table.cells import TableInCells
from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import open_snapshot, pin_snapshot
from cohortmix.core.data import encoding
from cohortmix.core.data.dictionary.grid import edges_of
from cohortmix.core.data.patients import count_patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source, TableSource

TEXT = """
name: t
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  y: {type: category, values: [a, NA]}
"""
SCHEMA = Schema.from_yaml(TEXT)
TABLE = pd.DataFrame({"secret": "s", "id": [1, 2, 2], "x": ["5", "null", "many"], "y": ["a", "NA", "b"]})


def accept(_: Source) -> None:
    """A check that every table passes."""


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def source(folder: Path, table: pd.DataFrame = TABLE) -> Source:
    table.to_csv(folder / "t.csv", index=False)
    return open_table(folder / "t.csv", SCHEMA)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    return folder


def test_it_holds_the_cleaned_table(folder: Path, tmp_path: Path) -> None:
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    (tmp_path / "t.csv").unlink()
    assert rows(open_snapshot(folder, SCHEMA)) == [
        {"x": "5", "y": "a", "id": "1"},
        {"x": None, "y": "NA", "id": "2"},
        {"x": "many", "y": "b", "id": "2"},
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())
    assert b"secret" not in next(folder.glob("*.parquet")).read_bytes()


def test_the_copy_is_what_is_checked(folder: Path, tmp_path: Path) -> None:
    seen = []

    def check(copy: Source) -> None:
        (tmp_path / "t.csv").write_text("x,y,id\n0,a,1\n")  # the source changes meanwhile
        seen.append(rows(copy))

    pin_snapshot(folder, source(tmp_path), SCHEMA, check)
    assert seen == [rows(open_snapshot(folder, SCHEMA))]


def test_a_new_one_replaces_the_old_one(folder: Path, tmp_path: Path) -> None:
    for table in (TABLE, TABLE[:1]):
        pin_snapshot(folder, source(tmp_path, table), SCHEMA, accept)
        assert len(rows(open_snapshot(folder, SCHEMA))) == len(table)
        assert len(list(folder.iterdir())) == 3


def stop(*_: object) -> None:
    raise InputError("no")


@pytest.mark.parametrize("at", ["check", "_copy", "write_cells", "sync_folder", "replace_file"])
def test_a_fault_leaves_what_was_served(
    at: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    before = rows(open_snapshot(folder, SCHEMA))
    if at != "check":
        monkeypatch.setattr(snapshot, at, stop)
    for _ in range(3):  # also over a file that an earlier try has left
        with pytest.raises(InputError, match="no"):
            pin_snapshot(folder, source(tmp_path, TABLE[:1]), SCHEMA, stop if at == "check" else accept)
        assert rows(open_snapshot(folder, SCHEMA)) == before
    assert not list(folder.glob("new.*"))
    if at in ("check", "_copy", "write_cells"):
        assert sorted(path.name for path in folder.iterdir()) == ["a.cells", "a.parquet", "pin.json"]


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 5000, 40_000])
def test_a_disk_that_is_full_leaves_what_was_served(size: int, folder: Path, tmp_path: Path) -> None:
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    before = rows(open_snapshot(folder, SCHEMA))
    many = source(tmp_path, pd.DataFrame({"id": range(5000), "x": "5", "y": "a"}))
    with little_room(size), pytest.raises(InputError, match=r"^cannot write the snapshot in '.*': \w[\w ]+$"):
        pin_snapshot(folder, many, SCHEMA, accept)
    assert rows(open_snapshot(folder, SCHEMA)) == before
    assert len(list(folder.iterdir())) == 3


def test_a_source_that_breaks_off_leaves_what_was_served(folder: Path, tmp_path: Path) -> None:
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    before, path = rows(open_snapshot(folder, SCHEMA)), tmp_path / "t.parquet"
    table = pa.table({"id": range(3000), "x": [5.0] * 3000, "y": ["a"] * 3000})
    pq.write_table(table, path, row_group_size=1000)
    damage_a_row_group(path, 1)
    with pytest.raises(InputError, match=r"t\.parquet' cannot be read as Parquet: the file is damaged"):
        pin_snapshot(folder, open_table(path, SCHEMA), SCHEMA, accept)
    assert rows(open_snapshot(folder, SCHEMA)) == before
    assert len(list(folder.iterdir())) == 3


def test_damage_and_change_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checked table to serve; run `cohortmix site check`"):
        open_snapshot(folder, SCHEMA)
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    other = Schema.from_yaml(TEXT.replace("max: 10", "max: 11"))
    with pytest.raises(InputError, match="the schema has changed"):
        open_snapshot(folder, other)
    for file in (*folder.glob("*.parquet"), *folder.glob("*.cells")):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        for damage in (bytes(flipped), content[:-1], b""):
            file.write_bytes(damage)
            with pytest.raises(InputError, match="is damaged"):
                open_snapshot(folder, SCHEMA)
        file.write_bytes(content)
        assert len(rows(open_snapshot(folder, SCHEMA))) == 3
        file.rename(folder / "aside")
        with pytest.raises(InputError, match="no checked table"):
            open_snapshot(folder, SCHEMA)
        (folder / "aside").rename(file)
    (folder / "pin.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        open_snapshot(folder, SCHEMA)


def test_a_table_that_was_not_checked_is_not_served(folder: Path, tmp_path: Path) -> None:
    """A good file in place of the checked one: only the hash tells them apart."""
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    (file,) = folder.glob("*.parquet")
    TABLE[:1].drop(columns="secret").astype(str).to_parquet(file)
    assert len(rows(open_table(file, SCHEMA))) == 1
    with pytest.raises(InputError, match="is damaged"):
        open_snapshot(folder, SCHEMA)


def test_a_file_that_is_exchanged_under_an_open_site_is_not_read(folder: Path, tmp_path: Path) -> None:
    """It is checked at every reading, and again after the last batch: it may have been another file in between."""
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    served, (file,) = open_snapshot(folder, SCHEMA), folder.glob("*.parquet")
    good = file.read_bytes()
    TABLE[:1].drop(columns="secret").astype(str).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "other.parquet").replace(file)
    with pytest.raises(InputError, match="is damaged; run `cohortmix site check`"):
        rows(served)
    file.write_bytes(good)
    assert len(rows(served)) == len(TABLE)
    reading = served.batches()
    next(reading)
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged"):
        list(reading)
    file.unlink()
    with pytest.raises(InputError, match="no checked table to serve"):
        rows(served)


def test_cells_that_are_exchanged_under_an_open_site_are_not_read(folder: Path, tmp_path: Path) -> None:
    """As the values are: also cells of the same table, and of the same grid, that another check has pinned."""
    pin_snapshot(tmp_path, source(tmp_path, TABLE[:1]), SCHEMA, accept)
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    served, (file,) = open_snapshot(folder, SCHEMA), folder.glob("*.cells")
    good = file.read_bytes()
    file.write_bytes((tmp_path / file.name).read_bytes())
    with pytest.raises(InputError, match="is damaged; run `cohortmix site check`"):
        count_patients(served, SCHEMA)
    file.write_bytes(good)
    assert count_patients(served, SCHEMA).number == 2
    assert isinstance(served, TableInCells)
    reading = served.cells.batches()
    next(reading)
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged"):
        list(reading)


def test_cells_of_another_grid_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schema divides its columns in other cells, as it may in another version of this program."""
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    monkeypatch.setattr(encoding, "edges_of", lambda column: edges_of(column)[1:])
    with pytest.raises(
        InputError, match="by a version that divides columns in other cells; run `cohortmix site check`"
    ):
        open_snapshot(folder, SCHEMA)
    pin_snapshot(folder, source(tmp_path), SCHEMA, accept)
    assert len(rows(open_snapshot(folder, SCHEMA))) == 3


def test_no_name_follows_from_the_records(folder: Path, tmp_path: Path) -> None:
    names = []
    for table in (TABLE, TABLE, TABLE[:1], TABLE[1:]):
        pin_snapshot(folder, source(tmp_path, table), SCHEMA, accept)
        names.append(sorted(path.name for path in folder.iterdir()))
    assert names == [["a.cells", "a.parquet", "pin.json"], ["b.cells", "b.parquet", "pin.json"]] * 2


def test_an_empty_table(folder: Path) -> None:
    with pytest.raises(InputError, match="the table is empty"):
        pin_snapshot(folder, TableSource(TABLE[:0], ["x", "y", "id"]), SCHEMA, accept)


def test_one_holds_a_folder_at_a_time(folder: Path) -> None:
    with exclusive(folder), pytest.raises(InputError, match="another process"), exclusive(folder):
        pass
    with exclusive(folder):
        pass  # it is free again
    with pytest.raises(InputError, match="cannot open the folder"), exclusive(folder / "nowhere"):
        pass


def test_many_read_or_one_replaces(folder: Path) -> None:
    with reading(folder), reading(folder):
        with pytest.raises(InputError, match="another process reads the table"), replacing(folder):
            pass
        with exclusive(folder):
            pass  # the daemon holds both locks: it reads, and it serves
    with replacing(folder):
        for other in (reading, replacing):
            with pytest.raises(InputError, match="try again"), other(folder):
                pass
    with reading(folder):
        pass
    with pytest.raises(InputError, match="cannot open the lock"), reading(folder / "nowhere"):
        pass
