"""Generative adversarial networks of others: DP-CTGAN, PATE-CTGAN and PATE-GAN of SmartNoise, three of synthcity.

Each imports its package where it runs, since no environment holds them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from graphical_models import Domain


def _smartnoise(model: Any, table: pd.DataFrame, domain: Domain, seed: int) -> pd.DataFrame:
    """Categories one-hot, numbers in [-1, 1], both by the domain and not by the records."""
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
    return _codes(np.array(model.sample(len(table)), dtype=np.float64), table, domain)


def _codes(drawn: Any, table: pd.DataFrame, domain: Domain) -> pd.DataFrame:
    """The nearest codes of the domain."""
    last = [column["size"] - 1 for column in domain.values()]
    return pd.DataFrame(np.clip(np.rint(drawn), 0, last).astype(np.int64), columns=table.columns)


def dpctgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """DP-CTGAN. It draws conditions by exact frequencies of categories, which its accounting leaves out."""
    from snsynth.pytorch.nn.dpctgan import DPCTGAN

    batch = min(500, len(table) // 2)  # its default where there are enough records
    model = DPCTGAN(epsilon=epsilon, delta=delta, batch_size=batch, verbose=False, cuda=False)
    return _smartnoise(model, table, domain, seed)


def patectgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """PATE-CTGAN. As coded, all its teachers and its student are one network, which records have trained."""
    from snsynth.pytorch.nn.patectgan import PATECTGAN

    return _smartnoise(PATECTGAN(epsilon=epsilon, delta=delta, verbose=False, cuda=False), table, domain, seed)


def pategan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """PATE-GAN, a teacher for each 1,000 records: it needs as many."""
    from snsynth.pytorch.nn.pategan import PATEGAN

    return _smartnoise(PATEGAN(epsilon=epsilon, delta=delta), table, domain, seed)


def _synthcity(name: str, table: pd.DataFrame, domain: Domain, seed: int, **settings: Any) -> pd.DataFrame:
    """A plugin with its default settings; its own coding of columns looks at the records."""
    from synthcity.plugins import Plugins
    from synthcity.plugins.core.dataloader import GenericDataLoader

    model = Plugins().get(name, random_state=seed, device="cpu", **settings)
    model.fit(GenericDataLoader(table, target_column=str(table.columns[-1])))
    made = model.generate(count=len(table), random_state=seed).dataframe()
    return _codes(made[table.columns].to_numpy(dtype=np.float64), table, domain)


def adsgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """ADS-GAN (Yoon, Drumright, van der Schaar 2020). NOT differentially private: it has no epsilon."""
    return _synthcity("adsgan", table, domain, seed)


def dpgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """DPGAN (Xie et al. 2018): DP-SGD in the discriminator."""
    return _synthcity("dpgan", table, domain, seed, epsilon=epsilon, delta=delta)


def pategan_synthcity(
    table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int
) -> pd.DataFrame:
    """PATE-GAN (Jordon, Yoon, van der Schaar 2019)."""
    return _synthcity("pategan", table, domain, seed, epsilon=epsilon, delta=delta)
