"""The section of a report that says what can be learned about one patient, in words that need no statistics.

It follows from mu alone: an attacker's best trade-off between patients found and false alarms is that between two
Gaussians mu apart (Dong, Roth and Su 2019, arXiv 1905.02383, Section 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortmix.core.privacy.gdp import advantage, detection_rate, epsilon_of_discrete
from cohortmix.protocol.local.html import Html, element
from cohortmix.protocol.local.wording import at_most, count, digits, percent
from cohortmix.server.publish.tables import table

FALSE_ALARMS = (0.01, 0.05, 0.10)
"""Shares of people outside the data who are accused wrongly, for which the table bounds the patients found."""


def risk(summary: Mapping[str, Any], kappa: float) -> Html:
    """The section, as markup.

    Parameters
    ----------
    summary : as `publish.summarise` makes it.
    kappa : total variation between the noise of all receipts together and exactly Gaussian noise.
    """
    whole = summary["consortium"]
    mu, worst = whole["mu"], whole["mu_worst"]
    cases = (
        (f"As declared: {_overlap(summary['study']['overlap'])}", mu, whole["epsilon"]),
        (
            "At worst: every patient has records at every site",
            worst,
            epsilon_of_discrete(worst, whole["delta"], kappa),
        ),
    )
    rows = [
        (case, digits(mu), digits(epsilon), *(at_most(detection_rate(mu, share)) for share in FALSE_ALARMS))
        for case, mu, epsilon in cases
    ]
    alarms = (f"{percent(share, 0)} false alarms" for share in FALSE_ALARMS)
    return element(
        "section",
        element("h2", "What can be learned about one patient"),
        _attacker(mu, summary["noise"] == "TEST"),
        *([] if summary["study"]["joint"] is None else [_conspirators(summary["study"]["joint"])]),
        table(("Patients found, at most", "µ", "ε", *alarms), rows),
    )


def _attacker(mu: float, test_noise: bool) -> Html:
    unless = " With the test noise of this run none of this holds." if test_noise else ""
    return element(
        "p",
        "Imagine an attacker who knows the records of everyone else, and wants to tell whether a certain "
        "patient’s record was used, or another one in its place. Whatever the attacker does with the published "
        "files: with 5 false alarms among 100 people who are not in the data, at most ",
        element("strong", at_most(detection_rate(mu, 0.05))),
        " of the patients are found, and guessing alone would find 5\u00a0%. However many false alarms the "
        "attacker accepts, the share of patients found exceeds the share of false alarms by at most "
        f"{at_most(advantage(mu))}.{unless}",
    )


def _conspirators(joint: Mapping[str, int]) -> Html:
    """Whom the patients of a joint study trust."""
    return element(
        "p",
        f"This holds unless more than {joint['conspirators']} of the {joint['sites']} sites of the study conspire "
        "with the coordinator: the sites share the noise, and those that conspire can take theirs off again. "
        "Against everybody else, who has the published files alone, there is more noise than this.",
    )


def _overlap(overlap: str | int) -> str:
    if overlap == "disjoint":
        return "no patient has records at two sites"
    if overlap == "unknown":
        return "a patient can have records at every site"
    return f"no patient has records at more than {count(int(overlap), 'site')}"
