"""Requests of a hostile coordinator, or altered on the way: they get a closed code, or the approved answer."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from mutations import mutated
from sites import CAP, LARGE, asking, common_of, refused, release, site, study

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.daemon import Daemon
from cohortmix.protocol import site_pb2
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    Code,
    CommonMessage,
    Refusal,
    SignedRelease,
    decode,
    encode,
)

MUTATIONS = int(os.environ.get("COHORTMIX_MUTATIONS", "3000"))


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger(":memory:", CAP)
    yield ledger
    ledger.close()


def test_altered_requests_get_a_code_or_the_answer_that_was_approved(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is logged as an error: no exception reached the handler for unexpected ones."""
    caplog.set_level(logging.ERROR)
    hospital, chance, outcomes = site(ledger, study()), random.Random(3), Counter[str]()
    first = hospital.answer(encode(asking(study())))
    second = encode(asking(study(), 2, common=common_of(study(), release(first))))
    answers = {encode(asking(study())): first, second: hospital.answer(second)}
    spent = ledger.spent_mu2
    for number in range(MUTATIONS):
        original = list(answers)[number % 2]
        reply = hospital.answer(mutated(original, chance))
        message = decode(reply)
        if isinstance(message, Refusal):
            outcomes[message.code] += 1
            assert message.code in set(Code)
        else:
            assert reply == answers[original], "altered in nothing that counts"
    assert ledger.spent_mu2 == spent
    assert outcomes.keys() >= {Code.BAD_SIGNATURE, Code.UNAVAILABLE, Code.UNKNOWN_VERSION}
    assert caplog.records == []


def test_whatever_a_study_asks_of_points_gets_a_code_or_an_answer(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Its coordinator is enrolled and has signed it, and the steward has approved its hash."""
    caplog.set_level(logging.ERROR)
    chance, outcomes = random.Random(4), Counter[str]()
    words = [
        "drift<=",
        "recall(ill)>=",
        "recall(dead)>=",
        "calibration(SEX=F, ill)<=",
        "calibration(AGE>=60, ill)<=",
    ]
    words += ["calibration(AGE=60, ill)<=", "calibration(outcome=ill, ill)<=", "recall(ill) >=", "calm", " "]
    for _ in range(300):
        limits = (chance.choice(["0", "0.1", "1", "2", "0.10", "1e-3", "-1", "9" * 400, ""]) for _ in range(3))
        texts = tuple(chance.choice(words) + limit for limit in limits)[: chance.randrange(1, 4)]
        spec = study().model_copy(update={"constraints": texts})
        message = decode(site(ledger, spec).answer(encode(asking(spec))))
        outcomes[message.code if isinstance(message, Refusal) else "answer"] += 1
    assert outcomes.keys() >= {Code.UNAVAILABLE, Code.UNKNOWN_COLUMN, "answer"}
    assert caplog.records == []


EXTREMES: dict[str, dict[str, Any]] = {
    "noise of nothing": {"s_a": Decimal("1e-60")},
    "noise beyond all": {"s_a": Decimal("1e60")},
    "no noise": {"s_a": Decimal(0)},
    "all in one cell": {"cells": "one"},
    "less than nobody": {"cells": "negative"},
    "more than everybody": {"cells": "large"},
    "no distributions": {"cells": "zero"},
    "beyond a float together": {"cells": "huge"},
    "one class alone": {"masses": [5e-324, 100.0]},
    "nobody": {"masses": [0.0, 120.0]},
    "everybody and more": {"masses": [1e300, 1e300]},
}


def extreme(common: CommonMessage, change: dict[str, Any]) -> CommonMessage:
    cells = common.cells.numpy().copy()
    if change.get("cells") == "one":
        cells = np.zeros_like(cells)
        starts = np.cumsum([0, *(len(of) for of in common.groups)])[:-1]
        cells[:, starts] = 1
    altered = {"negative": -cells, "large": 2 * cells, "zero": 0 * cells, "huge": cells * 0 + 1e308, "one": cells}
    update: dict[str, Callable[[Any], object]] = {
        "cells": lambda kind: Array.of(altered[kind]),
        "masses": lambda masses: Array.of(np.array(masses)),
        "s_a": lambda noise: noise,
    }
    return common.model_copy(update={name: update[name](value) for name, value in change.items()})


@pytest.mark.parametrize("mu", [LARGE, "0.05"])
@pytest.mark.parametrize("name", EXTREMES)
def test_margins_at_their_bounds_are_answered_or_refused_before_they_cost(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, few_steps: None, name: str, mu: str
) -> None:
    """A hostile coordinator can sign them; what cannot be computed must be refused before it costs budget."""
    caplog.set_level(logging.ERROR)
    spec = study(mu)
    hospital = site(ledger, spec)
    common = common_of(spec, release(hospital.answer(encode(asking(spec)))))
    spent = ledger.spent_mu2
    message = decode(hospital.answer(encode(asking(spec, 2, common=extreme(common, EXTREMES[name])))))
    if isinstance(message, Refusal):
        assert message.code is Code.UNKNOWN_COLUMN
        assert ledger.spent_mu2 == spent
    else:
        assert name in ("noise of nothing", "noise beyond all", "all in one cell", "one class alone")
        assert isinstance(message, SignedRelease)
    assert caplog.records == []


def test_a_study_of_another_version_is_refused(ledger: Ledger) -> None:
    other = study(version="0.0.9")
    assert refused(site(ledger, other).answer(encode(asking(other)))) == Code.UNKNOWN_VERSION
    assert ledger.spent_mu2 == 0
    release(site(ledger, study()).answer(encode(asking(study()))))


def test_altered_envelopes_get_a_code(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Over the socket comes an envelope, and a relay can alter each of its bytes."""
    caplog.set_level(logging.ERROR)
    hospital, chance = site(ledger), random.Random(6)
    daemon = Daemon(hospital, Policy, 0.01, 2**20)
    request = site_pb2.Envelope(message=encode(asking(study()))).SerializeToString()
    for _ in range(MUTATIONS):
        altered = bytearray(request)
        for _ in range(chance.choice((1, 2, 8))):
            altered[chance.randrange(chance.choice((4, len(altered))))] = chance.randrange(256)
        reply = site_pb2.Envelope.FromString(daemon._answer(bytes(altered[: chance.choice((None, 3, 500))])))
        assert isinstance(decode(reply.message), Refusal)
    assert caplog.records == []
