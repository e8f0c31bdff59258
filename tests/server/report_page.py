"""The study that reports are rendered of, and what a rendered page holds."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from cohortmix.core.data.schema import Schema
from cohortmix.server.publish import report

Summary = dict[str, Any]

SITES = [("UK", 4689, 0.7823, 0.008), ("ITAL", 2578, 0.7722, 0.01), ("NORW", 394, 0.7384, 0.02)]
SCHEMA = Schema.from_yaml("""
name: stroke-dictionary
patient_key: id
max_rows_per_patient: 3
target: outcome
columns:
  outcome: {type: category, values: [well, dead]}
  AGE: {type: number, min: 16, max: 105, integer: true, unit: years, missing: true, description: at admission}
  SEEN: {type: date, min: 1991-01-01, max: 1996-12-31}
  WARD: {type: category, values: [w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11]}
""")
COORDINATOR = "cd" * 32
KAPPA = 1e-19


def around(estimate: float, half: float) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def render(summary: Summary, kappa: float = KAPPA, schema: Schema = SCHEMA, **options: Any) -> str:
    return report.render(summary, kappa, schema, COORDINATOR, **options)


class Page(HTMLParser):
    """What a page holds; an element that is not closed where it should be is an error."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.within: list[str] = []  # the classes of the open elements
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.rows: dict[str, list[tuple[str, float]]] = {}
        self.spans: dict[str, dict[str, str]] = {}
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.within.append(str(dict(attrs).get("class")))
        if tag == "tr":
            self.cells.append([])
        kind, place = str(dict(attrs).get("class")), dict(attrs).get("cx") or dict(attrs).get("x2")
        if place and "track" in self.within:
            name = list(self.rows)[-1]
            self.rows[name].append((kind, float(place.rstrip("%"))))
            if kind == "span":
                self.spans[name] = {key: str(value) for key, value in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.within.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.within[-1:] == ["name"]:
            self.rows[data] = []
        if self.open[-1:] in (["td"], ["th"]):
            self.cells[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\u00a0", " ")

    def row(self, name: str) -> list[str]:
        """The table row that begins with `name`."""
        return next(cells for cells in self.cells if cells[0] == name)

    def marks(self, kind: str) -> list[float]:
        """Places of the marks of one kind in the rows of a plot."""
        return [place for marks in self.rows.values() for mark, place in marks if mark == kind]

    def of_class(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.elements if attributes.get("class") == name]
