"""DP-SGD (Abadi et al. 2016) by opacus, and records as blocks of 0 and 1, for the networks that are written here.

Guarantee
---------
(epsilon, delta) for a record added or removed: each step takes every record with the same probability, cuts each
record's gradient to norm CLIP and adds Gaussian noise; the steps are composed by Renyi divergences. Public:
domain, n.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from graphical_models import Domain
from opacus import GradSampleModule
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer

CLIP = 1.0


@dataclass(frozen=True)
class Blocks:
    """Each column one-hot: its position and how many codes it has."""

    sizes: tuple[int, ...]

    @staticmethod
    def of(domain: Domain) -> Blocks:
        """By the domain alone."""
        return Blocks(tuple(int(column["size"]) for column in domain.values()))

    @property
    def width(self) -> int:
        """How long a vector is."""
        return sum(self.sizes)

    def encode(self, table: pd.DataFrame) -> torch.Tensor:
        """(n, width) of 0 and 1."""
        codes = table.to_numpy()
        blocks = [np.eye(size, dtype=np.float32)[codes[:, j]] for j, size in enumerate(self.sizes)]
        return torch.from_numpy(np.hstack(blocks))

    def drawn(self, logits: torch.Tensor, columns: Any) -> pd.DataFrame:
        """A code of each block by its softmax."""
        parts = torch.split(logits, self.sizes, dim=1)
        codes = [torch.multinomial(torch.softmax(part, 1), 1)[:, 0].numpy() for part in parts]
        return pd.DataFrame(dict(zip(columns, codes, strict=True)))

    def softened(self, logits: torch.Tensor) -> torch.Tensor:
        """Shares of each block that are nearly one-hot and have a gradient (Jang, Gu, Poole 2017)."""
        parts = torch.split(logits, self.sizes, dim=1)
        return torch.cat([torch.nn.functional.gumbel_softmax(part, tau=0.5) for part in parts], dim=1)


@dataclass(frozen=True)
class Plan:
    """How often a network is trained, and on how many of the records each time."""

    records: int
    batch: int
    steps: int

    @property
    def rate(self) -> float:
        """The probability with which a step takes a record."""
        return min(1.0, self.batch / self.records)

    def noise(self, epsilon: float, delta: float) -> float:
        """In units of CLIP."""
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=self.rate,
                steps=self.steps,
                accountant="rdp",
            )
        )

    def batch_of(self, x: torch.Tensor) -> torch.Tensor:
        """Each record by itself with the same probability."""
        return x[torch.rand(len(x)) < self.rate]


def private(
    network: torch.nn.Module, plan: Plan, noise: float, learning_rate: float
) -> tuple[GradSampleModule, DPOptimizer]:
    """The network with gradients of each record, and the optimizer that cuts them and adds noise."""
    wrapped = GradSampleModule(network)
    inner = torch.optim.Adam(wrapped.parameters(), lr=learning_rate, betas=(0.5, 0.9))
    optimizer = DPOptimizer(
        inner,
        noise_multiplier=noise,
        max_grad_norm=CLIP,
        expected_batch_size=max(1, round(plan.rate * plan.records)),
    )
    return wrapped, optimizer


def layers(*sizes: int) -> torch.nn.Sequential:
    """Full layers with leaky rectifiers between them."""
    parts: list[torch.nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [torch.nn.Linear(a, b), torch.nn.LeakyReLU(0.2)]
    return torch.nn.Sequential(*parts[:-1])
