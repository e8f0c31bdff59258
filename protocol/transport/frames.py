"""Frames on a unix socket between two processes on one machine: a small head in JSON, and a body of bytes.

In this order: length of the head, length of the body (4 bytes each, big-endian), head, body.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

from cohortmix.protocol.messages import MAX_BYTES

MAX_HEAD_BYTES = 2**20
_LENGTHS = struct.Struct(">II")


class FrameError(Exception):
    """What came is not a frame, or the other side has gone."""


def send(connection: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one frame; FrameError if the other side has gone or does not read."""
    text = json.dumps(head).encode()
    try:
        connection.sendall(_LENGTHS.pack(len(text), len(body)) + text + body)
    except OSError as error:
        raise FrameError(f"cannot send: {error}") from None


def receive(
    connection: socket.socket,
    max_body_bytes: int = MAX_BYTES,
    max_head_bytes: int = MAX_HEAD_BYTES,
    seconds: float | None = None,
) -> tuple[dict[str, Any], bytes]:
    """The next frame, head and body.

    Parameters
    ----------
    max_body_bytes, max_head_bytes : nothing longer is read.
    seconds : time for the whole frame; by default the socket's timeout applies to each part of it.

    Raises
    ------
    FrameError
        If the other side has gone, is silent for longer than the socket's timeout, has not sent the whole in
        `seconds`, or sends anything but a frame within the limits; nothing longer than these is read.
    """
    end = None if seconds is None else time.monotonic() + seconds
    head_length, body_length = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size, end))
    if head_length > max_head_bytes or body_length > max_body_bytes:
        raise FrameError(f"a frame of {head_length} + {body_length} bytes is longer than any that is sent")
    text, body = _exactly(connection, head_length, end), _exactly(connection, body_length, end)
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise FrameError("the head of a frame is not JSON") from None
    if not isinstance(head, dict):
        raise FrameError("the head of a frame is not a JSON object")
    return head, body


def _exactly(connection: socket.socket, length: int, end: float | None) -> bytes:
    data = bytearray()
    while len(data) < length:
        try:
            if end is not None:  # else one byte now and then would keep the connection open for hours
                connection.settimeout(max(end - time.monotonic(), 1e-3))
            part = connection.recv(min(2**20, length - len(data)))
        except OSError as error:
            raise FrameError(f"nothing comes: {error}") from None
        if not part:
            raise FrameError("the other side has closed the connection")
        data += part
    return bytes(data)
