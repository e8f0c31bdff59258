"""Synthesizers of others that release noised marginals: MST, AIM and PrivBayes of dpmm, MST with mbi 2, PrivSyn.

Each imports its package where it runs, since no environment holds them all.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Domain: TypeAlias = dict[str, dict[str, Any]]  # of each column: "size", whether it is "ordered", whether "missing"
Clique: TypeAlias = tuple[str, ...]
ITERATIONS = 1_000  # of mirror descent, in MST with mbi 2


def sizes_of(domain: Domain) -> dict[str, int]:
    """How many codes a column has."""
    return {name: int(column["size"]) for name, column in domain.items()}


def _dpmm(model: Any, table: pd.DataFrame, domain: Domain, seed: int) -> pd.DataFrame:
    """Noised marginals that are chosen privately, and a graphical model."""
    model.set_random_state(np.random.RandomState(seed))
    model.set_domain(sizes_of(domain))
    model.fit(table)
    return pd.DataFrame(model.generate(n_records=len(table)))


def mst(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """MST (McKenna, Miklau, Sheldon 2021): a tree of pairs."""
    from dpmm.models.mst import MSTGM

    return _dpmm(MSTGM(epsilon, delta, n_jobs=1), table, domain, seed)


def aim(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """AIM (McKenna, Mullins, Sheldon, Miklau 2022): marginals chosen one by one, where the model is worst."""
    from dpmm.models.aim import AIMGM

    return _dpmm(AIMGM(epsilon, delta, n_jobs=1), table, domain, seed)


def privbayes(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """PrivBayes (Zhang et al. 2017) as dpmm has it: a network of degree 2, with Gaussian noise."""
    from dpmm.models.priv_bayes import PrivBayesGM

    return _dpmm(PrivBayesGM(epsilon, delta, n_jobs=1), table, domain, seed)


def privsyn(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """PrivSyn (Zhang et al. 2021): many pairs, and records that are moved until they agree with them."""
    from privsyn import PrivSynModel

    model = PrivSynModel(epsilon=epsilon, delta=delta, random_state=seed)
    model.fit(table, sizes_of(domain))
    return pd.DataFrame(model.sample(len(table)))


def mst_mbi(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """MST on mbi 2, whose wheel has estimation and no mechanisms: these are written here, from the paper.

    A third of rho each for columns, for the choice of a tree, and for its pairs.
    """
    import mbi

    rng, rho = np.random.default_rng(seed), zcdp_of(epsilon, delta)
    space = mbi.Domain.fromdict(sizes_of(domain))
    data = mbi.Dataset({name: table[name].to_numpy() for name in space.attributes}, space)
    columns: list[Clique] = [(name,) for name in space.attributes]
    measured = _measured(mbi, data, columns, rho / 3, rng)
    fit = partial(mbi.estimation.MirrorDescent().estimate, known_total=len(table), iters=ITERATIONS)
    first = fit(space, measured)
    tree = _tree(data, first, list(space.attributes), rho / 3, rng)
    measured += _measured(mbi, data, tree, rho / 3, rng)
    made = fit(space, measured).synthetic_data(len(table))
    return pd.DataFrame({name: np.asarray(made.to_dict()[name]) for name in space.attributes})


def zcdp_of(epsilon: float, delta: float) -> float:
    """The rho whose (epsilon, delta) is this: epsilon = rho + 2 sqrt(rho log(1/delta)) (Bun, Steinke 2016)."""
    log = np.log(1 / delta)
    return float((sqrt(log + epsilon) - sqrt(log)) ** 2)


def _measured(mbi: Any, data: Any, cliques: list[Clique], rho: float, rng: np.random.Generator) -> list[Any]:
    """Counts of each clique with Gaussian noise; a record adds 1 to one cell of each."""
    sigma = sqrt(len(cliques) / (2 * rho))
    noised = []
    for clique in cliques:
        exact = _counts(data, clique)
        noised.append(mbi.LinearMeasurement(exact + rng.normal(0, sigma, len(exact)), clique, stddev=sigma))
    return noised


def _counts(model: Any, clique: Clique) -> NDArray[np.float64]:
    return np.asarray(model.project(clique).datavector(), dtype=np.float64)


def _tree(data: Any, model: Any, columns: list[str], rho: float, rng: np.random.Generator) -> list[Clique]:
    """A spanning tree, edge by edge by the exponential mechanism: pairs that independent columns explain worst."""
    pairs = list(combinations(columns, 2))
    error = {pair: float(np.abs(_counts(data, pair) - _counts(model, pair)).sum()) for pair in pairs}
    part = {name: name for name in columns}  # a name for each connected part
    epsilon = sqrt(8 * rho / max(1, len(columns) - 1))
    tree: list[Clique] = []
    while len(tree) < len(columns) - 1:
        open_pairs = [pair for pair in pairs if part[pair[0]] != part[pair[1]]]
        scores = [epsilon / 2 * error[pair] + rng.gumbel() for pair in open_pairs]
        chosen = open_pairs[int(np.argmax(scores))]
        tree.append(chosen)
        joined, left = part[chosen[1]], part[chosen[0]]
        part = {name: left if of == joined else of for name, of in part.items()}
    return tree
