"""What the demo prints in the end: one table for both ways of adding noise, and what it means."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import RenderableType

from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.protocol.local.tables import figure
from cohortmix.protocol.local.terminal import Terminal, compact_table
from cohortmix.protocol.local.wording import at_most, reduced
from cohortmix.server.publish.gains import compared, shown_gain

FALSE_ALARMS = 0.05
MOST_LINES = 12
"""Sites that have a line each; of more, the best, the median and the worst are shown."""

Summary = Mapping[str, Any]


def print_results(each: Summary, joint: Summary, noun: str, out: Path, joint_out: Path) -> None:
    """Print what each site has by itself, and what all have together with either noise.

    Parameters
    ----------
    each, joint : the summaries of the two studies, of the same patients.
    noun : what a site is: a network, a hospital.
    out, joint_out : the folders of the two studies.
    """
    console = Terminal()
    if each["noise"] == "TEST":
        console.print(NOT_PRIVATE, style="bold red")
    console.print(_table(each, joint, noun))
    for sentence in _sentences(each, joint, noun):
        console.print(f"- {sentence}")
    console.print()
    console.print(
        f"For people: report.html in {out} (noise of each) and {joint_out} (joint noise); for machines: "
        "pooled.parquet, centroids.parquet, summary.json"
    )
    folders = f"{shlex.quote(str(out))} {shlex.quote(str(joint_out))}"
    console.print(f"To check receipts and budget: cohortmix verify {folders}")
    console.print(
        "Data: International Stroke Trial (Sandercock, Niewada, Czlonkowska 2011, doi:10.7488/ds/104), ODC-By 1.0",
        style="dim",
    )


def _table(each: Summary, joint: Summary, noun: str) -> RenderableType:
    header = ("trained on", "N", "mu", "epsilon", "AUC", "gain", "95 % interval")
    table = compact_table(header, box=box.SIMPLE)
    if len(each["sites"]) <= MOST_LINES:
        for site in each["sites"]:
            figures = figure(site["own_score"]), *shown_gain(site, each["pooled"]["score"])
            table.add_row(f"{site['name']} real", *_costs(site, site["n"]), *figures)
    else:
        own = sorted(site["own_score"] for site in each["sites"] if site["own_score"] is not None)
        for name, auc in (("best", max(own)), ("median", median(own)), ("worst", min(own))):
            table.add_row(f"{name} {noun} real", "", "-", "-", figure(auc))
    patients = sum(site["n"] for site in each["sites"])
    table.add_section()
    for name, summary in (("each", each), ("joint", joint)):
        cost, auc = _costs(summary["consortium"], patients), figure(summary["pooled"]["score"])
        table.add_row(f"synthetic, {name}", *cost, auc, style="bold")
    table.add_row("all real", f"{patients:,}", "-", "-", figure(each["ceiling_score"]))
    return table


def _costs(budget: Summary, patients: int) -> tuple[str, str, str]:
    return f"{patients:,}", f"{budget['mu']:.3f}", f"{budget['epsilon']:.2f}"


def _sentences(each: Summary, joint: Summary, noun: str) -> list[str]:
    """What the table means, and who has to be trusted for it."""
    sites, mu, terms = each["sites"], each["consortium"]["mu"], joint["study"]["joint"]
    detected = gdp.detection_rate(mu, FALSE_ALARMS)
    sentences = [
        f"Noise of each: against a {noun}'s own records the pooled synthetic cohort predicts "
        f"{compared(each, noun)}; with joint noise {compared(joint, noun)}. A difference is within chance where "
        "its interval holds zero.",
        "AUC: how often a patient who died or stayed dependent is ranked above one who did not; 0.5 is chance.",
        f"An attacker who knows every other record and is allowed {FALSE_ALARMS:.0%} false alarms finds at most "
        f"{at_most(detected)} of the members; guessing finds {FALSE_ALARMS:.0%}.",
        f"Noise of each: a {noun} adds all of the noise by itself, and its patients need trust nobody else.",
        f"Joint noise: only the sum of at least {terms['threshold']} of the {terms['sites']} {noun}s can be read, "
        f"and this holds unless more than {terms['conspirators']} of them conspire with the coordinator.",
        f"Both count on every patient being in one {noun} only; if all were in all of them, mu would be "
        f"{each['consortium']['mu_worst']:.3f} with noise of each, {joint['consortium']['mu_worst']:.3f} with "
        "joint noise.",
    ]
    names = [site["name"] for site in sites if site["reduced"]]
    return sentences + ([f"Noise of each: {reduced(names, len(sites))}"] if names else [])
