"""Summaries of a study, as `publish.summarise` makes them."""

from __future__ import annotations

import pytest
from report_page import SITES, Summary, around


@pytest.fixture
def summary() -> Summary:
    """A study of public data with real noise and every figure measured."""
    return {
        "study": {"name": "stroke", "hash": "ab" * 32, "target": "outcome", "overlap": "disjoint", "joint": None},
        "consortium": {"mu": 0.268, "epsilon": 1.0, "delta": 1e-5, "mu_worst": 0.464},
        "sites": [
            {"name": name, "n": n, "mu": 0.268, "epsilon": 1.0, "delta": 1e-5, "centroids": 40, "mass": float(n)}
            | {"reduced": False, "own_score": auc, "gain": around(0.7724 - auc, half)}
            for name, n, auc, half in SITES
        ],
        "pooled": {"rows": 7661, "centroids": 120, "score": 0.7724},
        "lost": {"pairs": None, "text": ""},
        "measure": "auc",
        "ceiling_score": 0.7941,
        "noise": "opendp",
        "seconds": 61.3,
        "version": "0.1.0",
        "published": "2027-03-02",
    }


@pytest.fixture
def deployed(summary: Summary) -> Summary:
    """The same study, of patients whose data are not public."""
    summary["pooled"]["score"] = summary["ceiling_score"] = summary["measure"] = None
    for site in summary["sites"]:
        site["own_score"] = site["gain"] = None
    return summary
