"""The relay's connection to the site's daemon: two calls over a unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from cohortmix.protocol import site_pb2

SERVICE = site_pb2.DESCRIPTOR.services_by_name["Site"].full_name
_ANY_LENGTH = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass(frozen=True)
class SocketConnection:
    """A site behind a unix socket; connects for each call, so that a daemon may restart in between.

    A call has no deadline: an answer takes as long as the table needs, and a daemon that dies closes the socket.
    The caller must hide what gRPC raises then.
    """

    socket: Path

    def describe(self) -> bytes:
        """The site's `Description`."""
        return self._call("Describe", site_pb2.Empty())

    def answer(self, request: bytes) -> bytes:
        """The `Reply` to a `SignedRequest`."""
        return self._call("Release", site_pb2.Envelope(message=request))

    def _call(self, name: str, request: site_pb2.Empty | site_pb2.Envelope) -> bytes:
        with grpc.insecure_channel(f"unix:{self.socket}", _ANY_LENGTH) as channel:
            reply = channel.unary_unary(f"/{SERVICE}/{name}")(request.SerializeToString())
        message: bytes = site_pb2.Envelope.FromString(reply).message
        return message
