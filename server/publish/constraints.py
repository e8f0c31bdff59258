"""What became of a study's constraints: in summary.json, in one sentence, and whether a summary can be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from cohortmix.core.data.words import in_quotes, listed, some
from cohortmix.core.steps.adapting.constraint import Reached, parse
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.protocol.messages import StudySpec

TERMS = {
    "Inducing points": "a few labelled synthetic rows that predict the outcome by themselves.",
    "Drift": "how far they were moved from typical synthetic patients to predict better; 0 is not at all.",
    "Recall": "of the patients of a class, the share that they find.",
    "Calibration": "in a subgroup, how far their mean predicted probability of a class is from the class’s share.",
}
"""What the words of constraints mean, for who has never read one."""


def became(spec: StudySpec, centroids: SiteCentroids) -> dict[str, Any]:
    """The entry `constraints` of a site in summary.json; empty for a study without any.

    Where there are no inducing points nothing is met, and there are no figures.
    """
    if not spec.constraints:
        return {}
    nothing = tuple(Reached(text, False, None, None) for text in spec.constraints)
    return {"constraints": [reached.facts for reached in centroids.constraints or nothing]}


def in_one_sentence(summary: Mapping[str, Any]) -> str:
    """Which sites' inducing points miss which constraint, or that all are kept; empty for a study without any."""
    asked = summary["study"].get("constraints", ())
    if not asked:
        return ""
    points = [site for site in summary["sites"] if site["constraints"][0]["value"] is not None]
    without = [site["name"] for site in summary["sites"] if site not in points]
    if not points:
        return f"No inducing points were released that could keep {_quoted(asked)}."
    joint = summary["study"]["joint"] is not None
    missed = {text: [site["name"] for site in points if not _of(site, text)["met"]] for text in asked}
    parts = [
        f"those of {'all sites together' if joint else some(names)} miss {in_quotes(text)}"
        + (f" ({Reached(**_of(points[0], text)).shown})" if joint else "")
        for text, names in missed.items()
        if names
    ]
    kept = [text for text, names in missed.items() if not names]
    if kept:
        parts.insert(0, f"all that were released keep {_quoted(kept)}")
    if without:
        parts.append(f"{some(without)} released none")
    return f"Inducing points: {'; '.join(parts)}."


def all_kept(summary: Mapping[str, Any]) -> bool:
    """Whether every site has released inducing points, and all of them keep every constraint."""
    return all(one["met"] for site in summary["sites"] for one in site.get("constraints", ()))


def fault(summary: Mapping[str, Any], spec: StudySpec, second: Iterable[str]) -> str | None:
    """Why what a summary says of the constraints cannot be so; None if it can.

    The figures are the sites' word. What follows from study and receipts is compared: which constraints there are,
    that none is called met beyond its limit, that a site has inducing points only if it has answered round 2, and
    that all sites of a joint study, who have the same points, say the same.

    Parameters
    ----------
    summary : of any content, so that whatever is missing or of another type raises KeyError, TypeError,
        AttributeError or ValueError.
    second : the sites with a receipt of round 2.
    """
    sites, second = summary["sites"], set(second)
    for site in sites:
        said, name = site.get("constraints", []), in_quotes(site["name"])
        if [one["constraint"] for one in said] != list(spec.constraints):
            return f"site {name}: expected constraints={list(spec.constraints)}, in this order"
        present = site["name"] in second if spec.joint is None else bool(second)
        if wrong := [
            text for text, one in zip(spec.constraints, said, strict=True) if not _possible(one, present)
        ]:
            return f"site {name}: {_quoted(wrong)} cannot have become what the summary says"
    if spec.joint is not None and any(site.get("constraints") != sites[0].get("constraints") for site in sites):
        return "the sites of a joint study have the same inducing points, and say different things of constraints"
    return None


def _possible(one: Mapping[str, Any], present: bool) -> bool:
    """Whether this can have become of a constraint.

    Parameters
    ----------
    present : whether there can be inducing points.
    """
    met, value, multiplier = one["met"], one["value"], one["multiplier"]
    if value is None:
        return multiplier is None and met is False
    finite = all(type(each) in (int, float) and 0 <= each < inf for each in (value, multiplier))
    return present and finite and (met is False or (met is True and parse(one["constraint"]).holds(value)))


def _of(site: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in site["constraints"] if one["constraint"] == text)
    return found


def _quoted(texts: Sequence[str]) -> str:
    return listed([in_quotes(text) for text in texts])
