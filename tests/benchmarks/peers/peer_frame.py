"""What a synthesizer runs in, whichever environment it is in: tables in, tables out, and what it took.

IN holds a column of integers for each column of the schema: the position of a declared value, or a public cell of
a number. DOMAIN says how many there are, whether they have an order, and whether the last of them is a missing
value, so that the budget pays for all that is learned from the records. OUT has as many rows as IN; OUT.json the
time and memory that it took.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

PACKAGES = ("dpmm", "smartnoise-synth", "privsyn-core", "mbi", "synthcity", "torch", "opacus", "jax", "numpy")
FAILED = 3  # the exit status of a method that raised; the last line of the error stream says what


def main(methods: Mapping[str, Callable[..., pd.DataFrame]]) -> None:
    """Run the method that the command line names, and write its records and what they cost."""
    method, source, domain, target, epsilon, delta, seed, limit = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 10))
    table, columns = pd.read_parquet(source), json.loads(Path(domain).read_text())
    wall, cpu = time.monotonic(), time.process_time()
    try:
        made = methods[method](table, columns, float(epsilon), float(delta), int(seed))
    except Exception as error:  # whatever a package raises is stored in place of figures
        traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(FAILED) from error
    cost = {
        "seconds": time.monotonic() - wall,
        "cpu seconds": time.process_time() - cpu,
        "peak GB": peak_gb(),
    }
    made[table.columns].reset_index(drop=True).astype("int64").to_parquet(target)
    Path(target).with_suffix(".json").write_text(json.dumps({"cost": cost, "packages": _versions()}))


def peak_gb() -> float:
    """Of this process: its `ru_maxrss` would begin with what its parent held when it was started."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
