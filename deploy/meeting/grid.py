"""Flower's Grid, as far as a study uses it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
"""What a process calls its run, where no SuperLink gives it a number."""


class StudyGrid(Grid):
    """A grid for `server/app.py`, which asks for nodes, pushes messages, pulls replies, and calls nothing else.

    Subclasses have these three methods; the rest of Flower's interface is refused.
    """

    def __init__(self) -> None:
        # Flower makes a message only in a process that says whose it is. Any numbers do: no SuperLink sees them.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = RUN_ID, RUN_ID, SUPERLINK_NODE_ID

    def set_run(self, run: Run) -> NoReturn:
        """Refused: this grid has one run from the beginning."""
        self._refuse("set_run")

    @property
    def run(self) -> NoReturn:
        """Refused: what Flower knows of a run is of no use to a study."""
        self._refuse("run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> NoReturn:
        """Refused: `flwr.app.Message` makes one."""
        self._refuse("create_message")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> NoReturn:
        """Refused: a study waits for days, and takes in each reply the moment it arrives."""
        self._refuse("send_and_receive")

    def _refuse(self, name: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__}.{name} is not there; call get_node_ids, push_messages and pull_messages"
        )


def give_id(message: Message, id: str) -> None:
    """Set the id of a message, as Flower's own grid does when it pushes one; there is no public way."""
    message.metadata.__dict__["_message_id"] = id
