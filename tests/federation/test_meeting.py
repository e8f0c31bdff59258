"""The socket between `study run`, which has the key, and Flower's ServerApp, which has not: what gets in."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from by_hand import ConsortiumOf, site_of
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.run import Run

from cohortmix.client.app import relay
from cohortmix.core.data.table import InputError
from cohortmix.deploy.meeting import meeting as module
from cohortmix.deploy.meeting.grid import StudyGrid
from cohortmix.deploy.meeting.meeting import Meeting, RemoteGrid, meeting
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.messages import MAX_BYTES
from cohortmix.protocol.transport import frames
from cohortmix.protocol.transport.codec import from_records, to_records
from cohortmix.protocol.transport.frames import FrameError, receive, send
from cohortmix.server.app import conduct
from cohortmix.server.carrier import carry
from cohortmix.server.commands.outcome import EngineError

SMALL = 60


OPEN: list[socket.socket] = []


def nobody(context: Context) -> Any:
    """The connection of a node that is never asked anything."""


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def pair() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    OPEN.extend(ends)
    return ends


def over(grid: LocalGrid) -> RemoteGrid:
    """A grid at the other end of a socket, with a carrier between."""
    ours, theirs = pair()
    Thread(target=carry, args=(grid, theirs), daemon=True).start()
    return RemoteGrid(ours)


def connected(door: Meeting) -> socket.socket:
    OPEN.append(connection := socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    connection.connect(str(door.path))
    return connection


def knock(door: Meeting, token: object) -> socket.socket:
    send(connection := connected(door), {"token": token})
    return connection


def test_a_study_over_the_socket_is_the_study_without(consortium_of: ConsortiumOf) -> None:
    results = []
    for folder in ("near", "far"):
        consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, folder=folder)
        local = LocalGrid(relay(partial(site_of, consortium)), 2)
        with consortium.coordinator() as coordinator:
            conduct(local if folder == "near" else over(local), coordinator)
            results.append(coordinator.finish())
    near, far = results
    assert far.receipts == near.receipts
    assert len(far.sites) == 2


def test_the_servers_app_knows_neither_key_nor_study() -> None:
    """What Flower's user runs loads nothing that reads a key, a study's folder or its store."""
    program = "import sys, cohortmix.server.carrier; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "cohortmix.server.carrier" in loaded
    forbidden = {"protocol.keyfile", "server.study", "server.store", "server.coordinator", "client", "deploy"}
    assert not {f"cohortmix.{name}" for name in forbidden} & set(loaded)
    named = (Path(module.__file__).parents[1] / "bundle" / "pyproject.toml").read_text()
    assert 'serverapp = "cohortmix.server.carrier:app"' in named
    assert "key" not in named


def test_only_the_right_word_opens_the_socket() -> None:
    with meeting() as door:
        words = ("", "x", door.token[:-1], door.token + "0", "\ud800", None, 7, [door.token])
        wrong = [knock(door, word) for word in words]
        right = knock(door, door.token)
        grid = door.grid(lambda: None)
        for connection in wrong:
            with pytest.raises(FrameError):
                receive(connection)
        Thread(target=carry, args=(LocalGrid(relay(nobody), 3), right), daemon=True).start()
        assert len(list(grid.get_node_ids())) == 3
        grid.close()


@pytest.mark.parametrize("first", [b"", b"\xff" * 8, b"GET / HTTP/1.1\r\n", struct.pack(">II", 2, 0) + b"[]"])
def test_noise_at_the_socket_is_sent_away(first: bytes) -> None:
    with meeting() as door:
        noise = connected(door)
        noise.sendall(first)
        noise.shutdown(socket.SHUT_WR)
        knock(door, door.token)
        door.grid(lambda: None).close()


def test_the_word_is_another_each_time_and_the_socket_does_not_stay() -> None:
    with meeting() as one, meeting() as two:
        assert one.token != two.token
        assert min(len(one.token), len(two.token)) == 64
    assert not one.path.exists()
    assert not one.path.parent.exists()


def test_in_a_shared_folder_the_socket_is_of_owner_and_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with meeting(tmp_path) as door:
        assert door.path.stat().st_mode & 0o777 == 0o660
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(module, "SHARED", tmp_path)
    with meeting() as door:
        assert door.path.parent == tmp_path, "that of the installation is the default"
    with pytest.raises(InputError, match="give a folder of yours with --meet"), meeting(tmp_path / "none"):
        pass


def test_waiting_ends_by_what_the_caller_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    left = [None, None, EngineError("the run has ended")]

    def waiting() -> None:
        if error := left.pop(0):
            raise error

    with meeting() as door, pytest.raises(EngineError, match="has ended"):
        door.grid(waiting)
    assert left == []


# --- whoever takes over Flower's user


@pytest.mark.parametrize("remote", [False, True])
def test_what_a_study_never_calls_of_flowers_grid_is_refused_with_what_to_call(remote: bool) -> None:
    local = LocalGrid(relay(nobody), 1)
    grid: StudyGrid = over(local) if remote else local
    calls: list[Callable[[], object]] = [
        lambda: grid.run,
        lambda: grid.set_run(Run.create_empty(1)),
        lambda: grid.create_message(RecordDict(), "query.describe", 1, "1"),
        lambda: grid.send_and_receive([]),
    ]
    for call in calls:
        with pytest.raises(NotImplementedError, match=r"Grid\.\w+ is not there; call get_node_ids, push_messages"):
            call()


class Liar:
    """The other end of the connection, which answers what a test wants."""

    def __init__(self, *frames: bytes) -> None:
        ours, theirs = pair()
        theirs.sendall(b"".join(frames))
        theirs.shutdown(socket.SHUT_WR)
        self.grid = RemoteGrid(ours)


def frame(head: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack(">II", len(text), len(body) if length is None else length) + text + body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0",
        frame([]),
        frame({"ids": []}),
        frame({"nodes": []}, length=MAX_BYTES + 1),
        struct.pack(">II", 2**32 - 1, 0),
        struct.pack(">II", 40_000, 0) + b"[" * 40_000,
        struct.pack(">II", 3, 0) + b"\xff\xfe\xfd",
        frame({"nodes": 5}),
        frame({"nodes": ["x"]}),
        frame({"nodes": [None]}),
    ],
)
def test_an_answer_that_is_none_ends_the_run_in_one_sentence(answer: bytes) -> None:
    with pytest.raises(EngineError, match="what has come from the sites is kept") as raised:
        list(Liar(answer).grid.get_node_ids())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("count", ["x", None, -1, 2, 2**70])
def test_a_wrong_number_of_replies_too(count: Any) -> None:
    """No more than one for each message that was asked about."""
    liar = Liar(frame({"replies": count}), *[frame({"to": "1", "error": None}, b"y")] * 3)
    liar.grid._sent["1"] = Message(to_records(b"x"), 1, "query.synthesize")
    with pytest.raises(EngineError, match=r"of replies|without 'replies'"):
        list(liar.grid.pull_messages(["1", "never sent"]))


def test_one_message_has_one_id() -> None:
    message = Message(to_records(b"x"), 1, "query.synthesize")
    with pytest.raises(EngineError, match="several ids"):
        list(Liar(frame({"ids": ["a", "b"]})).grid.push_messages([message]))


class Dripping:
    """The other end of the connection, which sends a byte each second by a clock of its own."""

    def __init__(self, data: bytes) -> None:
        self.data, self.clock, self.left = data, 0.0, 0.0

    def settimeout(self, seconds: float) -> None:
        self.left = seconds

    def sendall(self, _: bytes) -> None:
        pass

    def recv(self, _: int) -> bytes:
        if self.left < 1:
            self.clock += self.left
            raise TimeoutError("timed out")
        self.clock += 1
        byte, self.data = self.data[:1], self.data[1:]
        return byte


@pytest.mark.parametrize("call", ["nodes", "pull"])
def test_a_byte_now_and_then_does_not_hold_a_call_beyond_its_deadline(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither within one frame, nor frame after frame; and the next call has its own time."""
    ids = [f"id {number}" for number in range(20)]
    replies = [frame({"to": id, "error": None}, from_records(to_records(b"y"))) for id in ids]
    data = {"nodes": frame({"nodes": [], "more": "x" * 400}), "pull": frame({"replies": 20}) + b"".join(replies)}
    drip = Dripping(data[call])
    for each in (module, frames):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: drip.clock))
    grid = RemoteGrid(drip)  # type: ignore[arg-type]
    grid._sent.update({id: Message(to_records(b"x"), 1, "query.synthesize") for id in ids})
    with pytest.raises(EngineError, match="nothing comes: timed out"):
        grid.get_node_ids() if call == "nodes" else grid.pull_messages(ids)
    assert drip.clock <= module.CALL_SECONDS + 1
    drip.data = frame({"nodes": [7]})
    assert grid.get_node_ids() == [7]


