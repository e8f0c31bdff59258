"""One federated synthesizer of others on one table of codes; runs in an environment of its own.

    python tests/benchmarks/peers/federate.py METHOD IN.parquet DOMAIN.json OUT.parquet EPSILON DELTA SEED OPTIONS

`federated_rivals.py` runs it in a folder that has a patched copy of the rival's code and `sites.npy`, the site of
each record, counted from 0. The tables are those of `synthesize.py`; OPTIONS, as JSON, are settings of the rival.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Sizes = dict[str, int]  # how many values a column has
Options = dict[str, Any]


def flaim(table: pd.DataFrame, sizes: Sizes, options: Options) -> pd.DataFrame:
    """DistAIM and AugFLAIM (Maddock, Cormode, Maple 2024), as `options["generator"]` says."""
    loaders = import_module("synth_fl.utils.dataloaders")
    generators, federated = import_module("synth_fl.generators"), import_module("synth_fl.generators.federated")
    import_module("loguru").logger.remove()
    sites = np.load("sites.npy")
    count = int(sites.max()) + 1
    # It takes the site of each record from this file where there is one; otherwise it deals records out by itself.
    Path("data").mkdir()
    np.save(f"data/adult_p=1_seed=None_n={len(table)}_k={count}_.npy", sites)
    dataset = loaders.TabularDataset("adult", df=table, domain=sizes, y=table.columns[-1])
    name, triples = options.pop("generator"), options.pop("triples")
    workloads = import_module("synth_fl.workloads").WorkloadManager(num_marginals=triples, k=3, seed=123)
    config = generators.FederatedGeneratorConfig(num_clients=count, workload_num_marginals=triples, **options)
    generator = federated.FLGeneratorFactory().create_obj(name, config)
    made = generator.generate(dataset, workloads.generate_workload(dataset), num_clients=count)
    return pd.DataFrame(made.df)


def heterofedsyn(table: pd.DataFrame, sizes: Sizes, options: Options) -> pd.DataFrame:
    """HeteroFedSyn (2026), the adaptive one, with its split of the budget: .3 columns, .3 choice, .4 pairs."""
    library = "synthesizer.privsyn_lib"
    import_module("loguru").logger.remove()
    data = import_module(f"{library}.data_loader").DataLoader()
    data.load_data(table, {name: {value: value for value in range(size)} for name, size in sizes.items()})
    epsilon, delta = options["epsilon"], options["delta"]
    budget = {
        "noise_to_one_way_marginal": 0.3 * epsilon,
        "noise_to_two_way_marginal": 0.3 * epsilon,
        "two-way-publish": 0.4 * epsilon,
        "client_num": int(np.load("sites.npy").max()) + 1,
        "dist_method": "uniform",
        "delta": delta,
    }
    model = import_module(f"{library}.core_fedsyn_adv").FedprivSyn_adv(
        data, update_iterations=50, eps=epsilon, delta=delta, sensitivity=1, budget_split_method=budget
    )
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        model.train(None)
        return pd.DataFrame(model.synthesize(num_records=len(table)))


METHODS: dict[str, Callable[..., pd.DataFrame]] = {"flaim": flaim, "heterofedsyn": heterofedsyn}


def main() -> None:
    """Run the method that the command line names, and write its records and what they cost."""
    method, source, domain, target, epsilon, delta, seed, options = sys.argv[1:]
    sys.path.insert(0, str(Path.cwd()))
    random.seed(int(seed))
    np.random.seed(int(seed))
    table = pd.read_parquet(source)
    sizes = {name: column["size"] for name, column in json.loads(Path(domain).read_text()).items()}
    settings = {**json.loads(options), "epsilon": float(epsilon), "delta": float(delta)}
    wall, cpu = time.monotonic(), time.process_time()
    made = METHODS[method](table, sizes, settings)
    cost = {
        "seconds": time.monotonic() - wall,
        "cpu seconds": time.process_time() - cpu,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    made[table.columns].reset_index(drop=True).astype(np.int64).to_parquet(target)
    packages = {package: version(package) for package in ("numpy", "pandas", "scipy", "networkx", "autodp")}
    Path(target).with_suffix(".json").write_text(json.dumps({"cost": cost, "packages": packages}))


if __name__ == "__main__":
    main()
