"""Made sites: every message that a coordinator gets from S hospitals, for the work of one.

Each signs with a key of its own, so that a coordinator reads, checks and keeps what a study brings. With noise
of each, all sign one site's answers. In a joint study each adds noise of its own to one exact answer and hides it
under its own mask; the masks that two sites share would cancel in the sum and are left out; sealed boxes are
random digits, which a coordinator cannot tell from real ones.
"""

from __future__ import annotations

import secrets
from collections import Counter
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.dictionary.columns import Category, Date
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, pipeline
from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.masks import integers, own_mask, words
from cohortmix.protocol.masking.seeds import Seeds
from cohortmix.protocol.messages import (
    ANSWER_NAMES,
    CentroidsRelease,
    ClassSumsRelease,
    MaskedRelease,
    Message,
    NoisedAnswer,
    Request,
    SignedRequest,
    SignedStep,
    SignedStepReply,
    SiteEntry,
    SiteRelease,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import GENESIS, issue
from cohortmix.protocol.signing import Key, sign_reply
from cohortmix.protocol.steps import (
    BOX_BYTES,
    SEED_BYTES,
    STEPS,
    Box,
    Boxes,
    Consent,
    Keys,
    Share,
    Shares,
    SignedReply,
    Step,
    StepReply,
    hash_of_keys,
    hash_of_sites,
)
from cohortmix.protocol.study import JointNoise, usual_conspirators


def made_table(schema: Schema, patients: int) -> pd.DataFrame:
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


class MadeSites:
    """So many sites that all have the records of one.

    Parameters
    ----------
    patients : of each site.
    mu : what each spends.
    """

    def __init__(self, count: int, schema: Schema, patients: int, mu: Decimal, joint: bool) -> None:
        self.schema, self.patients, self.coordinator_key = schema, patients, Key.generate()
        self.keys = {f"site-{number + 1:04d}": Key.generate() for number in range(count)}
        entries = [SiteEntry(name=name, key=key.public_hex, patients=patients) for name, key in self.keys.items()]
        out = count // 10 if joint else 0
        self.study = StudySpec(
            name="many sites",
            schema_hash=schema.hash,
            target=schema.target_name,
            mu=mu,
            delta=Decimal("0.0000001"),
            overlap="disjoint",
            joint=JointNoise(conspirators=usual_conspirators(count), tolerated_dropouts=out) if joint else None,
            sites=tuple(entries),
            min_sites=count - out,
            round_deadline_seconds=3600,
            noise="TEST",
            point_masses=False,  # one answer in a round
            version=version("cohortmix"),
            coordinator_key=self.coordinator_key.public_hex,
        )
        self.plan = self.study.plan(schema, patients)
        self._records = TableSource(made_table(schema, patients))
        self._asked: Counter[str] = Counter()
        self._rounds: dict[int, _Each | _Joint] = {}

    def reply(self, site: str, message: bytes) -> bytes:
        """What a site answers to its next message, which is read where nothing of its round is made yet."""
        self._asked[site] += 1
        round, step = divmod(self._asked[site] - 1, len(STEPS) if self.study.joint else 1)
        if round not in self._rounds:
            kind = _Joint if self.study.joint else _Each
            self._rounds[round] = kind(self, _request_of(decode(message)))
        return self._rounds[round].reply(site, STEPS[step])

    def vault(self, seed: int) -> Vault:
        """The vault of one site."""
        return Vault(self._records, self.schema, KeyedNoise(seed).add, MemoryMeter(self.study.mu2))

    def signed(self, site: str, request: Request, release: SiteRelease, answer: NoisedAnswer) -> bytes:
        """A release of a site, with its receipt, in answer to its request of this round."""
        own = request.model_copy(update={"request_id": request_id(self.study.hash, site, request.round)})
        answers = {ANSWER_NAMES[request.round][0]: answer}
        return encode(issue(self.keys[site], site, own, release, answers, self.patients, GENESIS))


class _Each:
    """One round of sites that add all of the noise themselves: one site's release, signed by all."""

    def __init__(self, sites: MadeSites, request: Request) -> None:
        self._sites, self._request, plan = sites, request, sites.plan
        sums = pipeline.class_sums(sites.vault(0), plan)
        self._answer = NoisedAnswer.of(sums)
        if request.common is None:
            self._release: SiteRelease = ClassSumsRelease(answer=self._answer)
        else:
            common = request.common.to_core()
            pairs = anonymize.answer_b(sites.vault(1), plan, common)
            centroids = pipeline.approximate_and_adapt(plan, common, sums, pairs, b"seed")
            self._answer, self._release = NoisedAnswer.of(pairs), CentroidsRelease.of(centroids)

    def reply(self, site: str, step: Step) -> bytes:
        return self._sites.signed(site, self._request, self._release, self._answer)


class _Joint:
    """One round of a joint study from which no site drops out."""

    def __init__(self, sites: MadeSites, request: Request) -> None:
        self._sites, self._request, self._names = sites, request, sorted(sites.keys)
        self._seeds = {name: Seeds.draw() for name in self._names}
        self._keys = {name: self._signed(name, seeds.keys) for name, seeds in self._seeds.items()}
        self._roster = hash_of_keys(tuple(self._keys.values()))
        self._consent = Consent(survivors=hash_of_sites(tuple(self._names), self._roster))

    def reply(self, site: str, step: Step) -> bytes:
        if step == "input":
            return self._input(site)
        if step == "keys":
            signed = self._keys[site]
        elif step == "shares":
            boxes = (Box(site=other, sealed=secrets.token_hex(BOX_BYTES)) for other in self._names)
            signed = self._signed(site, Boxes(boxes=tuple(boxes)))
        elif step == "consent":
            signed = self._signed(site, self._consent)
        else:
            shares = tuple(Share(site=other, share=secrets.token_hex(SEED_BYTES)) for other in self._names)
            spare = self._answer(site).spare if self._sites.study.terms.dropouts else None
            given = None if spare is None else Array.of(spare)
            signed = self._signed(site, Shares(own=self._seeds[site].own, spare=given, shares=shares))
        return encode(SignedStepReply(signed=signed))

    def _input(self, site: str) -> bytes:
        answer = self._answer(site)
        masked = words(answer.values) + own_mask(self._seeds[site].own, self._roster, len(answer.values))
        release = MaskedRelease(values=Array.of(integers(masked)))
        return self._sites.signed(site, self._request, release, NoisedAnswer.of(answer))

    def _answer(self, site: str) -> Answer:
        """With noise of the site's own; the same whenever it is asked for."""
        vault, plan, terms = self._sites.vault(self._names.index(site)), self._sites.plan, self._sites.study.terms
        if self._request.common is None:
            return pipeline.class_sums(vault, plan, terms)
        (pairs,) = pipeline.pairs(vault, plan, self._request.common.to_core(), terms)
        return pairs

    def _signed(self, site: str, content: Keys | Boxes | Consent | Shares) -> SignedReply:
        return sign_reply(self._sites.keys[site], StepReply(site=site, sum=self._request.sum, content=content))


def _request_of(message: Message) -> Request:
    assert isinstance(message, SignedRequest | SignedStep)
    return message.request if isinstance(message, SignedRequest) else message.step.request
