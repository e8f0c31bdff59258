"""The daemon: who may speak to it, what it says to whom, and how it starts and stops."""

from __future__ import annotations

import asyncio
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import grpc
import pytest
from flwr.app import Context, RecordDict
from flwr.app import Message as FlowerMessage
from flwr.supercore.task_identity import TaskIdentity
from hospitals import refusal

from cohortmix.client.app import app as relay
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site import daemon
from cohortmix.client.site.config import load_config
from cohortmix.client.site.daemon import serve
from cohortmix.core.data.table import InputError
from cohortmix.protocol.messages import (
    Code,
    CommonMessage,
    Description,
    Message,
    Refusal,
    SignedRelease,
    SignedRequest,
    decode,
)
from cohortmix.protocol.receipts import verify_chain, verify_release
from cohortmix.protocol.steps import AskConsent
from cohortmix.protocol.transport.codec import from_records, to_records

# --- a round trip


def test_a_study_from_describe_to_centroids(hospital: Any, daemons: Any) -> None:
    study = hospital.approved("study")
    (hospital.folder / "records.parquet").unlink()  # the snapshot is all that is served
    with daemons.serving(hospital) as connection:
        assert connection.describe() == hospital.config.description_file.read_bytes()
        first = hospital.request(study)
        replies = [connection.answer(first)]
        second = hospital.request(study, 2, hospital.common(study, replies[0]))
        replies.append(connection.answer(second))
    receipts = []
    for request, reply in zip((first, second), replies, strict=True):
        message, released = decode(request), decode(reply)
        assert isinstance(message, SignedRequest)
        assert isinstance(released, SignedRelease)
        verify_release(released, message.request)
        assert (released.receipt.noise, released.receipt.private) == ("opendp", True)
        receipts.append(released.receipt)
    verify_chain(receipts, complete=True)


def test_only_owner_and_group_reach_the_socket(hospital: Any, daemons: Any) -> None:
    with daemons.serving(hospital):
        socket = hospital.config.socket.stat().st_mode
        folder = hospital.config.socket.parent.stat().st_mode
    assert stat.S_ISSOCK(socket)
    assert (stat.S_IMODE(socket), stat.S_IMODE(folder)) == (0o660, 0o2750)


def test_a_socket_that_was_left_is_taken_over(hospital: Any, daemons: Any) -> None:
    daemons.stop(daemons.start(hospital), signal.SIGKILL)
    assert hospital.config.socket.exists()
    with daemons.serving(hospital) as connection:
        assert isinstance(decode(connection.describe()), Description)


def test_a_revocation_counts_at_once(hospital: Any, daemons: Any) -> None:
    study = hospital.study("study")
    with daemons.serving(hospital) as connection:
        assert refusal(connection.answer(hospital.request(study))).code is Code.NOT_APPROVED
        hospital.approve(study)
        assert isinstance(decode(connection.answer(hospital.request(study))), SignedRelease)
        Policy.update(hospital.config.policy_file, lambda policy: policy.revoke(study.hash))
        assert refusal(connection.answer(hospital.request(study))).code is Code.NOT_APPROVED
        hospital.config.policy_file.write_text("nonsense")
        assert refusal(connection.answer(hospital.request(study))).code is Code.UNAVAILABLE


def test_a_coordinator_that_is_not_enrolled(new_hospital: Callable[..., Any], daemons: Any) -> None:
    hospital = new_hospital(coordinators=[])
    with daemons.serving(hospital) as connection:
        reply = connection.answer(hospital.request(hospital.approved("study")))
    assert refusal(reply).code is Code.NOT_APPROVED


# --- what a refusal may depend on


def requests(hospital: Any, common: CommonMessage) -> Iterator[bytes]:
    """Requests that are refused, each for another reason."""
    yield b"{}"
    yield hospital.request(hospital.study("not approved"))
    yield hospital.request(hospital.approved("too dear", mu="100"))
    yield hospital.request(hospital.approved("another schema", schema_hash="0" * 64))
    yield hospital.request(hospital.approved("test noise", noise="TEST"))
    yield hospital.request(hospital.approved("no first round"), 2, common)
    yield hospital.step(hospital.joint("too early"), AskConsent(survivors=("A", "B")))
    good = hospital.request(hospital.approved("altered"))
    yield good.replace(b'"alpha":"0.5"', b'"alpha":"0.6"')
    yield good.replace(b'"protocol":1', b'"protocol":2')


