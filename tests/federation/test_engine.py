"""Flower's simulation engine, for once: processes of their own, and the same study."""

import shutil

import pandas as pd
import pytest
from by_hand import ConsortiumOf, Patients

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.engines import run
from cohortmix.deploy.simulation.simulation import simulate
from cohortmix.server.commands.outcome import EngineError
from cohortmix.server.result import TooFewSites

TERMS = Terms(budget=Budget.from_mu(0.4), seed=1)


def test_flowers_simulation_engine_gives_the_same_records(patients: Patients, schema: Schema) -> None:
    events: list[tuple[str, int, int]] = []
    few = (patients(420), schema, ["a"] * 300 + ["b"] * 60 + ["c"] * 60, TERMS)
    with_flower = simulate(
        *few, engine="flower", accept_degraded=True, progress=lambda *event: events.append(event)
    )
    in_process = simulate(*few, engine="process", accept_degraded=True)
    assert {("round 1", 3, 3), ("round 2", 1, 1)} <= set(events)
    pd.testing.assert_frame_equal(with_flower.records, in_process.records)
    assert with_flower.summary | {"seconds": None} == in_process.summary | {"seconds": None}


def test_an_engine_that_stops_is_told_from_sites_that_are_missing(
    consortium_of: ConsortiumOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = consortium_of({"a": 60, "b": 60}, min_sites=2)
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(TooFewSites, match="0 of 2 sites answered round 1"):
        run(consortium, "flower")
    run(consortium, "process")
    with pytest.raises(EngineError, match="stopped with status 1: it said nothing"):
        run(consortium, "flower")
    with consortium.coordinator() as coordinator:
        assert len(coordinator.finish().sites) == 2, "what was answered stays"
