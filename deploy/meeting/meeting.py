"""Where `cohortmix study run`, which has the coordinator's key, meets Flower's ServerApp, which is another user's.

They meet at a unix socket on the coordinator's machine. The ServerApp (`server/carrier.py`) connects to it and
lends its grid: bytes to nodes and back. So whoever takes over Flower's user can lose or replace messages, as any
network between coordinator and hospitals can, but gets neither the key nor anything that a hospital has not
released.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flwr.app import Error, Message

from cohortmix.core.data.table import InputError
from cohortmix.deploy.meeting.grid import StudyGrid, give_id
from cohortmix.protocol.messages import MessageError
from cohortmix.protocol.transport.codec import from_records, to_records
from cohortmix.protocol.transport.frames import FrameError, receive, send
from cohortmix.server.commands.outcome import EngineError

SHARED = Path("/run/cohortmix-coordinator")
"""The folder that an installation makes for the sockets: only the SuperLink's user can enter it."""

CALL_SECONDS = 300.0  # until one call of the grid counts as lost, all its frames together
HELLO_SECONDS = 10.0  # that a connection has to give its secret
LOOK_SECONDS = 1.0  # between two looks for a ServerApp that has not connected yet

_V = TypeVar("_V")


@dataclass(frozen=True)
class Meeting:
    """A socket that waits for the ServerApp of one run, and the secret (`token`) by which it is recognised."""

    path: Path
    listener: socket.socket
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    def grid(self, waiting: Callable[[], None]) -> RemoteGrid:
        """The grid of the ServerApp that connects with the right secret; everybody else is disconnected.

        Parameters
        ----------
        waiting : called again and again until then; to end the wait, it raises an exception.
        """
        self.listener.settimeout(LOOK_SECONDS)
        while True:
            waiting()
            with suppress(TimeoutError):
                connection, _ = self.listener.accept()
                if self._has_the_secret(connection):
                    return RemoteGrid(connection)
                connection.close()

    def _has_the_secret(self, connection: socket.socket) -> bool:
        try:
            head, _ = receive(connection, max_body_bytes=0, max_head_bytes=1000, seconds=HELLO_SECONDS)
        except FrameError:
            return False
        token = head.get("token")
        return isinstance(token, str) and token.isascii() and hmac.compare_digest(token, self.token)


@contextmanager
def meeting(folder: Path | None = None) -> Iterator[Meeting]:
    """A socket in a folder; it is removed afterwards.

    Parameters
    ----------
    folder : its group is that of the SuperLink's user. None stands for the folder of the installation or, where
        there is none, for a temporary one, to which every user of this machine can connect; then the secret alone
        keeps them out.

    Raises
    ------
    InputError
        If no socket can be made there.
    """
    if folder is None and SHARED.is_dir():
        folder = SHARED
    if folder is not None:
        with _listening(folder, 0o660) as door:
            yield door
        return
    with tempfile.TemporaryDirectory(prefix="cohortmix-") as temporary:
        Path(temporary).chmod(0o711)
        with _listening(Path(temporary), 0o666) as door:
            yield door


@contextmanager
def _listening(folder: Path, mode: int) -> Iterator[Meeting]:
    path = folder.absolute() / f"{secrets.token_hex(8)}.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        try:
            listener.bind(str(path))
            path.chmod(mode)
            listener.listen()
        except OSError as error:
            path.unlink(missing_ok=True)
            raise InputError(
                f"cannot make a socket in {str(folder)!r}: {error}; give a folder of yours with --meet"
            ) from None
        try:
            yield Meeting(path, listener)
        finally:
            path.unlink(missing_ok=True)


class RemoteGrid(StudyGrid):
    """The grid of the ServerApp at the other end of a connection; EngineError when the connection ends."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._end = 0.0  # of the present call; a byte now and then does not hold the study beyond it
        self._sent: dict[str, Message] = {}

    def close(self) -> None:
        """Close the connection; the ServerApp and its run end with it."""
        self._connection.close()

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that Flower knows."""
        return self._listed("nodes", int, {"call": "nodes"})

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; gives the ids of those that Flower took."""
        ids: list[str] = []
        for message in messages:
            meta = message.metadata
            head = {"call": "push", "node": meta.dst_node_id, "kind": meta.message_type}
            head |= {"ttl": meta.ttl, "group": meta.group_id}
            try:
                body = from_records(message.content)
            except MessageError:  # the question which site a node is of has no content
                body = b""
            ids_of_one = self._listed("ids", str, head, body)
            if len(ids_of_one) > 1:
                raise _lost("several ids for one message")
            for id in ids_of_one:
                give_id(message, id)
                self._sent[id] = message
                ids.append(id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have arrived, each of them once, and only to messages that were sent."""
        ids = [id for id in message_ids if id in self._sent]
        count = self._ask("replies", int, {"call": "pull", "ids": ids})
        if not 0 <= count <= len(ids):
            raise _lost("another number of replies than was asked for")
        replies = (self._reply(*self._frame()) for _ in range(count))
        return [reply for reply in replies if reply is not None]

    def _reply(self, head: dict[str, Any], body: bytes) -> Message | None:
        sent = self._sent.pop(str(head.get("to")), None)
        if sent is None:
            return None
        error = head.get("error")
        if not (error is None or isinstance(error, int)):
            raise _lost("an error without a code")
        content = to_records(body) if error is None else Error(error, "")
        reply = Message(content, reply_to=sent)
        reply.metadata.__dict__["_reply_to_message_id"] = sent.metadata.message_id
        return reply

    def _listed(self, what: str, kind: type[_V], head: dict[str, Any], body: bytes = b"") -> list[_V]:
        values = self._ask(what, list, head, body)
        if not all(isinstance(value, kind) for value in values):
            raise _lost(f"an answer with other {what!r} than asked for")
        return values

    def _ask(self, what: str, kind: type[_V], head: dict[str, Any], body: bytes = b"") -> _V:
        self._end = time.monotonic() + CALL_SECONDS
        self._connection.settimeout(CALL_SECONDS)
        try:
            send(self._connection, head, body)
        except FrameError as error:
            raise _lost(error) from None
        value = self._frame()[0].get(what)
        if not isinstance(value, kind):
            raise _lost(f"an answer without {what!r}")
        return value

    def _frame(self) -> tuple[dict[str, Any], bytes]:
        try:
            return receive(self._connection, seconds=self._end - time.monotonic())
        except FrameError as error:
            raise _lost(error) from None


def _lost(error: FrameError | str) -> EngineError:
    return EngineError(
        f"Flower's ServerApp, or the SuperLink with it, has stopped ({error}); what has come from the sites is "
        "kept: run the study again"
    )
