"""Memory: codes by the thousand take what the records take, not what a column for each code would.

Measured in a process of its own, since a process never gives its peak back.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core.data.schema import Schema
from cohortmix.core.utility import models
from cohortmix.core.utility.evaluate import cross_validated, evaluate
from cohortmix.core.utility.models import logistic

ROWS = 2_000
PER_CELL = 400  # bytes of a cell of one of the tables: fifty numbers, among them a score of each of fifty classes
FIXED = 32e6  # bytes: what the libraries take at their first use


def coded(columns: int, codes: int, rows: int, seed: int = 0) -> tuple[pd.DataFrame, Schema]:
    """A table of columns of this many codes each, the first of them the target, and its schema."""
    values, rng = [f"C{code:05d}" for code in range(codes)], np.random.default_rng(seed)
    names = [f"c{place}" for place in range(columns)]
    table = pd.DataFrame({name: rng.choice(values, rows) for name in names})
    table["c1"] = table["c1"].where(rng.random(rows) < 0.5, table["c0"])
    declared: dict[str, Any] = {name: {"type": "category", "values": values} for name in names}
    return table, Schema.model_validate({"name": "codes", "target": "c0", "columns": declared})


def peak() -> int:
    """Bytes of this process alone; what `getrusage` says begins with the peak of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def grown(columns: int, codes: int, rows: int) -> int:
    """Bytes by which the peak grows where a table is evaluated, by its target and by a rule."""
    (table, schema), made = coded(columns, codes, rows), coded(columns, codes, rows, seed=1)[0]
    small, of_small = coded(2, 3, 50)
    evaluate(small, small, of_small)  # what the libraries load
    cross_validated(small, of_small, scorer=logistic)
    start = peak()
    evaluate(made, table, schema, ("c0", "c1=C00001|C00002"))
    cross_validated(table, schema, "c1=C00001|C00002", logistic)
    return peak() - start


def one_hot(columns: int, codes: int, rows: int) -> int:
    """The same of the logistic regression alone, on a dense matrix."""
    models.MOST_INDICATORS = columns * codes
    table, schema = coded(columns, codes, rows)
    start = peak()
    cross_validated(table, schema, "c1=C00001|C00002", logistic)
    return peak() - start


def measured(what: str, columns: int, codes: int, rows: int) -> int:
    """Bytes that one of these two finds in a process of its own."""
    command = [sys.executable, __file__, what, *map(str, (columns, codes, rows))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def bound(columns: int, rows: int) -> float:
    return FIXED + PER_CELL * rows * columns


@pytest.mark.parametrize(("columns", "codes"), [(2, 20_000), (60, 900)])
def test_memory_is_that_of_the_records(columns: int, codes: int) -> None:
    """One-hot, either table takes more than a gigabyte, and so do scores of 20,000 classes."""
    assert measured("grown", columns, codes, ROWS) < bound(columns, ROWS)


def test_one_hot_it_is_not() -> None:
    """Of a fifth of the records."""
    assert measured("one_hot", 2, 20_000, 400) > 2 * bound(2, 400)


if __name__ == "__main__":
    print({"grown": grown, "one_hot": one_hot}[sys.argv[1]](*map(int, sys.argv[2:])))
