"""The report of a study, for people who read no code: one HTML file that needs nothing beside it.

It says who took part, what the pooled records are good for, what they can betray about a patient, and what is
not protected. Risk is put in words from mu alone (Dong, Roth and Su 2019, arXiv 1905.02383, Section 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cohortmix.core.gdp import advantage, detection_rate, epsilon_of_discrete
from cohortmix.server.html import Html, element, join
from cohortmix.server.plot import auc_plot, gain, patients_plot
from cohortmix.server.style import STYLE
from cohortmix.server.wording import at_most, count, digits, listed, percent, power_of_ten

FALSE_ALARMS = (0.01, 0.05, 0.10)
"""Shares of false alarms for which the report says how many patients can be found."""

NOTHING = Html("")


def render(
    summary: Mapping[str, Any],
    kappa: float,
    *,
    noise_std: Mapping[str, float] | None = None,
    class_only: Sequence[str] = (),
    absent: Sequence[str] = (),
) -> str:
    """The report as one HTML document.

    Parameters
    ----------
    summary : as `publish.summarise` makes it; a figure that is None was not measured.
    kappa : total variation between the noise of all receipts together and an exactly Gaussian one.
    noise_std : standard deviation of the noise of one released count, in patients, by site.
    class_only : sites whose centroids are one mean for each class, without pairs of columns.
    absent : sites of the study that have released nothing.
    """
    measured = summary["pooled"]["auc"] is not None and summary["ceiling_auc"] is not None
    main = element(
        "main",
        _opening(summary),
        _usefulness(summary) if measured else _contribution(summary, noise_std or {}),
        _risk(summary, kappa),
        _sites(summary, measured),
        _limits(summary, class_only, absent),
        _terms(measured),
        _origin(summary),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{summary['study']['name']}: report of a study"),
        element("style", Html(STYLE)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"


def _opening(summary: Mapping[str, Any]) -> Html:
    sites, rows = count(len(summary["sites"]), "site"), count(summary["pooled"]["rows"], "synthetic record")
    return element(
        "header",
        element("p", "Report of a cohortmix study", class_="eyebrow"),
        element("h1", summary["study"]["name"]),
        _warning(summary),
        element(
            "p",
            f"{sites} with {count(_patients(summary), 'patient')} took part, and no record left its site. Each "
            "site added up many patients at a time, put random noise on the sums, and sent only what follows from "
            f"those noisy sums. From all of them {rows} were drawn; the outcome is the column "
            f"“{summary['study']['target']}”. The noise limits what anyone can learn about a single patient from "
            "everything that was published; how far is said below, in numbers that can be checked.",
            class_="lead",
        ),
    )


def _warning(summary: Mapping[str, Any]) -> Html:
    if "warning" not in summary:
        return NOTHING
    seed = " The noise of this run follows from a seed: whoever knows that can take it away. For tests only."
    text = f".{seed}" if summary["noise"] == "TEST" else "."
    return element("p", element("strong", summary["warning"]), text, class_="warning", role="alert")


def _usefulness(summary: Mapping[str, Any]) -> Html:
    pooled, ceiling = summary["pooled"]["auc"], summary["ceiling_auc"]
    own = [site["own_auc"] for site in summary["sites"] if site["own_auc"] is not None]
    ahead = sum(gain(figure, pooled) > 0 for figure in own)
    return element(
        "section",
        element("h2", "What the pooled records are good for"),
        element(
            "p",
            f"A model trained on the pooled synthetic records reaches an AUC of {pooled:.3f} on real patients "
            f"whom no model has seen. For {ahead} of {count(len(own), 'site')} this is better than a model "
            "trained on the site’s own real records, though a small gain can be chance. With all real records in "
            f"one place it would be {ceiling:.3f}.",
        ),
        _figure(
            auc_plot(summary),
            "Dots: a model trained on the real records of one site alone; filled where the pooled synthetic "
            "records do better. Lines: the same model trained on the pooled synthetic records, and on the real "
            "records of all sites. Beside the names: patients to train on. These figures come from real records "
            "and are not private; they are here because the study declares its data public.",
        ),
    )


def _contribution(summary: Mapping[str, Any], noise_std: Mapping[str, float]) -> Html:
    bars = (
        " Bars: the noise on one released count of patients (one standard deviation). The further a dot is to the "
        "right of its bar, the clearer the site is seen."
    )
    return element(
        "section",
        element("h2", "Who contributed"),
        element(
            "p",
            "The more patients a site has, the less the noise matters in what it released. How well models do on "
            "real patients was not measured here: such figures are not private, and stay with the sites.",
        ),
        _figure(patients_plot(summary, noise_std), "Dots: patients." + (bars if noise_std else "")),
    )


def _risk(summary: Mapping[str, Any], kappa: float) -> Html:
    whole = summary["consortium"]
    mu, worst = whole["mu"], whole["mu_worst"]
    of_all = epsilon_of_discrete(worst, whole["delta"], kappa)
    cases = (
        (f"As declared: {_overlap(summary['study']['overlap'])}", mu, whole["epsilon"]),
        ("At worst: every patient has records at every site", worst, of_all),
    )
    rows = [
        (text, digits(each), digits(epsilon), *(at_most(detection_rate(each, a)) for a in FALSE_ALARMS))
        for text, each, epsilon in cases
    ]
    alarms = (f"{percent(a, 0)} false alarms" for a in FALSE_ALARMS)
    unless = " With the test noise of this run none of this holds." if summary["noise"] == "TEST" else ""
    return element(
        "section",
        element("h2", "What can be learned about one patient"),
        element(
            "p",
            "Think of an attacker who knows the records of everyone else, and wants to tell whether a certain "
            "patient’s record was used, or another one in its place. Whatever is done with the published files: "
            "with 5 false alarms in 100, at most ",
            element("strong", at_most(detection_rate(mu, 0.05))),
            " of the patients are found; guessing alone finds 5. However many false alarms are allowed, the share "
            f"of patients found is above theirs by at most {at_most(advantage(mu))}.{unless}",
        ),
        _table(("Patients found, at most", "µ", "ε", *alarms), rows),
    )


def _sites(summary: Mapping[str, Any], measured: bool) -> Html:
    pooled, whole, patients = summary["pooled"], summary["consortium"], f"{_patients(summary):,}"

    def row(name: str, n: str, budget: Mapping[str, Any], centroids: int, *figures: str) -> tuple[str, ...]:
        cost = (digits(budget["mu"]), digits(budget["epsilon"]))
        return (name, n, *cost, f"{centroids:,}", *(figures if measured else ()))

    rows = [
        row(site["name"], f"{site['n']:,}", site, site["centroids"], *_own(site["own_auc"], pooled["auc"]))
        for site in summary["sites"]
    ]
    last = [row("Pooled synthetic", patients, whole, pooled["centroids"], _auc(pooled["auc"]), "")]
    if measured:
        last.append(("All real records", patients, "–", "–", "–", _auc(summary["ceiling_auc"]), ""))
    header = ("Site", "Patients", "µ", "ε", "Centroids", *(("Own AUC", "Gain") if measured else ()))
    note = f"ε holds with δ\u00a0=\u00a0{power_of_ten(whole['delta'])}."
    if measured:
        note = f"Gain: by how much the pooled synthetic records do better than a site’s own real ones. {note}"
    return element(
        "section",
        element("h2", "The sites"),
        _table(header, rows, last),
        element("p", note, class_="note"),
    )


def _limits(summary: Mapping[str, Any], class_only: Sequence[str], absent: Sequence[str]) -> Html:
    largest = max(site["n"] for site in summary["sites"])
    points = (
        f"Reduced: {listed(class_only)} released one centroid for each class, without pairs of columns. There "
        "were too few patients for this budget, or the second round was missed."
        if class_only
        else "",
        f"Missing: nothing came from {listed(absent)}; the pooled records are without them." if absent else "",
        "δ is above 1/(10 N) of the largest site: for comparisons with published figures only."
        if summary["consortium"]["delta"] > 1 / (10 * largest)
        else "",
        "Not hidden: how many patients each site has, and at which site a patient was.",
        "Protected is one patient. What holds for a whole group can be learned; that is the purpose.",
        "A synthetic record describes nobody. Use the records to plan an analysis or to train a model, and "
        "confirm on real patients what you find.",
    )
    items = [element("li", point) for point in points if point]
    return element("section", element("h2", "Limits"), element("ul", *items))


def _terms(measured: bool) -> Html:
    terms = {
        "µ": "the privacy budget: by how many standard deviations of the noise one patient can shift what was "
        "published. 0 reveals nothing; the squares of several releases add up.",
        "ε, δ": "the same budget in the terms of differential privacy.",
        "Centroid": "a synthetic mean of many patients, the form in which a site releases what it knows.",
    }
    if measured:
        terms["AUC"] = "how often a model ranks a patient with the outcome above one without it: 0.5 is chance."
    pairs = [join(element("dt", term), element("dd", text)) for term, text in terms.items()]
    return element("section", element("h2", "Terms"), element("dl", *pairs))


def _origin(summary: Mapping[str, Any]) -> Html:
    seconds = "" if summary["seconds"] is None else f" {summary['seconds']:,.0f} seconds;"
    return element(
        "footer",
        element(
            "p",
            "Every site signed receipts of what the published files cost; what it spent on answers that never "
            "arrived stands in its own ledger. To check signatures, sums and budget: ",
            element("code", "cohortmix verify"),
            " with the folder of this file.",
        ),
        element(
            "p",
            f"cohortmix {summary['version']}; noise: {summary['noise']}; neighbours: one patient’s records "
            f"replaced;{seconds} study ",
            element("code", summary["study"]["hash"]),
        ),
    )


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[Sequence[str]] | None = None
) -> Html:
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in header))),
        element("tbody", *map(_table_row, rows)),
        element("tfoot", *map(_table_row, last)) if last else NOTHING,
    )
    return element("div", table, class_="wide")


def _table_row(row: Sequence[str]) -> Html:
    return element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))


def _figure(plot: Html, caption: str) -> Html:
    return element("figure", plot, element("figcaption", caption))


def _patients(summary: Mapping[str, Any]) -> int:
    return sum(site["n"] for site in summary["sites"])


def _overlap(overlap: str | int) -> str:
    if overlap == "disjoint":
        return "no patient has records at two sites"
    if overlap == "unknown":
        return "a patient can have records at every site"
    return f"no patient has records at more than {count(int(overlap), 'site')}"


def _own(own: float | None, pooled: float | None) -> tuple[str, str]:
    better = 0.0 if own is None or pooled is None else gain(own, pooled)
    return _auc(own), f"+{better:.3f}" if better > 0 else ""


def _auc(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"
