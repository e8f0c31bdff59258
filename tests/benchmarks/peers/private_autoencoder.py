"""A variational autoencoder (Kingma, Welling 2014) trained by DP-SGD, as in Chen et al. 2018: a DP-VAE."""

from __future__ import annotations

import pandas as pd
import torch
from gradient_noise import Blocks, Plan, layers, private
from graphical_models import Domain

LATENT, HIDDEN = 8, 128
BATCH, STEPS, EPOCHS, RATE = 256, 2_000, 60, 1e-3  # as many steps as that, or as many passes over the records


class Autoencoder(torch.nn.Module):  # type: ignore[misc]  # torch is not in the environment of the checks
    """Every column a block of values; `forward` is the loss of each record."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks
        self.encoder = layers(blocks.width, HIDDEN, 2 * LATENT)
        self.decoder = layers(LATENT, HIDDEN, blocks.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n,): what it takes to say a record, and how far its code is from the prior."""
        mean, log = self.encoder(x).chunk(2, dim=1)
        log = log.clamp(-8, 8)
        logits = self.decoder(mean + torch.exp(log / 2) * torch.randn_like(mean))
        parts = zip(torch.split(logits, self.blocks.sizes, 1), torch.split(x, self.blocks.sizes, 1), strict=True)
        said = torch.stack([(one * torch.log_softmax(part, 1)).sum(1) for part, one in parts]).sum(0)
        return 0.5 * (mean**2 + log.exp() - 1 - log).sum(1) - said


def dpvae(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """A decoder that draws each value by its softmax.

    Guarantee
    ---------
    That of `gradient_noise`: (epsilon, delta) for a record added or removed.
    """
    torch.manual_seed(seed)
    blocks = Blocks.of(domain)
    x, model = blocks.encode(table), Autoencoder(blocks)
    batch = min(BATCH, max(1, len(x) // 4))
    plan = Plan(len(x), batch, min(STEPS, EPOCHS * len(x) // batch))
    wrapped, optimizer = private(model, plan, plan.noise(epsilon, delta), RATE)
    empty = torch.zeros(1, blocks.width)  # in each batch, so that a step without records is a step as well
    for _ in range(plan.steps):
        optimizer.zero_grad()
        wrapped(torch.cat([plan.batch_of(x), empty])).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return blocks.drawn(model.decoder(torch.randn(len(x), LATENT)), table.columns)
