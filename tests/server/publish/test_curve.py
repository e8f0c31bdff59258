"""The Kaplan-Meier curve of a report: that of the published records, in its frame, and of no other outcome."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from report_page import Page, Summary, render
from sksurv.nonparametric import kaplan_meier_estimator
from three_hospitals import records, schema

from cohortmix.server.publish.curve import PooledCurve, of_records


def curve_of(table: pd.DataFrame) -> PooledCurve:
    found = of_records(table, schema("survival"))
    assert found is not None
    return found


def path(page: str) -> list[tuple[float, float]]:
    """The corners of the drawn line: its steps, in per cent of width and height."""
    (line,) = re.findall(r'<path d="M[\d.]+ [\d.]+([HV\d.]+)" class="curve"', page)
    return [(float(x), float(y)) for x, y in re.findall(r"H([\d.]+)V([\d.]+)", line)]


def test_the_curve_is_that_of_scikit_survival() -> None:
    table = records()
    found = curve_of(table)
    times, heights = kaplan_meier_estimator(table["DEATH"] == "yes", table["DAYS"])
    assert found.curve.times == pytest.approx(times)
    assert found.curve.heights == pytest.approx(heights)
    assert found.half == times[heights <= 0.5][0]
    assert found.censored == np.mean(table["DEATH"] == "no")


def test_the_page_draws_it_within_its_frame_and_says_when_half_had_the_event(summary: Summary) -> None:
    found = curve_of(records())
    text = render(summary, schema=schema("survival"), curve=found)
    page = Page(text)
    corners = path(text)
    assert all(0 <= at <= 100 for corner in corners for at in corner)
    assert corners == sorted(corners), "to the right, and down, as shares fall"
    below = next(x for x, y in corners if y >= 50)
    ticks = [float(each.replace(",", "")) for each in page.texts if re.fullmatch(r"[\d,]+00|0", each)]
    assert below == pytest.approx(2 + 96 * (found.half or 0) / max(ticks), abs=1), "where the text says it is"
    assert f"By DAYS = {found.half:,.4g} days, half of the patients have had the event" in page.text
    assert "the event, which “yes” says happened" in page.row("DEATH")[3]
    assert "the time to the event" in page.row("DAYS")[3]


def test_where_less_than_half_had_the_event_no_median_is_made_up(summary: Summary) -> None:
    few = records().assign(DEATH=["yes"] * 60 + ["no"] * 660)
    found = curve_of(few)
    assert found.half is None
    text = render(summary, schema=schema("survival"), curve=found)
    assert "half of the patients" not in text
    assert "is without the event" in text


@pytest.mark.parametrize("kind", ["category", "number", "none"])
def test_another_outcome_has_no_curve(kind: str, summary: Summary) -> None:
    assert of_records(records(), schema(kind)) is None
    assert "Kaplan-Meier" not in render(summary, schema=schema(kind))


@pytest.mark.parametrize(
    ("measure", "words"),
    [("auc", "an AUC of 0.772"), ("r2", "an R² of −0.310"), ("concordance", "a concordance of 0.772")],
)
def test_a_figure_is_called_what_it_is(measure: str, words: str, summary: Summary) -> None:
    summary["measure"] = measure
    if measure == "r2":
        summary["pooled"]["score"], summary["sites"][0]["own_score"] = -0.31, -2.5
    text = render(summary)
    page = Page(text)
    assert f"reaches {words} on real patients" in page.text
    name = {"auc": "AUC", "r2": "R²", "concordance": "concordance"}[measure]
    assert f"{name} on held-out patients" in page.text
    assert ("AUC" in page.text) == (measure == "auc")
    assert all(0 <= place <= 100 for marks in page.rows.values() for _, place in marks)