def test_replies_to_what_was_never_sent_are_left_out_and_wrong_codes_end_the_run() -> None:
    def sent() -> Message:
        return Message(to_records(b"question"), 7, "query.synthesize", ttl=60.0, group_id="1")

    unknown, known = frame({"to": "else", "error": None}, b"x"), frame({"to": "a", "error": None}, b"answer")
    taken = [frame({"ids": [id]}) for id in "abc"]
    liar = Liar(*taken, frame({"replies": 3}), unknown, known, known)
    assert list(liar.grid.push_messages([sent(), sent(), sent()])) == ["a", "b", "c"]
    (reply,) = liar.grid.pull_messages(["a", "b", "c", "else"])
    assert from_records(reply.content) == b"answer"
    assert reply.metadata.reply_to_message_id == "a"

    gone = frame({"to": "a", "error": int(ErrorCode.NODE_UNAVAILABLE)})
    liar = Liar(frame({"ids": ["a"]}), frame({"replies": 1}), gone)
    liar.grid.push_messages([sent()])
    (reply,) = liar.grid.pull_messages(["a"])
    assert (reply.has_error(), reply.error.code) == (True, ErrorCode.NODE_UNAVAILABLE)

    liar = Liar(frame({"ids": ["a"]}), frame({"replies": 1}), frame({"to": "a", "error": "word"}))
    liar.grid.push_messages([sent()])
    with pytest.raises(EngineError):
        liar.grid.pull_messages(["a"])


