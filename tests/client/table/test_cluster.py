"""A table on a Ray cluster of two workers: the same bytes as on one machine, and one sentence where it fails."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dying_piece import DyingPiece

from cohortmix.client.table import cluster, run
from cohortmix.client.table.cluster import DIED, GONE, NO_ADDRESS, NOT_INSTALLED, ClusterSource, Fault, compute
from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import open_snapshot, pin_shared, pin_snapshot
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.patients import Patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import sum_query

SCHEMA = Schema.from_yaml(
    """
name: t
patient_key: id
max_rows_per_patient: 2
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  y: {type: category, values: [a, NA]}
"""
)
MU2 = Fraction(1, 10)
CLUSTER = """
import sys
import ray

ray.init(num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """A cluster of this machine that knows the modules of these tests; it ends with them."""
    beside = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": beside, "RAY_USAGE_STATS_ENABLED": "0"},
        ) as started,
    ):
        assert started.stdout is not None
        patch.setenv("RAY_ADDRESS", started.stdout.readline().strip())
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two files, the keys of whose rows are anywhere in it, and some of nobody."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("files")
    for name in ("a.parquet", "b.parquet"):
        key = rng.integers(0, 600, 2000)
        table = pd.DataFrame(
            {
                "id": [None if number < 5 else str(number) for number in key.tolist()],
                "x": rng.choice(["1.5", "null", "many", "9"], 2000),
                "y": rng.choice(["a", "NA", "c"], 2000),
            }
        )
        table.to_parquet(folder / name, row_group_size=700)
    return folder


