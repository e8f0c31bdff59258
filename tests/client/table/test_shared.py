"""Files that are served where they lie: pinned once they were checked, and never others; read by this process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SCHEMA as COHORT
from commands import cohort
from commands import run as run_command
from pages import blocks, page, section

from cohortmix.client.site.config import load_config
from cohortmix.client.table import snapshot
from cohortmix.client.table.cluster import ClusterSource
from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import open_snapshot, pin_shared, pin_snapshot
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.utility.checks.check import check
from cohortmix.protocol.messages import Description, decode

TEXT = """
name: t
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  y: {type: category, values: [a, NA]}
"""
SCHEMA = Schema.from_yaml(TEXT)
TABLE = pd.DataFrame({"secret": "s", "x": ["5", "null", "7"], "y": ["a", "NA", "a"]})


def here(source: ClusterSource, function: Callable[..., Any], own: Iterable[Any], *common: Any) -> Iterator[Any]:
    return (function(piece, *given, *common) for piece, given in zip(source.pieces, own, strict=False))


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real cluster does is in `test_cluster.py`."""
    monkeypatch.setattr(ClusterSource, "each", here)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    for name, first in (("b", "2"), ("a", "1")):
        TABLE.replace({"x": {"5": first}}).to_parquet(files / f"{name}.parquet")
    return files


def accept(_: Source) -> None:
    """A check that every table passes."""


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def test_the_files_are_read_where_they_lie(folder: Path, files: Path) -> None:
    pin_shared(folder, str(files), SCHEMA, accept)
    source = open_snapshot(folder, SCHEMA)
    assert source.names == ("x", "y")
    assert [row["x"] for row in rows(source)] == ["1", None, "7", "2", None, "7"]  # in the order of the names
    assert [path.name for path in folder.iterdir()] == ["pin.json"]


def test_a_copy_and_shared_files_replace_each_other(folder: Path, files: Path) -> None:
    for _ in range(2):
        pin_snapshot(folder, open_table(files, SCHEMA), SCHEMA, accept)
        assert len(list(folder.iterdir())) == 3
        copied = rows(open_snapshot(folder, SCHEMA))
        pin_shared(folder, str(files), SCHEMA, accept)
        assert [path.name for path in folder.iterdir()] == ["pin.json"]
        assert rows(open_snapshot(folder, SCHEMA)) == copied


def stop(*_: object) -> None:
    raise InputError("no")


@pytest.mark.parametrize("at", ["check", "replace_file"])
def test_a_fault_leaves_what_was_served(
    at: str, folder: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin_snapshot(folder, open_table(files, SCHEMA), SCHEMA, accept)
    before = rows(open_snapshot(folder, SCHEMA))
    if at != "check":
        monkeypatch.setattr(snapshot, at, stop)
    with pytest.raises(InputError, match="no"):
        pin_shared(folder, str(files / "a.parquet"), SCHEMA, stop if at == "check" else accept)
    assert rows(open_snapshot(folder, SCHEMA)) == before


def test_another_schema_and_a_damaged_pin_are_refused(folder: Path, files: Path) -> None:
    pin_shared(folder, str(files), SCHEMA, accept)
    with pytest.raises(InputError, match="the schema has changed since the table was checked"):
        open_snapshot(folder, Schema.from_yaml(TEXT.replace("max: 10", "max: 11")))
    whole = json.loads((folder / "pin.json").read_text())
    damages: list[dict[str, Any]] = [
        {"types": "zz"},
        {"types": "00" * 40},
        {"types": ""},
        {"runs": [{}]},
        {"runs": []},
    ]
    for damage in damages:
        (folder / "pin.json").write_text(json.dumps(whole | damage))
        with pytest.raises(InputError, match="is damaged; run `cohortmix site check`"):
            open_snapshot(folder, SCHEMA)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([pa.table({"x": ["1"], "y": ["a"]}), pa.table({"x": ["1"]})], "missing column 'y'"),
        ([pa.table({"x": ["1"], "y": ["a"]}), pa.table({"x": [1], "y": ["a"]})], "in another file of the folder"),
        ([pa.table({"x": pa.array([], pa.int64()), "y": pa.array([], pa.string())})], "the table is empty"),
    ],
)
def test_tables_that_cannot_be_served(tables: list[pa.Table], said: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / "bad" / f"{number}.parquet")
    with pytest.raises(InputError, match=said):
        pin_shared(folder, str(tmp_path / "bad"), SCHEMA, lambda source: void(check(source, SCHEMA)))
    assert list(folder.iterdir()) == []


def void(_: object) -> None:
    """For a check whose findings do not matter."""


def test_the_site_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`site check` of docs/steward.md's example: no copy, and the facts of the table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry").mkdir()
    for name in "ab":
        cohort(60).to_parquet(tmp_path / "registry" / f"{name}.parquet")
    (tmp_path / "s.yaml").write_text(COHORT)
    run_command(
        "site", "init", "here", "--name", "A", "--data", "registry", "--schema", "s.yaml", "--cap-mu", "0.5"
    )
    config = tmp_path / "here" / "site.yaml"
    (shown,) = blocks(section(page("docs/steward.md"), "### A table too large for one machine"), "yaml")
    written, count = re.subn(
        r"^data:\n  .*\n", shown.replace("/srv", str(tmp_path)), config.read_text(), flags=re.M
    )
    assert count == 1
    config.write_text(written)
    run_command("site", "check", "--config", str(config))
    site = load_config(config)
    description = decode(site.description_file.read_bytes())
    assert isinstance(description, Description)
    assert description.patients == 120
    assert [path.name for path in site.snapshot_folder.iterdir() if path.suffix] == ["pin.json"]
    assert tmp_path / "registry" in site.files
