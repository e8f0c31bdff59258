"""Planted faults: every one fits the code, a few are planted here, and what proves nothing is not called caught.

`make audit` plants them all.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from faults import FAULTS, Fault
from mutate import ROOT, Misfit, Verdict, copy, examine, examine_all, plant, proves_nothing

SOME = FAULTS[0]
CHEAP = ("tests/core/privacy/test_gdp.py::test_advantage_is_reached_by_the_best_attacker",)
HALF = Fault(
    "half the advantage",
    "core/privacy/gdp.py",
    "return math.erf(_checked_mu(mu) / (2 * math.sqrt(2)))",
    "return math.erf(_checked_mu(mu) / (4 * math.sqrt(2)))",
    CHEAP,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_fits_the_code_and_names_tests_that_exist(fault: Fault) -> None:
    found = (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old)
    assert found == 1, f"the fault no longer fits {fault.file}, edit it"
    assert fault.new != fault.old
    assert fault.tests
    for test in fault.tests:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def missing(fault: Fault) -> list[str]:
    """The modules that a fault's text imports and that do not exist."""
    named = re.findall(r"^\s*from (cohortmix\.[\w.]+) import", fault.new, re.MULTILINE)
    return [name for name in named if find_file(name) is None]


def find_file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_a_fault_imports_is_there(fault: Fault) -> None:
    """A fault that could not be imported was missed in the long run alone."""
    assert not missing(fault)


def test_an_import_of_nothing_is_noticed() -> None:
    assert missing(replace(SOME, new="    from cohortmix.core.nothing import x")) == ["cohortmix.core.nothing"]


def test_every_file_of_faults_is_planted() -> None:
    """A list that nobody imports would look like a check."""
    folder = Path(__file__).with_name("faults")
    assert not folder.with_suffix(".py").exists()
    for file in folder.glob("[!_]*.py"):
        if file.stem != "fault":
            assert set(import_module(f"faults.{file.stem}").FAULTS) <= set(FAULTS), file.name


def test_a_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)


def test_the_fast_faults_are_caught() -> None:
    fast = [fault for fault in FAULTS if fault.fast]
    assert len({fault.file for fault in fast}) >= 4
    verdicts, unedited = examine_all(fast, lambda done, total: None)
    assert unedited is None
    assert [each.fault for each in verdicts if each.caught_by is None] == []


def verdict(**changes: str) -> Verdict:
    return examine(replace(HALF, **changes))  # type: ignore[arg-type]


def test_a_fault_is_caught_by_the_test_that_it_breaks() -> None:
    assert (verdict().caught_by or "").startswith(CHEAP[0])


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ("return math.erf(_checked_mu(mu) / (math.sqrt(2) * 2))", "every test passed"),
        ("return math.erf(_checked_mu(mu) / ", "the tests did not run"),
        ("return math.erf(_checked_nu(mu) / (2 * math.sqrt(2)))", "the fault does not run: NameError"),
        ("raise TimeoutError", "the test was too slow: TimeoutError"),
    ],
    ids=["no fault", "no program", "no such name", "no time"],
)
def test_what_proves_nothing_is_not_caught(new: str, why: str) -> None:
    found = verdict(new=new)
    assert found.caught_by is None
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("why", "excuse"),
    [
        ("hypothesis.errors.DeadlineExceeded: Test took 612.34ms, which exceeds", "the test was too slow"),
        ("hypothesis.errors.FlakyFailure: Hypothesis test produces unreliable results", "the test was too slow"),
        ("hypothesis.errors.FailedHealthCheck: Data generation is extremely slow", "the test was too slow"),
        ("subprocess.TimeoutExpired: Command '[...]' timed out", "the test was too slow"),
        ("TimeoutError", "the test was too slow"),
        ("ModuleNotFoundError: No module named 'x'", "the fault does not run"),
        ("AssertionError: assert 3 == 4", None),
        ("assert DeadlineExceeded == 0.5", None),
        ("cohortmix.core.privacy.meter.BudgetExceeded: spent mu=1", None),
        ("", None),
    ],
)
def test_a_failure_for_speed_or_names_is_told_from_one_of_the_law(why: str, excuse: str | None) -> None:
    assert proves_nothing(why) == excuse


@pytest.mark.parametrize(("old", "found"), [("no such text", 0), ("return", 2)])
def test_a_fault_that_no_longer_fits_is_named(tmp_path: Path, old: str, found: int) -> None:
    (tmp_path / "f.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n")
    with pytest.raises(Misfit, match=f"{SOME.name!r} no longer fits the code: .* found={found}"):
        plant(replace(SOME, file="f.py", old=old), tmp_path)


def test_a_copy_holds_all_that_a_test_reads(tmp_path: Path) -> None:
    copy(tmp_path)
    assert (tmp_path / "lib/cohortmix/core/privacy/vault.py").samefile(tmp_path / "core/privacy/vault.py")
    for name in ("core", "deploy/demo", "tests/privacy"):
        there = {file.name for file in (ROOT / name).iterdir() if file.is_file()}
        assert {file.name for file in (tmp_path / name).iterdir() if file.is_file()} == there
