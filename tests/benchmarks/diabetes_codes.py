"""How the authors of the diabetes table group its codes (Strack et al. 2014, Tables 2 and 3)."""

from __future__ import annotations

SPECIALTIES = {  # Strack et al. 2014, Table 3; the others are "other"
    "InternalMedicine": "internal",
    "Cardiology": "cardiology",
    "Surgery-General": "surgery",
    "Surgery-Cardiovascular": "surgery",
    "Surgery-Cardiovascular/Thoracic": "surgery",
    "Surgery-Neuro": "surgery",
    "Surgery-Vascular": "surgery",
    "Family/GeneralPractice": "general practice",
}
DISEASES = {  # Strack et al. 2014, Table 2: chapters of ICD-9
    "circulatory": [(390, 459), (785, 785)],
    "respiratory": [(460, 519), (786, 786)],
    "digestive": [(520, 579), (787, 787)],
    "diabetes": [(250, 250)],
    "injury": [(800, 999)],
    "musculoskeletal": [(710, 739)],
    "genitourinary": [(580, 629), (788, 788)],
    "neoplasms": [(140, 239)],
}


def disease(code: str) -> str | None:
    """The group of an ICD-9 code; a code with a letter is one of the others."""
    if code == "?":
        return None
    chapter = int(float(code)) if code[0].isdigit() else 0
    return next(
        (name for name, spans in DISEASES.items() if any(first <= chapter <= last for first, last in spans)),
        "other",
    )
