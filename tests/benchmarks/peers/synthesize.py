"""One synthesizer of others on one table of codes; runs in an environment of its own (`make bench-peers`).

    python tests/benchmarks/peers/synthesize.py METHOD IN.parquet DOMAIN.json OUT.parquet EPSILON DELTA SEED

IN holds a column of integers for each column of the schema: the position of a declared value, or a public cell of
a number. DOMAIN says how many there are and whether they have an order, so that the budget pays for all that is
learned from the records. OUT has as many rows as IN; OUT.json the time and memory that it took.

Their guarantee is (epsilon, delta) for a record added or removed; to replace one, as this project promises for its
own figures, can cost up to twice the epsilon. The seed repeats the parts that a package lets one repeat.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Domain = dict[str, dict[str, Any]]  # of each column: "size", and whether it is "ordered"


def graphical(model: Any, table: pd.DataFrame, domain: Domain, seed: int) -> pd.DataFrame:
    """MST and AIM of dpmm: noised marginals that are chosen privately, and a graphical model."""
    model.set_random_state(np.random.RandomState(seed))
    model.set_domain({name: column["size"] for name, column in domain.items()})
    model.fit(table)
    return pd.DataFrame(model.generate(n_records=len(table)))


def mst(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """MST (McKenna, Miklau, Sheldon 2021): a tree of pairs."""
    from dpmm.models.mst import MSTGM

    return graphical(MSTGM(epsilon, delta, n_jobs=1), table, domain, seed)


def aim(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """AIM (McKenna, Mullins, Sheldon, Miklau 2022): marginals chosen one by one, where the model is worst."""
    from dpmm.models.aim import AIMGM

    return graphical(AIMGM(epsilon, delta, n_jobs=1), table, domain, seed)


def adversarial(model: Any, table: pd.DataFrame, domain: Domain, seed: int) -> pd.DataFrame:
    """GANs of SmartNoise: categories one-hot, numbers in [-1, 1], both by the domain and not by the records."""
    import torch
    from snsynth.transform import MinMaxTransformer, OneHotEncoder
    from snsynth.transform.table import TableTransformer

    torch.manual_seed(seed)
    np.random.seed(seed)
    last = [column["size"] - 1 for column in domain.values()]
    kinds = [
        MinMaxTransformer(lower=0, upper=most) if column["ordered"] else OneHotEncoder()
        for column, most in zip(domain.values(), last, strict=True)
    ]
    transformer = TableTransformer(kinds)
    transformer.fit([tuple(last)])
    model.fit([tuple(map(int, row)) for row in table.to_numpy()], transformer=transformer)
    drawn = np.array(model.sample(len(table)), dtype=np.float64)
    return pd.DataFrame(np.clip(np.rint(drawn), 0, last).astype(np.int64), columns=table.columns)


def dpgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """DP-CTGAN. It draws conditions by exact frequencies of categories, which its accounting leaves out."""
    from snsynth.pytorch.nn.dpctgan import DPCTGAN

    return adversarial(DPCTGAN(epsilon=epsilon, delta=delta, verbose=False, cuda=False), table, domain, seed)


def pategan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """PATE-GAN, a teacher for each 1,000 records: it needs as many."""
    from snsynth.pytorch.nn.pategan import PATEGAN

    return adversarial(PATEGAN(epsilon=epsilon, delta=delta), table, domain, seed)


METHODS: dict[str, Callable[..., pd.DataFrame]] = {"mst": mst, "aim": aim, "dpgan": dpgan, "pategan": pategan}


def main() -> None:
    """Run the method that the command line names, and write its records and what they cost."""
    method, source, domain, target, epsilon, delta, seed = sys.argv[1:]
    table, columns = pd.read_parquet(source), json.loads(Path(domain).read_text())
    wall, cpu = time.monotonic(), time.process_time()
    made = METHODS[method](table, columns, float(epsilon), float(delta), int(seed))
    cost = {
        "seconds": time.monotonic() - wall,
        "cpu seconds": time.process_time() - cpu,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    made[table.columns].to_parquet(target)
    packages = {package: version(package) for package in ("dpmm", "smartnoise-synth", "torch", "opacus")}
    Path(target).with_suffix(".json").write_text(json.dumps({"cost": cost, "packages": packages}))


if __name__ == "__main__":
    main()
