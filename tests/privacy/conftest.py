"""Neighbouring tables in files, and a watch on all that a site lets out."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from channels import (
    ODD,
    Open,
    Seen,
    Watch,
    conversation,
    counting,
    opened,
    site,
    sizes,
    table,
    with_odd_patient,
    write,
)

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.steps import approximate
from cohortmix.core.steps.adapting import descent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The two tables in each form."""
    folder, plain = tmp_path_factory.mktemp("tables"), table(np.random.default_rng(5))
    return {
        kind: (
            write(folder / f"one.{kind}", plain),
            write(folder / f"other.{kind}", with_odd_patient(plain, kind)),
        )
        for kind in ODD
    }


@pytest.fixture
def watch(
    few_steps: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Watch:
    """Serve a table, ask all that a coordinator may ask, rightly and wrongly, and record what is seen."""
    iterations: list[tuple[Any, ...]] = []
    for module, name in ((approximate, "_advance"), (descent, "_adam")):
        monkeypatch.setattr(module, name, counting(getattr(module, name), name, iterations))

    def watched(path: Path, noise: NoiseSource, reader: Open = opened) -> Seen:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        ledger = Ledger(file, Decimal(5))
        caplog.clear()
        iterations.clear()
        with caplog.at_level(logging.DEBUG, "cohortmix"):
            replies = tuple(conversation(site(reader(path), noise, ledger)))
        ledger.close()
        return Seen(replies, tuple(caplog.record_tuples), capfd.readouterr(), sizes(file), tuple(iterations))

    return watched