def test_no_refusal_depends_on_a_cell_or_on_the_number_of_rows(
    new_hospital: Callable[..., Any], daemons: Any
) -> None:
    said, common = [], None
    for hospital in (new_hospital("one"), new_hospital("other", rows=400, seed=9)):
        study = hospital.approved("study")
        with daemons.serving(hospital) as connection:
            first = connection.answer(hospital.request(study))
            common = common or hospital.common(study, first)
            said.append([refusal(connection.answer(request)) for request in requests(hospital, common)])
    assert said[0] == said[1]
    # TOO_FEW_PATIENTS cannot be had here: `site check` pins no table of so few.
    assert {refusal.code for refusal in said[0]} == set(Code) - {Code.TOO_FEW_PATIENTS}


# --- the relay


def test_the_relay_asks_the_daemon(hospital: Any, daemons: Any) -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    def ask(kind: str, content: RecordDict) -> Message:
        node: Any = {"socket": str(hospital.config.socket)}
        context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})
        message = FlowerMessage(content, dst_node_id=1, message_type=f"query.{kind}")
        return decode(from_records(relay(message, context).content))

    study = hospital.approved("study")
    with daemons.serving(hospital):
        assert ask("describe", RecordDict()) == hospital.facts
        assert isinstance(ask("synthesize", to_records(hospital.request(study))), SignedRelease)
    gone = ask("synthesize", to_records(hospital.request(study)))
    assert isinstance(gone, Refusal)
    assert gone.code is Code.UNAVAILABLE
    assert str(hospital.folder) not in gone.sentence


def test_the_relay_has_no_logic() -> None:
    source = (Path(daemon.__file__).parents[1] / "app.py").read_text()
    assert len(source.splitlines()) < 80
    assert not re.search(
        r"\b(Ledger|Policy|Vault|Schema|Key|if|while|for)\b", re.sub(r'"""[\s\S]*?"""|#.*', "", source)
    )


# --- starting and stopping


def starting(hospital: Any) -> str:
    """The sentence with which a daemon does not start."""
    with pytest.raises(InputError) as caught:
        asyncio.run(asyncio.wait_for(serve(load_config(hospital.site / "site.yaml")), 60))  # or it serves
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_two_daemons_do_not_serve_one_site(hospital: Any, daemons: Any) -> None:
    with daemons.serving(hospital):
        assert "another process serves" in starting(hospital)


def test_the_command_becomes_the_daemon(hospital: Any) -> None:
    command = Path(sys.executable).with_name("cohortmix")
    config = hospital.site / "site.yaml"
    with subprocess.Popen([command, "site", "serve", "-c", config], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "A: starting\n"
        assert "A is served on" in process.stderr.readline()
        words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        assert words[1:-1] == ["-P", "-m", "cohortmix.client.site.start", str(config)]
        assert isinstance(decode(hospital.connection.describe()), Description)
        process.terminate()
        assert process.wait() == 0


def test_a_fault_at_the_start_is_one_sentence(hospital: Any, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    hospital.config.key.chmod(0o644)
    assert daemon.main(hospital.site / "site.yaml") == 2
    key = str(hospital.config.key)
    assert capfd.readouterr().err == f"cohortmix: the key {key!r} is open to others; chmod 600 it\n"


def test_a_socket_that_others_could_reach(hospital: Any) -> None:
    folder = hospital.config.socket.parent
    for mode in (0o2755, 0o2770, 0o777):
        folder.chmod(mode)
        assert "expected 2750" in starting(hospital)
    folder.rmdir()
    assert "cannot open the socket's folder" in starting(hospital)


def test_a_socket_whose_path_is_too_long(new_hospital: Callable[..., Any]) -> None:
    assert "longer than the system allows" in starting(new_hospital(socket=f"run/{'s' * 100}"))


def test_a_snapshot_or_schema_that_has_changed(hospital: Any) -> None:
    schema = hospital.folder / "schema.yaml"
    text = schema.read_text()
    schema.write_text(text.replace("max: 100", "max: 101"))
    assert "the schema has changed" in starting(hospital)
    schema.write_text(text)
    (file,) = hospital.config.snapshot_folder.glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    assert "is damaged" in starting(hospital)


def test_it_stops_when_told_and_a_reply_that_is_due_still_leaves(
    new_hospital: Callable[..., Any], daemons: Any
) -> None:
    hospital = new_hospital(interval_seconds=1)
    process = daemons.start(hospital)
    request = hospital.request(hospital.approved("study"))
    with ThreadPoolExecutor(1) as pool:
        reply: Future[bytes] = pool.submit(hospital.connection.answer, request)
        while len(hospital.steps()) < 4:
            sleep(0.01)
        assert daemons.stop(process) == 0
        assert isinstance(decode(reply.result()), SignedRelease)
    with pytest.raises(grpc.RpcError):
        hospital.connection.describe()
