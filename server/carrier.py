"""Flower's ServerApp of a deployed study: carries bytes between the hospitals and `cohortmix study run`.

The SuperLink starts it, as the SuperLink's user, who must have access neither to the coordinator's key nor to the
study's folder. So it knows neither: it connects to the socket that the run's configuration names, and does with
Flower's grid what it is told there. Signing, checking and keeping happen at the other end
(`deploy/meeting/meeting.py`).
"""

from __future__ import annotations

import socket

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from cohortmix.protocol.messages import MAX_BYTES, MessageError
from cohortmix.protocol.transport.codec import from_records, to_records
from cohortmix.protocol.transport.frames import FrameError, receive, send

app = ServerApp()
"""The run's configuration holds `socket`, the path of the socket, and `token`, the secret that opens it."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry messages until the other end closes the connection."""
    path, token = (str(context.run_config[name]) for name in ("socket", "token"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        send(connection, {"token": token})
        carry(grid, connection)


def carry(grid: Grid, connection: socket.socket) -> None:
    """Answer one call after the other, until the other end is gone.

    nodes    the ids of the nodes that Flower knows
    push     send the body to one node; gives the id of the message, or none if Flower did not take it
    pull     take in what has arrived: the number of replies, then one frame for each
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
    """Which message a reply answers, Flower's error code if it is an error, and its bytes, if it has any."""
    to = reply.metadata.reply_to_message_id
    if reply.has_error():  # its text can hold anything, and stays here
        return {"to": to, "error": int(reply.error.code)}, b""
    try:
        data = from_records(reply.content)
    except MessageError:
        data = b""
    return {"to": to, "error": None}, data if len(data) <= MAX_BYTES else b""
