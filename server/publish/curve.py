"""The section of a report on a time to an event: the Kaplan-Meier curve of the pooled synthetic records.

The curve follows from published records, as any reader can draw it: it costs nothing, and says nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.columns import read
from cohortmix.core.utility.kaplan_meier import FOLLOWED, Curve, FollowUp
from cohortmix.protocol.local.html import Html, element
from cohortmix.protocol.local.wording import percent
from cohortmix.server.publish.plot import curve_plot


@dataclass(frozen=True, eq=False)
class PooledCurve:
    """The curve of the pooled records.

    Attributes
    ----------
    survival : the columns of the time and of the event, and the value that says that it happened.
    unit : of the time; empty if the schema has none.
    curve : the share without the event.
    horizon : the time after which a share `FOLLOWED` of the records is followed no longer.
    censored : the share of the records whose event is not known.
    """

    survival: Survival
    unit: str
    curve: Curve
    horizon: float
    censored: float

    @property
    def half(self) -> float | None:
        """The time by which half of the patients had the event; None if that is beyond the horizon."""
        reached = self.curve.times[self.curve.heights <= 0.5]
        return float(reached[0]) if len(reached) and reached[0] <= self.horizon else None


def of_records(records: pd.DataFrame, schema: Schema) -> PooledCurve | None:
    """The curve of synthetic records; None where the outcome is no time to an event."""
    survival = schema.outcome.survival
    if survival is None:
        return None
    followed = FollowUp.of(read(records, schema), survival, schema, "synthetic")
    time = schema.columns[survival.time]
    assert isinstance(time, Number)
    return PooledCurve(survival, time.unit or "", Curve.of(followed), followed.horizon, followed.censored)


def curve_section(found: PooledCurve | None) -> Html:
    """The section, as markup; nothing where there is no curve."""
    if found is None:
        return Html("")
    event = f"{found.survival.event}: {found.survival.happened}"
    points = found.curve.points(found.horizon)
    time = f"{found.survival.time}, {found.unit}" if found.unit else found.survival.time
    censored = (
        f"{percent(found.censored, 0)} of the pooled records are censored: their follow-up ended without the "
        f"event “{event}”."
    )
    title = f"Kaplan-Meier curve of the pooled synthetic records: share without {event}"
    caption = (
        f"Share of patients without the event “{event}” in the pooled synthetic records (Kaplan-Meier), up to the "
        f"time at which the follow-up of {percent(FOLLOWED, 0)} of them is over. An interval for as many real "
        "patients would be too narrow, since noise went into these records: confirm what you find on real ones."
    )
    plot = curve_plot(title, points["times"], points["survival"], time)
    return element(
        "section",
        element("h2", "Time to the event"),
        element("p", f"{_half(found)} {censored}"),
        element("figure", plot, element("figcaption", caption)),
    )


def _half(found: PooledCurve) -> str:
    if found.half is None:
        share = float(found.curve.at(np.array([found.horizon]))[0])
        return f"At {_time(found, found.horizon)}, a share of {percent(share, 0)} is without the event."
    return f"By {_time(found, found.half)}, half of the patients have had the event (median survival)."


def _time(found: PooledCurve, value: float) -> str:
    return f"{found.survival.time} = {value:,.4g}" + (f" {found.unit}" if found.unit else "")
