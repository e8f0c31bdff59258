"""What models are asked to predict: the declared target of each data set first, then others, by public rules.

Besides the target's own column, columns that give it away are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping


def around(pixel: int) -> tuple[str, ...]:
    """The eight pixels beside one of an image of 28 x 28."""
    return tuple(f"p{pixel + 28 * down + right}" for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)


TARGETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "adult": {
        "income": (),
        "sex": ("relationship",),
        "hours-per-week>40": (),
        "age>=40": (),
        "education-num>=13": ("education",),
        "marital-status=Married-AF-spouse|Married-civ-spouse|Married-spouse-absent": ("relationship",),
    },
    "heart": {"disease": (), "sex=1": (), "age>=55": (), "cp=4": (), "exang=1": ()},
    "stroke": {
        "outcome": (),
        "AGE>=75": (),
        "SEX=F": (),
        "RCONSC=D|U": (),
        "RATRIAL=Y": (),
        "RVISINF=Y": ("RCT",),
    },
    "creditcard": {"Class": (), "V1>0": (), "V2>0": (), "V3>0": (), "V4>0": ()},
    "isolet": {"vowel": (), "f150>0": (), "f200>0": (), "f300>0": (), "f550>0": ()},
    "mnist": {"digit": (), **{f"p{at}>127": around(at) for at in (210, 350, 406, 490)}},
    "diabetes130": {
        "readmitted": (),
        "gender=Female": (),
        "age=[70-80)|[80-90)|[90-100)": (),
        "insulin=No": ("diabetesMed", "change"),
        "time_in_hospital>=5": (),
        "discharge=home": (),
    },
    "physionet2019": {
        "sepsis": (),
        "Gender=1": (),
        "Age>=65": (),
        "HR_mean>=90": (),
        "Creatinine_mean>=1.2": (),
        "Unit=surgical": (),
    },
}
