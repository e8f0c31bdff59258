"""Flower's ClientApp at a hospital: a relay without logic.

It holds no record, key, schema or rule. It passes bytes to the site and back, and the site decides. Flower sends
the text of an exception to the coordinator, so no exception may leave this file.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from cohortmix.client.site.connection import SocketConnection
from cohortmix.protocol.transport.codec import from_records, to_records

logger = logging.getLogger(__name__)


class SiteConnection(Protocol):
    """The two calls that a site answers; bytes in and out."""

    def describe(self) -> bytes:
        """The site's `Description`."""

    def answer(self, request: bytes) -> bytes:
        """The `Reply` to a `SignedRequest`."""


def relay(connect: Callable[[Context], SiteConnection]) -> ClientApp:
    """A ClientApp that answers `query.describe` and `query.synthesize` by asking the site.

    Parameters
    ----------
    connect : gives the connection to this node's site. It is all that differs between a simulation, where the
        site is opened in this process, and a hospital, where it listens on a socket.
    """
    app = ClientApp()

    @app.query("describe")
    def describe(message: Message, context: Context) -> Message:
        return _reply(message, lambda: connect(context).describe())

    @app.query("synthesize")
    def synthesize(message: Message, context: Context) -> Message:
        return _reply(message, lambda: connect(context).answer(from_records(message.content)))

    return app


def _reply(message: Message, call: Callable[[], bytes]) -> Message:
    try:
        data = call()
    except Exception as error:
        # Imported here: a relay starts anew for every message, and needs no more of the protocol than this.
        from cohortmix.protocol.messages import Code, Refusal, encode

        # The type alone: an exception's text can hold a value of a record.
        logger.error("the site did not answer: %s", type(error).__name__)
        data = encode(Refusal(code=Code.UNAVAILABLE, sentence="The site is not available; its own log says why."))
    return Message(to_records(data), reply_to=message)


app = relay(lambda context: SocketConnection(Path(str(context.node_config["socket"]))))
"""The relay of a hospital; `socket` in the node's configuration is where its site's daemon listens."""
