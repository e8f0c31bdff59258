"""The noise of an answer is drawn in one batch: who stops it midway has no part of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import opendp.prelude as dp
import pytest
from channels import Watch
from numpy.typing import NDArray

from cohortmix.client.site import site as site_module
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source
from cohortmix.core.privacy.meter import Meter
from cohortmix.core.privacy.noise import MIN_SIGMA, AddNoise, OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.vault import Vault
from cohortmix.protocol.messages import SignedRelease, decode


@dataclass
class Counting:
    """A source that remembers how many numbers it was given at each call."""

    source: NoiseSource
    calls: list[int] = field(default_factory=list)
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        self.calls.append(len(values))
        return self.source.add(values, sigma, purpose)


class InHalves(Vault):
    """A vault whose noise is drawn in two batches: who stops it midway has part of an answer."""

    def __init__(self, source: Source, schema: Schema, add_noise: AddNoise, meter: Meter) -> None:
        def halved(values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
            return np.concatenate([add_noise(half, sigma, purpose) for half in np.array_split(values, 2)])

        super().__init__(source, schema, halved, meter)


@pytest.mark.parametrize("vault", [Vault, InHalves])
def test_the_noise_of_an_answer_is_drawn_in_one_batch(
    watch: Watch, files: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, vault: type[Vault]
) -> None:
    monkeypatch.setattr(site_module, "Vault", vault)
    noise = Counting(KeyedNoise(5))
    messages = map(decode, watch(files["csv"][0], noise).replies)
    receipts = {message.receipt for message in messages if isinstance(message, SignedRelease)}
    dimensions = [each.dimension for receipt in receipts for each in receipt.statements]
    assert len(dimensions) == 2
    assert sum(noise.calls) == sum(dimensions)
    assert (sorted(noise.calls) == sorted(dimensions)) == (vault is Vault)


def test_opendp_is_called_once_for_all_numbers_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    make = dp.m.make_gaussian

    def watched(*arguments: Any, **options: Any) -> Callable[[list[int]], list[int]]:
        measurement = make(*arguments, **options)
        return lambda values: calls.append(len(values)) or measurement(values)  # type: ignore[func-returns-value]

    monkeypatch.setattr(dp.m, "make_gaussian", watched)
    OpenDPNoise().add(np.zeros(1000, dtype=np.int64), MIN_SIGMA, "")
    assert calls == [1000]
