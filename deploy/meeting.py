"""Where `cohortmix study run`, which has the coordinator's key, meets Flower's ServerApp, which is another user's.

A unix socket on the coordinator's machine. The ServerApp (`server/carrier.py`) connects to it and lends its grid:
bytes to nodes and back. So whoever takes over Flower's user can lose or replace messages, as any network between
coordinator and hospitals can, and gets neither the key nor anything that a hospital has not released.
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

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from cohortmix.core.table import InputError
from cohortmix.deploy.faults import EngineError
from cohortmix.protocol.codec import from_records, to_records
from cohortmix.protocol.frames import FrameError, receive, send
from cohortmix.protocol.messages import MessageError

SHARED = Path("/run/cohortmix-coordinator")
"""The folder that an installation makes for the sockets: SuperLink's user can enter it, and nobody else."""

CALL_SECONDS = 300.0  # for one call of the grid, all its frames together
HELLO_SECONDS = 10.0  # for the word that opens the socket
LOOK_SECONDS = 1.0  # between two looks for a ServerApp that has not come yet

_V = TypeVar("_V")


@dataclass(frozen=True)
class Meeting:
    """A socket that waits for the ServerApp of one run, and the word by which that is known."""

    path: Path
    listener: socket.socket
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    def grid(self, waiting: Callable[[], None]) -> RemoteGrid:
        """The grid of the ServerApp that comes with the right word; all others are sent away.

        Parameters
        ----------
        waiting : called now and then until it comes; ends the wait by what it raises.
        """
        self.listener.settimeout(LOOK_SECONDS)
        while True:
            waiting()
            with suppress(TimeoutError):
                connection, _ = self.listener.accept()
                if self._knows_the_word(connection):
                    return RemoteGrid(connection)
                connection.close()

    def _knows_the_word(self, connection: socket.socket) -> bool:
        try:
            head, _ = receive(connection, max_body_bytes=0, max_head_bytes=1000, seconds=HELLO_SECONDS)
        except FrameError:
            return False
        word = head.get("token")
        return isinstance(word, str) and word.isascii() and hmac.compare_digest(word, self.token)


@contextmanager
def meeting(folder: Path | None = None) -> Iterator[Meeting]:
    """A socket in a folder, gone afterwards.

    Parameters
    ----------
    folder : whose group is that of the SuperLink's user; None for the one of the installation, or, without one,
        for a temporary one. There, every user of this machine can knock, and none can enter without the word.

    Raises
    ------
    InputError
        If no socket can be made there.
    """
    if folder is None and SHARED.is_dir():
        folder = SHARED
    if folder is not None:
        with _listening(folder, 0o660) as found:
            yield found
        return
    with tempfile.TemporaryDirectory(prefix="cohortmix-") as own:
        Path(own).chmod(0o711)
        with _listening(Path(own), 0o666) as found:
            yield found


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


class RemoteGrid(Grid):
    """The grid of a ServerApp at the other end of a connection; EngineError when that ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end = 0.0  # of the present call; a byte now and then does not hold the study beyond it
        self._sent: dict[str, Message] = {}
        self._run = Run.create_empty(run_id=1)  # what this process calls it; the ServerApp knows the true one
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID

    def close(self) -> None:
        """Let the ServerApp go; its run ends then."""
        self._connection.close()

    def set_run(self, run: Run) -> None:
        """Set what `run` gives; of no other effect here."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run of this grid."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that Flower knows."""
        return self._listed("nodes", int, {"call": "nodes"})

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; the ids of those that Flower took."""
        ids: list[str] = []
        for message in messages:
            meta = message.metadata
            head = {"call": "push", "node": meta.dst_node_id, "kind": meta.message_type}
            head |= {"ttl": meta.ttl, "group": meta.group_id}
            try:
                body = from_records(message.content)
            except MessageError:  # the question who a node is has none
                body = b""
            ids_of_one = self._listed("ids", str, head, body)
            if len(ids_of_one) > 1:
                raise _lost("several ids for one message")
            for id in ids_of_one:
                message.metadata.__dict__["_message_id"] = id
                self._sent[id] = message
                ids.append(id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What has arrived, each reply once; of what was never sent, nothing."""
        ids = [id for id in message_ids if id in self._sent]
        count = self._ask("replies", int, {"call": "pull", "ids": ids})
        if not 0 <= count <= len(ids):
            raise _lost("another number of replies than was asked for")
        replies = (self._reply(*self._frame()) for _ in range(count))
        return [reply for reply in replies if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Not used: a study waits for days, and for each reply by itself."""
        raise NotImplementedError

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
