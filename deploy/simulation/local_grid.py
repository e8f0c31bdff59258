"""Flower in one process: a grid whose nodes are function calls, for `cohortmix simulate` and for tests.

Each message becomes bytes and a message again, on both ways, as between two machines: what works here can be sent.
An exception of a node becomes an error message without its text.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY, SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from cohortmix.deploy.meeting.grid import RUN_ID, StudyGrid, give_id


class LocalGrid(StudyGrid):
    """Nodes that all run one ClientApp, with the node configuration of Flower's own simulation.

    A node works when replies are pulled: one message at a time, in the order in which they were sent.

    Parameters
    ----------
    client_app : what every node runs.
    nodes : how many there are; node i is told `partition-id` i.
    """

    def __init__(self, client_app: ClientApp, nodes: int) -> None:
        super().__init__()
        self._client_app = client_app
        self._contexts: Mapping[int, Context] = {
            SUPERLINK_NODE_ID + 1 + i: _context(SUPERLINK_NODE_ID + 1 + i, i, nodes) for i in range(nodes)
        }
        self._sent: deque[bytes] = deque()
        self._replies: dict[str, bytes] = {}
        self._ids = count(1)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes, in the order of their partitions."""
        return tuple(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; gives the id of each."""
        ids = []
        for message in messages:
            give_id(message, f"message-{next(self._ids)}")
            self._sent.append(_to_bytes(message))
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Let one node work; gives the replies to `message_ids` that are there, each of them once."""
        if self._sent:
            request = _from_bytes(self._sent.popleft())
            self._replies[request.metadata.message_id] = _to_bytes(self._answer(request))
        return [_from_bytes(self._replies.pop(id)) for id in message_ids if id in self._replies]

    def _answer(self, request: Message) -> Message:
        try:
            return self._client_app(request, self._contexts[request.metadata.dst_node_id])
        except Exception as error:
            reason = type(error).__name__
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=request)


def _context(node_id: int, partition: int, nodes: int) -> Context:
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={PARTITION_ID_KEY: partition, NUM_PARTITIONS_KEY: nodes},
        state=RecordDict(),
        run_config={},
    )


def _to_bytes(message: Message) -> bytes:
    return bytes(message_to_proto(message).SerializeToString())


def _from_bytes(data: bytes) -> Message:
    return message_from_proto(ProtoMessage.FromString(data))