class Odd(LocalGrid):
    """A grid whose node answers with an error whose text says too much, or with records of another kind."""

    turn = 0

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(super().pull_messages(list(message_ids)))
        kinds = [lambda sent: Message(Error(ErrorCode.UNKNOWN, "patient 42"), reply_to=sent)]
        kinds.append(lambda sent: Message(RecordDict(), reply_to=sent))
        for reply in replies:
            odd = kinds[self.turn](reply)
            odd.metadata.__dict__["_reply_to_message_id"] = reply.metadata.reply_to_message_id
            yield odd


@pytest.mark.parametrize("turn", [0, 1])
def test_the_carrier_sends_flowers_code_and_none_of_its_words(turn: int) -> None:
    local = Odd(relay(nobody), 1)
    local.turn = turn
    ours, theirs = pair()
    Thread(target=carry, args=(local, theirs), daemon=True).start()
    (node,) = local.get_node_ids()
    send(ours, {"call": "push", "node": node, "kind": "query.describe", "ttl": 60.0, "group": "1"})
    head, _ = receive(ours)
    send(ours, {"call": "pull", "ids": head["ids"]})
    assert receive(ours)[0] == {"replies": 1}
    head, body = receive(ours)
    assert (head["error"], body) == ((int(ErrorCode.UNKNOWN), None)[turn], b"")
    assert "42" not in json.dumps(head)


def test_the_carrier_ends_when_nobody_asks_any_more() -> None:
    ours, theirs = pair()
    carrier = Thread(target=carry, args=(LocalGrid(relay(nobody), 1), theirs), daemon=True)
    carrier.start()
    ours.close()
    carrier.join(30)
    assert not carrier.is_alive()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_another_user_reaches_the_socket_of_a_temporary_folder() -> None:
    """Flower's user can, wherever it runs; the word is what counts."""
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    with meeting() as door:
        other = ["setpriv", "--reuid", "64230", "--regid", "64230", "--clear-groups", "/usr/bin/python3", "-c"]
        if not Path("/usr/bin/python3").exists():
            pytest.skip("no Python that other users can run")
        assert subprocess.run([*other, program, str(door.path)], check=False).returncode == 0
