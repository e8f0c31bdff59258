"""Progress: an observer is told how far the work is, and the work does not depend on it."""

from __future__ import annotations

import pandas as pd
import pytest
from parity import patients, schema

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.single_release import Variant
from cohortmix.core.steps.progress import observed, report
from cohortmix.core.synthesis import synthesize

PARTS = {
    "cells": ["answers", "mixture", "inducing points", "dependences", "records"],
    "scores": ["answers", "dependences", "mixture", "inducing points", "records"],
    "gaussian": ["inducing points"],
}


def made(variant: Variant) -> pd.DataFrame:
    table = patients(3, 2000, 0, 3)
    release = synthesize(table, schema(3), Budget.from_epsilon(1.0), noise=KeyedNoise(1), variant=variant)
    return release.records(500)


@pytest.mark.parametrize("variant", PARTS)
def test_each_part_is_told_from_its_begin_to_its_end(variant: Variant, few_steps: None) -> None:
    told: list[tuple[str, int, int]] = []
    with observed(lambda part, done, total: told.append((part, done, total))):
        watched = made(variant)
    assert list(dict.fromkeys(part for part, _, _ in told)) == PARTS[variant]
    for part in PARTS[variant]:
        done = [(done, total) for name, done, total in told if name == part]
        assert done[0][0] == 0
        assert done[-1][0] == done[-1][1]
        assert [each for each, _ in done] == sorted(each for each, _ in done)
        assert all(each <= total for each, total in done)
    pd.testing.assert_frame_equal(watched, made(variant), check_exact=True)


def test_nobody_is_told_outside() -> None:
    told: list[str] = []
    with observed(lambda part, done, total: told.append(part)):
        with observed(lambda part, done, total: told.append(f"inner {part}")):
            report("a", 0, 1)
        report("b", 0, 1)
    report("c", 0, 1)
    assert told == ["inner a", "b"]
