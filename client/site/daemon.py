"""The site's daemon: a gRPC server on a unix socket, the only process that can read records, ledger and key.

It is a separate program, `python -m cohortmix.client.site.start site.yaml`, so that nothing is loaded which only
the command line needs, or which looks at records without noise.

**When a reply leaves.** The time that an answer takes depends on the number of rows, which is not public. So the
site works on one call at a time, and for whole intervals: a reply or refusal leaves on the first tick of a public
interval after it is ready. Only then the next call begins, even if the caller of the first has hung up. Ticks are
counted from the beginning of the call, by a clock that nobody can set.

Two things still show: the number of ticks, a coarse function of the number of rows (always one, where the interval
is longer than the longest answer), and the load of the machine, which another process on it can watch. `Describe`
returns bytes that were made at the start, and waits for its turn too: answered beside a computation it would be
slower for as long as that lasts, and so show when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import grpc
from google.protobuf.message import DecodeError

from cohortmix.client.ledger.journal import LedgerError
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.config import SiteConfig, load_config
from cohortmix.client.site.lock import exclusive
from cohortmix.client.site.opening import open_site, read_policy
from cohortmix.client.site.site import Site
from cohortmix.core.data.schema import SchemaError
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol import site_pb2
from cohortmix.protocol.local.terminal import say
from cohortmix.protocol.messages import Code, Refusal, encode

SERVICE = site_pb2.DESCRIPTOR.services_by_name["Site"].full_name
MOST_CALLS = 8  # at the same time: the site works on one of them, the others wait
LONGEST_PATH = 107  # bytes of a socket's path: Linux has 108, the last of them zero
OPEN_TO_OTHERS = 0o027  # write for the group, anything for others: who can rename the socket can pose as the site

logger = logging.getLogger("cohortmix.site")


class Daemon:
    """Answers the two calls of `site.proto`.

    Parameters
    ----------
    site : answers the calls.
    policy : reads what is approved; called before each answer, so that a revocation counts at once.
    interval : seconds between the ticks on which replies leave.
    max_bytes : a longer request is refused; gRPC itself cuts off one that is twice as long.
    """

    def __init__(self, site: Site, policy: Callable[[], Policy], interval: float, max_bytes: int) -> None:
        self._site, self._policy, self._interval, self._max_bytes = site, policy, interval, max_bytes
        self._description = _envelope(site.describe())
        self._worker, self._turn = ThreadPoolExecutor(1, "site"), asyncio.Lock()

    @asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        """Answer on `socket` while the context is open; its owner and the group of its folder may connect.

        At the end no more calls are taken, the replies that are ready leave on their tick, and what is being
        computed is finished and committed: the coordinator gets it when it asks again.

        Raises
        ------
        InputError
            If this user cannot listen there.
        """
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 2 * self._max_bytes),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=MOST_CALLS,
        )
        calls = {"Describe": self._describe, "Release": self._release}
        handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        _bind(server, socket)
        await server.start()
        try:
            yield
        finally:
            await server.stop(self._interval + 1)
            self._worker.shutdown(wait=True, cancel_futures=True)

    async def _describe(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        async with self._turn:  # nothing is computed while the caller counts the time
            return self._description

    async def _release(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await self._turn.acquire()
        # The work is not cancelled with its call: by its next call, whoever hangs up would learn when this one
        # was ready.
        return await asyncio.shield(asyncio.create_task(self._for_whole_intervals(request)))

    async def _for_whole_intervals(self, request: bytes) -> bytes:
        began = monotonic()
        try:
            reply = await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, request)
            await asyncio.sleep(until_tick(monotonic() - began, self._interval))
        finally:
            self._turn.release()
        return reply

    def _answer(self, request: bytes) -> bytes:
        try:
            message = site_pb2.Envelope.FromString(request).message
            if len(message) > self._max_bytes:
                return _refusal("The request is longer than this site reads.")
            self._site.policy = self._policy()
            return _envelope(self._site.answer(message))
        except DecodeError:
            return _refusal("The bytes are not a message of this protocol.")
        except Exception as error:
            # The type alone: an exception's text can hold a value of a record, and gRPC would send it.
            logger.error("no answer: %s", type(error).__name__)
            return _refusal("The site could not answer; its own log says why.")


def until_tick(elapsed: float, interval: float) -> float:
    """Seconds until the next of the ticks `interval`, ... when `elapsed` have passed since the start.

    >>> until_tick(0.5, 30.0), until_tick(30.0, 30.0), until_tick(31.0, 30.0)
    (29.5, 0.0, 29.0)
    """
    return max(1, math.ceil(elapsed / interval)) * interval - elapsed


async def serve(config: SiteConfig) -> None:
    """Serve a site until the process is told to stop.

    Raises
    ------
    InputError
        As `open_site`; if another process serves the site, or the socket's folder is open to others.
    SchemaError, LedgerError
        As `open_site`.
    """
    socket = _socket(config.socket)
    with exclusive(config.snapshot_folder), open_site(config) as site:
        daemon = Daemon(site, lambda: read_policy(config), config.interval_seconds, config.max_message_bytes)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with daemon.listening(socket):
            logger.info("%s is served on %s", config.name, socket)
            await stop.wait()
            logger.info("stopping")


def _bind(server: grpc.aio.Server, socket: Path) -> None:
    before = os.umask(0o117)  # the socket is made with mode 0660
    try:
        server.add_insecure_port(f"unix:{socket}")
    except RuntimeError:
        raise InputError(f"cannot listen on {in_quotes(socket)}; may this user write its folder?") from None
    finally:
        os.umask(before)


def _socket(path: Path) -> Path:
    """The socket's path; InputError unless nobody but this user can write its folder."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise InputError(
            f"the socket's path {in_quotes(path)} is longer than the system allows, {LONGEST_PATH} bytes"
        )
    try:
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise InputError(f"cannot open the socket's folder {in_quotes(path.parent)}: {error.strerror}") from None
    if mode & OPEN_TO_OTHERS:
        raise InputError(
            f"the socket's folder {in_quotes(path.parent)} has mode {stat.S_IMODE(mode):o}: expected 2750, which "
            "lets the relay's group pass and nobody else"
        )
    return path


def _envelope(message: bytes) -> bytes:
    data: bytes = site_pb2.Envelope(message=message).SerializeToString()
    return data


def _refusal(sentence: str) -> bytes:
    return _envelope(encode(Refusal(code=Code.UNAVAILABLE, sentence=sentence)))


def main(path: Path) -> int:
    """Serve the site of a configuration file; returns an exit status, as the commands have them."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)  # for our own logger alone: a library's messages might quote what it works on
    try:
        asyncio.run(serve(load_config(path)))
    except (InputError, SchemaError, LedgerError) as error:
        say(f"cohortmix: {error}", err=True)
        return 3 if isinstance(error, LedgerError) else 2
    return 0
