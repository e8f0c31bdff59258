"""Flower's ServerApp of a deployed study: carries bytes between the hospitals and `cohortmix study run`.

The SuperLink starts it, as the SuperLink's user. That user has no business with the coordinator's key or with the
study's folder, so this knows neither: it connects to the socket that the run's configuration names, and does there
what it is told with Flower's grid. Who signs, checks and keeps is on the other side (`deploy/meeting/meeting.py`).
"""

from __future__ import annotations

import socket

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from cohortmix.protocol.codec import from_records, to_records
from cohortmix.protocol.frames import FrameError, receive, send
from cohortmix.protocol.messages import MAX_BYTES, MessageError

app = ServerApp()
"""The run's configuration has the path of the socket, `socket`, and the word that opens it, `token`."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry until the other side closes the connection."""
    path, token = (str(context.run_config[name]) for name in ("socket", "token"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        send(connection, {"token": token})
        carry(grid, connection)


def carry(grid: Grid, connection: socket.socket) -> None:
    """Do one call after the other, until there is nobody to ask for one.

    nodes    the ids of the nodes that Flower knows
    push     send the body to one node; the id of the message, or none if Flower did not take it
    pull     what has arrived: the number of replies, and then each in a frame of its own
    """
    while True:
        try:
            head, body = receive(connection)
        except FrameError:
            return
        if head["call"] == "nodes":
            send(connection, {"nodes": [int(node) for node in grid.get_node_ids()]})
        elif head["call"] == "push":
            message = Message(
                to_records(body), head["node"], head["kind"], ttl=head["ttl"], group_id=head["group"]
            )
            send(connection, {"ids": [id for id in grid.push_messages([message]) if id]})
        else:
            replies = list(grid.pull_messages(head["ids"]))
            send(connection, {"replies": len(replies)})
            for reply in replies:
                send(connection, *_plain(reply))


def _plain(reply: Message) -> tuple[dict[str, object], bytes]:
    """Which message a reply answers, Flower's error code if it is one, and its bytes, if it has any."""
    to = reply.metadata.reply_to_message_id
    if reply.has_error():  # what Flower says beside the code can hold anything, and stays here
        return {"to": to, "error": int(reply.error.code)}, b""
    try:
        data = from_records(reply.content)
    except MessageError:
        data = b""
    return {"to": to, "error": None}, data if len(data) <= MAX_BYTES else b""
