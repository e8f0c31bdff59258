"""Does ClustMix as published keep its claim, (1, 1/N)-DP? One attack on it, on its sound order and on cohortmix.

    python tests/benchmarks/bench_attack.py [--runs N] [--json F]

An attacker who knows two neighbouring tables sees one release and says from which it came:

- moved: the distance of the two releases *without noise*, at equal coins, as a multiple of what Eq. 8 takes for
  the sensitivity of the whole. Above 1, the step in the proof that bounds it is false.
- mu, epsilon: lower bounds, at 95 % confidence each, from releases with fresh coins and fresh noise, which is
  what the claim is about. The statistic is a random forest on each class's number, mean, deviation and ends of
  the released rows, grown on other runs. cohortmix and the noised steps also face the likelihood ratio of their
  exact answers, the best attack there is on them (Neyman, Pearson): their releases are functions of those answers.

`make audit` runs it; `results/attack.json` has what was measured last.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from math import sqrt
from multiprocessing import get_context
from pathlib import Path

import clustmix_noised_steps as noised_steps
import numpy as np
import pandas as pd
from attack_statistics import HEAD, Finding, finding_of, learned_bound, moved, summary
from clustmix_as_published import Array, ClustMix, mix, numbers, ranges
from neighbour_tables import MADE_UP, PAIRS, Pair
from public_data import load
from public_tables import DATA

from cohortmix.core.audit.lower_bound import log_likelihood_ratios, lower_bound
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.replay import Mechanism, Replays, run
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.single_release import Release
from cohortmix.core.steps import approximate, plan
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.evaluate import auc, train_synthetic_test_real
from cohortmix.core.utility.models import boosted_trees

OUT = Path(__file__).parent / "results" / "attack.json"
ADULT = DATA / "adult/adult.parquet"
RUNS = 120  # releases a side of the published method
ANSWERS = 4_000  # draws a side of the exact answers
WHOLE = ("a typing error",)  # pairs on which whole releases of cohortmix face the same statistic
WHOLE_SHARE = 0.4  # of the runs: such a release takes ten seconds
WORKERS = 2  # processes that make releases
SLICES = 4
STEPS = 50  # of KIP
COINS = 5  # equal ones, for `moved`
VARIANTS: dict[str, Callable[[Pair], ClustMix]] = {
    "published": lambda pair: ClustMix(pair.sigma_max, steps=STEPS),
    "published, public bounds": lambda pair: ClustMix(pair.sigma_max, steps=STEPS, bounds="schema"),
    "published, public bounds, slices": lambda pair: ClustMix(
        pair.sliced_sigma_max, steps=STEPS, bounds="schema", slices=SLICES
    ),
}
ATTACKED: dict[str, tuple[str, ...]] = {  # which variants a pair is about; the others would repeat them
    "a random patient": ("published", "published, public bounds"),
    "a typing error": ("published", "published, public bounds"),
    "a label at l_min": ("published, public bounds",),
    "a label among atoms": ("published, public bounds", "published, public bounds, slices"),
    "a far corner": ("published, public bounds", "published, public bounds, slices"),
    "near by": ("published, public bounds",),
}
Sound = Callable[..., Release]
SOUND: dict[str, Sound] = {"noised steps": noised_steps.synthesize, "cohortmix": synthesize}


def published(name: str, variant: str, runs: int, workers: ProcessPoolExecutor) -> Finding:
    """Attack a variant of the published method."""
    pair = PAIRS[name]()
    parameters, patients = VARIANTS[variant](pair), len(pair.table)
    claimed = parameters.claimed_mu(patients)
    # Even seeds are about D, odd ones about D'.
    sides = np.array(list(workers.map(partial(_published_release, name, variant), range(2 * runs))))
    bound = learned_bound(sides[::2], sides[1::2], claimed)
    share = moved(pair, parameters, COINS) / claimed
    return finding_of(name, variant, "learned", share, bound, patients)


def sound(name: str, mechanism: str) -> Finding:
    """Record and replay a sound mechanism, and attack its exact answers."""
    pair = PAIRS[name]()
    noise = OpenDPNoise()
    with few_steps():
        one = run(all_steps(pair.table, pair, SOUND[mechanism]), noise)
        other = run(all_steps(pair.other, pair, SOUND[mechanism]), noise, one)
    replays = Replays()
    replays.compare(name, one, other)
    assert not replays.violations, replays.violations
    claimed = sqrt(sum(answer.mu2 for answer in one.answers))
    bound = lower_bound(*log_likelihood_ratios(one.entries, other.entries, noise, ANSWERS), claimed)
    share = sqrt(max(replays.reached.values()))
    return finding_of(name, mechanism, "likelihood ratio", share, bound, len(pair.table))


def whole(name: str, mechanism: str, runs: int, workers: ProcessPoolExecutor) -> Finding:
    """Attack whole releases of a sound mechanism with the statistic that the published one faces."""
    patients = len(PAIRS[name]().table)
    sides = np.array(list(workers.map(partial(_sound_release, name, mechanism), range(2 * runs))))
    bound = learned_bound(sides[::2], sides[1::2], budget(patients).resolve(patients).mu)
    return finding_of(name, mechanism, "learned", None, bound, patients)


def utility() -> Mapping[str, float | None]:
    """AUC of boosted trees on Adult, first split, for releases at (1, 1/N); ClustMix tuned as the paper says."""
    data = load("adult", 0)
    x, y = numbers(data.train, data.schema)
    test, test_y = numbers(data.test, data.schema)
    low, high = x.min(axis=0), x.max(axis=0)
    tried = []
    for sigma_max in (0.05, 0.1, 0.2):
        mixed = mix((x, y), data.schema, ClustMix(sigma_max, steps=200), 0)
        model = boosted_trees().fit(mixed.noised(np.random.default_rng(1)), mixed.labels)
        scores = [model.predict_proba((rows - low) / (high - low)) for rows in (x, test)]
        tried.append((auc(y, scores[0]) or 0.0, auc(test_y, scores[1])))
    figures = {"published": max(tried, key=lambda areas: areas[0])[1]}  # the best on the training set
    for name, mechanism in SOUND.items():
        release = mechanism(data.train, data.schema, budget(len(data.train)), noise=KeyedNoise(0))
        figures[name] = train_synthetic_test_real(release.records(), data.test, data.schema)
    return figures


@contextmanager
def few_steps() -> Iterator[None]:
    """Mixtures of fewer Adam steps and fits: free post-processing, which no bound here rests on."""
    before = approximate.STEPS, approximate.MORE_STEPS, plan.CENTROIDS
    approximate.STEPS, approximate.MORE_STEPS, plan.CENTROIDS = 100, 100, 100
    try:
        yield
    finally:
        approximate.STEPS, approximate.MORE_STEPS, plan.CENTROIDS = before


def all_steps(table: pd.DataFrame, pair: Pair, mechanism: Sound) -> Mechanism:
    """A sound mechanism on one side of a pair, as `replay.run` takes it."""

    def steps(noise: NoiseSource) -> tuple[tuple[Answer, ...], Release]:
        release = mechanism(table, pair.schema, budget(len(table)), noise=noise)
        return release.answers, release

    return steps


def budget(patients: int) -> Budget:
    """The claimed (1, 1/N)."""
    return Budget.from_epsilon(1.0, 1 / patients, loose_delta=True)


def _published_release(name: str, variant: str, seed: int) -> Array:
    pair = PAIRS[name]()
    mixed = mix(pair.sides[seed % 2], pair.schema, VARIANTS[variant](pair), seed)
    noised = mixed.noised(np.random.default_rng([seed, 1]))
    return summary(noised, mixed.labels, len(pair.schema.classes))


def _sound_release(name: str, mechanism: str, seed: int) -> Array:
    pair = PAIRS[name]()
    table = pair.other if seed % 2 else pair.table
    with few_steps():
        release = SOUND[mechanism](table, pair.schema, budget(len(table)), noise=OpenDPNoise())
    x, y = numbers(release.records(seed=seed), pair.schema)
    low, high = ranges(pair.schema)
    return summary((x - low) / (high - low), y, len(pair.schema.classes))


def findings(runs: int, workers: ProcessPoolExecutor) -> Iterable[Finding]:
    """All lines of the table, as they come; of made-up pairs alone where Adult is not at hand."""
    for name in PAIRS if ADULT.exists() else MADE_UP:
        yield from (published(name, variant, runs, workers) for variant in ATTACKED[name])
        yield from (sound(name, mechanism) for mechanism in SOUND)
        if name in WHOLE:
            yield whole(name, "cohortmix", int(WHOLE_SHARE * runs), workers)


def main() -> None:
    """Print the table, and write it with versions and machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, default=OUT)
    wanted, start = parser.parse_args(), time.monotonic()
    print(HEAD)
    rows = []
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as workers:
        for finding in findings(wanted.runs, workers):
            print(finding.row(), flush=True)
            rows.append(asdict(finding) | {"moved": finding.shown_moved, "broken": finding.broken})
    figures = {name: f"{value:.4f}" for name, value in utility().items()} if ADULT.exists() else {}
    print("\nAUC on Adult, first split:", ", ".join(f"{name} {value}" for name, value in figures.items()))
    packages = ("cohortmix", "scikit-learn", "neural-tangents", "jax", "lightgbm", "numpy")
    facts = {
        "command": f"python tests/benchmarks/bench_attack.py --runs {wanted.runs}",
        "versions": {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seconds": round(time.monotonic() - start),
        "findings": rows,
        "AUC, Adult, first split": figures,
    }
    wanted.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
