"""What a published study cost, and what its readers are warned of.

All of it follows from the signed study and the published receipts, so anyone can compute it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.receipts import Total
from cohortmix.server.budget import composed, composed_kappa

LOOSE_WARNING = "loose delta: above 1/(10 N), for comparisons with published figures only"
"""What every output says of a study whose delta is above 1/(10 N), with N the patients of its largest site."""


def warning(spec: StudySpec) -> dict[str, str]:
    """The entry `warning` of every output of this study; empty if there is nothing to warn of."""
    warnings = [NOT_PRIVATE] * (spec.noise == "TEST") + [LOOSE_WARNING] * spec.loose_delta
    return {"warning": "; ".join(warnings)} if warnings else {}


def _joint(spec: StudySpec) -> dict[str, int] | None:
    """Of a joint study, S, t and T, on which its budget rests; None where each site adds all of the noise."""
    terms = spec.terms
    if spec.joint is None:
        return None
    return {"sites": terms.sites, "conspirators": terms.conspirators, "threshold": terms.threshold}


def costs(spec: StudySpec, spent: Mapping[str, Total]) -> dict[str, Any]:
    """The entries of summary.json that a study and its receipts determine.

    Budgets are what the published files cost. A site may have spent more, on an answer that never arrived or that
    was not accepted; its own ledger counts that, too.

    Parameters
    ----------
    spent : by site, the total of its published receipts; at least one site.
    """
    delta = float(spec.delta)
    mu, worst = composed(spec, [cost.mu for cost in spent.values()])
    together = Total(Fraction(mu) ** 2, composed_kappa(spec, [cost.kappa for cost in spent.values()]))
    patients = {entry.name: entry.patients for entry in spec.sites}
    return {
        **warning(spec),
        "study": {
            "name": spec.name,
            "hash": spec.hash,
            "target": spec.target,
            "overlap": spec.overlap,
            "joint": _joint(spec),
            **({"constraints": list(spec.constraints)} if spec.constraints else {}),
        },
        "consortium": {
            "mu": mu,
            "epsilon": float(together.epsilon(spec.delta)),
            "delta": delta,
            "mu_worst": worst,
        },
        "sites": [
            {
                "name": name,
                "n": patients[name],
                "mu": cost.mu,
                "epsilon": float(cost.epsilon(spec.delta)),
                "delta": delta,
            }
            for name, cost in spent.items()
        ],
        "noise": spec.noise,
    }
