"""How a study can end without some of its sites: they refused it, or they did not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cohortmix.protocol.messages import Code
from cohortmix.server.result import TooFewSites
from cohortmix.server.store import NOT_ACCEPTED, RefusalEntry


class StudyRefused(Exception):  # noqa: N818 (an outcome of a study, not a fault of this program)
    """A study stopped because sites refused it."""


class StudyUnanswered(Exception):  # noqa: N818
    """A study stopped because sites did not answer."""


class EngineError(RuntimeError):
    """Flower, which carries the messages, stopped before the study was over."""


def refused_or_unanswered(sentence: str, refusals: Iterable[RefusalEntry]) -> StudyRefused | StudyUnanswered:
    """What to raise for a study with missing sites: did one of them refuse it, or did they just not answer?

    That a site is unavailable does not count as a refusal. What a site is quoted with is marked as unsigned, since
    anyone on the way can have written it.
    """
    refused = [refusal for refusal in refusals if refusal.code != Code.UNAVAILABLE]
    if refused:
        first = refused[0]
        how = "reply was not accepted" if first.code == NOT_ACCEPTED else "says (unsigned)"
        return StudyRefused(f"{sentence}; {first.site!r} {how}: {first.sentence}")
    return StudyUnanswered(sentence)


@contextmanager
def with_enough_sites() -> Iterator[None]:
    """Raise StudyRefused or StudyUnanswered in the place of TooFewSites."""
    try:
        yield
    except TooFewSites as stopped:
        raise refused_or_unanswered(str(stopped), stopped.refusals) from None
