"""The report of a study, for people who read no code: one HTML file that needs nothing beside it.

It says who took part, what the pooled records are good for, what they can betray about a patient, and what is
not protected. Risk is put in words from mu alone (Dong, Roth and Su 2019, arXiv 1905.02383, Section 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.words import some
from cohortmix.core.privacy.gdp import advantage, detection_rate, epsilon_of_discrete
from cohortmix.protocol.local.wording import (
    at_most,
    count,
    digits,
    overlap_in_words,
    percent,
    power_of_ten,
    reduced,
)
from cohortmix.server.publish.dictionary import dictionary
from cohortmix.server.publish.gains import compared, shown_gain
from cohortmix.server.publish.html import Html, element, join
from cohortmix.server.publish.plot import auc_plot, noise_plot
from cohortmix.server.publish.style import STYLE
from cohortmix.server.publish.tables import table

FALSE_ALARMS = (0.01, 0.05, 0.10)
"""Shares of false alarms for which the report says how many patients can be found."""

NOTHING = Html("")


def render(
    summary: Mapping[str, Any],
    kappa: float,
    schema: Schema,
    coordinator_key: str,
    *,
    noise_std: Mapping[str, float] | None = None,
    absent: Sequence[str] = (),
) -> str:
    """The report as one HTML document.

    Parameters
    ----------
    summary : as `publish.summarise` makes it; a figure that is None was not measured.
    kappa : total variation between the noise of all receipts together and an exactly Gaussian one.
    schema : the study's.
    coordinator_key : under which the study and the manifest are signed.
    noise_std : standard deviation of the noise of one released count, in patients, by site.
    absent : sites of the study that have released nothing.
    """
    measured = summary["pooled"]["auc"] is not None and summary["ceiling_auc"] is not None
    main = element(
        "main",
        _opening(summary, schema, coordinator_key),
        _less_than_asked(summary, absent),
        _usefulness(summary) if measured else _contribution(summary, noise_std or {}),
        _risk(summary, kappa),
        _sites(summary, measured),
        dictionary(schema),
        _limits(summary),
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


def _opening(summary: Mapping[str, Any], schema: Schema, coordinator_key: str) -> Html:
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
        _facts(summary, schema, coordinator_key),
    )


def _facts(summary: Mapping[str, Any], schema: Schema, coordinator_key: str) -> Html:
    """What a reader needs to tell this study from another one, and to ask for its coordinator."""
    facts = {
        "Published": summary["published"] or "no day: a run with test noise can be repeated byte for byte",
        "Coordinator": join(element("code", coordinator_key), " (public key; compare it with the one you know)"),
        "Schema": f"{schema.name}, with {count(len(schema.columns), 'column')}, which are listed below",
        "Study": element("code", summary["study"]["hash"]),
    }
    pairs = [join(element("dt", name), element("dd", text)) for name, text in facts.items()]
    return element("dl", *pairs, class_="facts")


def _less_than_asked(summary: Mapping[str, Any], absent: Sequence[str]) -> Html:
    """Which sites gave less, or nothing: a reader has to know it before any figure."""
    names = [site["name"] for site in summary["sites"] if site["reduced"]]
    points = [reduced(names, len(summary["sites"]))] if names else []
    if absent:
        points.append(f"Nothing came from {some(absent)}: the pooled records are without them.")
    return (
        element("section", *(element("p", point) for point in points), class_="attention") if points else NOTHING
    )


def _warning(summary: Mapping[str, Any]) -> Html:
    if "warning" not in summary:
        return NOTHING
    seed = " The noise of this run follows from a seed: whoever knows that can take it away. For tests only."
    text = f".{seed}" if summary["noise"] == "TEST" else "."
    return element("p", element("strong", summary["warning"]), text, class_="warning", role="alert")


def _usefulness(summary: Mapping[str, Any]) -> Html:
    pooled, ceiling = summary["pooled"]["auc"], summary["ceiling_auc"]
    return element(
        "section",
        element("h2", "What the pooled records are good for"),
        element(
            "p",
            f"A model trained on the pooled synthetic records reaches an AUC of {pooled:.3f} on real patients "
            "whom no model has seen. Against a model trained on a site’s own real records that is "
            f"{compared(summary)}. With all real records in one place it would be {ceiling:.3f}.",
        ),
        _figure(
            auc_plot(summary),
            "Dots: a model trained on the real records of one site alone, and through it the 95 % interval of its "
            "difference to the line of the pooled records. Where that interval reaches the line, the difference "
            "is within chance: with other held-out patients it could have been nothing. The interval does not "
            "cover another run of the noise. Beside the names: patients to train on. These figures come from real "
            "records and are not private; they are here because the study declares its data public.",
        ),
    )


def _contribution(summary: Mapping[str, Any], noise_std: Mapping[str, float]) -> Html:
    return element(
        "section",
        element("h2", "Who contributed"),
        element(
            "p",
            "At one budget, the more patients a site has, the less the noise matters in what it released. Counts "
            "of pairs of values say more than counts of single ones, and are noisier. How well models do on real "
            "patients was not measured here: such figures are not private, and stay with the sites.",
        ),
        _figure(
            noise_plot(summary, noise_std),
            "Bars: the noise on one released count of patients (one standard deviation) as a share of the site’s "
            "patients, whose number is beside its name. Of one kind of count, the shorter the bar, the clearer "
            "the site is seen.",
        )
        if noise_std
        else NOTHING,
    )


def _risk(summary: Mapping[str, Any], kappa: float) -> Html:
    whole = summary["consortium"]
    mu, worst = whole["mu"], whole["mu_worst"]
    of_all = epsilon_of_discrete(worst, whole["delta"], kappa)
    cases = (
        (f"As declared: {overlap_in_words(summary['study']['overlap'])}", mu, whole["epsilon"]),
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
        table(("Patients found, at most", "µ", "ε", *alarms), rows),
    )


def _sites(summary: Mapping[str, Any], measured: bool) -> Html:
    pooled, whole, patients = summary["pooled"], summary["consortium"], f"{_patients(summary):,}"

    def row(name: str, n: str, budget: Mapping[str, Any], centroids: str, *figures: str) -> tuple[str, ...]:
        cost = (digits(budget["mu"]), digits(budget["epsilon"]))
        return (name, n, *cost, centroids, *(figures if measured else ()))

    def of_site(site: Mapping[str, Any]) -> tuple[str, ...]:
        figures = (_auc(site["own_auc"]), *shown_gain(site, pooled["auc"]))
        return row(site["name"], f"{site['n']:,}", site, _centroids(site), *figures)

    last = [row("Pooled synthetic", patients, whole, f"{pooled['centroids']:,}", _auc(pooled["auc"]), "", "")]
    if measured:
        last.append(("All real records", patients, "–", "–", "–", _auc(summary["ceiling_auc"]), "", ""))
    header = (
        "Site",
        "Patients",
        "µ",
        "ε",
        "Centroids",
        *(("Own AUC", "Gain", "95 % interval") if measured else ()),
    )
    note = f"ε holds with δ\u00a0=\u00a0{power_of_ten(whole['delta'])}."
    if measured:
        note = f"Gain: by how much the pooled synthetic records do better than a site’s own real ones. {note}"
    return element(
        "section",
        element("h2", "The sites"),
        table(header, [of_site(site) for site in summary["sites"]], last),
        element("p", note, class_="note"),
    )


def _centroids(site: Mapping[str, Any]) -> str:
    return f"{site['centroids']:,}" + (", of classes only" if site["reduced"] else "")


def _limits(summary: Mapping[str, Any]) -> Html:
    largest = max(site["n"] for site in summary["sites"])
    points = (
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
    seconds = "" if summary["seconds"] is None else f"; {summary['seconds']:,.0f} seconds"
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
            f"replaced{seconds}.",
        ),
    )


def _figure(plot: Html, caption: str) -> Html:
    return element("figure", plot, element("figcaption", caption))


def _patients(summary: Mapping[str, Any]) -> int:
    return sum(site["n"] for site in summary["sites"])


def _auc(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"
