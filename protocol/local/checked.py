"""What a check found in a table, by column and with counts, for the terminal of whoever holds the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cohortmix.core.utility.checks.check import Checked, MisfitError
from cohortmix.core.utility.checks.fit import Fit
from cohortmix.protocol.local.terminal import Terminal, compact_table, panel, styled
from cohortmix.protocol.local.wording import whole_percent

MaxUnreadable = Annotated[
    float,
    typer.Option(
        "--max-unreadable",
        help="The largest share of a column's values that may be no number, or no date, before it is refused.",
    ),
]
HEADER = ("column", "values", "clipped", "undeclared", "unreadable", "empty", "first in row")


def show_checked(console: Terminal, checked: Checked) -> None:
    """Print how many values and rows of the table are not what the schema declares."""
    parts = [*_table(checked), *_sentences(checked)] or ["every value is what the schema declares"]
    banner = styled("Figures of real records are NOT PRIVATE: they stay on this terminal.", "bold")
    console.print(panel(Group(banner, *parts), border_style="yellow"))


def tell_checked(checked: Checked) -> None:
    """Say on standard error, which is the screen of whoever holds the table, what is not as declared."""
    if not checked.as_declared:
        show_checked(Terminal(stderr=True, soft_wrap=False), checked)


def misfit(error: MisfitError, what: str = "") -> MisfitError:
    """The refusal of a table, which says what it is of.

    Parameters
    ----------
    what : the name of the table, where there are two.
    """
    return MisfitError(f"the {what} table: {error}" if what else str(error), error.columns)


def summary(checked: Checked) -> str:
    """The same in one line: for each column the share of its values that are not counted as they are.

    >>> summary(Checked({"lab": Fit(60, empty=40), "sex": Fit(100)}))
    'lab: 40\\xa0% empty'
    """
    columns = [f"{name}: {shares}" for name, fit in checked.columns.items() if (shares := _shares(fit))]
    rules = [f"rule {text!r}: {kept.words}" for text, kept in checked.rules.items() if kept.broken]
    return "; ".join([*columns, *rules, *_dropped(checked)])


def _table(checked: Checked) -> Iterator[RenderableType]:
    table = compact_table(HEADER)
    for name, fit in checked.columns.items():
        if fit.outside or fit.empty:
            counts = (fit.values + fit.empty, fit.clipped, fit.undeclared, fit.unreadable, fit.empty)
            table.add_row(name, *(f"{count:,}" for count in counts), f"{fit.first:,}" if fit.first else "-")
    if table.row_count:
        yield table


def _sentences(checked: Checked) -> Iterator[str]:
    for name, fit in checked.columns.items():
        if fit.cause:
            yield f"column {name!r}: {fit.cause}"
        if fit.rounded:
            nearest = "whole number" if not fit.declared_decimals else "one with so many"
            yield f"column {name!r}: {fit.finer}: they count as the nearest {nearest}"
        if fit.timed:
            values = _counted(fit.timed, "value has", "values have")
            yield f"column {name!r}: {values} a time of day, which is not kept"
    for text, kept in checked.rules.items():
        if kept.broken:
            yield f"rule {text!r}: {kept.words}; they count as they are, and no synthetic record breaks it"
    yield from _dropped(checked)
    if any(fit.outside or fit.empty for fit in checked.columns.values()):
        yield (
            "clipped values lie beyond a bound and count as that bound; undeclared (another text or code), "
            "unreadable (no number, no date) and empty ones count as missing, or as nothing where the schema has "
            "no `missing: true`: then the shares are those of the other values. Are bounds, units and codes right?"
        )


def _dropped(checked: Checked) -> Iterator[str]:
    if checked.without_key:
        rows = _counted(checked.without_key, "row is", "rows are")
        yield f"{rows} left out: without a patient key (empty, NA, NaN or null)"
    if checked.over_cap:
        rows = _counted(checked.over_cap, "row is", "rows are")
        yield f"{rows} left out: beyond `max_rows_per_patient` of their patient"


def _shares(fit: Fit) -> str:
    total = fit.values + fit.empty
    kinds = {
        "clipped": fit.clipped,
        "undeclared": fit.undeclared,
        "unreadable": fit.unreadable,
        "empty": fit.empty,
        "without the time of day": fit.timed,
        "rounded": fit.rounded,
    }
    return ", ".join(f"{whole_percent(count / total)} {kind}" for kind, count in kinds.items() if count)


def _counted(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
