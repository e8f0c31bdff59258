"""How long does a coordinator take over many sites, step by step?

    python tests/benchmarks/bench_many_sites.py [SITES]

One hospital answers both rounds; its releases are signed again under the key of every other site, which the study
says has as many patients. So everything that a coordinator reads, checks and keeps is what a real study brings.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Category, Date, Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    NoisedAnswer,
    Request,
    SignedRequest,
    SiteEntry,
    SiteRelease,
    StudySpec,
    decode,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, issue
from cohortmix.protocol.signing import Key, sign_study
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.store import Store

SCHEMA = Path(__file__).parents[2] / "deploy" / "demo" / "schema.yaml"
PATIENTS, MU = 400, Decimal(2)
T = TypeVar("T")


def table(schema: Schema, patients: int) -> pd.DataFrame:
    """Records that follow nothing but the schema."""
    rng, columns = np.random.default_rng(0), dict[str, Any]()
    for name, column in schema.columns.items():
        if isinstance(column, Category):
            columns[name] = rng.choice(column.values, patients)
        elif isinstance(column, Date):
            columns[name] = pd.to_datetime(column.min) + pd.to_timedelta(rng.integers(0, 300, patients), "D")
        else:
            columns[name] = rng.uniform(column.min, column.max, patients).round()
    return pd.DataFrame(columns)


class Sites:
    """So many sites that all have the records of one; each signs with a key of its own."""

    def __init__(self, count: int, schema: Schema) -> None:
        self.schema, self.coordinator_key = schema, Key.generate()
        self.keys = {f"site-{number + 1:04d}": Key.generate() for number in range(count)}
        entries = [SiteEntry(name=name, key=key.public_hex, patients=PATIENTS) for name, key in self.keys.items()]
        self.study = StudySpec(
            name="many sites",
            schema_hash=schema.hash,
            target=schema.target,
            mu=MU,
            delta=Decimal("0.00001"),
            overlap="disjoint",
            sites=tuple(entries),
            min_sites=count,
            round_deadline_seconds=3600,
            noise="TEST",
            version=version("cohortmix"),
            coordinator_key=self.coordinator_key.public_hex,
        )
        self.plan = Plan(schema, self.study.mu2, PATIENTS, self.study.share, float(self.study.alpha))
        records, meter = TableSource(table(schema, PATIENTS)), MemoryMeter(self.study.mu2)
        self._vault = Vault(records, schema, KeyedNoise(0).add, meter)
        self._sums: Answer = pipeline.class_sums(self._vault, self.plan)
        self._second: tuple[SiteRelease, dict[str, NoisedAnswer]] | None = None

    def replies(self, requests: dict[str, bytes]) -> dict[str, bytes]:
        """The answer of each site to its request."""
        replies = {}
        for site, data in requests.items():
            signed = decode(data)
            assert isinstance(signed, SignedRequest)
            release, answers = self._release(signed.request)
            key = self.keys[site]
            replies[site] = encode(issue(key, site, signed.request, release, answers, PATIENTS, GENESIS))
        return replies

    def _release(self, request: Request) -> tuple[SiteRelease, dict[str, NoisedAnswer]]:
        if request.common is None:
            sums = NoisedAnswer.of(self._sums)
            return ClassSumsRelease(answer=sums), {"class sums": sums}
        if self._second is None:
            common = request.common.to_core()
            answer = anonymize.answer_b(self._vault, self.plan, common)
            centroids = pipeline.approximate_and_adapt(self.plan, common, self._sums, answer, b"seed")
            self._second = CentroidsRelease.of(centroids), {"second moments": NoisedAnswer.of(answer)}
        return self._second

    @contextmanager
    def coordinator(self, folder: Path) -> Iterator[Coordinator]:
        """The coordinator of their study, with a store on disk."""
        with Store(folder / "study.db", self.study.hash) as store:
            signed = sign_study(self.coordinator_key, self.study)
            yield Coordinator(signed, self.coordinator_key, self.schema, store)


def main(count: int) -> None:
    """Print the seconds of each step, of the processor: waits for the disk are not counted."""
    sites = Sites(count, Schema.from_yaml(SCHEMA.read_text("utf-8")))
    assert sites.plan.fits_mixture
    seconds: dict[str, float] = {}

    def timed(step: str, call: Callable[[], T]) -> T:
        began = process_time()
        result = call()
        seconds[step] = seconds.get(step, 0.0) + process_time() - began
        return result

    with tempfile.TemporaryDirectory() as scratch, sites.coordinator(Path(scratch)) as coordinator:
        for number in (1, 2):
            replies = sites.replies(timed(f"requests, round {number}", coordinator.requests))
            timed(f"requests again, round {number}", coordinator.requests)
            for site, reply in replies.items():
                verdict = timed(f"accept, round {number}", partial(coordinator.accept, site, reply))
                assert verdict is Verdict.ACCEPTED, (site, verdict)
            timed("waiting", lambda: coordinator.waiting)
            timed("freeze", coordinator.freeze)
        timed("finish", coordinator.finish)
    print(f"{count} sites, {len(sites.schema.columns)} columns; seconds of the processor")
    for step, taken in seconds.items():
        print(f"  {step:<24}{taken:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
