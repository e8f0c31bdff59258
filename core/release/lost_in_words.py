"""Lost, in words: what a release could not carry and what would help, for people who use the records.

One short paragraph, with a few names of each kind and the number of the others: a table can have thousands of
columns. The facts (`lost`) have all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cohortmix.core.data.words import counted, listed, some
from cohortmix.core.release.lost import Lost

MOST_NAMES = 5  # of one kind that a sentence spells out


def paragraph(lost: Lost, pairs: bool = True) -> str:
    """A few sentences; empty where nothing was lost.

    Parameters
    ----------
    pairs : whether to say also that nothing is known of pairs of columns, which a study says by site.

    >>> paragraph(Lost(target="outcome"))
    ''
    >>> paragraph(Lost(target="outcome", columns_alone=("HIV",))).split(": ")[0]
    'Too few patients differ in HIV'
    """
    said = [_of_pairs(lost) if pairs else "", *_of_classes(lost), *_of_columns(lost)]
    sentences = [sentence for sentence in said if sentence]
    return " ".join([*sentences, _remedies(lost)]) if sentences else ""


def _of_pairs(lost: Lost) -> str:
    """Why nothing is known of pairs of columns."""
    if lost.pairs is None:
        return ""
    if lost.pairs == "too noisy":
        return (
            "Which values go together in one patient was measured, but the noise is too large for the answer: "
            "take no association between columns from the records."
        )
    kept = (
        "the release is one centroid of all patients, and the records keep how often each value occurs"
        if lost.target is None
        else f"the release is one centroid per class of {lost.target}, and the records keep how often each value "
        "occurs in each class"
    )
    return (
        "Which values go together in one patient was not measured, since there are too few patients for this "
        f"budget: {kept}, and nothing else."
    )


def _of_classes(lost: Lost) -> list[str]:
    """Classes that noise hides, and those without pairs."""
    said, target = [], lost.target
    if target is None:
        return []  # one class of everybody, which is compared with nothing
    if lost.classes_in_noise:
        said.append(
            f"Classes of {target} with so few patients that noise hides what sets them apart: "
            f"{_some(_quoted(lost.classes_in_noise))}; do not compare them with other patients."
        )
    if lost.classes_without_pairs:
        said.append(
            f"Classes of {target} with too few patients for pairs of columns: "
            f"{_some(_quoted(lost.classes_without_pairs))}; the records keep how often each value occurs there, "
            "and not which values go together."
        )
    return said


def _of_columns(lost: Lost) -> list[str]:
    """Columns without anything that goes with them, or with the outcome alone; and merged values."""
    said = []
    if lost.columns_alone:
        said.append(
            f"Too few patients differ in {_some(lost.columns_alone)}: the records keep how often each value "
            "occurs there, and nothing that goes with it."
        )
    if lost.columns_without_pairs:
        at_most = "how often each value occurs" if lost.target is None else f"what goes with {lost.target}"
        said.append(
            f"Of {_some(lost.columns_without_pairs)} the records keep at most {at_most}, and not what goes with "
            "other columns."
        )
    if lost.values_merged:
        merged = [f"{name} ({counted(number, 'value')})" for name, number in lost.values_merged.items()]
        said.append(
            f"Rare values were counted together in {_some(merged)}: what goes with one of them in the records is "
            "what goes with all of them."
        )
    return said


def _remedies(lost: Lost) -> str:
    """What would help against what was lost."""
    classes = bool(lost.classes_in_noise or lost.classes_without_pairs)
    rare = ("classes" * (classes and lost.sliced is None), "values" * bool(lost.values_merged))
    ways = ["a larger epsilon", "more patients", "fewer columns"]
    if classes and lost.sliced is not None:
        ways.append(f"fewer `slices` of {lost.sliced}")
    if any(rare):
        ways.append(f"merging rare {listed([what for what in rare if what])} in the schema")
    return f"What would help: {listed(ways, 'or')}."


def _quoted(classes: Sequence[str]) -> list[str]:
    """Names of classes; one of an event and a slice of time has a comma in it."""
    return [f"“{name}”" if "," in name else name for name in classes]


def _some(names: Sequence[str]) -> str:
    return some(names, MOST_NAMES)