@pytest.fixture(scope="module")
def pinned(workers: None, files: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The folder as it is served from a copy, and where it lies, in a run for each row group."""
    copy, shared = (tmp_path_factory.mktemp(name) for name in ("copy", "shared"))
    checked: list[list[dict[str, object]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "RUN_BYTES", 1)
        pin_snapshot(copy, open_table(files, SCHEMA), SCHEMA, lambda source: checked.append(rows(source)))
        pin_shared(shared, files.as_uri(), SCHEMA, lambda source: checked.append(rows(source)))
    assert checked[0] == checked[1]
    return SimpleNamespace(copy=open_snapshot(copy, SCHEMA), shared=open_snapshot(shared, SCHEMA), folder=shared)


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def opened(source: Source) -> tuple[Vault, MemoryMeter]:
    meter = MemoryMeter(MU2)
    return Vault(source, SCHEMA, KeyedNoise(1).add, meter), meter


def dying(source: ClusterSource, *lives: Path) -> ClusterSource:
    """The same, but for its third piece."""
    for life in lives:
        life.touch()
    pieces = list(source.pieces)
    pieces[2] = DyingPiece(pieces[2], lives)
    return ClusterSource(tuple(pieces))


QUESTION = sum_query(Encoding.of(SCHEMA))


def test_the_bytes_are_those_of_one_machine_though_workers_die(pinned: SimpleNamespace, tmp_path: Path) -> None:
    """One dies while patients are counted, and one in the middle of a sum."""
    assert len(pinned.shared.pieces) == 6
    assert rows(pinned.shared) == rows(pinned.copy)
    one, _ = opened(pinned.copy)
    lives = tmp_path / "counting", tmp_path / "summing"
    other, meter = opened(dying(pinned.shared, lives[0]))
    assert not lives[0].exists()
    assert other.patients == one.patients == 595
    other._source = dying(pinned.shared, lives[1])
    answer, expected = other.answer(QUESTION, MU2), one.answer(QUESTION, MU2)
    assert not lives[1].exists()
    assert answer.values.tobytes() == expected.values.tobytes()
    assert (answer.question, answer.mu2, answer.sigma) == (expected.question, expected.mu2, expected.sigma)
    assert meter.spent == answer.mu2


def test_a_worker_that_dies_for_good_costs_no_more_than_what_was_debited(
    pinned: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negation: without another try there is no sum. The request that comes again is paid for already."""
    vault, meter = opened(pinned.copy)
    expected = vault.answer(QUESTION, MU2)
    again, meter = opened(pinned.copy)
    again._source = dying(pinned.shared, tmp_path / "life")
    again._counting = tuple(again._counting) * 6  # the pieces before the dying one are computed, whatever they say
    monkeypatch.setattr(cluster, "RETRIES", 0)
    with pytest.raises(InputError) as caught:
        again.answer(QUESTION, MU2)
    assert str(caught.value) == DIED
    assert meter.spent == expected.mu2
    assert not meter.answers
    vault = Vault(pinned.copy, SCHEMA, KeyedNoise(1).add, meter)
    assert vault.answer(QUESTION, MU2).values.tobytes() == expected.values.tobytes()
    assert meter.spent == expected.mu2


# Without a cluster


def test_a_cluster_that_cannot_be_reached(pinned: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(InputError) as caught:
        list(pinned.shared.each(len, repeat(())))
    assert str(caught.value) == GONE


@pytest.mark.parametrize("address", [None, "", "auto"])
def test_a_cluster_that_nobody_named_is_not_joined(
    address: str | None, pinned: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one runs on this machine, as anybody's who may start a program here."""
    if address is None:
        monkeypatch.delenv("RAY_ADDRESS")
    else:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError) as caught:
        list(pinned.shared.each(len, repeat(())))
    assert str(caught.value) == NO_ADDRESS


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("sys.exit(1)", GONE),
        ("pickle.load(given); tell(8); sys.exit(1)", GONE),
        ("pickle.load(given); tell(8); pickle.load(given); tell(7); sys.exit(1)", GONE),
        ("pickle.load(given); tell(8); sys.stdout.write('x'); sys.exit(1)", GONE),
        (
            "import builtins; builtins.__import__ = fails; driver.main(1, 0)",
            "`engine: ray` needs Ray, which is not",
        ),
    ],
)
def test_a_driver_that_ends(
    program: str, said: str, pinned: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends the process of a driver that has lost its cluster: at any time, and without a word."""
    before = """
import pickle, sys
from cohortmix.client.table import cluster_driver as driver
given, builtin = sys.stdin.buffer, __import__
def tell(message):
    pickle.dump(message, sys.stdout.buffer)
    sys.stdout.buffer.flush()
def fails(name, *others, **named):
    if name == "ray":
        raise ModuleNotFoundError(name)
    return builtin(name, *others, **named)
"""
    monkeypatch.setattr(cluster, "DRIVER", (sys.executable, "-c", before + program))
    with pytest.raises(InputError) as caught:
        list(pinned.shared.each(len, repeat(())))
    assert str(caught.value).startswith(said)


def test_a_file_that_changed_since_the_check_is_not_answered_from(pinned: SimpleNamespace, files: Path) -> None:
    """What a worker says of it is what the site says."""
    counting = asked("cohortmix.core.data.patients", "count", common=(SCHEMA,))
    content, given = (files / "b.parquet").read_bytes(), pickle.dumps((pinned.shared.pieces[-1], ()))
    assert isinstance(compute(given, counting), Patients)
    (files / "b.parquet").write_bytes(bytes(len(content)))
    try:
        fault = compute(given, counting)
    finally:
        (files / "b.parquet").write_bytes(content)
    assert isinstance(fault, Fault)
    assert fault == "'b.parquet' has changed since the table was checked; run `cohortmix site check`"


def asked(module: str = "builtins", name: str = "len", made_by: str | None = None, common: Any = ()) -> bytes:
    return pickle.dumps((module, name, common, made_by or version("cohortmix")))


def test_what_a_worker_computes_is_a_function_of_its_own_or_a_sentence() -> None:
    piece = pickle.dumps(([1, 2, 3], ()))
    assert compute(piece, asked()) == 3
    assert compute(piece, asked(made_by="0.0.9")) == NOT_INSTALLED
    assert compute(piece, asked(module="cohortmix.nothing")) == NOT_INSTALLED
    assert compute(piece, asked(name="nothing")) == NOT_INSTALLED
    assert compute(b"\x80\x05cnowhere\nPiece\n.", asked()) == NOT_INSTALLED
    for fault in (compute(piece, asked(name="int")), compute(pickle.dumps((["secret"], ())), asked(name="sum"))):
        assert isinstance(fault, Fault)
        assert fault == "a worker of the Ray cluster failed: TypeError"  # and nothing of what it held
