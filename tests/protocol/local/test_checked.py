"""What was found in a table, as its holder reads it."""

from cohortmix.core.utility.checks.check import Checked
from cohortmix.core.utility.checks.fit import Fit
from cohortmix.protocol.local.checked import show_checked, summary
from cohortmix.protocol.local.terminal import Terminal


def test_numbers_that_are_finer_than_declared_are_said() -> None:
    checked = Checked({"age": Fit(50, rounded=5, first_rounded=7), "lab": Fit(4, rounded=1, declared_decimals=1)})
    console = Terminal(record=True, width=120)
    show_checked(console, checked)
    shown = console.export_text()
    assert (
        "column 'age': 5 values are not whole numbers (first in row 7): they count as the nearest whole" in shown
    )
    assert "column 'lab': 1 value has more than 1 decimal" in shown
    assert summary(checked).replace("\xa0", " ") == "age: 10 % rounded; lab: 25 % rounded"
