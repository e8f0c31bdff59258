"""Two federated adversarial networks, rebuilt small from their papers with DP-SGD at each site.

- FL-GAN (Xin, Yang, Geng, Chen, Wang, Huang 2020, Private FL-GAN), serial: generator and critic go from site to
  site.
- AsynDGAN (Chang et al. 2020): one generator at the centre, a discriminator at each site; made records go out, and
  their gradients come back.

`sites.npy` beside the process has the site of each record, counted from 0. Patients of a site are protected by
that site's noise: (epsilon, delta) for a record added or removed there; how many a site has is public.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from gradient_noise import Blocks, Plan, layers, private
from graphical_models import Domain
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer

LATENT, HIDDEN = 16, 64
BATCH, RATE, SMOOTH = 64, 1e-3, 0.9  # records of a step; how sure a discriminator is told to be
ROUNDS_SERIAL, STEPS_SERIAL = 10, 20  # rounds over all sites, and steps at a site in each
ROUNDS_CENTRAL = 200  # each a step of every discriminator and one of the generator
BYTES = 4  # of a number on the wire


class Site:
    """A site's records and its discriminator, whose gradients get the site's noise."""

    critic: GradSampleModule
    optimizer: DPOptimizer

    def __init__(self, x: torch.Tensor, steps: int, epsilon: float, delta: float) -> None:
        self.x, self.plan = x, Plan(len(x), min(BATCH, len(x)), steps)
        self.noise = self.plan.noise(epsilon, delta)

    def start(self, critic: torch.nn.Module) -> None:
        """Take a discriminator, with an optimizer of its own."""
        self.critic, self.optimizer = private(critic, self.plan, self.noise, RATE)

    def step(self, made: torch.Tensor) -> None:
        """Learn to tell made records from some of its own; as many made ones in each step, whatever is drawn."""
        real = self.plan.batch_of(self.x)
        wanted = torch.cat([torch.full((len(real), 1), SMOOTH), torch.zeros(len(made), 1)])
        self.optimizer.zero_grad()
        told = self.critic(torch.cat([real, made]))
        torch.nn.functional.binary_cross_entropy_with_logits(told, wanted).backward()
        self.optimizer.step()

    def gradient(self, made: torch.Tensor) -> torch.Tensor:
        """Of the generator's loss, by made records (n, width): all that a site of AsynDGAN sends."""
        asked = made.detach().requires_grad_(True)
        self.critic.disable_hooks()  # no gradients of each record are wanted here
        told = self.critic(asked)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(told, torch.ones_like(told))
        (gradient,) = torch.autograd.grad(loss, asked)
        self.critic.enable_hooks()
        return gradient


def _sites(x: torch.Tensor, steps: int, epsilon: float, delta: float) -> list[Site]:
    place = torch.from_numpy(np.load("sites.npy"))
    return [Site(x[place == number], steps, epsilon, delta) for number in range(int(place.max()) + 1)]


def _numbers(*networks: torch.nn.Module) -> int:
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def flgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """Serial: both networks visit one site after the other; each trains them on its own records and hands on."""
    torch.manual_seed(seed)
    blocks = Blocks.of(domain)
    generator, critic = layers(LATENT, HIDDEN, blocks.width), layers(blocks.width, HIDDEN, 1)
    sites = _sites(blocks.encode(table), ROUNDS_SERIAL * STEPS_SERIAL, epsilon, delta)
    learner, state = torch.optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.9)), critic.state_dict()
    for _ in range(ROUNDS_SERIAL):
        for site in sites:
            visitor = layers(blocks.width, HIDDEN, 1)
            visitor.load_state_dict(state)
            site.start(visitor)
            for _ in range(STEPS_SERIAL):
                site.step(_made(generator, blocks, BATCH).detach())
                made = _made(generator, blocks, BATCH)
                made.backward(site.gradient(made))
                learner.step()
                learner.zero_grad()
            state = visitor.state_dict()
    _say(ROUNDS_SERIAL, ROUNDS_SERIAL * len(sites) * _numbers(generator, critic) * BYTES)
    return _records(generator, blocks, table)


def asyndgan(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """Central: in each round every site gets two batches of made records, and one gradient of them comes back."""
    torch.manual_seed(seed)
    blocks = Blocks.of(domain)
    generator = layers(LATENT, HIDDEN, blocks.width)
    sites = _sites(blocks.encode(table), ROUNDS_CENTRAL, epsilon, delta)
    for site in sites:
        site.start(layers(blocks.width, HIDDEN, 1))
    learner = torch.optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.9))
    for _ in range(ROUNDS_CENTRAL):
        for site in sites:
            site.step(_made(generator, blocks, BATCH).detach())
        for site in sites:  # by its share of all records, as in the paper
            made = _made(generator, blocks, BATCH)
            made.backward(site.gradient(made) * len(site.x) / len(table))
        learner.step()
        learner.zero_grad()
    _say(ROUNDS_CENTRAL, ROUNDS_CENTRAL * len(sites) * 3 * BATCH * blocks.width * BYTES)
    return _records(generator, blocks, table)


def _made(generator: torch.nn.Module, blocks: Blocks, count: int) -> torch.Tensor:
    return blocks.softened(generator(torch.randn(count, LATENT)))


def _records(generator: torch.nn.Module, blocks: Blocks, table: pd.DataFrame) -> pd.DataFrame:
    with torch.no_grad():
        return blocks.drawn(generator(torch.randn(len(table), LATENT)), table.columns)


def _say(rounds: int, sent: int) -> None:
    """Beside the records: how often sites were asked, and bytes that crossed the wire in both directions."""
    Path("traffic.json").write_text(f'{{"rounds": {rounds}, "bytes": {sent}}}')
