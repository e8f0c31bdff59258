"""How a study can end short of its sites: they refused it, or they did not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cohortmix.protocol.messages import Code
from cohortmix.server.store import NOT_ACCEPTED, RefusalEntry


class StudyRefused(Exception):  # noqa: N818 (an answer, not a fault)
    """A study stopped because sites refused it."""


class StudyUnanswered(Exception):  # noqa: N818
    """A study stopped because sites did not answer."""


class EngineError(RuntimeError):
    """Flower, which carries the messages, stopped before the study was over."""


def told_apart(sentence: str, refusals: Iterable[RefusalEntry]) -> StudyRefused | StudyUnanswered:
    """What to raise for a study whose missing sites said this; that a site is unavailable is no refusal.

    What a site is quoted with is not signed: anyone on the way can have written it.
    """
    refused = [refusal for refusal in refusals if refusal.code != Code.UNAVAILABLE]
    if refused:
        first = refused[0]
        how = "reply was not accepted" if first.code == NOT_ACCEPTED else "says (unsigned)"
        return StudyRefused(f"{sentence}; {first.site!r} {how}: {first.sentence}")
    return StudyUnanswered(sentence)


@contextmanager
def with_enough_sites() -> Iterator[None]:
    """Tell a study that sites refused from one that they did not answer."""
    from cohortmix.server.coordinator import TooFewSites  # brings in JAX

    try:
        yield
    except TooFewSites as stopped:
        raise told_apart(str(stopped), stopped.refusals) from None
