"""Mutation checks: plant one fault at a time in a copy of the code, and see which test catches it.

    python tests/privacy/mutate.py [--fast] [--json FILE] [WORD ...]

The faults are in `faults/`. One is caught when a test fails on the copy that passes without it. A copy that
cannot be imported any more, a test that stops at a name the fault got wrong, or one that only took too long
proves nothing about the tests and counts as not caught. Exit status 1 unless every fault is caught.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cohortmix.protocol.local.progress import steps

if TYPE_CHECKING:
    from faults import Fault

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "protocol", "client", "server", "deploy")
WORKERS = 2
TIMEOUT_SECONDS = 600
CONFTEST = """
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

vault = Path(find_spec("cohortmix.core.privacy.vault").origin).resolve()
assert vault.is_relative_to(Path(__file__).resolve().parent), "the tests would not run on the copy"
settings.register_profile(
    "one failure", phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("one failure")
"""
"""Of the copy: its tests run on its code alone, at any speed, and an example that fails need not be made small."""
PASSED, FAILED = 0, 1  # of pytest; every other status means that the tests did not run
BROKEN = {"NameError", "UnboundLocalError", "AttributeError", "ImportError", "ModuleNotFoundError", "SyntaxError"}
SLOW = {"DeadlineExceeded", "Flaky", "FlakyFailure", "FailedHealthCheck", "TimeoutError", "TimeoutExpired"}
"""How a test ends for its speed alone; a flaky one has failed once and passed the second time."""
_SUMMARY = re.compile(r"^(FAILED|ERROR) (.+?)(?: - (.*))?$", re.MULTILINE)


class Misfit(Exception):  # noqa: N818 (what is wrong with the list, not with the code)
    """A fault no longer fits the code: its old text is not there exactly once."""


@dataclass(frozen=True)
class Verdict:
    """What became of a fault.

    Attributes
    ----------
    fault, file : its name, and where it was planted.
    caught_by : the first test that failed; None if none did.
    why : the failure in pytest's words, or why there was none.
    seconds : wall time.
    """

    fault: str
    file: str
    caught_by: str | None
    why: str
    seconds: float


def copy(into: Path) -> None:
    """The packages and tests in a folder of their own, importable as `cohortmix.*` from its `lib`."""
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, into / name)  # with what is compiled: Python sees which file is edited then
    shutil.copy(ROOT / "pyproject.toml", into)
    (into / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (into / "lib" / "cohortmix").mkdir(parents=True)
    for name in PACKAGES:
        (into / "lib" / "cohortmix" / name).symlink_to(into / name, target_is_directory=True)
    # Without it, an installed package of this name would go before a folder that has none.
    (into / "lib" / "cohortmix" / "__init__.py").symlink_to(into / "deploy" / "package" / "__init__.py")


def plant(fault: Fault, root: Path) -> None:
    """Edit the file of the copy at `root`; Misfit unless the old text is there exactly once."""
    file = root / fault.file
    text = file.read_text(encoding="utf-8")
    found = text.count(fault.old)
    if found != 1:
        raise Misfit(
            f"the fault {fault.name!r} no longer fits the code: expected its old text once in {fault.file}, "
            f"found={found}; edit it in tests/privacy/faults"
        )
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def examine(fault: Fault) -> Verdict:
    """Plant one fault in a fresh copy and run the tests that should catch it, up to the first that does."""
    start = monotonic()
    with TemporaryDirectory() as folder:
        copy(Path(folder))
        try:
            plant(fault, Path(folder))
            caught_by, why = _first_failure(Path(folder), fault.tests)
        except Misfit as misfit:
            caught_by, why = None, str(misfit)
    return Verdict(fault.name, fault.file, caught_by, why, monotonic() - start)


def control(tests: Iterable[str]) -> str | None:
    """Run the tests on an unedited copy; what is wrong with them, None if they all pass."""
    with TemporaryDirectory() as folder:
        copy(Path(folder))
        status, output = _pytest(Path(folder), sorted(set(tests)))
    return None if status == PASSED else output[-2000:]


def examine_all(faults: Sequence[Fault], report: Callable[[int, int], None]) -> tuple[list[Verdict], str | None]:
    """The verdict on each fault, in order, and that of `control` on all their tests; two at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        unedited = pool.submit(control, [test for fault in faults for test in fault.tests])
        jobs = [pool.submit(examine, fault) for fault in faults]
        everything: list[Future[Any]] = [unedited, *jobs]
        for done, _ in enumerate(as_completed(everything), start=1):
            report(done, len(jobs) + 1)
        return [job.result() for job in jobs], unedited.result()


def _first_failure(root: Path, tests: Sequence[str]) -> tuple[str | None, str]:
    status, output = _pytest(root, tests, "-x")
    if status == PASSED:
        return None, "every test passed"
    stopped = _SUMMARY.search(output)
    if stopped is None or status != FAILED or stopped[1] == "ERROR":
        return None, f"the tests did not run: {stopped[0] if stopped else output[-300:].strip()}"
    test, why = stopped[2], stopped[3] or ""
    excuse = proves_nothing(why)
    return (test, why) if excuse is None else (None, f"{excuse}: {why}")


def proves_nothing(why: str) -> str | None:
    """Why a failure, in pytest's words, says nothing about what the test checks; None if it does."""
    kind = why.partition(":")[0].rpartition(".")[2]
    if kind in BROKEN:
        return "the fault does not run"
    return "the test was too slow" if kind in SLOW else None


def _pytest(root: Path, tests: Sequence[str], *options: str) -> tuple[int, str]:
    """Exit status and output of pytest on the copy at `root`."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", "-rfE", *options, *tests]
    own = {"PYTHONPATH": str(root / "lib"), "COLUMNS": "300", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=root, env=os.environ | own, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {TIMEOUT_SECONDS} s"
    return done.returncode, done.stdout + done.stderr


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for name in ("planted fault", "in", "caught by"):
        table.add_column(name, overflow="fold")
    for each in verdicts:
        test = each.caught_by.removeprefix("tests/").split("[")[0] if each.caught_by else None
        caught = test or f"MISSED: {each.why}"
        table.add_row(each.fault, each.file, escape(caught), style=None if each.caught_by else "red")
    return table


def main() -> int:
    """Examine the faults that the arguments name, print the table, and return the exit status."""
    from faults import FAULTS  # beside this file

    parser = argparse.ArgumentParser(description="Plant faults in a copy of the code; which test catches each?")
    parser.add_argument("--fast", action="store_true", help="the few faults of `make test`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts to this file")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only faults with one of these words in the name")
    asked = parser.parse_args()
    faults = [each for each in FAULTS if each.fast or not asked.fast]
    faults = [each for each in faults if not asked.words or any(word in each.name for word in asked.words)]
    with steps() as report:
        verdicts, wrong = examine_all(faults, lambda done, total: report("planted faults", done, total))
    missed = [each for each in verdicts if each.caught_by is None]
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(_table(verdicts))
    if wrong:
        console.print(f"The tests fail without a fault, too:\n{wrong}", markup=False)
    console.print(f"{len(verdicts) - len(missed)} of {len(verdicts)} planted faults caught")
    if asked.json:
        found = {"unedited": wrong or "passes", "faults": [asdict(each) for each in verdicts]}
        asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if missed or wrong or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
