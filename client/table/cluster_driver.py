"""The process that speaks to a Ray cluster, run by `cluster`.

    python -m cohortmix.client.table.cluster_driver PATIENCE RETRIES

It reads a request and pieces from its input and writes a result for each piece, in their order. PATIENCE are the
seconds until a cluster that does not answer counts as gone, RETRIES of a piece whose worker died.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from collections import deque
from typing import IO, Any

from cohortmix.client.table.cluster import DIED, GONE, NOT_INSTALLED, Fault, compute

NO_RAY = "`engine: ray` needs Ray, which is not installed; pip install 'flwr[simulation]'"


def main(patience: int, retries: int) -> None:
    """Serve one request."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not stand between results
    try:
        import ray
    except ImportError:
        _tell(results, Fault(NO_RAY))
        return
    try:
        _serve(sys.stdin.buffer, results, patience, retries)
    except ray.exceptions.RayTaskError:  # what it computes raises nothing
        _tell(results, Fault(NOT_INSTALLED))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        _tell(results, Fault(DIED))
    except Exception:  # of Ray: its text can quote what a worker held
        _tell(results, Fault(GONE))


def _serve(requests: IO[bytes], results: IO[bytes], patience: int, retries: int) -> None:
    import ray

    asked: bytes = pickle.load(requests)
    ahead = _connect(results, patience)
    _tell(results, ahead)
    remote, shared = ray.remote(max_retries=retries)(compute), ray.put(asked)
    pending: deque[Any] = deque()
    while (given := pickle.load(requests)) is not None:
        pending.append(remote.remote(given, shared))
        if len(pending) == ahead:
            _tell(results, _got(pending.popleft(), patience))
    while pending:
        _tell(results, _got(pending.popleft(), patience))


def _connect(results: IO[bytes], patience: int) -> int:
    """Join the cluster; how many pieces are sent ahead of results, so that no worker waits for the next one."""
    import ray

    def give_up() -> None:
        _tell(results, Fault(GONE))
        os._exit(1)

    overdue = threading.Timer(patience, give_up)  # Ray itself waits for minutes
    overdue.daemon = True
    overdue.start()
    ray.init(address="auto", log_to_driver=False, logging_level=logging.CRITICAL)
    workers = _workers()
    overdue.cancel()
    return 2 * max(1, workers)


def _got(reference: Any, patience: int) -> Any:
    """A result, when it is there; raises as soon as no worker is left that could compute it."""
    import ray

    while not ray.wait([reference], timeout=patience)[0]:
        if not _workers():
            raise ConnectionError(GONE)
    return ray.get(reference)


def _workers() -> int:
    """Of the cluster as it is now; a piece takes one."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


def _tell(results: IO[bytes], message: Any) -> None:
    pickle.dump(message, results)
    results.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
