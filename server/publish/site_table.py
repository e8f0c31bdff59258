"""The section of a report that lists the sites: their patients, what they spent, and what that was worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortmix.protocol.local.html import Html, element
from cohortmix.protocol.local.wording import digits, power_of_ten
from cohortmix.server.publish.constraints import all_kept, in_one_sentence
from cohortmix.server.publish.gains import MEASURES, shown_gain, signed
from cohortmix.server.publish.tables import table


def site_table(summary: Mapping[str, Any], measured: bool) -> Html:
    """The section, as markup; with columns for figures on real records if these were `measured`."""
    pooled, whole = summary["pooled"], summary["consortium"]
    patients = f"{sum(site['n'] for site in summary['sites']):,}"
    joint = summary["study"]["joint"] is not None
    rows = [_site(site, pooled["score"], measured, joint) for site in summary["sites"]]
    figures = (_figure(pooled["score"]), "", "") if measured else ()
    last = [("Pooled synthetic", patients, *_cost(whole), f"{pooled['centroids']:,}", *figures)]
    if measured:
        last.append(("All real records", patients, "–", "–", "–", _figure(summary["ceiling_score"]), "", ""))
    header = (
        "Site",
        "Patients",
        "µ",
        "ε",
        "Centroids",
        *((f"Own {MEASURES[summary['measure']]}", "Gain", "95 % interval") if measured else ()),
    )
    note = f"ε holds with δ\u00a0=\u00a0{power_of_ten(whole['delta'])}."
    if measured:
        note = f"Gain: how much better the pooled synthetic records do than a site’s own real ones. {note}"
    kept = in_one_sentence(summary) if all_kept(summary) else ""  # else the page has said it at its beginning
    return element(
        "section",
        element("h2", "The sites"),
        table(header, rows, last),
        element("p", note, class_="note"),
        *([element("p", kept, class_="note")] if kept else []),
    )


def _site(site: Mapping[str, Any], pooled_score: float | None, measured: bool, joint: bool) -> tuple[str, ...]:
    centroids = "in the sum" if joint else f"{site['centroids']:,}" + (", classes only" if site["reduced"] else "")
    figures = (_figure(site["own_score"]), *shown_gain(site, pooled_score)) if measured else ()
    return (site["name"], f"{site['n']:,}", *_cost(site), centroids, *figures)


def _cost(budget: Mapping[str, Any]) -> tuple[str, str]:
    return digits(budget["mu"]), digits(budget["epsilon"])


def _figure(figure: float | None) -> str:
    return "–" if figure is None else signed(figure)
