"""Tables of a report: columns on a wide screen and on paper, one block for each row on a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence

from cohortmix.protocol.local.html import Html, element


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    last: Sequence[Sequence[str]] | None = None,
    kind: str = "",
) -> Html:
    """A table in which the first cell of a row names the row.

    Each cell carries the head of its column, which a narrow screen shows beside it (`style.py`).

    Parameters
    ----------
    last : rows below a line, such as totals.
    kind : "words" for a table of texts, which are aligned to the left.
    """
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in header)))
    foot = element("tfoot", *(_row(header, row) for row in last)) if last else Html("")
    return element(
        "table", head, element("tbody", *(_row(header, row) for row in rows)), foot, class_=kind or "numbers"
    )


def _row(header: Sequence[str], row: Sequence[str]) -> Html:
    cells = zip(header[1:], row[1:], strict=True)
    return element(
        "tr", element("th", row[0], scope="row"), *(element("td", cell, data_head=name) for name, cell in cells)
    )
