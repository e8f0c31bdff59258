"""A table of which each piece is read on a Ray cluster, by a worker that answers with what was computed of it.

A process of its own speaks to the cluster (`cluster_driver`): Ray ends the process of a driver that has lost its
cluster, and changes its environment. What a worker computes is named, a function of this package, and not sent.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from itertools import chain, islice
from typing import IO, Any, TypeVar

import pyarrow as pa

from cohortmix.core.data.table import InputError, Source

Result = TypeVar("Result")
DRIVER = (sys.executable, "-P", "-m", "cohortmix.client.table.cluster_driver")
PATIENCE = 60  # seconds until a cluster that does not answer, or has no worker left, counts as gone
RETRIES = 5  # of a piece whose worker died
GONE = "the Ray cluster cannot be reached, or went away; see that it runs and that RAY_ADDRESS names it"
NO_ADDRESS = (
    "expected RAY_ADDRESS to name the Ray cluster; set it to its address, since Ray would join any cluster that "
    "it finds on this machine"
)
NOT_INSTALLED = "a worker of the Ray cluster lacks this version of cohortmix; install the same everywhere"
DIED = "a worker of the Ray cluster died again and again; see that it has the memory for a row group"


class Fault(str):
    """A sentence in the place of a result."""


@dataclass(frozen=True)
class ClusterSource:
    """Pieces that lie where workers of a Ray cluster read them; one after the other they are the table."""

    pieces: tuple[Source, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.pieces[0].names

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, read by this process."""
        for piece in self.pieces:
            yield from piece.batches()

    def each(
        self, function: Callable[..., Result], own: Iterable[tuple[Any, ...]], *common: Any
    ) -> Iterator[Result]:
        """`function(piece, *own, *common)` of each piece in their order, computed by workers.

        Raises
        ------
        InputError
            If the cluster is not there or goes away, or a piece cannot be read. A worker that dies is replaced by
            another one, which computes the same.
        """
        own = islice(own, len(self.pieces))
        with _driver() as (send, receive):
            send(pickle.dumps((function.__module__, function.__qualname__, common, version("cohortmix"))))
            most = receive()  # pieces that are sent ahead of results
            asked = chain(map(pickle.dumps, zip(self.pieces, own, strict=True)), [None])
            for given in islice(asked, most):
                send(given)
            for _ in self.pieces:
                yield receive()
                for given in islice(asked, 1):
                    send(given)


def compute(given: bytes, asked: bytes) -> Any:
    """On a worker: the result of a function that is found here by its name, of a piece; or a fault.

    Nothing is raised, since Ray writes down what a worker raises, and an exception's text can hold a value of a
    record.
    """
    try:
        module, name, common, made_by = pickle.loads(asked)
        if version("cohortmix") != made_by:
            return Fault(NOT_INSTALLED)
        piece, own = pickle.loads(given)
        return getattr(import_module(module), name)(piece, *own, *common)
    except InputError as error:
        return Fault(error)
    except (ImportError, AttributeError):
        return Fault(NOT_INSTALLED)
    except Exception as error:
        return Fault(f"a worker of the Ray cluster failed: {type(error).__name__}")


@contextmanager
def _driver() -> Iterator[tuple[Callable[[Any], None], Callable[[], Any]]]:
    """The process that speaks to the cluster: how to send to it, and how to receive from it."""
    if os.environ.get("RAY_ADDRESS", "") in ("", "auto"):  # whoever may start a program here can start a cluster
        raise InputError(NO_ADDRESS)
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_task_oom_retries": str(RETRIES),  # where nobody says so, Ray tries for ever
    }
    with subprocess.Popen(
        (*DRIVER, str(PATIENCE), str(RETRIES)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | settings,
        start_new_session=True,  # an interrupt from a keyboard is for this process alone, which ends in order
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        to, of = child.stdin, child.stdout
        try:
            yield lambda message: _send(to, message), lambda: _receive(of)
        finally:
            child.kill()  # it holds nothing that has to be finished
            with suppress(OSError):  # what it did not read
                to.close()


def _send(to: IO[bytes], message: Any) -> None:
    try:
        pickle.dump(message, to)
        to.flush()
    except OSError:
        raise InputError(GONE) from None


def _receive(of: IO[bytes]) -> Any:
    try:
        received = pickle.load(of)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise InputError(GONE) from None
    if isinstance(received, Fault):
        raise InputError(received)
    return received
