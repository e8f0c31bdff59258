"""`make bench`: what the README says about utility and cost, measured on this machine by the product's own code.

Five fixed splits with the keyed test source, mean and standard deviation, and one run of the first split with
the real source. Figures are the area under the ROC curve of boosted trees (LightGBM, 100 trees) trained on
synthetic records with drawn labels and tested on held-out real ones, except where they name another model.

    python tests/benchmarks/bench.py [NAME ...]
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import SPLITS, Dataset, load
from sklearn.metrics import roc_auc_score

from cohortmix.core import Budget
from cohortmix.core.evaluate import marginal_tvd, train_synthetic_test_real
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.pipeline import SUPPORT
from cohortmix.core.synthesis import Release, synthesize
from cohortmix.deploy.consortium import Terms
from cohortmix.deploy.simulation import Simulation, simulate

OUT = Path(__file__).parent / "results"
# The declared target and five others; besides the target itself, columns that give it away are hidden.
ADULT_TARGETS: Mapping[str, tuple[str, ...]] = {
    "income": (),
    "sex": ("relationship",),
    "hours-per-week>40": (),
    "age>=40": (),
    "education-num>=13": ("education",),
    "marital-status=Married-AF-spouse|Married-civ-spouse|Married-spouse-absent": ("relationship",),
}
Figures = dict[str, float]


def stroke(split: int, keyed: bool) -> Figures:
    """The demo: eight networks, one mu, epsilon 1 at delta 1e-5, disjoint patients."""
    data = load("stroke", split)
    found = _study(data, data.site[~data.held_out], Budget.from_epsilon(1.0, 1e-5), split, keyed)
    figures = {"pooled": _auc(found.records, data), "real": _auc(data.train, data)}
    figures["tvd"] = marginal_tvd(found.records, data.test, data.schema).pairs
    for name in ("POLA", "NETH", "AUSL", "UK", "ITAL"):
        figures[f"own {name}"] = _auc(data.train[data.site[~data.held_out] == name], data)
    return figures


def heart(split: int, keyed: bool) -> Figures:
    """Four hospitals, epsilon 3 at delta 1e-4; and epsilon 1 at the default delta."""
    data = load("heart", split)
    site = data.site[~data.held_out]
    at3 = _study(data, site, Budget.from_epsilon(3.0, 1e-4), split, keyed)
    at1 = _study(data, site, Budget.from_epsilon(1.0), split, keyed)
    return {
        "pooled": _auc(at3.records, data),
        "pooled, epsilon 1": _auc(at1.records, data),
        "real": _auc(data.train, data),
    }


def adult(split: int, keyed: bool, loose: bool = True) -> Figures:
    """One site, epsilon 1 at delta 1/N; or at our own delta."""
    data = load("adult", split)
    release = _release(data, split, keyed, loose)
    figures = _six(release.records(), data)
    figures["tvd"] = marginal_tvd(release.records(), data.test, data.schema).pairs
    figures["50 support points alone"] = _support_auc(release, data)
    figures["20 support points alone"] = _support_auc(_release(data, split, keyed, loose, support=20), data)
    return figures


def adult_real(split: int, keyed: bool) -> Figures:
    """What the real records reach: the ceiling."""
    data = load("adult", split)
    return _six(data.train, data)


def adult5(split: int, keyed: bool, loose: bool = True) -> Figures:
    """Five IID sites, epsilon 1 at delta 1/n of the site, finished centroids; or at our own delta."""
    data = load("adult", split)
    site = np.random.default_rng(split).permutation(np.arange(len(data.train)) % 5).astype(str)
    delta = 1 / np.unique(site, return_counts=True)[1].max() if loose else None
    budget = Budget.from_epsilon(1.0, delta, loose_delta=loose)
    return _six(_study(data, np.char.add("site-", site), budget, split, keyed).records, data)


def cost(split: int, keyed: bool) -> Figures:
    """One release on Adult, real noise: CPU seconds after start, and the peak of the process."""
    data, start = load("adult", split), time.process_time()
    _release(data, split, keyed=False, loose=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"CPU seconds": time.process_time() - start, "peak GB": peak}


BENCHMARKS: Mapping[str, Callable[[int, bool], Figures]] = {
    "cost": cost,
    "stroke": stroke,
    "heart": heart,
    "adult": adult,
    "adult, own delta": partial(adult, loose=False),
    "adult, real records": adult_real,
    "adult5": adult5,
    "adult5, own delta": partial(adult5, loose=False),
}


def run(name: str) -> str:
    """All splits of one benchmark; writes JSON, returns rows of a Markdown table."""
    function = BENCHMARKS[name]
    start = time.monotonic()
    splits = range(1 if name == "cost" else SPLITS)
    keyed = pd.DataFrame([function(split, True) for split in splits])
    real = function(0, False)
    facts = {
        "command": f"python tests/benchmarks/bench.py '{name}'",
        "version": version("cohortmix"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seconds": round(time.monotonic() - start),
        "TEST noise, by split": keyed.round(4).to_dict("list"),
        "real noise, split 0": {key: round(value, 4) for key, value in real.items()},
    }
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name.replace(', ', '-').replace(' ', '-')}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return "\n".join(
        f"| {name} | {key} | {keyed[key].mean():.4f} | {keyed[key].std(ddof=0):.4f} | {real[key]:.4f} |"
        for key in keyed
    )


def _study(data: Dataset, site: np.ndarray, budget: Budget, split: int, keyed: bool) -> Simulation:
    terms = Terms(budget=budget, seed=split if keyed else None, public_data=True)
    return simulate(data.train, data.schema, list(site), terms)


def _release(data: Dataset, split: int, keyed: bool, loose: bool, support: int = SUPPORT) -> Release:
    budget = Budget.from_epsilon(1.0, 1 / len(data.train) if loose else None, loose_delta=loose)
    return synthesize(data.train, data.schema, budget, noise=KeyedNoise(split) if keyed else None, support=support)


def _six(records: pd.DataFrame, data: Dataset) -> Figures:
    scores = {
        target: train_synthetic_test_real(records, data.test, data.schema, target, without=hidden)
        for target, hidden in ADULT_TARGETS.items()
    }
    return {
        "income": _defined(scores["income"]),
        "mean of six": float(np.mean([_defined(s) for s in scores.values()])),
    }


def _auc(records: pd.DataFrame, data: Dataset) -> float:
    return _defined(train_synthetic_test_real(records, data.test, data.schema))


def _support_auc(release: Release, data: Dataset) -> float:
    """Kernel ridge regression on the inducing points, nothing else."""
    label = (data.test["income"] == ">50K").to_numpy()
    return float(roc_auc_score(label, release.support.predict_proba(data.test)[:, 1]))


def _defined(value: float | None) -> float:
    assert value is not None
    return value


if __name__ == "__main__":
    print("| benchmark | figure | mean of 5 | sd | real noise |\n|---|---|---|---|---|")
    for each in sys.argv[1:] or BENCHMARKS:
        print(run(each), flush=True)
