"""Flower's simulation engine, for once: processes of their own, and the same study."""

import numpy as np
import pandas as pd

from cohortmix.core.budget import Budget
from cohortmix.deploy.consortium import Terms
from cohortmix.deploy.simulation import simulate

TERMS = Terms(budget=Budget.from_mu(0.4), seed=1)


def test_flowers_simulation_engine_gives_the_same_records(patients, schema):
    events, few = [], (patients(420), schema, np.repeat(["a", "b", "c"], [300, 60, 60]), TERMS)
    with_flower = simulate(*few, engine="flower", progress=lambda *event: events.append(event))
    in_process = simulate(*few, engine="process")
    assert {"round 1", "round 2"} <= {event for event, _, _ in events}
    pd.testing.assert_frame_equal(with_flower.records, in_process.records)
    assert with_flower.summary | {"seconds": None} == in_process.summary | {"seconds": None}
